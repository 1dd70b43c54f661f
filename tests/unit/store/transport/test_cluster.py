"""Slots, the division of commands by node, and what redirects lead to; without a server."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

import hiredis
import pytest

from patauth import StoreUnavailable
from patauth.store.transport import cluster as cluster_module
from patauth.store.transport.cluster import Cluster, tag_of, units_of
from patauth.store.transport.cluster_map import SLOTS, read_slots, slot_of
from patauth.store.transport.protocol import MemoryFull, PartlyDone, ScriptMissing, Unanswered
from patauth.store.transport.wire import Command, Elsewhere, ErrorReply, of_cluster, pack
from tests.support.servers import until
from tests.support.tables import each

SOON = 5.0  # s; more than a test takes
A, B, C = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"
LOW, HIGH = "00000003", "00000000"  # hash tags, of slots in the lower and the upper half


def key(tag: str, rest: str = "x") -> bytes:
    return f"p:{{{tag}}}:{rest}".encode()


# -- slots and units ----------------------------------------------------------------------------------


def test_the_tags_of_these_tests_are_in_two_halves() -> None:
    assert slot_of(LOW.encode()) < SLOTS // 2 <= slot_of(HIGH.encode())
    assert slot_of(b"store") < SLOTS // 2


@each(
    ("command", "tag"),
    [
        (("GET", b"p:{abcd}:p:1"), b"abcd"),
        (("EVALSHA", b"{digest}", 2, b"p:{abcd}:p:1", b"p:{abcd}:q:1", b"{argument}"), b"abcd"),
        (("EVAL", b"return '{text}'", 1, b"p:{/tenant}:created"), b"/tenant"),
        (("GET", b"p:{abcd}:n:default/a}{b"), b"abcd"),
        (("MGET", b"p:{store}:key", b"p:{store}:check"), b"store"),
        (("COMMAND", "INFO", "WAITAOF"), b"store"),
        (("EVAL", b"return 1", 0), b"store"),
        (("SCAN", 0, "MATCH", b"p:{[0-9]}:t:"), b"store"),
        (("ASKING",), b"store"),
    ],
)
def test_a_command_goes_by_the_hash_tag_of_its_first_key(command: Command, tag: bytes) -> None:
    assert tag_of(command) == tag


def test_a_wait_travels_with_the_command_before_it() -> None:
    one, two = ("DEL", key(LOW)), ("DEL", key(HIGH))
    wait, waitaof = ("WAIT", 1, 500), ("WAITAOF", 1, 0, 500)
    slots = [slot_of(LOW.encode()), slot_of(HIGH.encode())]
    assert list(units_of([one, wait, two, waitaof])) == [
        (slots[0], pack([one, wait]), 2),
        (slots[1], pack([two, waitaof]), 2),
    ]
    assert list(units_of([one, two])) == [(slots[0], pack([one]), 1), (slots[1], pack([two]), 1)]
    assert list(units_of([wait])) == [(slot_of(b"store"), pack([wait]), 1)]


class Node:
    """A pool of connections to a node that answers what its test says, and notes what it was sent."""

    def __init__(self, address: str, answer: Callable[[str, list[bytes]], Any]) -> None:
        self.address = address
        self.answer = answer
        self.sent: list[list[bytes]] = []
        self.on_connect: Any = None
        self.closed = 0

    def send(self, packed: bytes, count: int, deadline: float, **options: Any) -> list[Any]:
        reader = hiredis.Reader()
        reader.feed(packed)
        commands = [reader.gets() for _ in range(count)]
        assert not reader.has_data()
        self.sent += commands
        replies = []
        for command in commands:
            reply = self.answer(self.address, command)
            if isinstance(reply, Exception):
                raise reply
            replies.append(of_cluster(reply[1:]) if isinstance(reply, str) and reply[:1] == "-" else reply)
        return replies

    def call(self, commands: Sequence[Command], deadline: float, **options: Any) -> list[Any]:
        return self.send(pack(commands), len(commands), deadline)

    def close(self) -> None:
        self.closed += 1


def halves(low: str = A, high: str = B) -> list[Any]:
    """The answer to CLUSTER SLOTS of two nodes."""
    (a, p), (b, q) = low.split(":"), high.split(":")
    return [[0, 8191, [a.encode(), int(p)]], [8192, 16383, [b.encode(), int(q)]]]


class Net:
    """A cluster of such nodes. `answers` are by address and first word; None is a node that is down."""

    def __init__(self, answers: dict[str, dict[str, Any]], seeds: Sequence[str] = (A,)) -> None:
        self.answers = answers
        self.made: list[Node] = []
        self.maps: Any = halves()
        self.cluster = Cluster(seeds, self.connect)  # type: ignore[arg-type]

    def connect(self, address: str) -> Node:
        self.made.append(Node(address, self.answer))
        return self.made[-1]

    def answer(self, address: str, command: list[bytes]) -> Any:
        word = command[0].decode()
        if word == "CLUSTER":
            return self.maps(address) if callable(self.maps) else self.maps
        plain = f"{word} {address}"
        said = self.answers.get(address, {}).get(word, plain)
        if isinstance(said, list):  # one for each call, and then the plain ones
            return said.pop(0) if said else plain
        return said

    def sent(self, address: str) -> list[str]:
        """The first words of all commands that a node was sent, but those for the map."""
        return [
            command[0].decode()
            for node in self.made
            if node.address == address
            for command in node.sent
            if command[0] != b"CLUSTER"
        ]

    @property
    def asked(self) -> list[str]:
        """Who was asked for the map."""
        return [node.address for node in self.made for command in node.sent if command[0] == b"CLUSTER"]

    def call(self, *commands: Command, retry: bool = True) -> list[Any]:
        return self.cluster.call(commands, time.monotonic() + SOON, retry=retry)

    def send(self, *command: Any, tag: str, retry: bool = True) -> Any:
        packed = pack([command])
        at = time.monotonic() + SOON
        return self.cluster.send(packed, 1, at, retry=retry, tag=tag.encode())[0]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    until(lambda: not any(thread.name == "patauth-cluster" for thread in threading.enumerate()))


@pytest.fixture
def no_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the map as it is, but for what redirects say."""
    monkeypatch.setattr(Cluster, "_refresh_soon", lambda _: None)


