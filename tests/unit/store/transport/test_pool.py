"""What a failing, slow or lying server may cost a caller: a 503 in time, and never another's reply."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import random
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, Overloaded, Owner, StoreUnavailable
from patauth.store import store as store_module
from patauth.store.transport import pool as connection_module
from patauth.store.transport import wire as wire_module
from patauth.store.transport.pool import Connections
from patauth.store.transport.wire import Wire
from tests.support.acl import logged_out
from tests.support.authorities import AS_INSTALLED, Make, basic_of, issue
from tests.support.internals import transport_of
from tests.support.interventions import standing_in
from tests.support.servers import Server, binaries, refused_in, serving, until
from tests.support.tables import each


@pytest.fixture
def hasty(make_at: Make) -> Make:
    """Makes Authorities that are no more patient than the product is, for claims about deadlines."""
    return partial(make_at, **AS_INSTALLED)


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, to be stopped and killed."""
    server = Server(binaries()[getattr(request, "param", "valkey")], tmp_path)
    yield server
    server.stop()


def test_a_stopped_server_costs_at_most_600_ms_and_is_forgotten_within_2_s(hasty: Make, own: Server) -> None:
    """SIGSTOP: it accepts connections and answers nothing (REQUIREMENTS F2)."""
    authority = hasty(url=own.url)
    issued = issue(authority)
    authority.authenticate(basic_of(issued))
    own.freeze()
    waits = []
    threads = [
        threading.Thread(
            target=lambda: waits.append(refused_in(lambda: authority.authenticate(basic_of(issued))))
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits.extend(refused_in(lambda: authority.authenticate(basic_of(issued))) for _ in range(5))
    assert median(waits) < 0.6  # a busy machine may hold one or the other up
    own.thaw()
    start = time.monotonic()
    until(lambda: accepts(authority, basic_of(issued)))
    assert time.monotonic() - start < 2


def accepts(authority: Authority, value: str) -> bool:
    try:
        return bool(authority.authenticate(value))
    except StoreUnavailable:
        return False


def test_a_killed_server_is_refused_at_once_and_used_again_after_its_restart(
    hasty: Make, own: Server
) -> None:
    authority = hasty(url=own.url)
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    gone = issue(authority, "gone")
    authority.delete(gone.pat.id)
    own.kill()
    waits = [refused_in(lambda: authority.authenticate(basic_of(issued))) for _ in range(10)]
    assert median(waits) < 0.3
    own.start()
    start = time.monotonic()
    until(lambda: accepts(authority, basic_of(issued)))
    assert time.monotonic() - start < 2
    authority.verify_bearer(access.value)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(gone))


def test_a_restart_between_two_requests_is_not_noticed(make_at: Make, own: Server) -> None:
    """All idle connections are closed by then; one request finds out, and goes over a new one."""
    authority = make_at(url=own.url)
    issued = issue(authority)
    held = [transport_of(authority)._checkout(time.monotonic() + 1) for _ in range(5)]
    for connection in held:
        transport_of(authority)._release(connection)
    own.kill()
    own.start()
    for _ in range(3):
        assert authority.authenticate(basic_of(issued))


@pytest.mark.parametrize("own", list(binaries()), indirect=True)
def test_a_server_out_of_memory_still_revokes(make_at: Make, own: Server) -> None:
    """REQUIREMENTS fact 6, F12: a removal deletes before it writes."""
    authority = make_at(url=own.url)
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    own.client().config_set("maxmemory", 1)
    for call in (
        lambda: authority.authenticate(basic_of(issued)),
        lambda: authority.exchange(issued.pat.id, issued.secret),
        lambda: issue(authority, "another"),
    ):
        refused_in(call)
    authority.delete(issued.pat.id)
    own.client().config_set("maxmemory", 0)
    time.sleep(connection_module.BREAKER_PAUSE)
    for value in (basic_of(issued), "Bearer " + access.value):
        with pytest.raises(InvalidCredentials):
            authority.authenticate(value)
    assert authority.list(owner_id="alice") == []
    issue(authority, "another")


def test_out_of_memory_revocations_get_through_whatever_else_goes_on(make_at: Make, own: Server) -> None:
    """Requests that fail for want of memory are no reason to refuse a removal unsent (F12: 100 %)."""
    authority = make_at(url=own.url, max_pats_per_owner=100)
    people = [issue(authority, f"pat {number}") for number in range(30)]
    busy = issue(authority, "busy")
    own.client().config_set("maxmemory", 1)
    done = threading.Event()

    def log_in() -> None:
        while not done.is_set():
            refused_in(lambda: authority.authenticate(basic_of(busy)))

    threads = [threading.Thread(target=log_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for one in people:
            authority.delete(one.pat.id)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert [pat.name for pat in authority.list(owner_id="alice")] == ["busy"]


def test_after_a_restart_the_first_creation_is_made(make_at: Make, own: Server) -> None:
    """16 connections are stale then; a process that only creates finds out at the first."""
    authority = make_at(url=own.url)
    authority.ping()
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    for wire in [transport._checkout(time.monotonic() + 1) for _ in range(16)]:
        transport._release(wire)
    own.kill()
    own.start()
    issue(authority)


# What is interrupted while it closes is closed by the collector, which says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_exceptions_from_outside_at_any_moment_leave_everything_usable(make_at: Make, server: Server) -> None:
    """A signal's handler that raises, as a worker's timeout does: no lock, place or flight is lost, and
    each reply is one's own (redis-py CVE-2023-28858)."""
    authority = make_at(request_quota="1000000/1", max_connections=4, proof_ttl=0)
    people = [issue(authority, f"pat {number}") for number in range(3)]

    class Interrupt(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupts, wrong = 0, 0
    end = time.monotonic() + 60
    chance = random.Random(7)
    try:
        while interrupts < 1000 and time.monotonic() < end:
            mine = chance.choice(people)
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.0006))
                for _ in range(5):
                    wrong += authority.authenticate(basic_of(mine)).pat_id != mine.pat.id
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupts += 1
            except Overloaded:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        with contextlib.suppress(Interrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 200
    assert wrong == 0
    time.sleep(connection_module.BREAKER_PAUSE)
    gc.collect()
    for mine in people:
        assert authority.authenticate(basic_of(mine)).pat_id == mine.pat.id
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    assert transport._slots.held <= 4


@each(
    ("reply", "why"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        (b"-READONLY You can't write against a read only replica.\r\n", "READONLY"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
        (b"-MOVED 1 127.0.0.1:1\r\n", "MOVED"),
        (b"-ASK 1 127.0.0.1:1\r\n", "ASK"),
        (b"-BUSY Redis is busy running a script\r\n", "BUSY"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "NOREPLICAS"),
        (b"-NOPERM this user has no permissions\r\n", "NOPERM"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM"),
        (b"-ERR max number of clients reached\r\n", "maxclients"),
        (b"-NOSCRIPT No matching script.\r\n", "NOSCRIPT twice"),
        (b"$-1\r\n", "nothing"),
        (b":1\r\n", "a number"),
        (b"+OK\r\n", "a status"),
        (b"*0\r\n", "an empty list"),
        (b"*1\r\n:1\r\n", "a verdict alone"),
        (b"*3\r\n:1\r\n:5\r\n:5\r\n", "a verdict without a record"),
        (b"*5\r\n:1\r\n:5\r\n:5\r\n$3\r\nabc\r\n$-1\r\n", "a record cut short"),
        (b"*5\r\n:7\r\n:5\r\n:5\r\n$-1\r\n$-1\r\n", "an unknown verdict"),
        (b"*2\r\n$1\r\n0\r\n:5\r\n", "a verdict of another type"),
        (b"%1\r\n+a\r\n", "RESP3"),
        (b"\xff\xfe", "garbage"),
        (b"*5\r\n:1\r\n", "half an answer, and the end"),
        (b"", "the end"),
    ],
)
def test_what_is_not_understood_is_unavailable_and_never_unknown_credentials(
    make_at: Make, hasty: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reply: bytes, why: str
) -> None:
    """Every class of error reply, and replies that are none (REQUIREMENTS F5, F10)."""
    issued = issue(make_at(), owner=Owner(why.replace(" ", "-")))
    authority = hasty()  # half an answer is one that is waited for
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    transport.close()
    with liar(tmp_path / "liar", reply) as url:
        monkeypatch.setattr(transport, "_locate", lambda: url)
        monkeypatch.setattr(transport, "on_connect", None)  # the lie is told to a request, not to a greeting
        try:
            with pytest.raises(StoreUnavailable):
                authority.authenticate(basic_of(issued))
        finally:
            transport.close()


@contextmanager
def liar(path: Path, reply: bytes) -> Iterator[str]:
    """A server that answers whatever it is asked with the same bytes, and hangs up when there are none."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536) and reply:
                self.request.sendall(reply)
                if not reply.endswith(b"\r\n") or b"half" in reply:
                    return

    with serving(path, Handler) as url:
        yield url


def test_a_connection_on_which_a_wait_is_pending_is_closed_and_no_failure_of_the_server(
    tmp_path: Path,
) -> None:
    """Behind a script that failed. If it were kept, the next caller would get the wait's reply. And a server
    whose disk is full still answers what needs no room."""
    ended: list[bool] = []

    class Full(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while asked := self.request.recv(65536):
                self.request.sendall(b"-MISCONF no room\r\n" if b"EVAL" in asked else b"+PONG\r\n")
            ended.append(True)

    with (
        serving(tmp_path / "full", Full) as url,
        contextlib.closing(Connections(lambda: url, connect_timeout=1, command_timeout=1, limit=1)) as pool,
    ):
        for turn in range(2 * connection_module.BREAKER_FAILURES):
            with pytest.raises(StoreUnavailable) as refused:
                pool.call([("EVAL",), ("WAITAOF",)], time.monotonic() + 1, patience=1)
            assert "MISCONF" in (refused.value.detail or "")
            assert type(refused.value) is StoreUnavailable, "it was answered: nothing was done"
            until(lambda: len(ended) == turn + 1)  # noqa: B023
            assert (pool._slots.held, len(pool._idle), pool._failures) == (0, 0, 0)
        assert pool.call([("PING",)], time.monotonic() + 1) == [b"PONG"]


def test_who_is_answered_with_an_error_learns_what_was_done_before_it(server: Server) -> None:
    pool = Connections(lambda: logged_out(server.url), connect_timeout=1, command_timeout=1, limit=1)
    with contextlib.closing(pool):
        for commands, before in (
            ([("NOTHING",), ("ECHO", "a")], None),
            ([("ECHO", "a"), ("NOTHING",), ("ECHO", "b"), ("NOTHING",)], (b"a",)),
        ):
            with pytest.raises(StoreUnavailable) as refused:
                pool.call(commands, time.monotonic() + 1)
            assert getattr(refused.value, "replies", None) == before
            assert pool.call([("PING",)], time.monotonic() + 1) == [b"PONG"]


def test_a_reply_that_says_it_is_larger_than_the_memory_is_unavailable(make_at: Make) -> None:
    """Such as `*3456000000`. The connection is closed, and the next request has another one."""
    authority = make_at()
    issued = issue(authority)

    def full(real: Callable[..., Any], *given: Any) -> Any:
        raise MemoryError

    with standing_in(Wire, "send", full), pytest.raises(StoreUnavailable):
        authority.authenticate(basic_of(issued))
    assert authority.authenticate(basic_of(issued))
    assert transport_of(authority)._failures == 0


def test_a_reply_that_trickles_in_does_not_stretch_the_deadline(
    hasty: Make, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One byte every 50 ms: each of them in time, the whole never."""
    authority = hasty()
    issued = issue(authority)
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    transport.close()

    class Trickle(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with contextlib.suppress(OSError):
                for byte in b"*5\r\n:1\r\n:1893456000000\r\n:100000\r\n$190\r\n":
                    self.request.sendall(bytes([byte]))
                    time.sleep(0.05)

    with serving(tmp_path / "slow", Trickle) as url:
        monkeypatch.setattr(transport, "_locate", lambda: url)
        monkeypatch.setattr(transport, "on_connect", None)
        assert refused_in(lambda: authority.authenticate(basic_of(issued))) < 1, "the whole takes two seconds"
        transport.close()


def test_a_late_reply_reaches_nobody(hasty: Make, own: Server) -> None:
    """The server stalls within each caller's call; afterwards everybody is who they are."""
    authority = hasty(url=own.url, command_timeout=0.05, request_quota="1000000/10")
    people = [issue(authority, f"pat {number}", request_quota="1000000/10") for number in range(8)]
    wrong: list[str] = []
    end = time.monotonic() + 1.5

    def call(number: int) -> None:
        mine = people[number]
        while time.monotonic() < end:
            try:
                found = authority.authenticate(basic_of(mine)).pat_id
            except StoreUnavailable:
                continue
            if found != mine.pat.id:
                wrong.append(found)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        own.freeze()
        time.sleep(0.07)
        own.thaw()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_caller_waits_50_ms_for_a_connection_and_no_longer(
    make_at: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_at(url=server.url, max_connections=1)
    issued = issue(authority)
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    held = transport._checkout(time.monotonic() + 1)
    waits = [refused_in(lambda: authority.authenticate(basic_of(issued))) for _ in range(5)]
    assert 0.045 < min(waits) < 0.3
    monkeypatch.setattr(connection_module, "POOL_WAIT", 10)
    threading.Timer(0.01, transport._release, [held]).start()
    assert authority.authenticate(basic_of(issued)), "as soon as one is free"


def test_64_threads_share_one_connection_without_deadlock(make_at: Make, server: Server) -> None:
    authority = make_at(url=server.url, max_connections=1, request_quota="1000000/10")
    issued = issue(authority)
    outcomes: list[bool] = []

    def call() -> None:
        outcomes.extend(accepts(authority, basic_of(issued)) for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 64 * 20
    assert outcomes.count(True) > 0
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    assert (transport._slots.held, len(transport._idle), transport._slots.waiting) == (1, 1, 0)


def test_after_some_failures_callers_are_refused_at_once(hasty: Make, own: Server) -> None:
    authority = hasty(url=own.url)
    issued = issue(authority)
    own.freeze()
    for _ in range(connection_module.BREAKER_FAILURES):
        refused_in(lambda: authority.authenticate(basic_of(issued)))
    quick = [refused_in(lambda: authority.authenticate(basic_of(issued))) for _ in range(20)]
    assert median(quick) < 0.01
    own.thaw()


def test_a_deadline_that_passed_in_our_own_process_is_not_the_servers_fault(hasty: Make) -> None:
    """A thread that got no turn for half a second: its connection is kept, and nobody else is refused."""
    authority = hasty()
    authority.ping()
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    before = list(transport._idle)
    for _ in range(2 * connection_module.BREAKER_FAILURES):
        with pytest.raises(StoreUnavailable) as caught:
            transport.call([("PING",)], time.monotonic() - 0.001)
        assert "deadline" in (caught.value.detail or "")
    assert list(transport._idle) == before
    authority.ping()


def test_a_connection_that_comes_too_late_is_there_for_the_next_caller(
    hasty: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller is told in time. Thrown away, none would ever be there: all of them come late at a start."""
    authority = hasty()
    issued = issue(authority)
    transport = transport_of(authority)
    assert isinstance(transport, Connections)
    transport.close()
    ahead = [0.0]

    def now() -> float:
        return time.monotonic() + ahead[0]

    class Slow(Wire):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            ahead[0] += 2

    monkeypatch.setattr(connection_module, "Wire", Slow)
    monkeypatch.setattr(connection_module, "time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr(store_module, "monotonic", now)
    monkeypatch.setattr(wire_module, "monotonic", now)
    with pytest.raises(StoreUnavailable) as caught:
        authority.authenticate(basic_of(issued))
    assert "TooLate" in (caught.value.detail or "")
    (wire,) = transport._idle
    assert authority.authenticate(basic_of(issued))
    assert list(transport._idle) == [wire]


def test_an_address_where_nobody_listens_is_unavailable(hasty: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    authority = hasty(url=f"redis://:hunter2secret@127.0.0.1:{port}/0")
    start = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        authority.verify_bearer(authority.operations.format.mint_access_token("0" * 32)[0])
    assert time.monotonic() - start < 0.6
    assert "hunter2" not in f"{caught.value!r} {caught.value.detail}"


def test_a_forked_child_has_connections_of_its_own(make_at: Make, server: Server) -> None:
    """preload_app: the parent has connected before it forks (REQUIREMENTS F16)."""
    authority = make_at(url=server.url, request_quota="1000000/10")
    people = [issue(authority, f"pat {number}") for number in range(9)]
    for mine in people:
        authority.authenticate(basic_of(mine))
    context = multiprocessing.get_context("fork")

    def work(number: int) -> None:
        mine = people[number]
        good = all(authority.authenticate(basic_of(mine)).pat_id == mine.pat.id for _ in range(200))
        os._exit(0 if good else 1)

    children = [context.Process(target=work, args=(number,)) for number in range(8)]
    for child in children:
        child.start()
    for _ in range(200):
        assert authority.authenticate(basic_of(people[8])).pat_id == people[8].pat.id
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
