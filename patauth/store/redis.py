"""The store: one implementation that speaks Redis commands, whatever engine answers.

One script for each operation, all of its keys declared and in one slot. Nothing here decides anything that a
caller could see: it moves records and verdicts. Everything that goes wrong is `StoreUnavailable`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError, StoreUnavailable
from ..keyring import Keyring
from ..pat import PersonalAccessToken
from ..quota import Quota
from .connection import REQUEST_DEADLINE, Transport
from .keys import Keys
from .local import LocalEngine
from .record import SecretSlot, not_understood, pack_expiry, pack_slot
from .scripts import Call, NotDurable, Script, Scripts, understood
from .storekey import StoreKey
from .tenantindex import TenantIndex
from .wire import Command

_log = logging.getLogger("patauth.store")

REFUSED, ADMITTED, LIMITED, ROTATED_AWAY = 0, 1, 2, 4  # verdicts of lua/authenticate.lua
_TRIES = 50  # for what must see all PATs of an owner at once; the deadline comes first
ISSUED, CHANGED = 1, 2  # of lua/issue.lua

Creation = Literal["made", "disabled", "taken", "full", "exists"]
_OUTCOMES: dict[int, Creation] = {0: "made", 1: "disabled", 2: "taken", 3: "full", 4: "exists"}
Update = Literal["made", "gone", "changed", "taken", "disabled"]
_UPDATES: dict[int, Update] = {0: "made", 1: "gone", 2: "changed", 3: "taken", 4: "disabled"}


class Verdict(NamedTuple):
    """What the store says of one request."""

    verdict: int
    now: int  # ms, the store's clock
    micros: int  # admitted: the quota's backlog; limited: the wait
    pat: bytes  # PAT record
    token: bytes | None  # access token record


class Change(NamedTuple):
    """A PAT's record as it was read, and the one to put in its place."""

    seen: bytes
    new: bytes
    before: PersonalAccessToken
    after: PersonalAccessToken


