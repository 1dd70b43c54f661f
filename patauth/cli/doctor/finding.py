"""A finding of `patauth doctor`: how grave it is, what was seen, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """`check` is a word for what was looked at; `remedy` is empty where there is nothing to do."""

    level: Level
    check: str
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """As it should be, or a matter of taste."""
    return Finding("ok", check, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """It works, and less safely than it could; or what it is cannot be known."""
    return Finding("warning", check, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """A promise of patauth does not hold like this."""
    return Finding("problem", check, text, remedy)
