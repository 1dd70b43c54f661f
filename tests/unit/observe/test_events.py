"""What an observer hears of events, and of those that a sink loses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from patauth.events.events import Event, Facts, Outcome, Type
from patauth.events.log import Log
from patauth.events.outbox import Letter, Outbox
from patauth.observe.events import ObservedEvents
from patauth.observe.observer import Observer, Observers


class Ear(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[Type, Outcome, dict[str, object]]] = []
        self.dropped: Counter[str] = Counter()

    def event(self, kind: Type, outcome: Outcome, facts: Facts) -> None:
        self.heard.append((kind, outcome, dict(facts)))

    def event_dropped(self, sink: str, count: int) -> None:
        self.dropped[sink] += count


class Broken(Log):
    """A sink that takes nothing."""

    name = "broken"
    is_on = True

    def take(self, event: Event) -> None:
        raise ValueError("no")


class Nobody:
    """A courier that is never asked."""

    name, most, in_order = "stream:audit", 1, True

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        raise AssertionError


def test_an_observer_hears_each_event_also_where_no_sink_is_on() -> None:
    ear = Ear()
    events = ObservedEvents(Observers(ear))
    events.emit("pat.created", patId="x")
    assert ear.heard == [("pat.created", "done", {"patId": "x"})]
    assert not events.is_on


def test_what_a_sink_could_not_take_or_hold_is_heard_with_its_name() -> None:
    """The names are known from the start, so that the first loss shows as an increase."""
    ear = Ear()
    events = ObservedEvents(Observers(ear), Broken(), Outbox(Nobody(), room=0))
    assert ear.dropped == {"broken": 0, "stream:audit": 0}
    for _ in range(3):
        events.emit("pat.created")
    assert ear.dropped == {"broken": 3, "stream:audit": 3}
    assert events.dropped == 6
