"""Permissions: who may do what with PATs, and how much of their own authority they can pass on.

`by=None` is the host application itself. It may do everything, and nothing limits what it makes.

    call                              right that it needs
    list, get one's own               my:read
    list, get of people one manages   managed:read, if the setting `manages` says so
    list, get anyone's, or all        all:read
    create, patch, rotate one's own   my:manage
    the same for anyone; bulk         all:manage
    delete one's own / anyone's       my:manage, or sp:scopes:all / all:manage

A caller who has no right even to their own PATs is refused (403). All other PATs that a caller has no right
to do not exist for them (404).
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
from ..model.pat import Owner, PersonalAccessToken
from ..model.pat_id import PatId
from ..model.quota import Quota
from ..model.rights import Reach, Verb, allows
from ..model.scopes import covers
from ..settings import Rule, Settings
from ..store.record import PatRecord
from ..store.store import Store
from .conditions import is_usable

_log = logging.getLogger("patauth")


class Limit(NamedTuple):
    """The authority that a caller can pass on: scopes and lifetime. `scopes` None: any scopes."""

    scopes: tuple[frozenset[str], ...] | None  # each of these sets must cover the scopes that are passed on
    expires_ms: int | None  # None: no limit
    catalogue: frozenset[str]
    request_quota: Quota | None = None  # of the caller's own PAT; None: the setting

    @property
    def own(self) -> tuple[str, ...]:
        """The scopes that the caller holds and can pass on, in alphabetical order."""
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
    """A caller who acts on the PATs of a tenant, and what an operation needs to serve them.

    All calls of `store` share one deadline. Raise `Forbidden` for a caller of another tenant, unless they
    are a guest.
    """

    settings: Settings
    store: Store
    hasher: Hasher
    events: Events
    by: Caller | None  # None: the host application
    is_guest: bool = False  # a caller of another tenant whom the setting `may_act_in` lets in

    def __post_init__(self) -> None:
        if self.by is not None and self.by.tenant != self.settings.tenant and not self.is_guest:
            raise Forbidden("this belongs to another organisation; use your own")

    def as_host(self) -> Actor:
        """Return the host application as an actor, with the same deadline."""
        return replace(self, by=None, is_guest=False)

    @property
    def owner(self) -> Owner | None:
        """The owner that the caller acts for here. None: the caller is the host or a guest."""
        return None if self.by is None or self.by.tenant != self.settings.tenant else subject_of(self.by)

    @property
    def pat_id(self) -> PatId | None:
        """The id of the PAT that calls; None if the caller is the host or a person."""
        return PatId(self.by.pat_id) if isinstance(self.by, Principal) else None

    @property
    def calls_by_access_token(self) -> bool:
        """Whether an access token calls, and not the PAT itself."""
        return isinstance(self.by, Principal) and self.by.method == "access_token"

    @property
    def facts(self) -> dict[str, str]:
        """The facts of an event that name the caller."""
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
        """Return whether the caller has a scope here. The host has all, a guest has none."""
        if self.by is None:
            return True
        return self.owner is not None and covers(self.by.scopes, (scope,), self._catalogue)

    def owns(self, pat: PersonalAccessToken) -> bool:
        """Return whether the caller owns a PAT. The host owns all, and a guest owns none here."""
        if self.by is None:
            return True
        return self.owner is not None and (pat.owner.id, pat.tenant) == (self.owner.id, self.by.tenant)

    def require_own(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may do this at least with their own PATs."""
        self._require("my", verb)

    def require_all(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may do this with all PATs."""
        self._require("all", verb)

    def _require(self, reach: Reach, verb: Verb) -> None:
        if self.by is not None and not allows(self.by.scopes, reach, verb, self._catalogue):
            right = "read" if verb == "read" else "manage"
            raise Forbidden(f"this needs the right idn:{reach}-personal-access-tokens:{right}")

    def require_of(self, owner_id: str) -> None:
        """Raise `Forbidden` unless the caller may list the PATs of the owner with this id."""
        try:
            self.require_all("read")
        except Forbidden:
            if not self._manages(owner_id):
                raise

    def sees(self, pat: PersonalAccessToken, verb: Verb) -> bool:
        """Return whether a PAT exists for a caller who wants to do this. `require_own` comes first."""
        by = self.by
        if by is None or (self.owner is not None and pat.owner.id == self.owner.id):
            return True
        if allows(by.scopes, "all", verb, self._catalogue):
            return True
        return verb == "read" and self._manages(pat.owner.id)

    def _manages(self, owner_id: str) -> bool:
        by = self.by
        if by is None or self.owner is None or not allows(by.scopes, "managed", "read", self._catalogue):
            return False  # an owner here may have the id of somebody whom a guest manages at home
        return rule_allows(self.settings.manages, by, owner_id, "manages")

    @property
    def _catalogue(self) -> frozenset[str]:
        return frozenset(self.settings.scopes or ())

    # -- finding --------------------------------------------------------------------------------------

    def find(self, verb: Verb, pat_id: str) -> PatRecord:
        """Return a PAT that exists for a caller who wants to do this. `require_own` comes first.

        Raise `NotFound`.
        """
        known = PatId.read(pat_id)
        if known is None:
            raise NotFound
        return self._visible(verb, self.store.pats.read([known])[0])

    def find_all(self, verb: Verb, pat_ids: Sequence[str]) -> list[PatRecord]:
        """Return PATs of any owners that exist for the caller. Raise `NotFound` with the field `ids[N]`."""
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
            pat = record.pat
            kept = self.store.tenant_index.keeps(pat, pat.read_ms)
            if kept and pat.tenant == self.settings.tenant and self.sees(pat, verb):
                return record
        raise NotFound(field=field)

    # -- passing on -----------------------------------------------------------------------------------

    def limit(self) -> Limit:
        """Return the authority that the caller can pass on, by their own PAT as it is now.

        An access token can pass on the scopes that it holds and its PAT still holds. Raise
        `InvalidCredentials` if that PAT is gone, expired or disabled.
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


def rule_allows(rule: Rule | None, by: Caller, subject: str, name: str) -> bool:
    """Return whether a callable of the settings allows something to a caller; only True allows it.

    `subject` is the id of the owner or tenant in question, and `name` the setting. An error is logged, and
    allows nothing.
    """
    if rule is None:
        return False
    try:
        return rule(by, subject) is True
    except Exception as problem:  # its text is not logged, because the host may put anything there
        _log.error("the callable `%s` failed, and gives no right: %s", name, type(problem).__name__)
        return False
