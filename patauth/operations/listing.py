"""List an owner's PATs or a tenant's: filtered, sorted, in pages, and without a scan of the store.

An owner's PATs are read by their index: only a page in order of creation, or all of them. A tenant may have a
million. There, the index that suits sorter and filter gives the candidates in order, and their records
decide. If no index has the order, or the filter leaves too many, a listing with more than `MOST` candidates
is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from ..errors import InvalidRequest, StoreUnavailable
from ..model.filters import Bounds, Filter, parse
from ..model.instants import NEVER, index_value
from ..model.pat import PersonalAccessToken, check_id
from ..model.pat_id import PatId
from ..model.sorters import Sorter, parse_sorters, sort_pats
from ..settings import Settings
from ..store.owners import Page
from ..store.record import PatRecord
from ..store.store import Store
from ..store.tenant_index import Index, Piece, TenantList
from .permissions import Actor

MOST = 10_000  # PATs that one listing reads
_PIECE = 500  # PATs that one call of the store reads
_TRIES = 5  # how often a page is read while PATs on it change
_BEYOND = 2**31  # no store has so many PATs, and scripts can count to this number
_BEST: tuple[Index, ...] = ("lastUsed", "expirationDate", "created", "revokedAt")  # of several that suit


class Listing(list[PersonalAccessToken]):
    """A list of PATs. `total`: the number of all PATs that match, if it was asked for, else None.

    For a whole tenant, the total may come from an index. It may then miss or include a PAT that is being made
    or removed at that moment, or whose creation or removal was interrupted and which no page has reached yet.
    """

    def __init__(self, pats: list[PersonalAccessToken], total: int | None = None) -> None:
        super().__init__(pats)
        self.total = total


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. `limit` None: all, up to `MOST`."""

    filter: Filter | None
    sorters: tuple[Sorter, ...]
    offset: int
    limit: int | None
    count: bool

    @classmethod
    def of(
        cls,
        filters: str | Filter | None,
        sort: str | Sequence[Sorter] | None,
        offset: int,
        limit: int | None,
        *,
        count: bool,
    ) -> Query:
        """Read what `Authority.list` takes. Raise `InvalidRequest`."""
        return cls(
            parse(filters) if isinstance(filters, str) else filters,
            parse_sorters(sort) if isinstance(sort, str) else tuple(sort or ()),
            _count(offset, "offset"),
            None if limit is None else _count(limit, "limit"),
            count,
        )

    @property
    def page(self) -> slice:
        """The part of all matching PATs that is wanted."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    @property
    def whole(self) -> bool:
        """Whether all matching PATs are counted, to return their number or to refuse too many."""
        return self.count or self.limit is None or self.limit > MOST

    @property
    def is_of_removed(self) -> bool:
        """Whether removed PATs are wanted. Raise `InvalidRequest` for these and others together."""
        return self.filter is not None and self.filter.is_of_removed

    @property
    def is_page_by_creation(self) -> bool:
        """Whether a page of all PATs is wanted, in order of creation from one end or the other."""
        in_order = self.sorters in ((), (Sorter("created", False),), (Sorter("created", True),))
        return self.filter is None and in_order and self.limit is not None and self.limit <= _PIECE

    @property
    def newest_first(self) -> bool:
        """Whether the first sorter descends."""
        return bool(self.sorters) and self.sorters[0].descending

    def matches(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT passes the filter."""
        return self.filter is None or self.filter.matches(pat)


class TooMany(InvalidRequest):
    """There are more PATs than one listing reads, returns or sorts."""


