"""The watch over a primary's address: whom it believes, for how long, and what it does with late answers.

Time is what the tests say it is. Real Sentinels are in tests/system/test_sentinel.py.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

import pytest

from patauth import Authority, ConfigurationError, StoreUnavailable
from patauth.store.transport import sentinel as sentinel_module
from patauth.store.transport.protocol import Unanswered
from patauth.store.transport.sentinel import (
    PATIENCE,
    TRUST,
    Answer,
    NotPrimary,
    Panel,
    Sentinel,
    newest_of,
    read_answer,
    read_replicas,
)
from patauth.store.transport.wire import ErrorReply
from tests.support.internals import transport_of
from tests.support.servers import until
from tests.support.tables import each

A, B, C = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"
START = 1000.0  # s, when each test begins


def says(sentinel: str, address: str = A, epoch: int = 1, total: int = 3, age: float = 0.0) -> Answer:
    return Answer(sentinel, address, epoch, age, {}, total)


ALL_A = [says("1"), says("2"), says("3")]
ALL_B = [says("1", B, 2), says("2", B, 2), says("3", B, 2)]


# -- what Sentinels say -------------------------------------------------------------------------------

OTHER = [b"name", b"x", b"ip", b"10.1.0.2", b"port", b"26379", b"runid", b"second"]
MASTER = [
    b"ip", b"10.0.0.1", b"port", b"6379", b"last-ok-ping-reply", b"1250", b"num-other-sentinels", b"2",
    b"config-epoch", b"7",
]  # fmt: skip


def test_an_answer_has_the_address_the_epoch_and_the_others() -> None:
    assert read_answer([b"me", MASTER, [b"10.0.0.1", b"6379"], [OTHER]]) == Answer(
        "me", A, 7, 1.25, {"10.1.0.2:26379": "second"}, 3
    )
    changing = read_answer([b"me", MASTER, [b"::1", b"6379"], []])
    assert (changing.address, changing.age) == ("[::1]:6379", 0.0), "the age is that of the old primary"
    assert read_answer([b"me", MASTER, [b"db.example", b"1"], []]).address == "db.example:1"


@each(
    "replies",
    [
        [b"me", MASTER, None, []],
        [b"me", MASTER, [b"10.0.0.1"], []],
        [b"me", MASTER, [b"a@b", b"1"], []],
        [b"me", MASTER, [b"h", b"0"], []],
        [b"me", MASTER, [b"h", b"x"], []],
        [b"me", MASTER[:-1], [b"h", b"1"], []],
        [b"me", MASTER[2:], [b"h", b"1"], []],
        [b"me", MASTER[:8], [b"h", b"1"], []],
        [b"me", [*MASTER[:5], b"x", *MASTER[6:]], [b"10.0.0.1", b"6379"], []],
        [b"me", MASTER, [b"h", b"1"], [OTHER[:4]]],
        [1, MASTER, [b"h", b"1"], []],
        [b"me", 1, [b"h", b"1"], []],
        [b"me", MASTER, [b"h", b"1"]],
    ],
)
def test_an_answer_of_another_form_is_none(replies: list[Any]) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        read_answer(replies)
    assert "not understood" in (refused.value.detail or "")


def test_a_sentinel_names_the_replicas_and_those_that_are_never_promoted() -> None:
    never = [b"ip", b"::1", b"port", b"6379", b"slave-priority", b"0"]
    assert read_replicas([OTHER, never]) == {"10.1.0.2:26379": True, "[::1]:6379": False}
    for wrong in (None, [OTHER[:3]], [OTHER[:2]], [[b"ip", b"u@h", b"port", b"1"]], [1]):
        with pytest.raises(StoreUnavailable):
            read_replicas(wrong)


@each(
    ("answers", "address", "age"),
    [
        pytest.param([says("1")], A, inf, id="one of three"),
        pytest.param([says("1", total=1)], A, 0.0, id="the only one"),
        pytest.param([says("1"), says("2")], A, 0.0, id="two of three"),
        pytest.param([says("1", total=4), says("2", total=4)], A, inf, id="half"),
        pytest.param([says("1"), says("2", total=5)], A, inf, id="one knows of more"),
        pytest.param([says("1"), says("2"), says("3", B, 2)], B, 0.0, id="one knows of a failover"),
        pytest.param([says("1", B, 2), says("2")], B, 0.0, id="one of two knows of it"),
        pytest.param([says("1", B, 2)], B, inf, id="it alone"),
        pytest.param([says("1"), says("2", B), says("3", B)], B, 0.0, id="one differs in the same epoch"),
        pytest.param([says("1"), says("2", B)], A, inf, id="they differ in the same epoch"),
        pytest.param([says("1", age=9), says("2", age=1), says("3", age=2)], A, 2, id="the second of three"),
        pytest.param([says("1", age=9), says("2", age=1)], A, 9, id="two of three are both needed"),
        pytest.param([says("1", B, 2, age=1), says("2", age=9)], B, 1, id="heard from the old one"),
        pytest.param([says("1", B, 2, age=1), says("2", B, 1, age=9)], B, 9, id="the same address"),
    ],
)
def test_the_newest_configuration_counts_if_a_majority_does_not_contradict(
    answers: list[Answer], address: str, age: float
) -> None:
    newest, found = newest_of(answers)
    assert (newest.address, found) == (address, age)
    newest, found = newest_of(answers[::-1])
    assert found == age
    if age < inf:
        assert newest.address == address


# -- the watch ----------------------------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(sentinel_module, "monotonic", clock)
    return clock


class Pool:
    """Connections to one address, which answer with it, after what the test does meanwhile."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.on_connect: Callable[[Any], object] | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        self.sent = 0
        self.closed = 0

    def send(self, packed: bytes, count: int, deadline: float, **given: Any) -> list[str]:
        self.sent += 1
        self.meanwhile()
        return [self.address]

    def close(self) -> None:
        self.closed += 1


