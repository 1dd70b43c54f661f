"""Lower bounds for anything over a socket: commands on a raw socket, and redis-py's GET."""

from __future__ import annotations

import socket
from typing import Any

import hiredis
import redis

from tests.support.servers import Server

from .measure import Case

GET = "redis-py GET"
RAW_GET = "raw socket GET"
RAW_NOOP = "raw socket EVALSHA, no-op"
VALUE = b"x" * 250  # bytes, about those of a PAT record

_KEY = "bench:floor"
_UNFINISHED = object()


class RawSocket:
    """A blocking socket to a server, and hiredis to read what comes."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._reader = hiredis.Reader(notEnoughData=_UNFINISHED)
        self._buffer: Any = bytearray(65_536)  # hiredis reads it, though its types say bytes

    def ask(self, *words: Any) -> Any:
        """Return the reply to one command."""
        return self.exchange(hiredis.pack_command(words))

    def exchange(self, packed: bytes) -> Any:
        """Return the reply to the bytes of one command."""
        self._socket.sendall(packed)
        while (reply := self._reader.gets()) is _UNFINISHED:
            self._reader.feed(self._buffer, 0, self._socket.recv_into(self._buffer))
        return reply

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Floors:
    """The floors, as cases."""

    def __init__(self, server: Server) -> None:
        self._client = redis.Redis.from_url(server.url)
        self._client.set(_KEY, VALUE)
        self.raw = RawSocket(server.connected())
        digest = self.raw.ask("SCRIPT", "LOAD", "return 1")
        self.noop = hiredis.pack_command(("EVALSHA", digest, 1, _KEY))
        self.get = hiredis.pack_command(("GET", _KEY))

    def cases(self) -> list[Case]:
        """Return the cases that are timed together with all others."""
        return [
            Case(RAW_GET, lambda: self.raw.exchange(self.get)),
            Case(RAW_NOOP, lambda: self.raw.exchange(self.noop)),
            Case(GET, lambda: self._client.get(_KEY)),
        ]

    def check(self) -> None:
        """Check that each case gets the right answer."""
        assert self._client.get(_KEY) == VALUE == self.raw.exchange(self.get)
        assert self.raw.exchange(self.noop) == 1

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self.raw.close()
