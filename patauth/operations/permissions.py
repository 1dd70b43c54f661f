"""Decide who may do what with PATs, and how much of their own authority they can pass on.

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

A read is allowed by what the caller held when the request was verified. A change is judged again (`judged`):
by the credential that was shown and by what its PAT holds now, and once more by the script that writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..crypto.hashing import Hasher
from ..errors import Forbidden, InvalidCredentials, InvalidRequest, InvalidScope, NotFound
from ..events.events import Events
from ..model.address import covers_networks
from ..model.caller import Caller, Credential, Principal, subject_of
from ..model.hooks import Rule
from ..model.pat import Owner, PersonalAccessToken, Requester
from ..model.pat_id import PatId
from ..model.quota import Quota
from ..model.rights import Reach, Verb, allows
from ..model.scopes import covers
from ..settings import Settings
from ..store.asking import Judged
from ..store.record import PatRecord
from ..store.store import Store
from .conditions import is_token_usable, is_usable

_log = logging.getLogger("patauth")


class HoldsMore(Forbidden):
    """A PAT can do more than its caller can pass on."""


class Limit(NamedTuple):
    """The authority that a caller can pass on. `scopes` None: any scopes.

    Not-before is no part of it: that of a caller has come.
    """

    scopes: tuple[frozenset[str], ...] | None  # each of these sets must cover the scopes that are passed on
    expires_ms: int | None  # None: no limit
    catalogue: frozenset[str]
    request_quota: Quota | None = None  # of the caller's own PAT; None: the setting
    most_quota: Quota | None = None  # that they can pass on; None: any
    networks: tuple[str, ...] = ()  # none: everywhere

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

    def require_quota(self, quota: Quota | None) -> None:
        """Raise `InvalidRequest` unless a request quota (None: the setting) is within the limit."""
        most = self.most_quota
        if quota is not None and most is not None and not quota.is_within(most):
            raise InvalidRequest(f"give at most {most}, as you have yourself", field="request_quota")

    def require_networks(self, networks: tuple[str, ...]) -> None:
        """Raise `InvalidRequest` unless networks (none: everywhere) are within the limit."""
        if not covers_networks(self.networks, networks):
            raise InvalidRequest(
                "give networks within those of your own personal access token", field="networks"
            )

    def allows(self, expires_ms: int | None) -> bool:
        """Return whether this expiry is within the limit."""
        return self.expires_ms is None or (expires_ms is not None and expires_ms <= self.expires_ms)


NO_LIMIT = Limit(None, None, frozenset())
_ROTATED_AWAY = "this secret was rotated away and changes nothing any more; send the new one"


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
    limit: Limit = NO_LIMIT  # what the caller can pass on; of a principal, once it is judged
    credential: Judged | None = None  # the principal's, once it is judged: the script that writes judges it
    confirm: Callable[[], None] | None = None  # raises unless a person has just confirmed who they are
    own_alone: bool = False  # PATs of others do not exist for this caller, whatever they may do

    def __post_init__(self) -> None:
        if self.by is not None and self.by.tenant != self.settings.tenant and not self.is_guest:
            raise Forbidden("this belongs to another organisation; use your own")

    def as_host(self) -> Actor:
        """Return the host application as an actor, with the same deadline."""
        return replace(self, by=None)

    @property
    def owner(self) -> Owner | None:
        """The owner that the caller acts for here. None: the caller is the host or a guest."""
        return None if self.by is None or self.by.tenant != self.settings.tenant else subject_of(self.by)

    @property
    def calls_by_access_token(self) -> bool:
        """Whether an access token calls, and not the PAT itself."""
        return isinstance(self.by, Principal) and self.by.method == "access_token"

    @property
    def generation(self) -> int | None:
        """The generation of the secret that the caller has shown, or that their access token came from."""
        credential = self.by.credential if isinstance(self.by, Principal) else None
        return None if credential is None else credential.generation

    @property
    def requester(self) -> Requester | None:
        """Who calls, as a record has it. None: the host."""
        if self.by is None:
            return None
        pat_id = self.by.pat_id if isinstance(self.by, Principal) else None
        home = self.by.tenant
        return Requester(subject_of(self.by).id, pat_id, None if home == self.settings.tenant else home)

    @property
    def facts(self) -> dict[str, str]:
        """The facts of an event that name the caller."""
        if self.by is None:
            return {}
        facts = {"byOwnerId": subject_of(self.by).id}
        if isinstance(self.by, Principal):
            facts["byPatId"] = self.by.pat_id
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

    def may_own(self, verb: Verb) -> bool:
        """Return whether the caller may do this at least with their own PATs."""
        return self._allows("my", verb)

    def require_all(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may do this with all PATs."""
        self._require("all", verb)

    def _require(self, reach: Reach, verb: Verb) -> None:
        if not self._allows(reach, verb):
            right = "read" if verb == "read" else "manage"
            raise Forbidden(f"this needs the right idn:{reach}-personal-access-tokens:{right}")

    @property
    def is_operator(self) -> bool:
        """Whether the caller may change the PATs of all owners. The host may."""
        return self._allows("all", "manage")

    def require_no_more(self, pat: PersonalAccessToken) -> None:
        """Raise `HoldsMore` for a PAT that can do more than the caller can pass on."""
        if not self.limit.covers(pat.scope) or not self.limit.allows(pat.expires_ms):
            raise HoldsMore("this PAT has more scopes or a later expiry than the caller's credentials")
        if not covers_networks(self.limit.networks, pat.networks):
            raise HoldsMore("this PAT may be used from networks that the caller's may not be used from")
        most, usual = self.limit.most_quota, self.settings.request_quota
        # A person has no request quota, and may have a PAT with any: the host has given it.
        if isinstance(self.by, Principal) and most and not (pat.request_quota or usual).is_within(most):
            raise HoldsMore("this PAT has a larger request quota than the caller's")

    def require_confirmed(self) -> None:
        """Call `confirm`, if there is one: a PAT is about to be made, rotated, enabled or widened.

        Its time does not count for the deadline. Raise what it raises.
        """
        if self.confirm is not None:
            with self.store.paused():
                self.confirm()

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
        if self.own_alone:
            return False
        if self._allows("all", verb):
            return True
        return verb == "read" and self._manages(pat.owner.id)

    def _allows(self, reach: Reach, verb: Verb) -> bool:
        """Return whether the caller has a right: of a judged principal, by the PAT's present scopes too."""
        if self.by is None:
            return True
        held = self.limit.scopes or (self.by.scopes,)
        return all(allows(scopes, reach, verb, self._catalogue) for scopes in held)

    def _manages(self, owner_id: str) -> bool:
        by = self.by
        if by is None or self.owner is None or not self._allows("managed", "read"):
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
        (record,) = self.store.pats.read([known])
        return self.visible(verb, record)

    def find_removed(self, pat_id: str) -> PatRecord:
        """Return what is kept of a removed PAT that exists for a caller who wants to read it.

        `require_own` comes first. Raise `NotFound`.
        """
        known = PatId.read(pat_id)
        if known is None:
            raise NotFound
        (record,) = self.store.removed.read([known])
        if record is not None and self.store.removed.lists(record.pat) and self.sees(record.pat, "read"):
            return record
        raise NotFound

    def find_all(self, verb: Verb, pat_ids: Sequence[str]) -> list[PatRecord]:
        """Return PATs of any owners that exist for the caller. Raise `NotFound` with the field `ids[N]`."""
        known = [pat_id for pat_id in map(PatId.read, pat_ids) if pat_id is not None]
        records = self.store.tenant_index.records(known, self.store.pats.now(known[0].tag)) if known else []
        found = dict(zip(known, records, strict=True))
        return [
            self.visible(verb, found.get(PatId(pat_id)), f"ids[{place}]")
            for place, pat_id in enumerate(pat_ids)
        ]

    def visible(self, verb: Verb, record: PatRecord | None, field: str | None = None) -> PatRecord:
        """Return a record that exists for a caller who wants to do this. Raise `NotFound`."""
        if record is not None and self.store.tenant_index.lists(record.pat) and self.sees(record.pat, verb):
            return record
        raise NotFound(field=field)

    # -- judging --------------------------------------------------------------------------------------

    def judged(self, *, previous: bool = False) -> Actor:
        """Return this actor with the caller as they stand now, and with the authority that they can pass on.

        An access token can pass on the scopes that it holds and its PAT still holds. `previous`: the previous
        secret of an overlap will do. Raise `InvalidCredentials` for a credential that has ended, `Forbidden`
        for a previous secret, and `InvalidRequest` for a principal that patauth did not make.
        """
        by = self.by
        if by is None:
            return self
        if not isinstance(by, Principal):
            usual = self.settings.request_quota
            return replace(self, limit=Limit((by.scopes,), None, self._catalogue, None, usual))
        if by.credential is None:
            raise InvalidRequest("give the principal that patauth has returned, and not a copy", field="by")
        record = self._own_record(PatId(by.pat_id), by.credential)
        pat, now = record.pat, record.pat.read_ms
        generation, address = by.credential.generation, by.credential.address
        if pat.tenant != by.tenant or not is_usable(pat, now, address) or not record.passes(generation, now):
            raise InvalidCredentials
        if generation != record.secrets[0].generation and not previous:
            raise Forbidden(_ROTATED_AWAY)
        scopes = (by.scopes, frozenset(pat.scope))
        quota = pat.request_quota
        most = quota or self.settings.request_quota
        limit = Limit(scopes, pat.expires_ms, self._catalogue, quota, most, pat.networks)
        credential = Judged(record.pat_id, generation, by.credential.token, record.version)
        return replace(self, limit=limit, credential=credential)

    def _own_record(self, pat_id: PatId, credential: Credential) -> PatRecord:
        """Return the record of the PAT that calls. Raise `InvalidCredentials` if it or its token is gone."""
        if credential.token is None:
            (record,) = self.store.pats.read([pat_id])
            if record is not None:
                return record
        elif (found := self.store.tokens.read(pat_id, credential.token)) is not None:
            pat, token = found
            if is_token_usable(pat, token, pat.pat.read_ms, credential.address):
                return pat
        raise InvalidCredentials


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
