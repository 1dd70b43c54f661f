"""A finding of `patauth doctor`: how serious it is, what was found, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """A sentence about one thing that was examined.

    `check` is a word for that thing. `remedy` says what to do; it is empty when nothing needs to be done.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding about something that is right, or that is the operator's choice."""
    return Finding("ok", check, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that works but is less safe than it could be, or is unknown."""
    return Finding("warning", check, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that breaks a promise of patauth."""
    return Finding("problem", check, text, remedy)
