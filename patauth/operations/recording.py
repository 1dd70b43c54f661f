"""Writes and their events: each change is one event, also if its outcome is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..events import Events, Facts
from ..store.scripts import NotDurable
from ..store.transport.pool import Unanswered

T = TypeVar("T")


def recorded(
    events: Events, event: str, write: Callable[[], T], facts_of: Callable[[T | None], Iterable[Facts]]
) -> T:
    """Call `write`, emit its events, and return its result. Raises what `write` raises.

    `facts_of` returns the facts of each event for a result. It is also called with a result that may not be
    durable yet. If it is not known whether anything was written, it is called with None, and the events say
    so (`outcome`).
    """
    try:
        result = write()
    except NotDurable as problem:
        _emit(events, event, facts_of(problem.result))
        raise
    except Unanswered:
        _emit(events, event, ({**facts, "outcome": "unknown"} for facts in facts_of(None)))
        raise
    _emit(events, event, facts_of(result))
    return result


def _emit(events: Events, event: str, found: Iterable[Facts]) -> None:
    for facts in found:
        events.emit(event, **facts)
