"""The deadline of a request: all store calls that are made for the request share one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Protocol

import msgspec

REQUEST_SECONDS = 0.5  # for all store calls of one request


class Turn(Protocol):
    """The turn of a request among those that may ask the store at a time.

    `waited` is how long the request has waited for it (s). That counts for its deadline.
    """

    waited: float

    def leave(self) -> None:
        """Let another request ask meanwhile."""

    def enter(self) -> None:
        """Wait for a turn again. Raise `StoreUnavailable` if there is none in time."""


# None: the requests of this process do not take turns, since each has a thread.
TURN: ContextVar[Turn | None] = ContextVar("patauth_turn", default=None)


class Deadline(msgspec.Struct):
    """The instant at which all store calls of a request must be over. `at` is by `time.monotonic()` (s)."""

    at: float

    def left(self) -> float:
        """Return how many seconds are left, at least 0."""
        return max(0.0, self.at - monotonic())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of a block that does other work than store calls, such as a hash."""
        started = monotonic()
        try:
            with aside():
                yield
        finally:
            self.at += monotonic() - started


@contextmanager
def aside() -> Iterator[None]:
    """Let another request ask the store during this block. Raise `StoreUnavailable` if no turn follows."""
    turn = TURN.get()
    if turn is None:
        yield
        return
    turn.leave()
    yield
    turn.enter()
