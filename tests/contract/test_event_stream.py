"""The stream of events: what it keeps, what it loses and says so, and how workers share it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials
from patauth.errors import StoreUnavailable
from patauth.events.delivery import AT_ONCE, LEFT, REFUSALS, Delivery, group_of
from patauth.events.webhook import WHOLE, Webhook
from patauth.store import event_stream
from patauth.store.event_stream import EventStream
from patauth.store.keys import Keys
from tests.support.acl import EVENTS, ON_SERVER, granted, logged_in
from tests.support.authorities import Make, basic, basic_of, issue, patient
from tests.support.receivers import (
    KEY,
    SECRET,
    Receiver,
    answers,
    drips,
    hangs,
    in_turn,
    receiving,
    says,
    takes,
)
from tests.support.servers import Server, binaries, shared_engines, until
from tests.support.tables import each

Open = Callable[..., EventStream]
LINES = [json.dumps({"id": f"{number:032x}", "type": "pat.created"}) for number in range(3000)]


@pytest.fixture
def stream(make: Make) -> Open:
    """Makes the stream `audit` on each engine, with room for `most` events, about."""
    authority = make()

    def open_stream(most: int = event_stream.MOST) -> EventStream:
        found = authority.operations._store.event_stream("audit")
        found._most = most
        return found

    return open_stream


def ids(lines: list[str]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


def taken(of: EventStream, group: str = "g", worker: str = "w", **given: Any) -> list[str]:
    """All that a worker takes and finishes of the changes; what is lost comes first, as `lost N`."""
    lines: list[str] = []
    lost = 0
    while True:
        found = of.take("changes", group, worker, count=100, left_ms=60_000, **given)
        lost += found.lost
        if not found.entries:
            return [f"lost {lost}", *lines] if lost else lines
        for entry in found.entries:
            lines.append(entry.line)
            of.done(group, entry)


def waiting(events: EventStream) -> dict[str, int]:
    return {group: found.events for group, found in events.counts().waiting.items()}


class TestStream:
    def test_each_group_takes_each_event_once_and_in_order(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:150])
        events.begin("other")
        events.begin("g")
        assert taken(events) == LINES[:150]
        assert taken(events) == []
        events.add("changes", LINES[150:200])
        assert taken(events) == LINES[150:200]
        assert taken(events, "other") == LINES[:200]

    def test_workers_share_what_is_there(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:20])
        one = events.take("changes", "g", "one", count=10, left_ms=60_000)
        other = events.take("changes", "g", "other", count=100, left_ms=60_000)
        assert [entry.line for entry in one.entries + other.entries] == LINES[:20]

    def test_what_a_worker_has_taken_and_not_finished_goes_to_the_next_one(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:5])
        killed = events.take("changes", "g", "killed", count=5, left_ms=60_000)
        events.done("g", killed.entries[0])
        assert events.take("changes", "g", "next", count=5, left_ms=60_000).entries == []
        left = events.take("changes", "g", "next", count=8, left_ms=0)
        assert [entry.line for entry in left.entries] == LINES[1:5]
        assert left.lost == 0

    def test_new_events_have_at_least_half_of_the_places(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:50])
        events.take("changes", "g", "killed", count=50, left_ms=60_000)
        events.add("changes", LINES[50:60])
        found = events.take("changes", "g", "next", count=10, left_ms=0)
        assert [entry.line for entry in found.entries] == [*LINES[50:55], *LINES[:5]]

    def test_each_refusal_doubles_what_an_event_waits_and_the_last_one_ends_it(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:1])
        (entry,) = events.take("changes", "g", "w", count=2, left_ms=60_000).entries
        for _ in range(3):
            assert not events.refused("g", "w", entry, 5)
        # What counts as left after no time at all does so after every refusal, and after 1 ms not yet.
        assert events.take("changes", "g", "other", count=2, left_ms=60_000).entries == []
        assert events.take("changes", "g", "other", count=2, left_ms=0).entries == [entry]
        assert not events.refused("g", "other", entry, 5)
        assert events.refused("g", "other", entry, 5)
        assert not events.refused("g", "other", entry, 5), "it is given up once"
        assert events.take("changes", "g", "other", count=2, left_ms=0).entries == []
        assert events.counts().lost == 1

    def test_all_that_was_left_is_found_however_much_it_is(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:500])
        events.take("changes", "g", "killed", count=500, left_ms=60_000)
        found: set[str] = set()
        start = b"0-0"
        for _ in range(200):
            some = events.take("changes", "g", "next", count=10, left_ms=0, start=start)
            start = some.next
            for entry in some.entries:
                found.add(entry.line)
                events.done("g", entry)
        assert found == set(LINES[:500])

    def test_a_full_stream_says_how_many_events_it_has_lost(self, stream: Open) -> None:
        events = stream(most=100)
        events.begin("g")
        for at in range(0, 3000, 100):
            events.add("changes", LINES[at : at + 100])
        first, *lines = taken(events)
        assert lines == LINES[-len(lines) :]
        assert first == f"lost {3000 - len(lines)}"
        assert 100 <= len(lines) <= 300
        assert events.counts().lost == 3000 - len(lines)
        assert taken(events) == [], "they are lost once"

    def test_a_group_that_begins_late_has_lost_nothing(self, stream: Open) -> None:
        events = stream(most=100)
        for at in range(0, 1000, 100):
            events.add("changes", LINES[at : at + 100])
        events.begin("g")
        lines = taken(events)
        assert lines == LINES[1000 - len(lines) : 1000]

    def test_what_is_lost_after_it_was_taken_is_counted_too(self, stream: Open) -> None:
        events = stream(most=100)
        events.begin("g")
        events.add("changes", LINES[:10])
        events.take("changes", "g", "killed", count=10, left_ms=60_000)
        for at in range(0, 1000, 100):
            events.add("changes", LINES[at : at + 100])
        found = events.take("changes", "g", "next", count=100, left_ms=0)
        assert found.lost == 10 + LINES.index(found.entries[0].line)

    def test_a_flood_of_refusals_evicts_no_change(self, stream: Open) -> None:
        events = stream(most=100)
        events.begin("g")
        events.add("changes", LINES[:3])
        for at in range(0, 3000, 100):
            events.add("refusals", LINES[at : at + 100])
        assert taken(events) == LINES[:3]
        assert events.counts().refusals <= 300

    def test_the_counts_say_what_waits_for_whom_and_what_was_dropped(self, stream: Open) -> None:
        events = stream()
        assert events.counts() == (0, 0, 0, 0, {}, (0, 0))
        events.begin("g")
        events.begin("other")
        events.add("changes", LINES[:5], dropped=7)
        events.add("refusals", LINES[:2], dropped=1)
        taken(events)
        counts = events.counts()
        assert counts[:4] == (5, 2, 8, 0)
        assert waiting(events) == {"g": 2, "other": 7}
        assert counts.there.events == 7

    def test_what_was_taken_and_not_delivered_waits(self, stream: Open) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:5])
        entry, *_ = events.take("changes", "g", "w", count=3, left_ms=60_000).entries
        assert waiting(events) == {"g": 5}
        events.done("g", entry)
        assert waiting(events) == {"g": 4}

    def test_the_counts_say_how_old_the_oldest_event_is_that_waits(self, stream: Open) -> None:
        """Taken or not; a place in a stream begins with the time by the clock of the server."""
        events = stream()
        key = events._keys.changes
        events._scripts.call([("XADD", key, "1000-0", "number", 1, "event", LINES[0])], retry=False)
        events.add("changes", LINES[1:3])
        events.begin("new")
        events.begin("g")
        first = events.take("changes", "g", "w", count=1, left_ms=60_000).entries[0]
        counts = events.counts()
        ages = [counts.there.age, counts.waiting["new"].age, counts.waiting["g"].age]
        assert len(set(ages)) == 1
        assert ages[0] == pytest.approx(time.time() - 1, abs=60)
        events.done("g", first)
        assert 0 <= events.counts().waiting["g"].age < 60
        taken(events)
        assert events.counts().waiting["g"] == (0, 0)

    @shared_engines
    def test_what_others_write_into_the_stream_is_no_event(
        self, stream: Open, engine: str, servers: dict[str, Server], prefix: str
    ) -> None:
        events = stream()
        events.begin("g")
        with servers[engine].client() as client:
            key = Keys(prefix, "default").events("audit").changes
            client.xadd(key, {"x": "y"})
            client.xadd(key, {"number": "no number", "event": b"\xff{"})
        events.add("changes", LINES[:1])
        found = events.take("changes", "g", "w", count=10, left_ms=60_000)
        assert [entry.line for entry in found.entries] == ["", "\ufffd{", LINES[0]]
        assert found.lost == 0

    @shared_engines
    def test_a_worker_that_leaves_is_forgotten_unless_it_has_taken_something(
        self, stream: Open, engine: str, servers: dict[str, Server], prefix: str
    ) -> None:
        events = stream()
        events.begin("g")
        events.add("changes", LINES[:2])
        events.take("changes", "g", "busy", count=1, left_ms=60_000)
        idle = events.take("changes", "g", "idle", count=1, left_ms=60_000)
        events.done("g", idle.entries[0])
        for worker in ("busy", "idle"):
            events.leave("g", worker)
        with servers[engine].client() as client:
            key = Keys(prefix, "default").events("audit").changes
            assert [one["name"] for one in client.xinfo_consumers(key, "g")] == [b"busy"]

    def test_streams_of_two_names_or_prefixes_share_nothing(self, make: Make, prefix: str) -> None:
        store = make().operations._store
        store.event_stream("one").add("changes", LINES[:3])
        assert store.event_stream("other").counts().changes == 0


def test_the_rights_that_the_documents_give_are_those_that_are_needed(tmp_path: Path) -> None:
    own = Server(binaries()["redis-server"], tmp_path, "--user", *EVENTS)
    try:
        with patient(logged_in(own.url), events="stream:audit") as authority:
            authority.ping()
            before = set(own.calls())
            events = authority.operations._store.event_stream("audit")
            events.begin("g")
            events.add("changes", LINES[:2])
            taken(events)
            events.add("changes", LINES[2:3])
            (entry,) = events.take("changes", "g", "w", count=1, left_ms=0).entries
            events.refused("g", "w", entry, 5)
            events.take("changes", "g", "other", count=1, left_ms=0)
            events.leave("g", "w")
            events.begin("new")
            events.take("changes", "new", "w", count=1, left_ms=60_000)
            events.counts()
            assert granted(EVENTS) - granted(ON_SERVER) <= set(own.calls()) - before
    finally:
        own.stop()


# -- from an operation into the stream -----------------------------------------------------------------------


def lines_of(authority: Authority, part: str = "changes") -> list[dict[str, Any]]:
    """The events that are in the stream `audit` of an Authority."""
    store = authority.operations._store.event_stream("audit")
    store.begin("test")
    found = store.take(part, "test", "w", count=2000, left_ms=60_000)  # type: ignore[arg-type]
    return [json.loads(entry.line) for entry in found.entries]


def test_a_change_and_a_refusal_go_each_to_its_stream(make: Make) -> None:
    authority = make(events="log stream:audit")
    issued = issue(authority)
    authority.exchange(issued.pat.id, issued.secret)
    for _ in range(3):
        with pytest.raises(Exception):  # noqa: B017 - refused
            authority.authenticate(basic("0" * 32, "pats_x"), address="203.0.113.9")
    authority.delete(issued.pat.id)
    authority.operations.events.close(10)
    assert [one["type"] for one in lines_of(authority)] == ["pat.created", "token.issued", "pat.revoked"]
    (refused,) = lines_of(authority, "refusals")
    assert (refused["type"], refused["address"], refused["count"]) == (
        "credentials.refused",
        "203.0.113.9",
        3,
    )
    assert authority.operations.events.dropped == 0


def test_a_request_that_is_accepted_costs_no_event_and_no_command(make_at: Make, server: Server) -> None:
    authority = make_at(events="stream:audit")
    issued = issue(authority)
    authority.authenticate(basic_of(issued))
    authority.operations.events.close(10)
    before = server.calls()
    for _ in range(20):
        authority.authenticate(basic_of(issued))
    authority.operations.events.close(10)
    after = server.calls()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["evalsha"] == 20
    assert grown.get("xadd", 0) == 0


def test_a_flood_from_thousands_of_addresses_is_few_entries_and_no_change_is_missing(make_at: Make) -> None:
    authority = make_at(events="stream:audit")
    first = issue(authority, "before")
    for number in range(3000):
        with pytest.raises(InvalidCredentials):
            authority.authenticate("Bearer x", address=f"10.0.{number >> 8}.{number & 255}")
    authority.delete(first.pat.id)
    authority.operations.events.close(30)
    assert [one["type"] for one in lines_of(authority)] == ["pat.created", "pat.revoked"]
    counted = lines_of(authority, "refusals")
    assert sum(one["count"] for one in counted) == 3000
    assert len(counted) <= 1001
    assert authority.operations.events.dropped == 0


def test_while_the_store_is_down_events_wait_and_none_is_lost(tmp_path: Path) -> None:
    own = Server(binaries()["valkey"], tmp_path)
    try:
        with patient(own.url, events="stream:audit") as authority:
            authority.ping()
            own.kill()
            for number in range(500):
                authority.operations.events.emit("pat.expiring", patId=f"{number}")
            own.start()
            until(lambda: authority.operations.event_counts() is not None)
            authority.operations.events.close(30)
            assert [one["patId"] for one in lines_of(authority)] == [f"{number}" for number in range(500)]
            assert authority.operations.events.dropped == 0
    finally:
        own.stop()


def test_a_full_memory_is_waited_for_and_delays_no_call(tmp_path: Path) -> None:
    """Removals work without memory, and what they tell waits until there is some."""
    own = Server(binaries()["valkey"], tmp_path, "--maxmemory-policy", "noeviction")
    try:
        with patient(own.url, events="stream:audit") as authority, own.client() as client:
            issued = issue(authority)
            until(lambda: authority.operations.event_counts()[0] == 1)  # type: ignore[index]
            client.config_set("maxmemory", "1")
            authority.delete(issued.pat.id)
            client.config_set("maxmemory", "0")
            until(lambda: authority.operations.event_counts()[0] == 2)  # type: ignore[index]
            assert [one["type"] for one in lines_of(authority)] == ["pat.created", "pat.revoked"]
    finally:
        own.stop()


# -- from the stream to a webhook ----------------------------------------------------------------------------


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def worker(events: EventStream, receiver: Receiver, name: str = "w", **given: Any) -> tuple[Delivery, Timer]:
    timer = Timer()
    webhook = Webhook(receiver.url, [KEY], whole=1.0)
    values = {"left_ms": 60_000, "timer": timer, "by": lambda: 1.0, **given}
    return Delivery(events, webhook, group_of(receiver.url), name, **values), timer


def deliver_all(delivery: Delivery, timer: Timer, steps: int = 10_000) -> None:
    """Take steps until nothing waits; time passes as it must."""
    for _ in range(steps):
        pause = delivery.step()
        if pause is None:
            return
        timer.now += pause
    raise AssertionError("it did not come to an end")


@pytest.fixture
def audit(make_at: Make) -> EventStream:
    """The stream on one real engine."""
    return make_at().operations._store.event_stream("audit")


def test_a_try_of_all_that_a_worker_takes_ends_before_another_takes_it() -> None:
    assert AT_ONCE * WHOLE * 1000 < LEFT


def test_all_events_of_both_streams_are_delivered_and_verified(audit: EventStream) -> None:
    with receiving() as receiver:
        delivery, timer = worker(audit, receiver)
        audit.add("changes", LINES[:30])
        audit.add("refusals", LINES[30:40])
        deliver_all(delivery, timer)
        taken = [event["id"] for event in receiver.taken]
        assert [one for one in taken if one in ids(LINES[:30])] == ids(LINES[:30])
        assert sorted(taken) == ids(LINES[:40])
        assert (delivery.delivered, delivery.refused, delivery.lost) == (40, 0, 0)
        assert set(waiting(audit).values()) == {0}


@each(
    "trouble",
    [
        answers(500),
        answers(302, ("Location", "http://127.0.0.1:1/")),
        answers(429, ("Retry-After", "9999999")),
        says(b"garbage\r\n\r\n"),
        says(b""),
        drips,
    ],
)
@pytest.mark.system
def test_whatever_a_receiver_does_nothing_is_lost_once_it_is_back(make_at: Make, trouble: Any) -> None:
    """Each event that it did not take waits in the group; the pauses grow to a minute."""
    audit = make_at().operations._store.event_stream(f"s{id(trouble)}")
    with receiving(in_turn(*[trouble] * 3, takes)) as receiver:
        delivery, timer = worker(audit, receiver, left_ms=0)
        audit.add("changes", LINES[:12])
        deliver_all(delivery, timer)
        assert receiver.ids == set(ids(LINES[:12]))
        assert delivery.refused == 3
        assert timer.now >= 3 * 0.5


def test_a_receiver_that_is_down_gets_everything_when_it_is_back(audit: EventStream) -> None:
    with receiving() as receiver:
        url, port = receiver.url, int(receiver.url.split(":")[2].split("/")[0])
    audit.begin(group_of(url))
    audit.add("changes", LINES[:5])
    delivery, timer = worker(audit, receiver, left_ms=0)
    for _ in range(5):
        timer.now += delivery.step() or 0
    assert (delivery.delivered, delivery.failures) == (0, 5)
    assert "cannot be reached" in str(delivery.problem)
    with receiving(port=port) as back:
        deliver_all(delivery, timer)
        assert back.ids == set(ids(LINES[:5]))
    assert delivery.failures == 0


def test_one_event_that_is_never_taken_holds_up_no_other(audit: EventStream) -> None:
    def behave(handler: Any) -> None:
        (answers(400) if handler.headers["webhook-id"] == ids(LINES)[0] else takes)(handler)

    with receiving(behave) as receiver:
        delivery, timer = worker(audit, receiver)
        audit.add("changes", LINES[:25])
        deliver_all(delivery, timer)
        assert receiver.ids == set(ids(LINES[1:25]))


class Aging:
    """Makes time pass on a server: what a group has taken has been there for longer."""

    def __init__(self, server: Server, prefix: str, group: str, stream: str = "audit") -> None:
        self._client = server.client()
        self._key = Keys(prefix, "default").events(stream).changes
        self._group = group

    def pass_by(self, seconds: float) -> None:
        for one in self._client.xpending_range(self._key, self._group, "-", "+", 100_000):
            idle = one["time_since_delivered"] + round(1000 * seconds)
            self._client.xclaim(
                self._key, self._group, one["consumer"], 0, [one["message_id"]],
                idle=idle, retrycount=one["times_delivered"], justid=True,
            )  # fmt: skip

    def close(self) -> None:
        self._client.close()


@each(
    "trouble, first, most",
    [(answers(500), 32, 32), (says(b""), 30 * 60, 150)],
)
@pytest.mark.system
def test_thirty_events_that_are_never_taken_delay_no_other_for_long(
    make_at: Make, server: Server, prefix: str, trouble: Any, first: float, most: float
) -> None:
    """A good event each minute for two hours, while those of a stranger are refused again and again.

    Where they look as if the receiver were away, only their first turn delays the others for longer.
    """
    name = f"s{id(trouble)}"
    audit = make_at().operations._store.event_stream(name)
    bad = set(ids(LINES[:30]))

    def behave(handler: Any) -> None:
        (trouble if handler.headers["webhook-id"] in bad else takes)(handler)

    with receiving(behave) as receiver:
        delivery, timer = worker(audit, receiver, left_ms=LEFT)
        aging = Aging(server, prefix, group_of(receiver.url), name)
        audit.add("changes", LINES[:30])
        added: dict[str, float] = {}
        delays: list[float] = []
        while timer.now < 2 * 3600:
            if timer.now >= 60 * (len(added) + 1):
                line = LINES[30 + len(added)]
                audit.add("changes", [line])
                added[ids([line])[0]] = timer.now
            known = len(receiver.taken)
            pause = delivery.step()
            delays += [timer.now - added[event["id"]] for event in receiver.taken[known:]]
            # Nothing is due for long: the next event comes before that.
            pause = min(60 * (len(added) + 1) - timer.now, 30.0) if pause is None else pause
            if pause:
                timer.now += max(pause, 0.01)
                aging.pass_by(max(pause, 0.01))
        aging.close()
        assert len(delays) >= len(added) - 2
        assert max(delays) <= first
        assert max(delays[40:]) <= most
        assert delivery.abandoned == 0
        tries = [one for one in receiver.tries if one in bad]
        assert 30 * 5 <= len(tries) <= 30 * 8, "each has its own growing pauses"


def test_an_event_is_given_up_after_three_days_of_refusals_and_that_is_counted(
    audit: EventStream, server: Server, prefix: str
) -> None:
    """Workers come and go meanwhile: the group knows how often the event was refused."""
    with receiving(answers(422)) as receiver:
        aging = Aging(server, prefix, group_of(receiver.url))
        audit.add("changes", LINES[:1])
        passed, abandoned, tried = 0, 0, list[int]()
        while not abandoned:
            delivery, _ = worker(audit, receiver, f"w{passed}", left_ms=LEFT)
            delivery.step()
            delivery.close()
            tried += [passed] * delivery.refused
            abandoned += delivery.abandoned
            passed += 120
            aging.pass_by(120)
        aging.close()
        assert len(tried) == len(receiver.tries) == REFUSALS
        assert 3 * 86_400 <= passed < 3.1 * 86_400
        pauses = [after - before for before, after in pairwise(tried)]
        assert pauses == [60 * minutes for minutes in (4, 8, 16, 32, *[60] * (REFUSALS - 5))]
        assert audit.counts().lost == 1
        delivery, _ = worker(audit, receiver, left_ms=0)
        assert delivery.step() is None


def test_while_the_receiver_is_away_nothing_counts_as_refused(audit: EventStream) -> None:
    """So it may be away for as long as the stream has room; a proxy in front of it may answer meanwhile."""
    with receiving(in_turn(*[answers(503)] * (REFUSALS + 10), takes)) as receiver:
        delivery, timer = worker(audit, receiver, left_ms=0)
        audit.add("changes", LINES[:3])
        deliver_all(delivery, timer)
        assert (delivery.abandoned, receiver.ids) == (0, set(ids(LINES[:3])))


def test_410_ends_the_deliveries_and_the_events_stay(audit: EventStream) -> None:
    with receiving(answers(410)) as receiver:
        delivery, _ = worker(audit, receiver)
        audit.add("changes", LINES[:2])
        delivery.step()
        assert delivery.is_gone
        assert audit.counts().changes == 2


def test_several_workers_deliver_each_event_once(audit: EventStream) -> None:
    audit.add("changes", LINES[:200])
    with receiving() as receiver:
        workers = [worker(audit, receiver, f"w{number}") for number in range(4)]
        threads = [threading.Thread(target=deliver_all, args=pair) for pair in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(receiver.tries) == sorted(ids(LINES[:200]))


def test_a_worker_that_pauses_for_long_leaves_what_it_has_taken_to_others(audit: EventStream) -> None:
    """Otherwise both would post it."""
    with receiving(in_turn(*[answers(503)] * 9, takes)) as receiver:
        slow, timer = worker(audit, receiver, "slow")
        audit.add("changes", LINES[:AT_ONCE])
        deliver_all(slow, timer)
        assert 100 < timer.now < 150
        assert len(receiver.tries) == slow.refused == 8, "the last two are not its own any more"
        deliver_all(*worker(audit, receiver, "other", left_ms=0))
        assert receiver.ids == set(ids(LINES[:AT_ONCE]))


def test_one_that_is_answered_and_not_noted_comes_again_with_its_id(
    audit: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails between the receiver's answer and the note: at least once, not at most once."""

    def fails(*_: Any) -> None:
        monkeypatch.undo()
        raise StoreUnavailable(detail="gone")

    monkeypatch.setattr(audit, "done", fails)
    audit.add("changes", LINES[:1])
    with receiving() as receiver:
        delivery, timer = worker(audit, receiver, left_ms=0)
        deliver_all(delivery, timer)
        assert receiver.tries == ids(LINES[:1]) * 2


