"""Changes to a PAT: what is to be different, and whether that is allowed. The rules, without any store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..errors import InvalidRequest, InvalidScope
from ..model.expiry import Expiry
from ..model.pat import PersonalAccessToken, check_name
from ..model.rights import EVERYTHING
from ..model.scopes import check as check_scopes
from ..model.scopes import check_known, covers
from ..settings import Settings
from .permissions import Limit


@dataclass(frozen=True, slots=True, init=False)
class PatChange:
    """What is to change about a PAT; what is None stays as it is.

    `expiry`: `Expiry()` is never, which needs `never_acknowledged`. Raises `InvalidRequest`, `InvalidScope`.
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
        scopes = None if scope is None else check_scopes(scope)
        if scopes == ():
            raise InvalidScope("give at least one scope", field="scope")
        object.__setattr__(self, "name", None if name is None else check_name(name))
        object.__setattr__(self, "scope", scopes)
        object.__setattr__(self, "expiry", expiry)
        object.__setattr__(self, "never_acknowledged", never_acknowledged)

    def apply(
        self, pat: PersonalAccessToken, now: int, limit: Callable[[], Limit], settings: Settings
    ) -> PersonalAccessToken:
        """Return a PAT that has not expired as the change leaves it; `pat` itself when nothing changes.

        Raises `InvalidRequest`, `InvalidScope`, and what `limit` raises, which is asked when anything grows:
        more scopes or a later expiry need all of the outcome to be within what the caller can pass on.
        """
        expires_ms = pat.expires_ms if self.expiry is None else self.expiry.instant(now)
        after = replace(
            pat,
            name=pat.name if self.name is None else self.name,
            scope=pat.scope if self.scope is None else self.scope,
            expires_ms=expires_ms,
            never_acknowledged=pat.never_acknowledged
            if self.never_acknowledged is None
            else self.never_acknowledged,
        )
        if self.expiry is not None and expires_ms is None and not after.never_acknowledged:
            raise InvalidRequest(
                "a personal access token that never expires needs this true", field="never_acknowledged"
            )
        # With `sp:scopes:all`, a scope is named for the time when the catalogue no longer has it.
        catalogue = frozenset(() if EVERYTHING in after.scope else settings.scopes or ())
        added = tuple(scope for scope in after.scope if not covers(pat.scope, (scope,), catalogue))
        check_known(added, settings.scopes)
        moved = expires_ms != pat.expires_ms
        ceiling = None
        if added or (moved and _is_later(expires_ms, pat.expires_ms)):
            most = limit()
            most.require(after.scope)
            ceiling = most.expires_ms
        if moved or ceiling is not None:
            longest = settings.max_lifetime if moved else None
            Expiry(at_ms=expires_ms).settle(now, created=pat.created_ms, longest=longest, ceiling=ceiling)
        if after == pat:
            return pat
        return replace(after, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)


def _is_later(expires_ms: int | None, than: int | None) -> bool:
    return than is not None and (expires_ms is None or expires_ms > than)
