"""Make the words of messages that depend on a number or a list."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count and what it counts: "1 event", "2 events".

    `many` is the plural; without it, the plural is the word with an s.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def either(words: Iterable[str]) -> str:
    """Return words as a choice: "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
