"""The public object: what an application holds. Thin; the verbs are in authenticate, exchange and manage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from . import events
from .concurrency.forks import after_fork_in_child
from .crypto.hashing import Hasher
from .crypto.keyring import Keyring
from .crypto.proof_cache import Proofs
from .errors import Forbidden, InvalidCredentials, InvalidToken, PatAuthError
from .model.caller import Caller, Principal
from .model.credentials import AccessToken, Format, PatCredentials
from .model.pat import check_id
from .operations.authenticate import Admission, Authenticator
from .operations.failures import Failures
from .operations.management import Management
from .settings import Settings
from .store.factory import open_store

# As in management: imported at their first use.
if TYPE_CHECKING:
    from .jwt.issuer import SignedTokens
    from .operations.exchange import Access, Exchanger
    from .operations.introspect import Introspection, Introspector

C = TypeVar("C")


class Authority(Management):
    """Makes, verifies, exchanges and removes the PATs of one tenant in one store.

    One Authority serves a whole process: it is safe for many threads and after a fork, and connects at its
    first use. Make it with `from_url` or `from_env`; close it with `close()` or a `with` block.

    Every method may raise `StoreUnavailable` (the store did not answer; nothing was decided).
    """

    def __init__(self, settings: Settings, *, _clock: Callable[[], int] | None = None) -> None:
        hasher = Hasher(
            settings.hash_profile,
            slots=settings.hash_slots,
            queue=settings.hash_queue,
            peppers=settings.pepper,
        )
        super().__init__(settings, open_store(settings, _clock), hasher)
        self._signed = signed = _signed_tokens(settings)
        self.format = Format(settings.credential_prefixes, jwt=signed.read if signed else None)
        proofs = Proofs(hasher, ttl=settings.proof_ttl, entries=settings.proof_entries)
        failures = Failures(settings.failure_quota, entries=settings.failure_entries)
        for part in (hasher, proofs, failures):
            after_fork_in_child(part.after_fork)
        self._authenticator = Authenticator(settings, self._store, proofs, failures)

    @cached_property
    def _exchanger(self) -> Exchanger:
        from .operations.exchange import Exchanger

        signing = self._signed if self.settings.signs_tokens else None
        return Exchanger(self.settings, self._store, self._authenticator, signing)

    @cached_property
    def _introspector(self) -> Introspector:
        from .operations.introspect import Introspector

        return Introspector(self.settings, self._store, self._authenticator, self._manager)

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
        try:
            credentials = self.format.parse(authorization)
        except PatAuthError as refusal:
            _note_unread(refusal, address)
            raise
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
        from .operations.introspect import INACTIVE

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

    @property
    def reads_jwts(self) -> bool:
        """Whether the settings let it read signed tokens; without, all of them are unknown to it."""
        return self._signed is not None

    def read(self, form: Callable[[], C], address: str | None) -> C:
        """What `form` reads of `self.format`; credentials that are refused there go into the audit trail."""
        try:
            return form()
        except PatAuthError as refusal:
            _note_unread(refusal, address)
            raise

    # -- managing ---------------------------------------------------------------------------------------

    def acting_in(self, tenant: str, by: Caller) -> Management:
        """The verbs of management for `by` in a tenant: this Authority's, or one that `may_act_in` allows.

        There, they serve nobody but `by`, who has the rights and limits of home and no PATs of their own; the
        policy of this Authority's settings holds. Raises `Forbidden`.
        """
        from .operations.permissions import asked

        if tenant == self.settings.tenant:
            return self
        check_id(tenant, "tenant")
        if not asked(self.settings.may_act_in, by, tenant, "may_act_in"):
            raise Forbidden("you may not act in that organisation")
        settings = replace(self.settings, tenant=tenant)
        return Management(settings, self._store.for_tenant(tenant), self._hasher, guest=by)

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


def _signed_tokens(settings: Settings) -> SignedTokens | None:
    if settings.issuer is None and not settings.signs_tokens:
        return None  # none can be read without an issuer
    from .jwt.issuer import open_signed_tokens

    return open_signed_tokens(settings)


def _note_unread(refusal: PatAuthError, address: str | None) -> None:
    if isinstance(refusal, InvalidToken):  # a JWT, by its signature or claims
        events.record("credentials.refused", reason="access token", address=address)
    else:
        events.record("credentials.refused", reason="malformed", address=address)
