"""Listings: an owner's PATs, or a whole tenant's; filtered, sorted, a page at a time. Nothing is ever
scanned.

An owner has few PATs, and all are read. A tenant may have a million: there, the index that suits sorter and
filter gives the candidates in order, and their records decide. What no index can order, or too little
narrows, is refused beyond `MOST` candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from . import filters
from .errors import InvalidRequest
from .filters import Filter, Sorter
from .pat import PersonalAccessToken, check_id, is_gone
from .settings import Settings
from .standing import Standing
from .store.record import PatRecord, unpack
from .store.redis import RedisStore
from .store.tenantindex import Index, Piece

MOST = 10_000  # PATs that one listing reads
_PIECE = 500  # read at a time
_INDEXES: tuple[Index, ...] = ("lastUsed", "expirationDate", "created")


class Listing(list[PersonalAccessToken]):
    """PATs. `total`: how many there are in all, where that was asked for.

    Over a whole tenant without a filter it counts the index: a PAT that is being made or removed at that
    moment may be in it or not.
    """

    def __init__(self, pats: list[PersonalAccessToken], total: int | None = None) -> None:
        super().__init__(pats)
        self.total = total


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list. `limit` None: all, up to `MOST`."""

    filter: Filter | None
    sorters: tuple[Sorter, ...]
    offset: int
    limit: int | None
    count: bool

    @property
    def page(self) -> slice:
        """Which of all that match are wanted."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def matches(self, pat: PersonalAccessToken) -> bool:
        """Whether the filter lets this one through."""
        return self.filter is None or self.filter.matches(pat)


class Lister:
    """Reads listings; safe for many threads."""

    def __init__(self, settings: Settings, store: RedisStore) -> None:
        self._store = store
        self._tenant = settings.tenant
        self._retention_ms = settings.retention * 1000

    def list_for(
        self,
        standing: Standing,
        owner_id: str | None,
        filter_text: str | None,
        sort: str | None,
        offset: int,
        limit: int | None,
        count: bool,
    ) -> Listing:
        """The PATs that a caller asks for: "me", an owner's by id, or with None the whole tenant's.

        Raises `InvalidRequest`, `Forbidden`.
        """
        if owner_id == "me":
            standing.require_own("read")
            if standing.owner is None:
                raise InvalidRequest("'me' is whoever calls; name an owner", field="owner_id")
            owner_id = standing.owner.id
        elif owner_id is None:
            standing.require_all("read")
        else:
            standing.require_of(check_id(owner_id, "owner_id"))
        wanted = Wanted(
            None if filter_text is None else filters.parse(filter_text),
            () if sort is None else filters.parse_sorters(sort),
            _whole(offset, "offset"),
            None if limit is None else _whole(limit, "limit"),
            count,
        )
        if owner_id is not None:
            return self._of_owner(owner_id, wanted)
        return self._of_tenant(wanted)

    def _of_owner(self, owner_id: str, wanted: Wanted) -> Listing:
        store = self._store
        deadline = store.deadline()
        tag = store.keyring(deadline).owner_tag(self._tenant, owner_id)
        pat_ids = store.pat_ids_of(owner_id, tag, deadline=deadline)
        if not pat_ids:
            return Listing([], 0 if wanted.count else None)
        found: list[PersonalAccessToken] = []
        for at in range(0, len(pat_ids), _PIECE):
            now, records = store.records(pat_ids[at : at + _PIECE], deadline=store.deadline())
            found += self._living(now, [None if data is None else unpack(data) for data in records])
        return _finish(filter(wanted.matches, found), wanted)

    def _of_tenant(self, wanted: Wanted) -> Listing:
        store, by = self._store, wanted.filter
        deadline = store.deadline()
        store.settle_key(deadline)
        now = store.now(deadline)
        store.tenant.mend_suspects(now, self._retention_ms, store.deadline)
        named = None if by is None else by.ids()
        if named is not None:
            pats = self._living(now, store.tenant.records(sorted(named), store.deadline())) if named else []
            return _finish(filter(wanted.matches, pats), wanted)
        way = _way(wanted)
        if not way.in_order:
            return _finish(filter(wanted.matches, self._walk(way)), wanted)
        if way.exact:
            total = self._piece(way, 0, 0).total
            if wanted.limit is None and total - wanted.offset > MOST:
                raise InvalidRequest(f"there are {total}; ask for a page of them", field="limit")
            pats = list(
                islice(filter(wanted.matches, self._walk(way, wanted.offset, wanted.limit)), wanted.limit)
            )
            return Listing(pats, total if wanted.count else None)
        matching = filter(wanted.matches, self._walk(way))
        if wanted.count or wanted.limit is None:
            pats = list(matching)
            return Listing(pats[wanted.page], len(pats) if wanted.count else None)
        return Listing(list(islice(matching, wanted.offset, wanted.offset + wanted.limit)))

    def _walk(self, way: _Way, offset: int = 0, most: int | None = None) -> Iterator[PersonalAccessToken]:
        """PATs by an index, past `offset` entries, `most` or so; mending it on the way.

        Raises `InvalidRequest` when there are more than `MOST`.
        """
        store = self._store
        size = _PIECE if most is None else min(_PIECE, most)
        seen: set[str] = set()
        at, read = offset, 0
        while size:
            piece = self._piece(way, at, size)
            scores = dict(piece.entries)
            records = store.tenant.records(list(scores), store.deadline()) if scores else []
            wrong = [
                pat_id
                for (pat_id, score), record in zip(piece.entries, records, strict=True)
                if record is None or filters.index_value(record.pat, way.index) != score
            ]
            removed = store.tenant.mend(wrong, piece.now, store.deadline()) if wrong else set()
            for pat in self._living(piece.now, records):
                if pat.id not in seen:  # an entry that moved meanwhile is met twice
                    seen.add(pat.id)
                    yield pat
            at += len(scores) - len(removed)
            read += len(scores)
            if len(scores) < size:
                return
            if read >= MOST and piece.total > at:
                raise InvalidRequest(
                    f"this would read over {MOST} PATs; narrow it by owner, or by the date that it sorts by",
                    field="filters",
                )

    def _piece(self, way: _Way, offset: int, count: int) -> Piece:
        return self._store.tenant.piece(
            way.index,
            way.low,
            way.high,
            descending=way.descending,
            offset=offset,
            count=count,
            deadline=self._store.deadline(),
        )

    def _living(self, now: int, records: Iterable[PatRecord | None]) -> list[PersonalAccessToken]:
        pats = [replace(record.pat, read_ms=now) for record in records if record is not None]
        return [
            pat
            for pat in pats
            if pat.tenant == self._tenant and not is_gone(pat.expires_ms, now, self._retention_ms)
        ]


@dataclass(frozen=True, slots=True)
class _Way:
    """By which index a listing goes: from `low` to `high`, or back."""

    index: Index
    low: int
    high: int
    descending: bool
    in_order: bool  # the index has the order that is wanted
    exact: bool  # the range is all that the filter asks


def _way(wanted: Wanted) -> _Way:
    bounds = {}
    if wanted.filter is not None:
        found = ((index, wanted.filter.bounds(index)) for index in _INDEXES)
        bounds = {index: bound for index, bound in found if bound is not None}
    index: Index = next(iter(bounds), "created")
    descending, in_order = False, not wanted.sorters  # without sorters, any order will do
    if len(wanted.sorters) == 1:
        (sorter,) = wanted.sorters
        for one in _INDEXES:
            if one == sorter.field and (one in bounds or not bounds):
                index, descending, in_order = one, sorter.descending, True
    low, high, exact = bounds.get(index, (0, filters.NEVER, wanted.filter is None))
    return _Way(index, low, high, descending, in_order, exact)


def _finish(found: Iterable[PersonalAccessToken], wanted: Wanted) -> Listing:
    """Sort what was found, and cut the page out."""
    pats = list(found)
    filters.sort_pats(pats, wanted.sorters or (Sorter("created", False),))
    if wanted.limit is None and len(pats) - wanted.offset > MOST:
        raise InvalidRequest(f"there are {len(pats)}; ask for a page of them", field="limit")
    return Listing(pats[wanted.page], len(pats) if wanted.count else None)


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidRequest("give 0 or more", field=name)
    return value