def test_what_is_no_event_is_skipped(audit: EventStream) -> None:
    audit.add("changes", ["no event", LINES[0]])
    with receiving() as receiver:
        delivery, timer = worker(audit, receiver)
        deliver_all(delivery, timer)
        assert (delivery.skipped, receiver.ids) == (1, set(ids(LINES[:1])))


def test_it_goes_on_when_somebody_has_removed_the_stream(
    audit: EventStream, server: Server, prefix: str
) -> None:
    with receiving() as receiver:
        delivery, timer = worker(audit, receiver)
        audit.add("changes", LINES[:2])
        deliver_all(delivery, timer)
        with server.client() as client:
            client.delete(*Keys(prefix, "default").events("audit"))
        assert delivery.step() is not None
        audit.add("changes", LINES[2:4])
        deliver_all(delivery, timer)
        assert receiver.ids == set(ids(LINES[:4]))


# -- without a stream ----------------------------------------------------------------------------------------


def test_a_webhook_alone_posts_what_happens(make_at: Make) -> None:
    with receiving() as receiver:
        authority = make_at(events=f"webhook:{receiver.url}", webhook_secret=[SECRET])
        issued = issue(authority)
        authority.delete(issued.pat.id)
        authority.operations.events.close(30)
        assert [event["type"] for event in receiver.taken] == ["pat.created", "pat.revoked"]