class OwnerPage(NamedTuple):
    """A page of an owner's PATs in order of creation, facts about all of them, and some that end soon."""

    pats: list[PersonalAccessToken]
    of_all: Page
    soon: list[PersonalAccessToken]


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
    """Return the PATs of an owner ("me": of the caller), or with None of the whole tenant.

    `Authority.list` describes the arguments. Raise `InvalidRequest`, `Forbidden`.
    """
    if owner_id == "me":
        owner_id = own_owner_id(actor)
    elif owner_id is None:
        actor.require_all("read")
    else:
        actor.require_of(check_id(owner_id, "owner_id"))
    query = Query.of(filters, sort, offset, limit, count=count)
    # A page has one deadline. A listing of all PATs takes longer, and has one deadline for each piece.
    store = actor.store.without_deadline() if limit is None else actor.store
    lister = Lister(actor.settings, store, query.is_of_removed)
    return lister.of_tenant(query) if owner_id is None else lister.of_owner(owner_id, query)


def own_owner_id(actor: Actor) -> str:
    """Return the id of the owner whose PATs are the caller's own. Raise `InvalidRequest`, `Forbidden`."""
    actor.require_own("read")
    if actor.owner is None:
        raise InvalidRequest("'me' is the caller; name an owner", field="owner_id")
    return actor.owner.id


def tenant_sequence(actor: Actor) -> int:
    """Return a number that grows with each change of the tenant's PATs."""
    return actor.store.tenant_index.sequence()


def now(actor: Actor) -> int:
    """Return the store's clock (ms since 1970), which expiries and dates of changes use."""
    return actor.store.pats.now("store")


