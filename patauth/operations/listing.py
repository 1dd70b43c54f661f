"""Listings: an owner's PATs, or a whole tenant's; filtered, sorted, a page at a time. Nothing is ever
scanned.

An owner has few PATs, and all are read. A tenant may have a million: there, the index that suits sorter and
filter gives the candidates in order, and their records decide. What no index can order, or too little
narrows, is refused beyond `MOST` candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import InvalidRequest
from ..model import filters
from ..model.credentials import is_pat_id
from ..model.filters import Bounds, Filter, Sorter
from ..model.pat import PersonalAccessToken, check_id, is_gone
from ..settings import Settings
from ..store.record import PatRecord, unpack
from ..store.store import RedisStore
from ..store.tenant_index import Index, Piece
from .permissions import Standing

MOST = 10_000  # PATs that one listing reads
_PIECE = 500  # read at a time
_TRIES = 5  # for a page of which something moves while it is read
_BEYOND = 2**31  # no store holds so many, and scripts count up to there
_INDEXES: tuple[Index, ...] = ("lastUsed", "expirationDate", "created")


class Listing(list[PersonalAccessToken]):
    """PATs. `total`: how many there are in all, where that was asked for.

    Over a whole tenant, where an index alone decides, it counts the index: a PAT that is being made or
    removed at that moment may be in it or not; so may one whose making or removal was cut short, until a
    page reaches it.
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
        filter_by: str | Filter | None,
        sort: str | Sequence[Sorter] | None,
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
            filters.parse(filter_by) if isinstance(filter_by, str) else filter_by,
            filters.parse_sorters(sort) if isinstance(sort, str) else tuple(sort or ()),
            _whole(offset, "offset"),
            None if limit is None else _whole(limit, "limit"),
            count,
        )
        # A page has one deadline; all of ten thousand take a while, and have one for each piece.
        reading = self if limit is None else self._over(standing.store)
        return reading._of_tenant(wanted) if owner_id is None else reading._of_owner(owner_id, wanted)

    def _over(self, store: RedisStore) -> Lister:
        other = copy(self)
        other._store = store
        return other

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
        named = None if by is None else by.ids()
        if named is not None:
            ids = sorted(filter(is_pat_id, named))
            pats = self._living(now, store.tenant.records(ids, store.deadline())) if ids else []
            return _finish(filter(wanted.matches, pats), wanted)
        unborn = store.tenant.mend_suspects(now, self._retention_ms, store.deadline)
        way = self._way(wanted)
        if way.in_order and way.exact:
            return self._range(way, wanted, unborn)
        if not way.in_order:
            return _finish(filter(wanted.matches, self._walk(way, unborn, whole=True)), wanted)
        whole = wanted.count or wanted.limit is None
        matching = filter(wanted.matches, self._walk(way, unborn, whole=whole))
        if whole:
            pats = list(matching)
            return Listing(pats[wanted.page], len(pats) if wanted.count else None)
        return Listing(list(islice(matching, wanted.offset, wanted.page.stop)))

    def _way(self, wanted: Wanted) -> _Way:
        """The index that has the order that is wanted; else the one that the filter narrows most."""
        bounds: dict[Index, Bounds] = {}
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
        if len(bounds) > 1 and (not in_order or not wanted.sorters):
            ranges = [(one, bound.low, bound.high) for one, bound in bounds.items()]
            sizes = self._store.tenant.counts(ranges, self._store.deadline())
            index = min(zip(sizes, bounds, strict=True))[1]
        low, high, exact = bounds.get(index, (0, filters.NEVER, wanted.filter is None))
        return _Way(index, low, high, descending, in_order, exact)

    def _range(self, way: _Way, wanted: Wanted, unborn: set[str]) -> Listing:
        """A page that the index alone decides: what is wrong in it is mended, and the page read again."""
        store = self._store
        for _ in range(_TRIES):
            size = MOST if wanted.limit is None else min(wanted.limit, MOST)
            piece = self._piece(way, wanted.offset, size, unborn)
            if size != wanted.limit and piece.total - wanted.offset > MOST:
                raise InvalidRequest(f"there are {piece.total}; ask for a page of them", field="limit")
            pats: list[PersonalAccessToken] = []
            wrong: list[str] = []
            for living, differing in self._read(way, piece.now, piece.entries):
                pats += living
                wrong += differing
            if not wrong:
                break
            unborn = unborn | store.tenant.mend(wrong, piece.now, self._retention_ms, store.deadline)
        return Listing(list(filter(wanted.matches, pats)), piece.total if wanted.count else None)

    def _walk(self, way: _Way, unborn: set[str], *, whole: bool) -> Iterator[PersonalAccessToken]:
        """PATs by an index, each once, whatever moves meanwhile; mending it on the way.

        `whole`: all will be asked for. Raises `InvalidRequest` when there are more than `MOST`.
        """
        store = self._store
        seen: set[str] = set()
        for size in (_PIECE, MOST):  # each from the start: a rank would not stay what it was
            piece = self._piece(way, 0, size, unborn)
            if whole and piece.total > MOST:
                break
            fresh = [entry for entry in piece.entries if entry[0] not in seen]
            seen.update(pat_id for pat_id, _ in fresh)
            for living, wrong in self._read(way, piece.now, fresh):
                if wrong:
                    store.tenant.mend(wrong, piece.now, self._retention_ms, store.deadline)
                yield from living
            if piece.total <= size:
                return
        raise InvalidRequest(
            f"this would read over {MOST} PATs; narrow it by owner, or by the date that it sorts by",
            field="filters",
        )

    def _read(
        self, way: _Way, now: int, entries: list[tuple[str, int]]
    ) -> Iterator[tuple[list[PersonalAccessToken], list[str]]]:
        """What the records say of entries: PATs, and the ids of entries that say otherwise."""
        store = self._store
        for at in range(0, len(entries), _PIECE):
            some = entries[at : at + _PIECE]
            records = store.tenant.records([pat_id for pat_id, _ in some], store.deadline())
            pats = self._living(now, records)
            scores = {pat.id: filters.index_value(pat, way.index) for pat in pats}
            yield pats, [pat_id for pat_id, score in some if scores.get(pat_id) != score]

    def _piece(self, way: _Way, offset: int, count: int, unborn: set[str]) -> Piece:
        return self._store.tenant.piece(
            way.index,
            way.low,
            way.high,
            descending=way.descending,
            offset=offset,
            count=count,
            without=unborn,
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
    return min(value, _BEYOND)
