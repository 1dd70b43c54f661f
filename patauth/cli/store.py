"""`patauth store`: reach the token store, show what its server says, sweep, copy, stop a `local:` engine."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigurationError, StoreUnavailable
from ..files import content_of_secret
from ..model.sinks import names_of, sinks_of
from ..operations.count import PatCounts, count_pats
from ..operations.sweep import sweep as sweep_parts
from ..settings import Settings
from ..store.copy import COUNTED, PATIENCE
from ..store.factory import open_store
from ..store.url import StoreUrl
from .context import Failure, message, named_settings, open_authority, warnings_as_messages
from .options import Group
from .output import print_facts, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.event_stream import StreamCounts
    from ..store.server_facts import ServerFacts
    from ..store.store import Store


@click.group(cls=Group)
def store() -> None:
    """Look after the token store.

    \b
    Example:
      patauth store ping --store redis://127.0.0.1:6379/0
    """


@store.command()
def ping() -> None:
    """Reach the store, check its key, and measure one round trip.

    A local: store is started for this. Exit code 5 means that the store cannot be reached, or that it was
    made with another key (setting secret_key).

    \b
    Example:
      patauth store ping --store local:./patauth-data
    """
    with open_authority() as authority:
        authority.ping()  # starts a local: engine and connects, which is not measured
        began = time.perf_counter()
        authority.ping()
        milliseconds = round(1000 * (time.perf_counter() - began), 2)
    print_facts(
        {"reachable": True, "milliseconds": milliseconds},
        [("reachable", "yes"), ("milliseconds", f"{milliseconds:.2f}")],
    )


@store.command(short_help="Count PATs, and show what the server says of itself.")
def stats() -> None:
    """Count the tenant's PATs, and show what the store's server says about itself.

    `pats` are those that `pat list` has. Of these, `pats expiring` expire within the setting expiry_warning
    (7 days), `pats expired` have expired, and `pats never used` were never used. `pats revoked` are those
    that are still kept. The counts come from indexes, so they cost the same with a million PATs. Disabled
    PATs are among the others; `pat list --filter 'state eq "disabled"'` has them. Owners and access tokens
    are not counted, since only a walk through all keys could tell; `keys` is the number of keys of all kinds.

    The facts of the server are version, memory, keys, persistence, clients, role and replicas. Of a cluster
    and behind Sentinels they are told of each node, replicas too. If the store cannot be reached, they are
    told of the nodes that answer, and the exit code is 5. A fact that a server does not tell, or not to this
    user, is null in JSON and missing from the table, and a message on stderr names the commands that the user
    may not run. `patauth doctor` judges these facts.

    If the setting events names a stream: how many events and counts of refusals it has, how many events full
    queues have dropped, and how many the stream has lost before they were delivered. If it also names
    webhooks: how many events wait for the receiver that is furthest behind, taken or not, and for how many
    seconds the oldest of them has waited.

    \b
    Example:
      patauth store stats --store local:./patauth-data
    """
    nodes: list[ServerFacts] = []
    trouble: StoreUnavailable | None = None
    with open_authority() as authority:
        counts, events = None, None
        try:
            authority.ping()
            counts = count_pats(authority.operations.actor(None))
        except StoreUnavailable as problem:
            trouble = problem  # raised below: first, the nodes may say which of them it is
        if StoreUrl.read(authority.settings.store_url).engine != "memory":
            from ..store.server_facts import read_nodes  # imports redis, which takes 80 ms

            nodes = read_nodes(authority.settings)
        if trouble is None:
            try:
                events = authority.operations.event_counts()
            except StoreUnavailable as problem:  # such as one whose user may not read it
                message(f"The stream of events cannot be read: {problem.detail or problem}")
        webhooks = sinks_of(authority.settings.events).webhooks
        _show(counts, nodes, events, webhooks, reachable=trouble is None)
        if trouble is not None:
            raise trouble


def _show(
    counts: PatCounts | None,
    nodes: Sequence[ServerFacts],
    events: StreamCounts | None,
    webhooks: Sequence[str],
    *,
    reachable: bool,
) -> None:
    found = {
        "reachable": reachable,
        **_counted(counts),
        **_stats(nodes),
        **_events_of(events, webhooks),
    }
    rows = [("", found), *((f"{node['address']} ", node) for node in found.get("nodes", ()))]
    print_facts(
        found,
        (
            (of + _plain(name), _words(value))
            for of, facts in rows
            for name, value in facts.items()
            if value is not None and name not in ("nodes", "address")
        ),
    )
    denied = dict.fromkeys(name for node in nodes for name in node.denied)
    if denied:
        message(f"This user of the server may not ask {', '.join(denied)}: what these tell is missing.")


def _counted(counts: PatCounts | None) -> dict[str, Any]:
    if counts is None:
        return {}
    return {
        "pats": counts.total,
        "patsExpiring": counts.expiring,
        "patsExpired": counts.expired,
        "patsNeverUsed": counts.never_used,
        "patsRevoked": counts.revoked,
    }


def _stats(nodes: Sequence[ServerFacts]) -> dict[str, Any]:
    """Return the facts of the server to show. A store in memory has no nodes."""
    if not nodes:
        return {"kind": "memory"}
    if not nodes[0].address:
        return _stats_of(nodes[0])
    return {
        "nodes": [
            {
                "address": node.address,
                "primary": node.primary or None,
                "slots": node.slots,
                "reachable": not node.failure,
                **_stats_of(node),
            }
            for node in nodes
        ],
    }


def _events_of(counts: StreamCounts | None, webhooks: Sequence[str]) -> dict[str, Any]:
    if counts is None:
        return {}
    from ..events.delivery import group_of, waiting_for

    for url, name in zip(webhooks, names_of(webhooks), strict=True):
        if group_of(url) not in counts.waiting:
            message(f"{name}: nobody has delivered to it yet. Run patauth events deliver.")
    waiting = [waiting_for(url, counts) for url in webhooks]
    return {
        "events": counts.changes,
        "eventRefusals": counts.refusals,
        "eventsDropped": counts.dropped,
        "eventsLost": counts.lost,
        "eventsWaiting": max((one.events for one in waiting), default=None),
        "oldestEventSeconds": max((round(one.age) for one in waiting), default=None),
    }


def _stats_of(facts: ServerFacts) -> dict[str, Any]:
    return {
        "kind": facts.kind,
        "version": facts.version,
        "uptimeSeconds": facts.number("uptime_in_seconds"),
        "keys": facts.keys,
        "memoryBytes": facts.number("used_memory"),
        "memoryLimitBytes": facts.memory_limit or None,
        "evictionPolicy": facts.eviction,
        "appendOnlyFile": facts.append_only,
        "appendFsync": facts.config.get("appendfsync"),
        "snapshots": facts.config.get("save"),
        "clients": facts.number("connected_clients"),
        "role": facts.role,
        "replicas": facts.number("connected_slaves"),
    }


def _plain(name: str) -> str:
    """Return a name such as `memoryBytes` in words: "memory bytes"."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


