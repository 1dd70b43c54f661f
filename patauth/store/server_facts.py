"""Facts about a server, or about all nodes of a cluster or behind Sentinels, replicas included.

They are for `patauth doctor` and `patauth store stats`; no request needs them. Each command goes out alone,
over a separate connection, since a user with few rights (ACL) may run some commands and not others. A fact
without an answer is None, and `denied` names the command. The Sentinels are asked too, if they name the
server.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import hiredis

from ..errors import StoreUnavailable
from ..settings import Settings
from .keys import Keys
from .local.engine import LocalEngine
from .transport.cluster_map import read_replicas, read_shards, read_slots
from .transport.protocol import unavailable
from .transport.sentinel_answers import newest_of, total_of
from .transport.sentinel_panel import panel_of
from .transport.wire import ErrorReply, Wire, WireError
from .url import StoreUrl

_CONFIG = (
    "appendonly appendfsync save maxmemory maxmemory-policy min-replicas-to-write min-replicas-max-lag"
    " cluster-require-full-coverage cluster-allow-reads-when-down cluster-replica-no-failover"
).split()
_PATIENCE = 2.0  # s for all Sentinels together


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server's answers. A fact without an answer is None."""

    info: dict[str, str] = field(default_factory=dict)  # INFO, all sections
    config: dict[str, str] = field(default_factory=dict)  # CONFIG GET of the options in `_CONFIG`
    keys: int | None = None  # how many keys the database of `store_url` has
    ahead: float | None = None  # s by which the server's clock is ahead of this host's
    unsure: float = 0.0  # s; half of the round trip in which `ahead` was measured
    store_key: bool | None = None  # whether the store holds the store key
    waitaof: bool | None = None  # whether the server knows WAITAOF
    denied: tuple[str, ...] = ()  # commands that were refused
    address: str = ""  # of a node of a cluster, or behind Sentinels
    primary: str = ""  # of a replica: the address of its primary, as the cluster or the Sentinels know it
    promotable: bool = True  # of a replica: whether it may become the primary
    slots: int | None = None  # how many slots of a cluster it has, if it is a primary there
    failure: str = ""  # why the node did not answer
    sentinels: int = 0  # how many Sentinels there are
    answering: int = 0  # how many of them answer

    @property
    def kind(self) -> str | None:
        """The kind of server: "valkey" or "redis"."""
        if not self.info:
            return None
        return self.info.get("server_name") or ("valkey" if "valkey_version" in self.info else "redis")

    @property
    def version(self) -> str | None:
        """The version of the server. For Valkey, this is not the version of Redis that it also names."""
        return self.info.get("valkey_version") or self.info.get("redis_version")

    @property
    def append_only(self) -> bool | None:
        """Whether the server has an append-only file."""
        if "appendonly" in self.config:
            return self.config["appendonly"] == "yes"
        return self.info["aof_enabled"] == "1" if "aof_enabled" in self.info else None

    @property
    def eviction(self) -> str | None:
        """The eviction policy for a full memory: `noeviction`, `allkeys-lru`, …"""
        return self.config.get("maxmemory-policy") or self.info.get("maxmemory_policy")

    @property
    def memory_limit(self) -> int | None:
        """The memory limit in bytes; 0: no limit."""
        return _number(self.config.get("maxmemory") or self.info.get("maxmemory"))

    @property
    def role(self) -> str | None:
        """The role that the server says it has, "master" or "slave", or else the one that others give it."""
        return self.info.get("role") or ("slave" if self.primary else "master" if self.address else None)

    def number(self, name: str) -> int | None:
        """Return a whole number of INFO, or None if INFO has no such number."""
        return _number(self.info.get(name))


def read_nodes(settings: Settings) -> list[ServerFacts]:
    """Ask the server of `store_url`, which must not be `memory:`, or all nodes, primaries first.

    A node that does not answer has a `failure`. Start a `local:` engine first, and use it for that time.
    Raise `ConfigurationError`, and `StoreUnavailable` if the one server or no Sentinel answers, or no node
    knows the cluster.
    """
    url = StoreUrl.read(settings.store_url)
    if url.engine == "cluster":
        return _read_cluster(url, settings)
    if url.engine == "sentinel":
        return _read_watched(url, settings)
    if url.directory is None:
        return [_read(url.server, settings, None)]
    engine = LocalEngine(url.directory)
    try:
        return [_read("unix://" + quote(engine.acquire()), settings, engine)]
    finally:
        engine.release()


def _read_watched(url: StoreUrl, settings: Settings) -> list[ServerFacts]:
    """Ask the Sentinels for the primary and its replicas, and then these."""
    with closing(panel_of(url)) as panel:
        answers = panel.ask(time.monotonic() + _PATIENCE)
        replicas, failures = panel.replicas(), panel.failures()
    if not answers:
        raise StoreUnavailable(detail=failures)
    newest, _ = newest_of(answers)
    primary = replace(
        _read_node(url, newest.address, settings),
        sentinels=total_of(answers, len(url.seeds)),
        answering=len(answers),
    )
    return [
        primary,
        *(
            replace(_read_node(url, address, settings), primary=newest.address, promotable=promotable)
            for address, promotable in replicas.items()
            if address != newest.address  # which was promoted just now
        ),
    ]


