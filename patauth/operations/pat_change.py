"""A change of a PAT, and the rules that allow it. No store is used here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import InvalidRequest
from ..model.address import check_networks, covers_networks
from ..model.expiry import FIELD as EXPIRY
from ..model.expiry import Expiry, require_acknowledged, settle_begin
from ..model.leaks import refuse_credential
from ..model.pat import PersonalAccessToken, check_description, check_name
from ..model.quota import Quota, check_quota
from ..model.rights import EVERYTHING
from ..model.scopes import check_known, check_some, covers
from ..settings import Settings
from .permissions import Limit


@dataclass(frozen=True, slots=True, init=False)
class PatChange:
    """A change of a PAT. A field that is None does not change.

    `expiry`: `Expiry()` is never, which needs `never_acknowledged`. An empty text removes the description or
    the PAT's own request quota, an empty list its networks, and an instant that has come its not-before.
    Raise `InvalidRequest`, `InvalidScope`.
    """

    name: str | None
    scope: tuple[str, ...] | None
    expiry: Expiry | None
    never_acknowledged: bool | None
    description: str | None
    networks: tuple[str, ...] | None
    not_before_ms: int | None
    request_quota: Quota | Literal[""] | None

    def __init__(
        self,
        *,
        name: str | None = None,
        scope: Iterable[str] | None = None,
        expiry: Expiry | None = None,
        never_acknowledged: bool | None = None,
        description: str | None = None,
        networks: Iterable[str] | None = None,
        not_before_ms: int | None = None,
        request_quota: Quota | str | None = None,
    ) -> None:
        object.__setattr__(self, "name", None if name is None else check_name(name))
        object.__setattr__(self, "scope", None if scope is None else check_some(scope))
        object.__setattr__(self, "expiry", expiry)
        object.__setattr__(self, "never_acknowledged", never_acknowledged)
        described = None if description is None else description and check_description(description)
        object.__setattr__(self, "description", described)
        object.__setattr__(self, "networks", None if networks is None else check_networks(networks))
        object.__setattr__(self, "not_before_ms", not_before_ms)
        quota = request_quota if request_quota in (None, "") else check_quota(request_quota)
        object.__setattr__(self, "request_quota", quota)

    def apply(
        self, pat: PersonalAccessToken, now: int, limit: Limit, settings: Settings
    ) -> PersonalAccessToken:
        """Return a PAT with this change, or `pat` itself if nothing changes. It must not have expired.

        If the PAT can do more afterwards, scopes, expiry and networks of the result must all be within
        `limit`, what the caller can pass on, and a larger request quota, too. Raise `InvalidRequest`,
        `CredentialInText`, `InvalidScope`.
        """
        refuse_credential(self.name, settings.credential_prefixes, "name")
        refuse_credential(self.description, settings.credential_prefixes, "description")
        refuse_credential(" ".join(self.scope or ()), settings.credential_prefixes, "scope")
        expires_ms = pat.expires_ms if self.expiry is None else self.expiry.instant(now)
        after = replace(
            pat,
            name=self.name or pat.name,  # neither a name nor a list of scopes is ever empty
            scope=self.scope or pat.scope,
            expires_ms=expires_ms,
            never_acknowledged=pat.never_acknowledged
            if self.never_acknowledged is None
            else self.never_acknowledged,
            description=pat.description if self.description is None else self.description or None,
            networks=pat.networks if self.networks is None else self.networks,
            not_before_ms=pat.not_before_ms
            if self.not_before_ms is None
            else settle_begin(self.not_before_ms, now, expires_ms),
            request_quota=pat.request_quota if self.request_quota is None else self.request_quota or None,
        )
        if self.expiry is not None:
            require_acknowledged(expires_ms, after.never_acknowledged)
        check_known(_added(pat, after, settings), settings.scopes)
        moved = expires_ms != pat.expires_ms
        ceiling = None
        if grows(pat, after, now, settings):
            limit.require(after.scope)
            limit.require_networks(after.networks)
            ceiling = limit.expires_ms
        if _has_larger_quota(pat, after, settings):
            limit.require_quota(after.request_quota or settings.request_quota)
        if moved or ceiling is not None:
            longest = settings.max_lifetime if moved else None
            Expiry(at_ms=expires_ms).settle(now, created=pat.created_ms, longest=longest, ceiling=ceiling)
        if moved and expires_ms is not None and expires_ms <= (after.not_before_ms or 0):
            raise InvalidRequest("give an instant after the not-before", field=EXPIRY)
        if after == pat:
            return pat
        return replace(after, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)


def grows(before: PersonalAccessToken, after: PersonalAccessToken, now: int, settings: Settings) -> bool:
    """Return whether a PAT can do more after a change at `now` (ms).

    It has more scopes or networks, a later expiry, an earlier begin or a larger request quota.
    """
    return (
        bool(_added(before, after, settings))
        or _has_larger_quota(before, after, settings)
        or _is_later(after.expires_ms, before.expires_ms)
        or not covers_networks(before.networks, after.networks)
        or _begin(after, now) < _begin(before, now)
    )


def _added(before: PersonalAccessToken, after: PersonalAccessToken, settings: Settings) -> tuple[str, ...]:
    # A scope that is named next to `sp:scopes:all` stays when the catalogue drops it: it counts as added.
    catalogue = frozenset(() if EVERYTHING in after.scope else settings.scopes or ())
    return tuple(scope for scope in after.scope if not covers(before.scope, (scope,), catalogue))


def _has_larger_quota(before: PersonalAccessToken, after: PersonalAccessToken, settings: Settings) -> bool:
    quota, usual = after.request_quota, settings.request_quota
    return not (quota or usual).is_within(before.request_quota or usual)


def _begin(pat: PersonalAccessToken, now: int) -> int:
    return max(now, pat.not_before_ms or 0)


def _is_later(expires_ms: int | None, than: int | None) -> bool:
    return than is not None and (expires_ms is None or expires_ms > than)
