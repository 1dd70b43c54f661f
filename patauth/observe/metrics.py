"""Metrics of a process, by prometheus-client: what an Authority does, counted and timed.

They are in prometheus-client's default registry, once for all Authorities of the process. Where
`PROMETHEUS_MULTIPROC_DIR` is set before this is imported, the processes that have it share their counts, and
what a process has counted outlives it. No label holds a PAT id, an owner, an address or a path, and each has
a bounded set of values. docs/metrics.md says what each metric means.
"""

from __future__ import annotations

import logging
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any, Literal

from prometheus_client import Counter, Gauge, Histogram

from .._version import __version__
from ..concurrency.forks import after_fork_in_child, hold_over_fork
from ..errors import ConfigurationError
from ..events.events import Facts, Outcome, Type
from ..store.transport.protocol import MemoryFull, ScriptMissing
from .observer import AuthenticationEnd, Connections, End, Observer
from .shared import hold_lock_over_fork, is_shared, prepare

_log = logging.getLogger("patauth")

_STORE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_HASH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SECONDS = tuple(sorted({*_STORE_SECONDS, *_HASH_SECONDS}))  # an authentication asks the store, or hashes too
_CHANGES: dict[Type, str] = {
    "pat.created": "create",
    "pat.updated": "update",
    "pat.rotated": "rotate",
    "pat.revoked": "revoke",
    "pat.disabled": "disable",
    "pat.enabled": "enable",
    "owner.disabled": "disable_owner",
    "owner.enabled": "enable_owner",
    "owner.revoked": "revoke_owner",
}
_QUOTAS = ("requests", "exchanges", "failures", "creations", "persons", "tokens")

_AUTHENTICATIONS = Counter(
    "patauth_authentications", "Credentials that were checked.", ["method", "outcome", "reason"]
)
_AUTHENTICATION_SECONDS = Histogram(
    "patauth_authentication_duration_seconds",
    "How long such a check took, with the store and a hash.",
    buckets=_SECONDS,
)
_STORE_OPERATION_SECONDS = Histogram(
    "patauth_store_operation_duration_seconds",
    "How long a call of the store took, with the wait for a connection.",
    ["operation", "outcome"],
    buckets=_STORE_SECONDS,
)
_CONNECTIONS = Gauge(
    "patauth_store_connections", "Connections to the store.", ["state"], multiprocess_mode="livesum"
)
_HASH_SECONDS_TAKEN = Histogram(
    "patauth_hash_duration_seconds",
    "How long an argon2 hash took, with the wait for a slot.",
    buckets=_HASH_SECONDS,
)
_HASH_WAITERS = Gauge(
    "patauth_hash_waiters", "Threads that wait for a slot to hash.", multiprocess_mode="livesum"
)
_HASH_REJECTED = Counter("patauth_hash_rejected", "Callers who got no hash, because too many wait.")
_PROOF_LOOKUPS = Counter(
    "patauth_proof_cache_lookups", "Secrets that were looked for among those that were hashed.", ["result"]
)
_RATE_LIMITED = Counter("patauth_rate_limited", "Requests over a quota.", ["quota"])
_TOKENS = Counter("patauth_tokens_issued", "Access tokens that were issued.", ["format"])
_PAT_CHANGES = Counter(
    "patauth_pat_changes", "Changes of PATs, or of all PATs of an owner.", ["operation", "outcome"]
)
_EVENTS_DROPPED = Counter("patauth_events_dropped", "Events that a sink could not take or deliver.", ["sink"])
_BUILD = Gauge("patauth_build_info", "The version of patauth.", ["version"], multiprocess_mode="livemax")


