"""Writes and their events: one event for each thing done, also where the outcome is not known."""

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
    """Do a write of the store, emit its events, and return its result. Raises what the write raises.

    `facts_of`: from a result to the facts of each event that it stands for. It is also asked of a result that
    is not known to be durable yet, and of None when it is not known whether anything was written; the events
    then say so (`outcome`).
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
