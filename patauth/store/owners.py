"""Owners in the store: what holds for all PATs of an owner.

An owner may have thousands of PATs. So no script reads all of them: what changes all does so in pieces, one
script for each. The owner record, or a key that stops creations, comes first, so that no new PAT escapes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import Conflict, StoreUnavailable
from ..model.pat_id import PatId
from ..model.quota import Quota
from .asking import Pause, refuse_late
from .keys import Keys, OwnerKeys
from .pats import Pats
from .record import SCHEMA, VERSION_BYTES, id_in_entry, not_understood
from .scripts import OWNER_INDEX, PRELUDE, Arguments, NotDurable, Script, Scripts, Unfinished, understood
from .tenant_index import TenantIndex
from .transport.protocol import Unanswered

_BEGIN, _STATE = Script("owner_begin", PRELUDE), Script("owner_state", PRELUDE)
_REVOKE = Script("revoke_owner", PRELUDE, OWNER_INDEX)
_PAGE, _MEND = Script("owner_page", PRELUDE, OWNER_INDEX), Script("owner_mend", PRELUDE, OWNER_INDEX)
_CHARGE = Script("charge", PRELUDE)

_PIECE = 100  # PATs that one script changes
_UNDER_WAY = 10_000  # ms for which an interrupted change of all PATs leaves its trace
# An owner record, and what follows it during a change: the entry that the last piece ended with.
_STATE_AT, _EPOCH_AT, _LAST_AT = 1, 2, 10
_EPOCH_BYTES = _LAST_AT - _EPOCH_AT
_UNKNOWN = 2  # what lua/owner_state.lua says of a PAT whose schema it does not know


class Page(NamedTuple):
    """Some of the PATs of an owner, in order of creation."""

    now: int  # ms, the store's clock
    total: int  # of all PATs of the owner
    entries: list[bytes]
    pat_ids: list[PatId]


class Charge(NamedTuple):
    """What a quota says: `micros` is the backlog if it allows the request, else the wait (µs)."""

    allowed: bool
    micros: int


@dataclass(frozen=True, slots=True)
class Owners:
    """Lists, disables, enables and revokes the owners of one tenant, and charges their quotas."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex
    pats: Pats

    # -- quotas ---------------------------------------------------------------------------------------

    def charge_creation(self, owner_id: str, tag: str, quota: Quota) -> Charge:
        """Charge an owner for a PAT that they make."""
        return self._charge(self.keys.owner(tag, owner_id).creations, quota)

    def charge_request(self, owner_id: str, tag: str, quota: Quota) -> Charge:
        """Charge an owner for a request that they make as a signed-in person."""
        return self._charge(self.keys.owner(tag, owner_id).requests, quota)

    def _charge(self, name: bytes, quota: Quota) -> Charge:
        reply = self.scripts.run(_CHARGE, [name], (quota.emission_us, quota.tolerance_us))
        allowed, micros = understood(reply, int, int)
        return Charge(allowed == 1, micros)

    # -- listing --------------------------------------------------------------------------------------

    def page(self, owner_id: str, tag: str, offset: int, count: int) -> Page:
        """Return at most `count` PATs of an owner in order of creation. Skip the first `offset`.

        PATs that are past their retention are not among them; their entries are removed first.
        """
        keys = self.keys.owner(tag, owner_id)
        arguments = (self.tenant_index.retention_ms, _PIECE, offset, count)
        left = 1
        while left:
            reply = self.scripts.run(_PAGE, keys.indexes, arguments)
            now, left, total, *entries = understood(reply, int, int, int)
        return Page(now, total, entries, [id_in_entry(entry, tag) for entry in entries])

    def mend(self, owner_id: str, tag: str, entries: Sequence[bytes]) -> int:
        """Remove those of these entries that have no record. Return how many it removed."""
        records = [self.keys.pat(id_in_entry(entry, tag)) for entry in entries]
        names = [*self.keys.owner(tag, owner_id).indexes, *records]
        return int(self.scripts.run(_MEND, names, entries)[0])

    def sweep(self) -> Iterator[int]:
        """Remove the entries without a record of all owners, in pieces. Yield how many each piece removed.

        An owner's entries and records are written in one step, so an entry never waits for its record. Reads
        the whole key space with SCAN.
        """
        for found in self.scripts.scan("SCAN", match=self.keys.owner_indexes, count=1000):
            yield 0
            for tag, owner_id in map(self.keys.owner_in, found):
                for entries in self._entries(owner_id, tag, _PIECE):
                    yield self.mend(owner_id, tag, entries)

    def walk(self, owner_id: str, tag: str, size: int) -> Iterator[list[PatId]]:
        """Yield the ids of all PATs of an owner, in order of creation and in pieces of `size`.

        None is missing that is there from begin to end.
        """
        for entries in self._entries(owner_id, tag, size):
            yield [id_in_entry(entry, tag) for entry in entries]

    def _entries(self, owner_id: str, tag: str, size: int) -> Iterator[list[bytes]]:
        name, after = self.keys.owner(tag, owner_id).created, b"-"
        while True:
            command = ("ZRANGEBYLEX", name, after, "+", "LIMIT", 0, size)
            (entries,) = self.scripts.call([command], retry=True)
            if not isinstance(entries, list):
                raise not_understood("owner index", "of another form")
            if entries:
                yield entries
            if len(entries) < size:
                return
            after = b"(" + entries[-1]

    # -- changing all PATs ----------------------------------------------------------------------------

    def set_state(self, owner_id: str, tag: str, *, disabled: bool) -> list[PatId]:
        """Disable or enable an owner durably. Return the ids of the PATs whose record says so now.

        Raise `NotDurable` and `Unfinished`, whose result are these ids so far, `Conflict` when a call that
        began later does the opposite, or `StoreUnavailable`. It is safe to repeat.
        """
        keys = self.keys.owner(tag, owner_id)
        record, piece = self._begin(keys, tag, disabled)
        done, pause, is_done = _Done(tag), Pause(), False
        with done.told():
            while not is_done:
                try:
                    following = self._write_state(keys, record, piece, done, pause)
                except _Otherwise as found:
                    if piece and found.record == record[:_LAST_AT] + piece[-1]:
                        record = found.record  # our reply was lost; the same again tells what was there
                    else:
                        record, piece = self._go_on(keys, tag, disabled, found.record)
                    continue
                is_done = not piece and not following
                if piece:
                    record = record[:_LAST_AT] + piece[-1]
                piece = following
            if done.unread:
                raise not_understood("PAT record", f"unknown schema of {', '.join(done.unread)}")
        pause.wait()
        return done.pat_ids

    def _begin(self, keys: OwnerKeys, tag: str, disabled: bool) -> tuple[bytes, list[bytes]]:
        """Write a new owner record. Return it and the first entries of the owner index."""
        record = SCHEMA + (b"d" if disabled else b"a") + secrets.token_bytes(_EPOCH_BYTES)
        latest = self.pats.latest(self.pats.now(tag))
        arguments = (latest, record, b"" if disabled else _UNDER_WAY, _PIECE)
        reply = self.scripts.run(_BEGIN, [keys.record, keys.created], arguments, retry=False)
        refuse_late(reply)
        return record, reply[1:]

    def _go_on(self, keys: OwnerKeys, tag: str, disabled: bool, found: bytes) -> tuple[bytes, list[bytes]]:
        """Return the record and the piece with which to go on: another owner record than ours was found."""
        if not found:  # lost, or another call has ended since
            return self._begin(keys, tag, disabled)
        if (found[_STATE_AT:_EPOCH_AT] == b"d") == disabled:
            return found, []  # another call does the same, or a failover has lost our last pieces
        done = "enables" if disabled else "disables"
        raise Conflict(f"another call {done} this owner at the same time; repeat yours if it is to win")

    def _write_state(
        self, keys: OwnerKeys, record: bytes, piece: list[bytes], done: _Done, pause: Pause
    ) -> list[bytes]:
        """Write the state in `record` into the PATs of a piece. Return the entries that follow.

        Without a piece, this looks for what is left. If nothing is, it ends the change, durably.
        """
        pats = [self.keys.pat(pat_id) for pat_id in done.ids_in(piece)]
        names = [keys.record, keys.created, self.keys.ends(done.tag), *pats]
        versions = secrets.token_bytes(VERSION_BYTES * len(pats))
        arguments: Arguments = (record, piece[-1] if piece else b"", _PIECE, _UNDER_WAY, versions)

        def read(reply: list[Any]) -> list[bytes]:
            if reply[0] == 0:
                raise _Otherwise(understood(reply, int, bytes)[1])
            pause.note(reply)
            return done.add(piece, reply)

        if piece:
            return read(self.scripts.run(_STATE, names, arguments))
        return self.scripts.run_durably(_STATE, names, arguments, read)

    def revoke(self, owner_id: str, tag: str) -> list[PatId]:
        """Delete all PATs of an owner durably. Return their ids.

        Nobody makes a PAT for the owner meanwhile, so this ends. Raise `NotDurable` and `Unfinished`, whose
        result are the ids so far, or `StoreUnavailable`. It is safe to repeat.
        """
        keys = self.keys.owner(tag, owner_id)
        done, pause, is_done = _Done(tag), Pause(), False
        piece = self._remove(keys, [], done, pause)
        with done.told():
            while not is_done:
                # The last call finds none. It writes, so what it has found is durable.
                following = self._remove(keys, piece, done, pause, durably=not piece)
                is_done, piece = not piece and not following, following
        pause.wait()
        return done.pat_ids

    def _remove(
        self, keys: OwnerKeys, piece: list[bytes], done: _Done, pause: Pause, *, durably: bool = False
    ) -> list[bytes]:
        """Delete the PATs of a piece. Return the entries that follow."""
        pat_ids = done.ids_in(piece)
        pats = [name for pat_id in pat_ids for name in self.keys.all_of(pat_id)]
        names = [keys.removing, *keys.indexes, self.keys.ends(done.tag), *pats]
        arguments: Arguments = (_UNDER_WAY, _PIECE, *piece)

        def read(reply: list[Any]) -> list[bytes]:
            pause.note(reply)
            return done.add(piece, reply)

        if durably:
            return self.scripts.run_durably(_REVOKE, names, arguments, read)
        try:
            following = read(self.scripts.run(_REVOKE, names, arguments, retry=not piece))
        except Unanswered:
            done.pat_ids += pat_ids  # a second try would find none, and nobody would tell that they are gone
            raise
        if pat_ids:
            self.tenant_index.forget(pat_ids)
        return following


