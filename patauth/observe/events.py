"""Events that an observer hears as well."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..events.events import Events, Fact, Outcome, Sink, Type
from .authentication import refused
from .observer import Observer


class ObservedEvents(Events):
    """Passes events to an observer and to the sinks. The other arguments are those of `Events`."""

    def __init__(self, observer: Observer, *sinks: Sink, **more: Any) -> None:
        super().__init__(*sinks, **more)
        self._observer = observer
        for sink in sinks:
            observer.event_dropped(sink.name, 0)
            sink.on_drop = partial(observer.event_dropped, sink.name)

    def emit(self, kind: Type, outcome: Outcome = "done", **facts: Fact) -> None:
        """Pass an event to the observer and to all sinks. It never raises."""
        if kind == "credentials.refused":
            refused(str(facts["reason"]).replace(" ", "_"))
        elif kind == "secret.reused":
            refused("reused")
        self._observer.event(kind, outcome, facts)
        super().emit(kind, outcome, **facts)

    def _note(self, sink: str, problem: Exception) -> None:
        self._observer.event_dropped(sink, 1)
        super()._note(sink, problem)
