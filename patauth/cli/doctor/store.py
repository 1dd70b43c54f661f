"""What `patauth doctor` finds when it looks for the store: whether it answers, and what its server says."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ...authority import Authority
from ...errors import ConfigurationError, StoreUnavailable
from ...settings import Settings
from ...store.url import StoreUrl
from ..context import is_new_directory, unobserved, warnings_as_messages
from .events import judge_events
from .finding import Finding, ok, problem, warning
from .folder import judge_folder
from .server import judge_servers

if TYPE_CHECKING:
    from ...store.server_facts import ServerFacts


class StoreReport(NamedTuple):
    """`facts` is None if the server was not asked. Of a cluster, they are those of the store key's node."""

    findings: list[Finding]
    facts: ServerFacts | None
    reachable: bool


def judge_store(settings: Settings) -> StoreReport:
    """Examine the store. A `local:` store that does not exist yet is not created."""
    if StoreUrl.read(settings.store_url).engine == "memory":
        text = "The store is memory:, which ends with the process that uses it."
        remedy = "Name a store that lasts, for example local:./patauth-data."
        return StoreReport([warning("store", text, remedy)], None, True)
    directory = StoreUrl.read(settings.store_url).directory
    findings = [] if directory is None else list(judge_folder(directory))
    if is_new_directory(settings.store_url):
        return StoreReport(findings, None, not any(finding.level == "problem" for finding in findings))

    from ...store.server_facts import read_nodes  # imports redis, which takes 80 ms

    # A server that cannot wait for its disk is judged by its facts, and not refused.
    asking = replace(settings, durability=None) if settings.durability == "disk" else settings
    with warnings_as_messages():
        authority = unobserved(asking)
    with authority:
        reached = _reach(authority)
        findings.append(reached)
        reachable = reached.level == "ok"
        if reachable:
            findings += judge_events(authority.operations)
        try:
            nodes = read_nodes(settings)  # also if the store fails: then it matters which node does
        except (StoreUnavailable, ConfigurationError) as trouble:
            return StoreReport([*findings, *([_unreachable(trouble)] if reachable else [])], None, False)
    findings += judge_servers(nodes, settings)
    facts = next((node for node in nodes if node.store_key is not None), nodes[0])
    return StoreReport(findings, facts, reachable)


def _reach(authority: Authority) -> Finding:
    try:
        authority.ping()  # starts a local: engine and connects, which is not measured
        began = time.perf_counter()
        authority.ping()
        milliseconds = 1000 * (time.perf_counter() - began)
    except (StoreUnavailable, ConfigurationError) as trouble:
        return _unreachable(trouble)
    return ok("store", f"The store answers in {milliseconds:.1f} ms, and its key is right.")


def _unreachable(trouble: StoreUnavailable | ConfigurationError) -> Finding:
    text = f"{trouble}{f' ({trouble.detail})' if trouble.detail else ''}."
    remedy = "Check that the server runs, and that store_url, its password and secret_key are right."
    return problem("store", text, remedy)
