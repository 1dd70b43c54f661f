"""The public object: what an application holds. Thin; the verbs are in authenticate, exchange and manage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from . import audit
from .amend import PATCHABLE
from .authenticate import Admission, Authenticator
from .change import Changer
from .credentials import AccessToken, Format, PatCredentials
from .errors import Forbidden, InvalidCredentials, InvalidRequest, InvalidToken, PatAuthError
from .exchange import Access, Exchanger
from .expiry import Expiry
from .failures import Failures
from .filters import Filter, Sorter
from .forks import after_fork_in_child
from .hashing import Hasher
from .introspect import INACTIVE, Introspection, Introspector
from .keyring import Keyring
from .listing import Lister, Listing
from .manage import Manager, NewPat
from .pat import IssuedPat, Owner, PersonalAccessToken, check_id
from .principal import Caller, Person, Principal
from .proofs import Proofs
from .quota import Quota
from .settings import Settings
from .signedtokens import open_signed_tokens
from .standing import Standing
from .store.engine import open_store

C = TypeVar("C")


class Authority:
    """Makes, verifies, exchanges and removes the PATs of one tenant in one store.

    One Authority serves a whole process: it is safe for many threads and after a fork, and connects at its
    first use. Make it with `from_url` or `from_env`; close it with `close()` or a `with` block.

    Every method may raise `StoreUnavailable` (the store did not answer; nothing was decided).
    """

    def __init__(self, settings: Settings, *, _clock: Callable[[], int] | None = None) -> None:
        self.settings = settings
        self._signed = signed = open_signed_tokens(settings)
        self.format = Format(settings.credential_prefixes, jwt=signed.read if signed else None)
        self._guests = False
        self._store = open_store(settings, _clock)
        self._hasher = Hasher(
            settings.hash_profile,
            slots=settings.hash_slots,
            queue=settings.hash_queue,
            peppers=settings.pepper,
        )
        proofs = Proofs(self._hasher, ttl=settings.proof_ttl, entries=settings.proof_entries)
        failures = Failures(settings.failure_quota, entries=settings.failure_entries)
        for part in (self._hasher, proofs, failures):
            after_fork_in_child(part.after_fork)
        self._authenticator = Authenticator(settings, self._store, proofs, failures)
        signing = signed if settings.signs_tokens else None
        self._exchanger = Exchanger(settings, self._store, self._authenticator, signing)
        self._set_up_management()

    def _set_up_management(self) -> None:
        self._manager = Manager(self.settings, self._store, self._hasher)
        self._changer = Changer(self.settings, self._store, self._hasher)
        self._lister = Lister(self.settings, self._store)
        self._introspector = Introspector(self.settings, self._store, self._authenticator, self._manager)

    @classmethod
    def from_url(cls, store_url: str, **settings: Any) -> Authority:
        """An Authority over `memory:`, `local:DIR`, `redis://…`, `rediss://…` or `unix://…`.

        Further settings by keyword, see `Settings`. Raises `ConfigurationError`.
        """
        return cls(Settings.of(store_url=store_url, **settings))

    @classmethod
    def from_env(cls, **settings: Any) -> Authority:
        """An Authority from `PATAUTH_STORE_URL` and further `PATAUTH_<NAME>`; keywords win.

        Raises `ConfigurationError`; warns of `PATAUTH_*` names that are no settings.
        """
        return cls(Settings.from_env(**settings))

    def close(self) -> None:
        """Close connections, and give a `local:` engine back: it stops when nobody uses it."""
        self._store.close()

    def __enter__(self) -> Authority:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- verifying --------------------------------------------------------------------------------------

    def authenticate(self, authorization: str, *, address: str | None = None) -> Principal:
        """The principal of an Authorization value, `Basic …` or `Bearer …`.

        `address` is the client's, for the failure quota; without one, refusals are not limited. Raises
        `InvalidRequest` (several values in one), `InvalidCredentials`, `InvalidToken`, `RateLimited`,
        `Overloaded`.
        """
        return self.admit(authorization, address=address).principal

    def admit(self, authorization: str, *, address: str | None = None) -> Admission:
        """As `authenticate`, with the quota's `decision` beside the `principal`."""
        credentials = self.read(lambda: self.format.parse(authorization), address)
        return self._authenticator.admit(credentials, address)

    def admit_credentials(
        self, credentials: PatCredentials | AccessToken, *, address: str | None = None
    ) -> Admission:
        """As `admit`, for credentials that `Format` has read."""
        return self._authenticator.admit(credentials, address)

    def verify_basic(self, pat_id: str, secret: str, *, address: str | None = None) -> Principal:
        """The principal of a PAT id and PAT secret. Raises as `authenticate`."""
        credentials = self.read(lambda: self.format.basic(pat_id, secret), address)
        return self._authenticator.admit(credentials, address).principal

    def verify_bearer(self, token: str, *, address: str | None = None) -> Principal:
        """The principal of a PAT token or an access token. Raises as `authenticate`."""
        credentials = self.read(lambda: self.format.bearer(token), address)
        return self._authenticator.admit(credentials, address).principal

    def exchange(
        self,
        pat_id: str,
        secret: str,
        *,
        scope: str | Iterable[str] | None = None,
        address: str | None = None,
    ) -> Access:
        """An access token for a PAT id and secret (RFC 6749 §4.4).

        `scope`: a list, or one space-separated text; None or empty: all of the PAT's. Raises as
        `authenticate`, and `InvalidScope` for a scope that the PAT does not hold.
        """
        credentials = self.read(lambda: self.format.basic(pat_id, secret), address)
        return self.exchange_credentials(credentials, scope=scope, address=address)

    def exchange_credentials(
        self,
        credentials: PatCredentials,
        *,
        scope: str | Iterable[str] | None = None,
        address: str | None = None,
    ) -> Access:
        """As `exchange`, for credentials that `Format` has read. A PAT token is no client secret."""
        if credentials.method != "basic":
            raise InvalidCredentials("a PAT token is not exchanged; send the PAT id and the PAT secret")
        return self._exchanger.exchange(credentials, scope, address)

    def introspect(
        self, token: str, *, by: Caller | None = None, address: str | None = None
    ) -> Introspection:
        """What an access token or a PAT token is worth now (RFC 7662). It is no use of it.

        With `by`: of their own, and with the scope `oauth:introspect` every access token of the tenant; all
        else is not active. Raises `RateLimited` (wrong PAT tokens from `address`), `Overloaded`.
        """
        standing = self._standing(by)
        try:
            credentials = self.format.bearer(token)
        except InvalidCredentials:
            return INACTIVE
        return self._introspector.introspect(standing, credentials, address)

    def revoke(self, token: str, *, by: Caller | None = None, address: str | None = None) -> bool:
        """End an access token, or with a PAT token its PAT, for good (RFC 7009). Whether this call did.

        With `by`: only their own; to all else, nothing happens. Returns only once it is durable; else raises
        `StoreUnavailable`, and is safe to repeat. Raises as `introspect`.
        """
        standing = self._standing(by)
        try:
            credentials = self.format.bearer(token)
        except InvalidCredentials:
            return False
        return self._introspector.revoke(standing, credentials, address)

    def read(self, form: Callable[[], C], address: str | None) -> C:
        """What `form` reads of `self.format`; credentials that are refused there go into the audit trail."""
        try:
            return form()
        except InvalidToken:  # a JWT, by its signature or claims
            audit.record("credentials.refused", reason="access token", address=address)
            raise
        except PatAuthError:
            audit.record("credentials.refused", reason="malformed", address=address)
            raise

    # -- managing ---------------------------------------------------------------------------------------

    # `by` is on whose behalf: a Principal or a Person, whose rights then decide and whose own authority
    # limits what they make. Without it, it is the application itself that asks, and may do everything.

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
        by: Caller | None = None,
    ) -> IssuedPat:
        """Make a PAT. Its secret is in the answer and nowhere else.

        `owner`: None is `by`'s own. `name` is unique per owner. Exactly one of `expires_in`, `expires_at`
        (with a time zone) and `never_expires=True`. `access_token_ttl`: 15-43200 s. `request_quota`:
        "count/seconds" in place of the setting. Raises `InvalidRequest`, `InvalidScope`, `Conflict` (the
        name, or too many PATs), `Forbidden` (no right to it, or the owner is disabled), `Overloaded`.
        """
        if [expires_in is not None, expires_at is not None, never_expires].count(True) != 1:
            raise InvalidRequest(
                "give exactly one of expires_in, expires_at and never_expires=True", field="expiry"
            )
        new = NewPat(
            owner=owner,
            name=name,
            scope=scope,
            expiry=Expiry.read(expires_in if expires_in is not None else expires_at),
            access_token_ttl=access_token_ttl,
            request_quota=request_quota,
            never_acknowledged=never_expires,
        )
        return self.create_pat(new, by=by)

    def create_pat(self, new: NewPat, *, by: Caller | None = None) -> IssuedPat:
        """As `create`, of what a wire format has read."""
        return self._manager.create(self._standing(by), new)

    def get(self, pat_id: str, *, by: Caller | None = None) -> PersonalAccessToken:
        """One PAT, also an expired one within its retention. Raises `NotFound`, `Forbidden`."""
        return self._manager.get(self._standing(by), pat_id)

    def get_presented(self, by: Caller) -> PersonalAccessToken:
        """The PAT by which somebody calls; it needs no right for that. Raises `NotFound` for a `Person`."""
        return self._manager.get_presented(self._standing(by))

    def list(
        self,
        *,
        owner_id: str | None = None,
        filters: str | Filter | None = None,
        sort: str | Sequence[Sorter] | None = None,
        offset: int = 0,
        limit: int | None = None,
        count: bool = False,
        by: Caller | None = None,
    ) -> Listing:
        """PATs of an owner, of `by` ("me"), or with None of the tenant; expired ones within their retention
        too.

        `filters` in the grammar of `patauth.filters`; `sort` such as "name" or "-created,name"; without it an
        owner's come by creation, and a tenant's in no particular but steady order. `limit` None: all, up to
        10 000. With `count`, `.total` of the answer is how many there are in all. Raises `InvalidRequest`
        (also when it would have to read over 10 000 PATs), `Forbidden`.
        """
        return self._lister.list_for(self._standing(by), owner_id, filters, sort, offset, limit, count)

    def patch(
        self,
        pat_id: str,
        operations: object,
        *,
        fields: Collection[str] = PATCHABLE,
        by: Caller | None = None,
    ) -> PersonalAccessToken:
        """Change a PAT by a JSON Patch (RFC 6902), all of it or nothing; the PAT as it is then.

        `operations` such as `[{"op": "replace", "path": "/name", "value": "ci"}]`, on the members `name`,
        `scope`, `expirationDate` and `userAwareTokenNeverExpires`, of which only `fields` may be touched. An
        expiry of null needs `userAwareTokenNeverExpires: true` in the same patch. Access tokens keep their
        scopes. Raises `InvalidRequest`, `InvalidScope`, `Conflict` (the name), `NotFound`, `Forbidden`.
        """
        return self._changer.patch(self._standing(by), pat_id, operations, fields)

    def patch_many(
        self, pat_ids: Sequence[str], operations: object, *, by: Caller | None = None
    ) -> Sequence[PersonalAccessToken]:
        """Change the expiry of 1-25 PATs by one JSON Patch; the PATs in the order of their ids.

        All are checked first; those of one owner then change together or not at all. Raises as `patch`.
        """
        return self._changer.patch_many(self._standing(by), pat_ids, operations)

    def rotate(
        self, pat_id: str, *, overlap: timedelta = timedelta(hours=1), by: Caller | None = None
    ) -> IssuedPat:
        """Give a PAT a new secret, shown here and never again; id, name, scopes and expiry stay.

        The secret until now passes for `overlap` too, at most 7 days and never past the expiry, and the
        access tokens that came from it end with it; `timedelta(0)` ends them at once. Raises `NotFound`,
        `Forbidden` (no right to it, the owner is disabled, or the PAT can do more than `by`),
        `InvalidRequest`, `Overloaded`.
        """
        return self._changer.rotate(self._standing(by), pat_id, overlap)

    def delete(self, pat_id: str, *, by: Caller | None = None) -> None:
        """Revoke a PAT for good: it and its access tokens are refused from the next request on.

        Returns only once that is durable (setting `durability`); else raises `StoreUnavailable`, and is
        safe to repeat. Raises `NotFound`, `Forbidden`.
        """
        self._manager.delete(self._standing(by), pat_id)

    def delete_presented(self, by: Caller) -> None:
        """Revoke the PAT by which somebody calls; it needs no right for that. As `delete`."""
        self._manager.delete_presented(self._standing(by))

    def acting_in(self, tenant: str, by: Caller) -> Authority:
        """The verbs of management for `by` in a tenant: this Authority's, or one that `may_act_in` allows.

        Their rights and limits are the same there; of PATs there, none is their own. Raises `Forbidden`.
        """
        if tenant == self.settings.tenant:
            return self
        check_id(tenant, "tenant")
        may_act_in = self.settings.may_act_in
        if may_act_in is None or may_act_in(by, tenant) is not True:
            raise Forbidden("you may not act in that organisation")
        other = copy(self)
        other.settings = replace(self.settings, tenant=tenant)
        other._store = self._store.for_tenant(tenant)
        other._guests = True
        other._set_up_management()
        return other

    def tenant_sequence(self) -> int:
        """A number that grows with each change to the tenant's PATs."""
        return self._store.tenant.sequence(self._store.deadline())

    def now(self) -> int:
        """The store's clock, in milliseconds since 1970: what expiries and dates of changes go by."""
        return self._store.now(self._store.deadline())

    def disable_owner(self, owner_id: str) -> int:
        """Refuse all of an owner's PATs and access tokens from the next request on; none can be made.

        Returns how many PATs there are, once it is durable; else raises `StoreUnavailable`, and is safe to
        repeat. An owner without PATs is disabled all the same.
        """
        return self._manager.set_owner_state(owner_id, disabled=True)

    def enable_owner(self, owner_id: str) -> int:
        """Undo `disable_owner`: what has not expired meanwhile passes again. How many PATs there are."""
        return self._manager.set_owner_state(owner_id, disabled=False)

    def revoke_owner(self, owner_id: str) -> int:
        """Delete all PATs of an owner for good, and return how many; durable and repeatable as `delete`."""
        return len(self._manager.revoke_owner(owner_id))

    def purge_access_tokens(self) -> int:
        """Remove every access token under `key_prefix`, of all tenants, and return how many.

        After an old copy of the store was restored: tokens that had been revoked since are in it again. PATs
        stay; delete those that were revoked since by `delete`. Reads the whole key space, a piece at a time.
        """
        return sum(self.iter_purge_access_tokens())

    def iter_purge_access_tokens(self) -> Iterator[int]:
        """The same a step at a time, for who shows progress: how many went; nothing goes unless asked."""
        return self._manager.purge_access_tokens()

    def keyring(self) -> Keyring:
        """The keys that are derived from the store key."""
        return self._store.keyring(self._store.deadline())

    def ping(self) -> None:
        """Reach the store, start a `local:` engine if need be, and check the store key and the signing keys.

        Raises `ConfigurationError` where an engine or a key cannot be had; to a request, that is
        `StoreUnavailable`.
        """
        self._store.start()
        self._store.settle_key(self._store.deadline())
        if self._signed is not None and self.settings.signs_tokens:
            self._signed.prepare()

    @property
    def publishes_keys(self) -> bool:
        """Whether there are keys to publish: where access tokens are signed, or with the setting `keys`."""
        settings = self.settings
        return self._signed is not None and (settings.signs_tokens or settings.keys is not None)

    def jwks(self) -> dict[str, Any]:
        """The public keys that verify signed access tokens, as a JWK Set (RFC 7517 §5)."""
        if self._signed is None or not self.publishes_keys:
            return {"keys": []}
        self._store.deadline()  # DIR of `local:DIR` is there from then on, and nobody else's
        return self._signed.jwks()

    def _standing(self, by: Caller | None) -> Standing:
        if not isinstance(by, Principal | Person | None):
            raise InvalidRequest("give a patauth.Principal or a patauth.Person", field="by")
        return Standing(self.settings, self._store.for_request(), by, self._guests)
