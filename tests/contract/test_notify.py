"""`patauth notify`: one event for each PAT and threshold, whoever asks, how often and how many at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patauth import Authority, ConfigurationError, InvalidRequest, Owner, StoreUnavailable
from patauth.events.events import Events
from patauth.model.dates import format_ms
from patauth.operations import notify as module
from patauth.operations.notify import NotSent, notify
from patauth.store import tenant_index
from patauth.store.notices import Notice, Notices
from tests.support.authorities import Make, issue
from tests.support.clocks import DAY, MINUTE, Clock

WEEK = 7 * 86_400
pytestmark = pytest.mark.usefixtures("events")  # the audit trail is read, so there is a sink
Trail = Callable[[], list[dict[str, Any]]]


def run(authority: Authority, *within: int) -> list[str]:
    pieces = notify(authority.operations.actor(None), within or [WEEK])
    return [pat_id for ids in pieces for pat_id in ids]


def sent(events: Trail) -> list[tuple[str, str, int | None]]:
    return sorted(
        (event["type"], event["name"], event.get("within"))
        for event in events()
        if event["type"].startswith("pat.expir")
    )


@pytest.fixture
def world(make: Make, clock: Clock) -> Authority:
    return make(clock=clock, max_pats_per_owner=1000)


def test_each_pat_and_threshold_has_one_event_and_its_end_another(
    world: Authority, clock: Clock, events: Trail
) -> None:
    issue(world, "two days", expires_in=timedelta(days=2))
    issue(world, "ten days", expires_in=timedelta(days=10))
    issue(world, "never", never_expires=True)
    events()
    within = (WEEK, 86_400)
    seen = []
    for _ in range(12):
        run(world, *within)
        seen.append(sent(events))
        assert run(world, *within) == []
        clock.advance(DAY)
    expected: list[list[tuple[str, str, int | None]]] = [[] for _ in range(12)]
    expected[0] = [("pat.expiring", "two days", WEEK)]
    expected[1] = [("pat.expiring", "two days", 86_400)]
    expected[2] = [("pat.expired", "two days", None)]
    expected[3] = [("pat.expiring", "ten days", WEEK)]
    expected[9] = [("pat.expiring", "ten days", 86_400)]
    expected[10] = [("pat.expired", "ten days", None)]
    assert seen == expected


def test_an_event_says_whose_pat_expires_and_when(world: Authority, clock: Clock, events: Trail) -> None:
    issued = issue(world, "ci", owner=Owner("bob"), expires_in=timedelta(days=2))
    events()
    assert run(world) == [issued.pat.id]
    expires = format_ms(issued.pat.expires_ms)
    facts = {"patId": issued.pat.id, "ownerId": "bob", "name": "ci", "expires": expires}
    (event,) = events()
    assert event.items() >= {"type": "pat.expiring", "outcome": "done", **facts, "within": WEEK}.items()
    clock.now = issued.pat.expires_ms
    assert run(world) == [issued.pat.id]
    (event,) = events()
    assert event.items() >= {"type": "pat.expired", "outcome": "done", **facts}.items()
    assert "within" not in event


def test_it_is_due_at_the_very_millisecond(world: Authority, clock: Clock) -> None:
    issued = issue(world, expires_in=timedelta(days=30))
    for before, found in ((7 * DAY + 1, 0), (7 * DAY, 1), (1, 0), (0, 1), (-1, 0)):
        clock.now = issued.pat.expires_ms - before
        assert len(run(world)) == found, before


def test_a_new_expiry_is_announced_again(world: Authority, clock: Clock, events: Trail) -> None:
    issued = issue(world, expires_in=timedelta(days=2))
    assert run(world) == [issued.pat.id]
    world.update(issued.pat.id, expires_in=timedelta(days=3))
    assert run(world) == [issued.pat.id]
    world.update(issued.pat.id, name="another")
    world.rotate(issued.pat.id)
    assert run(world) == []
    world.update(issued.pat.id, never_expires=True)
    clock.advance(10 * DAY)
    assert run(world) == []


def test_removed_pats_and_those_of_other_tenants_have_none(make: Make, clock: Clock, events: Trail) -> None:
    authority, other = make(clock=clock), make(clock=clock, tenant="other")
    gone = issue(authority, "gone", expires_in=timedelta(days=1))
    issue(other, "theirs", expires_in=timedelta(days=1))
    disabled = issue(authority, "disabled", expires_in=timedelta(days=1))
    authority.delete(gone.pat.id)
    authority.disable(disabled.pat.id)
    assert run(authority) == [disabled.pat.id]


def test_many_at_once_send_each_event_once(make_at: Make, clock: Clock, events: Trail) -> None:
    """Each has an Authority of its own, as on another machine."""
    authority = make_at(clock=clock, max_pats_per_owner=1000)
    ids = {issue(authority, f"p{n}", expires_in=timedelta(days=1 + n % 9)).pat.id for n in range(150)}
    many = [make_at(clock=clock) for _ in range(6)]
    found: list[list[str]] = [[] for _ in many]
    events()
    begin = threading.Barrier(len(many))

    def one(place: int) -> None:
        begin.wait(20)
        found[place] = run(many[place], WEEK, 2 * WEEK)

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(many))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [pat_id for ids_of_one in found for pat_id in ids_of_one]
    week = sum(1 + n % 9 <= 7 for n in range(150))
    assert (len(every), set(every)) == (150 + week, ids)
    assert len(set(map(tuple, sent(events)))) == len(every)


class Failing:
    """A sink that takes `left` events and no more."""

    name = "failing"
    dropped = 0
    is_on = True

    def __init__(self, left: int) -> None:
        self.left = left
        self.taken: list[str] = []

    def take(self, event: Any) -> None:
        self.left -= 1
        if self.left < 0:
            self.dropped += 1
        else:
            self.taken.append(event["name"])

    def end(self, seconds: float) -> None:
        pass

    def close(self, seconds: float) -> list[str]:
        return []


def with_sink(authority: Authority, *sinks: Failing) -> Failing:
    authority.operations.events = Events(*sinks)
    return sinks[0]


@pytest.mark.parametrize("after", [0, 3, 49, 50, 69])
def test_what_a_sink_did_not_take_is_sent_by_the_next_run(world: Authority, after: int) -> None:
    """With what belongs to the same piece: which of its events was dropped is not known."""
    for number in range(70):
        issue(world, f"p{number}", expires_in=timedelta(days=1))
    broken = with_sink(world, Failing(after))
    with pytest.raises(NotSent):
        run(world)
    whole = with_sink(world, Failing(1000))
    run(world)
    assert len(broken.taken) == after
    assert set(broken.taken) | set(whole.taken) == {f"p{number}" for number in range(70)}
    assert len(whole.taken) == len(set(whole.taken)) == 70 - 50 * (after // 50)


def test_an_event_that_one_of_several_sinks_did_not_take_is_sent_again(world: Authority) -> None:
    """Whichever it is, and whatever they are called: two webhooks may have one origin."""
    issued = issue(world, expires_in=timedelta(days=1))
    for left in ((0, 1000), (1000, 0)):
        with_sink(world, *map(Failing, left))
        with pytest.raises(NotSent):
            run(world)
    with_sink(world, Failing(1000), Failing(1000))
    assert run(world) == [issued.pat.id]


def test_an_event_that_is_refused_holds_up_no_other_and_keeps_its_id(world: Authority) -> None:
    """A PAT whose name the receiver does not like, for one, keeps nobody else from being warned."""
    for number in range(70):
        issue(world, f"p{number}", expires_in=timedelta(days=1))

    class Picky(Failing):
        def __init__(self) -> None:
            super().__init__(1000)
            self.refused: list[str] = []

        def take(self, event: Any) -> None:
            if event["name"] == "p7":
                self.refused.append(event["id"])
            else:
                super().take(event)

        def close(self, seconds: float) -> list[str]:
            left = self.refused[-1:] if len(self.refused) > self.dropped else []
            self.dropped += len(left)
            return left

    picky = Picky()
    with_sink(world, picky)
    for taken in (69, 69):
        with pytest.raises(NotSent):
            run(world)
        assert len(picky.taken) == len(set(picky.taken)) == taken
    assert len(picky.refused) == 2
    assert len(set(picky.refused)) == 1
    with_sink(world, Failing(1000))
    assert len(run(world)) == 1


def test_nothing_is_marked_where_no_sink_would_take_it(world: Authority) -> None:
    issued = issue(world, expires_in=timedelta(days=1))

    class Off(Failing):
        is_on = False

    for events in (Events(), Events(Off(1000))):
        world.operations.events = events
        with pytest.raises(ConfigurationError, match="no sink"):
            run(world)
    with_sink(world, Off(1000), Failing(1000))
    assert run(world) == [issued.pat.id]


def test_a_sink_has_time_to_deliver_each_piece(world: Authority) -> None:
    """So a queue never gets more than that, and what is dropped in the end is seen."""
    for number in range(70):
        issue(world, f"p{number}", expires_in=timedelta(days=1))
    waiting: list[int] = []

    class Slow(Failing):
        def close(self, seconds: float) -> list[str]:
            waiting.append(len(self.taken))
            assert seconds >= 10
            return []

    with_sink(world, Slow(1000))
    run(world)
    assert waiting == [50, 70]
    for number in range(3):
        issue(world, f"q{number}", expires_in=timedelta(days=1))

    class Late(Failing):
        def close(self, seconds: float) -> list[str]:
            self.dropped += 1
            return []

    with_sink(world, Late(1000))
    with pytest.raises(NotSent):
        run(world)
    assert len(with_sink(world, Failing(1000)).taken) == 0
    assert len(run(world)) == 3


def test_an_interrupted_run_gives_its_marks_back(world: Authority) -> None:
    issue(world, expires_in=timedelta(days=1))

    class Interrupted(Failing):
        def close(self, seconds: float) -> None:
            raise KeyboardInterrupt

    with_sink(world, Interrupted(1000))
    with pytest.raises(KeyboardInterrupt):
        run(world)
    with_sink(world, Failing(1000))
    assert len(run(world)) == 1


def test_who_is_killed_between_mark_and_event_costs_one_piece_at_the_most(
    world: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        issue(world, f"p{number}", expires_in=timedelta(days=1))
    with monkeypatch.context() as patched:  # nothing is taken back: the process is not there any more
        patched.setattr(module, "_give_back", lambda *_: None)
        with_sink(world, Failing(0))
        with pytest.raises(NotSent):
            run(world)
    with_sink(world, Failing(1000))
    assert len(run(world)) == 120 - 50


def test_a_mark_that_cannot_be_taken_back_is_said(
    world: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issue(world, expires_in=timedelta(days=1))

    def unreachable(self: Notices, notices: object) -> None:
        raise StoreUnavailable(detail="for this test")

    monkeypatch.setattr(Notices, "give_back", unreachable)
    with_sink(world, Failing(0))
    with caplog.at_level(logging.WARNING, "patauth"), pytest.raises(NotSent):
        run(world)
    assert "1 event of expiries will never be sent: for this test" in caplog.text


def test_a_call_whose_answer_was_lost_is_repeated_without_losing_the_notice(world: Authority) -> None:
    issued = issue(world, expires_in=timedelta(days=1))
    notices = world.operations.actor(None).store.notices
    notice = Notice(world.operations.format.basic(issued.pat.id, issued.secret).pat_id, 5, 7)
    assert [notices.claim([notice], who, [60_000])[0] for who in (b"a", b"b", b"a")] == [True, False, True]
    notices.give_back([notice])
    assert notices.claim([notice], b"b", [60_000]) == [True]


def test_marks_go_when_nothing_can_be_announced_any_more(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(clock=clock, retention="10d")
    issue(authority, "soon", expires_in=timedelta(days=2))
    lasts: list[int] = []
    claim = Notices.claim

    def noted(self: Notices, notices: Any, who: bytes, last_ms: Any) -> list[bool]:
        lasts.extend(last_ms)
        return claim(self, notices, who, last_ms)

    monkeypatch.setattr(Notices, "claim", noted)
    run(authority)
    clock.advance(2 * DAY)
    run(authority)
    assert lasts == [3 * DAY, 11 * DAY]


@pytest.mark.parametrize("within", [(), (0,), (-1,), (1, 0), (3660 * 86_400 + 1,)])
def test_thresholds_are_seconds_before_the_end(world: Authority, within: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest):
        notify(world.operations.actor(None), within)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_an_index_is_walked_whole_in_pieces_of_any_size(fresh: Make, scores: list[int], size: int) -> None:
    """Many may have one expiry, more than a piece has."""
    authority = fresh(max_pats_per_owner=1000, create_quota="1000000/1")
    for number, minutes in enumerate(scores):
        issue(authority, f"p{number}", expires_in=timedelta(minutes=10 + minutes))
    index = authority.operations.actor(None).store.without_deadline().tenant_index
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tenant_index, "_AT_ONCE", size)
        pieces = list(index.walk("expirationDate", 0, 2**47))
    found = [entry for piece in pieces for entry in piece.entries]
    assert all(len(piece.entries) <= size for piece in pieces)
    assert len({pat_id for pat_id, _ in found}) == len(found) == len(scores)
    assert [score for _, score in found] == sorted(score for _, score in found)


def test_it_reads_no_more_than_the_window(world: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        issue(world, f"p{number}", expires_in=timedelta(days=1 + number))
    read: list[int] = []
    records = tenant_index.TenantIndex.records

    def noted(self: Any, pat_ids: Any, now: int) -> Any:
        read.append(len(pat_ids))
        return records(self, pat_ids, now)

    monkeypatch.setattr(tenant_index.TenantIndex, "records", noted)
    assert len(run(world, 3 * 86_400)) == 3
    assert sum(read) == 3


def test_an_expiry_that_the_index_does_not_know_yet_is_announced(
    world: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is in another slot than the record, and is written after it."""
    issued = issue(world, expires_in=timedelta(days=300))
    with monkeypatch.context() as patched:
        patched.setattr(tenant_index.TenantIndex, "changed", lambda *_: None)
        world.update(issued.pat.id, expires_in=timedelta(days=2))
    clock.advance(2 * MINUTE)
    assert run(world) == [issued.pat.id]
