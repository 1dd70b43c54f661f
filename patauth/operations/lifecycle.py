"""The life of PATs: made, looked at, removed; owners disabled and revoked. One place for each rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from .. import events
from ..crypto.hashing import Digest, Hasher
from ..errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    NotFound,
    StoreUnavailable,
)
from ..model import credentials
from ..model.caller import Principal
from ..model.expiry import Expiry
from ..model.pat import IssuedPat, Owner, PersonalAccessToken, check_id, check_name
from ..model.quota import Quota, parse
from ..model.scopes import check as check_scopes
from ..model.scopes import check_known, known_of
from ..settings import MAX_ACCESS_TOKEN_TTL, MIN_ACCESS_TOKEN_TTL, Settings
from ..store.pats import Outcome
from ..store.record import PatRecord, SecretSlot, pack, unpack
from ..store.scripts import NotDurable
from ..store.store import RedisStore
from ..store.transport.pool import Unanswered
from .permissions import Standing

_ID_TRIES = 3  # 96 random bits meet another id of the same owner tag practically never


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPat:
    """What is asked for when a PAT is to be made."""

    owner: Owner | str | None  # an id alone: as their PATs have it; None: whoever makes it
    name: str | Callable[[str], str]  # or what makes it of the PAT id
    scope: Iterable[str] | None  # None: the maker's own
    expiry: Expiry
    access_token_ttl: int | None = None  # seconds; None: the setting
    request_quota: Quota | str | None = None  # None: the setting
    never_acknowledged: bool = False  # one that never expires needs this


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, as far as it can be checked without the store."""

    new: NewPat
    owner: Owner
    name: str | Callable[[str], str]
    scopes: tuple[str, ...] | None
    quota: Quota | None


