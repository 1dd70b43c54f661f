"""What `patauth doctor` finds in the stream of events: whether it is read, and whether somebody delivers."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import StoreUnavailable
from ...model.sinks import names_of, sinks_of
from ...model.words import counted
from ...operations.operations import Operations
from ...store.event_stream import MOST
from .finding import Finding, ok, problem, warning

_LATE = 600.0  # s: more than pauses between tries, and than a killed worker holds what it has taken


def judge_events(operations: Operations) -> Iterator[Finding]:
    """Examine the stream of events of a store that answers. Without one there are no findings."""
    try:
        counts = operations.event_counts()
    except StoreUnavailable as trouble:
        yield problem(
            "events",
            f"The stream of events cannot be read ({trouble.detail or trouble}).",
            "It needs Redis from 7.0 or Valkey, and the rights in docs/deployment.md, section Events.",
        )
        return
    if counts is None:
        return
    from ...events.delivery import group_of, waiting_for

    yield ok(
        "events",
        f"The stream has {counted(counts.changes, 'event')} and {counted(counts.refusals, 'count')} of"
        " refusals.",
    )
    for number, what in ((counts.dropped, "dropped by processes"), (counts.lost, "lost by the stream")):
        if number:
            yield warning(
                "events",
                f"{counted(number, 'event was', 'events were')} {what} since the stream began.",
                "See that the store has memory, patauth events deliver runs, and its receivers answer.",
            )
    webhooks = sinks_of(operations.settings.events).webhooks
    for url, name in zip(webhooks, names_of(webhooks), strict=True):
        waiting = waiting_for(url, counts)
        if group_of(url) not in counts.waiting:
            yield warning("events", f"{name}: nobody has delivered to it yet.", "Run patauth events deliver.")
        elif waiting.age > _LATE or waiting.events > MOST // 2:
            minutes = round(waiting.age / 60)
            yield warning(
                "events",
                f"{name}: {counted(waiting.events, 'event waits', 'events wait')} for it, the oldest for"
                f" {counted(minutes, 'minute')}.",
                "See that patauth events deliver runs; it says why the receiver does not take them.",
            )
