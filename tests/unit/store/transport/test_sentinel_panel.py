"""The threads that ask Sentinels: what a bad one costs, whom they ask, and when they end.

Real Sentinels are in tests/system/test_sentinel.py.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from time import monotonic
from typing import Any

import hiredis
import pytest

from patauth import StoreUnavailable
from patauth.store.transport import sentinel_panel
from patauth.store.transport.sentinel import Sentinel
from patauth.store.transport.sentinel_answers import FOLLOWED
from patauth.store.transport.sentinel_panel import PATIENCE, Panel, panel_of
from patauth.store.transport.wire import ErrorReply
from patauth.store.url import StoreUrl
from tests.support.servers import until
from tests.support.tables import each

A = "10.0.0.1:6379"
S1, S2, S3 = "10.1.0.1:26379", "10.1.0.2:26379", "10.1.0.3:26379"
MASTER = [
    b"ip", b"10.0.0.1", b"port", b"6379", b"last-ok-ping-reply", b"0", b"num-other-sentinels", b"2",
    b"config-epoch", b"7",
]  # fmt: skip


def watches() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "patauth-sentinel"]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    """A thread that asks a Sentinel ends when nobody has the panel any more."""
    yield
    gc.collect()
    until(lambda: watches() == [])


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_panel, "PERIOD", 0.01)


# -- bad Sentinels, as sockets ------------------------------------------------------------------------


class Peer:
    """A Sentinel on a port of 127.0.0.1, which does to each connection what the test says."""

    def __init__(self, behave: Callable[[Peer, socket.socket], None]) -> None:
        self.gone = threading.Event()
        self._behave = behave
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while not self.gone.is_set():
                taken = self._listening.accept()[0]
                threading.Thread(target=self._talk, args=[taken], daemon=True).start()

    def _talk(self, taken: socket.socket) -> None:
        with taken, suppress(OSError):
            self._behave(self, taken)

    def close(self) -> None:
        self.gone.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def encoded(reply: Any) -> bytes:
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))


def answer_well(peer: Peer, taken: socket.socket) -> None:
    reader = hiredis.Reader()
    replies = {
        b"MYID": peer.address.encode(),
        b"MASTER": MASTER,
        b"GET-MASTER-ADDR-BY-NAME": [b"10.0.0.1", b"6379"],
        b"SENTINELS": [],
    }
    while received := taken.recv(4096):
        reader.feed(received)
        while (command := reader.gets()) is not False:
            taken.sendall(b"+OK\r\n" if command[0] == b"AUTH" else encoded(replies[command[1]]))


def drip(peer: Peer, taken: socket.socket) -> None:
    taken.sendall(b"+")
    while not peer.gone.wait(PATIENCE / 10):
        taken.sendall(b"O")


BAD: dict[str, Callable[[Peer, socket.socket], None]] = {
    "hangs": lambda peer, _: void(peer.gone.wait()),
    "drips": drip,
    "garbage": lambda _, taken: taken.sendall(b"\x00\xffHTTP/1.1 400 Bad Request\r\n\r\n"),
    "a reply of another form": lambda _, taken: taken.sendall(b"+OK\r\n*1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
    "a reply without an end": lambda _, taken: taken.sendall(b"+OK\r\n*2147483647\r\n"),
    "closes": lambda _, taken: taken.close(),
}


def void(_: object) -> None: ...


class Pool:
    on_connect: Any = None

    def __init__(self, address: str) -> None:
        self.address = address

    def send(self, packed: bytes, count: int, deadline: float, **given: Any) -> list[str]:
        return [self.address]

    def close(self) -> None: ...


@contextmanager
def watched(*addresses: str) -> Iterator[tuple[Sentinel, Panel]]:
    """Watch Sentinels that want a password."""
    at = ",".join(addresses)
    panel = panel_of(StoreUrl.read(f"redis+sentinel://{at}/tokens?sentinel_password=s3cret"))
    with closing(Sentinel(panel, Pool)) as sentinel:  # type: ignore[arg-type,type-var]
        yield sentinel, panel


def answer_of(sentinel: Sentinel) -> Any:
    return sentinel.call([("GET", b"k")], monotonic() + 10.0)[0]


@pytest.mark.usefixtures("often")
@each("how", [*BAD, "a slow look-up"])
def test_a_bad_sentinel_costs_nothing_while_a_majority_of_the_others_answers(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = threading.current_thread()
    found = threading.Event()
    look_up = socket.getaddrinfo

    def looked_up(host: Any, *given: Any, **more: Any) -> Any:
        assert threading.current_thread() is not mine, "a request looks up no Sentinel"
        if host == "gone.example":
            found.wait()
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return look_up(host, *given, **more)

    with ExitStack() as stack:
        good = [stack.enter_context(closing(Peer(answer_well))) for _ in range(3)]
        bad = "gone.example:26379"
        if how in BAD:
            bad = stack.enter_context(closing(Peer(BAD[how]))).address
        stack.callback(found.set)
        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        with watched(bad, *(one.address for one in good)) as (sentinel, panel):
            assert answer_of(sentinel) == A
            until(lambda: panel.answering(0.0) == 3)
            before = sentinel._primary.until
            until(lambda: sentinel._primary.until > before)
            assert bad in panel.failures()


def test_a_refusal_names_those_that_do_not_answer_and_no_password() -> None:
    with (
        closing(Peer(answer_well)) as good,
        closing(Peer(BAD["hangs"])) as bad,
        watched(good.address, bad.address) as (sentinel, panel),
    ):
        panel.ask(monotonic() + 10.0)
        with pytest.raises(StoreUnavailable) as refused:
            sentinel.call([("GET", b"k")], monotonic())
        said = refused.value.detail or ""
        assert said.startswith(f"only 1 of 3 Sentinels answer; {bad.address}: ")
        assert good.address not in said
        assert "s3cret" not in said


# -- whom the threads ask -----------------------------------------------------------------------------


class Wire:
    def __init__(self, net: Net, address: str) -> None:
        self.net = net
        self.address = address
        self.closed = False

    def send(self, packed: bytes, count: int, deadline: float) -> list[Any]:
        assert count == 4
        self.net.asked.append(self.address)
        name = self.net.names[self.address]
        if isinstance(name, Exception):
            raise name
        others = [
            [b"ip", host.encode(), b"port", port.encode(), b"runid", other.encode()]
            for address, other in self.net.told.items()
            if other != name
            for host, _, port in [address.rpartition(":")]
        ]
        return [name.encode(), MASTER, [b"10.0.0.1", b"6379"], others]

    def close(self) -> None:
        self.closed = True


class Net:
    """What is behind a panel: `names` are ids by address, or errors; `told` is what they tell of all."""

    def __init__(self, seeds: Sequence[str], names: dict[str, Any]) -> None:
        self.names = names
        self.told = {address: name for address, name in names.items() if isinstance(name, str)}
        self.asked: list[str] = []
        self.wires: list[Wire] = []
        self.panel = Panel(seeds, self.connect, "tokens")  # type: ignore[arg-type]

    def connect(self, address: str, seconds: float) -> Wire:
        assert seconds == PATIENCE
        self.wires.append(Wire(self, address))
        return self.wires[-1]

    def ask(self) -> list[str]:
        """Ask all once; return the ids of those that have answered."""
        return sorted(answer.sentinel for answer in self.panel.ask(monotonic() + 10.0))

    def followed(self) -> set[str]:
        with self.panel.changed:
            return {line.address for line in self.panel._lines.values() if line.is_wanted}


THREE = {S1: "1", S2: "2", S3: "3"}


@pytest.mark.usefixtures("often")
def test_those_that_are_not_in_the_url_are_followed_as_long_as_others_name_them() -> None:
    net = Net([S1], dict(THREE))
    with closing(net.panel):
        assert net.ask() == ["1", "2", "3"]
        until(lambda: net.asked.count(S3) > 2)
        assert len(net.wires) == 3, "connections stay open"
        assert [thread.daemon for thread in watches()] == [True] * 3
        del net.told[S3]
        until(lambda: len(watches()) == 2)
        assert net.followed() == {S1, S2}
        assert [wire.address for wire in net.wires if wire.closed] == [S3]
        assert net.ask() == ["1", "2"]
        net.told[S3] = "3"
        until(lambda: net.ask() == ["1", "2", "3"])
    until(lambda: all(wire.closed for wire in net.wires))


@pytest.mark.usefixtures("often")
def test_no_more_than_a_bound_are_followed() -> None:
    many = {f"10.2.0.{number}:1": str(number) for number in range(FOLLOWED + 9)}
    net = Net([S1], {S1: "1", **many})
    with closing(net.panel):
        net.ask()
        assert len(watches()) == FOLLOWED


def test_one_sentinel_with_two_addresses_has_one_voice() -> None:
    net = Net(["name:1", S1], {"name:1": "1", S1: "1", S2: "2"})
    with closing(net.panel):
        assert net.ask() == ["1", "2"]
        assert net.panel.answering(0.0) == 2


@pytest.mark.usefixtures("often")
def test_one_that_fails_is_asked_again_over_a_new_connection() -> None:
    no_such = ErrorReply("ERR No such master with that name")
    net = Net([S1, S2], {S1: no_such, S2: "2"})
    with closing(net.panel):
        assert net.ask() == ["2"]
        assert net.panel.failures() == f"{S1}: {no_such}"
        net.names[S1] = "1"
        until(lambda: net.panel.failures() == "")
        assert net.ask() == ["1", "2"]
        assert all(wire.closed == (wire.address == S1) for wire in net.wires[:-1])


def test_who_is_in_a_hurry_has_all_asked_at_once_and_not_again_and_again() -> None:
    net = Net([S1], {S1: "1"})
    with closing(net.panel):
        net.ask()
        assert net.panel.have_spoken(), "so nobody who finds no majority waits any more"
        began = monotonic()
        net.panel.hurry()
        until(lambda: net.asked == [S1, S1])
        until(net.panel.have_spoken)
        assert monotonic() - began < sentinel_panel.PERIOD
        net.panel._hurried_at = monotonic() + 60
        net.panel.hurry()
        assert not net.panel._lines[S1].bell.is_set()


# -- when the threads end -----------------------------------------------------------------------------


def test_after_a_close_all_begins_again() -> None:
    net = Net([S1], {S1: "1"})
    for _ in range(3):
        assert net.ask() == ["1"]
        net.panel.close()
        assert net.panel.answers(0.0) == []
    until(lambda: watches() == [])
    assert all(wire.closed for wire in net.wires)


def test_where_no_thread_can_start_requests_are_refused_until_one_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    net = Net([S1], {S1: "1"})
    with monkeypatch.context() as patch, closing(net.panel):
        patch.setattr(threading.Thread, "start", refuse)
        assert net.panel.ask(monotonic()) == []
        assert net.panel.failures() == f"{S1}: can't start new thread"
    with closing(net.panel):
        assert net.ask() == ["1"]


def test_a_forked_child_asks_for_itself() -> None:
    net = Net([S1], {S1: "1", S2: "2"})
    with closing(Sentinel(net.panel, Pool)) as sentinel:  # type: ignore[arg-type,type-var]
        assert answer_of(sentinel) == A
        for hook in (True, False):  # a fork without os.fork runs no hook
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    ready = sentinel._primary.until < 0 and watches() == []
                    if not hook:
                        sentinel._primary.until, sentinel._pid = 0.0, 0
                    if ready and answer_of(sentinel) == A and len(watches()) == 2:
                        code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        assert answer_of(sentinel) == A


def test_many_threads_that_begin_together_ask_once() -> None:
    net = Net([S1], {S1: "1"})
    net.told.update({S2: "2"})
    net.names[S2] = "2"
    with closing(Sentinel(net.panel, Pool)) as sentinel:  # type: ignore[arg-type,type-var]
        got: list[str] = []
        start = threading.Barrier(16)

        def begin() -> None:
            start.wait()
            got.append(answer_of(sentinel))

        threads = [threading.Thread(target=begin) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [A] * 16
        assert len(net.wires) == 2