class Ask:
    """A panel whose Sentinels say what the test says, and a note of how often they were asked."""

    failure = "they are down"

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = answers
        self.asked = 0
        self.closed = 0

    def ask(self, deadline: float) -> Sequence[Answer]:
        self.asked += 1
        return self.answers

    def close(self) -> None:
        self.closed += 1


class Net:
    def __init__(self, answers: Sequence[Answer] = ALL_A, **given: Any) -> None:
        self.pools: list[Pool] = []
        self.panel = Ask(answers)
        self.sentinel = Sentinel(self.panel, self.connect, **given)  # type: ignore[arg-type]

    def connect(self, address: str) -> Any:
        self.pools.append(Pool(address))
        return self.pools[-1]

    def pool(self, address: str) -> Pool:
        return next(pool for pool in reversed(self.pools) if pool.address == address)

    def send(self, retry: bool = False) -> Any:
        at = sentinel_module.monotonic() + 0.5
        return self.sentinel.call([("GET", b"k")], at, retry=retry)[0]

    def why(self, retry: bool = False) -> str:
        with pytest.raises(StoreUnavailable) as refused:
            self.send(retry)
        return refused.value.detail or ""


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    gc.collect()
    until(lambda: not any(thread.name == "patauth-sentinel" for thread in threading.enumerate()))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread asks the Sentinels."""
    monkeypatch.setattr(Sentinel, "_start", lambda _: None)


def heard(*ages: float) -> list[Answer]:
    return [says(str(number), age=age) for number, age in enumerate(ages, 1)]


# What Sentinels answer at which second, and whom the watch then believes until which second.
NOBODY = ("", -inf)
STORIES: dict[str, list[tuple[float, list[Answer], tuple[str, float]]]] = {
    "confirmed again and again": [(0, ALL_A, (A, 3)), (1, ALL_A, (A, 4)), (2, ALL_A[1:], (A, 5))],
    "no majority at first": [(0, ALL_A[:1], NOBODY), (0.5, [], NOBODY), (1, ALL_A[:2], (A, 4))],
    "the majority is lost": [(0, ALL_A, (A, 3)), (1, ALL_A[:1], (A, 3)), (2, [], (A, 3))],
    "and is back": [(0, ALL_A, (A, 3)), (5, ALL_A[:1], (A, 3)), (6, ALL_A, (A, 9))],
    "a failover": [(0, ALL_A, (A, 3)), (1, ALL_B, (B, 4)), (2, ALL_B, (B, 5))],
    "one that one Sentinel knows of": [
        (0, ALL_A, (A, 3)), (1, [says("1", B, 2), *ALL_A[1:]], (B, 4)), (2, ALL_B, (B, 5))
    ],
    "and then does not answer": [
        (0, ALL_A, (A, 3)), (1, [says("1", B, 2), *ALL_A[1:]], (B, 4)), (1.5, ALL_A[1:], (B, 4)),
        (3, ALL_A[1:], (B, 4)), (3.5, ALL_B[1:], (B, 6.5)),
    ],
    "a minority knows of it": [(0, ALL_A, (A, 3)), (1, ALL_B[:1], (A, -inf)), (2, ALL_B, (B, 5))],
    "a minority knows of an older one": [(0, ALL_B, (B, 3)), (1, ALL_A[:1], (B, 3))],
    "Sentinels are set up anew": [(0, ALL_B, (B, 3)), (2.9, ALL_A, (B, 3)), (3, ALL_A, (A, 6))],
    "the same address in an older one": [(0, ALL_B, (B, 3)), (1, [says("1", B), says("2", B)], (B, 4))],
    "the primary falls silent": [
        (0, ALL_A, (A, 3)), (1, heard(1, 1, 1), (A, 3)), (2, heard(1.5, 2.5, 2), (A, 3)),
        (3, heard(2, 2.5, 3), (A, 3.5)), (4, heard(9, 0, 0), (A, 7)),
    ],
    "one Sentinel hears it no more": [(0, heard(0, 0, 60), (A, 3)), (1, heard(60, 0.5, 0.25), (A, 3.5))],
    "one Sentinel alone hears it": [(0, heard(9, 0, 8), (A, -5)), (1, heard(0, 10, 9), (A, -5))],
    "it falls silent and is replaced": [
        (0, ALL_A, (A, 3)), (2, heard(2, 2, 2), (A, 3)), (3, [says("1", B, 2), *heard(3, 3, 3)[1:]], (B, 6))
    ],
    "there and back": [
        (0, ALL_A, (A, 3)), (1, ALL_B, (B, 4)), (2, [says("1", A, 3), says("2", A, 3)], (A, 5))
    ],
}  # fmt: skip


@each("name", STORIES)
def test_the_watch_believes_the_address_that_a_majority_has_confirmed(name: str) -> None:
    net = Net()
    for second, answers, (address, believed) in STORIES[name]:
        before = net.sentinel._primary
        net.sentinel.learn(answers, START + second)
        primary = net.sentinel._primary
        assert (primary.address, primary.until) == (address, START + believed), second
        assert (primary is before) == (primary.address == before.address)
        assert before.pool.closed == (primary is not before), "connections to another address are closed"


@each(
    ("answers", "address"),
    [
        pytest.param([], A, id="nobody"),
        pytest.param(ALL_A[:1], A, id="a minority"),
        pytest.param(ALL_B[:1], B, id="a minority that knows of a failover"),
        pytest.param([says("1", B, 1)], A, id="a minority that names another one in the same epoch"),
        pytest.param(ALL_B, B, id="a majority"),
    ],
)
def test_with_continue_an_address_holds_until_a_newer_one_is_known(
    answers: list[Answer], address: str
) -> None:
    net = Net(goes_on=True)
    net.sentinel.learn(ALL_A[:1], START)  # a process that has just started takes what it gets
    net.sentinel.learn(answers, START + 100)
    primary = net.sentinel._primary
    assert (primary.address, primary.until) == (address, inf)


@pytest.mark.usefixtures("alone")
def test_requests_do_not_ask_while_the_address_is_confirmed_and_are_refused_3_s_after_that(
    time: Time,
) -> None:
    net = Net()
    assert net.send() == A
    time.now += TRUST
    assert net.send() == A
    assert net.panel.asked == 1
    net.panel.answers = ALL_A[:1]
    time.now += 0.001
    said = net.why()
    assert "only 1 of 3 Sentinels" in said
    assert "they are down" in said
    assert net.panel.asked == 2, "nobody had asked for long, so the request did"
    for _ in range(5):
        assert "Sentinels" in net.why()
    assert net.panel.asked == 2
    net.panel.answers = ALL_A
    net.sentinel._round()
    assert net.send() == A


@pytest.mark.usefixtures("alone")
@each("retry", [False, True])
def test_an_answer_that_comes_after_the_address_has_changed_is_not_believed(time: Time, retry: bool) -> None:
    net = Net()
    net.send()
    old = net.pool(A)
    old.meanwhile = lambda: net.sentinel.learn(ALL_B, time.now)
    if retry:
        assert net.send(retry=True) == B
    else:
        with pytest.raises(Unanswered):
            net.send()
    assert old.closed == 2, "with what was in use"
    old.meanwhile = lambda: None
    assert net.send() == B
    assert (old.sent, net.panel.asked) == (2, 1)


@pytest.mark.usefixtures("alone")
@each(
    "meanwhile",
    [
        pytest.param("late", id="the confirmation is too old"),
        pytest.param("replaced", id="one Sentinel knows that it was replaced"),
        pytest.param("back", id="another one was the primary meanwhile"),
    ],
)
def test_what_is_not_confirmed_when_the_answer_comes_is_not_believed(time: Time, meanwhile: str) -> None:
    net = Net()
    net.send()

    def happens() -> None:
        if meanwhile == "late":
            time.now += TRUST + 0.1
        elif meanwhile == "replaced":
            net.sentinel.learn(ALL_B[:1], time.now)
        else:
            net.sentinel.learn(ALL_B, time.now)
            net.sentinel.learn([says("1", A, 3), says("2", A, 3)], time.now)

    net.pool(A).meanwhile = happens
    with pytest.raises(Unanswered):
        net.send()


@pytest.mark.usefixtures("alone")
def test_a_primary_that_changes_all_the_time_ends_in_a_refusal(time: Time) -> None:
    net = Net()
    epochs = iter(range(2, 100))

    def change() -> None:
        epoch = next(epochs)
        net.sentinel.learn([says("1", f"h:{epoch}", epoch), says("2", f"h:{epoch}", epoch)], time.now)
        net.pools[-1].meanwhile = change

    net.send()
    net.pool(A).meanwhile = change
    assert "again and again" in net.why(retry=True)


# -- a server that is no primary ----------------------------------------------------------------------


def admit(net: Net, role: Any) -> Callable[[], object]:
    """What a pool does when it connects to a server that answers ROLE so."""

    def answer(commands: Sequence[Any]) -> list[Any]:
        assert commands == [("ROLE",)]
        return [role]

    connected = net.pool(A).on_connect
    assert connected is not None
    return lambda: connected(answer)


@pytest.mark.usefixtures("alone")
def test_a_new_connection_asks_for_the_role_and_then_settles_the_store_key(time: Time) -> None:
    net = Net()
    settled: list[object] = []
    net.sentinel.settle = settled.append
    net.send()
    admit(net, [b"master", 0, []])()
    assert len(settled) == 1
    for role in ([b"slave", b"10.0.0.2", 6379, b"connected", 0], [b"sentinel", []], [], b"master", None):
        net.sentinel.learn(ALL_A, time.now)
        with pytest.raises(NotPrimary):
            admit(net, role)()
        assert net.sentinel._primary.until == -inf, "nobody else needs to find that out"
    assert len(settled) == 1


@pytest.mark.usefixtures("alone")
def test_who_meets_a_demoted_server_asks_the_sentinels_and_goes_to_the_new_one(time: Time) -> None:
    net = Net()
    net.send()
    time.now += 1
    net.pool(A).meanwhile = admit(net, [b"slave"])
    net.panel.answers = ALL_B
    assert net.send() == B
    assert net.panel.asked == 2


@pytest.mark.usefixtures("alone")
def test_a_demoted_server_that_the_sentinels_still_name_is_refused_and_they_are_not_asked_by_all(
    time: Time,
) -> None:
    net = Net()
    net.send()
    time.now += 1
    net.pool(A).meanwhile = admit(net, [b"slave"])
    for _ in range(5):
        assert "no primary" in net.why()
    assert net.panel.asked == 2
    time.now += 1
    net.sentinel._round()
    net.pool(A).meanwhile = admit(net, [b"master", 0, []])
    assert net.send() == A


# -- the thread ---------------------------------------------------------------------------------------


def watches() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "patauth-sentinel"]


def test_the_thread_begins_with_the_first_use_and_ends_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentinel_module, "PERIOD", 0.01)
    net = Net()
    assert watches() == []
    assert net.send() == A
    assert [thread.daemon for thread in watches()] == [True]
    until(lambda: net.panel.asked > 3)
    net.panel.answers = ALL_B
    until(lambda: net.sentinel._primary.address == B)
    net.sentinel.close()
    until(lambda: watches() == [])
    assert net.panel.closed > 0
    assert net.pool(B).closed == 1
    asked = net.panel.asked
    assert net.send() == B
    assert net.panel.asked > asked, "after a close, all begins again"
    assert len(watches()) == 1  # which ends when nobody has the transport any more: `_no_thread_stays`


def test_where_no_thread_can_start_requests_ask(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    net = Net()
    for _ in range(5):
        assert net.send() == A
        time.now += TRUST + 1
    assert net.panel.asked == 5


def test_a_forked_child_asks_for_itself() -> None:
    net = Net()
    net.send()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asked = net.panel.asked
            ready = net.sentinel._primary.until == -inf and watches() == []
            if ready and net.send() == A and net.panel.asked == asked + 1 and len(watches()) == 1:
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert net.send() == A


def test_a_fork_that_runs_no_hook_is_noticed_before_the_sentinels_are_asked(time: Time) -> None:
    net = Net()
    net.send()
    net.sentinel._pid = 0
    closed = net.panel.closed
    time.now += TRUST + 1
    assert net.send() == A
    assert net.panel.closed == closed + 1, "connections of the parent are not used"


def test_many_threads_that_begin_together_ask_once() -> None:
    net = Net()
    got: list[str] = []
    start = threading.Barrier(16)

    def begin() -> None:
        start.wait()
        got.append(net.send())

    threads = [threading.Thread(target=begin) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [A] * 16
    assert net.panel.asked <= 2, "the thread may have asked once by then"


# -- the panel ----------------------------------------------------------------------------------------

S1, S2, S3 = "10.1.0.1:26379", "10.1.0.2:26379", "10.1.0.3:26379"


class Wire:
    def __init__(self, panel: Sentinels, address: str) -> None:
        self.panel = panel
        self.address = address
        self.closed = False

    def send(self, packed: bytes, count: int, deadline: float) -> list[Any]:
        assert count == 4
        self.panel.asked.append(self.address)
        self.panel.deadlines.append(deadline)
        name = self.panel.names[self.address]
        if isinstance(name, Exception):
            self.panel.time.now += PATIENCE
            raise name
        others = [
            [b"ip", host.encode(), b"port", port.encode(), b"runid", other.encode()]
            for address, other in self.panel.told.items()
            if other != name
            for host, _, port in [address.rpartition(":")]
        ]
        return [name.encode(), MASTER, [b"10.0.0.1", b"6379"], others]

    def close(self) -> None:
        self.closed = True


class Sentinels:
    """What is behind a panel: `names` are ids by address, or errors; `told` is what they tell of all."""

    def __init__(self, time: Time, seeds: Sequence[str], names: dict[str, Any]) -> None:
        self.time = time
        self.names = names
        self.told = {address: name for address, name in names.items() if isinstance(name, str)}
        self.asked: list[str] = []
        self.deadlines: list[float] = []
        self.wires: list[Wire] = []
        self.panel = Panel(seeds, self.connect, "tokens")  # type: ignore[arg-type]

    def connect(self, address: str, seconds: float) -> Wire:
        assert 0 < seconds <= PATIENCE
        self.wires.append(Wire(self, address))
        return self.wires[-1]

    def ask(self, seconds: float = 0.9) -> list[str]:
        """Ask; return who was asked."""
        self.asked.clear()
        self.panel.ask(self.time.now + seconds)
        return list(self.asked)


def test_those_that_are_not_in_the_url_are_learned_from_the_others(time: Time) -> None:
    net = Sentinels(time, [S1], {S1: "1", S2: "2", S3: "3"})
    assert net.ask() == [S1, S2, S3]
    assert net.ask() == [S1, S2, S3]
    assert len(net.wires) == 3, "connections stay open"
    assert set(net.deadlines) == {time.now + PATIENCE}
    del net.told[S3]
    net.ask()
    assert net.ask() == [S1, S2]
    assert [wire.closed for wire in net.wires] == [False, False, True]
    net.panel.close()
    assert all(wire.closed for wire in net.wires)


def test_one_sentinel_with_two_addresses_has_one_voice(time: Time) -> None:
    net = Sentinels(time, ["name:1", S1], {"name:1": "1", S1: "1", S2: "2"})
    assert len(net.panel.ask(time.now + 1)) == 2
    assert net.ask() == ["name:1", S2]


def test_those_that_fail_are_closed_and_come_last(time: Time) -> None:
    net = Sentinels(time, [S1, S2, S3], {S1: TimeoutError("timed out"), S2: "2", S3: "3"})
    assert net.ask() == [S1, S2, S3]
    assert net.wires[0].closed
    assert net.ask() == [S2, S3, S1]
    assert net.panel.failure == f"{S1}: timed out"
    net.names[S1] = "1"
    assert net.ask() == [S2, S3, S1]
    assert net.ask() == [S1, S2, S3]


def test_an_error_reply_is_no_answer(time: Time) -> None:
    no_such = ErrorReply("ERR No such master with that name")
    net = Sentinels(time, [S1, S2], {S1: no_such, S2: no_such})
    assert net.panel.ask(time.now + 1) == []
    assert "No such master" in net.panel.failure


def test_a_round_ends_at_its_deadline(time: Time) -> None:
    dead = {f"10.1.0.{number}:1": TimeoutError("timed out") for number in range(9)}
    net = Sentinels(time, list(dead), dead)
    assert len(net.ask(0.5)) == 3
    assert time.now <= START + 0.5 + PATIENCE


# -- the settings -------------------------------------------------------------------------------------


@each(
    "url",
    [
        "redis+sentinel://h/s?nonsense=1",
        "redis+sentinel://h:99999/s",
        "rediss+sentinel://h/s?ssl_ca_certs=/nowhere",
    ],
)
def test_a_wrong_url_is_an_error_at_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Authority.from_url(url)


def test_the_settings_reach_the_transport() -> None:
    with Authority.from_url("redis+sentinel://h/s", durability="replicas:2") as one:
        assert not transport_of(one)._goes_on
    with Authority.from_url("valkey+sentinel://h/s", sentinel_lost="continue") as one:
        assert transport_of(one)._goes_on
    assert watches() == [], "nothing has been asked yet"
