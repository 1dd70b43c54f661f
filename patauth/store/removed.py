"""Keep, list and forget the records of removed PATs.

A removal deletes the PAT first. What it then keeps has no secret, tag or digest and is under its own key.
Only a listing or a look-up that asks for it reads it. So no mistake here brings a PAT back. The script of the
removal writes the record and the entry in its owner's index. The entry in the tenant's index follows, in
another slot. If that is interrupted, the tenant's list lacks the PAT until a sweep adds it.

The number for each owner is limited. Those that the owner has removed go first, the oldest before the others:
a thief of a secret cannot push out what an operator has removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import StoreUnavailable
from ..model.pat import PersonalAccessToken, Requester
from ..model.pat_id import PatId
from .keys import Keys
from .record import PatRecord, check_id_of, not_understood, pack_note, unpack_removed
from .scripts import PRELUDE, Script, Scripts, texts, understood
from .tenant_index import Mended, TenantList
from .transport.wire import Command

_log = logging.getLogger("patauth.store")

REMOVED = "removed"  # a part of scripts
_READ, _TRIM = Script("read", PRELUDE), Script("removed_trim", PRELUDE)

_BY_OTHERS = 2**48  # lua/removed.lua has it, too
_ENTRY = 12  # bytes of an entry of an owner's index: a PAT id without the owner tag
_GONE_AT_ONCE = 10_000  # most entries past their retention that one step takes out
_PIECE = 500  # entries that one step reads
_SWEPT = 100  # the same of a sweep


class Removal(NamedTuple):
    """Who removes a PAT and why, and how many removed PATs its owner keeps."""

    by: Requester | None  # None: the application
    reason: str | None
    most: int
    by_owner: bool = False  # whether the PAT's owner asks for it


class Removed(TenantList):
    """Keeps, lists and forgets the removed PATs of one tenant. `retention_ms` is how long they are kept."""

    def __init__(self, scripts: Scripts, keys: Keys, retention_ms: int) -> None:
        super().__init__(scripts, keys, retention_ms, {"revokedAt": keys.tenant_removed})

    def lists(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT is listed: it is the tenant's, and was within its retention when read."""
        is_ours = pat.tenant == self._keys.tenant
        return is_ours and pat.revoked_ms is not None and pat.read_ms < pat.revoked_ms + self.retention_ms

    def _key_of(self, pat_id: PatId) -> bytes:
        return self._keys.removed(pat_id)

    def _unpack(self, data: bytes) -> PatRecord:
        return unpack_removed(data)

    # -- what accompanies a removal -------------------------------------------------------------------

    def asking(self, removal: Removal | None) -> tuple[int, bytes]:
        """Return the arguments of a script: how many removed PATs to keep, and the note; empty: nothing."""
        if removal is None or not removal.most or not self.retention_ms:
            return 0, b""
        return removal.most, pack_note(removal.by, removal.reason)

    def entering(self, pat_ids: Sequence[PatId], removed_ms: int) -> list[Command]:
        """Return the commands that enter PATs, which were removed at `removed_ms`, in the tenant's index."""
        if not pat_ids:
            return []
        name = self._keys.tenant_removed
        scores = [part for pat_id in pat_ids for part in (removed_ms, pat_id.raw)]
        return [("ZADD", name, *scores), ("PEXPIRE", name, self.retention_ms)]

    def trim(self, owner_id: str, tag: str, entries: Sequence[object], most: int) -> None:
        """Remove what is kept of these PATs of an owner, while they are too many.

        `entries` are of the owner's index. A failure goes to the log only: the next removal tries again.
        """
        if not entries:
            return
        try:
            pat_ids = [_id(entry, tag) for entry in entries]
            names = [self._keys.owner(tag, owner_id).removed, *map(self._key_of, pat_ids)]
            gone = self._scripts.run(_TRIM, names, (most, *(pat_id.raw[4:] for pat_id in pat_ids)))
            self._forget([pat_id for pat_id, flag in zip(pat_ids, gone, strict=True) if flag])
        except StoreUnavailable as problem:
            _log.warning("an owner has more removed PATs than the setting allows: %s", problem.detail)

    def _forget(self, pat_ids: Sequence[PatId]) -> int:
        """Take PATs out of the tenant's index. Return how many were there."""
        if not pat_ids:
            return 0
        command = ("ZREM", self._keys.tenant_removed, *(pat_id.raw for pat_id in pat_ids))
        return int(understood(self._scripts.call([command], retry=True), int)[0])

    # -- reading --------------------------------------------------------------------------------------

    def read(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        """Return what is kept of removed PATs in order, None for nothing and for a PAT that lives.

        All have the same owner tag.
        """
        now, *found = self._scripts.run(_READ, [self._key_of(pat_id) for pat_id in pat_ids])
        for pat_id, record in zip(pat_ids, found, strict=True):
            check_id_of(record, pat_id)
        records = [None if record is None else unpack_removed(record).as_read_at(now) for record in found]
        return self._of_ended(pat_ids, records)

    def records(self, pat_ids: Sequence[PatId], now: int) -> list[PatRecord | None]:
        """Return what `read` does, of any owners. `now` (ms) becomes their read time."""
        return self._of_ended(pat_ids, super().records(pat_ids, now))

    def missing(self, pat_ids: Sequence[PatId]) -> list[PatId]:
        """Return those of these PATs of which nothing is kept, or which live."""
        without = {*super().missing(pat_ids), *self._living(pat_ids)}
        return [pat_id for pat_id in pat_ids if pat_id in without]

    def _of_ended(self, pat_ids: Sequence[PatId], records: list[PatRecord | None]) -> list[PatRecord | None]:
        """Return the records, with None for those of PATs that live.

        No removal leaves such a PAT, but somebody may restore an older copy of its record. Then that one
        counts.
        """
        found = [pat_id for pat_id, record in zip(pat_ids, records, strict=True) if record is not None]
        living = self._living(found)
        return [None if pat_id in living else record for pat_id, record in zip(pat_ids, records, strict=True)]

    def _living(self, pat_ids: Sequence[PatId]) -> set[PatId]:
        there = self._exist(list(map(self._keys.pat, pat_ids)))
        return {pat_id for pat_id, known in zip(pat_ids, there, strict=True) if known}

    def walk_owner(self, owner_id: str, tag: str) -> Iterator[list[PatRecord]]:
        """Yield in pieces what is kept of an owner's removed PATs, each once, in no order.

        Take entries without a record out of the owner's index.
        """
        seen = set[PatId]()
        for entries in self._entries(owner_id, tag, _PIECE):
            fresh = [pat_id for pat_id in entries if pat_id not in seen]
            seen.update(fresh)
            if fresh:
                found = dict(zip(fresh, self.read(fresh), strict=True))
                self._forget_of_owner(owner_id, tag, [one for one, record in found.items() if record is None])
                yield [record for record in found.values() if record is not None]

    def _entries(self, owner_id: str, tag: str, size: int) -> Iterator[dict[PatId, int]]:
        """Yield in pieces the removed PATs of an owner with the scores of their entries."""
        name = self._keys.owner(tag, owner_id).removed
        for found in self._scripts.scan("ZSCAN", name, count=size):
            for at in range(0, len(found), 2 * size):  # a small index comes whole, whatever COUNT
                some = found[at : at + 2 * size]
                yield {
                    _id(entry, tag): self._ms(score)
                    for entry, score in zip(some[::2], some[1::2], strict=True)
                }

    def _forget_of_owner(self, owner_id: str, tag: str, pat_ids: Sequence[PatId]) -> int:
        """Take PATs without a record out of their owner's index. Return how many were there.

        Both are written in one step, so an entry never waits for its record, and no record comes back. Only a
        PAT that was restored, and is removed again right now, may be missing in the list afterwards.
        """
        if not pat_ids:
            return 0
        entries = (pat_id.raw[4:] for pat_id in pat_ids)
        command = ("ZREM", self._keys.owner(tag, owner_id).removed, *entries)
        return int(understood(self._scripts.call([command], retry=True), int)[0])

    # -- repairs --------------------------------------------------------------------------------------

    def mend_suspects(self, now: int, *, all_gone: bool) -> set[PatId]:
        """Take out entries of PATs whose retention is over: up to 10 000, or with `all_gone` every one."""
        ended = now - self.retention_ms
        command = ("ZRANGEBYSCORE", self._keys.tenant_removed, "-inf", ended, "LIMIT", 0, _GONE_AT_ONCE)
        while True:
            (found,) = self._scripts.call([command], retry=True)
            gone = [self._id(member) for member in texts(found)]
            self.mend(gone, now)
            if not all_gone or len(gone) < _GONE_AT_ONCE:
                return set()

    def mend(self, pat_ids: Sequence[PatId], now: int) -> Mended:
        """Correct entries by their records, and take out those of PATs of which nothing is kept any more."""
        removed = 0
        for at in range(0, len(pat_ids), _PIECE):
            gone, right = list[PatId](), list[int | bytes]()
            some = pat_ids[at : at + _PIECE]
            for pat_id, record in zip(some, self.records(some, now), strict=True):
                if record is None or not self.lists(record.pat):
                    gone.append(pat_id)
                else:
                    right += (record.pat.revoked_ms or 0, pat_id.raw)
            if right:
                self._scripts.call([("ZADD", self._keys.tenant_removed, "XX", *right)], retry=True)
            removed += self._forget(gone)
        return Mended(removed, set())

    def sweep(self) -> Iterator[int]:
        """Take entries without a record out of the tenant's index, in pieces. Yield how many each removed."""
        for found in self._scripts.scan("ZSCAN", self._keys.tenant_removed, count=_SWEPT):
            yield self._forget(self.missing([self._id(member) for member in found[::2]]))

    def sweep_owners(self) -> Iterator[int]:
        """Take entries without a record out of all owners' indexes, in pieces. Yield how many each removed.

        Enter the other PATs in the tenant's index, where they are missing after a removal that was cut short.
        """
        for server, _ in self._scripts.parts():
            for names in server.scan("SCAN", match=self._keys.removed_indexes, count=1000):
                yield 0
                for tag, owner_id in map(self._keys.owner_in, names):
                    for entries in self._entries(owner_id, tag, _SWEPT):
                        missing = self.missing(list(entries))
                        self._enter({one: ms for one, ms in entries.items() if one not in missing})
                        yield self._forget_of_owner(owner_id, tag, missing)

    def _enter(self, entries: dict[PatId, int]) -> None:
        commands = [
            command for pat_id, ms in entries.items() for command in self.entering([pat_id], ms % _BY_OTHERS)
        ]
        if commands:
            self._scripts.call(commands, retry=True)


def _id(entry: object, tag: str) -> PatId:
    if not isinstance(entry, bytes) or len(entry) != _ENTRY:
        raise not_understood("index of removed PATs", f"an entry is not {_ENTRY} bytes")
    return PatId(tag + entry.hex())
