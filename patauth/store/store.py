"""The store: one implementation that speaks Redis commands, whatever engine answers.

Each operation is one script that declares all of its keys, and these are in one slot. The store moves records
and verdicts; it decides nothing that a caller can see. Everything that goes wrong here is `StoreUnavailable`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING

from ..crypto.keyring import Keyring
from ..errors import ConfigurationError, StoreUnavailable
from ..model.quota import Quota
from .copy import Copy
from .deadline import TURN, Deadline
from .event_stream import EventStream
from .keys import Keys
from .notices import Notices
from .owner_changes import OwnerChanges
from .owners import Owners
from .pats import Pats
from .removed import Removed
from .scripts import Call, MakeScripts, NoDisk, Scripts, Wait
from .store_key import AnotherKey, StoreKey
from .tenant_index import TenantIndex
from .tokens import Tokens
from .transport.protocol import Transport
from .verdicts import Verdicts

if TYPE_CHECKING:  # this needs many modules that only a `local:` store uses
    from .local.engine import LocalEngine

_turn = TURN.get  # each request asks


class Store:
    """Holds a tenant's PATs (`pats`), `owners`, access tokens (`tokens`) and indexes (`tenant_index`).

    `owner_changes` changes all PATs of an owner. `removed` has what is kept of removed PATs, `notices` what
    was announced of PATs.

    Each call has a deadline of its own. In what `for_request` returns, all calls share one deadline.

    `transport` carries the commands. `retention_ms` is how long an expired PAT is kept. `secret_key` is the
    setting of that name. `clock` gives ms in place of the server's clock. `request_seconds` limits all store
    calls of one request. `wait` says how to wait until writes are durable. `engine` is that of a `local:`
    store; the first use starts it and waits for it. `scripts` makes what runs scripts over `transport`.
    """

    def __init__(
        self,
        transport: Transport,
        keys: Keys,
        *,
        retention_ms: int,
        secret_key: bytes | None,
        clock: Callable[[], int] | None,
        request_seconds: float,
        wait: Wait,
        engine: LocalEngine | None = None,
        scripts: MakeScripts = Scripts,
    ) -> None:
        self._transport = transport
        self._retention_ms = retention_ms
        self._key = StoreKey(keys, secret_key)
        self._engine = engine
        self.begin = partial(_begin, engine, request_seconds)
        self._scripts = scripts(transport, clock, wait, self.begin)
        self._keys = keys

    def _with(self, scripts: Scripts, keys: Keys) -> Store:
        other = object.__new__(Store)  # `copy` takes longer than all else that an exchange does here
        vars(other).update(vars(self), _scripts=scripts, _keys=keys)
        for part in ("tenant_index", "removed", "pats", "owners", "owner_changes", "tokens", "notices"):
            vars(other).pop(part, None)
        return other

    @cached_property
    def tenant_index(self) -> TenantIndex:
        """The index entries of the tenant's PATs."""
        return TenantIndex(self._scripts, self._keys, self._retention_ms)

    @cached_property
    def pats(self) -> Pats:
        """The tenant's PATs."""
        return Pats(self._scripts, self._keys, self.tenant_index, self.removed)

    @cached_property
    def removed(self) -> Removed:
        """What is kept of the tenant's removed PATs."""
        return Removed(self._scripts, self._keys, self._retention_ms)

    @cached_property
    def owners(self) -> Owners:
        """The owners of the tenant's PATs."""
        return Owners(self._scripts, self._keys, self.tenant_index)

    @cached_property
    def owner_changes(self) -> OwnerChanges:
        """What changes all PATs of an owner."""
        return OwnerChanges(self._scripts, self._keys, self.tenant_index, self.pats)

    @cached_property
    def tokens(self) -> Tokens:
        """The access tokens of the tenant's PATs."""
        return Tokens(self._scripts, self._keys)

    @cached_property
    def notices(self) -> Notices:
        """What was announced of the tenant's PATs."""
        return Notices(self._scripts, self._keys)

    def for_tenant(self, tenant: str) -> Store:
        """Return this store as another tenant sees it."""
        return self._with(self._scripts, self._keys.for_tenant(tenant))

    def for_request(self, deadline: Deadline | None = None) -> Store:
        """Return this store with one deadline for all calls; None: one that begins at the first call."""
        return self._with(self._scripts.until(deadline), self._keys)

    def without_deadline(self) -> Store:
        """Return this store with a deadline of its own for each call, for work that takes long."""
        return self._with(self._scripts.one_by_one(), self._keys)

    def paused(self) -> AbstractContextManager[None]:
        """Do not count the time of a block that does other work than store calls, such as a hash.

        This matters in a store from `for_request` only: in any other one, each call has its own deadline.
        """
        return self._scripts.deadline().paused()

    def start(self) -> None:
        """Start a `local:` engine, wait for it, and settle the store key.

        Raise `ConfigurationError` where the engine cannot run, or the server cannot do what `durability`
        demands; a request gets `StoreUnavailable` for that. Raise `StoreUnavailable` when it does not answer.
        """
        if self._engine is not None:
            self._engine.acquire()
        try:
            self.for_request().settle_key()
        except NoDisk as problem:
            raise ConfigurationError(problem.detail) from None

    def close(self) -> None:
        """Close idle connections, and give up the use of a `local:` engine."""
        self._transport.close()
        if self._engine is not None:
            self._engine.release()

    def abandon(self) -> None:
        """Close what its users did not close. Warn of a `local:` engine that was still in use."""
        if self._engine is not None and self._engine.is_in_use:
            self.close()
            warnings.warn(
                f"an Authority over local:{self._engine.directory} was not closed",
                ResourceWarning,
                stacklevel=1,
            )

    def verdicts(self, requests: Quota, exchanges: Quota) -> Verdicts:
        """Return an object that gives verdicts on the credentials of requests, under these quotas."""
        return Verdicts(self._scripts, self._keys, requests, exchanges)

    def copy_to(self, target: Store, *, with_access_tokens: bool) -> Copy:
        """Return a copy of this store, of all tenants under its key prefix, that is to be made in `target`.

        Open both with `settles_key=False`.
        """
        sides = self._scripts.one_by_one(), target._scripts.one_by_one()
        return Copy(*sides, self._keys, with_access_tokens=with_access_tokens)

    def event_stream(self, name: str) -> EventStream:
        """Return the stream of events of this name, of all tenants under the key prefix."""
        return EventStream(self._scripts.one_by_one(), self._keys, name)

    # -- the store key --------------------------------------------------------------------------------

    @property
    def known_keyring(self) -> Keyring | None:
        """The keys of this store, or None before the store key was read."""
        return self._key.keyring

    @property
    def keyring(self) -> Keyring:
        """The keys of this store.

        The first use makes or reads the store key, or raises `StoreUnavailable`.
        """
        return self._key.keyring or self.settle_key()

    def settle_key(self, call: Call | None = None) -> Keyring:
        """Make, read or put back the store key, and return the keys of this store.

        `call` uses one certain connection: each new connection settles the key before its first use. Raise
        `StoreUnavailable`, also when the store has another key (`AnotherKey`) or cannot wait (`NoDisk`).
        """
        call = call or partial(self._scripts.call, retry=True)
        barrier = self._keys.barrier("store")
        self._scripts.wait.learn(call, barrier)
        ring, wrote = self._key.settle(call)
        if wrote:
            # The key must be durable before its first use.
            self._scripts.confirm(barrier, call)
        return ring

    def settle_known_key(self) -> Keyring:
        """Settle the store key as `settle_key` does, or go on with the known one if its server is down.

        In a cluster, that may be another server than the one of the PATs that a call is to end. Raise
        `StoreUnavailable`, also when the store has another key.
        """
        try:
            return self.settle_key()
        except AnotherKey:
            raise
        except StoreUnavailable:
            if self.known_keyring is None:
                raise
            return self.known_keyring


def _begin(engine: LocalEngine | None, request_seconds: float) -> Deadline:
    """Return the deadline of a request that begins now. Start a `local:` engine first, and wait for it.

    What the request has waited for its turn counts. Raise `StoreUnavailable`.
    """
    if engine is not None:
        try:
            engine.acquire()
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None  # it names a path: for the log alone
    turn = _turn()
    return Deadline(monotonic() + request_seconds - (0.0 if turn is None else turn.waited))