def test_commands_go_to_the_nodes_of_their_slots_and_replies_come_in_order() -> None:
    net = Net({})
    commands = [("GET", key(LOW)), ("GET", key(HIGH)), ("DEL", key(LOW)), ("PING",), ("GET", key(HIGH))]
    assert net.call(*commands) == [f"GET {A}", f"GET {B}", f"DEL {A}", f"PING {A}", f"GET {B}"]
    assert net.sent(A) == ["GET", "DEL", "PING"]
    assert net.sent(B) == ["GET", "GET"]
    assert net.send("EVALSHA", b"d", 1, key(HIGH), tag=HIGH) == f"EVALSHA {B}"
    assert net.asked == [A], "one map for all of them"


@each(
    ("answers", "got", "sent"),
    [
        pytest.param({A: {"GET": [f"-MOVED 1 {C}"]}}, "GET " + C, {A: 1, C: 1}, id="moved"),
        pytest.param({A: {"GET": ["-MOVED 1 :7"]}}, "GET 10.0.0.1:7", {A: 1}, id="moved on the same host"),
        pytest.param(
            {A: {"GET": [f"-MOVED 1 {C}"]}, C: {"GET": [f"-MOVED 1 {B}"]}},
            "GET " + B, {A: 1, B: 1, C: 1}, id="moved twice",
        ),
        pytest.param({A: {"GET": f"-MOVED 1 {A}"}}, StoreUnavailable, {}, id="moved in a circle"),
        pytest.param({A: {"GET": ["-MOVED 1"]}}, StoreUnavailable, {A: 1}, id="moved to nowhere"),
        pytest.param({A: {"GET": ["-MOVED 1 h/1:1"]}}, StoreUnavailable, {A: 1}, id="moved to no host"),
        pytest.param({A: {"GET": ["-ASK 1 h:70000"]}}, StoreUnavailable, {A: 1}, id="ask a wrong port"),
        pytest.param({A: {"GET": ["-MOVED 1 h:x"]}}, StoreUnavailable, {A: 1}, id="moved to no port"),
        pytest.param({A: {"GET": [f"-ASK 1 {B}"]}}, "GET " + B, {A: 1, B: 2}, id="ask"),
        pytest.param(
            {A: {"GET": [f"-ASK 1 {B}", "here"]}, B: {"GET": [f"-MOVED 1 {A}"]}},
            "here", {A: 2, B: 2}, id="the move that was asked about is off",
        ),
        pytest.param(
            {A: {"GET": [f"-ASK 1 {B}"]}, B: {"GET": ["-TRYAGAIN Multiple keys"]}},
            StoreUnavailable, {A: 1, B: 2}, id="ask, and not all keys are there",
        ),
        pytest.param({A: {"GET": ["-TRYAGAIN Multiple keys"]}}, StoreUnavailable, {A: 1}, id="try again"),
        pytest.param({A: {"GET": ["-CLUSTERDOWN Hash slot"]}}, StoreUnavailable, {A: 1}, id="cluster down"),
        pytest.param({A: {"GET": Unanswered(detail="x")}}, Unanswered, {A: 1}, id="no answer"),
        pytest.param({A: {"GET": ScriptMissing(detail="x")}}, ScriptMissing, {A: 1}, id="no script"),
        pytest.param(
            {A: {"GET": [f"-ASK 1 {B}"]}, B: {"GET": PartlyDone([b"OK"], detail="OOM")}},
            StoreUnavailable, {A: 1, B: 2}, id="ask, and an error",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["call", "send"])
def test_a_redirect_is_followed_and_what_is_none_is_unavailable(
    no_refresh: None, answers: dict[str, dict[str, Any]], got: Any, sent: dict[str, int], how: str
) -> None:
    net = Net(copy.deepcopy(answers))
    net.call(("PING",))

    def ask() -> Any:
        return net.call(("GET", key(LOW)))[0] if how == "call" else net.send("GET", key(LOW), tag=LOW)

    if isinstance(got, str):
        assert ask() == got
    else:
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert type(caught.value) is got
    for address, count in sent.items():
        assert net.sent(address).count("GET") + net.sent(address).count("ASKING") == count


def test_of_many_commands_only_the_one_that_was_not_run_is_sent_again_and_asking_is_for_it_alone(
    no_refresh: None,
) -> None:
    net = Net({A: {"ZADD": f"-ASK 1 {C}", "GET": [f"-MOVED 1 {B}"]}})
    commands = [("INCR", key(LOW)), ("ZADD", key(LOW), 1, b"x"), ("GET", key(LOW)), ("DEL", key(HIGH))]
    assert net.call(*commands, retry=False) == [f"INCR {A}", f"ZADD {C}", f"GET {B}", f"DEL {B}"]
    assert net.sent(A) == ["INCR", "ZADD", "GET"]
    assert net.sent(C) == ["ASKING", "ZADD"]
    assert net.sent(B) == ["DEL", "GET"]


def test_a_script_and_its_wait_stay_together_through_redirects(no_refresh: None) -> None:
    net = Net({A: {"EVAL": [f"-MOVED 1 {B}"], "WAIT": 0}, B: {"EVAL": [f"-ASK 1 {C}"], "WAIT": 0}})
    script = ("EVAL", b"return {1}", 1, key(LOW))
    assert net.call(script, ("WAIT", 1, 100), retry=False) == [f"EVAL {C}", f"WAIT {C}"]
    assert net.sent(C) == ["ASKING", "EVAL", "WAIT"]


def test_a_replica_that_refuses_to_wait_for_a_script_that_it_has_not_run_is_left_for_its_primary(
    no_refresh: None,
) -> None:
    """After a fail-over, the old primary answers MOVED to the script, and an error to WAIT."""
    net = Net({A: {"WAIT": PartlyDone([Elsewhere(f"MOVED 1 {C}")], detail="no WAIT on replicas")}})
    assert net.call(("EVAL", b"return {1}", 1, key(LOW)), ("WAIT", 1, 100), retry=False) == [
        f"EVAL {C}", f"WAIT {C}"
    ]  # fmt: skip
    net = Net({A: {"GET": PartlyDone([Elsewhere(f"MOVED 1 {C}")], detail="ERR")}})
    with pytest.raises(PartlyDone):
        net.call(("DEL", key(LOW)), ("GET", key(LOW)))


def test_behind_asking_a_wait_that_fails_leaves_the_scripts_answer() -> None:
    net = Net({A: {"EVAL": [f"-ASK 1 {B}"]}, B: {"WAIT": PartlyDone([b"OK", [1]], detail="NOREPLICAS")}})
    with pytest.raises(PartlyDone) as caught:
        net.call(("EVAL", b"return {1}", 1, key(LOW)), ("WAIT", 1, 100), retry=False)
    assert caught.value.replies == [[1]]


def test_what_has_an_unknown_outcome_is_never_sent_again() -> None:
    net = Net({A: {"EVAL": Unanswered(detail="timed out")}})
    with pytest.raises(Unanswered):
        net.call(("EVAL", b"return {1}", 1, key(LOW)), retry=False)
    assert net.sent(A) == ["EVAL"]
    assert net.sent(B) == []


def test_a_moved_slot_is_asked_at_its_new_node_from_then_on_and_the_map_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "_PAUSE", 0.0)
    net = Net({A: {"GET": f"-MOVED 1 {C}"}})
    net.call(("PING",))
    net.maps = halves(low=C)
    assert net.call(("GET", key(LOW))) == [f"GET {C}"]
    until(lambda: len(net.asked) == 2)
    moved = slot_of(LOW.encode())
    until(lambda: net.cluster._slots[0] is net.cluster._slots[8191] is net.cluster._slots[moved])
    assert net.call(("GET", key(LOW)), ("PING",)) == [f"GET {C}", f"PING {C}"]
    until(lambda: any(node.address == A and node.closed for node in net.made))
    assert net.sent(A) == ["PING", "GET"]


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("how", ["call", "send"])
def test_an_answer_of_a_node_that_has_lost_the_slot_meanwhile_is_not_believed(how: str, retry: bool) -> None:
    """A primary that was stopped answers, when it goes on, before it learns that it is none any more."""
    net = Net({})
    net.call(("PING",))
    stale = net.cluster._slots[slot_of(LOW.encode())]
    told: list[Any] = []

    def answer(address: str, command: list[bytes]) -> Any:
        if address == A and not told:
            told.append(command)
            net.cluster._take(read_slots(halves(low=C), ""), B, time.monotonic())
        return f"{command[0].decode()} {address}"

    def ask() -> Any:
        if how == "send":
            return net.send("GET", key(LOW), tag=LOW, retry=retry)
        return net.call(("GET", key(LOW)), retry=retry)[0]

    assert isinstance(stale, Node)
    stale.answer = answer
    if retry:
        assert ask() == f"GET {C}"
    else:
        with pytest.raises(Unanswered):
            ask()
    assert told


def test_an_answer_to_who_asked_before_a_slot_moved_does_not_bring_the_old_map_back(no_refresh: None) -> None:
    net = Net({A: {"GET": f"-MOVED 1 {C}"}})
    net.call(("PING",))

    def late(_: str) -> Any:
        net.call(("GET", key(LOW)))
        return halves()

    net.maps = late
    net.cluster._read_map(lambda: time.monotonic() + SOON)
    assert net.cluster._turns[0] == C, "who knows of the move is asked first"
    assert net.call(("GET", key(LOW)), ("PING",)) == [f"GET {C}", f"PING {A}"]
    assert net.sent(A) == ["PING", "GET", "PING"]


def test_without_a_map_nothing_is_sent_and_a_dead_seed_is_skipped() -> None:
    def down(address: str) -> Any:
        return StoreUnavailable(detail=f"{address} is down")

    net = Net({}, seeds=(A, B))
    net.maps = down
    with pytest.raises(StoreUnavailable, match="reachable"):
        net.call(("GET", key(LOW)))
    assert net.asked == [A, B]
    assert net.sent(A) == net.sent(B) == []
    net.maps = lambda address: halves() if address == B else down(address)
    assert net.call(("GET", key(LOW))) == [f"GET {A}"]
    assert net.asked[2:] == [A, B]


def test_a_slot_without_a_node_is_unavailable_and_others_work() -> None:
    net = Net({})
    net.maps = halves()[:1]
    assert net.call(("GET", key(LOW))) == [f"GET {A}"]
    for ask in (lambda: net.call(("GET", key(HIGH))), lambda: net.send("GET", key(HIGH), tag=HIGH)):
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert "has slot" in (caught.value.detail or "")
    until(lambda: len(net.asked) >= 2)


def test_the_map_is_read_again_after_a_failure_and_once_a_minute_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "_PAUSE", 0.0)
    net = Net({})
    net.call(("PING",))
    going_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(address: str) -> Any:
        begun.release()
        going_on.wait(SOON)
        return halves()

    net.maps = slow
    net.answers = {A: {"GET": StoreUnavailable(detail="down")}}
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            net.call(("GET", key(LOW)))
    assert begun.acquire(timeout=SOON)
    assert not begun.acquire(blocking=False), "one at a time"
    going_on.set()
    until(lambda: not net.cluster._is_refreshing)
    before = len(net.asked)
    net.call(("PING",))
    assert not net.cluster._is_refreshing
    net.cluster._refresh_at = time.monotonic() - 1
    net.call(("PING",))
    until(lambda: len(net.asked) == before + 1)
    until(lambda: not net.cluster._is_refreshing)
    assert net.cluster._refresh_at > time.monotonic() + cluster_module.REFRESH / 2


