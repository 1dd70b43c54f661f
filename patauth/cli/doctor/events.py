"""What `patauth doctor` finds in the stream of events: whether it is read, and whether somebody delivers."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import StoreUnavailable
from ...model.sinks import shown, sinks_of
from ...operations.operations import Operations
from ...store.event_stream import MOST
from .finding import Finding, ok, problem, warning


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
    from ...events.delivery import group_of

    yield ok("events", f"The stream has {counts.changes} events and {counts.refusals} counts of refusals.")
    for number, what in ((counts.dropped, "dropped by processes"), (counts.lost, "lost by the stream")):
        if number:
            yield warning(
                "events",
                f"{number} events were {what} since the stream began.",
                "See that the store has memory, patauth events deliver runs, and its receivers answer.",
            )
    for url in sinks_of(operations.settings.events).webhooks:
        waiting = counts.waiting.get(group_of(url))
        if waiting is None or waiting > MOST // 2:
            text = "nobody has delivered to it yet" if waiting is None else f"{waiting} events wait for it"
            yield warning("events", f"{shown(f'webhook:{url}')}: {text}.", "Run patauth events deliver.")
