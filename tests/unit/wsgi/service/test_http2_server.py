"""The server of HTTP/2 on sockets: TLS, clients that read nothing, and the end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patauth.wsgi.service import http2, http2_server
from patauth.wsgi.service.http2 import Request, Response
from patauth.wsgi.service.http2_server import Http2Server, Place, displaced
from patauth.wsgi.service.tls import read_tls
from tests.support.http2 import (
    DATA,
    GREETING,
    PINGED,
    PREFACE,
    SETTINGS,
    Wire,
    asked,
    begun,
    frame,
    opened,
    running,
    setting,
)
from tests.support.servers import until
from tests.support.tls import certificate


class Echo:
    """Answers with the body and the peer; slowly, not at all, or with much, if the path says so."""

    def refuse(self, request: Request) -> Response | None:
        return None if request.fault is None else Response(408, [])

    def most(self, body: bytearray) -> int:
        return 1000

    async def answer(self, request: Request) -> Response:
        if request.path == "/broken":
            raise RuntimeError("on purpose")
        if request.path == "/slow":
            await asyncio.sleep(0.3)
        body = bytes(5_000_000) if request.path == "/much" else bytes(request.body)
        return Response(200, [("peer", str(request.peer))], body)


class Server(Http2Server):
    """With what it serves, and a second for its end."""

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(Echo(), listening, tls)

    async def stop(self, seconds: float = 1.0) -> None:
        await super().stop(seconds)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[tuple[Server, int]]:
    made: list[Server] = []

    def make(listening: socket.socket) -> Server:
        made.append(Server(listening, tls))
        return made[0]

    with running(make) as port:
        yield made[0], port


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What the server and a client need."""
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    client = ssl.create_default_context(cafile=str(chain))
    client.set_alpn_protocols(["h2"])
    return read_tls(str(key), str(chain)), client


def test_calls_are_answered_at_the_same_time_and_the_peer_is_known() -> None:
    with serving() as (_, port), Wire(port) as wire:
        began = time.monotonic()
        wire.send(*(asked(number, b"hello", "/slow") for number in range(1, 101, 2)))
        for number in range(1, 101, 2):
            assert wire.answer(number) == {":status": "200", "peer": "127.0.0.1"}
        assert wire.reader.bodies[1] == b"hello"
        assert time.monotonic() - began < 5


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm would hold some of them back for 40 ms."""
    with serving() as (server, port), Wire(port) as wire:
        wire.send(asked(1))
        wire.answer(1)
        (link,) = server.links
        found = link.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert found != 0


def test_with_tls_frames_come_in_records_of_any_size(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    sent = GREETING + b"".join(asked(number, bytes(500), "/x") for number in range(1, 61, 2))
    with serving(tls[0]) as (_, port):
        for size in (1, 100, 16_384):
            pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
            with Wire(port, tls[1], b"") as wire:
                wire.send(*pieces)
                for number in range(1, 61, 2):
                    assert wire.answer(number)[":status"] == "200"


def test_who_does_not_choose_http_2_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    for spoken in ([], ["http/1.1"]):
        client = ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        if spoken:
            client.set_alpn_protocols(spoken)
        with serving(tls[0]) as (_, port), suppress(ssl.SSLError), Wire(port, client, b"") as wire:
            assert wire.is_closed()
            assert wire.reader.frames == []


def test_what_is_no_tls_and_what_is_silent_ends(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No log tells of what any client can cause."""
    monkeypatch.setattr(http2_server, "HANDSHAKE_SECONDS", 0.1)
    with caplog.at_level(logging.DEBUG, "asyncio"), serving(tls[0]) as (server, port):
        for first in (GREETING, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02", b""):
            with Wire(port, greeting=first) as wire, suppress(AssertionError):
                assert wire.is_closed()
        until(lambda: not server.links)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_http_1_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, port), Wire(port, greeting=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as wire:
        assert wire.is_closed()
    assert caplog.records == []


def test_a_greeting_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "GREETING_SECONDS", 0.1)
    with serving() as (_, port):
        for first in (b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS)[:5]):
            with Wire(port, greeting=first) as wire:
                assert wire.is_closed()
                assert wire.reader.told(GoAwayFrame)[0].error_code == 0


