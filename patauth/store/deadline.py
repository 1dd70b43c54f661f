"""The deadline of a request: one carrier for all store calls that are made for it."""

from __future__ import annotations

from time import monotonic

import msgspec

REQUEST_SECONDS = 0.5  # for all store calls of one request


class Deadline(msgspec.Struct):
    """When all store calls of a request must be over. `at` is an instant of `time.monotonic()` (s)."""

    at: float

    def left(self) -> float:
        """Return how many seconds are left, at least 0."""
        return max(0.0, self.at - monotonic())

    def postpone(self, seconds: float) -> None:
        """Put the deadline off by time that went into something else than the store, such as a hash."""
        self.at += seconds
