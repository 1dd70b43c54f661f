"""Growing pauses between tries, each by chance a little shorter: many processes do not try at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable

FIRST, MOST = 0.5, 60.0  # s

Chance = Callable[[], float]  # returns 0 to 1


def chance() -> float:
    """Return a number from 0 to 1, by chance."""
    return secrets.randbelow(1001) / 1000


def pause_after(failures: int, by: Chance, most: float = MOST) -> float:
    """Return how long to wait (s, at most `most`) after so many failures in a row, at least 1."""
    longest: float = min(most, FIRST * 2 ** min(failures - 1, 16))
    return longest * (0.5 + 0.5 * by())