class Metrics(Observer):
    """Counts and times what an Authority does. Safe for many threads and after a fork."""

    name = "metrics"

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], Any] = {}  # counters by method and reason
        self._timed: dict[tuple[str, str], Any] = {}  # histograms by operation and outcome
        self._lock = Lock()
        self._connections = (0, 0)  # in use and idle, as the gauges have them
        # A series that begins at 0 shows its first increase.
        for method in ("basic", "pat", "access_token"):
            _AUTHENTICATIONS.labels(method, "accepted", "")
            for reason in ("reused", "store_unavailable"):  # alerts wait for these
                _AUTHENTICATIONS.labels(method, "refused", reason)
        for result in ("hit", "miss"):
            _PROOF_LOOKUPS.labels(result)
        for quota in _QUOTAS:
            _RATE_LIMITED.labels(quota)
        for form in ("opaque", "jwt"):
            _TOKENS.labels(form)
        for operation in _CHANGES.values():
            _PAT_CHANGES.labels(operation, "done")
        self._in_use, self._idle = _CONNECTIONS.labels("in_use"), _CONNECTIONS.labels("idle")
        _BUILD.labels(__version__).set(1)
        if is_shared():
            # Not both locks: a thread that holds ours may wait for the other one.
            hold_lock_over_fork()
        else:
            hold_over_fork(self._lock)
        after_fork_in_child(self._after_fork)

    def _after_fork(self) -> None:
        had_in_use, had_idle = self._connections
        self._connections = (0, 0)  # a fork begins without connections
        try:
            if is_shared():
                self._lock = Lock()  # another thread of the parent may have held it
                prepare()  # the gauges of a process are its own there
            else:
                self._in_use.dec(had_in_use)
                self._idle.dec(had_idle)
        except (OSError, ConfigurationError) as problem:
            self.is_on = False
            _log.warning("metrics: this process counts nothing: %s", problem)

    def authentication(self) -> AuthenticationEnd:
        """Begin to time an authentication."""
        return partial(self._authenticated, perf_counter())

    def _authenticated(self, began: float, method: str, reason: str, _: str) -> None:
        took = perf_counter() - began
        counter = self._counted.get((method, reason))
        if counter is None:
            outcome = "refused" if reason else "accepted"
            counter = self._counted[method, reason] = _AUTHENTICATIONS.labels(method, outcome, reason)
        counter.inc()
        _AUTHENTICATION_SECONDS.observe(took)

    def store_operation(self, command: str, script: str) -> End:
        """Begin to time a call of the store."""
        return partial(self._asked, perf_counter(), script or command.lower())

    def _asked(self, began: float, operation: str, problem: BaseException | None) -> None:
        took = perf_counter() - began
        outcome = "ok" if problem is None else _outcome_of(problem)
        timer = self._timed.get((operation, outcome))
        if timer is None:
            timer = self._timed[operation, outcome] = _STORE_OPERATION_SECONDS.labels(operation, outcome)
        timer.observe(took)

    def connections(self, count: Connections) -> None:
        """Keep the number of connections."""
        with self._lock:  # so that no count is written after a later one
            in_use, idle = now = count()
            had_in_use, had_idle = before = self._connections
            if now == before:
                return
            # Other Authorities of the process count in the same gauges.
            self._in_use.inc(in_use - had_in_use)
            self._idle.inc(idle - had_idle)
            self._connections = now

    def hash(self) -> End:
        """Begin to time a hash."""
        return partial(self._hashed, perf_counter())

    def _hashed(self, began: float, problem: BaseException | None) -> None:
        if problem is None:
            _HASH_SECONDS_TAKEN.observe(perf_counter() - began)

    def hash_waiters(self, change: int) -> None:
        """Count a thread that waits for a slot, or waits no more."""
        _HASH_WAITERS.inc(change)

    def hash_rejected(self) -> None:
        """Count somebody who got no hash."""
        _HASH_REJECTED.inc()

    def proof_lookup(self, result: Literal["hit", "miss"]) -> None:
        """Count a secret that was looked for."""
        _PROOF_LOOKUPS.labels(result).inc()

    def event(self, kind: Type, outcome: Outcome, facts: Facts) -> None:
        """Count a change, a token or a refusal by a quota."""
        if kind in _CHANGES:
            _PAT_CHANGES.labels(_CHANGES[kind], outcome).inc()
        elif kind == "token.issued":
            _TOKENS.labels(facts["format"]).inc()
        elif kind == "quota.exceeded":
            _RATE_LIMITED.labels(facts["quota"]).inc()

    def event_dropped(self, sink: str, count: int) -> None:
        """Count what a sink has dropped."""
        _EVENTS_DROPPED.labels(sink).inc(count)


def _outcome_of(problem: BaseException) -> str:
    """Return how a call of the store ended that raised."""
    if isinstance(problem, ScriptMissing):  # its text is sent next
        return "script_missing"
    return "memory_full" if isinstance(problem, MemoryFull) else "unavailable"
