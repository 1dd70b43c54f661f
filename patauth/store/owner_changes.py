"""Changes of all PATs of an owner: disabling, enabling, revoking.

An owner may have thousands of PATs. So a change goes in pieces, one script for each. The owner record, or a
key that stops creations, comes first, so that no new PAT escapes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, StoreUnavailable
from ..model.pat_id import PatId
from .asking import Pause, refuse_undone
from .keys import Keys, OwnerKeys
from .pats import Pats
from .record import OF_ANOTHER_VERSION, SCHEMA, VERSION_BYTES, id_in_entry, not_understood
from .removed import REMOVED, Removal
from .scripts import OWNER_INDEX, PRELUDE, Arguments, NotDurable, Script, Scripts, Unfinished, understood
from .tenant_index import TenantIndex
from .transport.protocol import Unanswered

_BEGIN, _STATE = Script("owner_begin", PRELUDE), Script("owner_state", PRELUDE)
_REVOKE = Script("revoke_owner", PRELUDE, OWNER_INDEX, REMOVED)

_PIECE = 100  # PATs that one script changes
_UNDER_WAY = 10_000  # ms for which an interrupted change of all PATs leaves its trace
# Offsets in an owner record; lua/prelude.lua has what follows its head during a change.
_STATE_AT, _EPOCH_AT, _EPOCH_BYTES = 1, 2, 8
_HEAD = _EPOCH_AT + _EPOCH_BYTES
_WRITTEN, _UNKNOWN = 1, 2  # what the scripts say of a PAT; 2: it has a schema that this version does not know
_KEPT = 2  # what lua/revoke_owner.lua says of a PAT


@dataclass(frozen=True, slots=True)
class OwnerChanges:
    """Disables, enables and revokes the owners of one tenant."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex
    pats: Pats

    # -- disabling and enabling -----------------------------------------------------------------------

    def set_state(self, owner_id: str, tag: str, *, disabled: bool) -> list[PatId]:
        """Disable or enable an owner durably. Return the ids of the PATs whose record says so now.

        Raise `NotDurable` and `Unfinished`, whose result are these ids so far, `Conflict` when a call that
        began later does the opposite, or `StoreUnavailable`, also if a PAT has a schema that this version
        does not know. It is safe to repeat.
        """
        keys = self.keys.owner(tag, owner_id)
        record, piece = self._begin(keys, tag, disabled)
        done, pause = _Done(tag), Pause()
        with done.reported():
            while True:
                try:
                    if not piece:
                        record, piece = self._finish(keys, record, done, pause)
                        if not piece:
                            break
                    record, piece = self._write_state(keys, record, piece, done, pause)
                except _RecordDiffers as found:
                    if piece and found.record[:_HEAD] == record[:_HEAD] and found.record.endswith(piece[-1]):
                        record = found.record  # our reply was lost; the same again tells what was there
                    else:
                        record, piece = self._go_on(keys, tag, disabled, found.record)
            if done.has_met_unknown:
                raise not_understood("PAT record", f"{OF_ANOTHER_VERSION}; {', '.join(done.unknown)}")
        pause.wait()
        return done.pat_ids

    def _begin(self, keys: OwnerKeys, tag: str, disabled: bool) -> tuple[bytes, list[bytes]]:
        """Write a new owner record. Return it and the first entries of the owner index."""
        record = SCHEMA + (b"d" if disabled else b"a") + secrets.token_bytes(_EPOCH_BYTES)
        latest = self.pats.latest(self.pats.now(tag))
        arguments = (latest, record, b"" if disabled else _UNDER_WAY, _PIECE)
        reply = self.scripts.run(_BEGIN, [keys.record, keys.created], arguments, retry=False)
        refuse_undone(reply)
        return record, reply[1:]

    def _go_on(self, keys: OwnerKeys, tag: str, disabled: bool, found: bytes) -> tuple[bytes, list[bytes]]:
        """Return the record and the piece with which to go on: another owner record than ours was found."""
        if not found:  # lost, or another call has ended since
            return self._begin(keys, tag, disabled)
        if (found[_STATE_AT:_EPOCH_AT] == b"d") == disabled:
            return found, []  # another call does the same, or a failover has lost our last pieces
        other = "enabling" if disabled else "disabling"
        raise Conflict(f"{other} this owner began later, at the same time; repeat your call to override it")

    def _write_state(
        self, keys: OwnerKeys, record: bytes, piece: list[bytes], done: _Done, pause: Pause
    ) -> tuple[bytes, list[bytes]]:
        """Write the state in `record` into the PATs of a piece. Return the new record, and what follows."""
        pats = [self.keys.pat(pat_id) for pat_id in done.ids_in(piece)]
        versions = secrets.token_bytes(VERSION_BYTES * len(pats))
        reply = self.scripts.run(_STATE, *self._state_call(keys, record, piece[-1], versions, pats, done.tag))
        return done.read_state(piece, reply, pause)

    def _finish(self, keys: OwnerKeys, record: bytes, done: _Done, pause: Pause) -> tuple[bytes, list[bytes]]:
        """End the change durably, unless PATs are left. Return the record, and these."""
        call = self._state_call(keys, record, b"", b"", [], done.tag)
        return self.scripts.run_durably(_STATE, *call, lambda reply: done.read_state([], reply, pause))

    def _state_call(
        self, keys: OwnerKeys, record: bytes, last: bytes, versions: bytes, pats: list[bytes], tag: str
    ) -> tuple[list[bytes], Arguments]:
        names = [keys.record, keys.created, self.keys.ends(tag), *pats]
        return names, (record, last, _PIECE, _UNDER_WAY, versions)

    # -- revoking -------------------------------------------------------------------------------------

    def revoke(self, owner_id: str, tag: str, removal: Removal) -> list[PatId]:
        """Delete all PATs of an owner durably, and keep what `removal` says of them. Return their ids.

        Nobody makes a PAT for the owner meanwhile, so this ends. Raise `NotDurable` and `Unfinished`, whose
        result are the ids so far, or `StoreUnavailable`. It is safe to repeat.
        """
        done, pause, is_done = _Done(tag), Pause(), False
        piece = self._remove(owner_id, removal, [], done, pause)
        with done.reported():
            while not is_done:
                # The last call finds none. It writes, so what it has found is durable.
                following = self._remove(owner_id, removal, piece, done, pause, durably=not piece)
                is_done, piece = not piece and not following, following
        pause.wait()
        return done.pat_ids

    def _remove(
        self,
        owner_id: str,
        removal: Removal,
        piece: list[bytes],
        done: _Done,
        pause: Pause,
        *,
        durably: bool = False,
    ) -> list[bytes]:
        """Delete the PATs of a piece. Return the entries that follow."""
        keys, pat_ids, removed = self.keys.owner(done.tag, owner_id), done.ids_in(piece), self.pats.removed
        pats = [name for pat_id in pat_ids for name in (*self.keys.all_of(pat_id), self.keys.removed(pat_id))]
        names = [keys.removing, *keys.indexes, self.keys.ends(done.tag), keys.removed, *pats]
        most, note = removed.asking(removal)
        arguments: Arguments = (_UNDER_WAY, _PIECE, removed.retention_ms, most, note, *piece)
        removed_ms, kept, surplus = 0, list[PatId](), list[Any]()

        def read(reply: list[Any]) -> list[bytes]:
            nonlocal removed_ms
            _, ms, removed_ms, too_many, *rest = understood(reply, int, int, int, int)
            flags, rest = rest[: len(piece)], rest[len(piece) :]
            kept.extend(pat_id for pat_id, flag in zip(pat_ids, flags, strict=True) if flag == _KEPT)
            surplus.extend(rest[:too_many])
            gone = [int(flag != 0) for flag in flags]
            return done.read(piece, [1, ms, *gone, *rest[too_many:]], pause)

        if durably:
            return self.scripts.run_durably(_REVOKE, names, arguments, read)
        try:
            following = read(self.scripts.run(_REVOKE, names, arguments, retry=not piece))
        except Unanswered:
            done.add(pat_ids)  # a second try would find none, and nobody would tell that they are gone
            raise
        if pat_ids:
            self.tenant_index.forget(pat_ids, removed.entering(kept, removed_ms))
            removed.trim(owner_id, done.tag, surplus, most)
        return following


