"""Who calls: the way of a request from credentials to a principal, straight down.

credentials (pure) -> one script: record, secret tag or token, expiry, revocation, owner, quota
                   -> for a secret: proof or argon2 -> state -> lastUsed, if a UTC day has passed
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple, NoReturn

from . import audit
from .claims import EXPIRED, Claims
from .credentials import AccessToken, PatCredentials
from .errors import InvalidCredentials, InvalidToken, PatAuthError, RateLimited, StoreUnavailable
from .failures import Failures
from .pat import PersonalAccessToken, use_is_due
from .pepper import NO_PEPPER
from .principal import Method, Principal
from .proofs import Proofs
from .quota import Decision, Quota
from .settings import Settings
from .store.record import PatRecord, SecretSlot, TokenRecord, remembered, unpack, unpack_token
from .store.redis import LIMITED, REFUSED, ROTATED_AWAY, RedisStore, Verdict

_log = logging.getLogger("patauth")


class Admission(NamedTuple):
    """A verified caller, and what is left of the quota that was charged."""

    principal: Principal
    decision: Decision


class Proven(NamedTuple):
    """A PAT whose secret has been checked in full, as it was at `verdict.now`."""

    record: PatRecord
    slot: SecretSlot
    tag: bytes
    verdict: Verdict
    decision: Decision
    deadline: float


class Authenticator:
    """Checks credentials against the store; safe for many threads."""

    def __init__(self, settings: Settings, store: RedisStore, proofs: Proofs, failures: Failures) -> None:
        self._store = store
        self._proofs = proofs
        self._failures = failures
        self._tenant = settings.tenant
        self._requests = settings.request_quota
        self._exchanges = settings.exchange_quota

    def admit(self, credentials: PatCredentials | AccessToken, address: str | None) -> Admission:
        """Verify credentials and charge the request quota.

        Raises `InvalidCredentials`, `InvalidToken`, `RateLimited`, `Overloaded`, `StoreUnavailable`.
        """
        if isinstance(credentials, AccessToken):
            return self._admit_token(credentials, address)
        proven = self.prove(credentials, address)
        self.note_use(proven)
        return Admission(_pat_principal(proven.verdict.pat, credentials.method), proven.decision)

    def _admit_token(self, token: AccessToken, address: str | None) -> Admission:
        store = self._store
        verdict = store.authenticate(
            token.pat_id, token=token.digest, quota=self._requests, deadline=store.deadline()
        )
        if verdict.verdict == REFUSED:
            self._refuse_token(token, address, verdict.now)
        principal = _token_principal(verdict.pat, verdict.token or b"")
        claims, record = token.claims, unpack(verdict.pat)
        if claims is not None and not agree(claims, record.pat, unpack_token(verdict.token or b"")):
            self._refuse_token(token, address, verdict.now)
        if principal.tenant != self._tenant:
            self._refuse_token(token, address, verdict.now)
        return Admission(principal, self._within(verdict, record, exchange=False))

    def prove(self, credentials: PatCredentials, address: str | None, *, exchange: bool = False) -> Proven:
        """Check an id and secret in full; charge the request quota, or with `exchange` that of exchanges.

        What is wrong with a PAT is told only to who holds its secret.
        """
        store = self._store
        pat_id = credentials.pat_id
        deadline = store.deadline()
        tag = store.keyring(deadline).secret_tag(pat_id, credentials.secret)
        quota = self._exchanges if exchange else self._requests
        verdict = store.authenticate(pat_id, tag=tag, quota=quota, exchange=exchange, deadline=deadline)
        if verdict.verdict == REFUSED:
            self._refuse(credentials, address)
        if verdict.verdict == ROTATED_AWAY:
            self._refuse(credentials, address, reason="rotated away")
        record = unpack(verdict.pat)
        if record.pat.tenant != self._tenant:
            self._refuse(credentials, address)
        decision = self._within(verdict, record, exchange)
        slot = self.check_secret(credentials, address, record, tag, verdict.now)
        self._rehash(credentials, slot, deadline)
        return Proven(record, slot, tag, verdict, decision, deadline)

    def check_secret(
        self, credentials: PatCredentials, address: str | None, record: PatRecord, tag: bytes, now: int
    ) -> SecretSlot:
        """The slot of `record` that the secret opens, once its hash and the PAT's state are right."""
        slot = record.slot_of(tag, now)
        if slot is None:
            self._refuse(credentials, address)
        self._check_hash(credentials, address, slot)
        state = record.pat.state_at(now)
        if state != "active":
            audit.record("credentials.refused", patId=credentials.pat_id, reason=state, address=address)
            what = "has expired" if state == "expired" else "is disabled"
            raise InvalidCredentials(f"the personal access token {what}")
        return slot

    def _check_hash(self, credentials: PatCredentials, address: str | None, slot: SecretSlot) -> None:
        if self._proofs.check(bytes.fromhex(credentials.pat_id), credentials.secret, slot.digest):
            return
        if slot.digest.pepper != NO_PEPPER:
            # The tag was right: not the secret is wrong, but the key that a pepper's id stands for.
            raise StoreUnavailable(
                detail=f"pepper: not the key that PAT {credentials.pat_id} was hashed with"
            )
        self._refuse(credentials, address)

    def look(
        self, credentials: PatCredentials, address: str | None, *, living: bool = True
    ) -> PersonalAccessToken:
        """A PAT by its secret, without a use and without any quota but that of failures. As `prove`.

        Not `living`: one that is expired or disabled, too.
        """
        store = self._store
        deadline = store.deadline()
        tag = store.keyring(deadline).secret_tag(credentials.pat_id, credentials.secret)
        now, (data,) = store.records([credentials.pat_id], deadline=deadline)
        record = None if data is None else unpack(data)
        if record is None or record.pat.tenant != self._tenant:
            self._refuse(credentials, address)
        if living:
            self.check_secret(credentials, address, record, tag, now)
        else:
            slot = record.slot_of(tag, now)
            if slot is None:
                self._refuse(credentials, address)
            self._check_hash(credentials, address, slot)
        return record.pat

    def note_use(self, proven: Proven) -> None:
        """Write lastUsed when a UTC day has passed; a failure is logged and costs the request nothing."""
        pat, now = proven.record.pat, proven.verdict.now
        if use_is_due(pat.last_used_ms, now):
            try:
                self._store.touch(pat.id, now, deadline=proven.deadline)
            except PatAuthError as problem:
                _log.warning("lastUsed of PAT %s not written: %s", pat.id, problem.detail or problem)

    def _within(self, verdict: Verdict, record: PatRecord, exchange: bool) -> Decision:
        allowed = verdict.verdict != LIMITED
        backlog, wait = (verdict.micros, 0) if allowed else (0, verdict.micros)
        if exchange:
            decision = Decision(allowed, "exchanges", self._exchanges, backlog, wait)
        else:
            quota: Quota = record.pat.request_quota or self._requests
            decision = Decision(allowed, "requests", quota, backlog, wait)
        if not allowed:
            raise RateLimited(decision.retry_after, decision=decision)
        return decision

    def _rehash(self, credentials: PatCredentials, slot: SecretSlot, deadline: float) -> None:
        """Hash a right secret anew under another profile or pepper; a failure costs the request nothing."""
        if not self._proofs.is_due(slot.digest):
            return
        pat_id = credentials.pat_id
        try:
            digest = self._proofs.renew(bytes.fromhex(pat_id), credentials.secret)
            if digest is not None:
                self._store.rehash(pat_id, slot, replace(slot, digest=digest), deadline=deadline)
        except PatAuthError as problem:
            _log.warning("PAT %s not hashed anew: %s", pat_id, problem.detail or problem)

    def _refuse(self, credentials: PatCredentials, address: str | None, reason: str = "invalid") -> NoReturn:
        """One answer for unknown, wrong and deleted; 429 in its place past the address's failure quota."""
        audit.record("credentials.refused", patId=credentials.pat_id, reason=reason, address=address)
        decision = self._failures.charge(address)
        if decision is not None and not decision.allowed:
            raise RateLimited(decision.retry_after, decision=decision)
        raise InvalidCredentials

    def _refuse_token(self, token: AccessToken, address: str | None, now: int) -> NoReturn:
        audit.record("credentials.refused", patId=token.pat_id, reason="access token", address=address)
        if token.claims is not None and now >= token.claims.expires * 1000:
            raise InvalidToken(EXPIRED)
        raise InvalidToken


def agree(claims: Claims, pat: PersonalAccessToken, token: TokenRecord) -> bool:
    """Whether a signed token claims what its record says, and no more.

    They differ only where somebody else has the private key: the record's word is what counts.
    """
    return (
        claims.subject == pat.owner.id
        and claims.tenant == pat.tenant
        and claims.scope == token.scopes
        and claims.expires == token.expires_ms // 1000
    )


# A record's bytes say all that a principal is made of, and change seldom.


@remembered
def _pat_principal(pat: bytes, method: Method) -> Principal:
    found = unpack(pat).pat
    return Principal(found.owner, frozenset(found.scope), found.id, found.tenant, method, found.expires_ms)


@remembered
def _token_principal(pat: bytes, token: bytes) -> Principal:
    found, access = unpack(pat).pat, unpack_token(token)
    scopes, expires_ms = frozenset(access.scopes), access.expires_ms
    if found.expires_ms is not None:
        expires_ms = min(expires_ms, found.expires_ms)  # the PAT's may have been moved since
    return Principal(found.owner, scopes, found.id, found.tenant, "access_token", expires_ms)
