"""Things that happen between two steps of the library: just before a step, or in place of its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def standing_in(kind: type, method: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    """Put a function in the place of a method of all objects of a class; it gets the real method first."""
    real = getattr(kind, method)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, method, lambda *given, **named: stand_in(real, *given, **named))
        yield


class Before:
    """Does something just before the first call of a method; `count` is how often it was called."""

    def __init__(self, kind: type, method: str, act: Callable[[], object]) -> None:
        self.count = 0
        self._act = act
        self._place = standing_in(kind, method, self._call)

    def _call(self, real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == 1:  # calls that `act` makes itself pass
            self._act()
        return real(*given, **named)

    def __enter__(self) -> Before:
        self._place.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._place.__exit__(*problem)
