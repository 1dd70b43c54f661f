"""Creation: a PAT is made, with at most its maker's authority, and its secret is shown once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ..errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    StoreUnavailable,
)
from ..events import Facts
from ..model import credentials, quota
from ..model.expiry import Expiry
from ..model.pat import IssuedPat, Owner, PersonalAccessToken, check_id, check_name
from ..model.pat_id import PatId
from ..model.quota import Quota
from ..model.scopes import check as check_scopes
from ..model.scopes import check_known, known_of
from ..settings import MAX_ACCESS_TOKEN_TTL, MIN_ACCESS_TOKEN_TTL
from ..store.pats import Outcome
from ..store.record import PatRecord, SecretSlot
from .permissions import Actor
from .recording import recorded

_ID_TRIES = 3  # 96 random bits meet another id of the same owner tag practically never


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPat:
    """What is asked for when a PAT is to be made."""

    owner: Owner | str | None  # an id alone: with the name and type of their other PATs; None: the maker
    name: str | Callable[[str], str]  # or a function that makes it of the PAT id
    scope: Iterable[str] | None  # None: the maker's own
    expiry: Expiry
    access_token_ttl: int | None = None  # seconds; None: the setting
    request_quota: Quota | str | None = None  # None: the setting
    never_acknowledged: bool = False  # a PAT that never expires needs this


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, as far as it can be checked without the store."""

    new: NewPat
    owner: Owner
    name: str | Callable[[str], str]
    scopes: tuple[str, ...] | None
    quota: Quota | None


def create(actor: Actor, new: NewPat) -> IssuedPat:
    """Make a PAT, with at most its maker's scopes and lifetime.

    Raises `InvalidRequest`, `InvalidScope`, `Conflict` (the name, or too many PATs), `Forbidden` (no right to
    it, or the owner is disabled), `Overloaded`.
    """
    settings, store = actor.settings, actor.store
    asked = _read(actor, new)
    tag = store.settle_key().owner_tag(settings.tenant, asked.owner.id)
    pat_id = PatId.mint(tag)
    _rehearse(actor, asked, pat_id)  # a refusal costs no hash
    secret = credentials.mint_secret()
    slot = hashed(actor, pat_id, secret)
    for _ in range(_ID_TRIES):
        # Judged again: the caller may have been revoked while the hash was computed.
        pat = _write(actor, asked, pat_id, slot)
        if pat is not None:
            form = settings.format
            return IssuedPat(pat, form.secret_text(secret), form.token_text(pat.id, secret))
        pat_id = PatId.mint(tag)
        slot = SecretSlot(slot.generation, store.keyring.secret_tag(pat_id, secret), slot.digest)
    raise StoreUnavailable(detail="no PAT id came free")


def hashed(actor: Actor, pat_id: PatId, secret: bytes, generation: int = 1) -> SecretSlot:
    """Hash a new secret. The time that it takes is not the store's: it puts the deadline off."""
    started = time.monotonic()
    digest = actor.hasher.hash(secret)
    actor.store.deadline.postpone(time.monotonic() - started)
    return SecretSlot(generation, actor.store.keyring.secret_tag(pat_id, secret), digest)


# -- what is asked for ---------------------------------------------------------------------------------------


def _read(actor: Actor, new: NewPat) -> _Asked:
    """Check who asks for whom, and all that can be checked without the store."""
    settings = actor.settings
    owner = _owner_of(actor, new.owner)
    if settings.owner_types is not None and owner.type not in settings.owner_types:
        raise InvalidRequest(f"give one of {', '.join(settings.owner_types)}", field="owner type")
    name = new.name if callable(new.name) else check_name(new.name)
    scopes = None if new.scope is None else checked_scopes(new.scope, settings.scopes)
    _check_ttl(new.access_token_ttl)
    return _Asked(new, owner, name, scopes, _quota(new.request_quota))


def _owner_of(actor: Actor, owner: Owner | str | None) -> Owner:
    """Return whom a PAT is to be made for: the caller, or with the right to it, anyone."""
    home = actor.owner
    if owner is None:
        actor.require_own("manage")
        if home is None:
            raise InvalidRequest("give a patauth.Owner", field="owner")
        return home
    if isinstance(owner, str):
        owner_id = check_id(owner, "owner id")
        if home is not None and home.id == owner_id:
            actor.require_own("manage")
            return home
        actor.require_all("manage")
        return _known_owner(actor, owner_id)
    if not isinstance(owner, Owner):
        raise InvalidRequest("give a patauth.Owner", field="owner")
    actor.require_all("manage")
    return owner


