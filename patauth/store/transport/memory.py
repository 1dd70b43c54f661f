"""`memory:` runs fakeredis with Lua in this process, for unit tests and trials. Its data ends with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import NoScriptError, RedisError

from ...concurrency.forks import hold_over_fork
from ...errors import ConfigurationError
from .protocol import Part, ScriptMissing, unavailable
from .wire import Command


class MemoryTransport:
    """Sends commands to its own fakeredis. A forked child goes on with a copy of the data."""

    def __init__(self) -> None:
        try:
            import fakeredis
            import lupa  # noqa: F401 - without this, a missing Lua shows only when a script runs
        except ImportError:
            raise ConfigurationError(
                "memory: needs fakeredis with Lua: pip install 'patauth[memory]'"
            ) from None
        self._redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(), protocol=2)
        self._redis.response_callbacks.clear()  # replies are as a server sends them
        self._lock = threading.Lock()
        hold_over_fork(self._lock)  # it also keeps fakeredis's own locks free at a fork

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Run commands and return their replies, as `Transport.call` says."""
        with self._lock:
            try:
                return [self._redis.execute_command(*command) for command in commands]
            except NoScriptError:
                raise ScriptMissing(detail="NOSCRIPT") from None
            except RedisError as problem:
                raise unavailable(problem) from None

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
        """Run packed commands and return their replies, as `Transport.send` says."""
        reader = hiredis.Reader()
        reader.feed(packed)
        return self.call([tuple(reader.gets()) for _ in range(count)], deadline)

    def parts(self, deadline: float) -> list[Part]:
        """Return the one server, as `Transport.parts` says."""
        return [Part(self, "store")]

    def connections(self) -> tuple[int, int]:
        """Return that there are none, as `Transport.connections` does."""
        return 0, 0

    def close(self) -> None:
        """Do nothing: no connection is open."""
