"""What `patauth doctor` makes of the facts that a store's server, or all of its nodes, tell of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...model.words import counted
from ...settings import Settings
from .finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from ...store.server_facts import ServerFacts

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_SKEW, _WILD_SKEW = 1.0, 60.0  # seconds
_NEARLY_FULL = 0.8  # of the memory limit


def judge_servers(nodes: Sequence[ServerFacts], settings: Settings) -> Iterator[Finding]:
    """Judge a server, or all nodes of a cluster or behind Sentinels, replicas included."""
    yield from _cluster(nodes)
    answered = [node for node in nodes if not node.failure]
    if nodes[0].sentinels:
        yield from _sentinels(nodes[0], answered, settings)
    yield from _once(answered, lambda node: _node(node, settings))
    yield from _versions(answered)
    yield from _clocks(answered)
    primaries = [node for node in answered if not node.primary]
    yield from _once(primaries, lambda node: _replication(node, _replicas_of(node, nodes), settings))
    for node in nodes:
        if node.failure and node.primary:
            yield warning(
                "replication",
                f"{node.address}, a replica of {node.primary}, does not answer ({node.failure}).",
                "Start it, and allow the user of store_url there: it may become the primary.",
            )


def _once(
    nodes: Sequence[ServerFacts], judge: Callable[[ServerFacts], Iterable[Finding]]
) -> Iterator[Finding]:
    """Judge each node. What holds for all of them is said once, and anything else with their addresses."""
    addresses: dict[Finding, list[str]] = {}
    for node in nodes:
        for finding in judge(node):
            addresses.setdefault(finding, []).append(node.address)
    checks = list(dict.fromkeys(finding.check for finding in addresses))
    for finding in sorted(addresses, key=lambda one: checks.index(one.check)):
        level, check, text, remedy = finding
        found = addresses[finding]
        if len(found) == len(nodes):
            yield finding
        else:
            yield Finding(level, check, f"{', '.join(found)}: {text}", remedy)


def _replicas_of(primary: ServerFacts, nodes: Sequence[ServerFacts]) -> list[ServerFacts]:
    return [node for node in nodes if node.primary and node.primary == primary.address]


def _cluster(nodes: Sequence[ServerFacts]) -> Iterator[Finding]:
    from ...store.transport.cluster_map import SLOTS  # imports redis, which takes 80 ms

    check = "cluster"
    primaries = [node for node in nodes if node.slots is not None]
    if not primaries:
        if nodes[0].info.get("cluster_enabled") == "1":
            yield problem(
                check,
                "This server is a node of a cluster, but store_url names it as if it were alone.",
                "Let store_url begin with redis+cluster:// or rediss+cluster://.",
            )
        return
    covered = sum(node.slots or 0 for node in primaries)
    if covered < SLOTS:
        yield problem(
            check,
            f"Of {SLOTS} slots, {counted(SLOTS - covered, 'has', 'have')} no node: requests of their owners"
            " get 503.",
            "Give each slot to a primary (CLUSTER ADDSLOTS).",
        )
    for node in primaries:
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
    replicas = len(nodes) - len(primaries)
    yield ok(
        check,
        f"The cluster has {counted(len(primaries), 'primary', 'primaries')} and"
        f" {counted(replicas, 'replica')}.",
    )


def _sentinels(
    primary: ServerFacts, answered: Sequence[ServerFacts], settings: Settings
) -> Iterator[Finding]:
    check = "sentinel"
    known, answering = primary.sentinels, primary.answering
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
            "Run at least three. Only where a majority answers, SENTINEL RESET those that are left, to forget"
            " those that are gone for good.",
        )
    else:
        yield ok(check, f"{known} Sentinels answer.")
    if primary.failure:
        yield problem(
            check,
            f"{primary.address}, the primary, does not answer: requests get 503 ({primary.failure}).",
            "Start it, or let the Sentinels promote a replica.",
        )
    if settings.sentinel_lost == "continue" and not all(map(_stops_alone, answered)):
        yield warning(
            check,
            "With sentinel_lost=continue, a process that is cut off together with a primary that was replaced"
            " goes on accepting what was revoked since.",
            "Set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on all servers, or sentinel_lost to"
            " refuse.",
        )


def _stops_alone(facts: ServerFacts) -> bool:
    """Return whether a primary without replicas soon refuses to write."""
    least, lag = (_count(facts, f"min-replicas-{name}") or 0 for name in ("to-write", "max-lag"))
    return least >= 1 and 1 <= lag <= 2


def _count(facts: ServerFacts, option: str) -> int | None:
    text = facts.config.get(option, "")
    return int(text) if text.isdecimal() else None


def _node(facts: ServerFacts, settings: Settings) -> Iterator[Finding]:
    """Judge what a server tells, whatever its role."""
    yield _version(facts)
    yield _persistence(facts)
    if settings.durability == "disk":
        yield _disk(facts)
    yield _eviction(facts)
    yield _memory(facts)
    yield _clock(facts)


def _unknown(check: str, what: str, facts: ServerFacts, remedy: str) -> Finding:
    denied = " and ".join(facts.denied)
    why = f"this user of the server may not ask ({denied})" if denied else "the server does not say"
    return warning(check, f"It is unknown {what}: {why}.", remedy)


def _version(facts: ServerFacts) -> Finding:
    kind, version = facts.kind, facts.version
    if kind is None or version is None:
        remedy = "Make sure that it is Redis 7.0 or newer, or Valkey."
        return _unknown("version", "which server this is", facts, remedy)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST.get(kind, (0, 0)):
        oldest = ".".join(map(str, _OLDEST[kind]))
        return warning(
            "version",
            f"This is {kind} {version}; patauth is not tested with versions before {oldest}.",
            "Use a current version.",
        )
    return ok("version", f"This is {kind} {version}.")


def _persistence(facts: ServerFacts) -> Finding:
    if facts.append_only is None:
        remedy = "Make sure that the server has `appendonly yes`."
        return _unknown("persistence", "whether the server writes an append-only file", facts, remedy)
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


def _eviction(facts: ServerFacts) -> Finding:
    if facts.eviction is None:
        remedy = "Make sure that the server has `maxmemory-policy noeviction`."
        return _unknown("eviction", "what the server does when its memory is full", facts, remedy)
    if facts.eviction != "noeviction":
        limited = "" if facts.memory_limit else " as soon as it has a limit (maxmemory)"
        return problem(
            "eviction",
            f"With {facts.eviction}, PATs vanish and quotas start again when memory is full{limited}.",
            "Set `maxmemory-policy noeviction`; use another server for a cache that needs eviction.",
        )
    return ok("eviction", "Nothing is evicted (noeviction).")


def _memory(facts: ServerFacts) -> Finding:
    used, limit = facts.number("used_memory"), facts.memory_limit
    if limit is None:
        return _unknown("memory", "how much memory there is", facts, "Watch the server's memory yourself.")
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


def _disk(facts: ServerFacts) -> Finding:
    """Judge whether `durability=disk` can be kept."""
    check, refused = "durability", "so with durability=disk it acknowledges no removal"
    if facts.waitaof is False:
        return problem(
            check,
            f"The server does not know WAITAOF, {refused}.",
            "Use Valkey or Redis from 7.2, or set durability to engine or replicas:N.",
        )
    if facts.append_only is False:
        return problem(check, f"There is no append-only file, {refused}.", "Set `appendonly yes`.")
    if facts.config.get("appendfsync") == "no":
        return problem(
            check, f"The append-only file is not flushed, {refused}.", "Set `appendfsync everysec`."
        )
    if facts.waitaof is None or facts.append_only is None:
        remedy = "Make sure that it knows WAITAOF and has `appendonly yes`."
        return _unknown(check, "whether the server can wait for its disk", facts, remedy)
    answers_early = facts.kind == "valkey" or (facts.version or "").startswith("7.4.")
    if answers_early and facts.config.get("appendfsync") != "always":
        return warning(
            check,
            "This server answers WAITAOF when a change is in the file, up to a second before it is flushed: a"
            " loss of power may undo a revocation that was acknowledged.",
            "Set `appendfsync always` where the power may fail; requests that only verify wait then, too.",
        )
    return ok(check, "Revocations wait for the disk.")


def _replication(
    facts: ServerFacts, replicas: Sequence[ServerFacts], settings: Settings
) -> Iterator[Finding]:
    """Judge a primary and its replicas; of a server that is alone in `store_url`, nobody knows these."""
    check = "replication"
    connected = facts.number("connected_slaves")
    if "role" not in facts.info or connected is None:
        remedy = "If there are, set durability to replicas:N, so that a failover undoes no revocation."
        yield _unknown(check, "whether there are replicas", facts, remedy)
        return
    if facts.info["role"] != "master":
        yield problem(
            check,
            "This server is a replica: it refuses writes, or loses them.",
            "Name the primary in store_url.",
        )
        return
    wanted = settings.durability if isinstance(settings.durability, int) else 0
    promotable = sum(replica.promotable for replica in replicas) if replicas else connected
    found = [
        *_waiting(wanted, connected, promotable),
        *_min_replicas(_count(facts, "min-replicas-to-write"), wanted, connected, len(replicas)),
    ]
    yield from found or [
        ok(
            check,
            f"{counted(connected, 'replica is', 'replicas are')} connected, and revocations wait for"
            f" {wanted or 'none'}.",
        )
    ]


def _waiting(wanted: int, connected: int, promotable: int) -> Iterator[Finding]:
    """Judge how many replicas a revocation waits for."""
    if wanted > connected:
        yield problem(
            "replication",
            f"durability asks for {counted(wanted, 'replica')} with {connected} connected: removals get 503.",
            "Connect the replicas, or lower durability.",
        )
    elif wanted < promotable:
        yield warning(
            "replication",
            f"A revocation waits for {wanted} of {counted(promotable, 'replica')}: one that was acknowledged"
            " may come back after a failover.",
            f"Set durability to replicas:{promotable}, or let no other be promoted (`replica-priority 0`, in"
            " a cluster `cluster-replica-no-failover yes`).",
        )


def _min_replicas(least: int | None, wanted: int, connected: int, known: int) -> Iterator[Finding]:
    """Judge `min-replicas-to-write`; None: unknown."""
    replicas = max(connected, known)
    if least is None or not (least or wanted):
        return
    if least > connected:
        yield problem(
            "replication",
            f"`min-replicas-to-write` is {least} with {counted(connected, 'replica')} connected: all requests"
            " get 503.",
            "Connect the replicas, or lower it.",
        )
    elif least >= replicas:
        yield warning(
            "replication",
            f"`min-replicas-to-write` is {least} of {counted(replicas, 'replica')}: while one is missing, as"
            " after each failover, all requests get 503.",
            "Set it to 1, and have two replicas or more.",
        )
    elif not least:
        yield warning(
            "replication",
            "A primary that has lost its replicas goes on writing; a failover undoes what it wrote.",
            "Set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on all servers.",
        )


def _clock(facts: ServerFacts) -> Finding:
    if facts.ahead is None:
        remedy = "Synchronise both clocks by NTP."
        return _unknown("clock", "how the server's clock differs from this host's", facts, remedy)
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


def _versions(nodes: Sequence[ServerFacts]) -> Iterator[Finding]:
    found = sorted({f"{node.kind} {node.version}" for node in nodes if node.kind and node.version})
    if len(found) > 1:
        yield warning(
            "version",
            f"The nodes differ ({', '.join(found)}): an older one may not read what a newer one has written,"
            " nor know WAITAOF.",
            "Use one version on all nodes.",
        )


def _clocks(nodes: Sequence[ServerFacts]) -> Iterator[Finding]:
    known = sorted((node.ahead, node.unsure, node.address) for node in nodes if node.ahead is not None)
    if len(known) < 2:
        return
    (low, unsure_low, slow), (high, unsure_high, fast) = known[0], known[-1]
    least = high - low - unsure_low - unsure_high
    if least > _SKEW:
        grave = problem if least > _WILD_SKEW else warning
        yield grave(
            "clock",
            f"The clock of {fast} is {least:.1f} s ahead of that of {slow}: after a failover, PATs expire as"
            " much earlier or later.",
            "Synchronise the clocks of all nodes by NTP.",
        )