def _read_cluster(url: StoreUrl, settings: Settings) -> list[ServerFacts]:
    """Ask a node for all others, and then each of these."""
    slots, replicas = _map_of(url, settings)
    primaries = [replace(_read_node(url, address, settings), slots=count) for address, count in slots.items()]
    found = [(primary, _read_node(url, address, settings)) for address, primary in replicas.items()]
    return primaries + [
        replace(node, primary=primary, promotable=node.config.get("cluster-replica-no-failover") != "yes")
        for primary, node in found
    ]


def _read_node(url: StoreUrl, address: str, settings: Settings) -> ServerFacts:
    """Ask the node at an address."""
    try:
        facts = _read(url.node(address), settings, None)
    except StoreUnavailable as problem:
        facts = ServerFacts(failure=problem.detail or str(problem))
    return replace(facts, address=address)


def _map_of(url: StoreUrl, settings: Settings) -> tuple[Counter[str], dict[str, str]]:
    """Return how many slots each primary of a cluster has, and the primary of each replica, by address."""
    failure = StoreUnavailable()
    for seed in url.seeds:
        host = seed.rpartition(":")[0]
        try:
            with closing(Wire(url.node(seed), settings.connect_timeout, settings.command_timeout)) as wire:
                until = time.monotonic() + settings.command_timeout
                (reply,) = wire.exchange([("CLUSTER", "SLOTS")], until)
                slots, replicas = Counter(filter(None, read_slots(reply, host))), read_replicas(reply, host)
                with suppress(ErrorReply):  # without the right to it, only those that are down are missing
                    (reply,) = wire.exchange([("CLUSTER", "SHARDS")], until)
                    for shard in read_shards(reply, host, tls=url.server.startswith("rediss:")):
                        primaries = [address for address in shard if address in slots]
                        others = (address for address in shard if address not in slots)
                        replicas.update((address, primary) for primary in primaries for address in others)
            return slots, replicas
        except (WireError, OSError, hiredis.HiredisError) as problem:
            failure = unavailable(problem)
        except StoreUnavailable as problem:
            failure = problem
    raise failure


def _read(url: str, settings: Settings, engine: LocalEngine | None) -> ServerFacts:
    denied: list[str] = []

    def ask(*command: Any) -> Any:
        try:
            return wire.exchange([command], time.monotonic() + settings.command_timeout)[0]
        except ErrorReply as problem:  # NOPERM, or a hosted server that has no such command
            name = str(command[0])
            if name not in denied and not str(problem).startswith("MOVED "):  # that of another node
                denied.append(name)
            return None

    keys = Keys(settings.key_prefix, settings.tenant)
    try:
        admit = engine.admit if engine else None
        with closing(Wire(url, settings.connect_timeout, settings.command_timeout, admit=admit)) as wire:
            info = _pairs(ask("INFO"))
            config = {
                name: value for name in _CONFIG if (value := _setting(ask("CONFIG", "GET", name))) is not None
            }
            count = ask("DBSIZE")
            found = ask("EXISTS", keys.store_key)
            known = ask("COMMAND", "INFO", "WAITAOF")
            ahead, unsure = _skew(ask)
    except (WireError, OSError, hiredis.HiredisError) as problem:
        raise unavailable(problem) from None
    return ServerFacts(
        info,
        config,
        count if isinstance(count, int) else None,
        ahead,
        unsure,
        store_key=found > 0 if isinstance(found, int) else None,
        waitaof=known != [None] if isinstance(known, list) and known else None,
        denied=tuple(denied),
    )


def _skew(ask: Callable[..., Any]) -> tuple[float | None, float]:
    """Return by how many s the server's clock is ahead (None: unknown), and how far off that may be (s).

    Measure three times and take the shortest round trip, as NTP does.
    """
    best: tuple[float | None, float] = (None, float("inf"))
    for _ in range(3):
        before = time.time()
        reply = ask("TIME")
        after = time.time()
        try:
            clock = int(reply[0]) + int(reply[1]) / 1e6
        except (TypeError, ValueError, IndexError):
            return None, 0.0
        unsure = (after - before) / 2
        if 0 <= unsure < best[1]:
            best = (clock - (before + after) / 2, unsure)
    return best if best[0] is not None else (None, 0.0)


def _pairs(reply: Any) -> dict[str, str]:
    """Return the `name:value` lines of INFO."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in lines if colon}


def _setting(reply: Any) -> str | None:
    """Return the value in the answer to CONFIG GET of one name, or None if there is none."""
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], bytes):
        return None
    return reply[1].decode(errors="replace")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