class _Done:
    """Holds what a change of all PATs of an owner has done so far."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self._found: dict[PatId, None] = {}  # a change that begins again meets a PAT again
        self.unknown: list[PatId] = []  # those whose schema is unknown and that this call has met
        self.has_met_unknown = False  # also if it was another call, or before a reply that was lost

    @property
    def pat_ids(self) -> list[PatId]:
        """The ids of the PATs that were there, each one once."""
        return list(self._found)

    def ids_in(self, piece: list[bytes]) -> list[PatId]:
        """Return the ids of the PATs of a piece."""
        return [id_in_entry(entry, self.tag) for entry in piece]

    def add(self, pat_ids: list[PatId]) -> None:
        """Add PATs that were there."""
        self._found.update(dict.fromkeys(pat_ids))

    def read_state(self, piece: list[bytes], reply: list[Any], pause: Pause) -> tuple[bytes, list[bytes]]:
        """Read an answer of lua/owner_state.lua. Return the owner record, and the entries that follow.

        Raise `_RecordDiffers`.
        """
        if reply[0] == 0:
            raise _RecordDiffers(understood(reply, int, bytes)[1])
        _, ms, met, record, *rest = understood(reply, int, int, int, bytes)
        self.has_met_unknown = met == 1
        return record, self.read(piece, [1, ms, *rest], pause)

    def read(self, piece: list[bytes], reply: list[Any], pause: Pause) -> list[bytes]:
        """Read an answer: the outcome for the PATs of a piece. Return the entries that follow."""
        pause.note(reply)
        flags, following = reply[2 : 2 + len(piece)], reply[2 + len(piece) :]
        found = zip(self.ids_in(piece), understood(flags, *[int] * len(piece)), strict=True)
        for pat_id, flag in found:
            if flag == _WRITTEN:
                self.add([pat_id])
            elif flag == _UNKNOWN:
                self.unknown.append(pat_id)
        return following

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Add to an error what was done before it."""
        try:
            yield
        except NotDurable as problem:
            problem.result = self.pat_ids
            raise
        except StoreUnavailable as problem:
            raise Unfinished(self.pat_ids, detail=problem.detail or "") from None


class _RecordDiffers(Exception):
    """The owner record is not the one that was expected."""

    def __init__(self, record: bytes) -> None:
        self.record = record
