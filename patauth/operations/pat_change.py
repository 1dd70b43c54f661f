"""Changes of a PAT: what is to be different, and the rules that allow it. No store is used here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..model.expiry import Expiry, require_acknowledged
from ..model.pat import PersonalAccessToken, check_name
from ..model.rights import EVERYTHING
from ..model.scopes import check_known, check_some, covers
from ..settings import Settings
from .permissions import Limit


@dataclass(frozen=True, slots=True, init=False)
class PatChange:
    """A change of a PAT. What is None does not change.

    `expiry`: `Expiry()` is never, which needs `never_acknowledged`. Raise `InvalidRequest`, `InvalidScope`.
    """

    name: str | None
    scope: tuple[str, ...] | None
    expiry: Expiry | None
    never_acknowledged: bool | None

    def __init__(
        self,
        *,
        name: str | None = None,
        scope: Iterable[str] | None = None,
        expiry: Expiry | None = None,
        never_acknowledged: bool | None = None,
    ) -> None:
        object.__setattr__(self, "name", None if name is None else check_name(name))
        object.__setattr__(self, "scope", None if scope is None else check_some(scope))
        object.__setattr__(self, "expiry", expiry)
        object.__setattr__(self, "never_acknowledged", never_acknowledged)

    def apply(
        self, pat: PersonalAccessToken, now: int, limit: Limit, settings: Settings
    ) -> PersonalAccessToken:
        """Return a PAT with this change, or `pat` itself if nothing changes. It must not have expired.

        If scopes are added or the expiry moves to a later instant, all scopes and the expiry of the result
        must be within `limit`, what the caller can pass on. Raise `InvalidRequest`, `InvalidScope`.
        """
        expires_ms = pat.expires_ms if self.expiry is None else self.expiry.instant(now)
        after = replace(
            pat,
            name=self.name or pat.name,  # neither a name nor a list of scopes is ever empty
            scope=self.scope or pat.scope,
            expires_ms=expires_ms,
            never_acknowledged=pat.never_acknowledged
            if self.never_acknowledged is None
            else self.never_acknowledged,
        )
        if self.expiry is not None:
            require_acknowledged(expires_ms, after.never_acknowledged)
        # A scope that is named next to `sp:scopes:all` stays when the catalogue drops it: it counts as added.
        catalogue = frozenset(() if EVERYTHING in after.scope else settings.scopes or ())
        added = tuple(scope for scope in after.scope if not covers(pat.scope, (scope,), catalogue))
        check_known(added, settings.scopes)
        moved = expires_ms != pat.expires_ms
        ceiling = None
        if added or _is_later(expires_ms, pat.expires_ms):
            limit.require(after.scope)
            ceiling = limit.expires_ms
        if moved or ceiling is not None:
            longest = settings.max_lifetime if moved else None
            Expiry(at_ms=expires_ms).settle(now, created=pat.created_ms, longest=longest, ceiling=ceiling)
        if after == pat:
            return pat
        return replace(after, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)


def _is_later(expires_ms: int | None, than: int | None) -> bool:
    return than is not None and (expires_ms is None or expires_ms > than)
