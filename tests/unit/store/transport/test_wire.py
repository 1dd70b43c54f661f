"""One connection: its options, its deadline, and replies that are one's own or nobody's."""

from __future__ import annotations

import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import hiredis
import pytest

from patauth import Authority, ConfigurationError
from patauth.store.transport import wire as wire_module
from patauth.store.transport.wire import (
    Closed,
    ErrorReply,
    OutOfStep,
    Tls,
    TooLate,
    Unconnected,
    Wire,
    redis_connection,
)
from tests.support.acl import logged_out
from tests.support.authorities import basic_of, issue
from tests.support.paths import ROOT
from tests.support.servers import Server, serving
from tests.support.tables import each
from tests.support.tls import serving_tls


def soon() -> float:
    return time.monotonic() + 1


def answering(reply: Callable[[bytes], bytes]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while asked := self.request.recv(65536):
                answer = reply(asked)
                if not answer:
                    return
                self.request.sendall(answer)

    return Handler


def test_commands_sent_at_once_are_answered_in_order(server: Server) -> None:
    wire = Wire(logged_out(server.url), 1, 1)
    assert wire.exchange([("ECHO", b"a"), ("ECHO", "b"), ("ECHO", 3)], soon()) == [b"a", b"b", b"3"]
    with pytest.raises(ErrorReply, match="unknown command"):
        wire.exchange([("PING",), ("NOTHING",)], soon())
    assert wire.exchange([("PING",)], soon()) == [b"PONG"]
    wire.close()


def test_an_answer_larger_than_the_buffer_arrives_whole(server: Server) -> None:
    wire = Wire(logged_out(server.url), 1, 1)
    large = b"x" * 1_000_000
    assert wire.exchange([("ECHO", large)], soon()) == [large]
    wire.close()


@each("reply", [b"+PONG\r\n", b"*2\r\n:1\r\n:2\r\n", b"*-1\r\n"])
def test_a_reply_too_many_is_given_to_nobody(tmp_path: Path, reply: bytes) -> None:
    """Two answers to one command, or the beginning of a second: it would be the next caller's."""
    for name, answer in (("s", 2 * reply), ("t", reply + reply[:1])):
        with (
            serving(tmp_path / name, answering(lambda _: answer)) as url,  # noqa: B023
            closing(Wire(url, 1, 1)) as wire,
            pytest.raises(OutOfStep),
        ):
            wire.exchange([("PING",)], soon())


def test_a_server_that_hangs_up_is_told_from_one_that_is_slow(tmp_path: Path) -> None:
    with serving(tmp_path / "s", answering(lambda _: b"")) as url:
        wire = Wire(url, 1, 1)
        with pytest.raises(Closed):
            wire.exchange([("PING",)], soon())
        wire.close()
    with serving(tmp_path / "t", answering(lambda _: b"$5\r\nab")) as url:
        wire = Wire(url, 1, 0.05)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.exchange([("PING",)], soon())
        assert time.monotonic() - start < 0.8
        wire.close()


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_wait_ends_with_the_deadline_and_the_next_one_is_as_long_as_ever(
    tmp_path: Path, by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel on a plain socket, Python on any other; a wait cut short by one request's deadline is no
    other's, and patience is added to it."""
    if not by_kernel:
        monkeypatch.setattr(wire_module, "_let_the_kernel_wait", lambda connected, seconds: False)
    answers = iter([b"", b"+ONE\r\n", b"+TWO\r\n"])

    def slow(_: bytes) -> bytes:
        time.sleep(0.2)
        return next(answers) or b":"

    with serving(tmp_path / "s", answering(slow)) as url:
        wire = Wire(url, 1, 0.5)
        assert wire._kernel_waits is by_kernel
        assert (wire._socket.gettimeout() is None) is by_kernel
        with pytest.raises(TimeoutError):
            wire.exchange([("PING",)], time.monotonic() + 0.05)
        wire.close()
        wire = Wire(url, 1, 0.1)
        assert wire.exchange([("PING",)], time.monotonic() + 10, patience=5) == [b"ONE"]
        with pytest.raises(TimeoutError):
            wire.exchange([("PING",)], soon())
        wire.close()


def test_after_an_error_no_reply_is_waited_for(tmp_path: Path) -> None:
    """That of a wait behind a script that failed. If it has come too, the connection is still good."""
    for name, answer, is_in_step in (
        ("s", b"-MISCONF Errors writing to the AOF file\r\n:", False),
        ("t", b"-OOM no memory\r\n*2\r\n:1\r\n:0\r\n", True),
    ):
        with (
            serving(tmp_path / name, answering(lambda _: answer)) as url,  # noqa: B023
            closing(Wire(url, 1, 1)) as wire,
        ):
            for _ in range(1 + is_in_step):
                with pytest.raises(ErrorReply, match=answer[1:5].decode()):
                    wire.exchange([("EVAL",), ("WAITAOF",)], soon(), patience=1)
                assert wire.is_in_step is is_in_step


@each(("answer", "longest"), [(b"", 1), (b"*1\r\n:1\r\n", 61)])
def test_patience_is_for_a_wait_and_not_for_the_script_before_it(
    tmp_path: Path, answer: bytes, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has stopped is given up in time. One whose disk is busy may take longer."""
    waits: list[float] = []
    real = Wire._wait_at_most

    def note(wire: Wire, seconds: float) -> None:
        waits.append(seconds)
        real(wire, 0.05)

    with (
        serving(tmp_path / "s", answering(lambda _: answer or b"*")) as url,
        closing(Wire(url, 1, 1)) as wire,
    ):
        monkeypatch.setattr(Wire, "_wait_at_most", note)
        with pytest.raises(TimeoutError):
            wire.exchange([("EVAL",), ("WAITAOF",)], time.monotonic() + 100, patience=60)
    assert waits == [longest]


def test_a_large_command_to_a_server_that_reads_slowly_keeps_to_the_deadline(tmp_path: Path) -> None:
    """The kernel's limit is one for each piece that it takes; the deadline is one for all."""

    class Slow(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65_536):
                time.sleep(0.05)

    with serving(tmp_path / "s", Slow) as url:
        wire = Wire(url, 1, 0.25)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.exchange([("ECHO", b"x" * 4_000_000)], start + 0.5)
        assert time.monotonic() - start < 2
        wire.close()


def test_under_a_timer_python_keeps_time(server: Server) -> None:
    """A handler that returns would begin a wait of the kernel again, each time."""
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        wire = Wire(logged_out(server.url), 1, 0.2)
        assert not wire._kernel_waits
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.exchange([("BLPOP", "nothing", 3)], start + 5)
        assert time.monotonic() - start < 2
        wire.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_handler_that_raises_ends_a_wait_of_the_kernels(server: Server) -> None:
    wire = Wire(logged_out(server.url), 1, 5)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            wire.exchange([("BLPOP", "nothing", 3)], time.monotonic() + 5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        wire.close()


def test_a_deadline_that_has_passed_sends_nothing(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def note(command: bytes) -> bytes:
        asked.append(command)
        return b"+PONG\r\n"

    with serving(tmp_path / "s", answering(note)) as url:
        wire = Wire(url, 1, 1)
        with pytest.raises(TooLate):
            wire.exchange([("PING",)], time.monotonic() - 0.001)
        assert wire.exchange([("PING",)], soon()) == [b"PONG"]
        assert len(asked) == 1
        wire.close()


@each("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///s?db=2"])
def test_no_option_of_redis_py_is_left_to_its_default_that_matters(url: str) -> None:
    """REQUIREMENTS facts 1-3: no retry, no five seconds, whatever the URL says."""
    for spelling in (url, url + ("&" if "?" in url else "?") + "socket_timeout=30&retry_on_timeout=true"):
        connection = redis_connection(spelling, 0.2, 0.25)
        assert connection.socket_timeout == 0.25
        assert connection.socket_connect_timeout == 0.2
        assert connection.retry.get_retries() == 0
        assert connection.health_check_interval == 0
        assert connection.protocol == 2


def test_connecting_sends_no_command(tmp_path: Path) -> None:
    """A server that is stopped accepts a connection and would leave a greeting unanswered."""
    asked: list[bytes] = []

    def note(command: bytes) -> bytes:
        asked.append(command)
        return b"+PONG\r\n"

    with serving(tmp_path / "s", answering(note)) as url:
        wire = Wire(url, 1, 1)
        wire.exchange([("PING",)], soon())
        wire.close()
    assert asked == [b"*1\r\n$4\r\nPING\r\n"]


@each(
    "url",
    [
        "redis://host:port/x",
        "redis://:s3cr3t#x@host:6379/0",
        "redis://:s3cr3t/x@host:6379/0",
        "redis://host/0?foo=1",
        "redis://host/0?max_connections=5",
        "rediss://host/0?ssl_cert_reqs=bogus",
        "http://host",
        "redis://host/abc",
        "unix://",
    ],
)
def test_a_url_that_cannot_be_read_is_a_configuration_error_that_repeats_nothing(url: str) -> None:
    with pytest.raises(ConfigurationError, match="store_url") as caught:
        redis_connection(url, 1, 1)
    assert "s3cr3t" not in f"{caught.value} {caught.value.__context__!r} {caught.value.__cause__!r}"


def test_whatever_is_packed_is_text_or_bytes_also_while_it_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hiredis crashes the process if a signal handler raises while it turns a number into text."""
    kinds, words, real = set[type](), list[object](), hiredis.pack_command

    def pack(command: tuple[object, ...]) -> bytes:
        words.extend(command)
        kinds.update(map(type, command))
        return real(command)  # type: ignore[arg-type]

    monkeypatch.setattr(hiredis, "pack_command", pack)
    with serving(tmp_path / "s", answering(lambda _: b"+OK\r\n")) as url:
        wire = Wire(f"{url}?db=12&username=u&password=p&client_name=n", 1, 1)
        wire.exchange([("ECHO", 3)], soon())
        wire.close()
    assert {b"12", "AUTH", "SETNAME", b"3"} <= set(words)
    assert kinds <= {str, bytes}


class TestTls:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """The contexts that are made."""
        contexts, real = list[object](), ssl.create_default_context

        def make() -> ssl.SSLContext:
            contexts.append(real())
            return contexts[-1]  # type: ignore[return-value]

        monkeypatch.setattr(ssl, "create_default_context", make)
        return contexts

    def test_connections_share_one_context(self, tmp_path: Path, made: list[object]) -> None:
        with serving_tls(tmp_path, lambda _: b"+PONG\r\n") as url:
            tls = Tls(url)
            for _ in range(3):
                wire = Wire(url, 1, 1, tls)
                assert wire.exchange([("PING",)], soon()) == [b"PONG"]
                wire.close()
        assert len(made) == 1

    def test_its_authority_makes_it(self, tmp_path: Path, made: list[object]) -> None:
        Authority.from_url("rediss://127.0.0.1:1/0").close()
        assert len(made) == 1
        Authority.from_url("redis://127.0.0.1:1/0").close()
        assert len(made) == 1

    @each(
        "option", ["ssl_ca_certs=/no/such", "ssl_certfile=/no/such", "ssl_ciphers=none", "ssl_min_version=5"]
    )
    def test_an_option_that_cannot_be_used_is_a_configuration_error_at_the_start(self, option: str) -> None:
        with pytest.raises(ConfigurationError, match="store_url: its TLS options") as caught:
            Authority.from_url(f"rediss://:s3cr3t@host/0?{option}")
        assert "s3cr3t" not in f"{caught.value} {caught.value.__context__!r} {caught.value.__cause__!r}"

    @each("option", ["ssl_validate_ocsp=true", "ssl_validate_ocsp_stapled=true", "ssl_ocsp_expected_cert=x"])
    def test_a_check_that_is_not_made_is_none_that_can_be_asked_for(self, option: str) -> None:
        with pytest.raises(ConfigurationError, match="OCSP"):
            Authority.from_url(f"rediss://host/0?{option}")

    def test_a_server_that_is_not_trusted_or_has_another_name_is_refused(self, tmp_path: Path) -> None:
        with serving_tls(tmp_path, lambda _: b"+PONG\r\n") as url:
            strange = url.partition("?")[0]
            with pytest.raises(Unconnected, match="CERTIFICATE_VERIFY_FAILED"):
                Wire(strange, 1, 1, Tls(strange))
            unchecked = f"{strange}?ssl_cert_reqs=none"
            Wire(unchecked, 1, 1, Tls(unchecked)).close()
        with serving_tls(tmp_path, lambda _: b"+PONG\r\n", host="other.example") as url:
            with pytest.raises(Unconnected, match="CERTIFICATE_VERIFY_FAILED"):
                Wire(url, 1, 1, Tls(url))
            unchecked = f"{url}&ssl_check_hostname=false"
            Wire(unchecked, 1, 1, Tls(unchecked)).close()


REQUESTED = """
import sys, warnings
warnings.simplefilter("ignore")
import patauth
assert not {{"redis", "argon2"}} & sys.modules.keys()
authority = patauth.Authority.from_url({url!r}, key_prefix={prefix!r})
wrapped = patauth.PatAuthMiddleware(lambda environ, start: start("200 OK", []) or [], authority)
before = set(sys.modules)
authority.authenticate({authorization!r})
environ = {{"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": {authorization!r}}}
list(wrapped(environ, lambda status, *_: print(status)))
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("kind", ["unix", "local", "tcp"])
def test_all_that_the_first_request_needs_is_imported_before(
    kind: str, server: Server, prefix: str, tmp_path: Path
) -> None:
    """And `import patauth` alone imports none of it."""
    url = {"unix": server.url, "local": f"local:{tmp_path / 'store'}"}.get(kind)
    if url is None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        server.client().config_set("port", port)
        url = f"redis://localhost:{port}/0"
    with Authority.from_url(url, key_prefix=prefix) as authority:
        authorization = basic_of(issue(authority))
        program = REQUESTED.format(url=url, prefix=prefix, authorization=authorization)
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    server.client().config_set("port", 0)
    assert done.stdout.splitlines() == ["200 OK", "[]"], done.stderr
