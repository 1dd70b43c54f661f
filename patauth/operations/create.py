"""Creation of PATs. A PAT has at most its maker's authority, and its secret is shown once."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..errors import Conflict, InvalidRequest, StoreUnavailable
from ..events.events import Facts
from ..model.address import check_networks
from ..model.caller import subject_of
from ..model.expiry import Expiry, require_acknowledged, settle_begin
from ..model.leaks import refuse_credential
from ..model.owner_types import DEFAULT_OWNER_TYPE
from ..model.pat import IssuedPat, Owner, PersonalAccessToken, check_description, check_id, check_name
from ..model.pat_id import PatId
from ..model.quota import Decision, Quota, check_quota
from ..model.scopes import check_known, check_some, known_of
from ..settings import MAX_ACCESS_TOKEN_TTL, MIN_ACCESS_TOKEN_TTL
from ..store.asking import Outcome
from ..store.pats import Room
from ..store.record import PatRecord, SecretSlot
from ..store.store import Store
from .new_secret import issued, mint
from .permissions import Actor
from .writes import recorded, refuse

_ONCE = re.compile(r"[!-~]{1,128}")
_FIRST_GENERATIONS = 2**22  # one of these is the first of a PAT that may come again; 2**24 are allowed
_TRIES = 100  # while the caller's PAT changes; two ids practically never have the same 96 random bits


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPat:
    """The arguments of `create`."""

    owner: Owner | str | None  # an id: the owner as in their other PATs; None: the maker
    name: str | Callable[[str], str]  # or a function that makes the name from the PAT id
    scope: Iterable[str] | None  # None: the maker's own scopes
    expiry: Expiry
    access_token_ttl: int | None = None  # seconds; None: the setting
    request_quota: Quota | str | None = None  # None: the maker's own, or the setting
    never_acknowledged: bool = False  # required for a PAT that never expires
    description: str | None = None
    networks: Iterable[str] | None = None  # where it may be used; empty: everywhere; None: as the maker's
    not_before_ms: int | None = None  # None, and an instant that has come: at once
    once: str | None = None  # 1-128 visible ASCII characters, with which the maker makes one PAT at most


class AlreadyMade(Conflict):
    """The maker has made a PAT with this one-time key before, so nothing was made. `pat_id` is its id.

    The PAT may have been changed or removed since.
    """

    default = "this personal access token was made already, and nothing was made now"

    def __init__(self, pat_id: str) -> None:
        super().__init__()
        self.pat_id = pat_id


@dataclass(frozen=True, slots=True)
class _Checked:
    """The arguments of `create` after the checks that need no store."""

    new: NewPat
    owner: Owner
    is_own: bool  # whether the maker is the owner
    name: str | Callable[[str], str]
    scopes: tuple[str, ...] | None
    quota: Quota | None
    description: str | None
    networks: tuple[str, ...] | None

    def require_right(self, actor: Actor) -> None:
        """Raise `Forbidden` unless the maker may make it."""
        (actor.require_own if self.is_own else actor.require_all)("manage")


def create(actor: Actor, new: NewPat) -> IssuedPat:
    """Make a PAT, with at most its maker's scopes and lifetime.

    Raise `InvalidRequest`, `InvalidScope`, `Conflict` (the name, or too many PATs), `Forbidden` (no right to
    it, or the owner is disabled), `RateLimited` (the create quota), `Overloaded`. `AlreadyMade` comes before
    all of these but a missing right.
    """
    settings, store = actor.settings, actor.store
    owner, is_own = _owner_of(actor, new.owner)
    once_id = None if new.once is None else _once_id(actor, owner, new.once)
    asked = _check(actor, new, owner, is_own)
    tag = store.settle_key().owner_tag(settings.tenant, owner.id)
    pat_id = once_id or PatId.mint(tag)
    _decide(actor, asked, pat_id)  # a refusal costs no hash, and no quota
    actor.require_confirmed()
    _charge(actor)
    secret, slot = mint(actor, pat_id)
    if once_id is not None:
        # Its id may come again if nothing was kept of its removal. Older access tokens stay worthless.
        slot = replace(slot, generation=1 + secrets.randbelow(_FIRST_GENERATIONS))
    for _ in range(_TRIES):
        # This judges the caller again, who may have been revoked while the hash was computed.
        outcome, pat = _write(actor, asked, pat_id, slot)
        if outcome == "made":
            return issued(actor, pat, secret)
        if outcome == "exists":
            _refuse_again(asked, pat_id)
            pat_id = PatId.mint(tag)
            slot = replace(slot, tag=store.keyring.secret_tag(pat_id, secret))
    raise StoreUnavailable(detail="no PAT id came free, or the caller's PAT kept changing")


# -- checks of the arguments ---------------------------------------------------------------------------------


def _check(actor: Actor, new: NewPat, owner: Owner, is_own: bool) -> _Checked:
    """Check everything that needs no store."""
    settings = actor.settings
    if settings.owner_types is not None and owner.type not in settings.owner_types:
        raise InvalidRequest(f"give one of {', '.join(settings.owner_types)}", field="owner type")
    name = new.name if callable(new.name) else check_name(new.name)
    scopes = None if new.scope is None else check_some(new.scope)
    check_known(scopes or (), settings.scopes)
    _check_ttl(new.access_token_ttl)
    description = None if new.description is None else check_description(new.description)
    for what, text in (
        ("owner id", owner.id),
        ("owner name", owner.name),
        ("name", None if callable(name) else name),
        ("description", description),
        ("scope", " ".join(scopes or ())),
    ):
        refuse_credential(text, settings.credential_prefixes, what)
    networks = None if new.networks is None else check_networks(new.networks)
    quota = None if new.request_quota is None else check_quota(new.request_quota)
    return _Checked(new, owner, is_own, name, scopes, quota, description, networks)


def _owner_of(actor: Actor, owner: Owner | str | None) -> tuple[Owner, bool]:
    """Return the owner of the new PAT: the caller, or anyone if the caller has the right to it.

    Return also whether the owner is the caller.
    """
    home = actor.owner
    if owner is None:
        actor.require_own("manage")
        if home is None:
            raise InvalidRequest("give a patauth.Owner", field="owner")
        return home, True
    if isinstance(owner, str):
        owner_id = check_id(owner, "owner id")
        if home is not None and home.id == owner_id:
            actor.require_own("manage")
            return home, True
        actor.require_all("manage")
        return _known_owner(actor, owner_id), False
    actor.require_all("manage")
    return owner, False


def _once_id(actor: Actor, owner: Owner, once: str) -> PatId:
    """Return the id of the PAT that is made with a one-time key. Raise `AlreadyMade`, `InvalidRequest`."""
    if not isinstance(once, str) or not _ONCE.fullmatch(once):
        raise InvalidRequest("give 1 to 128 visible ASCII characters", field="once")
    tenant, ring = actor.settings.tenant, actor.store.keyring
    maker = ("", "") if actor.by is None else (actor.by.tenant, subject_of(actor.by).id)
    pat_id = ring.once_id(ring.owner_tag(tenant, owner.id), tenant, *maker, owner.id, once)
    if actor.store.pats.was_made(pat_id):
        raise AlreadyMade(pat_id)
    return pat_id


def _known_owner(actor: Actor, owner_id: str) -> Owner:
    """Return an owner with the name and type of the owner's PATs.

    An owner without PATs gets the first type that the setting `owner_types` allows.
    """
    pats, settings = actor.store.pats, actor.settings
    tag = actor.store.keyring.owner_tag(settings.tenant, owner_id)
    found = list(actor.store.owners.page(owner_id, tag, 0, 1).entries)
    for record in pats.read(found) if found else ():
        if record is not None:
            return record.pat.owner
    return Owner(owner_id, type=(settings.owner_types or (DEFAULT_OWNER_TYPE,))[0])


def _check_ttl(seconds: int | None) -> None:
    if seconds is None:
        return
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not MIN_ACCESS_TOKEN_TTL <= seconds <= MAX_ACCESS_TOKEN_TTL:
        raise InvalidRequest(
            f"give {MIN_ACCESS_TOKEN_TTL} to {MAX_ACCESS_TOKEN_TTL} whole seconds", field="access_token_ttl"
        )


# -- decision and write --------------------------------------------------------------------------------------


class _Decided(NamedTuple):
    """Holds what may be made now."""

    judged: Actor  # the maker as they stand now
    pat: PersonalAccessToken
    removing: list[bytes]  # what the creation removes: PATs of the owner that have expired


def _refuse_again(asked: _Checked, pat_id: PatId) -> None:
    """Raise `AlreadyMade` for an id that is in use, if it comes from a one-time key."""
    if asked.new.once is not None:
        raise AlreadyMade(pat_id)


def _charge(actor: Actor) -> None:
    """Charge the create quota of the owner that the maker acts for, in any tenant. Never charge the host."""
    if actor.by is None:
        return
    tenant, owner_id, quota = actor.by.tenant, subject_of(actor.by).id, actor.settings.create_quota
    tag = actor.store.keyring.owner_tag(tenant, owner_id)
    charge = actor.store.for_tenant(tenant).owners.charge_creation(owner_id, tag, quota)
    if not charge.allowed:
        refusal = Decision(False, "creations", quota, 0, charge.micros).refusal()
        raise actor.events.limited(refusal, ownerId=owner_id, **actor.facts)


def _room(actor: Actor) -> Room:
    return Room(actor.settings.max_pats_per_owner, actor.settings.max_kept_per_owner)


def _write(
    actor: Actor, asked: _Checked, pat_id: PatId, slot: SecretSlot
) -> tuple[Outcome, PersonalAccessToken]:
    """Decide by the present state what the PAT will be, and write it."""
    judged, pat, removing = _decide(actor, asked, pat_id)
    window = actor.store.pats.window(pat.created_ms, pat_id.tag, judged.credential)
    facts = {"patId": pat.id, "ownerId": pat.owner.id, "name": pat.name, **actor.facts}

    def write() -> Outcome:
        record, room, by = PatRecord(pat, (slot,)), _room(actor), judged.credential
        return actor.store.pats.create(record, room=room, window=window, by=by, removing=removing)

    def facts_of(outcome: Outcome | None) -> list[Facts]:
        return [{"scope": list(pat.scope), **facts}] if outcome in ("made", None) else []

    def undo(store: Store) -> None:
        """Delete the PAT. With a one-time key, another call may have made it, whose secret somebody has."""
        if asked.new.once is not None:
            (found,) = store.pats.read([pat_id])
            if found is None or found.secrets[0].tag != slot.tag:
                return
        store.pats.delete(pat)

    # Nobody will ever see the secret of a PAT that may exist in spite of an error.
    outcome = recorded(actor, "pat.created", write, facts_of, undo)
    refuse(actor, outcome)
    return outcome, pat


def _decide(actor: Actor, asked: _Checked, pat_id: PatId) -> _Decided:
    """Return what may be made by the present state. Raise what the creation would raise; write nothing."""
    settings, new = actor.settings, asked.new
    name = check_name(asked.name(pat_id)) if callable(asked.name) else asked.name
    # Before the maker is judged: `Pats.window` counts from here.
    outcome, now, removing = actor.store.pats.would_create(pat_id, asked.owner.id, name, _room(actor))
    judged = actor.judged()
    asked.require_right(judged)
    limit = judged.limit
    scopes = asked.scopes
    if scopes is None:
        scopes = check_some(known_of(limit.own, settings.scopes))
    limit.require(scopes)
    limit.require_quota(asked.quota)
    networks = limit.networks if asked.networks is None else asked.networks
    limit.require_networks(networks)
    expires_ms = new.expiry.settle(now, created=now, longest=settings.max_lifetime, ceiling=limit.expires_ms)
    require_acknowledged(expires_ms, new.never_acknowledged)
    not_before_ms = settle_begin(new.not_before_ms, now, expires_ms)
    if outcome == "exists":
        _refuse_again(asked, pat_id)
    refuse(actor, outcome)
    pat = PersonalAccessToken(
        id=str(pat_id),
        name=name,
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
        description=asked.description,
        networks=networks,
        not_before_ms=not_before_ms,
        made_by=actor.requester,
        read_ms=now,
    )
    return _Decided(judged, pat, removing)
