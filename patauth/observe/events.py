"""Events that observers hear as well."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..events.events import Events, Fact, Outcome, Sink, Type
from .authentication import refused
from .observer import Observers


class ObservedEvents(Events):
    """Passes events to observers and to the sinks. The other arguments are those of `Events`."""

    def __init__(self, observers: Observers, *sinks: Sink, **more: Any) -> None:
        super().__init__(*sinks, **more)
        self._observers = observers
        for sink in sinks:
            observers.event_dropped(sink.name, 0)
            sink.on_drop = partial(observers.event_dropped, sink.name)

    def emit(self, kind: Type, outcome: Outcome = "done", **facts: Fact) -> None:
        """Pass an event to the observers and to all sinks. It never raises."""
        if kind == "credentials.refused":
            refused(str(facts["reason"]))
        elif kind == "secret.reused":
            refused("reused")
        self._observers.event(kind, outcome, facts)
        super().emit(kind, outcome, **facts)

    def note_failure(self, sink: str, problem: Exception) -> None:
        """Tell the observers of an event that a sink could not take, and note it."""
        self._observers.event_dropped(sink, 1)
        super().note_failure(sink, problem)
