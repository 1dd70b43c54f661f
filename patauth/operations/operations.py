"""All operations over one store, for patauth's own surfaces: HTTP and the command line.

Applications use `Authority`, which offers those operations that an application needs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from ..concurrency.forks import after_fork_in_child
from ..crypto.keyring import Keyring
from ..errors import Forbidden, InvalidCredentials, InvalidRequest
from ..events.opening import open_events
from ..model.address import Address, check_address
from ..model.caller import Caller, Person, Principal
from ..model.credentials import Format
from ..model.pat import check_id
from ..model.quota import Decision
from ..model.sinks import sinks_of
from ..observe.opening import parts_of
from ..settings import Settings
from ..store.event_stream import StreamCounts
from ..store.factory import open_store
from ..store.store import Store
from ..store.transport.protocol import MemoryFull
from .admit import Admitter
from .authenticate import Authenticator
from .exchange import Exchanger
from .failures import Failures
from .introspect import INACTIVE, Introspection, introspect, revoke
from .judge import Judge
from .permissions import Actor, rule_allows

_DRAIN = 2.0  # s in which events that wait are delivered at the end


def _no_connections() -> tuple[int, int]:
    return 0, 0


class Operations:
    """Holds the parts that serve one tenant in one store; safe for many threads and after a fork.

    `format` reads and writes credentials. The operations on PATs are functions of an `Actor`, in the other
    modules of this package. `events` takes what happens. Nothing is connected before the first use. Raise
    `ConfigurationError`.
    """

    def __init__(
        self, settings: Settings, *, clock: Callable[[], int] | None, request_seconds: float
    ) -> None:
        self.settings = settings
        self.request_seconds = request_seconds  # for all store calls of one request
        parts = parts_of(settings)
        self._store = open_store(settings, clock, request_seconds, scripts=parts.scripts)
        self.events = open_events(settings, self._store, parts.events)
        self._observers = parts.observers
        if parts.observers is not None:
            weakref.finalize(self, parts.observers.connections, _no_connections).atexit = False
        weakref.finalize(self, self._store.abandon).atexit = False  # the end of the process gives all back
        weakref.finalize(self, self.events.close, _DRAIN)  # at the end of the process, too
        self._hasher = hasher = parts.hasher(
            settings.hash_profile,
            slots=settings.hash_slots,
            queue=settings.hash_queue,
            wait=settings.hash_wait,
            peppers=settings.pepper,
        )
        signed = None
        if settings.signs_tokens or settings.issuer is not None:  # few need this, and it takes long to import
            from ..jwt.issuer import open_signed_tokens

            signed = open_signed_tokens(settings)
        self._signed = signed
        self.format = Format(settings.credential_prefixes, jwt=signed.read if signed else None)
        proofs = parts.proofs(hasher, ttl=settings.proof_ttl, entries=settings.proof_entries)
        failures = Failures(settings.failure_quota, entries=settings.failure_entries)
        for part in (hasher, proofs, failures):
            after_fork_in_child(part.after_fork)
        verdicts = self._store.verdicts(settings.request_quota, settings.exchange_quota)
        judge = Judge(settings, self.events)
        self._authenticator = Authenticator(
            settings, self._store, verdicts, proofs, failures, judge, self.events
        )
        admitter = partial(
            Admitter, settings, signed, self._store, verdicts, self._authenticator, judge, self.events
        )
        # Three ways to send credentials, each with a memo of its own. All of these are attributes, so that a
        # request pays for a call less.
        parse, bearer, pair = self.format.parse, self.format.bearer, self.format.pair
        self._admitter = admitter(parse)
        self.authenticate = parts.by_text(self._admitter.authenticate, parse)
        self.admit = parts.by_credentials(self._admitter.admit)
        self.verify_bearer = parts.by_text(admitter(bearer).authenticate, bearer)
        self.verify_pair = parts.by_text(admitter(pair).authenticate, pair)
        self.read = parts.reading(self._admitter.read)
        self._exchanger = Exchanger(
            settings,
            self._store,
            self._authenticator,
            judge,
            self.events,
            signed if settings.signs_tokens else None,
        )
        self.exchange = parts.by_credentials(self._exchanger.exchange)

    def close(self) -> None:
        """Close connections, and give a `local:` engine back: it stops when nobody uses it.

        Before that, events that wait are delivered, for at most 2 s.
        """
        self.events.close(_DRAIN)
        self._store.close()
        if self._observers is not None:
            self._observers.connections(_no_connections)

    # -- credentials ------------------------------------------------------------------------------------

    def admit_person(self, person: Person, *, ending: bool) -> Decision | None:
        """Charge the person quota of a signed-in person, and return its decision.

        `ending` is that of `authenticate`; then None means that nothing was charged. Raise `RateLimited`.
        """
        settings, store = self.settings, self._store.for_request()
        tag, quota = store.keyring.owner_tag(settings.tenant, person.owner.id), settings.person_quota
        try:
            charge = store.owners.charge_request(person.owner.id, tag, quota)
        except MemoryFull:
            if not ending:
                raise
            return None
        if not charge.allowed:
            refusal = Decision(False, "persons", quota, 0, charge.micros).refusal()
            raise self.events.limited(refusal, ownerId=person.owner.id)
        return Decision(True, "persons", quota, charge.micros, 0)

    def introspect(
        self, token: str, *, by: Caller | None, address: Address, client_address: str | None = None
    ) -> Introspection:
        """Return what a token is worth now (RFC 7662), where it was used from `client_address`.

        Raise `InvalidRequest` (`client_address` is no address), `RateLimited`, `Overloaded`.
        """
        actor, client_address = self.actor(by), check_address(client_address, "client_address")
        try:
            credentials = self.format.bearer(token)
        except InvalidCredentials:
            return INACTIVE
        return introspect(actor, self._authenticator, credentials, address, client_address)

    def revoke(self, token: str, *, by: Caller | None, address: Address) -> bool:
        """Revoke an access token, or with a PAT token its PAT (RFC 7009); return whether it existed.

        Raise `Forbidden`, `RateLimited`, `Overloaded`.
        """
        actor = self.actor(by)
        try:
            credentials = self.format.bearer(token)
        except InvalidCredentials:
            return False
        return revoke(actor, self._authenticator, credentials, address)

    # -- managing ---------------------------------------------------------------------------------------

    def actor(
        self, by: Caller | None, confirm: Callable[[], None] | None = None, *, own_alone: bool = False
    ) -> Actor:
        """Return an actor on the tenant's PATs. All their store calls share one deadline.

        None is the application itself, which may do everything. `confirm` is called at most once, before the
        authority of a person's PATs grows, and raises what refuses that; other callers are not asked.
        `own_alone`: PATs of other owners do not exist for the caller, whatever rights they have.

        Raise `InvalidRequest`, `Forbidden`.
        """
        if not isinstance(by, Principal | Person | None):
            raise InvalidRequest("give a patauth.Principal or a patauth.Person", field="by")
        actor = self._actor(self.settings, self._store, by, confirm)
        return replace(actor, own_alone=True) if own_alone else actor

    def actor_in(self, tenant: str, by: Caller, confirm: Callable[[], None] | None = None) -> Actor:
        """Return an actor in a tenant: this one, or another one that the setting `may_act_in` allows.

        In another tenant, the actor has the rights and limits that they have at home, and no PATs of their
        own. The settings of this Authority apply. `confirm` is that of `actor`. Raise `Forbidden`.
        """
        if tenant == self.settings.tenant:
            return self.actor(by, confirm)
        check_id(tenant, "tenant")
        if not rule_allows(self.settings.may_act_in, by, tenant, "may_act_in"):
            raise Forbidden("you may not act in that organisation")
        settings, store = replace(self.settings, tenant=tenant), self._store.for_tenant(tenant)
        return self._actor(settings, store, by, confirm, is_guest=True)

    def _actor(
        self,
        settings: Settings,
        store: Store,
        by: Caller | None,
        confirm: Callable[[], None] | None,
        *,
        is_guest: bool = False,
    ) -> Actor:
        asked = cache(confirm) if confirm is not None and isinstance(by, Person) else None
        return Actor(
            settings, store.for_request(), self._hasher, self.events, by, is_guest=is_guest, confirm=asked
        )

    # -- events -----------------------------------------------------------------------------------------

    def event_counts(self) -> StreamCounts | None:
        """Return what the stream of events holds and has lost; None without one in the setting `events`."""
        name = sinks_of(self.settings.events).stream
        return None if name is None else self._store.event_stream(name).counts()

    # -- keys -------------------------------------------------------------------------------------------

    def keyring(self) -> Keyring:
        """Return the keys that are derived from the store key."""
        return self._store.for_request().keyring

    def ping(self) -> None:
        """Connect to the store, and check the store key and the signing keys. Raise `ConfigurationError`."""
        self._store.start()
        if self._signed is not None and self.settings.signs_tokens:
            self._signed.prepare()

    @property
    def reads_jwts(self) -> bool:
        """Whether the settings allow signed tokens to be read. Otherwise, all of them are unknown."""
        return self._signed is not None

    @property
    def publishes_keys(self) -> bool:
        """Whether there are keys to publish: access tokens are signed, or the setting `keys` is set."""
        settings = self.settings
        return self._signed is not None and (settings.signs_tokens or settings.keys is not None)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys that verify signed access tokens, as a JWK Set (RFC 7517 §5)."""
        if self._signed is None or not self.publishes_keys:
            return {"keys": []}
        self._store.begin()  # from here on, DIR of `local:DIR` exists and belongs to this user
        return self._signed.jwks()
