"""What a caller may do with PATs: rights, and how much of their own authority they can pass on.

`by=None` is the host application itself: it may do everything, and nothing limits what it makes.

    call                              right that it needs
    list, get one's own               my:read
    list, get of people one manages   managed:read, if the setting `manages` says so
    list, get anyone's, or all        all:read
    create, patch, rotate one's own   my:manage
    the same for anyone; bulk         all:manage
    delete one's own / anyone's       my:manage, or sp:scopes:all / all:manage

Whoever lacks even the right to their own is refused (403); beyond that, PATs that a caller may not touch are
not there for them (404).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..errors import Forbidden, InvalidCredentials, InvalidScope, NotFound
from ..model.caller import Caller, Principal
from ..model.credentials import is_pat_id
from ..model.pat import Owner, PersonalAccessToken, is_gone
from ..model.quota import Quota
from ..model.rights import Verb, allows
from ..model.scopes import covers
from ..settings import Rule, Settings
from ..store.record import unpack
from ..store.store import RedisStore

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
        """Whether these scopes are within the limit."""
        return self.scopes is None or all(covers(held, scopes, self.catalogue) for held in self.scopes)

    def require(self, scopes: tuple[str, ...]) -> None:
        """Raise `InvalidScope` unless these scopes are within the limit."""
        if not self.covers(scopes):
            raise InvalidScope(
                "you cannot pass on scopes that your own credentials do not hold", field="scope"
            )

    def allows(self, expires_ms: int | None) -> bool:
        """Whether this expiry is."""
        return self.expires_ms is None or (expires_ms is not None and expires_ms <= self.expires_ms)


NO_LIMIT = Limit(None, None, frozenset())


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller, and the rules that hold for them."""

    settings: Settings
    store: RedisStore
    by: Caller | None
    guest: Caller | None = None  # the one caller of another tenant who is let in here, and nobody else

    def __post_init__(self) -> None:
        stranger = self.by is not None and self.by.tenant != self.settings.tenant
        if (stranger or self.guest is not None) and self.by != self.guest:
            raise Forbidden("this is another organisation's; call yours")

    @property
    def owner(self) -> Owner | None:
        """Whom the caller acts for here. None: the host, or a guest from another tenant."""
        return None if self.by is None or self.by.tenant != self.settings.tenant else _subject(self.by)

    @property
    def facts(self) -> dict[str, str]:
        """The caller, for the audit trail."""
        if self.by is None:
            return {}
        facts = {"byOwnerId": _subject(self.by).id}
        if isinstance(self.by, Principal):
            facts["byPatId"] = self.by.pat_id
        if self.by.tenant != self.settings.tenant:
            facts |= {"byTenant": self.by.tenant, "tenant": self.settings.tenant}
        return facts

    def holds(self, scope: str) -> bool:
        """Whether the caller has a scope, at home; the host has all."""
        if self.by is None:
            return True
        return self.owner is not None and covers(self.by.scopes, (scope,), self._catalogue)

    def require_own(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may at least do this to their own PATs."""
        if self.by is not None and not allows(self.by.scopes, "my", verb, self._catalogue):
            raise Forbidden("this needs the right idn:my-personal-access-tokens:" + _spelt(verb))

    def require_all(self, verb: Verb) -> None:
        """Raise `Forbidden` unless the caller may do this to anyone's."""
        if self.by is not None and not allows(self.by.scopes, "all", verb, self._catalogue):
            raise Forbidden("this needs the right idn:all-personal-access-tokens:" + _spelt(verb))

    def require_of(self, owner_id: str) -> None:
        """Raise `Forbidden` unless the caller may list the PATs of this owner, named by id."""
        try:
            self.require_all("read")
        except Forbidden:
            if not self._manages(owner_id):
                raise

    def find(self, verb: Verb, pat_id: str, deadline: float) -> PersonalAccessToken:
        """A PAT that is there for the caller, to do this to it. After `require_own`. Raises `NotFound`."""
        if not isinstance(pat_id, str) or not is_pat_id(pat_id):
            raise NotFound
        now, (data,) = self.store.records([pat_id], deadline=deadline)
        return self._found(verb, None if data is None else replace(unpack(data).pat, read_ms=now))

    def _found(
        self, verb: Verb, pat: PersonalAccessToken | None, field: str | None = None
    ) -> PersonalAccessToken:
        settings = self.settings
        if (
            pat is None
            or pat.tenant != settings.tenant
            or is_gone(pat.expires_ms, pat.read_ms, settings.retention * 1000)
            or not self.sees(pat, verb)
        ):
            raise NotFound(field=field)
        return pat

    def find_all(self, verb: Verb, pat_ids: Sequence[str], deadline: float) -> list[PersonalAccessToken]:
        """PATs of any owners, as `find` finds one; the field of `NotFound` says which is not there."""
        valid = [pat_id for pat_id in pat_ids if is_pat_id(pat_id)]
        now, records = self.store.now(deadline), self.store.tenant.records(valid, deadline) if valid else []
        found = dict(zip(valid, records, strict=True))
        return [
            self._found(verb, None if record is None else replace(record.pat, read_ms=now), f"ids[{place}]")
            for place, record in enumerate(found.get(pat_id) for pat_id in pat_ids)
        ]

    def sees(self, pat: PersonalAccessToken, verb: Verb) -> bool:
        """Whether this PAT is there for the caller, to do this to it. After `require_own`."""
        by = self.by
        if by is None or (self.owner is not None and pat.owner.id == self.owner.id):
            return True
        if allows(by.scopes, "all", verb, self._catalogue):
            return True
        return verb == "read" and self._manages(pat.owner.id)

    def limit(self, deadline: float) -> Limit:
        """What the caller can pass on, by their own PAT as it stands now.

        An access token can pass on what it holds and its PAT still holds. Raises `InvalidCredentials` when
        that PAT is gone, expired or disabled.
        """
        by = self.by
        if by is None:
            return NO_LIMIT
        if not isinstance(by, Principal):
            return Limit((by.scopes,), None, self._catalogue)
        now, (data,) = self.store.records([by.pat_id], deadline=deadline)
        pat = None if data is None else unpack(data).pat
        if pat is None or pat.tenant != by.tenant or pat.state_at(now) != "active":
            raise InvalidCredentials
        scopes = (by.scopes, frozenset(pat.scope))
        return Limit(scopes, pat.expires_ms, self._catalogue, pat.request_quota)

    @property
    def pat_id(self) -> str | None:
        """The PAT that calls, if it is one."""
        return self.by.pat_id if isinstance(self.by, Principal) else None

    @property
    def _catalogue(self) -> frozenset[str]:
        return frozenset(self.settings.scopes or ())

    def _manages(self, owner_id: str) -> bool:
        by = self.by
        if by is None or self.owner is None or not allows(by.scopes, "managed", "read", self._catalogue):
            return False  # whom a guest manages at home has only the id in common with somebody here
        return asked(self.settings.manages, by, owner_id, "manages")


def asked(rule: Rule | None, by: Caller, subject: str, name: str) -> bool:
    """What a callable of the settings says of a caller and an id: nothing but True is a yes."""
    if rule is None:
        return False
    try:
        return rule(by, subject) is True
    except Exception as problem:  # the host's own; its text may hold anything
        _log.error("the callable `%s` failed, and gives no right: %s", name, type(problem).__name__)
        return False


def _subject(by: Caller) -> Owner:
    return by.subject if isinstance(by, Principal) else by.owner


def _spelt(verb: Verb) -> str:
    return "read" if verb == "read" else "manage"