def test_a_client_that_reads_nothing_of_its_answers_is_ended_and_they_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lets 50 MB come, and takes none of it: the server writes what the socket takes, and one chunk."""
    monkeypatch.setattr(http2, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(http2_server, "GOODBYE_SECONDS", 0.3)
    with serving() as (server, port), Wire(port) as wire:
        wire.send(
            setting(4, 2**30), opened(0, 2**30), *(asked(number, path="/much") for number in range(1, 21, 2))
        )
        until(lambda: server.links and next(iter(server.links)).transport.get_write_buffer_size() > 0)
        kept = []
        while server.links:
            kept += [link.transport.get_write_buffer_size() for link in list(server.links)]
            time.sleep(0.01)
        assert max(kept) < 3 * http2.CHUNK_BYTES


def test_a_client_that_takes_much_slowly_gets_all_of_it() -> None:
    with serving() as (_, port), Wire(port) as wire:
        wire.send(setting(4, 2**30), opened(0, 2**30), asked(1, path="/much"), asked(3, b"x"))
        assert wire.answer(3)[":status"] == "200"
        wire.answer(1)
        assert len(wire.reader.bodies[1]) == 5_000_000


def stalls(wire: Wire, number: int = 1) -> None:
    """Ask, and let nothing of the answer come: the connection has work until `takes`."""
    wire.send(setting(4, 0), asked(number, b"x"))
    until(lambda: wire.read() and wire.reader.fields.get(number))


def takes(wire: Wire, number: int = 1) -> None:
    wire.send(opened(number, 100))
    assert wire.answer(number)[":status"] == "200"


def test_a_newcomer_takes_the_place_of_the_connection_that_is_idle_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that works keeps its place; where all work, a newcomer of the same address is closed."""
    monkeypatch.setattr(http2_server, "CONNECTIONS", 3)
    with serving() as (_, port), ExitStack() as stack:
        busy, first, second = (stack.enter_context(Wire(port)) for _ in range(3))
        stalls(busy)
        for wire, number in ((first, 1), (second, 1), (first, 3)):
            wire.send(asked(number))
            wire.answer(number)
        third = stack.enter_context(Wire(port))
        assert second.is_closed(), "the other has had a call since"
        assert second.reader.told(GoAwayFrame)[0].error_code == 0
        for wire in (first, third):
            stalls(wire, 5)
        assert stack.enter_context(Wire(port)).is_closed()
        for wire, number in ((busy, 1), (first, 5), (third, 5)):
            takes(wire, number)


def test_calls_whose_body_does_not_come_keep_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_server, "CONNECTIONS", 3)
    with serving() as (_, port), ExitStack() as stack:
        endless = [stack.enter_context(Wire(port)) for _ in range(3)]
        for wire in endless:
            wire.send(begun(1), PINGED)
            until(lambda wire=wire: wire.read() and wire.reader.told(PingFrame))
        for wire in endless:
            other = stack.enter_context(Wire(port))
            other.send(asked(1))
            assert other.answer(1)[":status"] == "200"
            assert wire.is_closed()


def test_one_address_takes_no_place_of_others_and_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has work on each connection, and comes with more."""
    monkeypatch.setattr(http2_server, "CONNECTIONS", 4)
    with serving() as (_, port), ExitStack() as stack:
        many = [stack.enter_context(Wire(port, source="127.0.0.2")) for _ in range(4)]
        for wire in many:
            stalls(wire)
        other = stack.enter_context(Wire(port))
        other.send(asked(1))
        assert other.answer(1)[":status"] == "200"
        for _ in range(5):
            assert stack.enter_context(Wire(port, source="127.0.0.2")).is_closed()
        other.send(asked(3))
        assert other.answer(3)[":status"] == "200"


def test_what_makes_no_tls_keeps_no_place(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http2_server, "CONNECTIONS", 3)
    with caplog.at_level(logging.DEBUG, "asyncio"), serving(tls[0]) as (_, port), ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(Wire(port, greeting=b""))
        wire = stack.enter_context(Wire(port, tls[1]))
        wire.send(asked(1))
        assert wire.answer(1)[":status"] == "200"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_connection_that_is_displaced_is_gone_at_once(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client does not take part in the end of TLS."""
    monkeypatch.setattr(http2_server, "CONNECTIONS", 3)
    with serving(tls[0]) as (server, port), ExitStack() as stack:
        began = time.monotonic()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            wire = stack.enter_context(Wire(port, tls[1]))
            wire.send(asked(1))
            wire.answer(1)
        until(lambda: len(server.links) == 3)
        until(lambda: len(os.listdir("/proc/self/fd")) <= before + 20 + 3)
        assert time.monotonic() - began < http2_server.GOODBYE_SECONDS


