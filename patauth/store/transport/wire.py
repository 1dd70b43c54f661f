"""One connection to a server: commands out, replies in, by one deadline.

redis-py opens the connection (address, TLS, authentication, database); the exchange itself is hiredis on the
socket. That costs less than redis-py's own reading, and a reply that trickles in byte by byte cannot stretch
the deadline. It uses one private name, `Connection._sock`: hence redis < 9 in pyproject.toml.
"""

from __future__ import annotations

import _socket
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis

from ...concurrency.slots import Slot
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from redis.connection import Connection

Command = tuple[Any, ...]

_AT_ONCE = 16_384  # bytes that a socket takes without waiting for the other side
_TIMEVAL = struct.Struct("@ll")  # struct timeval: seconds, microseconds
_UNFINISHED = object()  # hiredis says so in place of a reply; None and False are replies


class WireError(Exception):
    """What can go wrong on a connection, `OSError` apart."""


class Unconnected(WireError):
    """There is no connection to be had; the words are redis-py's."""


class ErrorReply(WireError):
    """The server answered with an error, such as OOM, READONLY or LOADING."""


class Closed(ConnectionError):
    """The server has closed the connection."""


class TooLate(WireError):
    """The deadline had passed before anything was sent: the connection is as good as before."""


class OutOfStep(WireError):
    """More came back than was asked for: whose it is cannot be told."""


class Wire:
    """A connection, connected. After `ErrorReply` and `TooLate` it can be used again; else, close it.

    Raises `OSError` (with `TimeoutError`, `ConnectionError`), `WireError`, `hiredis.HiredisError`.
    """

    __slots__ = (
        "_buffer", "_command_timeout", "_connection", "_kernel_waits", "_reader", "_receive", "_send",
        "_socket", "_timeout", "slot",
    )  # fmt: skip

    slot: Slot | None  # among the connections that may be open

    def __init__(self, url: str, connect_timeout: float, command_timeout: float) -> None:
        self._connection = redis_connection(url, connect_timeout, command_timeout)
        from redis.exceptions import RedisError

        try:
            self._connection.connect()
        except RedisError as problem:
            raise Unconnected(f"{type(problem).__name__}: {problem}") from None
        connected: Any = self._connection._sock
        self._socket = connected
        self._send, self._receive = connected.sendall, connected.recv_into
        self._reader = hiredis.Reader(replyError=ErrorReply, notEnoughData=_UNFINISHED)
        self._buffer: Any = bytearray(16_384)  # hiredis reads it, though its types say bytes
        self._command_timeout = self._timeout = command_timeout
        self._kernel_waits = _let_the_kernel_wait(connected, command_timeout)
        self.slot = None

    def exchange(self, commands: Sequence[Command], deadline: float, patience: float = 0.0) -> list[Any]:
        """The replies to commands sent at once; the first that is an error is raised.

        `deadline`: a `time.monotonic()` instant; `patience`: seconds beyond it that the server may wait.
        """
        return self.send(pack(commands), len(commands), deadline, patience)

    def send(self, packed: bytes, count: int, deadline: float, patience: float = 0.0) -> list[Any]:
        """The same for so many commands that are packed already."""
        left = deadline - monotonic()
        if left < self._command_timeout or self._timeout != self._command_timeout or patience:
            if left <= 0:
                raise TooLate("the deadline of the request has passed")
            self._wait_at_most(min(left, self._command_timeout) + patience)
        failed: ErrorReply | None = None
        replies: list[Any] = []
        reader, buffer = self._reader, self._buffer
        try:
            if len(packed) <= _AT_ONCE:
                self._send(packed)
            else:
                self._send_piece_by_piece(packed, deadline, patience)
            while True:
                size = self._receive(buffer)
                if size == 0:
                    raise Closed("the server closed the connection")
                reader.feed(buffer, 0, size)
                reply = reader.gets()
                while reply is not _UNFINISHED:
                    if isinstance(reply, ErrorReply):
                        failed = failed or reply
                    replies.append(reply)
                    if len(replies) == count:
                        if reader.has_data():
                            raise OutOfStep("more replies than commands")
                        if failed is not None:
                            raise failed
                        return replies
                    reply = reader.gets()
                self._wait_at_most(min(deadline - monotonic(), self._command_timeout) + patience)
        except BlockingIOError:  # what the kernel says of a wait that it has ended
            raise TimeoutError("timed out") from None

    def _send_piece_by_piece(self, packed: bytes, deadline: float, patience: float) -> None:
        # The kernel's limit is one for each time that it waits for room, and it may wait often.
        left = memoryview(packed)
        while left:
            left = left[self._socket.send(left[:_AT_ONCE]) :]
            self._wait_at_most(min(deadline - monotonic(), self._command_timeout) + patience)

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
        """Close it. In a forked child, redis-py leaves the parent's end as it is."""
        self._connection.disconnect()


def _let_the_kernel_wait(connected: Any, seconds: float) -> bool:
    """Have the kernel end each wait on a plain socket; otherwise, Python asks for readiness before each call.

    That saves two system calls for each request. Not where gevent or TLS stand in between: they keep time
    themselves. And not under a profiler's timer: when a signal's handler returns, Python repeats what it
    interrupted, and the kernel's wait begins anew.
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
    micros = max(1, round(seconds * 1_000_000))  # 0 would be for ever
    interval = _TIMEVAL.pack(*divmod(micros, 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as they go over the wire (RESP)."""
    return b"".join([hiredis.pack_command(_words(command)) for command in commands])


def _words(command: Command) -> Command:
    # hiredis 3.5 crashes the process when a signal's handler raises while it turns a number into text.
    return tuple([b"%d" % word if type(word) is int else word for word in command])


def redis_connection(url: str, connect_timeout: float, command_timeout: float) -> Connection:
    """A redis-py connection, not connected yet, with every option that matters set.

    By default redis-py retries ten times over a minute, and sends commands again whose outcome is unknown.

    RESP2 and no driver information: connecting costs no command of its own, and every engine speaks it.
    """
    # Imported with the first store that is opened: it takes as long as all the rest of patauth.
    from redis.backoff import NoBackoff
    from redis.connection import Connection, parse_url
    from redis.exceptions import RedisError
    from redis.retry import Retry

    # What redis-py says of a wrong URL may hold a part of its password, so that is neither said nor kept.
    problem = ConfigurationError(
        "store_url: cannot be read; check host, port, database and options, and percent-encode # / ? @"
        " in a password"
    )
    options: dict[str, Any] = {}
    with suppress(ValueError):
        options = dict(parse_url(url))
    if not options:
        raise problem
    # redis-py takes a path that is no number for database 0, which nobody has named.
    path = urlsplit(url).path.strip("/")
    if (url.startswith("redis") and path and not path.isdigit()) or (
        url.startswith("unix:") and not options.get("path")
    ):
        raise problem
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
    )
    connection: Connection | None = None
    with suppress(TypeError, ValueError, RedisError):
        connection = make(**options)
    if connection is None:
        raise problem
    return connection