def test_each_refresh_asks_another_node_first() -> None:
    net = Net({})
    net.call(("PING",))
    for _ in range(3):
        net.cluster._read_map(lambda: time.monotonic() + SOON)
    assert net.asked == [A, A, B, A]


# -- nodes that were silent ---------------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each node have been silent for too long, whenever it is needed."""
    monkeypatch.setattr(cluster_module, "_SILENCE", -inf)


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("how", ["call", "send"])
def test_a_node_that_was_silent_gets_nothing_if_another_has_its_slots_by_now(how: str, retry: bool) -> None:
    """It may have been stopped, and would call revoked tokens good."""
    net = Net({})
    assert net.call(("GET", key(LOW)), ("GET", key(HIGH))) == [f"GET {A}", f"GET {B}"]
    net.maps = lambda address: halves(low=C) if address == B else halves()
    net.cluster._heard.clear()
    if how == "call":
        assert net.call(("GET", key(LOW)), retry=retry) == [f"GET {C}"]
    else:
        assert net.send("GET", key(LOW), tag=LOW, retry=retry) == f"GET {C}"
    assert net.sent(A) == ["GET"]
    assert net.asked == [A, B]


@pytest.mark.parametrize("how", ["call", "send"])
def test_a_node_that_was_silent_is_no_witness_for_itself(how: str, silent: None) -> None:
    net = Net({})
    net.maps = lambda address: halves() if address == A else StoreUnavailable(detail="down")
    with pytest.raises(StoreUnavailable):
        net.call(("GET", key(LOW))) if how == "call" else net.send("GET", key(LOW), tag=LOW)
    assert net.sent(A) == []


