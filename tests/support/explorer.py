"""A small explicit-state model checker: it takes every step in every order, breadth first, without repeats.

A state is any hashable value. So the first history that it finds to break a rule is one of the shortest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Explored(NamedTuple):
    """How many states there are, the steps that break a rule (none: no steps do), and which rule."""

    states: int
    history: tuple[str, ...] = ()
    broken: str = ""

    def __str__(self) -> str:
        lines = [f"{number:3}. {step}" for number, step in enumerate(self.history, 1)]
        return "\n".join([f"{self.states} states", *lines, self.broken])


def explore(start: S, steps: Callable[[S], Iterable[tuple[str, S]]], broken: Callable[[S], str]) -> Explored:
    """Visit all states that steps lead to from `start`, until one breaks a rule.

    `steps` yields the name of each possible step and the state after it. `broken` returns the rule that a
    state breaks, or an empty text.
    """
    gc.disable()  # states are in no circles, and there are many
    try:
        return _explore(start, steps, broken)
    finally:
        gc.enable()


def _explore(start: S, steps: Callable[[S], Iterable[tuple[str, S]]], broken: Callable[[S], str]) -> Explored:
    came_from: dict[S, tuple[S, str] | None] = {start: None}
    to_visit = [start]
    for state in to_visit:  # the list grows meanwhile
        if rule := broken(state):
            return Explored(len(came_from), _history(came_from, state), rule)
        for name, after in steps(state):
            if after not in came_from:
                came_from[after] = (state, name)
                to_visit.append(after)
    return Explored(len(came_from))


def _history(came_from: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    names = []
    while (step := came_from[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