class _Done:
    """What a change of all PATs of an owner has done so far."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.pat_ids: list[PatId] = []
        self.unread: list[PatId] = []  # whose record has a schema that this version does not know

    def ids_in(self, piece: list[bytes]) -> list[PatId]:
        """Return the ids of the PATs of a piece."""
        return [id_in_entry(entry, self.tag) for entry in piece]

    def add(self, piece: list[bytes], reply: list[Any]) -> list[bytes]:
        """Add the PATs of a piece that a script's answer says were there. Return the entries that follow."""
        flags, following = reply[2 : 2 + len(piece)], reply[2 + len(piece) :]
        found = zip(self.ids_in(piece), understood(flags, *[int] * len(piece)), strict=True)
        for pat_id, flag in found:
            if flag == 1:
                self.pat_ids.append(pat_id)
            elif flag == _UNKNOWN:
                self.unread.append(pat_id)
        return following

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the caller in an error what was done before it."""
        try:
            yield
        except NotDurable as problem:
            problem.result = self.pat_ids
            raise
        except StoreUnavailable as problem:
            raise Unfinished(self.pat_ids, detail=problem.detail or "") from None


class _Otherwise(Exception):
    """The owner record is not the one that was expected."""

    def __init__(self, record: bytes) -> None:
        self.record = record