@store.command()
def sweep() -> None:
    """Remove what PATs that are gone have left in the indexes.

    A PAT goes by itself some time after its expiry (setting retention), but its index entries stay until
    somebody lists them. Run this from cron, each night or each week, so that the store does not grow. It
    removes nothing of a PAT that lives or is being made. It works in small pieces, so other work goes on, and
    can be ended at any moment and repeated.

    A PAT has three entries in its tenant's indexes, and one in its owner's. `removedEntries` are those of
    removed PATs, which have one in each. `marks` are notes of changes that were looked at.

    \b
    Example:
      patauth store sweep --quiet --store redis://127.0.0.1:6379/0
    """
    with open_authority() as authority:
        parts = sweep_parts(authority.operations.actor(None))
        removed = {
            "tenantEntries": sum(progress(parts.tenant_entries, "Sweeping the tenant's indexes")),
            "marks": sum(progress(parts.marks, "Sweeping marks")),
            "ownerEntries": sum(progress(parts.owner_entries, "Sweeping owners' indexes")),
            "removedEntries": sum(progress(parts.removed_entries, "Sweeping removed PATs")),
        }
    print_facts(removed, ((_plain(name), count) for name, count in removed.items()))


@store.command(short_help="Copy all of a store to another engine.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--access-tokens", is_flag=True, help="Carry access tokens too. Without it, TO has none.")
@click.option("--final", is_flag=True, help="Say that nothing uses FROM any more: TO is opened.")
def copy(source: str, target: str, access_tokens: bool, final: bool) -> None:
    """Copy all of the store FROM to the engine of TO: PATs, owners, indexes and the store key.

    FROM and TO are store URLs, or file:PATH for a file that holds one: arguments can be seen by all users of
    the machine, so a URL with a password belongs into a file. Both have the same key_prefix, and all of its
    tenants are copied. FROM is only read.

    TO must be empty, or a copy that no process has used yet. First run it while FROM is in use, which takes
    longest. TO stays closed then: nobody can use it. Then stop all that uses FROM, and run it again with
    --final: it writes only what differs, removes what FROM no longer has, and opens TO.

    Exit code 0 means that both are equal in the end, and 1 that FROM has changed meanwhile; TO stays closed
    then. It may be ended at any moment and repeated.

    Not carried: quotas that are being used up (they begin again, full), streams of events, and without
    --access-tokens the access tokens, which clients exchange again.

    \b
    Examples:
      patauth store copy local:./patauth-data file:/etc/patauth/cluster-url
      patauth store copy local:./patauth-data file:/etc/patauth/cluster-url --final
    """
    from ..store.local.folder import has_store

    urls = _url("FROM", source), _url("TO", target)
    directory = StoreUrl.read(urls[0]).directory
    if directory is not None and not has_store(directory):
        raise Failure(f"FROM: there is no store in {directory}")
    with (
        _opened(urls[0], durability=None) as from_store,  # nothing is written there, so nothing waits
        _opened(urls[1]) as to_store,
    ):
        made = from_store.copy_to(to_store, with_access_tokens=access_tokens)
        made.begin()
        for steps, label in ((made.write(), "Copying"), (made.compare(), "Comparing")):
            for _ in progress(steps, label):
                pass
        if final and not made.differing:
            made.end()
    found = {name: made.counts[name] for name in COUNTED}
    found |= {"writes": made.writes, "differing": len(made.differing)}
    print_facts(found, ((_plain(name), count) for name, count in found.items()))
    if made.differing:
        raise Failure("FROM changed meanwhile: stop what uses it and run this again; TO stays closed")
    if final:
        message("TO is complete. Name it as the store of all processes before they start again.")
    else:
        message("TO is equal and stays closed; stop what uses FROM, then run this again with --final.")


