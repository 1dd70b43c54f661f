"""What `patauth doctor` makes of a server's facts and of the settings. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from ...settings import Settings
    from ...store.server_facts import ServerFacts

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_SKEW, _WILD_SKEW = 1.0, 60.0  # s
_NEARLY_FULL = 0.8


def judge_server(facts: ServerFacts, settings: Settings) -> Iterator[Finding]:
    """Everything that a server's own word shows."""
    asked = " and ".join(facts.denied)
    yield _version(facts, asked)
    yield _persistence(facts, asked)
    yield _eviction(facts, asked)
    yield _memory(facts, asked)
    yield from _replication(facts, settings, asked)
    yield _clock(facts)


def _unknown(check: str, what: str, asked: str, look: str) -> Finding:
    why = f"this user of the server may not ask ({asked})" if asked else "the server does not say"
    return warning(check, f"It cannot be known {what}: {why}.", look)


def _version(facts: ServerFacts, asked: str) -> Finding:
    kind, version = facts.kind, facts.version
    if kind is None or version is None:
        return _unknown(
            "version", "which server this is", asked, "Make sure it is Redis from 7.0, or Valkey."
        )
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST.get(kind, (0, 0)):
        oldest = ".".join(map(str, _OLDEST[kind]))
        return warning(
            "version",
            f"This is {kind} {version}, and patauth is not tested on servers before {oldest}.",
            "Take a current server.",
        )
    return ok("version", f"This is {kind} {version}.")


def _persistence(facts: ServerFacts, asked: str) -> Finding:
    if facts.append_only is None:
        look = "Make sure that the server has `appendonly yes`."
        return _unknown("persistence", "whether the server writes an append-only file", asked, look)
    if not facts.append_only:
        kept = "only snapshots are written" if facts.config.get("save") else "nothing may be written to disk"
        return problem(
            "persistence",
            f"There is no append-only file, {kept}: a restart brings revoked PATs back and loses new ones.",
            "Set `appendonly yes` in the server's configuration; now: CONFIG SET appendonly yes.",
        )
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        return problem(
            "persistence",
            "The last write to the append-only file failed.",
            "See the server's log; most often the disk is full.",
        )
    if facts.config.get("appendfsync") == "no":
        return warning(
            "persistence",
            "The append-only file is not flushed: a loss of power brings back what was revoked for minutes.",
            "Set `appendfsync everysec`, or `always`.",
        )
    flushed = facts.config.get("appendfsync", "as configured")
    return ok("persistence", f"There is an append-only file, flushed {flushed}.")


def _eviction(facts: ServerFacts, asked: str) -> Finding:
    if facts.eviction is None:
        look = "Make sure that the server has `maxmemory-policy noeviction`."
        return _unknown("eviction", "what the server does when its memory is full", asked, look)
    if facts.eviction != "noeviction":
        limited = "" if facts.memory_limit else " as soon as it has a limit (maxmemory)"
        return problem(
            "eviction",
            f"By {facts.eviction} PATs vanish when memory is full, and quotas start anew{limited}.",
            "Set `maxmemory-policy noeviction`; a cache that needs eviction belongs on another server.",
        )
    return ok("eviction", "Nothing is evicted (noeviction).")


def _memory(facts: ServerFacts, asked: str) -> Finding:
    used, limit = facts.number("used_memory"), facts.memory_limit
    if limit is None:
        return _unknown("memory", "how much memory there is", asked, "Watch the server's memory yourself.")
    if not limit:
        return ok("memory", "The server's memory has no limit of its own.")
    if used is None:
        return ok("memory", f"The limit is {limit} bytes.")
    share = f"{used} of {limit} bytes are used ({used / limit:.0%})"
    if used > _NEARLY_FULL * limit:
        return warning(
            "memory",
            f"{share}; a full server makes no PATs and no access tokens, and requests get 503.",
            "Raise maxmemory, or see what else is in this server.",
        )
    return ok("memory", f"{share}.")


def _replication(facts: ServerFacts, settings: Settings, asked: str) -> Iterator[Finding]:
    check, wanted = "replication", settings.durability
    role, replicas = facts.info.get("role"), facts.number("connected_slaves")
    if role is None or replicas is None:
        look = "With replicas, set durability to replicas:1, so that a failover undoes no revocation."
        yield _unknown(check, "whether there are replicas", asked, look)
    elif role != "master":
        yield problem(
            check,
            "This server is a replica: it takes no writes, or not those of its primary.",
            "Name the primary in store_url.",
        )
    elif wanted is not None and replicas < wanted:
        yield problem(
            check,
            f"durability asks for {wanted} replicas and {replicas} are connected: revocations fail.",
            "Connect the replicas, or lower durability.",
        )
    elif wanted is None and replicas:
        yield warning(
            check,
            f"{replicas} replicas are connected and nobody waits for them: a failover may undo a revocation.",
            "Set durability to replicas:1 (PATAUTH_DURABILITY).",
        )
    elif wanted is not None and facts.config.get("min-replicas-to-write") == "0":
        yield warning(
            check,
            "The primary goes on writing when it has lost its replicas; after a failover that is undone.",
            "Set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on the primary.",
        )
    else:
        yield ok(
            check, f"{replicas or 'No'} replicas are connected, and revocations wait for {wanted or 'none'}."
        )


def _clock(facts: ServerFacts) -> Finding:
    if facts.ahead is None:
        look = "Keep both by NTP."
        return _unknown("clock", "how the server's clock differs from this host's", "TIME", look)
    least = max(0.0, abs(facts.ahead) - facts.unsure)
    if least <= _SKEW:
        return ok("clock", "The server's clock and this host's agree.")
    where = "ahead of" if facts.ahead > 0 else "behind"
    text = f"The server's clock is {least:.1f} s {where} this host's; expiry goes by the server's."
    grave = problem if least > _WILD_SKEW else warning
    return grave("clock", text, "Set both by NTP.")


def judge_settings(settings: Settings, facts: ServerFacts | None) -> Iterator[Finding]:
    """What is risky in the settings. Without facts the store could not be asked."""
    yield from _store_key(settings, facts)
    yield from _transport(settings.store_url)
    if settings.keep_authorization:
        yield warning(
            "settings",
            "keep_authorization hands credentials on to the app, and to all that it logs or calls.",
            "Leave it out, unless the app itself must see them.",
        )
    hops = settings.trusted_proxies
    if hops:
        yield ok(
            "settings",
            f"trusted_proxies is {hops}: right if every request comes through so many of your proxies, and"
            " wrong if the app can be reached past them.",
        )
    if settings.max_lifetime is None:
        yield ok("settings", "max_lifetime is not set: a PAT may last for ever.")


def _store_key(settings: Settings, facts: ServerFacts | None) -> Iterator[Finding]:
    if settings.secret_key is not None:
        yield ok("store key", "The store key is kept outside of the store (secret_key).")
    elif settings.store_url.startswith("local:"):
        yield ok("store key", "The store key is in the store, which only this user can read.")
    elif facts is not None and facts.store_key is not False:
        yield warning(
            "store key",
            "The store key is in the store: a dump of the server holds it, too.",
            "For a new store, set secret_key (PATAUTH_SECRET_KEY_FILE); a store's key cannot be changed.",
        )


def _transport(url: str) -> Iterator[Finding]:
    if not url.startswith(("redis://", "valkey://")):
        return
    host = urlsplit(url).hostname or "localhost"
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    if not here:
        yield warning(
            "transport",
            "The way to the server is not encrypted: who listens learns the password, who meddles gets in.",
            "Use rediss:// (TLS), unless that network is yours alone.",
        )
