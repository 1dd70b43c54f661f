"""One connection to a server: it sends commands and reads their replies within one deadline.

redis-py opens the connection (address, TLS, authentication, database). Then hiredis works on the socket
itself. That costs less than redis-py's own reading, and a reply that arrives byte by byte cannot stretch
the deadline. This module uses two private names, `Connection._sock` and
`SSLConnection._wrap_socket_with_ssl`, so pyproject.toml demands redis < 9.
"""

from __future__ import annotations

import _socket
import re
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis

from ...concurrency.slots import Slot
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from ssl import SSLContext

    from redis.connection import Connection

Command = tuple[Any, ...]

_AT_ONCE = 16_384  # bytes that a socket takes without a wait for the other side
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9a-fA-F:.]+\]?")  # a name or an IP address
_TIMEVAL = struct.Struct("@ll")  # struct timeval: seconds, microseconds
_UNFINISHED = object()  # hiredis returns this when a reply is incomplete; None and False are replies


class WireError(Exception):
    """The base of all errors of a connection that are not an `OSError`."""


class Unconnected(WireError):
    """redis-py could not connect; the text is its own."""


class ErrorReply(WireError):
    """The server answered with an error, such as OOM, READONLY or LOADING.

    `before` are the replies to the commands that were sent with this one and came before it.
    """

    before: Sequence[Any] = ()


class Elsewhere:
    """A reply by which a node of a cluster says that it has not run a command; `text` begins with its kind.

    MOVED and ASK name the node to ask. TRYAGAIN and CLUSTERDOWN say that no node can run it now. Such a reply
    says nothing about the connection, nor about commands that were sent with this one.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


_NOT_HERE = ("MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN ")


def of_cluster(text: str) -> ErrorReply | Elsewhere:
    """Return what stands for an error reply of a node of a cluster."""
    return Elsewhere(text) if text.startswith(_NOT_HERE) else ErrorReply(text)


class Closed(ConnectionError):
    """The server has closed the connection."""


class TooLate(WireError):
    """The deadline passed before anything was sent. The connection is as good as before."""


class OutOfStep(WireError):
    """The server sent more replies than there were commands, so nobody can tell which belongs to which."""


class Wire:
    """An open connection.

    After `TooLate` it can be used again, and after `ErrorReply` if it `is_in_step`; after other errors, close
    it.

    Its methods raise `OSError` (also `TimeoutError` and `ConnectionError`), `WireError` and
    `hiredis.HiredisError`. The timeouts are in seconds. `admit` is called with the connected socket, and
    raises one of these to refuse the server. A URL without a password sends nothing before that. `read_error`
    makes a reply of the text of an error reply; only an `ErrorReply` is raised.
    """

    __slots__ = (
        "_buffer", "_command_timeout", "_connection", "_kernel_waits", "_reader", "_receive", "_send",
        "_socket", "_timeout", "is_in_step", "slot",
    )  # fmt: skip

    slot: Slot  # the pool sets this: one of the connections that may be open
    is_in_step: bool  # False: replies to earlier commands may still come

    def __init__(
        self,
        url: str,
        connect_timeout: float,
        command_timeout: float,
        tls: Tls | None = None,
        admit: Callable[[socket.socket], None] | None = None,
        read_error: Callable[[str], Any] = ErrorReply,
    ) -> None:
        connection: Any = redis_connection(url, connect_timeout, command_timeout)
        self._connection: Connection = connection
        if tls is not None:
            connection._wrap_socket_with_ssl = partial(tls.wrap, connection.host)
        from redis.exceptions import RedisError

        try:
            connection.connect()
        except RedisError as problem:
            raise Unconnected(f"{type(problem).__name__}: {problem}") from None
        connected: Any = self._connection._sock
        if admit is not None:
            try:
                admit(connected)
            except BaseException:
                self.close()
                raise
        self._socket = connected
        self._send, self._receive = connected.sendall, connected.recv_into
        self._reader = hiredis.Reader(replyError=read_error, notEnoughData=_UNFINISHED)
        self._buffer: Any = bytearray(16_384)  # hiredis takes it, although its types say bytes
        self._command_timeout = self._timeout = command_timeout
        self._kernel_waits = _let_the_kernel_wait(connected, command_timeout)
        self.is_in_step = True

    def exchange(self, commands: Sequence[Command], deadline: float, patience: float = 0.0) -> list[Any]:
        """Send commands together and return their replies. The parameters and errors are those of `send`."""
        return self.send(pack(commands), len(commands), deadline, patience)

    def send(self, packed: bytes, count: int, deadline: float, patience: float = 0.0) -> list[Any]:
        """Send `count` commands that are already packed (RESP), and return their replies.

        Raise the first reply that is an error, without waiting for those after it: nobody needs the answer of
        a WAIT behind a script that has failed. `deadline` is an instant of `time.monotonic()` (s). `patience`
        is how many seconds beyond it the last command, such as a WAIT, may take.
        """
        left = deadline - monotonic()
        longer = patience if count == 1 else 0.0
        if left < self._command_timeout or self._timeout != self._command_timeout or longer:
            if left <= 0:
                raise TooLate("the deadline of the request has passed")
            self._wait_at_most(min(left, self._command_timeout) + longer)
        failed: ErrorReply | None = None
        replies: list[Any] = []
        reader, buffer = self._reader, self._buffer
        send, receive = self._send, self._receive
        try:
            if len(packed) <= _AT_ONCE:
                send(packed)
            else:
                self._send_piece_by_piece(packed, deadline)
            while True:
                size = receive(buffer)
                if size == 0:
                    raise Closed("the server closed the connection")
                reader.feed(buffer, 0, size)
                reply = reader.gets()
                while reply is not _UNFINISHED:
                    if isinstance(reply, ErrorReply) and failed is None:
                        failed = reply
                        failed.before = tuple(replies)
                    replies.append(reply)
                    if len(replies) == count:
                        if reader.has_data():
                            raise OutOfStep("more replies than commands")
                        if failed is not None:
                            raise failed
                        return replies
                    reply = reader.gets()
                if failed is not None:
                    self.is_in_step = False
                    raise failed
                longer = patience if len(replies) == count - 1 else 0.0
                self._wait_at_most(min(deadline - monotonic(), self._command_timeout) + longer)
        except BlockingIOError:  # the kernel has ended the wait
            raise TimeoutError("timed out") from None

    def _send_piece_by_piece(self, packed: bytes, deadline: float) -> None:
        # The kernel's limit is for one wait for room, and it may have to wait often.
        left = memoryview(packed)
        while left:
            left = left[self._socket.send(left[:_AT_ONCE]) :]
            self._wait_at_most(min(deadline - monotonic(), self._command_timeout))

    def _wait_at_most(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError("the deadline of the request has passed")
        if seconds != self._timeout:
            if self._kernel_waits:
                _set_kernel_timeout(self._socket, seconds)
            else:
                self._socket.settimeout(seconds)
            self._timeout = seconds

    def close(self) -> None:
        """Close the connection. In a forked child, redis-py does not end the parent's use of the socket."""
        self._connection.disconnect()