def _opened(url: str, **given: Any) -> closing[Store]:
    """Return a context in which a store is open as it is: nothing makes or checks its key."""
    given |= {"store_url": url, "connect_timeout": PATIENCE, "command_timeout": PATIENCE}
    with warnings_as_messages():
        return closing(open_store(Settings.from_env(**given), request_seconds=PATIENCE, settles_key=False))


def _url(name: str, given: str) -> str:
    """Return the store URL that an argument names. Raise `Failure`."""
    is_argument = not given.startswith("file:")
    if not is_argument:
        with warnings_as_messages():
            given = content_of_secret(name, given.removeprefix("file:"))
    try:
        url = StoreUrl.read(given)
    except ConfigurationError as error:
        raise Failure(f"{name}: {error.problem}", 2) from None
    if is_argument and url.shown != given:
        message(f"Warning: the password in {name} can be seen by other users; write it to a file: file:PATH")
    if url.engine == "memory":
        raise Failure(f"{name}: a memory: store is in one process alone, so there is nothing to copy", 2)
    return given


@store.command()
def stop() -> None:
    """Stop the engine of a local: store now.

    The engine also stops without this command, some seconds after its last user has gone. A process that
    still uses it starts it again. `stopped` says whether an engine was running.

    \b
    Example:
      patauth store stop --store local:./patauth-data
    """
    directory = StoreUrl.read(named_settings().store_url).directory
    if directory is None:
        raise Failure(
            "patauth runs the engine of a local: store only; stop this server where you started it", 2
        )
    from ..store.local.engine import LocalEngine

    stopped = LocalEngine(directory).stop()
    print_facts({"stopped": stopped}, [("stopped", "yes" if stopped else "no, none was running")])
