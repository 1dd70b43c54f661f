"""The rest of a refused upload, read by gunicorn's own parser from a real connection."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser, wsgi

from patauth.wsgi.drain import Drain, answered
from tests.support.tables import each
from tests.support.threads import all_at_once

BODY = [b"an answer"]
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
LENGTH = "Content-Length: 3000000"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"c350\r\n" + bytes(50_000) + b"\r\n"


class Upload:
    """A request on a connection of its own, as a worker of gunicorn has it when the application answers."""

    def __init__(self, *fields: str, sent: bytes = b"") -> None:
        configuration = Config()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.server, address = listener.accept()
        self.client.sendall(
            "\r\n".join(["POST /upload HTTP/1.1", "Host: h", *fields, "", ""]).encode() + sent
        )
        self._parser = get_parser(configuration, self.server, address)
        request = next(self._parser)
        name = self.server.getsockname()
        self.environ = wsgi.create(request, self.server, address, name, configuration)[1]

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.client.close()

    def drain(self, drain: Drain) -> float:
        """Do what a server does when it has sent the answer; how long it took."""
        answer: Any = drain.answered(BODY, self.environ)
        assert list(answer) == BODY
        began = time.monotonic()
        answer.close()
        return time.monotonic() - began

    def drain_to_a_limit(self, drain: Drain) -> float:
        """Drain what ends with the connection; how long it took."""
        began = time.monotonic()
        with pytest.raises(ConnectionResetError) as caught:
            self.drain(drain)
        assert caught.value.errno is not None  # by which gunicorn knows it
        return time.monotonic() - began

    def next_path(self) -> str:
        return str(next(self._parser).path)

    def read_on(self) -> None:
        """Read as a server does before it closes: it waits for nothing that the client may still send."""
        self.server.settimeout(10)
        with suppress(ConnectionResetError):
            for _ in range(16):
                self.server.recv(4096)


@pytest.fixture
def send() -> Iterator[Callable[..., None]]:
    """Sends pieces in a thread of its own, with a pause after each, for as long as the connection lasts."""
    over, threads = threading.Event(), []

    def start(client: socket.socket, pieces: Iterable[bytes], pause: float = 0) -> None:
        def run() -> None:
            with suppress(OSError):
                for piece in pieces:
                    client.sendall(piece)
                    if over.wait(pause):
                        return

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def upload(send: object) -> Iterator[Callable[..., Upload]]:
    # After `send`, and so closed before it: a client that sends ends with its connection.
    with ExitStack() as stack:
        yield lambda *fields, **given: stack.enter_context(Upload(*fields, **given))


class TestWhole:
    """A body that ends in time: the connection goes on."""

    def test_the_next_request_of_the_connection_is_found(self, upload):
        one = upload("Content-Length: 8", sent=b"12345678" + NEXT)
        one.drain(Drain())
        assert one.next_path() == "/next"

    def test_what_is_still_being_sent_is_read_too(self, upload, send):
        one = upload(LENGTH)
        send(one.client, [*[bytes(100_000)] * 30, NEXT])
        one.drain(Drain())
        assert one.next_path() == "/next"

    def test_chunks_and_what_follows_the_last_one(self, upload, send):
        one = upload(CHUNKED)
        send(one.client, [*[CHUNK] * 60, b"0\r\nX-Checksum: 1\r\n\r\n", NEXT])
        one.drain(Drain())
        assert one.next_path() == "/next"

    def test_what_the_application_has_read_is_not_awaited(self, upload):
        for already in (5, 8):
            one = upload("Content-Length: 8", sent=b"12345678")
            one.environ["wsgi.input"].read(already)
            assert one.drain(Drain()) < 1

    def test_the_timeout_of_the_socket_stays_as_it_was(self, upload):
        one = upload("Content-Length: 8", sent=b"12345678")
        one.server.settimeout(17)
        one.drain(Drain())
        assert one.server.gettimeout() == 17

    def test_time_between_drains_does_not_count(self, upload, send):
        drain = Drain(seconds=0.2, free_seconds=0.05)
        for _ in range(3):
            one = upload(LENGTH)
            send(one.client, [bytes(3_000_000)])
            one.drain(drain)
            threading.Event().wait(0.15)  # the thread that watches ends, and another one begins


class TestLimits:
    """At a limit the connection ends, and nobody waits for the client any more."""

    @pytest.mark.parametrize(("field", "piece"), [(LENGTH, bytes(100_000)), (CHUNKED, CHUNK)])
    def test_bytes(self, upload, send, field, piece):
        one = upload(field)
        send(one.client, itertools.repeat(piece))
        assert one.drain_to_a_limit(Drain(max_bytes=1_000_000)) < 2
        one.read_on()

    def test_it_reads_16_mib(self, upload, send):
        for size, ends in ((16 * 1024 * 1024 - 1, False), (16 * 1024 * 1024 + 1, True)):
            one = upload(f"Content-Length: {size}")
            send(one.client, [bytes(size)])
            (one.drain_to_a_limit if ends else one.drain)(Drain(seconds=30, free_seconds=20))

    @pytest.mark.parametrize(("field", "piece"), [(LENGTH, b"x"), (CHUNKED, b"1\r\nx\r\n"), (LENGTH, b"")])
    def test_time_however_slowly_the_client_sends(self, upload, send, field, piece):
        one = upload(field)
        send(one.client, itertools.repeat(piece), pause=0.01)
        assert 0.3 <= one.drain_to_a_limit(Drain(seconds=0.3, free_seconds=0.1)) < 2
        one.read_on()

    def test_it_waits_two_seconds(self, upload):
        clock = lambda: 4 * time.monotonic()  # noqa: E731
        assert 0.5 <= upload(LENGTH).drain_to_a_limit(Drain(clock=clock)) < 1

    def test_the_time_is_that_of_the_clock(self, upload):
        now = itertools.count(0, 1.0)
        assert upload(LENGTH).drain_to_a_limit(Drain(free_seconds=0.01, clock=lambda: next(now))) < 1


class TestPlaces:
    def durations(self, upload: Callable[..., Upload], count: int, drain: Drain) -> list[float]:
        """How long each of `count` clients that send nothing was waited for, the shortest first."""
        ones = [upload(LENGTH) for _ in range(count)]
        return sorted(all_at_once([lambda one=one: one.drain_to_a_limit(drain) for one in ones]))

    def test_one_waits_however_many_threads_the_process_has(self, upload):
        """An app may have many in the background, and they serve no requests."""
        drain = Drain(seconds=0.5, free_seconds=0.05)
        over = threading.Event()
        others = [threading.Thread(target=over.wait) for _ in range(20)]
        for thread in others:
            thread.start()
        try:
            for _ in range(2):  # the place is free again
                durations = self.durations(upload, 5, drain)
                assert [seconds >= 0.5 for seconds in durations] == [False] * 4 + [True]
                assert durations[-2] < 0.4
        finally:
            over.set()
            for thread in others:
                thread.join()

    def test_without_a_place_all_that_comes_quickly_is_read(self, upload, send):
        drain = Drain(seconds=20, free_seconds=2)
        slow, quick = upload(LENGTH), [upload(LENGTH) for _ in range(3)]
        for one in quick:
            send(one.client, [bytes(3_000_000), NEXT])
        waiting = threading.Thread(target=slow.drain, args=(drain,))
        waiting.start()
        all_at_once([lambda one=one: one.drain(drain) for one in quick])
        assert [one.next_path() for one in quick] == ["/next"] * 3
        slow.client.sendall(bytes(3_000_000))
        waiting.join()

    def test_under_gevent_a_greenlet_holds_no_thread(self, upload, monkeypatch):
        monkeypatch.setitem(
            sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched={"threading": True}.get)
        )
        assert all(one >= 0.5 for one in self.durations(upload, 6, Drain(seconds=0.5, free_seconds=0.05)))

    def test_a_forked_child_has_the_place_and_watches_for_itself(self, upload):
        drain = Drain(seconds=0.5, free_seconds=0.05)
        slow, other = upload(LENGTH), upload(LENGTH)
        waiting = threading.Thread(target=slow.drain_to_a_limit, args=(drain,))
        waiting.start()
        threading.Event().wait(0.2)  # until it has the place
        pid = os.fork()
        if pid == 0:
            code = 1
            with suppress(BaseException):
                code = 0 if other.drain_to_a_limit(drain) >= 0.5 else 2
            os._exit(code)
        waiting.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_without_a_thread_that_watches_nothing_is_awaited(self, upload, monkeypatch):
        def refuse(_: object) -> None:
            raise RuntimeError("can't start new thread")

        drain = Drain(seconds=0.3, free_seconds=0.1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert upload(LENGTH).drain_to_a_limit(drain) < 0.2
        assert upload(LENGTH).drain_to_a_limit(drain) >= 0.3


class TestClients:
    def test_one_that_resets_the_connection_makes_no_error(self, upload):
        one = upload(LENGTH, sent=b"x")
        one.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.client.close()
        one.drain(Drain())

    def test_one_that_goes_away_makes_no_error(self, upload):
        one = upload(LENGTH, sent=b"x")
        one.client.close()
        assert one.drain(Drain()) < 1

    def test_of_chunks_that_do_not_end_the_next_request_is_not_looked_for(self, upload):
        one = upload(CHUNKED, sent=CHUNK)
        one.client.close()
        one.drain_to_a_limit(Drain())

    def test_of_what_is_no_chunk_the_next_request_is_not_looked_for(self, upload):
        one = upload(CHUNKED, sent=b"1\r\nx\r\nno chunk\r\n\r\n" + NEXT)
        assert one.drain_to_a_limit(Drain()) < 1
        one.read_on()


class TestNothingToDo:
    @each(
        "what, fields, changed",
        [
            ("no body", (), {}),
            ("an empty body", ("Content-Length: 0",), {}),
            ("waits for 100", (LENGTH, "Expect: 100-continue"), {}),
            ("waits for 100, shouting", (CHUNKED, "Expect: 100-CONTINUE"), {}),
            ("another server", (LENGTH,), {"gunicorn.socket": None}),
            ("HTTP/2", (LENGTH,), {"SERVER_PROTOCOL": "HTTP/2.0"}),
        ],
    )
    def test_the_body_stays_what_it_is(self, upload, what, fields, changed):
        environ = {**upload(*fields).environ, **changed}
        environ = {name: value for name, value in environ.items() if value is not None}
        assert answered(BODY, environ) is BODY

    def test_an_answer_that_is_not_sent_is_not_drained(self, upload):
        assert list(answered(BODY, upload(LENGTH).environ)) == BODY
