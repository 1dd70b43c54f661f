"""Connections to a server: a bounded LIFO of them, each pinned to one caller at a time.

redis-py's client is not used on purpose: by default it retries for a minute, re-sends commands whose
outcome is unknown, and costs twice a round trip. Here every option is explicit:

- one deadline covers all calls of a request; a timeout is an unknown outcome and is never re-sent;
- a connection is dropped after any error but a complete error reply, so that a late reply cannot reach the
  next caller;
- only a connection that turns out closed is retried, once, and only where sending twice is harmless;
- after some failures in a row callers are refused at once for a moment, and one of them tries again;
- a forked child starts with no connection at all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from os import getpid
from typing import Any, Protocol

import hiredis

from ...concurrency.forks import after_fork_in_child
from ...concurrency.slots import Slots
from ...errors import ConfigurationError, StoreUnavailable
from .wire import Command, ErrorReply, TooLate, Wire, WireError, pack

POOL_WAIT = 0.05  # s to wait for a connection when all are in use
BREAKER_FAILURES = 5  # in a row, before callers are refused at once
BREAKER_PAUSE = 0.25  # s between two tries while it is open

# Error replies after which another connection, or another moment, may reach a server that can serve.
_ELSEWHERE = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "MOVED", "ASK", "NOAUTH")


class ScriptMissing(StoreUnavailable):
    """The server does not know the script's digest: send its text. The connection is still good."""


class Transport(Protocol):
    """How commands reach a store."""

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Send commands at once on one connection and return their replies.

        `deadline` is a `time.monotonic()` instant. `retry`: sending twice is harmless. `patience`: seconds
        that the server may wait on purpose. Raises `StoreUnavailable`, or `ScriptMissing`.
        """

    def send(
        self, packed: bytes, count: int, deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """The same for so many commands that are packed already (RESP)."""

    def close(self) -> None:
        """Give back whatever is open."""


class Connections:
    """A bounded LIFO of connections: the most recently used one is warmest.

    `locate` gives the URL to connect to (and may start an engine); `on_connect` is called with each new
    connection before its first use; `on_failure` when connecting failed.
    """

    def __init__(
        self,
        locate: Callable[[], str],
        *,
        connect_timeout: float,
        command_timeout: float,
        limit: int,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self._locate = locate
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._limit = limit
        self._on_failure = on_failure
        self.on_connect: Callable[[Callable[[Sequence[Command]], list[Any]]], object] | None = None
        self._start_afresh()
        after_fork_in_child(self._start_afresh)

    def _start_afresh(self) -> None:
        # In a child, redis-py closes the inherited sockets without shutting them down for the parent.
        self._pid = getpid()
        self._idle: deque[Wire] = deque()
        self._slots = Slots(self._limit)
        self._lock = threading.Lock()  # of the breaker
        self._failures = 0
        self._next_try = 0.0

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """See `Transport.call`."""
        return self.send(pack(commands), len(commands), deadline, retry=retry, patience=patience)

    def send(
        self, packed: bytes, count: int, deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """See `Transport.send`."""
        if self._pid != getpid():  # forked by other means than os.fork: no hook has run
            self._start_afresh()
        if self._failures >= BREAKER_FAILURES:
            self._refuse_while_broken()
        wire = self._checkout(deadline)
        try:
            replies = wire.send(packed, count, deadline, patience)
        except ConnectionError as problem:
            # It was closed: all that are idle probably are, after a restart of the server.
            self._drop(wire)
            self._drop_idle()
            if not retry:
                raise self._unanswered(problem) from None
            return self.send(packed, count, deadline, patience=patience)
        except ErrorReply as problem:
            if str(problem).startswith(_ELSEWHERE):
                self._drop(wire)
                raise self._failed(problem) from None
            # The server is well, and out of memory, say: who removes something must get through.
            self._release(wire)
            if str(problem).startswith("NOSCRIPT"):
                raise ScriptMissing(detail=str(problem)) from None
            raise unavailable(problem) from None
        except TooLate as problem:  # our own time was up, and the server is neither well nor to blame
            self._release(wire, well=False)
            raise unavailable(problem) from None
        except (WireError, OSError, hiredis.HiredisError) as problem:
            self._drop(wire)
            raise self._unanswered(problem) from None
        except BaseException:
            self._drop(wire)  # interrupted in the middle of a reply
            raise
        self._release(wire)
        return replies

    # -- the LIFO -------------------------------------------------------------------------------------

    def _checkout(self, deadline: float) -> Wire:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        slot = self._slots.take(POOL_WAIT, unless=self._has_idle)
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

    def _has_idle(self) -> bool:
        return bool(self._idle)

    def _connect(self, deadline: float) -> Wire:
        try:
            url = self._locate()
        except ConfigurationError as problem:  # DIR of a local: engine was replaced meanwhile, say
            raise StoreUnavailable(detail=str(problem)) from None
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreUnavailable(detail="the request's deadline has passed while connecting")
        wire = None
        try:
            wire = Wire(url, min(self._connect_timeout, left), self._command_timeout)
            if self.on_connect is not None:
                self.on_connect(partial(wire.exchange, deadline=deadline))
        except TooLate as problem:
            if wire is not None:
                wire.close()
            raise unavailable(problem) from None
        except (WireError, OSError, hiredis.HiredisError) as problem:
            if wire is not None:
                wire.close()
            failure = self._failed(problem)
            if self._on_failure is not None:
                self._on_failure()
            raise failure from None
        except BaseException:
            if wire is not None:
                wire.close()
            raise
        return wire

    def _release(self, wire: Wire, *, well: bool = True) -> None:
        if well:
            self._failures = 0
        self._idle.append(wire)
        if self._slots.waiters:
            self._slots.tell()

    def _drop(self, wire: Wire) -> None:
        wire.close()
        if wire.slot is not None:
            self._slots.give_back(wire.slot)

    def _drop_idle(self) -> None:
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            self._drop(wire)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._drop_idle()

    # -- the breaker ----------------------------------------------------------------------------------

    def _refuse_while_broken(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._next_try:
                raise StoreUnavailable(detail="the last calls failed; waiting a moment before the next")
            self._next_try = now + BREAKER_PAUSE  # this caller tries; the others wait

    def _unanswered(self, problem: Exception) -> Unanswered:
        return Unanswered(detail=self._failed(problem).detail)

    def _failed(self, problem: Exception) -> StoreUnavailable:
        self._failures += 1
        self._next_try = time.monotonic() + BREAKER_PAUSE
        return unavailable(problem)


class Unanswered(StoreUnavailable):
    """Sent, and no answer came that is understood: it may have been done, or be done yet."""


def unavailable(problem: Exception) -> StoreUnavailable:
    """What a caller is told of a failing store: nothing but that. The operator's log gets the rest."""
    return StoreUnavailable(detail=f"{type(problem).__name__}: {problem}")
