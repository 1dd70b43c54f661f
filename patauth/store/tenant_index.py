"""The indexes of a tenant: they list its PATs by creation, last use and expiry.

The indexes live in another slot than the records, so no single step can write both. A creation writes the
index before the record, and a deletion removes the record before the index. So an entry may lack its record,
but no record lacks its entry. A use or a new expiry first leaves a mark, then changes the record, then the
index. A listing looks at the marks first and believes the records alone, so it repairs what a crash between
two steps has left.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

from ..errors import StoreUnavailable
from ..model.pat import PersonalAccessToken, is_gone
from ..model.pat_id import PatId
from ..model.words import counted
from .keys import Keys
from .record import NEVER, PatRecord, not_understood, unpack
from .scripts import PRELUDE, Script, Scripts, understood
from .transport.wire import Command

_log = logging.getLogger("patauth.store")

_T = TypeVar("_T")
Index = Literal["created", "lastUsed", "expirationDate", "revokedAt"]

_IN_FLIGHT = 60_000  # ms for which an entry without a record, or a mark, may belong to an unfinished write
_SUSPECTS = 10_000  # most entries of a kind that one call looks for
_YOUNG = 500  # newest entries that a listing checks for a missing record
_AT_ONCE = 500  # most records that one call reads, or entries that it repairs
_SWEPT = 100  # entries that one step of a sweep looks at: nobody waits for it, and it holds up nobody
_PAGE = Script("page", PRELUDE)
_MARK_BYTES = 17  # a PAT id and one of the two below
_USE, _EXPIRY = b"u", b"e"  # which entry of a PAT a mark is about


class Piece(NamedTuple):
    """A part of an index: some of the `total` entries in a range."""

    now: int  # ms, the store's clock
    total: int
    entries: list[tuple[PatId, int]]  # PAT id, score


class Mended(NamedTuple):
    """What a repair has done."""

    removed: int  # entries, of all three indexes
    unborn: set[PatId]  # PATs without a record whose entries stay, since their creation may be under way


class TenantList(ABC):
    """Reads what a listing of the tenant needs: some indexes, and the records of the PATs in them.

    `retention_ms` is how long an ended PAT is kept. `names` are the keys of the indexes.
    """

    def __init__(self, scripts: Scripts, keys: Keys, retention_ms: int, names: Mapping[Index, bytes]) -> None:
        self.retention_ms = retention_ms
        self._scripts = scripts
        self._keys = keys
        self._names = names

    @property
    def indexes(self) -> Iterable[Index]:
        """The fields by which there is an index."""
        return self._names

    @abstractmethod
    def lists(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT is listed: it is the tenant's, and was within its retention when read."""

    @abstractmethod
    def mend_suspects(self, now: int, *, all_gone: bool) -> set[PatId]:
        """Repair what is known to be wrong, before a listing. Return the PATs that the listing leaves out.

        `all_gone`: take out all PATs whose retention is over at `now` (ms), and not only some.
        """

    @abstractmethod
    def mend(self, pat_ids: Sequence[PatId], now: int) -> Mended:
        """Correct entries by their records, and take out those of PATs that are gone."""

    @abstractmethod
    def _key_of(self, pat_id: PatId) -> bytes:
        """Return the key of a record."""

    @abstractmethod
    def _unpack(self, data: bytes) -> PatRecord:
        """Read a record. Raise `StoreUnavailable`."""

    def piece(
        self,
        index: Index,
        low: int,
        high: int,
        *,
        descending: bool = False,
        offset: int = 0,
        count: int,
        without: Iterable[PatId] = (),
    ) -> Piece:
        """Return at most `count` entries with scores from `low` to `high`, in order. Skip the first `offset`.

        The entries of the PATs in `without` are neither returned nor counted.
        """
        out = (pat_id.raw for pat_id in without)
        arguments = (low, high, b"1" if descending else b"0", offset, count, *out)
        reply = self._scripts.run(_PAGE, [self._names[index]], arguments)
        now, total, flat = understood(reply, int, int, list)
        entries = [
            (self._id(member), self._ms(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)
        ]
        return Piece(now, total, entries)

    def walk(self, index: Index, low: int, high: int) -> Iterator[Piece]:
        """Yield in pieces the entries with scores from `low` to `high`, in order.

        Those that are there from begin to end are yielded, unless others of the same score go meanwhile.
        """
        skip = 0
        while True:
            piece = self.piece(index, low, high, offset=skip, count=_AT_ONCE)
            if piece.entries:
                yield piece
            if len(piece.entries) < _AT_ONCE:
                return
            last = piece.entries[-1][1]
            seen = sum(score == last for _, score in piece.entries)
            low, skip = last, seen + (skip if last == low else 0)

    def counts(self, ranges: Sequence[tuple[Index, int, int]]) -> list[int]:
        """Return the number of entries in each range (index, lowest score, highest score)."""
        commands = [("ZCOUNT", self._names[index], low, high) for index, low, high in ranges]
        return self._scripts.call(commands, retry=True)

    def records(self, pat_ids: Sequence[PatId], now: int) -> list[PatRecord | None]:
        """Return the records of PATs of any owners in order, None for a missing one.

        `now` (ms) becomes their read time. Each record takes its own command: their keys are in many slots.
        GETEX, since a replica refuses it (lua/read.lua).
        """
        found = self._scripts.call([("GETEX", self._key_of(one)) for one in pat_ids], retry=True)
        if not all(isinstance(record, bytes | None) for record in found):
            raise not_understood("records", "of another form")
        return [None if record is None else self._unpack(record).as_read_at(now) for record in found]

    def missing(self, pat_ids: Sequence[PatId]) -> list[PatId]:
        """Return those of these PATs that have no record."""
        there = self._exist(list(map(self._key_of, pat_ids)))
        return [pat_id for pat_id, known in zip(pat_ids, there, strict=True) if not known]

    def _exist(self, names: Sequence[bytes]) -> list[bool]:
        """Return of each of these keys whether it exists."""
        there: list[Any] = []
        for some in _in_pieces(names):
            there += self._scripts.call([("EXISTS", name) for name in some], retry=True)
        return list(map(bool, there))

    @staticmethod
    def _ms(score: Any) -> int:
        """Return a score as whole ms. Raise `StoreUnavailable`."""
        try:
            ms = float(score)
        except (TypeError, ValueError) as problem:
            raise not_understood("tenant index", problem) from None
        if not ms.is_integer():
            raise not_understood("tenant index", "a score is not a whole number")
        return int(ms)

    @staticmethod
    def _id(member: object, size: int = 16) -> PatId:
        """Return the PAT id with which an entry of `size` bytes begins. Raise `StoreUnavailable`."""
        if not isinstance(member, bytes) or len(member) != size:
            raise not_understood("tenant index", f"an entry is not {size} bytes")
        return PatId(member[:16].hex())


class TenantIndex(TenantList):
    """Writes, reads and repairs the index entries of one tenant's PATs.

    `retention_ms` is how long an expired PAT is kept.
    """

    def __init__(self, scripts: Scripts, keys: Keys, retention_ms: int) -> None:
        names: dict[Index, bytes] = {
            "created": keys.tenant_created,
            "lastUsed": keys.tenant_used,
            "expirationDate": keys.tenant_expires,
        }
        super().__init__(scripts, keys, retention_ms, names)
        self._count: Command = ("INCR", keys.tenant_sequence)

    def lists(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT is listed: it is the tenant's, and was within its retention when read."""
        is_ours = pat.tenant == self._keys.tenant
        return is_ours and not is_gone(pat.expires_ms, pat.read_ms, self.retention_ms)

    def _key_of(self, pat_id: PatId) -> bytes:
        return self._keys.pat(pat_id)

    def _unpack(self, data: bytes) -> PatRecord:
        return unpack(data)

    # -- writes that accompany those of records -------------------------------------------------------

    def enter(self, pat_id: PatId, created_ms: int, expires_ms: int | None) -> None:
        """Add the entries of a PAT. Call this before its record is written."""
        member = pat_id.raw
        scores = zip(self._names.values(), (created_ms, 0, _expiry(expires_ms)), strict=True)
        commands = [("ZADD", name, "NX", score, member) for name, score in scores]
        self._scripts.call([*commands, self._count], retry=True)

    def forget(self, pat_ids: Sequence[PatId], and_then: Sequence[Command] = ()) -> None:
        """Remove the entries of PATs, and run other commands. Call this after their records are deleted.

        A failure goes to the log only: listings believe the records alone.
        """
        members = [pat_id.raw for pat_id in pat_ids]
        marks = [member + what for member in members for what in (_USE, _EXPIRY)]
        try:
            commands = [("ZREM", name, *members) for name in self._names.values()]
            commands.append(("ZREM", self._keys.tenant_marks, *marks))
            self._scripts.call([*commands, self._count, *and_then])
        except StoreUnavailable as problem:
            deleted = counted(len(pat_ids), "deleted PAT")
            _log.warning("the tenant index still lists %s: %s", deleted, problem.detail)

    def mark_use(self, pat_id: PatId, now: int) -> None:
        """Mark a PAT whose last use is about to be written, at `now` (ms)."""
        self._mark([pat_id], _USE, now)

    def mark_expiry(self, pat_ids: Sequence[PatId], now: int) -> None:
        """Mark PATs whose expiry is about to change, at `now` (ms)."""
        self._mark(pat_ids, _EXPIRY, now)

    def _mark(self, pat_ids: Sequence[PatId], what: bytes, now: int) -> None:
        marks = [part for pat_id in pat_ids for part in (now, pat_id.raw + what)]
        self._scripts.call([("ZADD", self._keys.tenant_marks, *marks)], retry=True)

    def used(self, pat_id: PatId, used_ms: int, *, is_back: bool = False) -> None:
        """Write a last use (ms) and remove its mark.

        A last use only moves forward, so the order of two writes does not matter. But with `is_back`, it is
        written over one that a wrong clock had set.
        """
        member = pat_id.raw
        only = ("XX",) if is_back else ("XX", "GT")
        commands = [
            ("ZADD", self._keys.tenant_used, *only, used_ms, member),
            ("ZREM", self._keys.tenant_marks, member + _USE),
        ]
        self._scripts.call(commands)

    def changed(self, expiries: Sequence[tuple[PatId, int | None]]) -> None:
        """Count a change, and write expiries (ms; None: never).

        The marks stay, since of two changes at the same time the earlier one may arrive here last. A failure
        goes to the log only: the change itself is done, and the marks say what to repair.
        """
        commands: list[Command] = [self._count]
        if expiries:
            scores: list[int | bytes] = []
            for pat_id, expires_ms in expiries:
                scores += (_expiry(expires_ms), pat_id.raw)
            commands.append(("ZADD", self._keys.tenant_expires, "XX", *scores))
        try:
            self._scripts.call(commands, retry=True)
        except StoreUnavailable as problem:
            _log.warning("the tenant index misses a change: %s", problem.detail)

    # -- reads for listings ---------------------------------------------------------------------------

    def sequence(self) -> int:
        """Return the number of changes to the tenant's PATs. Some refused changes may be counted too."""
        (count,) = self._scripts.call([("GET", self._keys.tenant_sequence)], retry=True)
        try:
            return int(count or 0)
        except (TypeError, ValueError) as problem:
            raise not_understood("tenant sequence", problem) from None

    def walk_ids(self) -> Iterator[list[PatId]]:
        """Yield in pieces the PATs that are listed from begin to end, in any order and some maybe twice.

        Those that are made or removed meanwhile may be missing. There may be no record of one.
        """
        for found in self._scripts.scan("ZSCAN", self._names["created"], count=_AT_ONCE):
            if found:
                yield [self._id(member) for member in found[::2]]

    # -- repairs --------------------------------------------------------------------------------------

    def mend_suspects(self, now: int, *, all_gone: bool) -> set[PatId]:
        """Repair the entries that marks name, and remove those of PATs whose retention is over.

        A listing calls this first. It removes up to `_SUSPECTS` entries, or with `all_gone` every one, in
        pieces: what is removed stays so when the deadline ends this. Return the PATs without a record whose
        creation may be under way, or was interrupted a moment ago. The listing leaves them out.
        """
        young = ("ZREVRANGEBYSCORE", self._keys.tenant_created, "+inf", now - _IN_FLIGHT, "LIMIT", 0, _YOUNG)
        gone, marks, newest = self._members(self._gone(now), self._marks(), young)
        unborn = self._mend_gone(gone, now, all_gone=all_gone)
        self._mend_marked(marks, now)
        return unborn.union(self.missing([self._id(member) for member in newest]))

    def _gone(self, now: int, skip: int = 0) -> Command:
        """Return the command that reads entries of PATs whose retention is over at `now` (ms)."""
        ended = now - self.retention_ms
        return ("ZRANGEBYSCORE", self._keys.tenant_expires, "-inf", ended, "LIMIT", skip, _SUSPECTS)

    def _marks(self) -> Command:
        """Return the command that reads the oldest marks, each followed by when it was set."""
        return ("ZRANGEBYSCORE", self._keys.tenant_marks, "-inf", "+inf", "WITHSCORES", "LIMIT", 0, _SUSPECTS)

    def _members(self, *commands: Command) -> list[list[Any]]:
        found = self._scripts.call(commands, retry=True)
        if not all(isinstance(members, list) for members in found):
            raise not_understood("tenant index", "of another form")
        return found

    def _mend_gone(self, gone: list[Any], now: int, *, all_gone: bool) -> set[PatId]:
        """Remove what `_gone` has read, and with `all_gone` what is left then. Return the unborn PATs."""
        unborn: set[PatId] = set()
        while True:
            unborn |= self.mend([self._id(member) for member in gone], now).unborn
            if not all_gone or len(gone) < _SUSPECTS:
                return unborn
            (gone,) = self._members(self._gone(now, skip=len(unborn)))  # those stay at the front

    def _mend_marked(self, marks: list[Any], now: int) -> int:
        """Repair the entries that marks name, and remove old marks. Return how many it removed.

        `marks` is what `_marks` has read.
        """
        marked = [self._id(member, _MARK_BYTES) for member in marks[::2]]
        set_at = [self._ms(score) for score in marks[1::2]]
        if len(set_at) != len(marked):
            raise not_understood("tenant index", "a mark without a time")
        removed = 0
        for done in range(_AT_ONCE, len(marked) + _AT_ONCE, _AT_ONCE):
            self.mend(list(dict.fromkeys(marked[done - _AT_ONCE : done])), now)
            # The write of a young mark may be under way, so only old marks go. They go by their score: a mark
            # that was renewed since stays. One that was not looked at yet may have the next one's score; if
            # more marks than these were not read, the last one's.
            last = now - _IN_FLIGHT
            if done < len(marked):
                last = min(last, set_at[done] - 1)
            elif len(marked) == _SUSPECTS:
                last = min(last, set_at[-1] - 1)
            if set_at[0] <= last:
                command = ("ZREMRANGEBYSCORE", self._keys.tenant_marks, "-inf", last)
                removed += understood(self._scripts.call([command]), int)[0]
        return removed

    def sweep(self, now: int) -> Iterator[int]:
        """Remove the entries without a record, in pieces. Yield how many each piece removed.

        Those of a creation that may be under way stay. `now` is the store's clock (ms) before this begins.
        """
        for name in self._names.values():
            for found in self._scripts.scan("ZSCAN", name, count=_SWEPT):
                missing = self.missing([self._id(member) for member in found[::2]])
                yield self.mend(missing, now).removed

    def sweep_marks(self, now: int) -> Iterator[int]:
        """Repair the entries that marks name, and remove old marks, in pieces. Yield how many went.

        `now` is the store's clock (ms) before this begins.
        """
        removed = 1
        while removed:
            (marks,) = self._members(self._marks())
            removed = self._mend_marked(marks, now)
            yield removed

    def mend(self, pat_ids: Sequence[PatId], now: int) -> Mended:
        """Correct entries by their records, and remove those of PATs that are gone, in pieces."""
        removed, unborn = 0, set[PatId]()
        for some in _in_pieces(pat_ids):
            mended = self._mend(some, now)
            removed += mended.removed
            unborn |= mended.unborn
        return Mended(removed, unborn)

    def _mend(self, pat_ids: Sequence[PatId], now: int) -> Mended:
        gone, missing, right = list[bytes](), list[PatId](), dict[PatId, PersonalAccessToken]()
        for pat_id, record in zip(pat_ids, self.records(pat_ids, now), strict=True):
            if record is None:
                missing.append(pat_id)
            elif self.lists(record.pat):
                right[pat_id] = record.pat
            else:  # after its retention nothing can change a PAT, so no write brings the entry back
                gone.append(pat_id.raw)
        unborn = self._unborn(missing, now)
        gone += [pat_id.raw for pat_id in missing if pat_id not in unborn]
        commands: list[Command] = []
        if gone:
            commands += (("ZREM", name, *gone) for name in self._names.values())
        if right:
            created = [(pat.created_ms, pat_id.raw) for pat_id, pat in right.items()]
            used = [(pat.last_used_ms or 0, pat_id.raw) for pat_id, pat in right.items()]
            expires = [(_expiry(pat.expires_ms), pat_id.raw) for pat_id, pat in right.items()]
            commands += (
                ("ZADD", self._keys.tenant_created, "XX", *chain(*created)),
                ("ZADD", self._keys.tenant_used, "XX", "GT", *chain(*used)),
                ("ZADD", self._keys.tenant_expires, "XX", *chain(*expires)),
            )
        replies = self._scripts.call(commands) if commands else []
        removed = understood(replies, *[int] * len(self._names))[: len(self._names)] if gone else []
        return Mended(sum(removed), unborn)

    def _unborn(self, missing: Sequence[PatId], now: int) -> set[PatId]:
        """Return those PATs without a record whose creation may be under way."""
        if not missing:
            return set()
        scores = [("ZSCORE", self._keys.tenant_created, one.raw) for one in missing]
        created = zip(missing, self._scripts.call(scores, retry=True), strict=True)
        return {one for one, score in created if score is not None and self._ms(score) >= now - _IN_FLIGHT}


def _in_pieces(whole: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (whole[at : at + _AT_ONCE] for at in range(0, len(whole), _AT_ONCE))


def _expiry(expires_ms: int | None) -> int:
    """Return the score of a PAT's entry by expiry."""
    return NEVER if expires_ms is None else expires_ms
