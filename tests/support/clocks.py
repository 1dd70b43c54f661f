"""The store's clock in tests, and the instant at which it starts."""

from __future__ import annotations

# 2030-01-01T00:00:00Z. It is later than now: a server forgets by its own clock what has an expiry (PXAT).
NOW = 1_893_456_000_000


MINUTE, DAY = 60_000, 86_400_000


class Clock:
    """The store's clock in tests: milliseconds that only a test moves."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms
