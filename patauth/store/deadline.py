"""The deadline of a request: all store calls that are made for the request share one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import msgspec

REQUEST_SECONDS = 0.5  # for all store calls of one request


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
            yield
        finally:
            self.at += monotonic() - started