def _let_the_kernel_wait(connected: Any, seconds: float) -> bool:
    """Let the kernel limit each wait on a plain socket to `seconds`. Return whether it does.

    This saves two system calls for each request, since otherwise Python polls the socket before each call.
    With gevent or TLS it is not possible: they keep the time themselves. A profiler's timer rules it out
    too: after a signal handler returns, Python repeats the interrupted call, and the kernel's wait would
    start again.
    """
    connected.settimeout(seconds)
    if type(connected) is not socket.socket or not isinstance(connected, _socket.socket):
        return False
    if signal.getitimer(signal.ITIMER_REAL)[1] > 0:
        return False
    try:
        _set_kernel_timeout(connected, seconds)
    except OSError:
        return False
    connected.settimeout(None)
    return True


def _set_kernel_timeout(connected: Any, seconds: float) -> None:
    micros = max(1, round(seconds * 1_000_000))  # 0 would mean no limit
    interval = _TIMEVAL.pack(*divmod(micros, 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


class Tls:
    """The TLS context of a `rediss://` URL. All connections share it: a handshake is faster than making one.
    So do the nodes of a cluster, each with a host of its own.

    Raise `ConfigurationError` if the URL's options are wrong, such as a path of `ssl_ca_certs`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._context = self._made()

    def _made(self) -> SSLContext:
        from redis.exceptions import RedisError

        connection: Any = redis_connection(self._url, 1, 1)
        try:
            # redis-py makes the context as it wraps a socket. This socket is not connected, so that is all.
            with socket.socket() as plain, connection._wrap_socket_with_ssl(plain) as wrapped:
                context: SSLContext = wrapped.context
        except (OSError, ValueError, TypeError, RedisError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else type(problem).__name__
            raise ConfigurationError(
                f"store_url: its TLS options, such as ssl_ca_certs, cannot be used: {why}"
            ) from None
        return context

    def wrap(self, host: str, connected: socket.socket) -> Any:
        """Return a socket that is connected to a host with TLS. Raise `OSError`."""
        import ssl

        if not isinstance(self._context, ssl.SSLContext):  # gevent has replaced it, and waits in its own way
            self._context = self._made()
        return self._context.wrap_socket(connected, server_hostname=host)


def address_of(host: str, port: int) -> str:
    """Return the address of a server as a URL has it, `host:port`. Raise `ValueError`."""
    if not _HOST.fullmatch(host) or not 0 < port < 65_536:
        raise ValueError("a host or a port is wrong")
    return f"[{host}]:{port}" if ":" in host and host[0] != "[" else f"{host}:{port}"


def load() -> None:
    """Import what a connection needs, so that no request spends its time on that."""
    import encodings.idna  # noqa: F401 - to look up a host's address

    import redis.connection  # noqa: F401 - it takes as long as all the rest of patauth


def fields(words: Sequence[Any]) -> dict[Any, Any]:
    """Return names and values that a reply has in turn. Raise `ValueError` or `TypeError`."""
    return dict(zip(words[::2], words[1::2], strict=True))


def replicas_of(role: Any) -> int | None:
    """Return how many replicas are connected to a server, by its answer to ROLE; None: it is no primary."""
    if not isinstance(role, list) or role[:1] != [b"master"] or len(role) < 3:
        return None
    return len(role[2])


class _Packer:
    """Packs what redis-py sends itself, as it connects."""

    def pack(self, *words: Any) -> list[bytes]:
        return [pack([words])]


def pack(commands: Sequence[Command]) -> bytes:
    """Return the bytes of commands as they go over the wire (RESP)."""
    return b"".join([hiredis.pack_command(_words(command)) for command in commands])


def _words(command: Command) -> Command:
    # hiredis 3.5 crashes the process if a signal handler raises while hiredis turns a number into text.
    return tuple([b"%d" % word if type(word) is int else word for word in command])


def redis_connection(url: str, connect_timeout: float, command_timeout: float) -> Connection:
    """Return a redis-py connection that is not connected yet, with every option set that matters.

    By default redis-py retries ten times within a minute, and sends commands again whose outcome is
    unknown. With RESP2 and no driver information, connecting needs no extra command, and every engine
    speaks RESP2. The timeouts are in seconds. Raise `ConfigurationError` for a wrong URL.
    """
    from redis.backoff import NoBackoff
    from redis.connection import Connection, parse_url
    from redis.exceptions import RedisError
    from redis.retry import Retry

    # redis-py's own message about a wrong URL may contain a part of the password, so it is not kept.
    problem = ConfigurationError(
        "store_url: cannot be read; check host, port, database and options, and percent-encode # / ? @"
        " in a password"
    )
    options: dict[str, Any] = {}
    with suppress(ValueError):
        options = dict(parse_url(url))
    if not options:
        raise problem
    # redis-py reads a path that is not a number as database 0, although nobody has named that.
    path = urlsplit(url).path.strip("/")
    if (url.startswith("redis") and path and not path.isdigit()) or (
        url.startswith("unix:") and not options.get("path")
    ):
        raise problem
    if any(name.startswith(("ssl_validate_ocsp", "ssl_ocsp")) for name in options):
        raise ConfigurationError("store_url: patauth cannot check OCSP; leave the ssl_…ocsp… options out")
    make = options.pop("connection_class", Connection)
    options.update(
        socket_connect_timeout=connect_timeout,
        socket_timeout=command_timeout,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        health_check_interval=0,
        protocol=2,
        driver_info=None,
        decode_responses=False,
        command_packer=_Packer(),
    )
    connection: Connection | None = None
    with suppress(TypeError, ValueError, RedisError):
        connection = make(**options)
    if connection is None:
        raise problem
    return connection
