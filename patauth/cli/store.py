"""`patauth store`: the place where the tokens are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from .options import MEMORY, Failure, Group, local_directory, named_settings, open_authority, options
from .output import print_facts, print_json

if TYPE_CHECKING:
    from ..settings import Settings


@click.group(cls=Group)
def store() -> None:
    """Look after the token store.

    \b
    Example:
      patauth store ping --store redis://127.0.0.1:6379/0
    """


@store.command()
def ping() -> None:
    """Reach the store, check that it is ours to use, and say how long one round trip takes.

    A local: store is started. Exit code 5 means that it cannot be reached, or that its key is another.

    \b
    Example:
      patauth store ping --store local:./patauth-data
    """
    with open_authority() as authority:
        authority.ping()  # starts a local: engine and connects; not what is measured
        began = time.perf_counter()
        authority.ping()
        milliseconds = round(1000 * (time.perf_counter() - began), 2)
    if options().json:
        print_json({"reachable": True, "milliseconds": milliseconds})
    else:
        print_facts([("reachable", "yes"), ("milliseconds", f"{milliseconds:.2f}")])


@store.command()
def stats() -> None:
    """Show what the store's server says of itself: version, memory, keys, persistence, clients.

    What it does not say, or does not tell this user, is null in JSON and left out of the table.
    `patauth doctor` judges it.

    \b
    Example:
      patauth store stats --store local:./patauth-data
    """
    with open_authority() as authority:
        authority.ping()
        found = _stats(authority.settings)
    if options().json:
        print_json(found)
    else:
        print_facts((_plain(name), _words(value)) for name, value in found.items() if value is not None)


def _stats(settings: Settings) -> dict[str, Any]:
    if settings.store_url in MEMORY:
        return {"reachable": True, "kind": "memory"}
    from ..store.server_facts import read_facts

    facts = read_facts(settings)
    number, limit = facts.number, facts.memory_limit
    return {
        "reachable": True,
        "kind": facts.kind,
        "version": facts.version,
        "uptimeSeconds": number("uptime_in_seconds"),
        "keys": facts.keys,
        "memoryBytes": number("used_memory"),
        "memoryLimitBytes": limit or None,
        "evictionPolicy": facts.eviction,
        "appendOnlyFile": facts.append_only,
        "appendFsync": facts.config.get("appendfsync"),
        "snapshots": facts.config.get("save"),
        "clients": number("connected_clients"),
        "role": facts.info.get("role"),
        "replicas": number("connected_slaves"),
    }


def _plain(name: str) -> str:
    """`memoryBytes` as people write it: "memory bytes"."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


@store.command()
def stop() -> None:
    """Stop the engine of a local: store now, cleanly.

    It also stops by itself, some seconds after its last user has gone. Processes that still use it start it
    again. `stopped` says whether one was running.

    \b
    Example:
      patauth store stop --store local:./patauth-data
    """
    directory = local_directory(named_settings().store_url)
    if directory is None:
        raise Failure("only a local: store has an engine that patauth runs; stop this one where it runs", 2)
    from ..store.local.engine import LocalEngine

    stopped = LocalEngine(directory).stop()
    if options().json:
        print_json({"stopped": stopped})
    else:
        print_facts([("stopped", "yes" if stopped else "no, none was running")])
