"""What a token is worth at this moment, and the end of one (RFC 7662, RFC 7009).

Access tokens are for their owner to look at and to end, and to look at for whoever holds `oauth:introspect`
in the tenant, which is meant for resource servers. A PAT, by its PAT token, is its owner's alone. Everything
else is "not active", in the same words whatever the reason: unknown, expired, revoked, somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import events
from ..errors import InvalidCredentials, NotFound
from ..model.caller import Method
from ..model.credentials import AccessToken, PatCredentials
from ..model.pat import Owner, PersonalAccessToken
from ..model.rights import INTROSPECT
from ..settings import Settings
from ..store.record import unpack, unpack_token
from ..store.scripts import NotDurable
from ..store.store import RedisStore
from .authenticate import Authenticator, agree
from .lifecycle import Manager
from .permissions import Standing


@dataclass(frozen=True, slots=True)
class Introspection:
    """What is known of a token (RFC 7662 §2.2). Of one that is not active, nothing."""

    active: bool
    scope: tuple[str, ...] = ()
    pat_id: str | None = None  # the client_id
    subject: Owner | None = None
    tenant: str | None = None
    method: Method | None = None  # how it would authenticate: "pat" or "access_token"
    expires_ms: int | None = None  # None, of an active one: never
    audience: tuple[str, ...] = ()  # of a signed one

    def members(self, issuer: str | None) -> dict[str, bool | int | str | list[str]]:
        """The members of RFC 7662 §2.2, as JSON has them."""
        if not self.active or self.subject is None or self.pat_id is None:
            return {"active": False}
        found: dict[str, bool | int | str | list[str]] = {
            "active": True,
            "scope": " ".join(self.scope),
            "client_id": self.pat_id,
            "username": self.subject.name,
            "token_type": "Bearer",
            "sub": self.subject.id,
        }
        if self.expires_ms is not None:
            found["exp"] = self.expires_ms // 1000
        if issuer is not None:
            found["iss"] = issuer
        if self.audience:
            found["aud"] = self.audience[0] if len(self.audience) == 1 else list(self.audience)
        return found


INACTIVE = Introspection(active=False)


class Introspector:
    """Looks at tokens and ends them; safe for many threads."""

    def __init__(
        self, settings: Settings, store: RedisStore, authenticator: Authenticator, manager: Manager
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._manager = manager
        self._tenant = settings.tenant

    def introspect(
        self, standing: Standing, token: AccessToken | PatCredentials, address: str | None
    ) -> Introspection:
        """What a token is worth. Charges no quota of its own PAT, and is no use of it.

        A PAT token with a wrong secret counts as a refused credential. Raises `RateLimited`, `Overloaded`.
        """
        if isinstance(token, PatCredentials):
            return self._pat(standing, token, address)
        return self._access_token(standing, token)

    def revoke(self, standing: Standing, token: AccessToken | PatCredentials, address: str | None) -> bool:
        """End an access token, or with a PAT token the PAT, if it is the caller's own. Whether this call did.

        Returns only once it is durable, also when it was ended before. Raises as `introspect`, and
        `StoreUnavailable` when that is not known: it is safe to repeat.
        """
        # Not what is active decides, but what is there: an owner who is disabled may be enabled again.
        store = self._store
        if isinstance(token, PatCredentials):
            try:
                pat = self._authenticator.look(token, address, living=False)
            except InvalidCredentials:
                pat = None
            if pat is not None and _owns(standing, pat):
                try:
                    self._manager.delete_found(standing, token.pat_id)
                except NotFound:  # another was faster
                    return False
                return True
        else:
            _, data, token_data = store.token(token.pat_id, token.digest, deadline=store.deadline())
            if data is not None and token_data is not None:
                pat, access = unpack(data).pat, unpack_token(token_data)
                ours = access.pat_id == pat.id and pat.tenant == self._tenant and _owns(standing, pat)
                if ours and (token.claims is None or agree(token.claims, pat, access)):
                    return self._end(standing, token)
        store.confirm_removals(token.pat_id[:8], store.deadline())
        return False

    def _end(self, standing: Standing, token: AccessToken) -> bool:
        store = self._store
        removed = False
        try:
            removed = store.delete_token(token.pat_id, token.digest, deadline=store.deadline())
        except NotDurable as problem:
            removed = problem.answer[0] == 1
            raise
        finally:
            if removed:
                events.record("token.revoke", patId=token.pat_id, **standing.facts)
        return removed

    def _access_token(self, standing: Standing, token: AccessToken) -> Introspection:
        store = self._store
        now, data, token_data = store.token(token.pat_id, token.digest, deadline=store.deadline())
        if data is None or token_data is None:
            return INACTIVE
        record, access = unpack(data), unpack_token(token_data)
        pat = record.pat
        if (
            access.pat_id != pat.id
            or pat.tenant != self._tenant
            or now >= access.expires_ms
            or pat.state_at(now) != "active"
            or not record.passes(access.generation, now)
            or (token.claims is not None and not agree(token.claims, pat, access))
            or not (_owns(standing, pat) or standing.holds(INTROSPECT))
        ):
            return INACTIVE
        expires_ms = access.expires_ms if pat.expires_ms is None else min(access.expires_ms, pat.expires_ms)
        audience = token.claims.audience if token.claims is not None else ()
        return Introspection(
            True, access.scopes, pat.id, pat.owner, pat.tenant, "access_token", expires_ms, audience
        )

    def _pat(self, standing: Standing, token: PatCredentials, address: str | None) -> Introspection:
        try:
            pat = self._authenticator.look(token, address)
        except InvalidCredentials:
            return INACTIVE
        if not _owns(standing, pat):
            return INACTIVE
        return Introspection(True, pat.scope, pat.id, pat.owner, pat.tenant, "pat", pat.expires_ms)


def _owns(standing: Standing, pat: PersonalAccessToken) -> bool:
    """Whether it is the caller's own; the host owns all. A guest owns nothing here."""
    if standing.by is None:
        return True
    return (
        standing.owner is not None and pat.owner.id == standing.owner.id and pat.tenant == standing.by.tenant
    )
