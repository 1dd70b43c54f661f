"""The indexes of a tenant: which PATs it has, by creation, last use and expiry.

They live in another slot than the records, so a record and its entries are never written in one step.
Creation writes index before record, deletion record before index: an entry may lack its record, never a
record its entry. What changes a record (a use, another expiry) leaves a mark first, changes the record, and
then the index; who lists looks at the marks first. So a crash between any two steps is mended by the next
listing, which believes records alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from ..errors import StoreUnavailable
from ..model.pat import is_gone
from ..model.pat_id import PatId
from .keys import Keys
from .record import NEVER, PatRecord, not_understood, unpack
from .scripts import Script, Scripts, understood
from .transport.wire import Command

_log = logging.getLogger("patauth.store")

Index = Literal["created", "lastUsed", "expirationDate"]

_IN_FLIGHT = 60_000  # ms that an entry without a record, or a mark, may belong to a write under way
_SUSPECTS = 10_000  # of each kind, looked at before a listing
_YOUNG = 500  # entries that may lack a record, looked for before a listing: the newest
_AT_ONCE = 500  # records read, and entries mended, in one call
_PAGE = Script("page")
_USE, _EXPIRY = b"u", b"e"  # what a mark says may be out of step


class Piece(NamedTuple):
    """A piece of an index: `total` entries are in the range, of which these are some."""

    now: int  # ms, the store's clock
    total: int
    entries: list[tuple[PatId, int]]  # PAT id, score


class TenantIndex:
    """The entries of one tenant's PATs."""

    def __init__(self, scripts: Scripts, keys: Keys) -> None:
        self._scripts = scripts
        self._keys = keys
        self._count: Command = ("INCR", keys.tenant_sequence)
        self._names: dict[Index, bytes] = {
            "created": keys.tenant_created,
            "lastUsed": keys.tenant_used,
            "expirationDate": keys.tenant_expires,
        }

    # -- written beside the records -------------------------------------------------------------------

    def enter(self, pat_id: PatId, created_ms: int, expires_ms: int | None) -> None:
        """Enter a PAT, before its record is written."""
        member = pat_id.raw
        expiry = NEVER if expires_ms is None else expires_ms
        scores = zip(self._names.values(), (created_ms, 0, expiry), strict=True)
        commands = [("ZADD", name, "NX", score, member) for name, score in scores]
        self._scripts.call([*commands, self._count], retry=True)

    def forget(self, pat_ids: Sequence[PatId]) -> None:
        """Take PATs out, after their records are gone. Who lists believes records alone, so this may fail."""
        members = [pat_id.raw for pat_id in pat_ids]
        marks = [member + what for member in members for what in (_USE, _EXPIRY)]
        try:
            commands = [("ZREM", name, *members) for name in self._names.values()]
            commands.append(("ZREM", self._keys.tenant_marks, *marks))
            self._scripts.call([*commands, self._count])
        except StoreUnavailable as problem:
            _log.warning("tenant index not cleared of %d PATs: %s", len(pat_ids), problem.detail)

    def mark_use(self, pat_id: PatId, now: int) -> None:
        """Say that a use is about to be written."""
        self._mark([pat_id], _USE, now)

    def mark_expiry(self, pat_ids: Sequence[PatId], now: int) -> None:
        """Say that an expiry is about to change."""
        self._mark(pat_ids, _EXPIRY, now)

    def _mark(self, pat_ids: Sequence[PatId], what: bytes, now: int) -> None:
        marks = [part for pat_id in pat_ids for part in (now, pat_id.raw + what)]
        self._scripts.call([("ZADD", self._keys.tenant_marks, *marks)], retry=True)

    def used(self, pat_id: PatId, used_ms: int) -> None:
        """Enter a use. It only ever moves on, so its mark can go at once."""
        member = pat_id.raw
        commands = [
            ("ZADD", self._keys.tenant_used, "XX", "GT", used_ms, member),
            ("ZREM", self._keys.tenant_marks, member + _USE),
        ]
        self._scripts.call(commands)

    def changed(self, expiries: Sequence[tuple[PatId, int | None]]) -> None:
        """Count a change, and enter expiries. Marks stay: of two at once, the earlier may come here last."""
        commands: list[Command] = [self._count]
        if expiries:
            scores: list[int | bytes] = []
            for pat_id, expires_ms in expiries:
                scores += (NEVER if expires_ms is None else expires_ms, pat_id.raw)
            commands.append(("ZADD", self._keys.tenant_expires, "XX", *scores))
        try:
            self._scripts.call(commands, retry=True)
        except StoreUnavailable as problem:  # the change itself stands, and the marks say where to look
            _log.warning("tenant index not told of a change: %s", problem.detail)

    # -- read by listings -----------------------------------------------------------------------------

    def sequence(self) -> int:
        """How many changes to the tenant's PATs there were; it may count some that were refused."""
        (count,) = self._scripts.call([("GET", self._keys.tenant_sequence)], retry=True)
        try:
            return int(count or 0)
        except (TypeError, ValueError) as problem:
            raise not_understood("tenant sequence", problem) from None

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
        """Up to `count` entries with scores from `low` to `high`, past `offset` of them, in order.

        `without`: as if these were not there.
        """
        out = (pat_id.raw for pat_id in without)
        arguments = (low, high, b"1" if descending else b"0", offset, count, *out)
        reply = self._scripts.run(_PAGE, [self._names[index]], arguments)
        now, total, flat = understood(reply, int, int, list)
        entries = [(_id(member), _ms(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
        return Piece(now, total, entries)

    def counts(self, ranges: Sequence[tuple[Index, int, int]]) -> list[int]:
        """How many entries there are in each of some ranges."""
        commands = [("ZCOUNT", self._names[index], low, high) for index, low, high in ranges]
        return self._scripts.call(commands, retry=True)

    def records(self, pat_ids: Sequence[PatId], now: int) -> list[PatRecord | None]:
        """Return the records of PATs of any owners, as of `now` (ms). Key by key: they are of many slots."""
        found = self._scripts.call([("GET", self._keys.pat(one)) for one in pat_ids], retry=True)
        if not all(isinstance(record, bytes | None) for record in found):
            raise not_understood("records", "of another form")
        return [None if record is None else unpack(record).as_read_at(now) for record in found]

    def mend_suspects(self, now: int, retention_ms: int) -> set[PatId]:
        """Before a listing: mend what marks point at, and forget PATs whose retention is over.

        Returns the entries without a record that are to stay: of creations under way, or cut short just now.
        """
        keys = self._keys
        found = self._scripts.call(
            [
                ("ZRANGEBYSCORE", keys.tenant_expires, "-inf", now - retention_ms, "LIMIT", 0, _SUSPECTS),
                ("ZRANGEBYSCORE", keys.tenant_marks, "-inf", "+inf", "WITHSCORES", "LIMIT", 0, _SUSPECTS),
                ("ZREVRANGEBYSCORE", keys.tenant_created, "+inf", now - _IN_FLIGHT, "LIMIT", 0, _YOUNG),
            ],
            retry=True,
        )
        if not all(isinstance(members, list) for members in found):
            raise not_understood("tenant index", "of another form")
        gone, marks, young = found
        marked = [(_marked(member), _ms(score)) for member, score in zip(*[iter(marks)] * 2, strict=True)]
        suspects = list(dict.fromkeys([*map(_id, gone), *(pat_id for pat_id, _ in marked)]))
        self.mend(suspects, now, retention_ms)
        # Of young marks, the write may be under way. By score: a mark that was renewed meanwhile stays.
        old = [score for _, score in marked if score <= now - _IN_FLIGHT]
        if old:
            # Of more marks than were read, some may have the last one's score.
            last = max(old) - (len(marked) == _SUSPECTS)
            self._scripts.call([("ZREMRANGEBYSCORE", keys.tenant_marks, "-inf", last)])
        if not young:
            return set()
        ids = [_id(member) for member in young]
        there = self._scripts.call([("EXISTS", keys.pat(pat_id)) for pat_id in ids], retry=True)
        return {pat_id for pat_id, known in zip(ids, there, strict=True) if not known}

    def mend(self, pat_ids: Sequence[PatId], now: int, retention_ms: int) -> set[PatId]:
        """Set entries right by their records; those of PATs that are gone are taken out.

        Returns those without a record that stay, since their creation may be under way.
        """
        staying: set[PatId] = set()
        for at in range(0, len(pat_ids), _AT_ONCE):
            staying |= self._mend(pat_ids[at : at + _AT_ONCE], now, retention_ms)
        return staying

    def _mend(self, pat_ids: Sequence[PatId], now: int, retention_ms: int) -> set[PatId]:
        records = self.records(pat_ids, now)
        scores = [("ZSCORE", self._keys.tenant_created, one.raw) for one in pat_ids]
        created = self._scripts.call(scores, retry=True)
        commands: list[tuple[object, ...]] = []
        staying: set[PatId] = set()
        for pat_id, record, score in zip(pat_ids, records, created, strict=True):
            member = pat_id.raw
            pat = None if record is None else record.pat
            if pat is not None and not is_gone(pat.expires_ms, now, retention_ms):
                expiry = NEVER if pat.expires_ms is None else pat.expires_ms
                commands += (
                    ("ZADD", self._keys.tenant_created, "XX", pat.created_ms, member),
                    ("ZADD", self._keys.tenant_used, "XX", "GT", pat.last_used_ms or 0, member),
                    ("ZADD", self._keys.tenant_expires, "XX", expiry, member),
                )
            elif pat is None and score is not None and _ms(score) >= now - _IN_FLIGHT:
                staying.add(pat_id)
            else:  # past its retention it cannot be changed any more, so nothing brings it back
                commands += (("ZREM", name, member) for name in self._names.values())
        if commands:
            self._scripts.call(commands)
        return staying


def _ms(score: Any) -> int:
    try:
        ms = float(score)
    except (TypeError, ValueError) as problem:
        raise not_understood("tenant index", problem) from None
    if not ms.is_integer():
        raise not_understood("tenant index", "a score that is no whole number")
    return int(ms)


def _id(member: object) -> PatId:
    if not isinstance(member, bytes) or len(member) != 16:
        raise not_understood("tenant index", "an entry that is no PAT id")
    return PatId(member.hex())


def _marked(member: object) -> PatId:
    if not isinstance(member, bytes) or len(member) != 17:
        raise not_understood("tenant index", "a mark of another form")
    return PatId(member[:16].hex())