class Manager:
    """The verbs of management; safe for many threads."""

    def __init__(self, settings: Settings, store: RedisStore, hasher: Hasher) -> None:
        self._settings = settings
        self._store = store
        self._hasher = hasher
        self._format = settings.format
        self._retention_ms = settings.retention * 1000

    def create(self, standing: Standing, new: NewPat) -> IssuedPat:
        """Make a PAT, with at most its maker's scopes and lifetime.

        Raises `InvalidRequest`, `InvalidScope`, `Conflict`, `Forbidden`, `Overloaded`.
        """
        settings, store = self._settings, standing.store
        asked = self._read(standing, new)
        tag = store.settle_key(store.deadline()).owner_tag(settings.tenant, asked.owner.id)
        pat_id = credentials.mint_pat_id(tag)
        self._write(standing, asked, pat_id, None)  # a refusal costs no hash
        secret = credentials.mint_secret()
        started = time.monotonic()
        digest = self._hasher.hash(secret)
        store.pause(time.monotonic() - started)
        for _ in range(_ID_TRIES):
            # Judged anew: whoever asks may have been revoked while the hash was computed.
            pat = self._write(standing, asked, pat_id, (secret, digest))
            if pat is not None:
                break
            pat_id = credentials.mint_pat_id(tag)
        else:
            raise StoreUnavailable(detail="no PAT id came free")
        facts = {"patId": pat.id, "ownerId": pat.owner.id, "name": pat.name, **standing.facts}
        events.record("pat.create", scope=list(pat.scope), **facts)
        return IssuedPat(pat, self._format.secret_text(secret), self._format.token_text(pat.id, secret))

    def _read(self, standing: Standing, new: NewPat) -> _Asked:
        """Who may ask for whom, and all that can be told of it without the store."""
        settings = self._settings
        owner = self._owner_of(standing, new.owner)
        if settings.owner_types is not None and owner.type not in settings.owner_types:
            raise InvalidRequest(f"give one of {', '.join(settings.owner_types)}", field="owner type")
        name = new.name if callable(new.name) else check_name(new.name)
        scopes = None if new.scope is None else _checked_scopes(new.scope, settings.scopes)
        _check_ttl(new.access_token_ttl)
        return _Asked(new, owner, name, scopes, _quota(new.request_quota))

    def _owner_of(self, standing: Standing, owner: Owner | str | None) -> Owner:
        """Whom a PAT is to be made for: the caller, or with the right to it, anyone."""
        home = standing.owner
        if owner is None:
            standing.require_own("manage")
            if home is None:
                raise InvalidRequest("give a patauth.Owner", field="owner")
            return home
        if isinstance(owner, str):
            owner_id = check_id(owner, "owner id")
            if home is not None and home.id == owner_id:
                standing.require_own("manage")
                return home
            standing.require_all("manage")
            return self._known_owner(standing, owner_id)
        if not isinstance(owner, Owner):
            raise InvalidRequest("give a patauth.Owner", field="owner")
        standing.require_all("manage")
        return owner

    def _known_owner(self, standing: Standing, owner_id: str) -> Owner:
        """Name and type as the owner's PATs have them; of a new one, the first type that may have any."""
        store, settings = standing.store, self._settings
        deadline = store.deadline()
        tag = store.keyring(deadline).owner_tag(settings.tenant, owner_id)
        pat_ids = store.pat_ids_of(owner_id, tag, deadline=deadline)[:1]
        for data in store.records(pat_ids, deadline=deadline)[1] if pat_ids else ():
            if data is not None:
                return unpack(data).pat.owner
        return Owner(owner_id, type=(settings.owner_types or ("IDENTITY",))[0])

    def _write(
        self, standing: Standing, asked: _Asked, pat_id: str, secret: tuple[bytes, Digest] | None
    ) -> PersonalAccessToken | None:
        """Judge what is asked for as things stand now, and write it; without a secret, only judge.

        None: the id exists already.
        """
        settings, store = self._settings, standing.store
        deadline = store.deadline()
        most = standing.limit(deadline)
        new, owner = asked.new, asked.owner
        scopes = asked.scopes
        if scopes is None:
            scopes = _checked_scopes(known_of(most.own, settings.scopes), None)
        most.require(scopes)
        now = store.now(deadline)
        latest = store.latest(now, deadline)
        longest, ceiling = settings.max_lifetime, most.expires_ms
        expires_ms = new.expiry.settle(now, created=now, longest=longest, ceiling=ceiling)
        if expires_ms is None and not new.never_acknowledged:
            raise InvalidRequest(
                "a personal access token that never expires needs this true", field="never_acknowledged"
            )
        pat = PersonalAccessToken(
            id=pat_id,
            name=check_name(asked.name(pat_id)) if callable(asked.name) else asked.name,
            scope=scopes,
            owner=owner,
            tenant=settings.tenant,
            created_ms=now,
            changed_ms=now,
            sequence=1,
            expires_ms=expires_ms,
            access_token_ttl=new.access_token_ttl,
            request_quota=most.request_quota if asked.quota is None else asked.quota,
            never_acknowledged=new.never_acknowledged,
            read_ms=now,
        )
        record = b""
        if secret is not None:
            tag = store.keyring(deadline).secret_tag(pat_id, secret[0])
            record = pack(PatRecord(pat, (SecretSlot(1, tag, secret[1]),)))
        try:
            outcome = store.create(
                pat_id,
                owner.id,
                pat.name,
                record,
                created_ms=now,
                expires_ms=expires_ms,
                keep_ms=None if expires_ms is None else expires_ms + self._retention_ms - now,
                most=settings.max_pats_per_owner,
                retention_ms=self._retention_ms,
                latest=latest,
                maker=standing.pat_id,
                deadline=deadline,
            )
        except Unanswered:
            if secret is not None:
                facts = {"patId": pat_id, "ownerId": owner.id, **standing.facts}
                events.record("pat.create", outcome="unknown", **facts)
            raise
        if outcome == "full":
            raise Conflict(
                f"this owner has {settings.max_pats_per_owner} PATs already, the most that are allowed;"
                " revoke one first"
            )
        refuse(outcome)
        return pat if outcome == "made" else None

    def get(self, standing: Standing, pat_id: str) -> PersonalAccessToken:
        """One PAT, expired or not, until its retention is over. Raises `NotFound`, `Forbidden`."""
        standing.require_own("read")
        return standing.find("read", pat_id, standing.store.deadline())

    def get_presented(self, standing: Standing) -> PersonalAccessToken:
        """The PAT that calls. It needs no right for that. Raises `NotFound` where no PAT does."""
        return self._host(standing).find("read", _presented(standing), standing.store.deadline())

    def delete(self, standing: Standing, pat_id: str) -> None:
        """Remove a PAT; its access tokens end with it. Raises `NotFound`, `Forbidden`.

        Returns only once that is durable; else `StoreUnavailable`, and it is safe to repeat.
        """
        standing.require_own("delete")
        self._delete(standing, standing, pat_id)

    def delete_presented(self, standing: Standing) -> None:
        """Remove the PAT that calls: whoever finds a secret can end it, without any right. As `delete`."""
        self._delete(standing, self._host(standing), _presented(standing))

    def delete_found(self, caller: Standing, pat_id: str) -> None:
        """Remove a PAT whose secret was shown, on behalf of a caller. As `delete`."""
        self._delete(caller, self._host(caller), pat_id)

    def _delete(self, caller: Standing, standing: Standing, pat_id: str) -> None:
        store = standing.store
        deadline = store.deadline()
        try:
            pat = standing.find("delete", pat_id, deadline)
        except NotFound:
            if isinstance(pat_id, str) and credentials.is_pat_id(pat_id):
                store.confirm_removals(pat_id[:8], deadline)
            raise
        store.settle_key(deadline)
        facts = {"patId": pat.id, "ownerId": pat.owner.id, **caller.facts}
        removed = False
        try:
            removed = store.delete(pat.id, pat.owner.id, deadline=deadline)
        except NotDurable as problem:
            removed = problem.answer[0] == 1
            raise
        except Unanswered:
            events.record("pat.delete", outcome="unknown", **facts)
            raise
        finally:
            if removed:  # by this call, and not by another at the same moment
                events.record("pat.delete", **facts)

    def set_owner_state(self, owner_id: str, disabled: bool) -> int:
        """Disable or enable an owner: all PATs, and with them all access tokens. How many PATs there are."""
        store, tag, deadline = self._store, *self._owner(owner_id)
        event = "owner.disable" if disabled else "owner.enable"
        try:
            count = store.set_owner_state(owner_id, tag, disabled=disabled, deadline=deadline)
        except (NotDurable, Unanswered):
            events.record(event, ownerId=owner_id, outcome="unknown")
            raise
        events.record(event, ownerId=owner_id, pats=count)
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
        except Unanswered:
            events.record("owner.revoke", ownerId=owner_id, outcome="unknown")
            raise
        finally:
            if count:
                events.record("owner.revoke", ownerId=owner_id, pats=count)
        return pat_ids

    def purge_access_tokens(self) -> Iterator[int]:
        """Remove every access token under `key_prefix`; yields how many went with each piece."""
        store = self._store
        store.settle_key(store.deadline())
        total = 0
        for count in store.purge_access_tokens():
            total += count
            yield count
        events.record("token.purge", tokens=total)

    def _owner(self, owner_id: str) -> tuple[str, float]:
        check_id(owner_id, "owner_id")
        deadline = self._store.deadline()
        ring = self._store.settle_key(deadline)
        return ring.owner_tag(self._settings.tenant, owner_id), deadline

    def _host(self, standing: Standing) -> Standing:
        return Standing(standing.settings, standing.store, None)


