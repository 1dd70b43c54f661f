"""Build a store from the settings: choose its engine, and how it makes writes durable."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from ..concurrency.forks import after_fork_in_child
from ..errors import ConfigurationError
from ..settings import Settings
from .copy import check_server
from .deadline import REQUEST_SECONDS
from .keys import Keys
from .scripts import MakeScripts, Scripts, Wait
from .store import Store
from .transport.pool import Connections
from .transport.wire import Tls, of_cluster, redis_connection
from .url import StoreUrl

_DISK_PATIENCE = 2.0  # s; a busy disk may take longer to write than a replica takes to answer


def open_store(
    settings: Settings,
    clock: Callable[[], int] | None = None,
    request_seconds: float = REQUEST_SECONDS,
    *,
    settles_key: bool = True,
    scripts: MakeScripts = Scripts,
) -> Store:
    """Return the store of the setting `store_url`. It does not connect or start anything yet.

    Each `memory:` store is a new one. All processes that name the same DIR share the store `local:DIR`.
    `clock` gives ms in place of the server's clock. `request_seconds` limits all store calls of one request.
    `settles_key`: before its first use, each connection makes or checks the store key; a copy does not want
    that, but asks whether one server has all keys. `scripts` makes what runs scripts. Raise
    `ConfigurationError`.
    """
    url = StoreUrl.read(settings.store_url)
    keys = Keys(settings.key_prefix, settings.tenant)
    make = partial(
        Store,
        keys=keys,
        retention_ms=settings.retention * 1000,
        secret_key=settings.secret_key,
        clock=clock,
        request_seconds=request_seconds,
        wait=_wait_of(settings, url),
        scripts=scripts,
    )
    if url.engine == "memory":
        from .transport.memory import MemoryTransport

        warnings.warn("store 'memory:': all tokens vanish when this process ends", stacklevel=5)
        return make(MemoryTransport())

    engine = tls = None
    if url.directory is not None:
        from .local.engine import LocalEngine

        engine = LocalEngine(url.directory)
        after_fork_in_child(engine.after_fork)
    else:
        sentinels = map(url.sentinel_at, url.seeds) if url.sentinel else ()
        for server in (*(map(url.node, url.seeds) if url.seeds else (url.server,)), *sentinels):
            redis_connection(server, 1, 1)  # report a wrong URL now, not at the first request
        if url.server.startswith("rediss:"):
            tls = Tls(url.server)
    connect = partial(
        Connections,
        connect_timeout=settings.connect_timeout,
        command_timeout=settings.command_timeout,
        limit=settings.max_connections,
        tls=tls,
    )
    if url.engine == "cluster":
        from .transport.cluster import Cluster

        cluster = Cluster(
            url.seeds, lambda address: connect(lambda: url.node(address), read_error=of_cluster)
        )
        store = make(cluster)
        cluster.settle = store.settle_key if settles_key else None
        return store
    if url.engine == "sentinel":
        from .transport.sentinel import Sentinel
        from .transport.sentinel_panel import panel_of

        sentinel = Sentinel(
            panel_of(url, tls),
            lambda address: connect(lambda: url.node(address)),
            goes_on=settings.sentinel_lost == "continue",
        )
        store = make(sentinel)
        sentinel.settle = store.settle_key if settles_key else None
        return store
    connections = connect(
        (lambda: "unix://" + quote(engine.acquire())) if engine else (lambda: url.server),
        on_failure=engine.revive if engine else None,
        admit=engine.admit if engine else None,
    )
    store = make(connections, engine=engine)
    connections.on_connect = store.settle_key if settles_key else partial(check_server, keys)
    return store


def _wait_of(settings: Settings, url: StoreUrl) -> Wait:
    """Return how to wait for what `durability` asks. Raise `ConfigurationError` if the store has no such."""
    asked, patience = settings.durability, settings.durability_timeout
    if isinstance(asked, int):
        if url.engine in ("memory", "local"):
            raise ConfigurationError("durability: 'replicas:N' is for a server; this store has no replicas")
        return Wait(("WAIT", asked, round(patience * 1000)), patience)
    if url.engine == "memory":
        if asked is not None:
            raise ConfigurationError("durability: 'disk' is for a server; memory: has no disk")
        return Wait()
    if asked is None and url.engine != "local":
        return Wait()
    patience = max(patience, _DISK_PATIENCE)
    return Wait(("WAITAOF", 1, 0, round(patience * 1000)), patience, must=asked is not None)
