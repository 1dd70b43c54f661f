"""One connection to a server: commands out, replies in, by one deadline.

redis-py opens the connection (address, TLS, authentication, database); the exchange itself is hiredis on the
socket. That costs less than redis-py's own reading, and a reply that trickles in byte by byte cannot stretch
the deadline. It uses one private name, `Connection._sock`: hence redis < 9 in pyproject.toml.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from ..errors import ConfigurationError
from ..places import Place

Command = tuple[Any, ...]

_UNFINISHED = object()  # hiredis says so in place of a reply; None and False are replies


class ErrorReply(RedisError):
    """The server answered with an error, such as OOM, READONLY or LOADING."""


class Closed(ConnectionError):
    """The server has closed the connection."""


class OutOfStep(RedisError):
    """More came back than was asked for: whose it is cannot be told."""


class Wire:
    """A connection, connected. After an `ErrorReply` it can be used again; after any other error, close it.

    Raises `OSError` (with `TimeoutError`, `ConnectionError`) or `RedisError`.
    """

    __slots__ = ("_buffer", "_command_timeout", "_connection", "_reader", "_socket", "_timeout", "place")

    place: Place | None  # among the connections that may be open

    def __init__(self, url: str, connect_timeout: float, command_timeout: float) -> None:
        self._connection = redis_connection(url, connect_timeout, command_timeout)
        self._connection.connect()
        connected: Any = self._connection._sock
        self._socket = connected
        self._reader = hiredis.Reader(replyError=ErrorReply, notEnoughData=_UNFINISHED)
        self._buffer: Any = bytearray(16_384)  # hiredis reads it, though its types say bytes
        self._command_timeout = self._timeout = command_timeout
        connected.settimeout(command_timeout)
        self.place = None

    def exchange(self, commands: Sequence[Command], deadline: float, patience: float = 0.0) -> list[Any]:
        """The replies to commands sent at once; the first that is an error is raised.

        `deadline`: a `time.monotonic()` instant; `patience`: seconds beyond it that the server may wait.
        """
        self._wait_at_most(min(deadline - time.monotonic(), self._command_timeout) + patience)
        self._socket.sendall(b"".join([hiredis.pack_command(_words(command)) for command in commands]))
        replies = []
        reader = self._reader
        for _ in commands:
            reply = reader.gets()
            while reply is _UNFINISHED:
                size = self._socket.recv_into(self._buffer)
                if size == 0:
                    raise Closed("the server closed the connection")
                reader.feed(self._buffer, 0, size)
                reply = reader.gets()
                if reply is _UNFINISHED:
                    left = deadline - time.monotonic()
                    self._wait_at_most(min(left, self._command_timeout) + patience)
            replies.append(reply)
        if reader.has_data():
            raise OutOfStep("more replies than commands")
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise reply
        return replies

    def _wait_at_most(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError("the deadline of the request has passed")
        if seconds != self._timeout:
            self._socket.settimeout(seconds)
            self._timeout = seconds

    def close(self) -> None:
        """Close it. In a forked child, redis-py leaves the parent's end as it is."""
        self._connection.disconnect()


def _words(command: Command) -> Command:
    # hiredis 3.5 crashes the process when a signal's handler raises while it turns a number into text.
    return tuple([b"%d" % word if type(word) is int else word for word in command])


def redis_connection(url: str, connect_timeout: float, command_timeout: float) -> Connection:
    """A redis-py connection, not connected yet, with every option that matters set.

    By default redis-py retries ten times over a minute, and sends commands again whose outcome is unknown.

    RESP2 and no driver information: connecting costs no command of its own, and every engine speaks it.
    """
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
