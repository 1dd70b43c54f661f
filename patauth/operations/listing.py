"""Listings: an owner's PATs, or a whole tenant's; filtered, sorted, a page at a time. Nothing is ever
scanned.

An owner has few PATs, and all are read. A tenant may have a million: there, the index that suits sorter and
filter gives the candidates in order, and their records decide. What no index can order, or too little
narrows, is refused beyond `MOST` candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..errors import InvalidRequest
from ..model.filters import NEVER, Bounds, Filter, Sorter, index_value, parse, parse_sorters, sort_pats
from ..model.pat import PersonalAccessToken, check_id, is_gone
from ..model.pat_id import PatId
from ..settings import Settings
from ..store.record import PatRecord
from ..store.store import Store
from ..store.tenant_index import Index, Piece
from .permissions import Actor

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


def list_pats(
    actor: Actor,
    *,
    owner_id: str | None = None,
    filters: str | Filter | None = None,
    sort: str | Sequence[Sorter] | None = None,
    offset: int = 0,
    limit: int | None = None,
    count: bool = False,
) -> Listing:
    """Return the PATs that a caller asks for: "me", an owner's by id, or with None the whole tenant's.

    See `Authority.list`. Raises `InvalidRequest`, `Forbidden`.
    """
    if owner_id == "me":
        actor.require_own("read")
        if actor.owner is None:
            raise InvalidRequest("'me' is the caller; name an owner", field="owner_id")
        owner_id = actor.owner.id
    elif owner_id is None:
        actor.require_all("read")
    else:
        actor.require_of(check_id(owner_id, "owner_id"))
    wanted = Wanted(
        parse(filters) if isinstance(filters, str) else filters,
        parse_sorters(sort) if isinstance(sort, str) else tuple(sort or ()),
        _whole(offset, "offset"),
        None if limit is None else _whole(limit, "limit"),
        count,
    )
    # A page has one deadline. All of ten thousand PATs take a while, and have one for each piece.
    store = actor.store.without_deadline() if limit is None else actor.store
    lister = Lister(actor.settings, store)
    return lister.of_tenant(wanted) if owner_id is None else lister.of_owner(owner_id, wanted)


def tenant_sequence(actor: Actor) -> int:
    """Return a number that grows with each change to the tenant's PATs."""
    return actor.store.tenant_index.sequence()


def now(actor: Actor) -> int:
    """Return the store's clock, ms since 1970: expiries and dates of changes go by it."""
    return actor.store.pats.now()


class Lister:
    """Reads what is wanted, as far as a caller may see it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._tenant = settings.tenant
        self._retention_ms = settings.retention * 1000

    def of_owner(self, owner_id: str, wanted: Wanted) -> Listing:
        """Return PATs of an owner, all of which are read."""
        pats = self._store.pats
        pat_ids = pats.ids_of(owner_id, self._store.keyring.owner_tag(self._tenant, owner_id))
        if not pat_ids:
            return Listing([], 0 if wanted.count else None)
        found: list[PersonalAccessToken] = []
        for at in range(0, len(pat_ids), _PIECE):
            found += self._living(pats.read(pat_ids[at : at + _PIECE]))
        return _finish(filter(wanted.matches, found), wanted)

    def of_tenant(self, wanted: Wanted) -> Listing:
        """Return PATs of the tenant, by the index that suits best."""
        index, by = self._store.tenant_index, wanted.filter
        self._store.settle_key()
        now = self._store.pats.now()
        named = None if by is None else by.ids()
        if named is not None:
            ids = sorted(pat_id for pat_id in map(PatId.read, named) if pat_id is not None)
            pats = self._living(index.records(ids, now)) if ids else []
            return _finish(filter(wanted.matches, pats), wanted)
        unborn = index.mend_suspects(now, self._retention_ms)
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
            sizes = self._store.tenant_index.counts(ranges)
            index = min(zip(sizes, bounds, strict=True))[1]
        low, high, exact = bounds.get(index, (0, NEVER, wanted.filter is None))
        return _Way(index, low, high, descending, in_order, exact)

    def _range(self, way: _Way, wanted: Wanted, unborn: set[PatId]) -> Listing:
        """A page that the index alone decides: what is wrong in it is mended, and the page read again."""
        index = self._store.tenant_index
        for _ in range(_TRIES):
            size = MOST if wanted.limit is None else min(wanted.limit, MOST)
            piece = self._piece(way, wanted.offset, size, unborn)
            if size != wanted.limit and piece.total - wanted.offset > MOST:
                raise InvalidRequest(f"there are {piece.total}; ask for a page of them", field="limit")
            pats: list[PersonalAccessToken] = []
            wrong: list[PatId] = []
            for living, differing in self._read(way, piece.now, piece.entries):
                pats += living
                wrong += differing
            if not wrong:
                break
            unborn = unborn | index.mend(wrong, piece.now, self._retention_ms)
        return Listing(list(filter(wanted.matches, pats)), piece.total if wanted.count else None)

    def _walk(self, way: _Way, unborn: set[PatId], *, whole: bool) -> Iterator[PersonalAccessToken]:
        """PATs by an index, each once, whatever moves meanwhile; mending it on the way.

        `whole`: all will be asked for. Raises `InvalidRequest` when there are more than `MOST`.
        """
        seen: set[PatId] = set()
        for size in (_PIECE, MOST):  # each from the start: a rank would not stay what it was
            piece = self._piece(way, 0, size, unborn)
            if whole and piece.total > MOST:
                break
            fresh = [entry for entry in piece.entries if entry[0] not in seen]
            seen.update(pat_id for pat_id, _ in fresh)
            for living, wrong in self._read(way, piece.now, fresh):
                if wrong:
                    self._store.tenant_index.mend(wrong, piece.now, self._retention_ms)
                yield from living
            if piece.total <= size:
                return
        raise InvalidRequest(
            f"this would read over {MOST} PATs; narrow it by owner, or by the date that it sorts by",
            field="filters",
        )

    def _read(
        self, way: _Way, now: int, entries: list[tuple[PatId, int]]
    ) -> Iterator[tuple[list[PersonalAccessToken], list[PatId]]]:
        """What the records say of entries: PATs, and the ids of entries that say otherwise."""
        for at in range(0, len(entries), _PIECE):
            some = entries[at : at + _PIECE]
            records = self._store.tenant_index.records([pat_id for pat_id, _ in some], now)
            pats = self._living(records)
            scores = {pat.id: index_value(pat, way.index) for pat in pats}
            yield pats, [pat_id for pat_id, score in some if scores.get(pat_id) != score]

    def _piece(self, way: _Way, offset: int, count: int, unborn: set[PatId]) -> Piece:
        return self._store.tenant_index.piece(
            way.index,
            way.low,
            way.high,
            descending=way.descending,
            offset=offset,
            count=count,
            without=unborn,
        )

    def _living(self, records: Iterable[PatRecord | None]) -> list[PersonalAccessToken]:
        return [
            pat
            for pat in (record.pat for record in records if record is not None)
            if pat.tenant == self._tenant and not is_gone(pat.expires_ms, pat.read_ms, self._retention_ms)
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
    sort_pats(pats, wanted.sorters or (Sorter("created", False),))
    if wanted.limit is None and len(pats) - wanted.offset > MOST:
        raise InvalidRequest(f"there are {len(pats)}; ask for a page of them", field="limit")
    return Listing(pats[wanted.page], len(pats) if wanted.count else None)


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidRequest("give 0 or more", field=name)
    return min(value, _BEYOND)