def refuse(outcome: Outcome) -> None:
    """Raise what is the fault of who asks, in an outcome of the store."""
    if outcome == "taken":
        raise Conflict("this owner has a PAT of that name already; choose another", field="name")
    if outcome == "disabled":
        raise Forbidden("this owner is disabled; enable the owner first")
    if outcome == "maker gone":
        raise InvalidCredentials


def _presented(standing: Standing) -> str:
    if not isinstance(standing.by, Principal):
        raise NotFound("no personal access token was presented")
    return standing.by.pat_id


def _checked_scopes(scopes: Iterable[str], catalogue: Collection[str] | None) -> tuple[str, ...]:
    checked = check_scopes(scopes)
    if not checked:
        raise InvalidScope("give at least one scope", field="scope")
    check_known(checked, catalogue)
    return checked


def _check_ttl(seconds: int | None) -> None:
    if seconds is None:
        return
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not MIN_ACCESS_TOKEN_TTL <= seconds <= MAX_ACCESS_TOKEN_TTL:
        raise InvalidRequest(
            f"give {MIN_ACCESS_TOKEN_TTL} to {MAX_ACCESS_TOKEN_TTL} whole seconds", field="access_token_ttl"
        )


def _quota(given: Quota | str | None) -> Quota | None:
    try:
        quota = parse(given) if isinstance(given, str) else given
    except ConfigurationError as problem:
        raise InvalidRequest(str(problem), field="request_quota") from None
    if quota is not None and not isinstance(quota, Quota):
        raise InvalidRequest("give a text such as '100/10' or a patauth.Quota", field="request_quota")
    return quota
