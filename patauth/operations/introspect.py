"""What a token is worth at this moment, and the end of one (RFC 7662, RFC 7009).

An owner may look at and end their own access tokens; a holder of `oauth:introspect`, which is meant for
resource servers, may look at all of the tenant. A PAT, by its PAT token, is its owner's alone. Everything
else is "not active", in the same words whatever the reason: unknown, expired, revoked, somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidCredentials, NotFound
from ..events import Facts
from ..model.caller import Method
from ..model.credentials import AccessToken, PatCredentials
from ..model.pat import Owner
from ..model.rights import INTROSPECT
from .authenticate import Authenticator, agree
from .conditions import is_token_usable
from .lifecycle import delete_shown
from .permissions import Actor
from .recording import recorded


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
        """Return the members of RFC 7662 §2.2, as JSON has them."""
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


def introspect(
    actor: Actor, authenticator: Authenticator, token: AccessToken | PatCredentials, address: str | None
) -> Introspection:
    """Return what a token is worth. This charges no quota of its own PAT, and is no use of it.

    A PAT token with a wrong secret counts as a refused credential. Raises `RateLimited`, `Overloaded`.
    """
    if isinstance(token, AccessToken):
        return _of_access_token(actor, token)
    try:
        pat = authenticator.look(actor.store, token, address)
    except InvalidCredentials:
        return INACTIVE
    if not actor.owns(pat):
        return INACTIVE
    return Introspection(True, pat.scope, pat.id, pat.owner, pat.tenant, "pat", pat.expires_ms)


def _of_access_token(actor: Actor, token: AccessToken) -> Introspection:
    found = actor.store.tokens.read(token.pat_id, token.digest)
    if found is None:
        return INACTIVE
    record, access = found
    pat = record.pat
    if (
        pat.tenant != actor.settings.tenant
        or not is_token_usable(record, access, pat.read_ms)
        or (token.claims is not None and not agree(token.claims, pat, access))
        or not (actor.owns(pat) or actor.holds(INTROSPECT))
    ):
        return INACTIVE
    expires_ms = access.expires_ms if pat.expires_ms is None else min(access.expires_ms, pat.expires_ms)
    audience = token.claims.audience if token.claims is not None else ()
    return Introspection(
        True, access.scopes, pat.id, pat.owner, pat.tenant, "access_token", expires_ms, audience
    )


def revoke(
    actor: Actor, authenticator: Authenticator, token: AccessToken | PatCredentials, address: str | None
) -> bool:
    """End an access token, or with a PAT token the PAT, if it is the caller's own; return whether it did.

    Returns only once it is durable, also when it was ended before. Raises as `introspect`, and
    `StoreUnavailable` when that is not known: it is safe to repeat.
    """
    # What exists decides, not what is active: an owner who is disabled may be enabled again.
    store = actor.store
    if isinstance(token, PatCredentials):
        try:
            pat = authenticator.look(store, token, address, usable=False)
        except InvalidCredentials:
            pat = None
        if pat is not None and actor.owns(pat):
            try:
                delete_shown(actor, token.pat_id)
            except NotFound:  # another call was faster
                return False
            return True
    elif _is_own(actor, token):

        def facts_of(removed: bool | None) -> list[Facts]:
            return [] if removed is False else [{"patId": token.pat_id, **actor.facts}]

        return recorded(
            actor.events, "token.revoke", lambda: store.tokens.delete(token.pat_id, token.digest), facts_of
        )
    store.pats.confirm_removals(token.pat_id.tag)
    return False


def _is_own(actor: Actor, token: AccessToken) -> bool:
    found = actor.store.tokens.read(token.pat_id, token.digest)
    if found is None:
        return False
    pat, access = found[0].pat, found[1]
    return (
        access.pat_id == pat.id
        and pat.tenant == actor.settings.tenant
        and actor.owns(pat)
        and (token.claims is None or agree(token.claims, pat, access))
    )
