"""Authentication: the path of a request from credentials to a principal.

credentials (pure) -> one script: record, secret tag or token, expiry, revocation, owner, quota
                   -> for a secret: proof or argon2 -> state -> lastUsed, on the first use of a UTC day
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import NamedTuple, NoReturn

from ..crypto.hashing import Digest
from ..crypto.pepper import NO_PEPPER
from ..crypto.proof_cache import ProofCache
from ..errors import (
    InvalidCredentials,
    InvalidToken,
    PatAuthError,
    RateLimited,
    StoreUnavailable,
    expired_token,
)
from ..events.events import Events
from ..model.address import Address, in_detail, is_within
from ..model.caller import Credential, Method, Principal
from ..model.credentials import AccessToken, Claims, PatCredentials
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from ..model.quota import Decision
from ..settings import Settings
from ..store.record import PatRecord, SecretSlot, TokenRecord, remembered, unpack, unpack_token
from ..store.store import Store
from ..store.transport.protocol import MemoryFull
from ..store.verdicts import CONDITIONAL, LIMITED, REFUSED, ROTATED_AWAY, Use, Verdict
from .conditions import is_usable, meets_conditions, require_usable, secret_expiry, token_expiry
from .failures import Failures
from .last_use import LastUse, Proven

_log = logging.getLogger("patauth")

_TRIES = 5  # while a PAT changes after it was judged
_MOST_MET = 10_000  # PATs with conditions that a process remembers

Paused = Callable[[], AbstractContextManager[None]]  # the time of its block does not count for a deadline


class Admission(NamedTuple):
    """A verified caller, the decision of the quota that was charged, and an expiry to warn of."""

    principal: Principal
    decision: Decision | None  # None: nothing was charged, because the store's memory is full
    expires_ms: int | None  # when the PAT's secret expires, if that is within `expiry_warning`


# The constructor of a NamedTuple is written in Python and takes twice as long as these.
_admission = partial(tuple.__new__, Admission)
_decision = partial(tuple.__new__, Decision)


class Met(NamedTuple):
    """The version of a record whose not-before has come, and the networks in it."""

    version: bytes
    networks: tuple[str, ...]

    def version_for(self, address: Address) -> bytes:
        """Return the version, if the PAT may be used from an address; else nothing."""
        return self.version if is_within(address.known, self.networks) else b""


class Attempt:
    """An id and a secret that somebody shows, from an address, and the secret's tag.

    `paused` pauses the deadline while a hash is waited for. `proven` is a digest that the same request has
    checked already.
    """

    def __init__(
        self,
        credentials: PatCredentials,
        address: Address,
        tag: bytes,
        paused: Paused,
        proven: Digest | None = None,
    ) -> None:
        self.credentials = credentials
        self.address = address
        self.tag = tag
        self.proven = proven
        self.has_hashed = False
        self._paused = paused

    def hashing(self) -> AbstractContextManager[None]:
        """Return the context of a wait for a hash, and remember that there was one."""
        self.has_hashed = True
        return self._paused()


class Authenticator:
    """Checks credentials against the store; safe for many threads. `last_use` writes the uses of secrets."""

    def __init__(
        self, settings: Settings, store: Store, proofs: ProofCache, failures: Failures, events: Events
    ) -> None:
        self._store = store
        self._verdicts = store.verdicts(settings.request_quota, settings.exchange_quota)
        self._proofs = proofs
        self._failures = failures
        self._events = events
        self._tenant = settings.tenant
        self._requests = settings.request_quota
        self._exchanges = settings.exchange_quota
        self._detail = settings.address_detail
        self.last_use = LastUse(store, events, settings.address_detail)
        # PATs with conditions that were met, so that the next request tells the store at once. A plain dict,
        # so that requests of other PATs pay for no lock.
        self._met: dict[PatId, Met] = {}
        self._warning_ms = 1000 * settings.expiry_warning

    def admit(
        self, credentials: PatCredentials | AccessToken, address: Address, *, ending: bool = False
    ) -> Admission:
        """Verify credentials, charge the request quota, and return the caller.

        `ending`: the request ends something, so it passes without a charge if the store's memory is full.
        Raise `InvalidCredentials`, `InvalidToken`, `RateLimited`, `Overloaded`, `StoreUnavailable`.
        """
        if isinstance(credentials, PatCredentials):
            proven = self.prove(credentials, address, "request", ending=ending)
            if proven.decision is not None and proven.use_is_due:
                self.last_use.note(proven)
            pat, now, decision = proven.record.pat, proven.verdict.now, proven.decision
            principal = _by_secret(proven.record.packed, credentials.method, proven.slot.generation)
            ends_ms = principal.expires_ms
        else:
            pat_id, at, is_charged = credentials.pat_id, self._store.begin().at, True
            met = self._met.get(pat_id)
            judged = b"" if met is None else met.version_for(address)
            for _ in range(_TRIES):
                try:
                    verdict = self._verdicts.of_token(pat_id, credentials.digest, at, judged)
                except MemoryFull:
                    if not ending:
                        raise
                    verdict = self._verdicts.of_token(pat_id, credentials.digest, at, judged, ending=True)
                    is_charged = False
                if verdict.verdict != CONDITIONAL:
                    break
                judged = self._judge(pat_id, verdict, address)
                if not judged:
                    self._refuse_token(credentials, address, verdict.now)
            else:
                raise _kept_changing(pat_id)
            if verdict.token is None:  # refused
                self._refuse_token(credentials, address, verdict.now)
            principal, record, access, ends_ms = _by_token(verdict.pat, verdict.token, credentials.digest)
            pat, claims = record.pat, credentials.claims
            if (
                principal.tenant != self._tenant
                or not is_usable(pat, verdict.now, address.known)
                or (claims is not None and not agree(claims, pat, access))
            ):
                self._refuse_token(credentials, address, verdict.now)
            now = verdict.now
            decision = self._within(verdict, record, address) if is_charged else None
        if pat.networks:
            principal = _seen_at(principal, address)
        if ends_ms is not None and ends_ms - now > self._warning_ms:  # as `to_warn_of`, without its call
            ends_ms = None
        return _admission((principal, decision, ends_ms))

    def _judge(self, pat_id: PatId, verdict: Verdict, address: Address) -> bytes:
        """Return the version of a record by which a PAT may be used now and from there; else nothing."""
        record = unpack(verdict.pat)
        if not meets_conditions(record.pat, verdict.now, address.known):
            return b""
        if len(self._met) >= _MOST_MET:
            self._met.clear()  # each one costs a second round trip, once
        self._met[pat_id] = Met(record.version, record.pat.networks)
        return record.version

    def to_warn_of(self, proven: Proven) -> int | None:
        """Return when a secret expires (ms), if that is within `expiry_warning`."""
        ends_ms = secret_expiry(proven.record, proven.slot.generation)
        return None if ends_ms is None or ends_ms - proven.verdict.now > self._warning_ms else ends_ms

    def prove(
        self, credentials: PatCredentials, address: Address, use: Use, *, ending: bool = False
    ) -> Proven:
        """Check an id and secret, and charge the quota of `use`. `ending` is that of `admit`.

        Only the holder of a PAT's secret learns what is wrong with the PAT. If the PAT may not be used yet,
        or not from there, the address is charged and not the PAT. Raise `InvalidCredentials`, `RateLimited`,
        `Overloaded`, `StoreUnavailable`.
        """
        store, pat_id = self._store, credentials.pat_id
        deadline = store.begin()
        ring = store.known_keyring or store.for_request(deadline).settle_key()
        tag = ring.secret_tag(pat_id, credentials.secret)
        met = self._met.get(pat_id)
        judged = b"" if met is None else met.version_for(address)
        for _ in range(_TRIES):
            try:
                verdict = self._verdicts.of_secret(pat_id, tag, deadline.at, use, judged)
            except MemoryFull:
                if not ending:
                    raise
                use = "ending"
                verdict = self._verdicts.of_secret(pat_id, tag, deadline.at, use, judged)
            if verdict.verdict != CONDITIONAL:
                break
            judged = self._judge(pat_id, verdict, address)
            if not judged:
                break
        else:
            raise _kept_changing(pat_id)
        if verdict.verdict == REFUSED:
            self._refuse(credentials, address)
        record = unpack(verdict.pat)
        if record.pat.tenant != self._tenant:
            self._refuse(credentials, address)
        if verdict.verdict == ROTATED_AWAY:
            self._refuse_reused(credentials, address, record.pat.owner.id)
        attempt = Attempt(credentials, address, tag, deadline.paused)
        if verdict.verdict == CONDITIONAL:
            self._refuse_unmet(attempt, record, verdict.now)
        decision = None if use == "ending" else self._within(verdict, record, address, use)
        slot = self.check_secret(attempt, record, verdict.now)
        while attempt.has_hashed and use != "exchange":  # lua/issue.lua looks again at the end of an exchange
            # Meanwhile the PAT may have ended, and that may be known.
            (found,) = store.for_request(deadline).pats.read([pat_id])
            if found is None:
                self._refuse(credentials, address)
            record, attempt = found, Attempt(credentials, address, tag, deadline.paused, slot.digest)
            slot = self.check_secret(attempt, record, record.pat.read_ms)
        if self._proofs.is_due(slot.digest):
            with deadline.paused():
                self._rehash(credentials, slot)
        used_from = in_detail(address.known, self._detail)
        return Proven(record, slot, tag, verdict, decision, deadline, used_from)

    def check_secret(self, attempt: Attempt, record: PatRecord, now: int) -> SecretSlot:
        """Return the slot of `record` that the secret matches.

        Raise `InvalidCredentials` unless the hash is right and the PAT may be used at `now` (ms) from the
        address.
        """
        slot = self._check_hash(attempt, record, now)
        try:
            require_usable(record.pat, now, attempt.address.known)
        except InvalidCredentials as refusal:
            pat, charged = record.pat, attempt.address.charged
            self._events.refused(refusal.state or "invalid", charged, pat.id, pat.owner.id)
            raise
        return slot

    def _check_hash(self, attempt: Attempt, record: PatRecord, now: int) -> SecretSlot:
        credentials, address = attempt.credentials, attempt.address
        slot = record.slot_of(attempt.tag, now)
        if slot is None:
            if record.is_rotated_away(attempt.tag, now):
                self._refuse_reused(credentials, address, record.pat.owner.id)
            self._refuse(credentials, address)
        if slot.digest == attempt.proven:
            return slot
        if not self._proofs.check(credentials.pat_id.raw, credentials.secret, slot.digest, attempt.hashing):
            if slot.digest.pepper == NO_PEPPER:
                self._refuse(credentials, address)
            # The tag was right. So the secret is right, and the id of the pepper stands for a wrong key.
            raise StoreUnavailable(
                detail=f"pepper: not the key that PAT {credentials.pat_id} was hashed with"
            )
        return slot

    def look(
        self, store: Store, credentials: PatCredentials, address: Address, *, usable: bool = True
    ) -> tuple[PatRecord, int]:
        """Return the record of a PAT by its secret, and the secret's generation.

        It charges only the failure quota, and does not count as a use.

        `usable`: refuse a PAT that may not be used now, or not from the address. Raise `InvalidCredentials`,
        `RateLimited`, `Overloaded`, `StoreUnavailable`.
        """
        tag = store.keyring.secret_tag(credentials.pat_id, credentials.secret)
        proven: Digest | None = None
        while True:  # once, and again after a hash
            (record,) = store.pats.read([credentials.pat_id])
            if record is None or record.pat.tenant != self._tenant:
                self._refuse(credentials, address)
            attempt = Attempt(credentials, address, tag, store.paused, proven)
            check = self.check_secret if usable else self._check_hash
            slot = check(attempt, record, record.pat.read_ms)
            if not attempt.has_hashed:
                return record, slot.generation
            proven = slot.digest

    def _within(
        self, verdict: Verdict, record: PatRecord, address: Address, use: Use = "request"
    ) -> Decision:
        name, quota = "requests", record.pat.request_quota or self._requests
        if use == "exchange":
            name, quota = "exchanges", self._exchanges
        if verdict.verdict != LIMITED:
            return _decision((True, name, quota, verdict.micros, 0))
        refusal, pat = Decision(False, name, quota, 0, verdict.micros).refusal(), record.pat
        raise self._events.limited(refusal, patId=pat.id, ownerId=pat.owner.id, address=address.charged)

    def _rehash(self, credentials: PatCredentials, slot: SecretSlot) -> None:
        """Hash a right secret with the current profile and pepper. Log a failure, and go on.

        What it writes has a deadline of its own.
        """
        pat_id = credentials.pat_id
        try:
            digest = self._proofs.renew(pat_id.raw, credentials.secret)
            if digest is not None:
                self._store.for_request().pats.rehash(pat_id, slot, replace(slot, digest=digest))
        except PatAuthError as problem:
            _log.warning("PAT %s not hashed again: %s", pat_id, problem.detail or problem)

    # -- refusing -------------------------------------------------------------------------------------

    def _refuse(self, credentials: PatCredentials, address: Address) -> NoReturn:
        """Refuse credentials that are unknown or wrong."""
        refusal, pat_id = self._refusal(address), credentials.pat_id
        if isinstance(refusal, RateLimited):
            raise self._events.limited(refusal, patId=pat_id, address=address.charged)
        self._events.refused("invalid", address.charged, pat_id)
        raise refusal

    def _refuse_unmet(self, attempt: Attempt, record: PatRecord, now: int) -> NoReturn:
        """Refuse a PAT that may not be used yet, or not from there. Only who has its secret is told."""
        try:
            self.check_secret(attempt, record, now)
        except InvalidCredentials as refusal:
            if refusal.state is not None:  # else the address is charged already
                over = self._refusal(attempt.address)
                if isinstance(over, RateLimited):
                    raise over from None
            raise
        raise StoreUnavailable(detail=f"PAT {record.pat.id} is conditional, and its conditions are met")

    def _refuse_reused(self, credentials: PatCredentials, address: Address, owner_id: str) -> NoReturn:
        """Refuse a secret that was rotated away. Only the event tells it from an unknown one."""
        self._events.reused(address.charged, credentials.pat_id, owner_id)
        raise self._refusal(address)

    def _refusal(self, address: Address) -> InvalidCredentials | RateLimited:
        """Return the same error for unknown, wrong, deleted and rotated away; `RateLimited` after many."""
        decision = self._failures.charge(address.charged)
        return InvalidCredentials() if decision is None or decision.allowed else decision.refusal()

    def _refuse_token(self, token: AccessToken, address: Address, now: int) -> NoReturn:
        self._events.refused("access token", address.charged, token.pat_id)
        if token.claims is not None and now >= token.claims.expires * 1000:
            raise expired_token()
        raise InvalidToken


def agree(claims: Claims, pat: PersonalAccessToken, token: TokenRecord) -> bool:
    """Return whether the claims of a signed token are exactly what its record says.

    They differ only if somebody else has the private key. The token is then refused.
    """
    return (
        claims.subject == pat.owner.id
        and claims.tenant == pat.tenant
        and claims.scope == token.scopes
        and claims.expires == token.expires_ms // 1000
    )


def _kept_changing(pat_id: PatId) -> StoreUnavailable:
    return StoreUnavailable(detail=f"PAT {pat_id} kept changing")


def _seen_at(principal: Principal, address: Address) -> Principal:
    """Return a principal who is judged again by this address when they change something."""
    credential = principal.credential
    return replace(principal, credential=credential and replace(credential, address=address.known))


# The bytes of a record determine the principal completely, and they change seldom.


@remembered
def _by_secret(pat: bytes, method: Method, generation: int) -> Principal:
    record = unpack(pat)
    found, expires_ms = record.pat, secret_expiry(record, generation)
    return Principal(
        found.owner, frozenset(found.scope), found.id, found.tenant, method, expires_ms,
        Credential(generation),
    )  # fmt: skip


@remembered
def _by_token(
    pat: bytes, token: bytes, digest: bytes
) -> tuple[Principal, PatRecord, TokenRecord, int | None]:
    record, access = unpack(pat), unpack_token(token)
    found, scopes, expires_ms = record.pat, frozenset(access.scopes), token_expiry(record, access)
    principal = Principal(
        found.owner, scopes, found.id, found.tenant, "access_token", expires_ms,
        Credential(access.generation, digest),
    )  # fmt: skip
    return principal, record, access, secret_expiry(record, access.generation)
