"""A pool of connections to a server: a bounded LIFO, in which one caller at a time has a connection.

The pool does not use redis-py's client. By default that client retries for a minute, sends commands again
whose outcome is unknown, and takes as long as two round trips. Here every option is explicit:

- one deadline covers all calls of a request; after a timeout the outcome is unknown: nothing is sent again;
- an error drops the connection, so that a late reply cannot reach the next caller; an error that the server
  replies does so only when replies after it are still due;
- a call is repeated only when its connection turns out to be closed, once, and only if that is harmless;
- a connection that opens too late for its caller stays for the next one;
- after some failures in a row the pool refuses callers at once for a moment; then one of them tries again;
- a forked child starts without any connection.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from os import getpid
from socket import socket
from typing import Any

import hiredis

from ...concurrency.forks import after_fork_in_child
from ...concurrency.slots import Slots
from ...errors import ConfigurationError, StoreUnavailable
from .protocol import Part, ScriptMissing, Unanswered, unavailable
from .wire import Command, ErrorReply, Tls, TooLate, Wire, WireError, load, pack

POOL_WAIT = 0.05  # s to wait for a connection when all are in use
LATE = 0.1  # s in which a connection that came too late for its caller becomes one for the next caller
BREAKER_FAILURES = 5  # failures in a row before the pool refuses callers at once
BREAKER_PAUSE = 0.25  # s between two tries while the pool refuses callers

# A reply may say that it is larger than the memory, and hiredis makes room for all of it at once.
_BROKEN = (WireError, OSError, hiredis.HiredisError, MemoryError)

# After these error replies, another connection or a later try may reach a server that can serve.
_ELSEWHERE = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "MOVED", "ASK", "NOAUTH")


class Connections:
    """Sends commands over a bounded LIFO of connections: the one that was used last is the warmest.

    `locate` returns the URL to connect to, and may start an engine. `connect_timeout` and `command_timeout`
    are in seconds. `limit` is the highest number of connections. `tls` is for a `rediss://` URL. The pool
    calls `on_failure` when it cannot connect, `admit` with the socket of each new connection before anything
    is sent, and `on_connect` with each new connection before its first use. `read_error` is that of `Wire`.
    """

    def __init__(
        self,
        locate: Callable[[], str],
        *,
        connect_timeout: float,
        command_timeout: float,
        limit: int,
        tls: Tls | None = None,
        on_failure: Callable[[], None] | None = None,
        admit: Callable[[socket], None] | None = None,
        read_error: Callable[[str], Any] = ErrorReply,
    ) -> None:
        load()
        self._locate = locate
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._limit = limit
        self._on_failure = on_failure
        self._admit = admit
        self._read_error = read_error
        self.on_connect: Callable[[Callable[[Sequence[Command]], list[Any]]], object] | None = None
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        # In a child, redis-py closes the inherited sockets, but does not shut them down for the parent.
        self._pid = getpid()
        self._idle: deque[Wire] = deque()
        self._slots = Slots(self._limit)
        self._lock = threading.RLock()  # guards the breaker, also from a handler in the thread that holds it
        self._failures = 0
        self._next_try = 0.0

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Send commands and return their replies, as `Transport.call` says."""
        return self.send(pack(commands), len(commands), deadline, retry=retry, patience=patience)

    def send(
        self,
        packed: bytes,
        count: int,
        deadline: float,
        *,
        retry: bool = False,
        patience: float = 0.0,
        tag: bytes = b"",
    ) -> list[Any]:
        """Send packed commands and return their replies, as `Transport.send` says."""
        if self._pid != getpid():  # a fork without os.fork runs no hook
            self._reset()
        if self._failures >= BREAKER_FAILURES:
            self._refuse_while_broken()
        try:
            wire = self._idle.pop()
        except IndexError:
            wire = self._checkout(deadline)
        try:
            replies = wire.send(packed, count, deadline, patience)
        except ConnectionError as problem:
            # The server has closed it. After a restart, it has probably closed the idle ones too.
            self._drop(wire)
            self.close()
            if not retry:
                raise self._unanswered(problem) from None
            return self.send(packed, count, deadline, patience=patience)
        except ErrorReply as problem:
            if str(problem).startswith(_ELSEWHERE):
                self._drop(wire)
                raise self._failed(problem) from None
            # The server works. If its memory is full, a caller that deletes something must reach it.
            if wire.is_in_step:
                self._release(wire)
            else:
                self._drop(wire)
                self._failures = 0
            if str(problem).startswith("NOSCRIPT"):
                raise ScriptMissing(detail=str(problem)) from None
            raise unavailable(problem) from None
        except TooLate as problem:  # nothing was sent, so this says nothing about the server
            self._release(wire, well=False)
            raise unavailable(problem) from None
        except _BROKEN as problem:
            self._drop(wire)
            raise self._unanswered(problem) from None
        except BaseException:
            self._drop(wire)  # an interrupt may have left half a reply on it
            raise
        self._failures = 0  # as `_release`, without its call: each request comes here
        self._idle.append(wire)
        if self._slots.lines:
            self._slots.tell()
        return replies

    def parts(self, deadline: float) -> list[Part]:
        """Return the one server, as `Transport.parts` says."""
        return [Part(self, "store")]

    def connections(self) -> tuple[int, int]:
        """Return how many are in use and idle, as `Transport.connections` does."""
        idle = len(self._idle)
        return max(0, self._slots.held - idle), idle  # others may take some between the two looks

    # -- the LIFO -------------------------------------------------------------------------------------

    def _checkout(self, deadline: float) -> Wire:
        slot = self._slots.take(POOL_WAIT, unless=lambda: bool(self._idle))
        if slot is None:
            try:
                return self._idle.pop()
            except IndexError:
                raise StoreUnavailable(detail=f"all {self._limit} connections are in use") from None
        try:
            wire = self._connect(deadline)
        except BaseException:
            self._slots.give_back(slot)
            raise
        wire.slot = slot
        return wire

    def _connect(self, deadline: float) -> Wire:
        try:
            url = self._locate()
        except ConfigurationError as problem:  # for example, the DIR of a local: engine was replaced
            raise StoreUnavailable(detail=str(problem)) from None
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreUnavailable(detail="the request's deadline passed before there was a connection")
        try:
            timeouts = min(self._connect_timeout, left), self._command_timeout
            wire = Wire(url, *timeouts, self._tls, self._admit, self._read_error)
            try:
                if self.on_connect is not None:
                    until = max(deadline, time.monotonic() + LATE)
                    self.on_connect(partial(wire.exchange, deadline=until))
            except BaseException:
                wire.close()
                raise
        except TooLate as problem:
            raise unavailable(problem) from None
        except _BROKEN as problem:
            failure = self._failed(problem)
            if self._on_failure is not None:
                self._on_failure()
            raise failure from None
        return wire

    def _release(self, wire: Wire, *, well: bool = True) -> None:
        if well:
            self._failures = 0
        self._idle.append(wire)
        if self._slots.lines:
            self._slots.tell()

    def _drop(self, wire: Wire) -> None:
        wire.close()
        self._slots.give_back(wire.slot)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            self._drop(wire)

    # -- the breaker ----------------------------------------------------------------------------------

    def _refuse_while_broken(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._next_try:
                raise StoreUnavailable(detail="the last calls failed; the next one must wait a moment")
            self._next_try = now + BREAKER_PAUSE  # this caller tries; the pool goes on refusing the others

    def _unanswered(self, problem: Exception) -> Unanswered:
        return Unanswered(detail=self._failed(problem).detail)

    def _failed(self, problem: Exception) -> StoreUnavailable:
        self._failures += 1
        self._next_try = time.monotonic() + BREAKER_PAUSE
        return unavailable(problem)
