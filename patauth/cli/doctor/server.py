"""What `patauth doctor` makes of the facts that a store's server tells about itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...settings import Settings
from .finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from ...store.server_facts import ServerFacts

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_SKEW, _WILD_SKEW = 1.0, 60.0  # seconds
_NEARLY_FULL = 0.8  # of the memory limit


def judge_servers(nodes: Sequence[ServerFacts], settings: Settings) -> Iterator[Finding]:
    """Judge a server, or the primaries of a cluster. What is the same for all of them is said once."""
    yield from _cluster(nodes)
    if nodes[0].sentinels:
        yield from _sentinels(nodes[0], settings)
    answered = [node for node in nodes if not node.failure]
    for findings in zip(*(judge_server(node, settings) for node in answered), strict=True):
        if len(set(findings)) == 1:
            yield findings[0]
            continue
        for node, (level, check, text, remedy) in zip(answered, findings, strict=True):
            yield Finding(level, check, f"{node.address}: {text}", remedy)


def _cluster(nodes: Sequence[ServerFacts]) -> Iterator[Finding]:
    from ...store.transport.cluster import SLOTS  # imports redis, which takes 80 ms

    check = "cluster"
    if not nodes[0].address:
        if nodes[0].info.get("cluster_enabled") == "1":
            yield problem(
                check,
                "This server is a node of a cluster, but store_url names it as if it were alone.",
                "Let store_url begin with redis+cluster:// or rediss+cluster://.",
            )
        return
    covered = sum(node.slots for node in nodes)
    if covered < SLOTS:
        yield problem(
            check,
            f"{SLOTS - covered} of {SLOTS} slots have no node: requests of their owners get 503.",
            "Give each slot to a primary (CLUSTER ADDSLOTS).",
        )
    for node in nodes:
        if node.failure:
            yield problem(
                check,
                f"{node.address} does not answer: requests of its owners get 503 ({node.failure}).",
                "Start it, or let a replica take its place.",
            )
    if any(node.config.get("cluster-require-full-coverage") == "yes" for node in nodes):
        yield warning(
            check,
            "While one shard is down, all owners get 503, and not just its own.",
            "Set `cluster-require-full-coverage no` on every node.",
        )
    if any(node.config.get("cluster-allow-reads-when-down") == "yes" for node in nodes):
        yield warning(
            check,
            "A node that is cut off still answers reads, so introspection may call a revoked token active.",
            "Set `cluster-allow-reads-when-down no` on every node.",
        )
    yield ok(check, f"The cluster has {len(nodes)} primaries.")


def _sentinels(facts: ServerFacts, settings: Settings) -> Iterator[Finding]:
    check = "sentinel"
    known, answering = facts.sentinels, facts.answering
    if answering * 2 <= known:
        yield problem(
            check,
            f"Only {answering} of {known} Sentinels answer. That is no majority, so requests get 503.",
            "Start the others, and let the app reach each at the address that it announces.",
        )
    elif answering < known or known < 3:
        yield warning(
            check,
            f"{answering} of {known} Sentinels answer: with one more lost there may be no majority, and then"
            " neither a failover nor an answer but 503.",
            "Run at least three, and SENTINEL RESET to forget those that are gone for good.",
        )
    else:
        yield ok(check, f"{known} Sentinels answer.")
    least, lag = (_count(facts.config.get(f"min-replicas-{name}")) for name in ("to-write", "max-lag"))
    if settings.sentinel_lost == "continue" and not (least >= 1 and 1 <= lag <= 2):
        yield warning(
            check,
            "With sentinel_lost=continue, a process that is cut off together with a primary that was replaced"
            " goes on accepting what was revoked since.",
            "Set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on all servers, or sentinel_lost to"
            " refuse.",
        )


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def judge_server(facts: ServerFacts, settings: Settings) -> Iterator[Finding]:
    """Judge everything that the server tells."""
    denied = " and ".join(facts.denied)
    yield _version(facts, denied)
    yield _persistence(facts, denied)
    yield _eviction(facts, denied)
    yield _memory(facts, denied)
    wanted = settings.durability if isinstance(settings.durability, int) else None
    yield _replication(facts, wanted, denied)
    yield _clock(facts)


def _unknown(check: str, what: str, denied: str, remedy: str) -> Finding:
    why = f"this user of the server may not ask ({denied})" if denied else "the server does not say"
    return warning(check, f"It is unknown {what}: {why}.", remedy)


def _version(facts: ServerFacts, denied: str) -> Finding:
    kind, version = facts.kind, facts.version
    if kind is None or version is None:
        remedy = "Make sure that it is Redis 7.0 or newer, or Valkey."
        return _unknown("version", "which server this is", denied, remedy)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST.get(kind, (0, 0)):
        oldest = ".".join(map(str, _OLDEST[kind]))
        return warning(
            "version",
            f"This is {kind} {version}; patauth is not tested with versions before {oldest}.",
            "Use a current version.",
        )
    return ok("version", f"This is {kind} {version}.")


def _persistence(facts: ServerFacts, denied: str) -> Finding:
    if facts.append_only is None:
        remedy = "Make sure that the server has `appendonly yes`."
        return _unknown("persistence", "whether the server writes an append-only file", denied, remedy)
    if not facts.append_only:
        written = "only snapshots" if facts.config.get("save") else "and perhaps nothing is written"
        return problem(
            "persistence",
            f"There is no append-only file, {written}: a restart restores revoked PATs and loses new ones.",
            "Set `appendonly yes` in the server's configuration, and run CONFIG SET appendonly yes now.",
        )
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        return problem(
            "persistence",
            "The last write to the append-only file failed.",
            "Read the server's log; most often the disk is full.",
        )
    if facts.config.get("appendfsync") == "no":
        return warning(
            "persistence",
            "The append-only file is not flushed: a power failure can undo the revocations of minutes.",
            "Set `appendfsync everysec`, or `always`.",
        )
    flushed = facts.config.get("appendfsync", "as configured")
    return ok("persistence", f"There is an append-only file, flushed {flushed}.")


def _eviction(facts: ServerFacts, denied: str) -> Finding:
    if facts.eviction is None:
        remedy = "Make sure that the server has `maxmemory-policy noeviction`."
        return _unknown("eviction", "what the server does when its memory is full", denied, remedy)
    if facts.eviction != "noeviction":
        limited = "" if facts.memory_limit else " as soon as it has a limit (maxmemory)"
        return problem(
            "eviction",
            f"With {facts.eviction}, PATs vanish and quotas start again when memory is full{limited}.",
            "Set `maxmemory-policy noeviction`; use another server for a cache that needs eviction.",
        )
    return ok("eviction", "Nothing is evicted (noeviction).")


def _memory(facts: ServerFacts, denied: str) -> Finding:
    used, limit = facts.number("used_memory"), facts.memory_limit
    if limit is None:
        return _unknown("memory", "how much memory there is", denied, "Watch the server's memory yourself.")
    if not limit:
        return ok("memory", "The server's memory has no limit of its own.")
    if used is None:
        return ok("memory", f"The limit is {limit} bytes.")
    share = f"{used} of {limit} bytes are used ({used / limit:.0%})"
    if used > _NEARLY_FULL * limit:
        return warning(
            "memory",
            f"{share}; a full server creates no PATs and no access tokens, and requests get 503.",
            "Raise maxmemory, or find out what else is in this server.",
        )
    return ok("memory", f"{share}.")


def _replication(facts: ServerFacts, wanted: int | None, denied: str) -> Finding:
    """Judge the replicas; `wanted` is how many a revocation waits for, None if it does not wait."""
    check = "replication"
    role, replicas = facts.info.get("role"), facts.number("connected_slaves")
    if role is None or replicas is None:
        remedy = "If there are, set durability to replicas:1, so that a failover undoes no revocation."
        return _unknown(check, "whether there are replicas", denied, remedy)
    if role != "master":
        return problem(
            check,
            "This server is a replica: it refuses writes, or loses them.",
            "Name the primary in store_url.",
        )
    if wanted is not None and replicas < wanted:
        return problem(
            check,
            f"durability asks for {wanted} replicas but {replicas} are connected: revocations fail.",
            "Connect the replicas, or lower durability.",
        )
    promotable = replicas if facts.promotable is None else facts.promotable
    if wanted is None and replicas:
        return warning(
            check,
            f"{replicas} replicas are connected but nobody waits for them: a failover may undo a revocation.",
            f"Set durability to replicas:{max(1, promotable)} (PATAUTH_DURABILITY).",
        )
    if wanted is not None and wanted < promotable:
        return warning(
            check,
            f"A revocation waits for {wanted} of {promotable} replicas: a failover to another one undoes it.",
            f"Set durability to replicas:{promotable}, or let no other be promoted (`replica-priority 0`).",
        )
    if wanted is not None and facts.config.get("min-replicas-to-write") == "0":
        return warning(
            check,
            "A primary that has lost its replicas goes on writing; a failover undoes what it wrote.",
            "Set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on the primary.",
        )
    return ok(
        check, f"{replicas or 'No'} replicas are connected, and revocations wait for {wanted or 'none'}."
    )


def _clock(facts: ServerFacts) -> Finding:
    if facts.ahead is None:
        remedy = "Synchronise both clocks by NTP."
        return _unknown("clock", "how the server's clock differs from this host's", "TIME", remedy)
    least = max(0.0, abs(facts.ahead) - facts.unsure)
    if least <= _SKEW:
        return ok("clock", "The server's clock and this host's clock agree.")
    where = "ahead of" if facts.ahead > 0 else "behind"
    grave = problem if least > _WILD_SKEW else warning
    return grave(
        "clock",
        f"The server's clock is {least:.1f} s {where} this host's; PATs expire by the server's.",
        "Synchronise both clocks by NTP.",
    )
