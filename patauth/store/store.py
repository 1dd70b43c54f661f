"""The store: one implementation that speaks Redis commands, whatever engine answers.

One script for each operation, all of its keys declared and in one slot. Nothing here decides anything that a
caller could see: it moves records and verdicts. Everything that goes wrong is `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..crypto.keyring import Keyring
from ..errors import ConfigurationError, StoreUnavailable
from ..model.quota import Quota
from .keys import Keys
from .pats import Pats
from .record import TOKEN_ID_AT, SecretSlot, check_id_of, not_understood, pack_slot
from .scripts import Call, Script, Scripts, understood
from .store_key import StoreKey
from .transport.pool import REQUEST_DEADLINE, Transport
from .transport.wire import Command
from .verdicts import Verdicts

if TYPE_CHECKING:
    from .local.engine import LocalEngine

ISSUED, CHANGED = 1, 2  # of lua/issue.lua


class RedisStore(Pats):
    """Records, verdicts and the store key over a transport.

    `engine` is the one of `local:`, started and waited for at the first use; `clock` gives ms in place of
    the server's clock; `wait` is the command that makes a removal durable (WAIT, WAITAOF) or None, and
    `patience` how many seconds that may take.
    """

    def __init__(
        self,
        transport: Transport,
        keys: Keys,
        *,
        secret_key: bytes | None = None,
        wait: Command | None = None,
        patience: float = 0.0,
        engine: LocalEngine | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(Scripts(transport, clock, wait, patience), keys)
        self._transport = transport
        self._key = StoreKey(keys, secret_key)
        self.engine = engine
        self._until: float | None = None
        self._issue = Script("issue")
        self._touch = Script("touch")
        self._rehash = Script("rehash")
        self._delete_token = Script("delete_token")

    def for_tenant(self, tenant: str) -> RedisStore:
        """The same store, as another tenant sees it."""
        other = copy(self)
        other._keys = self._keys.for_tenant(tenant)
        other.__dict__.pop("tenant", None)  # the indexes of this one
        return other

    def for_request(self) -> RedisStore:
        """The same store with one deadline for all that is asked of it, whoever asks for a deadline."""
        other = copy(self)
        other._until = self.deadline()
        return other

    def pause(self, seconds: float) -> None:
        """Put that deadline off: the time went into something else than the store."""
        if self._until is not None:
            self._until += seconds

    def deadline(self) -> float:
        """When the store calls of a request that starts now must be over (`time.monotonic()`).

        Starts a `local:` engine, and waits for it.
        """
        if self._until is not None:
            return self._until
        if self.engine is not None:
            try:
                self.engine.acquire()
            except ConfigurationError as problem:
                raise StoreUnavailable(detail=str(problem)) from None  # of a path: no caller's business
        return monotonic() + REQUEST_DEADLINE

    def start(self) -> None:
        """Start a `local:` engine, and wait for it. Raises `ConfigurationError` where there can be none."""
        if self.engine is not None:
            self.engine.acquire()

    def close(self) -> None:
        """Close what is open, and give a `local:` engine back."""
        self._transport.close()
        if self.engine is not None:
            self.engine.release()

    # -- the way of a request -------------------------------------------------------------------------

    def verdicts(self, requests: Quota, exchanges: Quota) -> Verdicts:
        """What decides over the credentials of requests, under these quotas."""
        return Verdicts(self._scripts, self._keys, requests, exchanges)

    def issue(
        self, pat_id: str, seen: bytes, digest: bytes, token: bytes, *, deadline: float
    ) -> tuple[int, bytes]:
        """Write an access token if the PAT is still what was seen.

        Returns (ISSUED, b""), (CHANGED, record), or (0, b"") when the PAT is gone or its time is over.
        """
        names = [self._keys.pat(pat_id), self._keys.access_token(pat_id, digest)]
        reply = self._scripts.run(self._issue, names, (seen, token), deadline)
        if reply[0] == CHANGED:
            changed = understood(reply, int, int, bytes)[2]
            check_id_of(changed, pat_id)
            return CHANGED, changed
        return reply[0], b""

    def touch(self, pat_id: str, used_ms: int, *, deadline: float) -> bool:
        """Write a use, unless that UTC day has one; then the tenant's index. Whether it was written."""
        moment = used_ms.to_bytes(6)
        names = [self._keys.pat(pat_id)]
        self.tenant.mark_use(pat_id, used_ms, deadline)
        written = self._scripts.run(self._touch, names, (moment,), deadline, now=used_ms)[0] == 1
        if written:
            self.tenant.used(pat_id, used_ms, deadline)
        return bool(written)

    def rehash(self, pat_id: str, seen: SecretSlot, new: SecretSlot, *, deadline: float) -> bool:
        """Put a slot with another digest in place of `seen`, if that still stands. Whether it was written."""
        names, slots = [self._keys.pat(pat_id)], (pack_slot(seen), pack_slot(new))
        return bool(self._scripts.run(self._rehash, names, slots, deadline)[0] == 1)

    def token(self, pat_id: str, digest: bytes, *, deadline: float) -> tuple[int, bytes | None, bytes | None]:
        """The clock (ms), PAT record and access token record, by the SHA-256 of its text."""
        names = [self._keys.pat(pat_id), self._keys.access_token(pat_id, digest)]
        now, *found = self._scripts.run(self._read, names, (), deadline)
        if len(found) != 2:
            raise not_understood("records", "of another form")
        check_id_of(found[0], pat_id)
        check_id_of(found[1], pat_id, TOKEN_ID_AT)
        return now, found[0], found[1]

    def delete_token(self, pat_id: str, digest: bytes, *, deadline: float) -> bool:
        """Remove an access token, durably. Whether it was there. Raises `NotDurable`: repeat it."""
        names = [self._keys.access_token(pat_id, digest)]
        removed: bool = self._scripts.run_durably(self._delete_token, names, (), deadline)[0] == 1
        if not removed:
            self.confirm_removals(pat_id[:8], deadline)  # another has removed it, and may still be waiting
        return removed

    def purge_access_tokens(self) -> Iterator[int]:
        """Remove all access token records, piece by piece; how many each time. Durable at the end."""
        cursor: Any = 0
        while True:
            deadline = self.deadline()
            scan = ("SCAN", cursor, "MATCH", self._keys.access_tokens, "COUNT", 1000)
            ((cursor, found),) = self._scripts.call([scan], deadline, retry=True)
            # One by one: keys of several slots in one command would not do on a cluster.
            yield sum(self._scripts.call([("DEL", key) for key in found], deadline)) if found else 0
            if int(cursor) == 0:
                break
        self.confirm_removals("store", self.deadline())

    # -- the store key --------------------------------------------------------------------------------

    def keyring(self, deadline: float) -> Keyring:
        """The keys of this store; made or read at the first use."""
        return self._key.keyring or self.settle_key(deadline)

    def settle_key(self, deadline: float) -> Keyring:
        """Make, read or put back the store key, and refuse a store of another one."""
        return self.settle_key_over(partial(self._scripts.call, deadline=deadline, retry=True))

    def settle_key_over(self, call: Call) -> Keyring:
        """The same over a connection of one's own; for each new connection."""
        self._scripts.learn_to_wait(call)
        ring, wrote = self._key.settle(call)
        if wrote:
            self._confirm("store", call)  # durable before its first use
        return ring
