"""Introspection and revocation of tokens (RFC 7662, RFC 7009).

An owner may introspect and revoke their own access tokens, and a PAT by its PAT token. An access token that
calls may revoke only itself. A holder of `oauth:introspect`, which is meant for resource servers, may
introspect all tokens of the tenant. For every other token the answer is "not active". It is the same whatever
the reason: the token is unknown, expired, revoked, or belongs to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..errors import Forbidden, InvalidCredentials, NotFound
from ..events.events import Facts
from ..model.address import Address
from ..model.caller import Method
from ..model.credentials import AccessToken, PatCredentials
from ..model.pat import Owner, PersonalAccessToken
from ..model.rights import INTROSPECT
from ..store.asking import Outcome
from ..store.record import PatRecord, TokenRecord
from .admit import agree
from .authenticate import Authenticator
from .conditions import is_token_usable, secret_expiry, token_expiry
from .lifecycle import delete_shown
from .permissions import Actor
from .writes import recorded, refuse


@dataclass(frozen=True, slots=True)
class Introspection:
    """Holds what is known of a token (RFC 7662 §2.2). Nothing is known of a token that is not active."""

    active: bool
    scope: tuple[str, ...] = ()
    pat_id: str | None = None  # the client_id
    subject: Owner | None = None
    tenant: str | None = None
    method: Method | None = None  # the method of a caller with this token: "pat" or "access_token"
    expires_ms: int | None = None  # None, if it is active: never
    not_before_ms: int | None = None  # None: its PAT has none
    audience: tuple[str, ...] = ()  # this and what follows: of a signed token
    issued_ms: int | None = None
    jti: str | None = field(default=None, repr=False)

    def members(self, issuer: str | None) -> dict[str, bool | int | str | list[str]]:
        """Return the members of an answer in JSON (RFC 7662 §2.2). `issuer`: the setting, None to omit it."""
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
        if self.not_before_ms is not None:
            found["nbf"] = self.not_before_ms // 1000
        if issuer is not None:
            found["iss"] = issuer
        if self.audience:
            found["aud"] = self.audience[0] if len(self.audience) == 1 else list(self.audience)
        if self.issued_ms is not None:
            found["iat"] = self.issued_ms // 1000
        if self.jti is not None:
            found["jti"] = self.jti
        return found


INACTIVE = Introspection(active=False)


def introspect(
    actor: Actor,
    authenticator: Authenticator,
    token: AccessToken | PatCredentials,
    address: Address,
    client_address: str | None,
) -> Introspection:
    """Return whether a token is active, and what is known of it. It charges no quota and is not a use.

    `client_address` is where the token was used, by the caller's word; None is outside of all networks. A PAT
    token with a wrong secret counts as refused credentials, from `address` unless a resource server asks.
    Raise `RateLimited`, `Overloaded`.
    """
    if isinstance(token, AccessToken):
        return _of_access_token(actor, token, client_address)
    charged = address.charged
    if actor.by is not None and actor.holds(INTROSPECT):
        charged = None  # somebody else has sent it the token, from an address that is not known here
    try:
        record, generation = authenticator.look(actor.store, token, Address(charged, client_address))
    except InvalidCredentials:
        return INACTIVE
    pat, expires_ms = record.pat, secret_expiry(record, generation)
    if not _may_look(actor, pat):
        return INACTIVE
    return Introspection(True, pat.scope, pat.id, pat.owner, pat.tenant, "pat", expires_ms, pat.not_before_ms)


def _of_access_token(actor: Actor, token: AccessToken, client_address: str | None) -> Introspection:
    found = find_access_token(actor, token)
    if found is None:
        return INACTIVE
    record, access = found
    pat = record.pat
    if not is_token_usable(record, access, pat.read_ms, client_address) or not _may_look(actor, pat):
        return INACTIVE
    expires_ms, claims = token_expiry(record, access), token.claims
    known = Introspection(
        True, access.scopes, pat.id, pat.owner, pat.tenant, "access_token", expires_ms, pat.not_before_ms
    )
    if claims is None:
        return known
    return replace(known, audience=claims.audience, issued_ms=claims.issued * 1000, jti=claims.jti)


def _may_look(actor: Actor, pat: PersonalAccessToken) -> bool:
    return actor.owns(pat) or actor.holds(INTROSPECT)


def find_access_token(actor: Actor, token: AccessToken) -> tuple[PatRecord, TokenRecord] | None:
    """Return the records of an access token of the tenant and its PAT, if they say what the token says."""
    found = actor.store.tokens.read(token.pat_id, token.digest)
    if found is None:
        return None
    pat, access = found[0].pat, found[1]
    agrees = token.claims is None or agree(token.claims, pat, access)
    return found if agrees and access.pat_id == pat.id and pat.tenant == actor.settings.tenant else None


def revoke(
    actor: Actor, authenticator: Authenticator, token: AccessToken | PatCredentials, address: Address
) -> bool:
    """Revoke an access token, or with a PAT token the PAT, if the caller owns it; return whether it existed.

    Returns only when the revocation is durable, also if an earlier call made it. Raise `Forbidden` for an
    access token that would end another one, `RateLimited`, `Overloaded`, and `StoreUnavailable` if the
    outcome is not known: it is safe to repeat.
    """
    # A token that exists is removed even if it is not active: a disabled owner may be enabled again.
    if isinstance(token, PatCredentials):
        return _revoke_pat(actor, authenticator, token, address)
    return revoke_access_token(actor, token)


def _revoke_pat(actor: Actor, authenticator: Authenticator, token: PatCredentials, address: Address) -> bool:
    store = actor.store

    def look() -> tuple[PatRecord, int] | None:
        try:
            return authenticator.look(store, token, address, usable=False)
        except InvalidCredentials:
            return None

    shown = look()
    if shown is None:
        (record,) = store.pats.confirmed([token.pat_id])
        tag = store.keyring.secret_tag(token.pat_id, token.secret)
        if record is None or record.slot_of(tag, record.pat.read_ms) is None:
            return False
        shown = look()  # a failover has brought it back
    if shown is None or not actor.owns(shown[0].pat):
        return False
    try:
        delete_shown(actor, token.pat_id, shown[1])
    except NotFound:  # another call has removed it
        return False
    return True


def revoke_access_token(actor: Actor, token: AccessToken) -> bool:
    """Revoke an access token as `revoke` does."""
    store, found = actor.store, find_access_token(actor, token)
    if found is None and store.tokens.confirmed(token.pat_id, token.digest):
        # A failover has brought it back, or it is not what the caller says.
        found = find_access_token(actor, token)
    if found is None or not actor.owns(found[0].pat):
        return False
    access = found[1]
    judged = actor.judged(previous=actor.generation == access.generation)
    if judged.credential is not None and judged.credential.token not in (None, token.digest):
        raise Forbidden("an access token can end only itself; send the PAT's own secret or token")

    def put() -> Outcome:
        return store.tokens.delete(access, token.digest, judged.credential)

    facts: Facts = {"patId": token.pat_id, "ownerId": found[0].pat.owner.id, **actor.facts}

    def facts_of(outcome: Outcome | None) -> list[Facts]:
        return [facts] if outcome in ("made", None) else []

    outcome = recorded(actor, "token.revoked", put, facts_of)
    refuse(actor, outcome)
    return outcome == "made"