def test_with_a_stream_only_the_workers_post(make_at: Make) -> None:
    with receiving() as receiver:
        authority = make_at(events=["stream:audit", f"webhook:{receiver.url}"], webhook_secret=SECRET)
        issue(authority)
        authority.operations.events.close(30)
        assert receiver.tries == []
        assert [one["type"] for one in lines_of(authority)] == ["pat.created"]


@each("behaviour", [hangs, drips])
def test_no_request_waits_for_a_receiver(make_at: Make, behaviour: Any) -> None:
    """While one post hangs, calls come to their end, and all that they add is one thread."""
    with receiving(behaviour) as receiver:
        authority = make_at(events=f"webhook:{receiver.url}", webhook_secret=SECRET)
        authority.list()  # what the store itself needs is there then
        before = threading.active_count() - _of_receivers()
        issue(authority, f"{id(behaviour)}")
        until(lambda: receiver.tries)
        for number in range(5):
            issue(authority, f"{id(behaviour)} {number}")
        assert authority.revoke_owner("alice") == 6
        assert len(receiver.tries) == 1, "it is still the first one"
        name = f"patauth webhook:{receiver.url.partition('/hook')[0]}"
        (own,) = [one for one in threading.enumerate() if one.name == name]
        assert own.daemon
        assert threading.active_count() - _of_receivers() == before + 1
        authority.operations.events.close(0.01)


def _of_receivers() -> int:
    return len([one for one in threading.enumerate() if "process_request_thread" in one.name])