def test_a_connection_that_ends_by_itself_has_its_place_until_it_is_closed(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer takes it: nobody needs it any more."""
    monkeypatch.setattr(http2_server, "CONNECTIONS", 3)
    with serving(tls[0]) as (server, port), ExitStack() as stack:
        for _ in range(9):
            wire = stack.enter_context(Wire(port, tls[1]))
            wire.send(frame(DATA, 0, 1))
            until(lambda wire=wire: wire.read() and wire.reader.told(GoAwayFrame))
            assert len(server.links) <= 3 + 1
        wire = stack.enter_context(Wire(port, tls[1]))
        wire.send(asked(1))
        assert wire.answer(1)[":status"] == "200"


NETWORKS = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::/64", None])
PLACES = st.lists(st.builds(Place, NETWORKS, st.booleans(), st.integers(0, 5).map(float)), max_size=12)


@settings(max_examples=300)
@given(PLACES, NETWORKS)
@example([Place("10.0.0.1", True, 0.0), Place("10.0.0.1", True, 0.0), Place(None, False, 0.0)], "10.0.0.1")
@example([Place("10.0.0.1", True, 1.0), Place("10.0.0.1", False, 2.0), Place(None, False, 0.0)], None)
@example([Place("10.0.0.1", True, 0.0), Place("10.0.0.1", True, 0.0), Place(None, True, 0.0)], None)
@example([Place("10.0.0.1", True, 0.0), Place(None, True, 0.0)], "10.0.0.2")
def test_who_is_displaced(places: list[Place], newcomer: str | None) -> None:
    """What idles goes before what works, and who has the most gives up first, the longest idle first."""

    def count(network: str | None) -> int:
        return sum(place.network == network for place in places)

    def may_go(place: Place) -> bool:
        is_other = place.network != newcomer
        return not place.works or (is_other and 2 * count(place.network) > len(places))

    at = displaced(places, newcomer)
    if at is None:
        assert not any(may_go(one) for one in places if count(one.network) >= count(newcomer))
        return
    chosen = places[at]
    assert may_go(chosen)
    assert count(chosen.network) >= count(newcomer), "a newcomer takes nothing of who has less than it has"
    for one in places:
        if may_go(one):
            assert count(one.network) <= count(chosen.network)
        if one.network == chosen.network and not one.works:
            assert not chosen.works
            assert chosen.idle_since <= one.idle_since


@settings(max_examples=300)
@given(
    st.lists(st.tuples(NETWORKS, st.booleans(), st.integers(0, 11)), min_size=20, max_size=80),
    st.integers(4, 12),
)
def test_one_network_whatever_it_does_leaves_others_nearly_half_of_the_places(
    turns: list[tuple[str | None, bool, int]], most: int
) -> None:
    """It comes again and again and always works; the others have nearly half of the places, and keep them.

    The model: connections come, and those of the others end now and then.
    """
    places: list[Place] = []
    for now, (network, works, ends) in enumerate(turns):
        others = [place for place in places if place.network != "10.0.0.1"]
        if network != "10.0.0.1" and len(others) >= (most - 1) // 2:
            places.remove(others[ends % len(others)])
        place = Place(network, works or network == "10.0.0.1", float(now))
        if len(places) < most:
            places.append(place)
            continue
        at = displaced(places, network)
        if network == "10.0.0.1":
            assert at is None, "it has the most, and work on all of them"
        else:
            assert at is not None
            assert places.pop(at).network == "10.0.0.1"
            places.append(place)


def test_without_a_descriptor_it_waits_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http2_server, "ACCEPT_SECONDS", 0.3)
    with serving() as (_, port):
        held = []
        with pytest.MonkeyPatch.context() as patched:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            waiting = socket.socket()
            patched.setattr(http2_server, "CONNECTIONS", 10_000)
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 5, before[1]))
            try:
                with suppress(OSError):
                    while True:
                        held.append(os.open("/dev/null", os.O_RDONLY))
                waiting.connect(("127.0.0.1", port))
                until(lambda: caplog.records)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for descriptor in held:
                    os.close(descriptor)
        with Wire(port) as wire:
            wire.send(asked(1))
            wire.answer(1)
        waiting.close()
    assert [record.exc_info for record in caplog.records] == [None] * len(caplog.records)
    assert len(caplog.records) <= 2


def test_a_fault_of_the_application_is_a_reset_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, port), Wire(port) as wire:
        wire.send(asked(1, path="/broken"), asked(3))
        wire.answer(3)
        assert [(one.stream_id, one.error_code) for one in wire.reader.told(RstStreamFrame)] == [(1, 2)]
    assert "on purpose" in caplog.text


def test_the_end_waits_for_calls_but_not_for_clients() -> None:
    with serving() as (server, port):
        with Wire(port) as earlier:
            earlier.send(asked(1))
            earlier.answer(1)
        until(lambda: not server.links)
        busy, silent, half = Wire(port), Wire(port), Wire(port)
        busy.send(asked(1, path="/slow"))
        half.send(begun(1))
        for wire in (busy, silent, half):
            wire.send(PINGED)
            assert wire.read()
        began = time.monotonic()
    assert 0.9 < time.monotonic() - began < 3, "a second for the one whose body does not come"
    assert busy.answer(1)[":status"] == "200"
    for wire in (busy, silent, half):
        assert wire.is_closed()
        assert wire.reader.told(GoAwayFrame)[0].error_code == 0
        wire.__exit__()
