"""`Authority`: the object that an application holds to verify, exchange and manage PATs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import InvalidRequest
from .model import dates
from .model.address import Address, address_text
from .model.caller import Caller, Principal
from .model.expiry import Expiry
from .model.pat import IssuedPat, Owner, PersonalAccessToken
from .model.quota import Quota
from .operations import lifecycle, owners
from .operations.create import NewPat, create
from .operations.exchange import Access
from .operations.introspect import Introspection
from .operations.operations import Operations
from .operations.pat_change import PatChange
from .operations.rotate import DEFAULT_OVERLAP, rotate, rotate_self
from .settings import Settings
from .store.deadline import REQUEST_SECONDS

if TYPE_CHECKING:
    from .operations.listing import Listing

# Modules that only some calls need, and that take long to import, are imported there: listing, update.


class Authority:
    """Makes, verifies, exchanges and removes the PATs of one tenant in one store.

    One Authority serves a whole process: it is safe for many threads and after a fork, and connects at its
    first use. Make it with `from_url` or `from_env`; close it with `close()` or a `with` block. One that is
    dropped instead gives its `local:` engine back, with a `ResourceWarning`.

    Methods that manage PATs take `by`, the `Principal` or `Person` on whose behalf the application calls. The
    rights of `by` then decide, and the authority of `by` limits what is made. Without `by`, the application
    acts for itself and may do everything.

    Every method may raise `StoreUnavailable` (the store did not answer; nothing was decided). The attribute
    `operations` is for patauth's own surfaces; applications have no use for it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        _clock: Callable[[], int] | None = None,
        _request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.settings = settings
        self.operations = Operations(settings, clock=_clock, request_seconds=_request_seconds)

    @classmethod
    def from_url(cls, store_url: str, **settings: Any) -> Authority:
        """Return an Authority over `memory:`, `local:DIR`, `redis://…`, `rediss://…` or `unix://…`.

        Keywords are further settings, see `Settings`. Raise `ConfigurationError`.
        """
        return cls(Settings.of(store_url=store_url, **settings))

    @classmethod
    def from_env(cls, **settings: Any) -> Authority:
        """Return an Authority with the settings of the environment (`PATAUTH_<NAME>`); keywords win.

        Raise `ConfigurationError`. Warn of `PATAUTH_*` names that are no settings.
        """
        return cls(Settings.from_env(**settings))

    def close(self) -> None:
        """Close connections, and give a `local:` engine back: it stops when nobody uses it."""
        self.operations.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Authority cannot be pickled or copied, because it holds connections and locks;"
            " share this one, or make another from its `settings`"
        )

    def __enter__(self) -> Authority:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Connect to the store, start a `local:` engine if necessary, and check store key and signing keys.

        Raise `ConfigurationError` if the engine or a key is missing, or the server cannot wait for its disk
        (setting `durability`). A request would get `StoreUnavailable` for that.
        """
        self.operations.ping()

    # -- verifying --------------------------------------------------------------------------------------

    def authenticate(self, authorization: str, *, address: str | None = None) -> Principal:
        """Return the principal of an Authorization value, `Basic …` or `Bearer …`.

        `address` is the client's address, for the failure quota. Without it, refusals are not limited. Raise
        `InvalidRequest` (several values in one), `InvalidCredentials`, `InvalidToken`, `RateLimited`,
        `Overloaded`.
        """
        return self.operations.authenticate(authorization, _known(address)).principal

    def verify_basic(self, pat_id: str, secret: str, *, address: str | None = None) -> Principal:
        """Return the principal of a PAT id and PAT secret.

        Raise `InvalidCredentials`, `RateLimited`, `Overloaded`.
        """
        return self.operations.verify_pair(f"{pat_id}:{secret}", _known(address)).principal

    def verify_bearer(self, token: str, *, address: str | None = None) -> Principal:
        """Return the principal of a PAT token or an access token.

        Raise `InvalidCredentials`, `InvalidToken`, `RateLimited`, `Overloaded`.
        """
        return self.operations.verify_bearer(token, _known(address)).principal

    def exchange(
        self,
        pat_id: str,
        secret: str,
        *,
        scope: str | Iterable[str] | None = None,
        address: str | None = None,
    ) -> Access:
        """Return an access token for a PAT id and secret (RFC 6749 §4.4).

        `scope`: a list, or one text with spaces between; None or empty is all scopes of the PAT. Raise
        `InvalidScope` (the PAT does not hold a scope), `InvalidCredentials`, `RateLimited`, `Overloaded`.
        """
        operations, known = self.operations, _known(address)
        credentials = operations.read(lambda: operations.format.basic(pat_id, secret), known)
        return operations.exchange(credentials, scope, known).access

    def introspect(
        self,
        token: str,
        *,
        by: Caller | None = None,
        address: str | None = None,
        client_address: str | None = None,
    ) -> Introspection:
        """Return what an access token or a PAT token is worth now (RFC 7662). It does not count as a use.

        `by` sees their own tokens, and with the scope `oauth:introspect` every access token of the tenant.
        All other tokens are not active. `client_address` is where the token was used: that of a PAT with
        networks is active only within them. Raise `InvalidRequest` (`client_address` is no address),
        `RateLimited` (wrong PAT tokens from `address`), `Overloaded`.
        """
        return self.operations.introspect(
            token, by=by, address=_known(address), client_address=client_address
        )

    def revoke(self, token: str, *, by: Caller | None = None, address: str | None = None) -> bool:
        """Revoke an access token, or with a PAT token its PAT (RFC 7009); return whether it existed.

        `by` can revoke their own tokens; nothing happens to others. An access token that calls ends itself
        alone (`Forbidden`). Returns only when the revocation is durable, else raises `StoreUnavailable`; it
        is safe to repeat. Raise `RateLimited` (wrong PAT tokens from `address`), `Overloaded`.
        """
        return self.operations.revoke(token, by=by, address=_known(address))

    def jwks(self) -> dict[str, Any]:
        """Return the public keys that verify signed access tokens, as a JWK Set (RFC 7517 §5)."""
        return self.operations.jwks()

    # -- managing ---------------------------------------------------------------------------------------

    def create(
        self,
        *,
        owner: Owner | None = None,
        name: str,
        scope: Iterable[str],
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        never_expires: bool = False,
        access_token_ttl: int | None = None,
        request_quota: Quota | str | None = None,
        description: str | None = None,
        networks: Iterable[str] | None = None,
        not_before: datetime | None = None,
        by: Caller | None = None,
    ) -> IssuedPat:
        """Make a PAT. Its secret is in the result and nowhere else.

        `owner`: None is the owner that `by` acts for. `name` is unique per owner. Give exactly one of
        `expires_in`, `expires_at` (with a time zone) and `never_expires=True`. `access_token_ttl`: 15-43200
        seconds. `request_quota`: "count/seconds", instead of the setting. `description`: 1-256 characters.
        `networks`: at most 32 networks such as "203.0.113.0/24", and the PAT is refused elsewhere; what a PAT
        makes has networks within its own, and all of them by default. `not_before` (with a time zone): the
        PAT is refused until then. Raise `InvalidRequest`,
        `InvalidScope`, `Conflict` (the name, or too many PATs), `Forbidden` (no right to it, or the owner is
        disabled), `Overloaded`.
        """
        if not isinstance(owner, Owner | None):
            raise InvalidRequest("give a patauth.Owner", field="owner")
        expiry = Expiry.of_keywords(expires_in, expires_at, never_expires)
        if expiry is None:
            raise InvalidRequest(
                "give exactly one of expires_in, expires_at and never_expires=True", field="expiry"
            )
        new = NewPat(
            owner=owner,
            name=name,
            scope=scope,
            expiry=expiry,
            access_token_ttl=access_token_ttl,
            request_quota=request_quota,
            never_acknowledged=never_expires,
            description=description,
            networks=networks,
            not_before_ms=_ms(not_before),
        )
        return create(self.operations.actor(by), new)

    def get(self, pat_id: str, *, removed: bool = False, by: Caller | None = None) -> PersonalAccessToken:
        """Return one PAT; an expired one too, within its retention. Raise `NotFound`, `Forbidden`.

        `removed`: also one that was removed, as long as it is kept. Its `state` is "revoked".
        """
        return lifecycle.get(self.operations.actor(by), pat_id, removed=removed)

    def list(
        self,
        *,
        owner_id: str | None = None,
        filters: str | None = None,
        sort: str | None = None,
        offset: int = 0,
        limit: int | None = None,
        count: bool = False,
        by: Caller | None = None,
    ) -> Listing:
        """Return the PATs of an owner, or of the whole tenant.

        `owner_id`: "me" is the owner that `by` acts for, None the whole tenant. `filters` has the grammar of
        `patauth.model.filters`. `sort` is such as "name" or "-created,name"; without it, an owner's PATs come
        in order of creation, and a tenant's in a stable but unspecified order. `limit` None: all, up to
        10 000. With `count`, `total` of the result is the number of all PATs that match. Expired PATs are
        included within their retention. Removed ones are not, unless `filters` asks for them, and then for
        them alone: 'state eq "revoked"'. Raise `InvalidRequest` (also if it would read over 10 000 PATs),
        `Forbidden`.
        """
        from .operations.listing import list_pats

        actor = self.operations.actor(by)
        return list_pats(
            actor, owner_id=owner_id, filters=filters, sort=sort, offset=offset, limit=limit, count=count
        )

    def update(
        self,
        pat_id: str,
        *,
        name: str | None = None,
        scope: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        never_expires: bool = False,
        description: str | None = None,
        networks: Iterable[str] | None = None,
        not_before: datetime | None = None,
        request_quota: Quota | str | None = None,
        by: Caller | None = None,
    ) -> PersonalAccessToken:
        """Change a PAT, all or nothing; return the changed PAT.

        What is not given does not change. Give at most one of `expires_in` (from now), `expires_at` (with a
        time zone) and `never_expires=True`. `description=""` and `request_quota=""` remove what the PAT has,
        `networks=[]` lets it be used everywhere, and a `not_before` that has come at once. Access tokens that
        were issued before keep their scopes. Raise `InvalidRequest`, `InvalidScope`, `Conflict` (the name),
        `NotFound`, `Forbidden`.
        """
        from .operations.update import update

        change = PatChange(
            name=name,
            scope=scope,
            expiry=Expiry.of_keywords(expires_in, expires_at, never_expires),
            never_acknowledged=True if never_expires else None,
            description=description,
            networks=networks,
            not_before_ms=_ms(not_before),
            request_quota=request_quota,
        )
        return update(self.operations.actor(by), pat_id, change)

    def patch(
        self, pat_id: str, operations: Sequence[Any], *, by: Caller | None = None
    ) -> PersonalAccessToken:
        """Change a PAT by a JSON Patch (RFC 6902), all or nothing; return the changed PAT.

        `operations` is such as `[{"op": "replace", "path": "/name", "value": "ci"}]`. It may use the members
        `name`, `scope`, `expirationDate`, `userAwareTokenNeverExpires`, `description`, `networks`,
        `notBefore` and `requestQuota`. An expiry of null needs `userAwareTokenNeverExpires: true` in the same
        patch. Access tokens that were issued before keep their scopes. Raise `InvalidRequest`,
        `InvalidScope`, `Conflict` (the name), `NotFound`, `Forbidden`.
        """
        from .operations.update import patch

        return patch(self.operations.actor(by), pat_id, operations)

    def rotate(
        self, pat_id: str, *, overlap: timedelta = DEFAULT_OVERLAP, by: Caller | None = None
    ) -> IssuedPat:
        """Give a PAT a new secret, which is in the result and nowhere else; id, name, scopes and expiry stay.

        The current secret remains valid for `overlap`: at most 7 days, and never past the expiry. Access
        tokens that came from it end with it. `timedelta(0)` ends it at once. Raise `NotFound`, `Forbidden`
        (no right to it, the owner is disabled, or the PAT can do more than `by`), `InvalidRequest`,
        `Overloaded`.
        """
        return rotate(self.operations.actor(by), pat_id, overlap)

    def rotate_self(self, *, overlap: timedelta = DEFAULT_OVERLAP, by: Principal) -> IssuedPat:
        """Give the PAT of `by` a new secret, as `rotate` does. It needs the scope `self:rotate` and no right.

        `by` must have shown the current secret, not an access token. `overlap`: 10 minutes to 7 days. Raise
        `Forbidden`, `InvalidRequest`, `Overloaded`.
        """
        return rotate_self(self.operations.actor(by), overlap)

    def delete(self, pat_id: str, reason: str | None = None, *, by: Caller | None = None) -> None:
        """Revoke a PAT for good: it and its access tokens are refused from the next request on.

        Its secret is gone, and its name is free. `get` and `list` still show it, if they are asked, for the
        setting `retention`: with when and by whom it was removed, and with `reason`, 1-256 code points. At
        most `max_kept_per_owner` removed PATs of an owner are kept. Returns only when the end is durable
        (setting `durability`), else raises `StoreUnavailable`; it is safe to repeat. Raise `NotFound`,
        `Forbidden`, `InvalidRequest` (the reason).
        """
        lifecycle.delete(self.operations.actor(by), pat_id, reason)

    def disable(self, pat_id: str, *, by: Caller | None = None) -> PersonalAccessToken:
        """Refuse a PAT and its access tokens from the next request on, until it is enabled; return it.

        Returns only when that is durable, else raises `StoreUnavailable`; it is safe to repeat. Raise
        `NotFound`, `Forbidden`, `InvalidRequest` for one that has expired.
        """
        from .operations.disable import set_disabled

        return set_disabled(self.operations.actor(by), pat_id, disabled=True)

    def enable(self, pat_id: str, *, by: Caller | None = None) -> PersonalAccessToken:
        """Accept a PAT again that was disabled, and return it. It stays refused while its owner is disabled.

        What the application or a caller who may change all PATs has disabled, only such enable. Raise
        `NotFound`, `Forbidden` (also if the PAT can do more than `by`), `InvalidRequest` for one that has
        expired.
        """
        from .operations.disable import set_disabled

        return set_disabled(self.operations.actor(by), pat_id, disabled=False)

    def disable_owner(self, owner_id: str) -> int:
        """Refuse all PATs and access tokens of an owner from the next request on, and make no new ones.

        Returns the number of PATs when that is durable, else raises `StoreUnavailable`; it is safe to repeat.
        An owner without PATs can be disabled, too.
        """
        return len(owners.set_owner_state(self.operations.actor(None), owner_id, disabled=True))

    def enable_owner(self, owner_id: str) -> int:
        """Accept PATs and access tokens of an owner again; return how many PATs there are.

        Those that have expired stay refused. Returns only when that is durable, else raises
        `StoreUnavailable`; it is safe to repeat.
        """
        return len(owners.set_owner_state(self.operations.actor(None), owner_id, disabled=False))

    def revoke_owner(self, owner_id: str, reason: str | None = None) -> int:
        """Delete all PATs of an owner for good, and return how many there were.

        What is known of them is kept as `delete` keeps it. Returns only when the end is durable, else raises
        `StoreUnavailable`; it is safe to repeat. Raise `InvalidRequest` (the reason).
        """
        return len(owners.revoke_owner(self.operations.actor(None), owner_id, reason))

    def purge_access_tokens(self) -> int:
        """Remove every access token under `key_prefix`, of all tenants, and return how many there were.

        Use it after you restored an old copy of the store, because the copy contains tokens that were revoked
        since. PATs stay: delete those that were revoked since by `delete`. This reads the whole key space, in
        pieces.
        """
        return sum(owners.purge_access_tokens(self.operations.actor(None)))


def _ms(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    if not isinstance(instant, datetime):
        raise InvalidRequest("give a datetime", field="not_before")
    return dates.to_ms(instant, "not_before")


def _known(address: str | None) -> Address:
    """Return an address that the application vouches for. Raise `InvalidRequest` for what is no text."""
    text = address_text(address, "address")
    return Address(text, text)