def test_a_map_says_nothing_of_the_node_that_tells_it_but_when_it_is_the_first_or_the_only_one() -> None:
    net = Net({})
    net.call(("PING",))
    a, b = (net.cluster._slots[slot_of(tag.encode())] for tag in (LOW, HIGH))
    assert a is not None
    assert b is not None
    for told, heard in ((A, {b}), (B, {a})):
        net.cluster._heard.clear()
        net.cluster._turns.remove(told)
        net.cluster._turns.appendleft(told)
        net.cluster._read_map(lambda: time.monotonic() + SOON)
        assert {node for node in (a, b) if not net.cluster._was_silent(node)} == heard
    net.maps = halves(high=A)
    net.cluster._heard.clear()
    for _ in range(3):
        assert net.call(("GET", key(HIGH))) == [f"GET {A}"]


def test_while_a_node_answers_nobody_is_asked_about_it(no_refresh: None) -> None:
    """An answer may be that a script is missing, or the memory full."""
    net = Net({A: {"GET": MemoryFull(detail="OOM"), "EVALSHA": ScriptMissing(detail="NOSCRIPT")}})
    net.call(("PING",))
    a = net.cluster._slots[slot_of(LOW.encode())]
    assert a is not None
    for word, problem in (("GET", MemoryFull), ("EVALSHA", ScriptMissing), ("DEL", None)):
        net.cluster._heard[a] = before = time.monotonic() - cluster_module._SILENCE / 2
        command = (word, b"digest", 1, key(LOW)) if word == "EVALSHA" else (word, key(LOW))
        if problem is None:
            net.call(command)
        else:
            with pytest.raises(problem):
                net.call(command)
        assert net.cluster._heard[a] > before
    assert net.asked == [A]


