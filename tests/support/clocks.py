"""The store's clock in tests, and the instant at which it starts."""

from __future__ import annotations

NOW = 1_893_456_000_000  # 2030-01-01T00:00:00Z


MINUTE, DAY = 60_000, 86_400_000


class Clock:
    """The store's clock in tests: milliseconds that only a test moves."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms
