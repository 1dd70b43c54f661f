"""The store: one implementation that speaks Redis commands, whatever engine answers.

One script for each operation, all of its keys declared and in one slot. Nothing here decides anything that a
caller could see: it moves records and verdicts. Everything that goes wrong is `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..crypto.keyring import Keyring
from ..errors import ConfigurationError, StoreUnavailable
from ..model.quota import Quota
from .deadline import REQUEST_SECONDS, Deadline
from .keys import Keys
from .pats import Pats
from .scripts import Call, Scripts
from .store_key import StoreKey
from .tenant_index import TenantIndex
from .tokens import Tokens
from .transport.pool import Transport
from .transport.wire import Command
from .verdicts import Verdicts

if TYPE_CHECKING:  # it needs many modules that only a `local:` store uses
    from .local.engine import LocalEngine


class Store:
    """A tenant's PATs, access tokens and verdicts, and the store key, over a transport.

    Each call has a deadline of its own; what `for_request` returns has one for all calls.

    `engine` is the one of `local:`, started and waited for at the first use; `clock` gives ms in place of the
    server's clock; `wait` is the command that makes a removal durable (WAIT, WAITAOF) or None, and `patience`
    how many seconds that may take.
    """

    pats: Pats
    tokens: Tokens
    tenant_index: TenantIndex

    def __init__(
        self,
        transport: Transport,
        keys: Keys,
        *,
        retention_ms: int,
        secret_key: bytes | None = None,
        wait: Command | None = None,
        patience: float = 0.0,
        engine: LocalEngine | None = None,
        clock: Callable[[], int] | None = None,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._transport = transport
        self._keys = keys
        self._retention_ms = retention_ms
        self._key = StoreKey(keys, secret_key)
        self._engine = engine
        self._request_seconds = request_seconds
        self._use(Scripts(transport, clock, wait, patience, self.begin))

    def _use(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self.tenant_index = TenantIndex(scripts, self._keys)
        self.pats = Pats(scripts, self._keys, self.tenant_index, self._retention_ms)
        self.tokens = Tokens(scripts, self._keys)

    def for_tenant(self, tenant: str) -> Store:
        """Return the same store as another tenant sees it."""
        other = copy(self)
        other._keys = self._keys.for_tenant(tenant)
        other._use(self._scripts)
        return other

    def for_request(self, deadline: Deadline | None = None) -> Store:
        """Return the same store with one deadline for all calls; None: a new one, which begins now."""
        other = copy(self)
        other._use(self._scripts.until(deadline or self.begin()))
        return other

    def without_deadline(self) -> Store:
        """Return the same store with a deadline of its own for each call, for work that takes a while."""
        other = copy(self)
        other._use(self._scripts.unbounded())
        return other

    def begin(self) -> Deadline:
        """Return the deadline of a request that begins now, once a `local:` engine has started."""
        if self._engine is not None:
            try:
                self._engine.acquire()
            except ConfigurationError as problem:
                raise StoreUnavailable(detail=str(problem)) from None  # of a path: no caller's business
        return Deadline(monotonic() + self._request_seconds)

    @property
    def deadline(self) -> Deadline:
        """The one deadline of `for_request`, or else a new one."""
        return self._scripts.deadline()

    def start(self) -> None:
        """Start a `local:` engine, and wait for it. Raises `ConfigurationError` where there can be none."""
        if self._engine is not None:
            self._engine.acquire()

    def close(self) -> None:
        """Close what is open, and give a `local:` engine back."""
        self._transport.close()
        if self._engine is not None:
            self._engine.release()

    def verdicts(self, requests: Quota, exchanges: Quota) -> Verdicts:
        """Return what decides over the credentials of requests, under these quotas."""
        return Verdicts(self._scripts, self._keys, requests, exchanges)

    # -- the store key --------------------------------------------------------------------------------

    @property
    def known_keyring(self) -> Keyring | None:
        """The keys of this store, if they were read once."""
        return self._key.keyring

    @property
    def keyring(self) -> Keyring:
        """The keys of this store; made or read at the first use."""
        return self._key.keyring or self.settle_key()

    def settle_key(self, call: Call | None = None) -> Keyring:
        """Make, read or put back the store key, and refuse a store of another one.

        `call`: a connection to use, as for each new connection before its first use.
        """

        def any_connection(commands: Sequence[Command]) -> list[Any]:
            return self._scripts.call(commands, retry=True)

        over = call or any_connection
        self._scripts.learn_to_wait(over)
        ring, wrote = self._key.settle(over)
        if wrote:
            self._scripts.confirm(self._keys.barrier("store"), over)  # durable before its first use
        return ring
