"""From a store URL to a store: which engine answers, and what its word is worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from urllib.parse import quote, unquote

from ..concurrency.forks import after_fork_in_child
from ..errors import ConfigurationError
from ..settings import Settings
from .keys import Keys
from .store import RedisStore
from .transport.pool import Connections
from .transport.wire import Command, redis_connection

_SERVERS = ("redis://", "rediss://", "unix://")
_DISK_PATIENCE = 2.0  # s: a busy disk takes longer to write than a replica to answer


def open_store(settings: Settings, clock: Callable[[], int] | None = None) -> RedisStore:
    """The store of `store_url`; nothing is connected or started yet. Raises `ConfigurationError`.

    `memory:` is a new one each time; `local:DIR` is shared by all processes that name DIR.
    """
    url = settings.store_url
    keys = Keys(settings.key_prefix, settings.tenant)
    if settings.durability and url.startswith(("memory:", "local:")):
        raise ConfigurationError("durability: 'replicas:N' is for a server; this store has none")
    if url in ("memory:", "memory://"):
        from .transport.memory import MemoryTransport

        warnings.warn("store 'memory:': all tokens vanish when this process ends", stacklevel=4)
        return RedisStore(MemoryTransport(), keys, secret_key=settings.secret_key, clock=clock)

    patience = settings.durability_timeout
    wait: Command | None = None
    engine = None
    if url.startswith("local:"):
        from .local.engine import LocalEngine

        engine = LocalEngine(directory_of(url))
        patience = max(patience, _DISK_PATIENCE)
        after_fork_in_child(engine.after_fork)
        wait = ("WAITAOF", 1, 0, round(patience * 1000))
    else:
        url = server_url(url)
        redis_connection(url, 1, 1)  # a wrong URL shows now, not at the first request
        if settings.durability:
            wait = ("WAIT", settings.durability, round(patience * 1000))
    connections = Connections(
        (lambda: "unix://" + quote(engine.acquire())) if engine else (lambda: url),
        connect_timeout=settings.connect_timeout,
        command_timeout=settings.command_timeout,
        limit=settings.max_connections,
        on_failure=engine.revive if engine else None,
    )
    store = RedisStore(
        connections,
        keys,
        secret_key=settings.secret_key,
        wait=wait,
        patience=patience,
        engine=engine,
        clock=clock,
    )
    connections.on_connect = store.settle_key_over
    return store


def server_url(url: str) -> str:
    """A `redis:`, `rediss:` or `unix:` URL, also from its `valkey…` spelling."""
    if url.startswith(("valkey://", "valkeys://")):
        url = url.replace("valkey", "redis", 1)
    if not url.startswith(_SERVERS):
        # The URL is not repeated: it may hold a password.
        raise ConfigurationError("store_url: give memory:, local:DIR, redis://, rediss:// or unix://")
    return url


def directory_of(url: str) -> str:
    """DIR of `local:DIR`."""
    directory = unquote(url.removeprefix("local:"))
    if not directory:
        raise ConfigurationError("store_url: 'local:' wants a directory, for example local:./patauth-data")
    return directory
