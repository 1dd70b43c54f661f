"""The store: one implementation that speaks Redis commands, whatever engine answers.

One script for each operation, all of its keys declared and in one slot. Nothing here decides anything that a
caller could see: it moves records and verdicts. Everything that goes wrong is `StoreUnavailable`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from ..errors import StoreUnavailable
from ..keyring import Keyring
from ..quota import Quota
from .connection import REQUEST_DEADLINE, ScriptMissing, Transport
from .keys import Keys
from .local import LocalEngine
from .record import not_understood, pack_expiry
from .wire import Command

REFUSED, ADMITTED, LIMITED = 0, 1, 2  # verdicts of lua/authenticate.lua
_TRIES = 5  # for what must see all PATs of an owner at once
OVER, ISSUED, CHANGED = 0, 1, 2  # of lua/issue.lua

Creation = Literal["made", "disabled", "taken", "full", "exists"]
_OUTCOMES: dict[int, Creation] = {0: "made", 1: "disabled", 2: "taken", 3: "full", 4: "exists"}


class NotDurable(StoreUnavailable):
    """Written, but not known to be durable in time: safe to repeat."""

    default = "done, but not yet known to be durable; repeat the call"


class Script:
    """A Lua script with the prelude before it: called by its digest, sent when the server lacks it."""

    def __init__(self, name: str) -> None:
        folder = files(__package__) / "lua"
        self.text = (folder / "prelude.lua").read_bytes() + (folder / f"{name}.lua").read_bytes()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest().encode()


class Verdict(NamedTuple):
    """What the store says of one request."""

    verdict: int
    now: int  # ms, the store's clock
    micros: int  # admitted: the quota's backlog; limited: the wait
    pat: bytes  # PAT record
    token: bytes | None  # access token record


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
        self._keys = keys
        self._kept_outside = secret_key is not None
        self._own = Keyring(secret_key) if secret_key is not None else None
        self._keyring: Keyring | None = None
        self._wait = wait
        self._can_wait = False  # known to
        self._patience = patience
        self.engine = engine
        self._clock = clock
        self._authenticate = Script("authenticate")
        self._issue = Script("issue")
        self._touch = Script("touch")
        self._create = Script("create")
        self._delete = Script("delete")
        self._read = Script("read")
        self._owner_state = Script("owner_state")
        self._revoke_owner = Script("revoke_owner")
        self._store_key = Script("store_key")

    def deadline(self) -> float:
        """When the store calls of a request that starts now must be over (`time.monotonic()`)."""
        if self.engine is not None:
            self.engine.acquire()
        return time.monotonic() + REQUEST_DEADLINE

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
        reply = self._run(self._authenticate, names, arguments, deadline, retry=True)
        try:
            verdict = reply[0]
            if verdict == REFUSED:
                return Verdict(REFUSED, reply[1], 0, b"", None)
            if verdict != ADMITTED and verdict != LIMITED:
                raise ValueError(f"verdict {verdict!r}")
            pat = reply[3]
            # Belt and braces: a reply that belongs to another caller must not lend its identity.
            if pat[30:46] != bytes.fromhex(pat_id):
                raise ValueError("the record of another PAT")
            if token is None:
                return Verdict(verdict, reply[1], reply[2], pat, None)
            if reply[4][10:26] != pat[30:46]:
                raise ValueError("the access token of another PAT")
            return Verdict(*reply)
        except (TypeError, ValueError, IndexError) as problem:
            raise not_understood("verdict", problem) from None

    def issue(
        self, pat_id: str, seen: bytes, digest: bytes, token: bytes, *, deadline: float
    ) -> tuple[int, bytes]:
        """Write an access token if the PAT is still what was seen.

        Returns (ISSUED, b""), (OVER, b"") when the PAT is gone or its time is over, or (CHANGED, record).
        """
        names = [self._keys.pat(pat_id), self._keys.access_token(pat_id, digest)]
        reply = self._run(self._issue, names, (seen, token), deadline, retry=True)
        return reply[0], reply[2] if reply[0] == CHANGED else b""

    def touch(self, pat_id: str, used_ms: int, *, deadline: float) -> bool:
        """Write a use, unless that UTC day has one; then the tenant's index. Whether it was written."""
        moment = used_ms.to_bytes(6)
        names = [self._keys.pat(pat_id)]
        written = self._run(self._touch, names, (moment,), deadline, now=used_ms, retry=True)[0] == 1
        if written:
            self._transport.call([("ZADD", self._keys.tenant_used, "XX", used_ms, pat_id)], deadline)
        return bool(written)

    # -- management -----------------------------------------------------------------------------------

    def now(self, deadline: float) -> int:
        """The store's clock, ms."""
        now: int = self._run(self._read, [], (), deadline, retry=True)[0]
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
        self._transport.call(
            [
                ("ZADD", keys.tenant_created, "NX", created_ms, pat_id),
                ("ZADD", keys.tenant_used, "NX", 0, pat_id),
            ],
            deadline,
        )
        names = [keys.pat(pat_id), keys.owner(tag, owner_id), keys.owner_index(tag, owner_id)]
        entry = bytes.fromhex(pat_id) + pack_expiry(expires_ms)
        keep = b"" if keep_ms is None else keep_ms
        arguments = (record, name, entry, keep, most, retention_ms)
        command = _by_text(self._create, self._by_digest(self._create, names, arguments))
        try:
            reply = self._durably(command, lambda sent: self._call(sent, deadline))
        except StoreUnavailable as problem:
            # It may have been written all the same, and nobody will ever be shown its secret.
            with suppress(StoreUnavailable):
                self.delete(pat_id, owner_id, deadline=self.deadline())
            raise StoreUnavailable(detail=problem.detail) from None
        outcome = _OUTCOMES.get(_understood(reply)[0])
        if outcome is None:
            raise not_understood("creation", repr(reply))
        if outcome not in ("made", "exists"):
            self._forget_in_tenant([pat_id], deadline)
        return outcome

    def delete(self, pat_id: str, owner_id: str, *, deadline: float) -> bool:
        """Remove a PAT, durably: record before index. Whether it was there.

        Raises `StoreUnavailable` when it is not known to be durable in time: repeat it.
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
        command = _by_text(self._delete, self._by_digest(self._delete, names, (bytes.fromhex(pat_id),)))
        try:
            reply = self._durably(command, lambda sent: self._call(sent, deadline))
        except NotDurable:
            self._forget_in_tenant([pat_id], deadline)
            raise
        removed = _understood(reply)[0] == 1
        self._forget_in_tenant([pat_id], deadline)
        return bool(removed)

    def confirm_absence(self, tag: str, deadline: float) -> None:
        """Wait until earlier removals, whose outcome may be unknown, are durable."""
        if self._wait is not None:
            self._durably(self._barrier(tag), lambda sent: self._call(sent, deadline))

    def set_owner_state(self, owner_id: str, tag: str, *, disabled: bool, deadline: float) -> int:
        """Disable or enable an owner, durably; how many PATs that was written into."""

        def attempt(pat_ids: list[str], sequence: bytes) -> Command:
            names = [self._keys.owner(tag, owner_id), *map(self._keys.pat, pat_ids)]
            return self._by_digest(self._owner_state, names, (sequence, b"1" if disabled else b"0"))

        written, _ = self._on_all_of(owner_id, tag, self._owner_state, attempt, deadline)
        return written

    def revoke_owner(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """Remove all PATs of an owner, durably; their ids."""
        keys = self._keys

        def attempt(pat_ids: list[str], sequence: bytes) -> Command:
            names = [keys.owner(tag, owner_id), keys.owner_index(tag, owner_id)]
            for pat_id in pat_ids:
                names += [keys.pat(pat_id), keys.requests(pat_id), keys.exchanges(pat_id)]
            return self._by_digest(self._revoke_owner, names, (sequence,))

        _, pat_ids = self._on_all_of(owner_id, tag, self._revoke_owner, attempt, deadline)
        if pat_ids:
            self._forget_in_tenant(pat_ids, deadline)
        return pat_ids

    def _on_all_of(
        self,
        owner_id: str,
        tag: str,
        script: Script,
        attempt: Callable[[list[str], bytes], Command],
        deadline: float,
    ) -> tuple[int, list[str]]:
        """Run a script over all of an owner's PATs as they were at one sequence; again if they changed."""
        read = [
            ("HGET", self._keys.owner(tag, owner_id), "sequence"),
            ("HVALS", self._keys.owner_index(tag, owner_id)),
        ]
        for _ in range(_TRIES):
            sequence, entries = self._transport.call(read, deadline, retry=True)
            pat_ids = [entry[:16].hex() for entry in entries]
            command = _by_text(script, attempt(pat_ids, sequence or b"0"))
            reply = _understood(self._durably(command, lambda sent: self._call(sent, deadline)))
            if reply[0] == 1:
                return reply[1], pat_ids
        raise StoreUnavailable(detail=f"the PATs of owner {owner_id} kept changing")

    def records(self, pat_ids: Sequence[str], *, deadline: float) -> tuple[int, list[bytes | None]]:
        """The clock (ms) and PAT records of one owner tag, None where there is none."""
        names = [self._keys.pat(pat_id) for pat_id in pat_ids]
        reply = self._run(self._read, names, (), deadline, retry=True)
        return reply[0], reply[1:]

    def pat_ids_of(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """The ids of an owner's PATs, in no order."""
        index = self._keys.owner_index(tag, owner_id)
        (entries,) = self._transport.call([("HVALS", index)], deadline, retry=True)
        return [entry[:16].hex() for entry in entries]

    def purge_access_tokens(self) -> Iterator[int]:
        """Remove all access token records, piece by piece; how many each time. Durable at the end."""
        cursor: Any = 0
        while True:
            deadline = self.deadline()
            scan = ("SCAN", cursor, "MATCH", self._keys.access_tokens, "COUNT", 1000)
            ((cursor, found),) = self._transport.call([scan], deadline, retry=True)
            # One by one: keys of several slots in one command would not do on a cluster.
            yield sum(self._transport.call([("DEL", key) for key in found], deadline)) if found else 0
            if int(cursor) == 0:
                break
        self.confirm_absence("store", self.deadline())

    def ping(self, *, deadline: float) -> None:
        """Reach the store, or raise `StoreUnavailable`."""
        self._transport.call([("PING",)], deadline, retry=True)

    def _forget_in_tenant(self, pat_ids: list[str], deadline: float) -> None:
        keys = self._keys
        self._transport.call(
            [("ZREM", keys.tenant_created, *pat_ids), ("ZREM", keys.tenant_used, *pat_ids)], deadline
        )

    # -- the store key --------------------------------------------------------------------------------

    def keyring(self, deadline: float) -> Keyring:
        """The keys of this store; made or read at the first use."""
        return self._keyring or self.settle_key(deadline)

    def settle_key(self, deadline: float) -> Keyring:
        """Make, read or put back the store key, and refuse a store of another one."""
        return self.settle_key_over(lambda commands: self._call(commands, deadline))

    def settle_key_over(self, call: Callable[[Sequence[Command]], list[Any]]) -> Keyring:
        """The same over a connection of one's own; for each new connection."""
        if self._wait is not None and self._wait[0] == "WAITAOF" and not self._can_wait:
            if call([("COMMAND", "INFO", "WAITAOF")])[0] == [None]:
                self._wait = None  # Redis before 7.2
            self._can_wait = True
        mine = self._own or self._keyring or Keyring(secrets.token_bytes(32))
        for _ in range(2):
            names = [self._keys.store_key, self._keys.store_check]
            arguments = (b"" if self._kept_outside else mine.store_key, mine.check_value)
            command = _by_text(self._store_key, self._by_digest(self._store_key, names, arguments))
            wrote, key, check = _understood(call([command])[0])
            if wrote and self._wait is not None:  # durable before its first use
                self._durably(self._barrier("store"), call)
            if self._kept_outside:
                if check != mine.check_value and (check or key != mine.store_key):
                    raise _other_key("the setting secret_key is not the key that this store was made with")
            elif not key:
                raise _other_key("this store was made with the setting secret_key; set it to the same value")
            elif self._keyring is not None and key != self._keyring.store_key:
                raise _other_key("the store key has changed; was another store put in its place?")
            elif key != mine.store_key:
                mine = Keyring(key)  # another process, or this one while connecting, has made it
            if check == mine.check_value:
                break
        else:
            if check or not self._kept_outside:
                raise _other_key("the store key does not match its check value")
        self._keyring = mine
        return mine

    def _barrier(self, tag: str) -> Command:
        """A write for WAIT and WAITAOF to wait for; with it, for all that were written before."""
        return ("SET", self._keys.barrier(tag), b"", "PX", 1000)

    # -- sending --------------------------------------------------------------------------------------

    def _run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes | str | int],
        deadline: float,
        *,
        now: int | None = None,
        retry: bool = False,
    ) -> list[Any]:
        """The answer of a script: a list that begins with a number, or it is not understood."""
        command = self._by_digest(script, keys, arguments, now)
        try:
            (reply,) = self._transport.call((command,), deadline, retry=retry)
        except ScriptMissing:
            (reply,) = self._transport.call((_by_text(script, command),), deadline, retry=retry)
        return _understood(reply)

    def _call(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        return self._transport.call(commands, deadline, patience=self._patience if self._wait else 0.0)

    def _durably(self, command: Command, call: Callable[[Sequence[Command]], list[Any]]) -> Any:
        """The reply of a command, once durable: asked on the same connection, or it means nothing."""
        if self._wait is None:
            return call([command])[0]
        reply, reached = call([command, self._wait])
        done = reached[0] if isinstance(reached, list) else reached  # WAITAOF: [local, replicas]
        if done < self._wait[1]:
            raise NotDurable(detail=f"{self._wait[0]} answered {reached!r}")
        return reply

    def _by_digest(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes | str | int],
        now: int | None = None,
    ) -> Command:
        if now is None and self._clock is not None:
            now = self._clock()
        return ("EVALSHA", script.digest, len(keys), *keys, b"" if now is None else now, *arguments)


def _by_text(script: Script, command: Command) -> Command:
    return ("EVAL", script.text, *command[2:])


def _understood(reply: Any) -> list[Any]:
    if not isinstance(reply, list) or not reply or not isinstance(reply[0], int):
        raise not_understood("answer", f"{type(reply).__name__} of another form")
    return reply


def _other_key(why: str) -> StoreUnavailable:
    return StoreUnavailable(detail=f"secret_key: {why}")
