"""Listings against a model, in pages, in bounds, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from patauth import Authority, Forbidden, InvalidRequest, IssuedPat, Owner, PatAuthError
from patauth.model.dates import format_ms
from patauth.model.filters import MAX_BYTES, parse
from patauth.model.instants import index_value
from patauth.model.pat import PersonalAccessToken, is_gone
from patauth.model.pat_id import PatId
from patauth.model.sorters import parse_sorters, sort_pats
from patauth.operations import listing
from patauth.operations.listing import Listing
from patauth.store import tenant_index
from patauth.store.record import PatRecord, pack, unpack
from tests.support.authorities import Make, issue
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.filters import trees, words
from tests.support.internals import VERSION, store_of
from tests.support.searches import examples
from tests.support.servers import Server, one_engine, shared_engines
from tests.support.tables import each
from tests.support.tenants import (
    INDEXES,
    after_reading,
    forge,
    forge_all,
    keys_of,
    owners_of_one_tag,
    round_trips,
    send,
    sizes_of_calls,
)

OWNERS = [Owner("alice"), Owner("bob"), Owner("carol")]
RETENTION = 2 * DAY


class Model:
    """Does the same to an Authority and to a plain list of PATs, so that both can be compared."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority = authority
        self.clock = clock
        self.issued: list[IssuedPat] = []
        self.pats: dict[str, PersonalAccessToken] = {}
        self.removed: dict[str, PersonalAccessToken] = {}

    def do(self, action: str, which: int, days: int | None) -> None:
        """Do one of the things that happen to PATs. A refusal changes nothing."""
        issued = self.issued[which % len(self.issued)] if self.issued else None
        with suppress(PatAuthError):
            if action == "pass":
                self.clock.advance([1, MINUTE, MINUTE + 1, DAY][which % 4])
            elif action == "create":
                self.create(which, days)
            elif issued is not None:
                getattr(self, action)(issued.pat.id, issued.secret, days)

    def create(self, which: int, days: int | None) -> None:
        expiry: dict[str, Any] = {"never_expires": True}
        if days is not None:
            expiry = {"expires_in": timedelta(days=days)}
        name = ["a", "ab", "b", "\u00e9"][which % 4] + str(which // 4 % 2)
        issued = issue(self.authority, name, owner=OWNERS[which % 3], **expiry)
        self.issued.append(issued)
        self.pats[issued.pat.id] = issued.pat

    def use(self, pat_id: str, secret: str, _: int | None) -> None:
        self.authority.verify_basic(pat_id, secret)
        used = self.pats[pat_id].last_used_ms
        if used is None or used // DAY < self.clock.now // DAY:
            self.pats[pat_id] = replace(self.pats[pat_id], last_used_ms=self.clock.now)

    def expire(self, pat_id: str, _: str, days: int | None) -> None:
        expires_ms = None if days is None else self.clock.now + days * DAY
        operations = [
            {
                "op": "replace",
                "path": "/expirationDate",
                "value": None if expires_ms is None else format_ms(expires_ms),
            },
            {"op": "replace", "path": "/userAwareTokenNeverExpires", "value": True},
        ]
        self.authority.patch(pat_id, operations)
        self.pats[pat_id] = replace(self.pats[pat_id], expires_ms=expires_ms)

    def delete(self, pat_id: str, _: str, __: int | None) -> None:
        self.authority.delete(pat_id)
        self.removed[pat_id] = replace(self.pats.pop(pat_id), revoked_ms=self.clock.now)

    def vanish(self, pat_id: str, _: str, __: int | None) -> None:
        """By its TTL, which the real clock counts: once its retention is over, at any time."""
        pat = self.pats.get(pat_id)
        if pat is not None and is_gone(pat.expires_ms, self.clock.now, RETENTION):
            send(self.authority, ("DEL", keys_of(self.authority).pat(PatId(pat_id))))
        pat = self.removed.get(pat_id)
        if pat is not None and is_gone(pat.revoked_ms, self.clock.now, RETENTION):
            send(self.authority, ("DEL", keys_of(self.authority).removed(PatId(pat_id))))

    def cut_short(self, pat_id: str, _: str, days: int | None) -> None:
        """A creation that has written the index and then died."""
        forge(self.authority, self.clock.now - (days or 0) * MINUTE, len(self.pats))

    def living(self, owner_id: str | None) -> list[PersonalAccessToken]:
        return self._within(self.pats, "expires_ms", owner_id)

    def asked_for(self, filters: str | None, owner_id: str | None) -> list[PersonalAccessToken]:
        """What a filter matches. Raise `InvalidRequest` where it asks for removed PATs and others."""
        if filters is None:
            return self.living(owner_id)
        found = parse(filters)
        removed = self._within(self.removed, "revoked_ms", owner_id)
        return list(filter(found.matches, removed if found.is_of_removed else self.living(owner_id)))

    def _within(
        self, pats: dict[str, PersonalAccessToken], end: str, owner_id: str | None
    ) -> list[PersonalAccessToken]:
        return [
            replace(pat, read_ms=self.clock.now)
            for pat in pats.values()
            if not is_gone(getattr(pat, end), self.clock.now, RETENTION) and owner_id in (None, pat.owner.id)
        ]


def facts(pat: PersonalAccessToken) -> tuple[object, ...]:
    values = (index_value(pat, index) for index in (*INDEXES, "revokedAt"))
    return pat.id, pat.owner.id, pat.name, pat.state, *values


days = st.sampled_from([None, 1, 2, 4])
actions = st.tuples(
    st.sampled_from(
        ["create"] * 3 + ["pass"] * 2 + ["use", "use", "expire", "delete", "vanish", "cut_short"]
    ),
    st.integers(0, 11),
    days,
)
instants = st.builds(lambda day, ms: NOW + day * DAY + ms, st.integers(0, 6), st.sampled_from([-1, 0, 1]))


def retimed(tree: Any, moments: Callable[[], int]) -> Any:
    """A filter of test_filters with dates of this model in place of its own."""
    match tree:
        case (("and" | "or") as word, parts):
            return word, [retimed(part, moments) for part in parts]
        case (("not" | "()") as word, part):
            return word, retimed(part, moments)
        case (("created" | "lastUsed" | "expirationDate" | "revokedAt") as field, operator, ms) if (
            ms is not None
        ):
            return field, operator, moments()
    return tree


@st.composite
def questions(draw: Any) -> dict[str, Any]:
    text = None
    if draw(st.booleans()):
        text = " ".join(words(retimed(draw(trees), lambda: draw(instants))))
        assume(len(text.encode()) <= MAX_BYTES)
    fields = draw(st.lists(st.sampled_from([*INDEXES, "revokedAt", "name"]), max_size=3, unique=True))
    sort = ",".join(draw(st.sampled_from(["", "-"])) + field for field in fields) or None
    return {
        "filters": text,
        "sort": sort,
        "owner_id": draw(st.sampled_from([None, None, "alice", "carol", "nobody"])),
    }


WIDE: list[dict[str, Any]] = [
    {"filters": None, "sort": sort, "owner_id": None} for sort in (None, *INDEXES, "-lastUsed", "-name")
]


@settings(max_examples=examples(40))
@given(
    st.lists(actions, max_size=25),
    st.lists(questions(), min_size=3, max_size=3),
    st.integers(0, 6),
    st.integers(0, 4),
)
@example([("create", n, 2) for n in range(9)] + [("pass", 3, None)] * 4 + [("create", 9, 4)], WIDE, 0, 1)
@example(
    [("create", n, 2) for n in range(6)]
    + [("delete", 0, 0), ("pass", 1, 0), ("delete", 1, 0), ("use", 2, 0)],
    [{**one, "filters": 'state eq "revoked"'} for one in WIDE],
    1,
    1,
)
@example([("create", 0, None), ("cut_short", 0, 0), ("create", 1, 1), ("create", 2, 4)], WIDE, 1, 1)
def test_a_listing_is_what_a_plain_list_of_pats_gives(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    done: list[tuple[str, int, int | None]],
    asked: list[dict[str, Any]],
    offset: int,
    limit: int,
) -> None:
    """Filtered, sorted, counted and cut into pages, after whatever has happened."""
    monkeypatch.setattr(listing, "_PIECE", 3)
    monkeypatch.setattr(tenant_index, "_AT_ONCE", 2)
    clock = Clock()
    with make(clock=clock, tenant=f"t{next(_tenants)}", retention="2d") as authority:
        model = Model(authority, clock)
        for one in done:
            model.do(*one)
        for question in [*asked, WIDE[0]]:
            text, sort = question["filters"], question["sort"]
            try:
                expected = model.asked_for(text, question["owner_id"])
            except InvalidRequest:
                with pytest.raises(InvalidRequest):
                    authority.list(**question)
                continue
            whole = authority.list(**question, count=True)
            assert whole.total == len(expected)
            page = authority.list(**question, offset=offset, limit=limit, count=True)
            assert page == whole[offset : offset + limit]
            assert page.total == len(expected)
            assert sorted(map(facts, whole)) == sorted(map(facts, expected))
            sorters = () if sort is None else parse_sorters(sort)
            sort_pats(expected, sorters)
            if sorters:
                assert [pat.id for pat in whole] == [pat.id for pat in expected]


_tenants = iter(range(10**9))


def test_the_model_has_what_it_is_meant_to_meet(make: Make, clock: Clock) -> None:
    """Each action does something, so that the property above says what it seems to."""
    with make(clock=clock, retention="2d") as authority:
        model = Model(authority, clock)
        for number in range(6):
            model.do("create", number, 1)
        assert len(model.pats) == 6
        for action, which, change in [
            ("use", 0, None),
            ("expire", 1, 4),
            ("expire", 2, None),
            ("delete", 3, 1),
        ]:
            before = dict(model.pats)
            model.do(action, which, change)
            assert model.pats != before, action
        assert len(authority.list()) == 5
        model.do("cut_short", 0, 0)
        clock.advance(3 * DAY)
        model.do("vanish", 0, None)
        assert len(model.living(None)) == len(authority.list()) == 2


def seed(authority: Authority, count: int, owner: Owner | None = None) -> list[str]:
    """So many PATs, a second apart, every other one used, each third without an expiry; made past the
    front door, since their secrets do not matter. Their ids by creation."""
    issued = issue(authority, "seed", owner=owner or OWNERS[0])
    keys = keys_of(authority)
    (data,) = send(authority, ("GET", keys.pat(PatId(issued.pat.id))))
    record = unpack(data)
    authority.delete(issued.pat.id)
    ids = []
    for number in range(count):
        pat = replace(
            record.pat,
            id=issued.pat.id[:8] + f"{number * 7919 % 2**32:08x}".rjust(24, "5"),
            name=f"pat {number}",
            created_ms=record.pat.created_ms - (count - number) * 1000,
            changed_ms=record.pat.created_ms,
            last_used_ms=NOW + number % 5 * DAY if number % 2 else None,
            expires_ms=None if number % 3 == 0 else NOW + 400 * DAY + number % 4 * DAY,
        )
        store_of(authority).tenant_index.enter(PatId(pat.id), pat.created_ms, pat.expires_ms)
        if pat.last_used_ms is not None:
            store_of(authority).tenant_index.used(PatId(pat.id), pat.last_used_ms)
        send(authority, ("SET", keys.pat(PatId(pat.id)), pack(PatRecord(pat, record.secrets), VERSION)))
        ids.append(PatId(pat.id))
    return ids


SORTS = [sign + index for sign in ("", "-") for index in INDEXES]


def paged(authority: Authority, size: int, **asked: Any) -> list[str]:
    """The ids of all pages, until one is not full."""
    found: list[str] = []
    while True:
        page = authority.list(offset=len(found), limit=size, **asked)
        found += [pat.id for pat in page]
        if len(page) < size:
            return found


ORDERS: list[str | None] = [None, *SORTS, "name", "-name,created"]
NARROWED: list[dict[str, Any]] = [
    {},
    {"filters": "created ge 2020-01-01T00:00:00Z"},
    {"filters": 'name co "1"'},
]


@shared_engines
@each("lack", ["nothing", "gone by TTL", "cut short long ago", "cut short just now"])
@pytest.mark.system
def test_pages_have_each_pat_once_and_are_full(fresh: Make, clock: Clock, lack: str) -> None:
    """In every order, whatever entries without a record lie between: of 20 PATs none is missed or doubled."""
    authority = fresh()
    ids = seed(authority, 20)
    for sort, asked, size in product(ORDERS, NARROWED, (1, 2, 7)):
        where = f"{asked} sorted by {sort} in pages of {size}"
        for number in range(4):
            at = NOW - size * 1000 * number  # among the others' creation
            if lack == "cut short just now":
                forge(authority, at, 100 * size + number)
            elif lack == "cut short long ago":
                forge(authority, at - 2 * MINUTE, 100 * size + number)
            elif lack == "gone by TTL":
                forge(authority, at - 2 * MINUTE, 100 * size + number, clock.now - 91 * DAY)
        found = paged(authority, size, sort=sort, **asked)
        assert len(found) == len(set(found)), where
        whole = authority.list(sort=sort, count=True, **asked)
        assert found == [pat.id for pat in whole], where
        assert whole.total == len(whole), where
        if "name" not in asked.get("filters", ""):
            assert set(found) == set(ids), where


@each("asked", [{}, {"filters": "lastUsed isnull"}, {"filters": 'name sw "pat"'}])
@each("sort", [None, "lastUsed", "-lastUsed", "created"])
@each("count", [False, True])
def test_who_stays_as_they_are_is_listed_once_whatever_happens_to_others_meanwhile(
    fresh: Make,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    sort: str | None,
    count: bool,
) -> None:
    """Uses and deletions come between the pieces of one listing, and move what lies behind them."""
    authority = fresh()
    monkeypatch.setattr(listing, "_PIECE", 3)
    ids = seed(authority, 20)
    unused, moved, deleted = ids[0::2], ids[0:6:2], ids[1:5]
    keys, tenant = keys_of(authority), store_of(authority).tenant_index

    def meanwhile() -> None:
        for pat_id in moved:
            (data,) = send(authority, ("GET", keys.pat(pat_id)))
            record = unpack(data)
            tenant.used(pat_id, NOW + 9 * DAY)
            changed = pack(replace(record, pat=replace(record.pat, last_used_ms=NOW + 9 * DAY)), VERSION)
            send(authority, ("SET", keys.pat(pat_id), changed))
        for pat_id in deleted:
            send(authority, ("DEL", keys.pat(pat_id)))
            tenant.forget([pat_id])

    after_reading(authority, meanwhile)
    found = [pat.id for pat in authority.list(sort=sort, count=count, **asked)]
    assert len(found) == len(set(found))
    stayed = set(unused if asked.get("filters") == "lastUsed isnull" else ids) - {*moved, *deleted}
    assert stayed <= set(found)


GONE = 91 * DAY  # ago: past an expiry by more than the retention
LONG_AGO = 10 * DAY  # of creations, before those of `seed`
EXPIRIES = {"gone by TTL": NOW - GONE, "of lost records": NOW + 300 * DAY}


@pytest.mark.system
@shared_engines
@each("lack", EXPIRIES)
@each("asked", [{"limit": 50, "count": True}, {"limit": 50}, {}])
def test_ten_thousand_pats_that_are_gone_empty_no_page(fresh: Make, lack: str, asked: dict[str, Any]) -> None:
    """They stand before 60 that live, and more of them than a listing looks for at once."""
    authority = fresh()
    living = seed(authority, 60)
    forge_all(authority, [(number, NOW - LONG_AGO - number, EXPIRIES[lack]) for number in range(10_400)])
    first = authority.list(**asked)
    assert [pat.id for pat in first] == living[: asked.get("limit")]
    assert first.total == (60 if "count" in asked else None)
    rest = authority.list(**{**asked, "limit": 50}, offset=50)
    assert [pat.id for pat in rest] == living[50:]
    assert sorted(pat.id for pat in authority.list()) == sorted(living)


SMALL = {"_SUSPECTS": 6, "_AT_ONCE": 3, "_YOUNG": 2}


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pieces so small that a few entries fill several."""
    for name, value in SMALL.items():
        monkeypatch.setattr(tenant_index, name, value)
    monkeypatch.setattr(listing, "_PIECE", 3)
    monkeypatch.setattr(listing, "MOST", 10)


@pytest.mark.system
@shared_engines
@each("lack", EXPIRIES)
@each(
    "asked",
    [
        *({"sort": sort} for sort in (None, *SORTS, "name", "-created,name")),
        *({"filters": text} for text in ("created ge 2020-01-01T00:00:00Z", 'name sw "pat"', 'name co "1"')),
        {"filters": 'name sw "pat"', "sort": "expirationDate"},
        {"filters": "lastUsed isnull", "sort": "created"},
        {"filters": "lastUsed isnull and created ge 2020-01-01T00:00:00Z"},
    ],
)
@each("limit", [None, 1, 4, 10, 11])
@each("count", [False, True])
def test_no_listing_is_short_or_refused_for_pats_that_are_gone(
    fresh: Make, monkeypatch: pytest.MonkeyPatch, lack: str, asked: dict[str, Any], limit: Any, count: bool
) -> None:
    """Ten live, which is the most that one listing reads; thirty are gone, before and among them."""
    shrink(monkeypatch)
    authority = fresh()
    seed(authority, 10)
    forge_all(
        authority, [(number, NOW - MINUTE - 500 * number, EXPIRIES[lack] + number) for number in range(30)]
    )
    found = authority.list(**asked, limit=limit, count=count)
    right = authority.list(**asked)  # by now all are met
    assert [pat.id for pat in found] == [pat.id for pat in right][:limit]
    text = asked.get("filters", "")
    assert len(right) == (5 if "isnull" in text else 1 if "co" in text else 10)
    if count and lack == "gone by TTL":
        assert found.total == len(right)


@each("lack", EXPIRIES)
@each("asked", [{}, {"sort": "name", "limit": 1}, {"filters": 'name co "pat"', "count": True}, {"limit": 11}])
def test_what_is_too_much_without_those_that_are_gone_is_still_refused(
    fresh: Make, monkeypatch: pytest.MonkeyPatch, lack: str, asked: dict[str, Any]
) -> None:
    shrink(monkeypatch)
    authority = fresh()
    seed(authority, 11)
    forge_all(authority, [(number, NOW - LONG_AGO - number, EXPIRIES[lack]) for number in range(30)])
    trips = round_trips(authority, monkeypatch)
    with pytest.raises(InvalidRequest):
        authority.list(**asked)
    if lack == "of lost records":
        assert "GETEX" in trips  # of those that it removed
        trips.clear()
        with pytest.raises(InvalidRequest):
            authority.list(**asked)
        assert "GETEX" not in trips


LACKS = ["living", "gone by TTL", "past its retention", "lost", "unborn"]


@settings(max_examples=examples(40))
@given(
    entries=st.lists(st.tuples(st.sampled_from(["living", *LACKS]), st.integers(0, 4)), max_size=30),
    size=st.integers(1, 9),
    sort=st.sampled_from([None, *SORTS]),
    text=st.sampled_from([None, None, "created ge 2020-01-01T00:00:00Z", 'name sw "p"']),
)
@example([("gone by TTL", 0)] * 20 + [("living", 1)] * 3, 2, None, None)
@example([("lost", 0)] * 20 + [("living", 1)] * 3, 2, "-created", 'name sw "p"')
@example([("unborn", 0)] * 9 + [("living", 1)] * 3 + [("lost", 0)] * 9, 2, "created", None)
def test_pages_are_those_of_a_list_of_the_living(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    entries: list[tuple[str, int]],
    size: int,
    sort: str | None,
    text: str | None,
) -> None:
    """From the first page to the last, each is full and in order; the last total at least is the number of
    those that live, and each one is, if all that are gone can be known beforehand."""
    shrink(monkeypatch)
    monkeypatch.setattr(listing, "MOST", 30)
    monkeypatch.setattr(tenant_index, "_YOUNG", 30)
    with make(clock=Clock(), tenant=f"t{next(_tenants)}") as authority:
        living = sown(authority, entries)
        name, descends = (sort or "created").lstrip("-"), (sort or "").startswith("-")
        living.sort(key=lambda pat: pat.id, reverse=descends)
        living.sort(key=lambda pat: index_value(pat, name), reverse=descends)
        found: list[str] = []
        is_known = not {"lost", "unborn"} & {lack for lack, _ in entries}
        while True:
            page = authority.list(offset=len(found), limit=size, sort=sort, filters=text, count=True)
            assert [pat.id for pat in page] == [pat.id for pat in living[len(found) :][:size]]
            assert page.total == len(living) if is_known else (page.total or 0) >= len(living)
            found += [pat.id for pat in page]
            if len(page) < size:
                assert page.total == len(living)
                return


def sown(authority: Authority, entries: list[tuple[str, int]]) -> list[PersonalAccessToken]:
    """Entries of each kind of lack, with records where they have one, made past the front door. Those that
    live. The numbers are seconds of creation and days of use, so that several have the same."""
    issued = issue(authority, "sown")
    keys = keys_of(authority)
    (data,) = send(authority, ("GET", keys.pat(PatId(issued.pat.id))))
    record = unpack(data)
    authority.delete(issued.pat.id)
    living: list[PersonalAccessToken] = []
    for number, (lack, step) in enumerate(entries):
        created = NOW - step * 1000 - (0 if lack == "unborn" else 2 * MINUTE)
        expiry = {"lost": NOW + DAY, "unborn": NOW + DAY, "living": NOW + step * DAY if step else None}
        pat = replace(
            record.pat,
            id=issued.pat.id[:8] + f"{number * 7919 % 2**32:08x}".rjust(24, "5"),
            name=f"p{number}",
            created_ms=created,
            changed_ms=created,
            last_used_ms=NOW - step * DAY if step % 2 else None,
            expires_ms=expiry.get(lack, NOW - GONE - step),
        )
        scores = zip(
            (keys.tenant_created, keys.tenant_used, keys.tenant_expires),
            (index_value(pat, index) for index in INDEXES),
            strict=True,
        )
        send(authority, *(("ZADD", key, score, PatId(pat.id).raw) for key, score in scores))
        if lack in ("living", "past its retention"):
            send(authority, ("SET", keys.pat(PatId(pat.id)), pack(PatRecord(pat, record.secrets), VERSION)))
        if lack == "living":
            living.append(pat)
    return living


def test_the_work_on_those_that_are_gone_is_in_pieces_of_one_size(
    fresh: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times as many take three times as many calls, and none that is larger."""
    shrink(monkeypatch)
    for lack in EXPIRIES:
        largest = []
        for count in (60, 180):
            authority = fresh()
            seed(authority, 5)
            forge_all(authority, [(n, NOW - LONG_AGO - n, EXPIRIES[lack]) for n in range(count)])
            sizes = sizes_of_calls(authority, monkeypatch)
            assert authority.list(limit=5, count=True).total == 5
            assert len(sizes) <= 12 + 6 * count / SMALL["_AT_ONCE"], lack
            largest.append((max(calls for calls, _ in sizes), max(words for _, words in sizes)))
        assert largest[0] == largest[1], lack


PAGES: list[dict[str, Any]] = [
    *({"sort": sort} for sort in (None, *SORTS)),
    {"count": True},
    {"offset": 5},
    {"filters": "lastUsed isnull"},
    {"filters": "lastUsed le 2031-01-01T00:00:00Z or lastUsed isnull", "sort": "-lastUsed"},
    {"filters": 'name co "pat"'},
    {"filters": 'name co "pat" and not created lt 2020-01-01T00:00:00Z', "sort": "created"},
]


def test_the_round_trips_of_a_page_do_not_grow_with_the_tenant(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for count in (60, 600):
        authority = make(clock=clock, tenant=f"of-{count}")
        seed(authority, count)
        for page in PAGES:
            authority.list(**page, limit=25)  # scripts are known from now on
        trips = round_trips(authority, monkeypatch)
        of_pages = []
        for page in PAGES:
            trips.clear()
            assert len(authority.list(**page, limit=25)) == 25, page
            of_pages.append(list(trips))
        found.append(of_pages)
    for page, few, many in zip(PAGES, *found, strict=True):
        assert few == many, page
        assert len(few) <= 7, page


@shared_engines
def test_nothing_is_ever_scanned_for_a_listing(
    make: Make, engine: str, servers: dict[str, Server], clock: Clock
) -> None:
    """Counted by the server, within scripts too."""
    authority = make(clock=clock)
    seed(authority, 30)
    forge(authority, clock.now - DAY)
    before = servers[engine].calls()
    for page in PAGES:
        authority.list(**page)
        authority.list(**page, limit=3)
        authority.list(**page, owner_id="alice")
    authority.list(filters='id in ("' + "0" * 32 + '")')
    after = servers[engine].calls()
    used = {name for name in after if after[name] != before.get(name, 0)}
    assert not {name for name in used if "scan" in name or name in ("keys", "sort", "hgetall", "smembers")}
    assert "zrange" in used


class TestBounds:
    @pytest.fixture
    def small(self, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
        """Twelve PATs where ten are the most that one listing reads: six used, four that never expire."""
        monkeypatch.setattr(listing, "MOST", 10)
        monkeypatch.setattr(listing, "_PIECE", 4)
        seed(authority, 12)
        return authority

    @one_engine
    @each(
        ("asked", "field"),
        [
            pytest.param({}, "limit", id="all"),
            pytest.param({"count": True}, "limit", id="all, counted"),
            pytest.param({"limit": 11}, "limit", id="a page over the most"),
            pytest.param({"offset": 1}, "limit", id="all but one"),
            pytest.param({"sort": "-lastUsed"}, "limit", id="all in an order"),
            pytest.param({"sort": "name", "limit": 1}, "filters", id="an order without an index"),
            pytest.param({"sort": "created,name", "limit": 1}, "filters", id="two sorters"),
            pytest.param({"filters": 'name co "pat"'}, "filters", id="a filter without an index"),
            pytest.param({"filters": 'name co "pat"', "limit": 1, "count": True}, "filters", id="counted"),
            pytest.param({"filters": 'name eq "x"', "limit": 1}, "filters", id="a filter without a match"),
            pytest.param(
                {"filters": "created ge 2020-01-01T00:00:00Z", "sort": "lastUsed", "limit": 1},
                "filters",
                id="a range that leaves too many to sort",
            ),
        ],
    )
    def test_what_would_read_too_many_is_refused_and_says_what_to_change(
        self, small: Authority, asked: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as refused:
            small.list(**asked)
        assert refused.value.field == field

    @each("asked", [{}, {"sort": "name", "limit": 1}, {"filters": 'name co "pat"', "count": True}])
    def test_what_cannot_be_had_costs_no_record(
        self, small: Authority, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
    ) -> None:
        """Where all would have to be read, the index says beforehand that they are too many."""
        trips = round_trips(small, monkeypatch)
        with pytest.raises(InvalidRequest):
            small.list(**asked)
        assert trips
        assert "GETEX" not in trips

    @each(
        ("asked", "count"),
        [
            pytest.param({"limit": 10}, 10, id="a page of the most"),
            pytest.param({"limit": 10, "offset": 5, "count": True}, 7, id="counted"),
            pytest.param({"offset": 2}, 10, id="the rest"),
            pytest.param({"limit": 11, "offset": 2}, 10, id="a page over the most of what is left"),
            pytest.param({"filters": 'name co "pat"', "limit": 5}, 5, id="a filter that soon has enough"),
            pytest.param({"filters": "lastUsed isnull", "count": True}, 6, id="narrow enough"),
            pytest.param({"filters": "lastUsed isnull", "sort": "name"}, 6, id="narrow enough to sort"),
            pytest.param({"filters": "expirationDate isnull", "sort": "-created,name"}, 4, id="two sorters"),
            pytest.param({"filters": "lastUsed isnull and expirationDate isnull"}, 2, id="two ranges"),
            pytest.param(
                {"filters": "created ge 2020-01-01T00:00:00Z and expirationDate isnull"}, 4,
                id="the narrower of two ranges",
            ),
            pytest.param(
                {"filters": "lastUsed ge 2020-01-01T00:00:00Z and not created lt 2020-01-01T00:00:00Z"}, 6,
                id="the narrower of two ranges, the other way round",
            ),
            pytest.param(
                {
                    "filters": "(lastUsed isnull or lastUsed ge 2020-01-01T00:00:00Z)"
                    f" and created ge {format_ms(NOW - 3000)}"
                }, 3,
                id="the narrower of two ranges, where the other would be too wide",
            ),
            pytest.param({"filters": 'id eq "x" and name sw "p"', "count": True}, 0, id="by id"),
            pytest.param({"owner_id": "nobody", "sort": "name"}, 0, id="of an owner"),
        ],
    )  # fmt: skip
    def test_narrowing_helps(self, small: Authority, asked: dict[str, Any], count: int) -> None:
        assert len(small.list(**asked)) == count

    @each("owner_id", [None, "alice"])
    @each("filters", [None, "lastUsed isnull", 'name sw "pat"', 'id eq "x"'])
    @each("sort", [None, "created", "-lastUsed", "name"])
    def test_beyond_the_end_there_is_nothing_and_the_total_stands(
        self, fresh: Make, owner_id: str | None, filters: str | None, sort: str | None
    ) -> None:
        authority = fresh()
        for name in ("pat 1", "pat 2"):
            issue(authority, name)
        total = 0 if filters == 'id eq "x"' else 2
        for offset, limit in [(2, None), (2, 1), (0, 0), (1, 0), (10**6, 5), (2**63, 1), (10**30, 10**30)]:
            found = authority.list(
                owner_id=owner_id, filters=filters, sort=sort, offset=offset, limit=limit, count=True
            )
            assert (found, found.total) == ([], total)
        assert len(authority.list(owner_id=owner_id, filters=filters, sort=sort, limit=10**30)) == total

    @one_engine
    @each("owner_id", [None, "alice"])
    @each("field", ["offset", "limit"])
    @each("value", [-1, 1.0, "1", True, False, b"1", [1]])
    def test_offset_and_limit_are_whole_numbers_from_zero(
        self, authority: Authority, owner_id: str | None, field: str, value: Any
    ) -> None:
        with pytest.raises(InvalidRequest) as refused:
            authority.list(owner_id=owner_id, **{field: value})
        assert refused.value.field == field


@each("owner_id", [None, "alice", "nobody"])
def test_a_listing_is_a_list_and_has_a_total_where_that_was_asked_for(
    fresh: Make, owner_id: str | None
) -> None:
    authority = fresh()
    issue(authority)
    plain = authority.list(owner_id=owner_id)
    total = authority.list(owner_id=owner_id, count=True)
    assert type(plain) is type(total) is Listing
    assert isinstance(plain, list)
    assert plain == total == list(plain)
    assert plain.total is None
    assert total.total == len(plain) == (0 if owner_id == "nobody" else 1)
    assert all(pat.state == "active" for pat in plain)


@one_engine
def test_me_is_nobody_where_the_host_calls(authority: Authority) -> None:
    with pytest.raises(InvalidRequest) as refused:
        authority.list(owner_id="me")
    assert refused.value.field == "owner_id"
    issued = issue(authority, scope=["idn:my-personal-access-tokens:read"])
    issue(authority, owner=Owner("bob"))
    by = authority.verify_basic(issued.pat.id, issued.secret)
    assert [pat.id for pat in authority.list(owner_id="me", by=by)] == [issued.pat.id]
    for owner_id in (None, "bob", "alice"):
        with pytest.raises(Forbidden):
            authority.list(owner_id=owner_id, by=by)


@one_engine
@each("text", ["x", "", " ", "hello world", "}" * 40, "0" * 31, "AB" * 16, "0" * 40, "\u00e9" * 9])
def test_an_id_that_is_none_matches_nothing(fresh: Make, text: str) -> None:
    authority = fresh()
    issue(authority)
    for owner_id in (None, "alice"):
        assert authority.list(filters=f'id eq "{text}"', owner_id=owner_id) == []
        assert authority.list(filters=f'not id eq "{text}"', owner_id=owner_id)


@shared_engines
def test_another_tenants_pats_never_show(make: Make, clock: Clock) -> None:
    """One store, one owner id; even where an index names the other tenant's PAT."""
    ours, theirs = make(clock=clock), make(clock=clock, tenant="other")
    own, foreign = issue(ours).pat, issue(theirs).pat
    for owner_id in (None, "alice"):
        assert [pat.id for pat in ours.list(owner_id=owner_id)] == [own.id]
        assert [pat.id for pat in theirs.list(owner_id=owner_id)] == [foreign.id]
    assert ours.list(filters=f'id eq "{foreign.id}"') == []
    store_of(ours).tenant_index.enter(PatId(foreign.id), foreign.created_ms, foreign.expires_ms)
    for sort in (None, *SORTS, "name"):
        assert [pat.id for pat in ours.list(sort=sort)] == [own.id]


def test_owners_of_one_tag_do_not_see_each_others_pats(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, secret_key=bytes(32))
    first, second = (issue(authority, owner=Owner(one), scope=["idn:my-personal-access-tokens:read"])
                     for one in owners_of_one_tag())  # fmt: skip
    assert first.pat.id[:8] == second.pat.id[:8]
    for issued in (first, second):
        by = authority.verify_basic(issued.pat.id, issued.secret)
        for asked in ({}, {"filters": 'name eq "ci"'}, {"sort": "-created", "limit": 5}):
            assert [pat.id for pat in authority.list(owner_id="me", by=by, **asked)] == [issued.pat.id]
    assert len(authority.list()) == 2
