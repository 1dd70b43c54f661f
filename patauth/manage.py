"""The life of PATs: made, read, listed, removed; owners disabled and revoked. One place for each rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from . import audit, credentials, dates, scope
from .errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidScope,
    NotFound,
    StoreUnavailable,
)
from .hashing import Hasher
from .pat import IssuedPat, Owner, PersonalAccessToken, check_id, check_name, is_gone
from .quota import Quota, parse
from .settings import MAX_ACCESS_TOKEN_TTL, MIN_ACCESS_TOKEN_TTL, Settings
from .store.record import PatRecord, SecretSlot, pack, unpack
from .store.redis import RedisStore
from .store.scripts import NotDurable

_ID_TRIES = 3  # 96 random bits meet another id of the same owner tag practically never


class Manager:
    """The verbs of management; safe for many threads."""

    def __init__(self, settings: Settings, store: RedisStore, hasher: Hasher) -> None:
        self._settings = settings
        self._store = store
        self._hasher = hasher
        self._format = settings.format
        self._retention_ms = settings.retention * 1000

    def create(
        self,
        owner: Owner,
        name: str,
        scopes: tuple[str, ...],
        expiry: timedelta | datetime | None,
        access_token_ttl: int | None,
        request_quota: Quota | str | None,
    ) -> IssuedPat:
        """Make a PAT. Raises `InvalidRequest`, `InvalidScope`, `Conflict`, `Forbidden`, `Overloaded`."""
        settings, store = self._settings, self._store
        if not isinstance(owner, Owner):
            raise InvalidRequest("owner: give a patauth.Owner")
        name = check_name(name)
        scopes = self._grantable(scopes)
        _check_ttl(access_token_ttl)
        quota = _quota(request_quota)
        deadline = store.deadline()
        ring = store.settle_key(deadline)
        now = store.now(deadline)
        expires_ms = self._expiry(expiry, now)
        secret = credentials.mint_secret()
        digest = self._hasher.hash(secret)
        for _ in range(_ID_TRIES):
            pat_id = credentials.mint_pat_id(ring.owner_tag(settings.tenant, owner.id))
            pat = PersonalAccessToken(
                id=pat_id,
                name=name,
                scope=scopes,
                owner=owner,
                tenant=settings.tenant,
                created_ms=now,
                changed_ms=now,
                sequence=1,
                expires_ms=expires_ms,
                access_token_ttl=access_token_ttl,
                request_quota=quota,
                read_ms=now,
            )
            record = PatRecord(pat, (SecretSlot(1, ring.secret_tag(pat_id, secret), digest),))
            outcome = store.create(
                pat_id,
                owner.id,
                name,
                pack(record),
                created_ms=now,
                expires_ms=expires_ms,
                keep_ms=None if expires_ms is None else expires_ms + self._retention_ms - now,
                most=settings.max_pats_per_owner,
                retention_ms=self._retention_ms,
                deadline=store.deadline(),
            )
            if outcome != "exists":
                break
        if outcome == "taken":
            raise Conflict("name: this owner has a PAT of that name already; choose another name")
        if outcome == "full":
            raise Conflict(
                f"this owner has {settings.max_pats_per_owner} PATs already, the most that are allowed;"
                " revoke one first"
            )
        if outcome == "disabled":
            raise Forbidden("this owner is disabled; enable the owner first")
        if outcome != "made":
            raise StoreUnavailable(detail=f"creation answered {outcome!r}")
        audit.record("pat.create", patId=pat_id, ownerId=owner.id, name=name, scope=list(scopes))
        return IssuedPat(pat, self._format.secret_text(secret), self._format.token_text(pat_id, secret))

    def get(self, pat_id: str) -> PersonalAccessToken:
        """One PAT, expired or not, until its retention is over. Raises `NotFound`."""
        if not isinstance(pat_id, str) or not credentials.is_pat_id(pat_id):
            raise NotFound
        found = self._read([pat_id], self._store.deadline())
        if not found:
            raise NotFound
        return found[0]

    def list_of(self, owner_id: str, offset: int, limit: int | None) -> list[PersonalAccessToken]:
        """An owner's PATs by creation, expired ones included until their retention is over."""
        check_id(owner_id, "owner_id")
        whole = isinstance(offset, int) and isinstance(limit, int | None)
        if not whole or offset < 0 or (limit is not None and limit < 0):
            raise InvalidRequest("offset and limit: give 0 or more")
        store = self._store
        deadline = store.deadline()
        tag = store.keyring(deadline).owner_tag(self._settings.tenant, owner_id)
        found = self._read(store.pat_ids_of(owner_id, tag, deadline=deadline), deadline)
        found.sort(key=lambda pat: (pat.created_ms, pat.id))
        return found[offset : None if limit is None else offset + limit]

    def delete(self, pat_id: str) -> None:
        """Remove a PAT; its access tokens end with it. Raises `NotFound`.

        Returns only once that is durable; else `StoreUnavailable`, and it is safe to repeat.
        """
        store = self._store
        try:
            pat = self.get(pat_id)
        except NotFound:
            if isinstance(pat_id, str) and credentials.is_pat_id(pat_id):
                store.confirm_removals(pat_id[:8], store.deadline())
            raise
        deadline = store.deadline()
        store.settle_key(deadline)
        removed = False
        try:
            removed = store.delete(pat.id, pat.owner.id, deadline=deadline)
        except NotDurable as problem:
            removed = problem.answer[0] == 1
            raise
        finally:
            if removed:  # by this call, and not by another at the same moment
                audit.record("pat.delete", patId=pat.id, ownerId=pat.owner.id)

    def set_owner_state(self, owner_id: str, disabled: bool) -> int:
        """Disable or enable an owner: all PATs, and with them all access tokens. How many PATs there are."""
        store, tag, deadline = self._store, *self._owner(owner_id)
        count = store.set_owner_state(owner_id, tag, disabled=disabled, deadline=deadline)
        audit.record("owner.disable" if disabled else "owner.enable", ownerId=owner_id, pats=count)
        return count

    def revoke_owner(self, owner_id: str) -> list[str]:
        """Remove all PATs of an owner; their ids."""
        store, tag, deadline = self._store, *self._owner(owner_id)
        count = 0
        try:
            pat_ids = store.revoke_owner(owner_id, tag, deadline=deadline)
            count = len(pat_ids)
        except NotDurable as problem:
            count = problem.answer[1:].count(1)
            raise
        finally:
            if count:
                audit.record("owner.revoke", ownerId=owner_id, pats=count)
        return pat_ids

    def purge_access_tokens(self) -> Iterator[int]:
        """Remove every access token under `key_prefix`; yields how many went with each piece."""
        store = self._store
        store.settle_key(store.deadline())
        total = 0
        for count in store.purge_access_tokens():
            total += count
            yield count
        audit.record("token.purge", tokens=total)

    def _owner(self, owner_id: str) -> tuple[str, float]:
        check_id(owner_id, "owner_id")
        deadline = self._store.deadline()
        ring = self._store.settle_key(deadline)
        return ring.owner_tag(self._settings.tenant, owner_id), deadline

    def _read(self, pat_ids: list[str], deadline: float) -> list[PersonalAccessToken]:
        if not pat_ids:
            return []
        now, records = self._store.records(pat_ids, deadline=deadline)
        found = [replace(unpack(data).pat, read_ms=now) for data in records if data is not None]
        tenant, retention = self._settings.tenant, self._retention_ms
        return [pat for pat in found if pat.tenant == tenant and not is_gone(pat.expires_ms, now, retention)]

    def _grantable(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        granted = scope.check(scopes)
        if not granted:
            raise InvalidScope("scope: give at least one scope")
        catalogue = self._settings.scopes
        if catalogue is not None:
            unknown = [name for name in granted if name not in catalogue and not scope.is_right(name)]
            if unknown:
                raise InvalidScope(f"scope: {unknown[0]} is not in the catalogue (setting scopes)")
        return granted

    def _expiry(self, expiry: timedelta | datetime | None, now: int) -> int | None:
        longest = self._settings.max_lifetime
        if expiry is None:
            if longest is not None:
                raise InvalidRequest(f"expiry: PATs must expire within {longest} seconds here")
            return None
        if isinstance(expiry, timedelta):
            expires_ms = now + expiry // timedelta(milliseconds=1)
        elif isinstance(expiry, datetime):
            expires_ms = dates.to_ms(expiry, "expires_at")
        else:
            raise InvalidRequest("expiry: give a timedelta as expires_in or a datetime as expires_at")
        if expires_ms <= now:
            raise InvalidRequest("expiry: give an instant in the future")
        if expires_ms > dates.LATEST:
            raise InvalidRequest("expiry: the year 9999 is the last that can be given")
        if longest is not None and expires_ms > now + longest * 1000:
            raise InvalidRequest(f"expiry: PATs must expire within {longest} seconds here")
        return expires_ms


def _check_ttl(seconds: int | None) -> None:
    if seconds is None:
        return
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not MIN_ACCESS_TOKEN_TTL <= seconds <= MAX_ACCESS_TOKEN_TTL:
        raise InvalidRequest(
            f"access_token_ttl: give {MIN_ACCESS_TOKEN_TTL} to {MAX_ACCESS_TOKEN_TTL} whole seconds"
        )


def _quota(given: Quota | str | None) -> Quota | None:
    try:
        quota = parse(given) if isinstance(given, str) else given
    except ConfigurationError as problem:
        raise InvalidRequest(f"request_quota: {problem}") from None
    if quota is not None and not isinstance(quota, Quota):
        raise InvalidRequest("request_quota: give a text such as '100/10' or a patauth.Quota")
    return quota