def _known_owner(actor: Actor, owner_id: str) -> Owner:
    """Return an owner with the name and type that their PATs have.

    A new owner gets the first type that may have PATs.
    """
    pats, settings = actor.store.pats, actor.settings
    tag = actor.store.keyring.owner_tag(settings.tenant, owner_id)
    pat_ids = pats.ids_of(owner_id, tag)[:1]
    for record in pats.read(pat_ids) if pat_ids else ():
        if record is not None:
            return record.pat.owner
    return Owner(owner_id, type=(settings.owner_types or ("IDENTITY",))[0])


def checked_scopes(scopes: Iterable[str], catalogue: Collection[str] | None) -> tuple[str, ...]:
    """Return scopes that a PAT can have: at least one, well formed, and known. Raises `InvalidScope`."""
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
        found = quota.parse(given) if isinstance(given, str) else given
    except ConfigurationError as problem:
        raise InvalidRequest(str(problem), field="request_quota") from None
    if found is not None and not isinstance(found, Quota):
        raise InvalidRequest("give a text such as '100/10' or a patauth.Quota", field="request_quota")
    return found


# -- judging and writing -------------------------------------------------------------------------------------


def _rehearse(actor: Actor, asked: _Asked, pat_id: PatId) -> None:
    """Raise what creating the PAT would raise now; write nothing."""
    pat, latest = _judged(actor, asked, pat_id)
    most = actor.settings.max_pats_per_owner
    refuse(actor.store.pats.would_create(pat, most=most, latest=latest, maker=actor.pat_id), most)


def _write(actor: Actor, asked: _Asked, pat_id: PatId, slot: SecretSlot) -> PersonalAccessToken | None:
    """Judge what is asked for as things are now, and write it. Return None if the id exists already."""
    pat, latest = _judged(actor, asked, pat_id)
    most = actor.settings.max_pats_per_owner
    facts = {"patId": pat.id, "ownerId": pat.owner.id, "name": pat.name, **actor.facts}

    def write() -> Outcome:
        record = PatRecord(pat, (slot,))
        return actor.store.pats.create(record, most=most, latest=latest, maker=actor.pat_id)

    def facts_of(outcome: Outcome | None) -> list[Facts]:
        return [{"scope": list(pat.scope), **facts}] if outcome in ("made", None) else []

    outcome = recorded(actor.events, "pat.create", write, facts_of)
    refuse(outcome, most)
    return pat if outcome == "made" else None


def _judged(actor: Actor, asked: _Asked, pat_id: PatId) -> tuple[PersonalAccessToken, int]:
    """Return the PAT as it may be made now, and the latest instant (ms) at which it may be written."""
    settings, pats, new = actor.settings, actor.store.pats, asked.new
    limit = actor.limit()
    scopes = asked.scopes
    if scopes is None:
        scopes = checked_scopes(known_of(limit.own, settings.scopes), None)
    limit.require(scopes)
    now = pats.now()
    latest = pats.latest(now)
    expires_ms = new.expiry.settle(now, created=now, longest=settings.max_lifetime, ceiling=limit.expires_ms)
    if expires_ms is None and not new.never_acknowledged:
        raise InvalidRequest(
            "a personal access token that never expires needs this true", field="never_acknowledged"
        )
    pat = PersonalAccessToken(
        id=str(pat_id),
        name=check_name(asked.name(pat_id)) if callable(asked.name) else asked.name,
        scope=scopes,
        owner=asked.owner,
        tenant=settings.tenant,
        created_ms=now,
        changed_ms=now,
        sequence=1,
        expires_ms=expires_ms,
        access_token_ttl=new.access_token_ttl,
        request_quota=limit.request_quota if asked.quota is None else asked.quota,
        never_acknowledged=new.never_acknowledged,
        read_ms=now,
    )
    return pat, latest


def refuse(outcome: Outcome, most: int | None = None) -> None:
    """Raise what is the caller's fault in an outcome. `most`: how many PATs an owner may have."""
    if outcome == "full":
        raise Conflict(f"this owner has {most} PATs already, the most that are allowed; revoke one first")
    if outcome == "taken":
        raise Conflict("this owner has a PAT of that name already; choose another", field="name")
    if outcome == "disabled":
        raise Forbidden("this owner is disabled; enable the owner first")
    if outcome == "maker gone":
        raise InvalidCredentials
