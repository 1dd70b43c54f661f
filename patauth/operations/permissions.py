"""Who may do what with PATs, and how much of their own authority they can pass on.

`by=None` is the host application itself: it may do everything, and nothing limits what it makes.

    call                              right that it needs
    list, get one's own               my:read
    list, get of people one manages   managed:read, if the setting `manages` says so
    list, get anyone's, or all        all:read
    create, patch, rotate one's own   my:manage
    the same for anyone; bulk         all:manage
    delete one's own / anyone's       my:manage, or sp:scopes:all / all:manage

A caller without even the right to their own PATs is refused (403). Beyond that, PATs that a caller may not
touch do not exist for them (404).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..crypto.hashing import Hasher
from ..errors import Forbidden, InvalidCredentials, InvalidScope, NotFound
from ..events import Events
from ..model.caller import Caller, Principal, subject_of
from ..model.pat import Owner, PersonalAccessToken, is_gone
from ..model.pat_id import PatId
from ..model.quota import Quota
from ..model.rights import Verb, allows
from ..model.scopes import covers
from ..settings import Rule, Settings
from ..store.record import PatRecord
from ..store.store import Store
from .conditions import is_usable

_log = logging.getLogger("patauth")


class Limit(NamedTuple):
    """How much authority a caller has to pass on: scopes and lifetime. `scopes` None: any."""

    scopes: tuple[frozenset[str], ...] | None  # each of these sets must cover what is passed on
    expires_ms: int | None  # None: no limit
    catalogue: frozenset[str]
    request_quota: Quota | None = None  # of the caller's own PAT, where it has one of its own

    @property
    def own(self) -> tuple[str, ...]:
        """All scopes that the caller holds and can pass on, in alphabetical order."""
        held = self.scopes[0] if self.scopes else ()
        return tuple(sorted(scope for scope in held if self.covers((scope,))))

    def covers(self, scopes: tuple[str, ...]) -> bool:
        """Return whether these scopes are within the limit."""
        return self.scopes is None or all(covers(held, scopes, self.catalogue) for held in self.scopes)

    def require(self, scopes: tuple[str, ...]) -> None:
        """Raise `InvalidScope` unless these scopes are within the limit."""
        if not self.covers(scopes):
            raise InvalidScope(
                "you cannot pass on scopes that your own credentials do not hold", field="scope"
            )

    def allows(self, expires_ms: int | None) -> bool:
        """Return whether this expiry is within the limit."""
        return self.expires_ms is None or (expires_ms is not None and expires_ms <= self.expires_ms)


NO_LIMIT = Limit(None, None, frozenset())


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts on the PATs of a tenant, and what they act by. `store` has one deadline for all."""

    settings: Settings
    store: Store
    hasher: Hasher
    events: Events
    by: Caller | None  # None: the host application
    is_guest: bool = False  # a caller of another tenant who is let in here

    def __post_init__(self) -> None:
        if self.by is not None and self.by.tenant != self.settings.tenant and not self.is_guest:
            raise Forbidden("this is another organisation's; call yours")

    def as_host(self) -> Actor:
        """Return the host application, acting by the same deadline."""
        return replace(self, by=None, is_guest=False)

    @property
    def owner(self) -> Owner | None:
        """Whom the caller acts for here. None: the host, or a guest from another tenant."""
        return None if self.by is None or self.by.tenant != self.settings.tenant else subject_of(self.by)

    @property
    def pat_id(self) -> PatId | None:
        """The PAT that calls, if a PAT does."""
        return PatId(self.by.pat_id) if isinstance(self.by, Principal) else None

    @property
    def facts(self) -> dict[str, str]:
        """The caller, as events name them."""
        if self.by is None:
            return {}
        facts = {"byOwnerId": subject_of(self.by).id}
        if self.pat_id is not None:
            facts["byPatId"] = self.pat_id
        if self.by.tenant != self.settings.tenant:
            facts |= {"byTenant": self.by.tenant, "tenant": self.settings.tenant}
        return facts

    # -- rights ---------------------------------------------------------------------------------------

    def holds(self, scope: str) -> bool:
        """Return whether the caller has a scope, at home; the host has all."""
        if self.by is None:
            return True
        return self.owner is not None and covers(self.by.scopes, (scope,), self._catalogue)

    def owns(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT is the caller's own; the host owns all, and a guest owns none here."""
        if self.by is None:
            return True
        return self.owner is not None and (pat.owner.id, pat.tenant) == (self.owner.id, self.by.tenant)

    def require_own(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may at least do this to their own PATs."""
        if self.by is not None and not allows(self.by.scopes, "my", verb, self._catalogue):
            raise Forbidden("this needs the right idn:my-personal-access-tokens:" + _spelt(verb))

    def require_all(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may do this to anyone's PATs."""
        if self.by is not None and not allows(self.by.scopes, "all", verb, self._catalogue):
            raise Forbidden("this needs the right idn:all-personal-access-tokens:" + _spelt(verb))

    def require_of(self, owner_id: str) -> None:
        """Raise `Forbidden` unless the caller may list the PATs of this owner, named by id."""
        try:
            self.require_all("read")
        except Forbidden:
            if not self._manages(owner_id):
                raise

    def sees(self, pat: PersonalAccessToken, verb: Verb) -> bool:
        """Return whether this PAT exists for the caller, to do this to it. After `require_own`."""
        by = self.by
        if by is None or (self.owner is not None and pat.owner.id == self.owner.id):
            return True
        if allows(by.scopes, "all", verb, self._catalogue):
            return True
        return verb == "read" and self._manages(pat.owner.id)

    def _manages(self, owner_id: str) -> bool:
        by = self.by
        if by is None or self.owner is None or not allows(by.scopes, "managed", "read", self._catalogue):
            return False  # whom a guest manages at home has only the id in common with somebody here
        return asked(self.settings.manages, by, owner_id, "manages")

    @property
    def _catalogue(self) -> frozenset[str]:
        return frozenset(self.settings.scopes or ())

    # -- finding --------------------------------------------------------------------------------------

    def find(self, verb: Verb, pat_id: str) -> PatRecord:
        """Return a PAT that exists for the caller, to do this to it. After `require_own`.

        Raises `NotFound`.
        """
        known = PatId.read(pat_id)
        if known is None:
            raise NotFound
        return self._visible(verb, self.store.pats.read([known])[0])

    def find_all(self, verb: Verb, pat_ids: Sequence[str]) -> list[PatRecord]:
        """Return PATs of any owners, as `find` does; the field of `NotFound` says which one is missing."""
        known = [pat_id for pat_id in map(PatId.read, pat_ids) if pat_id is not None]
        now = self.store.pats.now()
        records = self.store.tenant_index.records(known, now) if known else []
        found = dict(zip(known, records, strict=True))
        return [
            self._visible(verb, found.get(PatId(pat_id)), f"ids[{place}]")
            for place, pat_id in enumerate(pat_ids)
        ]

    def _visible(self, verb: Verb, record: PatRecord | None, field: str | None = None) -> PatRecord:
        if record is not None:
            pat, settings = record.pat, self.settings
            gone = is_gone(pat.expires_ms, pat.read_ms, settings.retention * 1000)
            if pat.tenant == settings.tenant and not gone and self.sees(pat, verb):
                return record
        raise NotFound(field=field)

    # -- passing on -----------------------------------------------------------------------------------

    def limit(self) -> Limit:
        """Return what the caller can pass on, by their own PAT as it is now.

        An access token can pass on what it holds and its PAT still holds. Raises `InvalidCredentials` when
        that PAT is gone, expired or disabled.
        """
        by = self.by
        if by is None:
            return NO_LIMIT
        if not isinstance(by, Principal):
            return Limit((by.scopes,), None, self._catalogue)
        (record,) = self.store.pats.read([PatId(by.pat_id)])
        pat = None if record is None else record.pat
        if pat is None or pat.tenant != by.tenant or not is_usable(pat, pat.read_ms):
            raise InvalidCredentials
        scopes = (by.scopes, frozenset(pat.scope))
        return Limit(scopes, pat.expires_ms, self._catalogue, pat.request_quota)


def asked(rule: Rule | None, by: Caller, subject: str, name: str) -> bool:
    """Return what a callable of the settings says of a caller and an id: nothing but True is a yes."""
    if rule is None:
        return False
    try:
        return rule(by, subject) is True
    except Exception as problem:  # the host's own; its text may hold anything
        _log.error("the callable `%s` failed, and gives no right: %s", name, type(problem).__name__)
        return False


def _spelt(verb: Verb) -> str:
    return "read" if verb == "read" else "manage"