def test_of_many_threads_one_asks_about_a_silent_node() -> None:
    net = Net({})
    net.call(("PING",))
    net.cluster._heard.clear()
    in_it = threading.Barrier(8)

    def go() -> None:
        in_it.wait()
        assert net.send("GET", key(LOW), tag=LOW) == f"GET {A}"

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert net.asked == [A, B]


def test_memory_that_is_full_is_no_reason_to_look_for_another_map() -> None:
    net = Net({A: {"GET": MemoryFull(detail="OOM")}})
    with pytest.raises(MemoryFull):
        net.call(("GET", key(LOW)))
    assert not net.cluster._is_refreshing
    assert net.asked == [A]


# -- the store key ------------------------------------------------------------------------------------


def settling(net: Net) -> list[list[Any]]:
    """Let the cluster settle a key that is read by one command; return what it has read."""
    read: list[list[Any]] = []
    net.cluster.settle = lambda call: read.append(call([("MGET", key("store"))]))
    return read


def test_the_key_is_settled_before_all_else_and_not_again() -> None:
    net = Net({A: {"MGET": StoreUnavailable(detail="down")}})
    read = settling(net)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            net.send("EVALSHA", b"d", 1, key(HIGH), tag=HIGH)
    assert net.sent(B) == [], "nobody is let in by a store whose key was not seen"
    net.answers = {}
    net.call(("PING",))
    net.send("EVALSHA", b"d", 1, key(HIGH), tag=HIGH)
    assert read == [[f"MGET {A}"]]


