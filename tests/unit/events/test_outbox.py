from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from patauth.events.events import Events
from patauth.events.outbox import (
    KEEP,
    LONGEST,
    LONGEST_PAUSE,
    MINUTE,
    Gone,
    Letter,
    Outbox,
    Refused,
    Undelivered,
    chance,
    pause_after,
)
from tests.support.servers import until
from tests.support.tables import each


class Timer:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Carrier:
    """Delivers into lists; `problems` are raised in turn instead."""

    name = "carrier"

    def __init__(self, *problems: Exception | None, most: int = 1, in_order: bool = True) -> None:
        self.problems = list(problems)
        self.most = most
        self.in_order = in_order
        self.changes: list[str] = []
        self.refusals: list[str] = []
        self.tries: list[str] = []
        self.dropped: list[int] = []

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        self.tries += [letter.id for letter in letters]
        self.dropped.append(dropped)
        problem = self.problems.pop(0) if self.problems else None
        if problem is not None:
            raise problem
        (self.refusals if are_refusals else self.changes).extend(letter.id for letter in letters)


def event(identity: str, kind: str = "pat.created", **facts: Any) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00.000Z", "id": identity, "type": kind, "outcome": "done", **facts}


Open = Callable[..., Outbox]


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Makes one whose thread never begins: the test takes the steps."""
    monkeypatch.setattr(Outbox, "_start", lambda self: None)

    def make(carrier: Carrier, timer: Timer, **given: Any) -> Outbox:
        return Outbox(carrier, timer=timer, by=lambda: 1.0, **given)

    return make


def all_steps(box: Outbox) -> float | None:
    """Take steps while something is due; return the pause."""
    while (pause := box.step()) == 0:
        pass
    return pause


def test_events_are_delivered_in_order_and_so_many_at_a_time(outbox: Open):
    carrier, timer = Carrier(most=2), Timer()
    box = outbox(carrier, timer)
    for identity in "abc":
        box.take(event(identity))
    assert [box.step(), carrier.changes] == [0, ["a", "b"]]
    assert [box.step(), carrier.changes] == [0, ["a", "b", "c"]]
    assert box.step() is None


@each("in_order, expected", [(True, ["a", "a", "a", "b"]), (False, ["a", "b", "a"])])
def test_what_is_not_taken_waits_with_growing_pauses_and_nothing_is_lost(
    outbox: Open, in_order: bool, expected: list[str]
):
    """Where the order is free, one event that is never taken does not hold up the others."""
    problems = [Undelivered("down"), Undelivered("down")] if in_order else [Undelivered("down")]
    carrier, timer = Carrier(*problems, in_order=in_order), Timer()
    box = outbox(carrier, timer)
    box.take(event("a"))
    box.take(event("b"))
    pauses = []
    while set(carrier.changes) != {"a", "b"}:
        pause = box.step()
        if pause:
            assert box.step() == pytest.approx(pause), "nothing is tried before its time"
            pauses.append(pause)
            timer.now += pause
    assert carrier.tries == expected
    assert pauses == ([0.5, 1.0] if in_order else [0.5, 0.5])
    assert box.dropped == 0


class Choosing(Carrier):
    """Takes all events but those whose id begins with `bad`; a try takes 50 ms."""

    def __init__(self, problem: Exception, timer: Timer) -> None:
        super().__init__(in_order=False)
        self.problem = problem
        self.timer = timer
        self.taken_at: dict[str, float] = {}

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        self.timer.now += 0.05
        (letter,) = letters
        self.tries.append(letter.id)
        if letter.id.startswith("bad"):
            raise self.problem
        self.taken_at[letter.id] = self.timer.now


@each("problem, first, most", [(Refused("400"), 60, 2), (Undelivered("502"), 101 * 60, 130)])
def test_a_hundred_events_that_are_never_taken_delay_no_other_for_long(
    outbox: Open, problem: Exception, first: float, most: float
):
    """A good event each minute for a day; after it, those that were never taken are dropped and counted.

    Where they look as if the receiver were away, only their first turn delays the others for longer.
    """
    timer = Timer()
    carrier = Choosing(problem, timer)
    box = outbox(carrier, timer)
    began = timer.now
    for number in range(100):
        box.take(event(f"bad{number}"))
    given: dict[str, float] = {}
    while timer.now < began + KEEP + 2 * LONGEST:
        if timer.now >= began + 60 * len(given):
            given[f"good{len(given)}"] = timer.now
            box.take(event(f"good{len(given) - 1}"))
        pause = box.step()
        due = began + 60 * len(given) - timer.now
        timer.now += max(0.0, min(due, due if pause is None else pause))
    delays = [carrier.taken_at[name] - at for name, at in list(given.items())[:-3]]
    assert max(delays) <= first
    assert max(delays[200:]) <= most
    assert box.dropped == 100
    bad = [one for one in carrier.tries if one.startswith("bad")]
    assert 100 * 20 < len(bad) < 100 * 40


def test_a_refused_count_goes_back_into_the_queue_and_holds_up_no_later_one(outbox: Open):
    carrier, timer = Carrier(Refused("400"), in_order=False), Timer()
    box = outbox(carrier, timer)
    flood(box, 1)
    timer.now += MINUTE
    assert box.step() == 0.5
    box.take(event("other", "credentials.refused", reason="invalid", address="192.0.2.1"))
    timer.now += MINUTE
    assert all_steps(box) is None
    assert sorted([*carrier.changes, *carrier.refusals]) == ["0", "other"]
    assert box.dropped == 0


def test_what_is_refused_at_the_end_is_tried_once_more():
    carrier = Carrier(Refused("400"), in_order=False)
    box = Outbox(carrier, by=lambda: 1.0)
    box.take(event("a"))
    until(lambda: carrier.tries)
    box.close(10)
    assert carrier.changes == ["a"]


def test_a_success_ends_the_growing(outbox: Open):
    carrier, timer = Carrier(Undelivered("a"), Undelivered("b"), None, Undelivered("c")), Timer()
    box = outbox(carrier, timer)
    pauses = []
    for identity in "ab":
        box.take(event(identity))
    for _ in range(5):
        pause = box.step() or 0.0
        pauses.append(pause)
        timer.now += pause
    assert pauses == [0.5, 1.0, 0.0, 0.5, 0.0]


def test_what_finds_no_room_is_dropped_counted_and_said_once_a_minute(
    outbox: Open, caplog: pytest.LogCaptureFixture
):
    carrier, timer = Carrier(), Timer()
    box = outbox(carrier, timer, room=250)
    for identity in "abcdef":
        box.take(event(identity))
    kept = 6 - box.dropped
    assert 1 < kept < 6
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    timer.now += MINUTE
    box.take(event("g"))
    assert len(caplog.records) == 2
    assert all_steps(box) is None
    assert carrier.changes == list("abcdef")[:kept], "the oldest ones stay"
    assert carrier.dropped[0] == box.dropped
    assert set(carrier.dropped[1:]) == {0}, "the receiver is told once"
    box.take(event("h"))
    assert all_steps(box) is None
    assert carrier.changes[-1] == "h", "there is room again"


def test_what_waits_for_another_try_takes_its_room(outbox: Open):
    carrier, timer = Carrier(Undelivered("down"), Undelivered("down")), Timer()
    box = outbox(carrier, timer, room=100)
    box.take(event("a"))
    for identity in "bc":
        timer.now += box.step() or 0
        box.take(event(identity))
    assert box.dropped == 2
    assert all_steps(box) is None
    assert carrier.changes == ["a"]


def test_a_drop_that_could_not_be_told_is_told_with_the_next_delivery(outbox: Open):
    carrier, timer = Carrier(Undelivered("down")), Timer()
    box = outbox(carrier, timer, room=100)
    box.take(event("a"))
    box.take(event("b"))
    timer.now += box.step() or 0
    box.step()
    assert carrier.dropped == [1, 1]


def test_an_event_that_nobody_takes_for_a_day_is_dropped(outbox: Open):
    carrier, timer = Carrier(*[Undelivered("400")] * 3, in_order=False), Timer()
    box = outbox(carrier, timer)
    box.take(event("a"))
    timer.now += box.step() or 0
    assert box.dropped == 0
    timer.now += KEEP
    box.step()
    assert box.dropped == 1
    timer.now += MINUTE
    assert box.step() is None
    assert carrier.tries == ["a", "a"]


def test_a_receiver_that_is_gone_gets_nothing_more(outbox: Open):
    carrier, timer = Carrier(Gone("410")), Timer()
    box = outbox(carrier, timer)
    for identity in "abc":
        box.take(event(identity))
    timer.now += box.step() or 0
    box.take(event("d"))
    assert box.step() is None
    assert (carrier.tries, box.dropped) == (["a"], 4)


def test_the_log_is_told_of_a_failure_once_a_minute_and_not_what_an_exception_says(
    outbox: Open, caplog: pytest.LogCaptureFixture
):
    carrier, timer = Carrier(*[ValueError("hush")] * 30), Timer()
    box = outbox(carrier, timer)
    box.take(event("a"))
    began = timer.now
    while timer.now < began + MINUTE:
        timer.now += box.step() or 0
    box.step()
    assert len(caplog.records) == 2
    assert "hush" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_log_that_fails_ends_no_thread(outbox: Open) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the log host is away")

    carrier, timer = Carrier(Undelivered("down")), Timer()
    box = outbox(carrier, timer, room=100)
    log, handler = logging.getLogger("patauth"), Broken()
    log.addHandler(handler)
    try:
        for identity in "ab":
            box.take(event(identity))
        timer.now += box.step() or 0
        assert box.step() == 0
    finally:
        log.removeHandler(handler)
    assert (carrier.changes, box.dropped) == (["a"], 1)


def test_pauses_double_up_to_a_minute_and_chance_takes_at_most_half():
    assert [pause_after(count, lambda: 1.0) for count in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause_after(count, lambda: 0.0) for count in (1, 2, 10_000)] == [0.25, 0.5, LONGEST_PAUSE / 2]


def test_chance_is_a_number_from_0_to_1():
    drawn = {chance() for _ in range(1000)}
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) <= 1
    assert len(drawn) > 100


# -- refusals ------------------------------------------------------------------------------------------------


def flood(box: Outbox, count: int) -> None:
    for number in range(count):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        box.take(event(f"{number:x}", "credentials.refused", reason="invalid", address=address))


def test_a_flood_of_refusals_drops_no_change_and_is_a_few_events_once_a_minute(outbox: Open):
    carrier, timer = Carrier(Undelivered("down")), Timer()
    box = outbox(carrier, timer, room=500, clients=100)
    box.take(event("first"))
    flood(box, 50_000)
    box.take(event("last"))
    timer.now += box.step() or 0
    pause = all_steps(box)
    assert carrier.changes == ["first", "last"]
    assert carrier.refusals == []
    assert pause is not None
    assert 0 < pause < MINUTE
    timer.now += pause
    assert all_steps(box) is None
    assert len(carrier.refusals) == 101
    assert box.dropped == 0


def test_counts_grow_while_the_last_ones_wait_so_they_need_no_more_room(outbox: Open):
    carrier, timer = Carrier(*[Undelivered("down")] * 20), Timer()
    box = outbox(carrier, timer, clients=10)
    for _ in range(20):
        flood(box, 30)
        timer.now += MINUTE
        box.step()
    while carrier.problems or all_steps(box) is not None:
        timer.now += box.step() or MINUTE
    assert len(carrier.refusals) == 22, "the first minute, and all that followed"
    assert box.dropped == 0


def test_a_change_goes_before_refusals_that_wait(outbox: Open):
    carrier, timer = Carrier(), Timer()
    box = outbox(carrier, timer)
    flood(box, 3)
    timer.now += MINUTE
    box.step()
    box.take(event("change"))
    all_steps(box)
    assert carrier.tries[1] == "change"
    assert len(carrier.refusals) == 3


def test_each_pats_rotated_secret_is_told_of_at_once_and_again_after_a_minute(outbox: Open):
    carrier, timer = Carrier(), Timer()
    box = outbox(carrier, timer)
    for number in range(1000):
        box.take(event(f"{number}", "secret.reused", patId="p"))
    pause = all_steps(box)
    assert carrier.changes == ["0"]
    timer.now += pause or 0
    all_steps(box)
    assert carrier.refusals == ["1"]
    box.take(event("later", "secret.reused", patId="p"))
    all_steps(box)
    assert carrier.changes == ["0", "later"]


# -- the thread ----------------------------------------------------------------------------------------------


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"patauth {name}"]


def test_the_thread_begins_with_the_first_event_and_ends_with_close():
    carrier = Carrier()
    box = Outbox(carrier)
    assert threads_of("carrier") == []
    for identity in "abc":
        box.take(event(identity))
    assert len(threads_of("carrier")) == 1
    box.close(10)
    assert threads_of("carrier") == []
    assert carrier.changes == ["a", "b", "c"]
    box.take(event("d"))
    box.close(10)
    assert carrier.changes == ["a", "b", "c", "d"], "it can be used again"


def test_close_delivers_counts_too_and_does_not_wait_for_a_pause():
    carrier = Carrier(Undelivered("once"))
    box = Outbox(carrier)
    flood(box, 5)
    box.take(event("a"))
    until(lambda: carrier.tries)
    box.close(10)
    assert carrier.changes == ["a"]
    assert len(carrier.refusals) == 5


def test_close_ends_in_time_whatever_the_receiver_does_and_what_is_left_is_dropped():
    free, started = threading.Event(), threading.Event()

    class Hanging(Carrier):
        def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
            started.set()
            free.wait(60)

    box = Outbox(Hanging())
    for identity in "abc":
        box.take(event(identity))
    assert started.wait(60)
    box.close(0.01)
    assert box.dropped == 2, "the one under way may still arrive"
    free.set()


@each("in_order", [True, False])
@pytest.mark.system
def test_close_tries_again_while_it_has_time(in_order: bool):
    """With growing pauses: a receiver that is away for a moment misses nothing."""
    carrier = Carrier(*[Undelivered("down")] * 3, in_order=in_order)
    box = Outbox(carrier, by=lambda: 0.0)
    for identity in "abc":
        box.take(event(identity))
    flood(box, 5)
    box.close(60)
    assert (sorted(carrier.changes), box.dropped) == (["a", "b", "c"], 0)
    assert len(carrier.refusals) == 5


def test_close_ends_before_a_pause_that_would_outlast_its_time():
    carrier = Carrier(*[Undelivered("down")] * 100)
    box = Outbox(carrier, by=lambda: 1.0)
    for identity in "abc":
        box.take(event(identity))
    began = time.monotonic()
    box.close(1.2)
    assert time.monotonic() - began < 1.2, "after pauses of 0.5 s comes one of 1 s"
    assert box.dropped == 3
    assert 2 <= len(carrier.tries) <= 3


def test_who_reports_an_event_is_never_held_up_by_a_receiver():
    """The receiver hangs, and a hundred threads report events meanwhile: all of them end."""
    free = threading.Event()

    class Hanging(Carrier):
        def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
            free.wait(60)
            super().deliver(letters, are_refusals=are_refusals, dropped=dropped)

    carrier = Hanging(most=100)
    box = Outbox(carrier)
    reporting = [threading.Thread(target=box.take, args=(event(f"{number}"),)) for number in range(100)]
    for thread in reporting:
        thread.start()
    for thread in reporting:
        thread.join(60)
        assert not thread.is_alive()
    assert carrier.changes == []
    free.set()
    box.close(60)
    assert sorted(carrier.changes, key=int) == [f"{number}" for number in range(100)]


def test_a_forked_child_has_a_thread_and_a_queue_of_its_own():
    """It delivers its own events, and none of those that waited in the parent."""
    free = threading.Event()

    class Hanging(Carrier):
        def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
            if os.getpid() == parent:
                free.wait(60)
            super().deliver(letters, are_refusals=are_refusals, dropped=dropped)

    parent, carrier = os.getpid(), Hanging()
    box = Outbox(carrier)
    box.take(event("a"))
    box.take(event("b"))
    child = os.fork()
    if child == 0:
        try:
            box.take(event("c"))
            box.close(30)
            os._exit(0 if carrier.changes == ["c"] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    free.set()
    box.close(60)
    assert carrier.changes == ["a", "b"]


def test_a_signal_handler_may_report_an_event_at_any_moment():
    box = Outbox(Carrier(most=100))
    handled = 0

    def handle(*_: Any) -> None:
        nonlocal handled
        handled += 1
        box.take(event(f"signal {handled}"))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        number = 0
        while handled < 200:
            box.take(event(f"{number}"))
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    box.close(60)
    assert len(set(box._courier.changes)) + box.dropped == number + handled  # type: ignore[attr-defined]


def test_several_sinks_end_at_the_same_time() -> None:
    """One whose receiver hangs takes no time from the others."""
    free, started = threading.Event(), threading.Event()

    class Hanging(Carrier):
        def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
            started.set()
            free.wait(60)

    good = Carrier(Undelivered("once"))
    events = Events(Outbox(Hanging()), Outbox(good))
    events.emit("pat.created")
    assert started.wait(60)
    until(lambda: good.tries)
    events.close(0.5)
    assert len(good.changes) == 1, "it did not wait for the end of its pause"
    free.set()
