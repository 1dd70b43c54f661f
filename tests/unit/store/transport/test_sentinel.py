"""The watch over a primary's address: whom it believes, for how long, and what it does with late answers.

Time is what the tests say it is. Real Sentinels are in tests/system/test_sentinel.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest

from patauth import Authority, ConfigurationError, StoreUnavailable
from patauth.store.transport import sentinel as sentinel_module
from patauth.store.transport.protocol import Unanswered
from patauth.store.transport.sentinel import NotPrimary, Sentinel
from patauth.store.transport.sentinel_answers import TRUST, Answer
from tests.support.internals import transport_of
from tests.support.tables import each

A, B, C = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"
START = 1000.0  # s, when each test begins


def says(sentinel: str, address: str = A, epoch: int = 1, total: int = 3, age: float = 0.0) -> Answer:
    return Answer(sentinel, address, epoch, age, {}, total)


ALL_A = [says("1"), says("2"), says("3")]
ALL_B = [says("1", B, 2), says("2", B, 2), says("3", B, 2)]


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
    """A panel whose Sentinels say at once what the test says, and a note of how often they were asked."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.seeds = ("h:1",)
        self.changed = threading.Condition()
        self.on_answer: Callable[[], object] = lambda: None
        self.said = answers
        self.at = sentinel_module.monotonic()  # when they were asked
        self.asked = 0
        self.closed = 0

    def watch(self) -> None:
        self.asked += 1
        self.on_answer()

    def hurry(self) -> None:
        self.at = sentinel_module.monotonic() + 0.001

    def have_spoken(self) -> bool:
        return True

    def wait_for(self, condition: Callable[[], bool], deadline: float) -> None:
        assert condition(), "nobody waits when all have spoken"

    def answers(self, since: float) -> Sequence[Answer]:
        return self.said if self.at > since else []

    def answering(self, since: float) -> int:
        return len(self.answers(since))

    def failures(self) -> str:
        return "s3: they are down"

    def reset(self) -> None:
        pass

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
    "one Sentinel alone names a newer one": [
        (0, [says("1", B, 2), *ALL_A[1:]], (B, 3)), (2.9, [says("1", B, 2), *ALL_A[1:]], (B, 5.9)),
        (3, [says("1", B, 2), *ALL_A[1:]], (B, 5.9)), (5, ALL_B, (B, 8)),
    ],
    "that answers now and then": [
        (0, [says("1", B, 9), *ALL_A[1:]], (B, 3)), (3, ALL_A[1:], (A, 6)),
        (4, [says("1", B, 9), *ALL_A[1:]], (A, -inf)),
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


def test_requests_do_not_wait_while_the_address_is_confirmed_and_are_refused_3_s_after_that(
    time: Time,
) -> None:
    net = Net()
    assert net.send() == A
    net.panel.said = ALL_A[:1]
    time.now += TRUST
    assert net.send() == A
    assert net.panel.asked == 1
    time.now += 0.001
    net.panel.at = time.now
    for _ in range(5):
        assert net.why() == "only 1 of 3 Sentinels answer; s3: they are down"
    net.panel.said = ALL_A
    assert net.send() == A


@each(
    ("answers", "says_so"),
    [
        pytest.param([], "only 0 of 1 Sentinels answer; s3: they are down", id="nobody"),
        pytest.param(ALL_A[:1], "only 1 of 3 Sentinels answer; s3: they are down", id="a minority"),
        pytest.param(
            heard(9, 8, 0), f"a majority of the Sentinels has heard nothing from {A} for 8.0 s", id="silence"
        ),
        pytest.param(
            [says("1"), says("2", B)],
            f"no majority of the 3 Sentinels has confirmed that {A} is the primary",
            id="a dispute",
        ),
    ],
)
def test_a_refusal_says_how_many_answer_and_what_is_wrong(
    time: Time, answers: list[Answer], says_so: str
) -> None:
    assert Net(answers).why() == says_so


def test_sentinels_that_have_forgotten_the_others_are_no_majority(time: Time) -> None:
    net = Net([says("1", total=1)])
    net.panel.seeds = ("h:1", "h:2", "h:3")
    assert "only 1 of 3 Sentinels answer" in net.why()


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
    assert old.sent == 2


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


def test_who_meets_a_demoted_server_has_the_sentinels_asked_and_goes_to_the_new_one(time: Time) -> None:
    net = Net()
    net.send()
    time.now += 1
    net.pool(A).meanwhile = admit(net, [b"slave"])
    net.panel.said = ALL_B
    assert net.send() == B


def test_a_demoted_server_that_the_sentinels_still_name_is_refused(time: Time) -> None:
    net = Net()
    net.send()
    time.now += 1
    net.pool(A).meanwhile = admit(net, [b"slave"])
    for _ in range(5):
        assert "no primary" in net.why()
        assert net.pool(A).sent <= 6
    time.now += 1
    net.panel.hurry()
    net.pool(A).meanwhile = admit(net, [b"master", 0, []])
    assert net.send() == A


def test_what_sentinels_said_before_a_server_denied_that_it_is_the_primary_does_not_count(time: Time) -> None:
    net = Net()
    net.send()
    time.now += 1
    with pytest.raises(NotPrimary):
        admit(net, [b"slave"])()
    assert "no primary" in net.why()
    assert net.pool(A).sent == 1
    net.panel.hurry()
    assert net.send() == A


def test_a_closed_watch_asks_no_more_and_begins_again_with_the_next_call(time: Time) -> None:
    net = Net()
    net.send()
    net.sentinel.close()
    assert (net.panel.closed, net.pool(A).closed, net.panel.asked) == (1, 1, 1)
    assert net.send() == A
    assert net.panel.asked == 2


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
    names = [thread.name for thread in threading.enumerate()]
    assert "patauth-sentinel" not in names, "nothing has been asked yet"
