"""Judge what the store's verdict leaves to the operations: conditions that no script can read, and limits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..errors import InvalidCredentials, RateLimited, StoreUnavailable
from ..events.events import Events
from ..model.address import Address, is_within
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from ..model.quota import Decision, Quota
from ..settings import Settings
from ..store.record import PatRecord, unpack
from ..store.transport.protocol import MemoryFull
from ..store.verdicts import CONDITIONAL, LIMITED, Use, Verdict
from .conditions import meets_conditions, require_usable

_TRIES = 5  # while a PAT changes after it was judged
_MOST_MET = 10_000  # PATs with conditions that a process remembers


class Ask(Protocol):
    """Asks the store about a credential. `ending`: charge nothing."""

    def __call__(self, judged: bytes, *, ending: bool) -> Verdict:
        """Return the verdict. `judged` is the version of the record that was judged; empty: none was."""


class Met(NamedTuple):
    """The version of a record whose not-before has come, and the networks in it."""

    version: bytes
    networks: tuple[str, ...]


class Judge:
    """Judges the verdicts on secrets and on access tokens. Safe for many threads."""

    def __init__(self, settings: Settings, events: Events) -> None:
        self._events = events
        self._requests = settings.request_quota
        self._exchanges = settings.exchange_quota
        self._warning_ms = 1000 * settings.expiry_warning
        # PATs with conditions that were met, so that the next request tells the store at once. A plain dict,
        # so that requests of other PATs pay for no lock.
        self._met: dict[PatId, Met] = {}

    def _version_met(self, pat_id: PatId, address: Address) -> bytes:
        """Return the version of a record that was judged usable, and is usable from there; else empty."""
        met = self._met.get(pat_id)
        return met.version if met is not None and is_within(address.known, met.networks) else b""

    def _judge(self, pat_id: PatId, verdict: Verdict, address: Address) -> bytes:
        """Return the version of a record if the PAT may be used now and from there; else an empty one."""
        record = unpack(verdict.pat)
        if not meets_conditions(record.pat, verdict.now, address.known):
            return b""
        if len(self._met) >= _MOST_MET:
            self._met.clear()  # each one costs a second round trip, once
        self._met[pat_id] = Met(record.version, record.pat.networks)
        return record.version

    def settle(
        self, pat_id: PatId, address: Address, ask: Ask, verdict: Verdict | None, *, ending: bool
    ) -> tuple[Verdict, bool]:
        """Return the store's verdict on a credential of a PAT, and whether a quota was charged.

        `ask` gets the version of a judged record, and asks the store. `verdict` is the store's last answer;
        None: it was not asked yet. If the result is CONDITIONAL, the conditions are not met. Raise
        `StoreUnavailable`.
        """
        is_charged, judged = True, self._version_met(pat_id, address)
        for _ in range(_TRIES):
            try:
                verdict = verdict or ask(judged, ending=False)
            except MemoryFull:
                if not ending:
                    raise
                verdict, is_charged = ask(judged, ending=True), False
            if verdict.verdict != CONDITIONAL:
                return verdict, is_charged
            judged = self._judge(pat_id, verdict, address)
            if not judged:
                return verdict, is_charged
            verdict = None
        raise StoreUnavailable(detail=f"PAT {pat_id} kept changing")

    def require_usable(self, pat: PersonalAccessToken, now: int, address: Address) -> None:
        """Raise `InvalidCredentials`, as `conditions.require_usable` does. Emit its event."""
        try:
            require_usable(pat, now, address.known)
        except InvalidCredentials as refusal:
            self._events.refused(refusal.state or "invalid", address.charged, pat.id, pat.owner.id)
            raise

    def request_quota(self, record: PatRecord) -> Quota:
        """Return the quota that the requests of a PAT are charged to."""
        return record.pat.request_quota or self._requests

    def within(self, verdict: Verdict, record: PatRecord, address: Address, use: Use = "request") -> Decision:
        """Return the decision of the quota of `use`. Raise `RateLimited`."""
        name, quota = ("exchanges", self._exchanges) if use == "exchange" else ("requests", None)
        quota = quota or self.request_quota(record)
        if verdict.verdict == LIMITED:
            raise self.over(verdict, record, name, quota, address)
        return Decision(True, name, quota, verdict.micros, 0)

    def over(
        self, verdict: Verdict, record: PatRecord, name: str, quota: Quota, address: Address
    ) -> RateLimited:
        """Return the refusal of a request that is over a quota. Emit its event."""
        refusal, pat = Decision(False, name, quota, 0, verdict.micros).refusal(), record.pat
        return self._events.limited(refusal, patId=pat.id, ownerId=pat.owner.id, address=address.charged)

    def to_warn_of(self, ends_ms: int | None, now: int) -> int | None:
        """Return when a secret expires (ms), if that is within `expiry_warning`."""
        return None if ends_ms is None or ends_ms - now > self._warning_ms else ends_ms