class Lister:
    """Reads the PATs of one query; the rights of the caller are checked before."""

    def __init__(self, settings: Settings, store: Store, is_of_removed: bool) -> None:
        self._store = store
        self._tenant = settings.tenant
        self._is_of_removed = is_of_removed
        self._index: TenantList = store.removed if is_of_removed else store.tenant_index
        self._indexes = [index for index in _BEST if index in self._index.indexes]
        self._unborn: set[PatId] = set()  # entries without a record that stay; they are left out

    def of_owner(self, owner_id: str, query: Query) -> Listing:
        """Return PATs of an owner: a page in order of creation, or else all are read.

        Raise `InvalidRequest` when there are more than `MOST` to read.
        """
        tag = self._store.keyring.owner_tag(self._tenant, owner_id)
        if query.is_page_by_creation:
            found = self.page_of_owner(owner_id, query)
            return Listing(found.pats, found.of_all.total if query.count else None)
        if self._is_of_removed:
            return _finish(filter(query.matches, self._removed_of_owner(owner_id, tag)), query)
        pats: list[PersonalAccessToken] = []
        read = 0
        for entries, pat_ids in self._store.owners.walk(owner_id, tag, _PIECE):
            read += len(pat_ids)
            if read > MOST:
                raise _too_many()
            records = self._store.pats.read(pat_ids)
            self._mend_owner(owner_id, tag, entries, records)
            pats += self._living(records)
        return _finish(filter(query.matches, pats), query)

    def _removed_of_owner(self, owner_id: str, tag: str) -> list[PersonalAccessToken]:
        found: list[PersonalAccessToken] = []
        read = 0
        for records in self._store.removed.walk_owner(owner_id, tag):
            read += len(records)
            if read > MOST:
                raise _too_many()
            found += self._living(records)
        return found

    def page_of_owner(self, owner_id: str, query: Query, soon: tuple[int, int] = (0, 0)) -> OwnerPage:
        """Return a page in order of creation. Repair entries without a record, and read it again.

        `soon`: a time (ms), and how many PATs to return as well that expire within it.
        """
        tag = self._store.keyring.owner_tag(self._tenant, owner_id)
        owners, order = self._store.owners, query.newest_first
        while True:  # entries without a record are met once, so each round gets further
            page = owners.page(owner_id, tag, query.offset, query.limit or 0, newest_first=order, soon=soon)
            entries = page.entries | page.soon
            records = self._store.pats.read(list(entries)) if entries else []
            if not self._mend_owner(owner_id, tag, list(entries.values()), records):
                found = dict(zip(entries, records, strict=True))
                parts = (self._living(map(found.get, some)) for some in (page.entries, page.soon))
                return OwnerPage(next(parts), page, next(parts))

    def _mend_owner(
        self, owner_id: str, tag: str, entries: list[bytes], records: Sequence[PatRecord | None]
    ) -> bool:
        """Remove entries of an owner that have no record. Return whether there were any."""
        found = zip(entries, records, strict=True)
        missing = [entry for entry, record in found if record is None]
        if missing:
            self._store.owners.mend(owner_id, tag, missing)
        return bool(missing)

    def of_tenant(self, query: Query) -> Listing:
        """Return PATs of the tenant, by the index that suits best."""
        index, by = self._index, query.filter
        self._store.settle_key()
        now = self._store.pats.now("store")
        named = None if by is None else by.ids()
        if named is not None:
            ids = sorted(pat_id for pat_id in map(PatId.read, named) if pat_id is not None)
            pats = self._living(index.records(ids, now)) if ids else []
            return _finish(filter(query.matches, pats), query)
        plan = self._plan(query)
        whole = query.whole or not plan.in_order
        # An offset, a total and `MOST` are about PATs. So before entries are counted, those of PATs that are
        # known to be gone must go. Another page only meets them.
        self._unborn = index.mend_suspects(now, all_gone=whole or query.offset > 0)
        if plan.in_order and plan.exact:
            return self._range(plan, query)
        matching = filter(query.matches, self._walk(plan, whole=whole))
        if not plan.in_order:
            return _finish(matching, query)
        if whole:
            pats = list(matching)
            return Listing(pats[query.page], len(pats) if query.count else None)
        return Listing(list(islice(matching, query.offset, query.page.stop)))

    def _plan(self, query: Query) -> _Plan:
        """Return the index that has the wanted order, else the one that the filter narrows most."""
        bounds: dict[Index, Bounds] = {}
        if query.filter is not None:
            found = ((index, query.filter.bounds(index)) for index in self._indexes)
            bounds = {index: bound for index, bound in found if bound is not None}
        index: Index = next(iter(bounds), self._indexes[-1])
        descending, in_order = False, not query.sorters  # without sorters, every order is right
        if len(query.sorters) == 1:
            (sorter,) = query.sorters
            for one in self._indexes:
                if one == sorter.field and (one in bounds or not bounds):
                    index, descending, in_order = one, sorter.descending, True
        if len(bounds) > 1 and (not in_order or not query.sorters):
            ranges = [(one, bound.low, bound.high) for one, bound in bounds.items()]
            sizes = self._index.counts(ranges)
            index = min(zip(sizes, bounds, strict=True))[1]
        low, high, exact = bounds.get(index, (0, NEVER, query.filter is None))
        return _Plan(index, low, high, descending, in_order, exact)

    def _range(self, plan: _Plan, query: Query) -> Listing:
        """Return a page that the index alone decides. Read it until it is full and in order.

        Each time the whole page is read, so that what it holds and its order are those of one moment.
        """
        size = MOST if query.limit is None else min(query.limit, MOST)
        ahead, tries = size, _TRIES
        while True:
            piece = self._piece(plan, query.offset, ahead)
            if size != query.limit and piece.total - query.offset > MOST:
                if self._is_over_most(plan, query.offset):
                    raise _too_many_for_a_list(piece.total)
                continue
            pats: list[PersonalAccessToken] = []
            living = wrong = 0
            for some, differing in self._read(plan, piece.now, piece.entries):
                pats += filter(query.matches, some)
                living += len(some)
                wrong += differing
            lost = len(piece.entries) - living
            is_full = len(pats) >= size or len(piece.entries) < ahead
            tries -= not lost  # a lost entry is met once, so who meets one gets further
            if is_full and (wrong == lost or tries <= 0):
                total = piece.total - len(piece.entries) + len(pats)
                return Listing(pats[:size], total if query.count else None)
            if tries <= 0:
                raise StoreUnavailable(detail="the PATs of a page kept changing")
            ahead = size + min(2 * wrong, _PIECE)

    def _walk(self, plan: _Plan, *, whole: bool) -> Iterator[PersonalAccessToken]:
        """Yield PATs in the order of an index, each one once, even if they move.

        `whole`: all will be asked for. Raise `InvalidRequest` when there are more than `MOST`.
        """
        seen: set[PatId] = set()
        size = _PIECE
        while True:  # from the start each time, because ranks change in the meantime
            piece = self._piece(plan, 0, size)
            if whole and piece.total > MOST:
                if self._is_over_most(plan):
                    break
                continue
            fresh = [entry for entry in piece.entries if entry[0] not in seen]
            seen.update(pat_id for pat_id, _ in fresh)
            lost = len(fresh)
            for some, _ in self._read(plan, piece.now, fresh):
                lost -= len(some)
                yield from some
            if piece.total <= size:
                return
            if size == MOST and not lost:
                break
            size = MOST
        raise _too_many()

    def _is_over_most(self, plan: _Plan, offset: int = 0) -> bool:
        """Return whether the range has over `MOST` PATs after `offset`. Remove entries without a record.

        What asks for too many is refused, so it reads no records: this only looks whether they are there.
        """
        while True:
            piece = self._piece(plan, offset, MOST + 1)
            if piece.total - offset <= MOST:
                return False
            ids, missing = [pat_id for pat_id, _ in piece.entries], 0
            for at in range(0, len(ids), _PIECE):
                lost = self._index.missing(ids[at : at + _PIECE])
                self._mend(lost, piece.now)
                missing += len(lost)
            if not missing:
                return True

    def _read(
        self, plan: _Plan, now: int, entries: list[tuple[PatId, int]]
    ) -> Iterator[tuple[list[PersonalAccessToken], int]]:
        """Yield in parts the PATs of entries, and how many of the entries differed from their record.

        Repair these at once, so that a listing which is cut short has repaired all that it has met.
        """
        for at in range(0, len(entries), _PIECE):
            some = entries[at : at + _PIECE]
            pats = self._living(self._index.records([pat_id for pat_id, _ in some], now))
            scores = {pat.id: index_value(pat, plan.index) for pat in pats}
            wrong = [pat_id for pat_id, score in some if scores.get(pat_id) != score]
            self._mend(wrong, now)
            yield pats, len(wrong)

    def _mend(self, pat_ids: Sequence[PatId], now: int) -> None:
        self._unborn |= self._index.mend(pat_ids, now).unborn

    def _piece(self, plan: _Plan, offset: int, count: int) -> Piece:
        return self._index.piece(
            plan.index,
            plan.low,
            plan.high,
            descending=plan.descending,
            offset=offset,
            count=count,
            without=self._unborn,
        )

    def _living(self, records: Iterable[PatRecord | None]) -> list[PersonalAccessToken]:
        pats = (record.pat for record in records if record is not None)
        return list(filter(self._index.lists, pats))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to read a listing: by one index, from `low` to `high`, or descending."""

    index: Index
    low: int
    high: int
    descending: bool
    in_order: bool  # the index has the wanted order
    exact: bool  # every PAT in the range matches the filter


def _too_many_for_a_list(count: int) -> TooMany:
    return TooMany(f"there are {count}; ask for a page of them", field="limit")


def _too_many() -> TooMany:
    return TooMany(
        f"this would read over {MOST} PATs; narrow it by owner, or by the date that it sorts by",
        field="filters",
    )


def _finish(found: Iterable[PersonalAccessToken], query: Query) -> Listing:
    """Sort the PATs that were found, and return the wanted page."""
    pats = list(found)
    sort_pats(pats, query.sorters or (Sorter("created", False),))
    if query.limit is None and len(pats) - query.offset > MOST:
        raise _too_many_for_a_list(len(pats))
    return Listing(pats[query.page], len(pats) if query.count else None)


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidRequest("give 0 or more", field=name)
    return min(value, _BEYOND)
