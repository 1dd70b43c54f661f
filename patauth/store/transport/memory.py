"""`memory:`: fakeredis with Lua in this process, for unit tests and trials. Everything ends with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import NoScriptError, RedisError

from ...concurrency.forks import hold_over_fork
from ...errors import ConfigurationError
from .pool import ScriptMissing, unavailable
from .wire import Command


class MemoryTransport:
    """Commands to a fakeredis of its own. A forked child goes on with a copy."""

    def __init__(self) -> None:
        try:
            import fakeredis
            import lupa  # noqa: F401 - fakeredis reports a missing Lua only when a script runs
        except ImportError:
            raise ConfigurationError(
                "memory: needs fakeredis with Lua: pip install 'patauth[memory]'"
            ) from None
        self._redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(), protocol=2)
        self._lock = threading.Lock()
        hold_over_fork(self._lock)  # fakeredis has locks of its own

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """See `Transport.call`."""
        with self._lock:
            try:
                return [self._redis.execute_command(*command) for command in commands]
            except NoScriptError:
                raise ScriptMissing(detail="NOSCRIPT") from None
            except RedisError as problem:
                raise unavailable(problem) from None

    def send(
        self, packed: bytes, count: int, deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """See `Transport.send`."""
        reader = hiredis.Reader()
        reader.feed(packed)
        return self.call([tuple(reader.gets()) for _ in range(count)], deadline)

    def close(self) -> None:
        """Nothing is open."""
