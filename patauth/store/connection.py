"""Connections to a server: a bounded LIFO of redis-py `Connection`s, each pinned to one caller at a time.

redis-py's client is not used on purpose: by default it retries for a minute, re-sends commands whose
outcome is unknown, and costs twice a round trip. Here every option is explicit:

- one deadline covers all calls of a request; a timeout is an unknown outcome and is never re-sent;
- a connection is dropped after any error, so that a late reply cannot reach the next caller;
- only a connection that turns out closed is retried, once, and only where sending twice is harmless;
- after some failures in a row callers are refused at once for a moment, and one of them tries again;
- a forked child starts with no connection at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ..errors import ConfigurationError, StoreUnavailable
from ..forks import after_fork_in_child

REQUEST_DEADLINE = 0.5  # s, for all store calls of one request
POOL_WAIT = 0.05  # s to wait for a connection when all are in use
BREAKER_FAILURES = 5  # in a row, before callers are refused at once
BREAKER_PAUSE = 0.25  # s between two tries while it is open

Command = tuple[Any, ...]


class ScriptMissing(Exception):
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
        self._pid = os.getpid()
        self._idle: deque[Connection] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._open = 0
        self._waiting = 0
        self._failures = 0
        self._next_try = 0.0

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """See `Transport.call`."""
        if self._pid != os.getpid():  # forked by other means than os.fork: no hook has run
            self._start_afresh()
        if self._failures >= BREAKER_FAILURES:
            self._refuse_while_broken()
        connection = self._checkout(deadline)
        try:
            replies = self._exchange(connection, commands, deadline, patience)
        except ScriptMissing:
            self._release(connection)
            raise
        except RedisConnectionError as problem:
            self._drop(connection)
            if not retry or type(problem) is not RedisConnectionError:
                raise self._failed(problem) from None
            # It was closed: all that are idle probably are, after a restart of the server.
            self._drop_idle()
            return self.call(commands, deadline, patience=patience)
        except (RedisError, OSError) as problem:
            self._drop(connection)
            raise self._failed(problem) from None
        except BaseException:
            self._drop(connection)  # interrupted in the middle of a reply
            raise
        self._release(connection)
        return replies

    def _exchange(
        self, connection: Connection, commands: Sequence[Command], deadline: float, patience: float = 0.0
    ) -> list[Any]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreUnavailable(detail="the request's deadline has passed")
        options = {}
        if patience or left < self._command_timeout:
            options["timeout"] = min(left, self._command_timeout) + patience
        if len(commands) == 1:
            packed = connection.pack_command(*commands[0])
        else:
            packed = connection.pack_commands(commands)
        connection.send_packed_command(packed, check_health=False)
        try:
            return [connection.read_response(**options) for _ in commands]
        except NoScriptError:
            if commands[0][0] == "EVALSHA" and len(commands) == 1:
                raise ScriptMissing from None
            raise

    # -- the LIFO -------------------------------------------------------------------------------------

    def _checkout(self, deadline: float) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self._condition:
            if self._open >= self._limit:
                self._waiting += 1
                try:
                    self._condition.wait_for(lambda: self._idle or self._open < self._limit, POOL_WAIT)
                finally:
                    self._waiting -= 1
            try:
                return self._idle.pop()
            except IndexError:
                if self._open >= self._limit:
                    raise StoreUnavailable(detail=f"all {self._limit} connections are in use") from None
                self._open += 1
        try:
            return self._connect(deadline)  # never under the lock: others must not wait for a slow server
        except BaseException:
            self._forget()
            raise

    def _connect(self, deadline: float) -> Connection:
        url = self._locate()
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreUnavailable(detail="the request's deadline has passed while connecting")
        connection = open_connection(url, min(self._connect_timeout, left), self._command_timeout)
        try:
            connection.connect()
            if self.on_connect is not None:
                self.on_connect(lambda commands: self._exchange(connection, commands, deadline))
        except (RedisError, OSError) as problem:
            connection.disconnect()
            failure = self._failed(problem)
            if self._on_failure is not None:
                self._on_failure()
            raise failure from None
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _release(self, connection: Connection) -> None:
        self._failures = 0
        self._idle.append(connection)
        if self._waiting:
            with self._condition:
                self._condition.notify()

    def _drop(self, connection: Connection) -> None:
        connection.disconnect()
        self._forget()

    def _forget(self) -> None:
        with self._condition:
            self._open -= 1
            self._condition.notify()

    def _drop_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self._drop(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._drop_idle()

    # -- the breaker ----------------------------------------------------------------------------------

    def _refuse_while_broken(self) -> None:
        now = time.monotonic()
        with self._condition:
            if now < self._next_try:
                raise StoreUnavailable(detail="the last calls failed; waiting a moment before the next")
            self._next_try = now + BREAKER_PAUSE  # this caller tries; the others wait

    def _failed(self, problem: Exception) -> StoreUnavailable:
        self._failures += 1
        self._next_try = time.monotonic() + BREAKER_PAUSE
        return unavailable(problem)


def unavailable(problem: Exception) -> StoreUnavailable:
    """What a caller is told of a failing store: nothing but that. The operator's log gets the rest."""
    return StoreUnavailable(detail=f"{type(problem).__name__}: {problem}")


def open_connection(url: str, connect_timeout: float, command_timeout: float) -> Connection:
    """A redis-py connection, not connected yet, with every option that matters set (REQUIREMENTS facts 1-3).

    RESP2 and no driver information: connecting costs no command of its own, and every engine speaks it.
    """
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError as problem:
        raise ConfigurationError(f"store_url: {problem}") from None
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
    connection: Connection = make(**options)
    return connection