class RedisStore:
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
        self._transport = transport
        self._scripts = Scripts(transport, clock, wait, patience)
        self._keys = keys
        self._key = StoreKey(keys, secret_key)
        self.engine = engine
        self._authenticate = Script("authenticate")
        self._issue = Script("issue")
        self._touch = Script("touch")
        self._create = Script("create")
        self._delete = Script("delete")
        self._read = Script("read")
        self._owner_state = Script("owner_state")
        self._revoke_owner = Script("revoke_owner")
        self._delete_token = Script("delete_token")
        self._update = Script("update")
        self._rehash = Script("rehash")
        self._barrier = Script("barrier")
        self.tenant = TenantIndex(self._scripts, keys)

    def for_tenant(self, tenant: str) -> RedisStore:
        """The same store, as another tenant sees it."""
        other = copy(self)
        other._keys = self._keys.for_tenant(tenant)
        other.tenant = TenantIndex(self._scripts, other._keys)
        return other

    def deadline(self) -> float:
        """When the store calls of a request that starts now must be over (`time.monotonic()`)."""
        try:
            self.start()
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None  # of a path: no caller's business
        return time.monotonic() + REQUEST_DEADLINE

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

    def authenticate(
        self,
        pat_id: str,
        *,
        tag: bytes = b"",
        token: bytes | None = None,
        quota: Quota,
        exchange: bool = False,
        deadline: float,
    ) -> Verdict:
        """One round trip: is this secret tag, or the access token of this digest, good, and within quota?

        `exchange` charges the exchange quota in place of the request quota.
        """
        keys = self._keys
        charged = keys.exchanges(pat_id) if exchange else keys.requests(pat_id)
        names = [keys.pat(pat_id), charged]
        if token is not None:
            names.append(keys.access_token(pat_id, token))
        override = b"" if exchange else b"1"
        arguments = (tag, quota.emission_us, quota.tolerance_us, override)
        reply = self._scripts.run(self._authenticate, names, arguments, deadline)
        try:
            verdict, now = reply[0], reply[1]
            if verdict in (REFUSED, ROTATED_AWAY) and type(now) is int:
                return Verdict(verdict, now, 0, b"", None)
            if (
                (verdict != ADMITTED and verdict != LIMITED)
                or type(now) is not int
                or type(reply[2]) is not int
            ):
                raise ValueError(f"verdict {verdict!r}")
            pat = reply[3]
            # Belt and braces: a reply that belongs to another caller must not lend its identity.
            if pat[30:46] != bytes.fromhex(pat_id):
                raise ValueError("the record of another PAT")
            if token is None:
                return Verdict(verdict, now, reply[2], pat, None)
            if reply[4][10:26] != pat[30:46]:
                raise ValueError("the access token of another PAT")
            return Verdict(*reply)
        except (TypeError, ValueError, IndexError, AttributeError) as problem:
            raise not_understood("verdict", problem) from None

    def issue(
        self, pat_id: str, seen: bytes, digest: bytes, token: bytes, *, deadline: float
    ) -> tuple[int, bytes]:
        """Write an access token if the PAT is still what was seen.

        Returns (ISSUED, b""), (CHANGED, record), or (0, b"") when the PAT is gone or its time is over.
        """
        names = [self._keys.pat(pat_id), self._keys.access_token(pat_id, digest)]
        reply = self._scripts.run(self._issue, names, (seen, token), deadline)
        if reply[0] == CHANGED:
            return CHANGED, understood(reply, int, int, bytes)[2]
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

    # -- management -----------------------------------------------------------------------------------

    def now(self, deadline: float) -> int:
        """The store's clock, ms."""
        now: int = self._scripts.run(self._read, [], (), deadline)[0]
        return now

    def create(
        self,
        pat_id: str,
        owner_id: str,
        name: str,
        record: bytes,
        *,
        created_ms: int,
        expires_ms: int | None,
        keep_ms: int | None,
        most: int,
        retention_ms: int,
        deadline: float,
    ) -> Creation:
        """Write a PAT: index before record, so that none is ever missing from a listing of the tenant."""
        keys = self._keys
        tag = pat_id[:8]
        self.tenant.enter(pat_id, created_ms, expires_ms, deadline)
        names = [keys.pat(pat_id), keys.owner(tag, owner_id), keys.owner_index(tag, owner_id)]
        entry = bytes.fromhex(pat_id) + pack_expiry(expires_ms)
        keep = b"" if keep_ms is None else keep_ms
        arguments = (record, name, entry, keep, most, retention_ms)
        try:
            reply = self._scripts.run_durably(self._create, names, arguments, deadline)
        except StoreUnavailable as problem:
            # It may have been written all the same, and nobody will ever be shown its secret.
            with suppress(StoreUnavailable):
                self.delete(pat_id, owner_id, deadline=self.deadline())
            raise StoreUnavailable(detail=problem.detail) from None
        outcome = _OUTCOMES.get(reply[0])
        if outcome is None:
            raise not_understood("creation", repr(reply))
        if outcome not in ("made", "exists"):
            self.tenant.forget([pat_id], deadline)
        return outcome

    def update(
        self, changes: Sequence[Change], *, new_secret: bool = False, retention_ms: int, deadline: float
    ) -> Update:
        """Put changed records of one owner in place of those that were read: all, durably, or none.

        `new_secret`: not while the owner is disabled.
        """
        keys = self._keys
        first = changes[0].before
        tag = first.id[:8]
        moved = [one for one in changes if one.before.expires_ms != one.after.expires_ms]
        if moved:
            ids = [one.after.id for one in moved]
            self.tenant.mark_expiry(ids, self.now(deadline), deadline)
        names = [keys.owner(tag, first.owner.id), keys.owner_index(tag, first.owner.id)]
        arguments: list[bytes | str | int] = [b"1" if new_secret else b"0", retention_ms]
        for seen, new, before, after in changes:
            names.append(keys.pat(after.id))
            entry = bytes.fromhex(after.id) + pack_expiry(after.expires_ms)
            keep = b"" if after.expires_ms is None else after.expires_ms + retention_ms - before.read_ms
            arguments += (seen, new, before.name, after.name, entry, keep)
        reply = self._scripts.run_durably(self._update, names, arguments, deadline)
        outcome = _UPDATES.get(reply[0])
        if outcome is None:
            raise not_understood("update", repr(reply))
        if outcome == "made":
            self.tenant.changed([(one.after.id, one.after.expires_ms) for one in moved], deadline)
        return outcome

    def delete(self, pat_id: str, owner_id: str, *, deadline: float) -> bool:
        """Remove a PAT, durably: record before index. Whether it was there.

        Raises `NotDurable` when it is not known to be durable in time: repeat it.
        """
        keys = self._keys
        tag = pat_id[:8]
        names = [
            keys.pat(pat_id),
            keys.requests(pat_id),
            keys.exchanges(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
        ]
        try:
            reply = self._scripts.run_durably(self._delete, names, (bytes.fromhex(pat_id),), deadline)
        except NotDurable:
            self.tenant.forget([pat_id], deadline)
            raise
        self.tenant.forget([pat_id], deadline)
        if reply[0] != 1:
            self.confirm_removals(tag, deadline)  # another has removed it, and may still be waiting
        return bool(reply[0] == 1)

    def confirm_removals(self, tag: str, deadline: float) -> None:
        """Wait until earlier removals are durable, whoever made them: WAIT alone sees one's own writes."""
        self._confirm(tag, partial(self._scripts.call, deadline=deadline))

    def set_owner_state(self, owner_id: str, tag: str, *, disabled: bool, deadline: float) -> int:
        """Disable or enable an owner, durably; how many PATs that was written into."""
        state = b"1" if disabled else b"0"
        owner = self._keys.owner(tag, owner_id)

        def names(pat_ids: list[str]) -> list[bytes]:
            return [owner, *map(self._keys.pat, pat_ids)]

        reply, _ = self._on_all_of(owner_id, tag, self._owner_state, names, (state,), deadline)
        written: int = understood(reply, int, int)[1]
        return written

    def revoke_owner(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """Remove all PATs of an owner, durably; their ids."""
        keys = self._keys

        def names(pat_ids: list[str]) -> list[bytes]:
            of_pats = ((keys.pat(one), keys.requests(one), keys.exchanges(one)) for one in pat_ids)
            return [keys.owner(tag, owner_id), keys.owner_index(tag, owner_id), *chain.from_iterable(of_pats)]

        reply, pat_ids = self._on_all_of(owner_id, tag, self._revoke_owner, names, (), deadline)
        if pat_ids:
            self.tenant.forget(pat_ids, deadline)
        if 1 not in reply[1:]:
            self.confirm_removals(tag, deadline)  # nothing of its own to wait for
        return [pat_id for pat_id, removed in zip(pat_ids, reply[1:], strict=True) if removed == 1]

    def _on_all_of(
        self,
        owner_id: str,
        tag: str,
        script: Script,
        names: Callable[[list[str]], list[bytes]],
        arguments: tuple[bytes, ...],
        deadline: float,
    ) -> tuple[list[Any], list[str]]:
        """Run a script over all of an owner's PATs as they were at one sequence; again if they changed."""
        read = [("HGET", self._keys.owner(tag, owner_id), "sequence")]
        for _ in range(_TRIES):
            (sequence,) = self._scripts.call(read, deadline, retry=True)
            pat_ids = self.pat_ids_of(owner_id, tag, deadline=deadline)
            reply = self._scripts.run_durably(
                script, names(pat_ids), (sequence or b"0", *arguments), deadline
            )
            if reply[0] == 1:
                return reply, pat_ids
            if reply[0] != 0:
                raise not_understood("a PAT record", "unknown schema")
        raise StoreUnavailable(detail=f"the PATs of owner {owner_id} kept changing")

    def records(self, pat_ids: Sequence[str], *, deadline: float) -> tuple[int, list[bytes | None]]:
        """The clock (ms) and PAT records of one owner tag, None where there is none."""
        names = [self._keys.pat(pat_id) for pat_id in pat_ids]
        now, *found = self._scripts.run(self._read, names, (), deadline)
        if len(found) != len(names) or not all(isinstance(record, bytes | None) for record in found):
            raise not_understood("records", "of another form")
        return now, found

    def token(self, pat_id: str, digest: bytes, *, deadline: float) -> tuple[int, bytes | None, bytes | None]:
        """The clock (ms), PAT record and access token record, by the SHA-256 of its text."""
        names = [self._keys.pat(pat_id), self._keys.access_token(pat_id, digest)]
        now, *found = self._scripts.run(self._read, names, (), deadline)
        if len(found) != 2 or not all(isinstance(record, bytes | None) for record in found):
            raise not_understood("records", "of another form")
        return now, found[0], found[1]

    def delete_token(self, pat_id: str, digest: bytes, *, deadline: float) -> bool:
        """Remove an access token, durably. Whether it was there. Raises `NotDurable`: repeat it."""
        names = [self._keys.access_token(pat_id, digest)]
        removed: bool = self._scripts.run_durably(self._delete_token, names, (), deadline)[0] == 1
        if not removed:
            self.confirm_removals(pat_id[:8], deadline)  # another has removed it, and may still be waiting
        return removed

    def pat_ids_of(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """The ids of an owner's PATs, in no order."""
        index = self._keys.owner_index(tag, owner_id)
        (entries,) = self._scripts.call([("HVALS", index)], deadline, retry=True)
        if not isinstance(entries, list) or not all(isinstance(entry, bytes) for entry in entries):
            raise not_understood("owner index", "of another form")
        return [entry[:16].hex() for entry in entries]

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

    def _confirm(self, tag: str, call: Call) -> None:
        if self._scripts.waits:
            self._scripts.durably(self._barrier, [self._keys.barrier(tag)], (), call)