def test_a_new_connection_checks_the_key_at_the_node_that_has_it_and_nowhere_else() -> None:
    net = Net({})
    read = settling(net)
    net.call(("GET", key(LOW)), ("GET", key(HIGH)))
    nodes = {node.address: node for node in net.made if node.on_connect}
    calls: list[Any] = []

    def call(commands: Sequence[Command]) -> list[Any]:
        calls.append(commands)
        return [Elsewhere(f"MOVED 1 {B}")] if len(calls) > 1 else ["the key"]

    read.clear()
    nodes[B].on_connect(call)
    assert calls == []
    nodes[A].on_connect(call)
    assert read == [["the key"]]
    nodes[A].on_connect(call)
    assert read == [["the key"]], "the slot has moved, so there is nothing to check here"


def test_a_wrong_key_refuses_the_connection_and_all_else() -> None:
    net = Net({})
    settling(net)
    net.call(("PING",))

    def refuse(_: Any) -> None:
        raise StoreUnavailable(detail="secret_key: another one")

    net.cluster.settle = refuse
    node = next(node for node in net.made if node.on_connect and node.address == A)
    with pytest.raises(StoreUnavailable, match="reachable"):
        node.on_connect(lambda commands: [])
    sent = net.sent(B)
    with pytest.raises(StoreUnavailable, match="reachable"):
        net.call(("GET", key(HIGH)))
    assert net.sent(B) == sent, "nor does any other node serve such a store"


# -- parts --------------------------------------------------------------------------------------------


def test_the_parts_are_the_primaries_each_with_a_tag_of_its_own() -> None:
    net = Net({})
    parts = net.cluster.parts(time.monotonic() + SOON)
    assert {part.transport.address: slot_of(part.tag.encode()) // 8192 for part in parts} == {A: 0, B: 1}  # type: ignore[attr-defined]
    assert all(len(part.tag) == 8 for part in parts)


def test_which_error_replies_say_that_a_command_was_not_run() -> None:
    for text in ("MOVED 1 h:1", "ASK 1 h:1", "TRYAGAIN x", "CLUSTERDOWN x"):
        assert isinstance(of_cluster(text), Elsewhere), text
    for text in ("ERR MOVED 1 h:1", "ASKED", "MOVED", "NOSCRIPT x", "OOM x", "CROSSSLOT x", "LOADING x"):
        assert isinstance(of_cluster(text), ErrorReply), text
