"""The indexes of a tenant: which PATs it has, by creation, last use and expiry.

They live in another slot than the records, so a record and its entries are never written in one step.
Creation writes index before record, deletion record before index: an entry may lack its record, never a
record its entry. What changes a record (a use, another expiry) leaves a mark first, changes the record, and
then the index; who lists looks at the marks first. So a crash between any two steps is mended by the next
listing, which believes records alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from ..errors import StoreUnavailable
from .keys import Keys
from .record import NEVER, PatRecord, not_understood, unpack
from .scripts import Script, Scripts

_log = logging.getLogger("patauth.store")

Index = Literal["created", "lastUsed", "expirationDate"]

_IN_FLIGHT = 60_000  # ms that an entry without a record, or a mark, may belong to a write under way
_SUSPECTS = 500  # looked at before a listing
_USE, _EXPIRY = b"u", b"e"  # what a mark says may be out of step


class Piece(NamedTuple):
    """A piece of an index: `total` entries are in the range, of which these are some."""

    now: int  # ms, the store's clock
    total: int
    entries: list[tuple[str, int]]  # PAT id, score


class TenantIndex:
    """The entries of one tenant's PATs."""

    def __init__(self, scripts: Scripts, keys: Keys) -> None:
        self._scripts = scripts
        self._keys = keys
        self._page = Script("page")
        self._names: dict[Index, bytes] = {
            "created": keys.tenant_created,
            "lastUsed": keys.tenant_used,
            "expirationDate": keys.tenant_expires,
        }

    # -- written beside the records -------------------------------------------------------------------

    def enter(self, pat_id: str, created_ms: int, expires_ms: int | None, deadline: float) -> None:
        """Enter a PAT, before its record is written."""
        member = bytes.fromhex(pat_id)
        expiry = NEVER if expires_ms is None else expires_ms
        scores = zip(self._names.values(), (created_ms, 0, expiry), strict=True)
        self._scripts.call(
            [("ZADD", name, "NX", score, member) for name, score in scores], deadline, retry=True
        )

    def forget(self, pat_ids: Sequence[str], deadline: float) -> None:
        """Take PATs out, after their records are gone. Who lists believes records alone, so this may fail."""
        members = [bytes.fromhex(pat_id) for pat_id in pat_ids]
        try:
            self._scripts.call([("ZREM", name, *members) for name in self._names.values()], deadline)
        except StoreUnavailable as problem:
            _log.warning("tenant index not cleared of %d PATs: %s", len(pat_ids), problem.detail)

    def mark_use(self, pat_id: str, now: int, deadline: float) -> None:
        """Say that a use is about to be written."""
        self._mark([pat_id], _USE, now, deadline)

    def mark_expiry(self, pat_ids: Sequence[str], now: int, deadline: float) -> None:
        """Say that an expiry is about to change."""
        self._mark(pat_ids, _EXPIRY, now, deadline)

    def _mark(self, pat_ids: Sequence[str], what: bytes, now: int, deadline: float) -> None:
        marks = [part for pat_id in pat_ids for part in (now, bytes.fromhex(pat_id) + what)]
        self._scripts.call([("ZADD", self._keys.tenant_marks, *marks)], deadline, retry=True)

    def used(self, pat_id: str, used_ms: int, deadline: float) -> None:
        """Enter a use. It only ever moves on, so its mark can go at once."""
        member = bytes.fromhex(pat_id)
        commands = [
            ("ZADD", self._keys.tenant_used, "XX", "GT", used_ms, member),
            ("ZREM", self._keys.tenant_marks, member + _USE),
        ]
        self._scripts.call(commands, deadline)

    def expires(self, expiries: Sequence[tuple[str, int | None]], deadline: float) -> None:
        """Enter expiries. Their marks stay: of two changes at once, the earlier may come here last."""
        scores: list[int | bytes] = []
        for pat_id, expires_ms in expiries:
            scores += (NEVER if expires_ms is None else expires_ms, bytes.fromhex(pat_id))
        try:
            self._scripts.call([("ZADD", self._keys.tenant_expires, "XX", *scores)], deadline, retry=True)
        except StoreUnavailable as problem:  # the change itself stands, and the marks say where to look
            _log.warning("tenant index not told of %d expiries: %s", len(expiries), problem.detail)

    # -- read by listings -----------------------------------------------------------------------------

    def piece(
        self,
        index: Index,
        low: int,
        high: int,
        *,
        descending: bool = False,
        offset: int = 0,
        count: int,
        deadline: float,
    ) -> Piece:
        """Up to `count` entries with scores from `low` to `high`, past `offset` of them, in order."""
        arguments = (low, high, b"1" if descending else b"0", offset, count)
        now, *reply = self._scripts.run(self._page, [self._names[index]], arguments, deadline)
        try:
            total, *flat = reply
            entries = [(_id(flat[at]), int(float(flat[at + 1]))) for at in range(0, len(flat), 2)]
            if type(total) is not int:
                raise ValueError("no total")
        except (TypeError, ValueError, IndexError) as problem:
            raise not_understood("tenant index", problem) from None
        return Piece(now, total, entries)

    def records(self, pat_ids: Sequence[str], deadline: float) -> list[PatRecord | None]:
        """The records of PATs of any owners. Key by key: they are of many slots."""
        found = self._scripts.call([("GET", self._keys.pat(one)) for one in pat_ids], deadline, retry=True)
        if not all(isinstance(record, bytes | None) for record in found):
            raise not_understood("records", "of another form")
        return [None if record is None else unpack(record) for record in found]

    def mend_suspects(self, now: int, retention_ms: int, deadline: Callable[[], float]) -> None:
        """Before a listing: mend what marks point at, and forget PATs that went by their TTL."""
        keys = self._keys
        gone, marks = self._scripts.call(
            [
                ("ZRANGEBYSCORE", keys.tenant_expires, "-inf", now - retention_ms, "LIMIT", 0, _SUSPECTS),
                ("ZRANGEBYSCORE", keys.tenant_marks, "-inf", "+inf", "WITHSCORES", "LIMIT", 0, _SUSPECTS),
            ],
            deadline(),
            retry=True,
        )
        if not isinstance(gone, list) or not isinstance(marks, list):
            raise not_understood("tenant index", "of another form")
        marked = [
            (_marked(member), int(score)) for member, score in zip(marks[::2], marks[1::2], strict=True)
        ]
        suspects = list(dict.fromkeys([*map(_id, gone), *(pat_id for pat_id, _ in marked)]))
        if not suspects:
            return
        self.mend(suspects, now, deadline())
        # Of young marks, the write may be under way. By score: a mark that was renewed meanwhile stays.
        old = [score for _, score in marked if score <= now - _IN_FLIGHT]
        if old:
            # Of more marks than were read, some may have the last one's score.
            last = max(old) - (len(marked) == _SUSPECTS)
            self._scripts.call([("ZREMRANGEBYSCORE", keys.tenant_marks, "-inf", last)], deadline())

    def mend(self, pat_ids: Sequence[str], now: int, deadline: float) -> set[str]:
        """Set entries right by their records; the ids that were taken out, since they have no record."""
        records = self.records(pat_ids, deadline)
        created = self._scripts.call(
            [("ZSCORE", self._keys.tenant_created, bytes.fromhex(one)) for one in pat_ids],
            deadline,
            retry=True,
        )
        commands: list[tuple[object, ...]] = []
        removed = set()
        for pat_id, record, score in zip(pat_ids, records, created, strict=True):
            member = bytes.fromhex(pat_id)
            if record is not None:
                pat = record.pat
                expiry = NEVER if pat.expires_ms is None else pat.expires_ms
                commands += (
                    ("ZADD", self._keys.tenant_created, "XX", pat.created_ms, member),
                    ("ZADD", self._keys.tenant_used, "XX", "GT", pat.last_used_ms or 0, member),
                    ("ZADD", self._keys.tenant_expires, "XX", expiry, member),
                )
            elif score is None or float(score) < now - _IN_FLIGHT:
                removed.add(pat_id)
                commands += (("ZREM", name, member) for name in self._names.values())
        if commands:
            self._scripts.call(commands, deadline)
        return removed


def _id(member: object) -> str:
    if not isinstance(member, bytes) or len(member) != 16:
        raise not_understood("tenant index", "an entry that is no PAT id")
    return member.hex()


def _marked(member: object) -> str:
    if not isinstance(member, bytes) or len(member) != 17:
        raise not_understood("tenant index", "a mark of another form")
    return member[:16].hex()
