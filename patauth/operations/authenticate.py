"""Authenticate an id and a secret, by the store and by a hash."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NoReturn

import msgspec

from ..crypto.hashing import Digest
from ..crypto.pepper import NO_PEPPER
from ..crypto.proof_cache import ProofCache
from ..errors import InvalidCredentials, PatAuthError, RateLimited, StoreUnavailable
from ..events.events import Events
from ..model.address import Address, in_detail
from ..model.credentials import PatCredentials
from ..model.pat import used
from ..model.quota import Decision
from ..settings import Settings
from ..store.deadline import Deadline
from ..store.record import PatRecord, SecretSlot, unpack
from ..store.store import Store
from ..store.verdicts import CONDITIONAL, REFUSED, ROTATED_AWAY, Use, Verdict, Verdicts
from .failures import Failures
from .judge import Judge
from .last_use import LastUse

_log = logging.getLogger("patauth")


Paused = Callable[[], AbstractContextManager[None]]  # the time of its block does not count for a deadline


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
        """Return the context for a wait for a hash, and remember that there was one."""
        self.has_hashed = True
        return self._paused()


class Proven(msgspec.Struct, frozen=True):
    """A PAT whose secret is proven right, as the PAT was at `verdict.now`."""

    record: PatRecord
    slot: SecretSlot
    tag: bytes
    verdict: Verdict
    decision: Decision | None  # None: nothing was charged
    deadline: Deadline
    used_from: str | None  # what is kept of the client's address

    def __repr__(self) -> str:
        return f"<Proven {self.record.pat.id}>"

    @property
    def use_is_due(self) -> bool:
        """Whether the last use must be written: `patauth.model.pat.used` says when."""
        pat = self.record.pat
        return used(pat, self.verdict.now, self.used_from) is not pat


class Authenticator:
    """Checks secrets against the store; safe for many threads. `last_use` writes the uses of secrets."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        verdicts: Verdicts,
        proofs: ProofCache,
        failures: Failures,
        judge: Judge,
        events: Events,
    ) -> None:
        self._store = store
        self._verdicts = verdicts
        self.proofs = proofs
        self._failures = failures
        self._judge = judge
        self._events = events
        self._tenant = settings.tenant
        self._detail = settings.address_detail
        self.last_use = LastUse(store, events, settings.address_detail)

    def prove(
        self,
        credentials: PatCredentials,
        address: Address,
        use: Use,
        deadline: Deadline | None = None,
        verdict: Verdict | None = None,
        *,
        ending: bool = False,
    ) -> Proven:
        """Check an id and secret, and charge the quota of `use`. `ending` is that of `authenticate`.

        `verdict` is what the store has said of them already, within `deadline`.

        Only the holder of a PAT's secret learns what is wrong with the PAT. If the PAT may not be used yet,
        or not from there, the address is charged and not the PAT. Raise `InvalidCredentials`, `RateLimited`,
        `Overloaded`, `StoreUnavailable`.
        """
        store, pat_id = self._store, credentials.pat_id
        deadline = deadline or store.begin()
        ring = store.known_keyring or store.for_request(deadline).settle_key()
        tag = ring.secret_tag(pat_id, credentials.secret)

        def ask(judged: bytes, *, ending: bool) -> Verdict:
            return self._verdicts.of_secret(pat_id, tag, deadline.at, "ending" if ending else use, judged)

        verdict, is_charged = self._judge.settle(pat_id, address, ask, verdict, ending=ending)
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
        decision = self._judge.within(verdict, record, address, use) if is_charged else None
        slot = self.check_secret(attempt, record, verdict.now)
        while attempt.has_hashed and use != "exchange":  # lua/issue.lua looks again at the end of an exchange
            # Meanwhile the PAT may have ended, and that may be known.
            (found,) = store.for_request(deadline).pats.read([pat_id])
            if found is None:
                self._refuse(credentials, address)
            record, attempt = found, Attempt(credentials, address, tag, deadline.paused, slot.digest)
            slot = self.check_secret(attempt, record, record.pat.read_ms)
        if self.proofs.is_due(slot.digest):
            with deadline.paused():
                self._rehash(credentials, slot)
        used_from = in_detail(address.known, self._detail)
        return Proven(record, slot, tag, verdict, decision, deadline, used_from)

    def proven_until(self, credentials: PatCredentials, slot: SecretSlot) -> float | None:
        """Return until when a proven secret needs no hash, by the proofs' timer; None: it needs one now."""
        if self.proofs.is_due(slot.digest):
            return None
        return self.proofs.believed_until(credentials.pat_id.raw, credentials.secret, slot.digest)

    def check_secret(self, attempt: Attempt, record: PatRecord, now: int) -> SecretSlot:
        """Return the slot of `record` that the secret matches.

        Raise `InvalidCredentials` unless the hash is right and the PAT may be used at `now` (ms) from the
        address.
        """
        slot = self._check_hash(attempt, record, now)
        self._judge.require_usable(record.pat, now, attempt.address)
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
        if not self.proofs.check(credentials.pat_id.raw, credentials.secret, slot.digest, attempt.hashing):
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

    def _rehash(self, credentials: PatCredentials, slot: SecretSlot) -> None:
        """Hash a right secret with the current profile and pepper. Log a failure, and go on.

        What it writes has a deadline of its own.
        """
        pat_id = credentials.pat_id
        try:
            digest = self.proofs.renew(pat_id.raw, credentials.secret)
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
        """Refuse a PAT that may not be used yet, or not from there. Say why only if the secret is right."""
        try:
            self.check_secret(attempt, record, now)
        except InvalidCredentials as refusal:
            if refusal.state is not None:  # else the address is charged already
                over = self._refusal(attempt.address)
                if isinstance(over, RateLimited):
                    pat, charged = record.pat, attempt.address.charged
                    raise self._events.limited(
                        over, patId=pat.id, ownerId=pat.owner.id, address=charged
                    ) from None
            raise
        raise StoreUnavailable(detail=f"PAT {record.pat.id} is conditional, and its conditions are met")

    def _refuse_reused(self, credentials: PatCredentials, address: Address, owner_id: str) -> NoReturn:
        """Refuse a secret that was rotated away. Only the event differs from that of an unknown one."""
        self._events.reused(address.charged, credentials.pat_id, owner_id)
        refusal = self._refusal(address)
        if isinstance(refusal, RateLimited):
            self._events.limited(refusal, patId=credentials.pat_id, ownerId=owner_id, address=address.charged)
        raise refusal

    def _refusal(self, address: Address) -> InvalidCredentials | RateLimited:
        """Return the same error for unknown, wrong, deleted and rotated away; `RateLimited` after many."""
        decision = self._failures.charge(address.charged)
        return InvalidCredentials() if decision is None or decision.allowed else decision.refusal()
