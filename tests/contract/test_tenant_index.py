"""The indexes of a tenant: a crash between any two commands, a race, and damage are mended or refused.

Truth is what the records say, by way of the owners' listings, which use no tenant index.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, Conflict, IssuedPat, Owner, PersonalAccessToken, StoreUnavailable
from patauth.model.dates import format_ms
from patauth.model.filters import parse
from patauth.model.instants import NEVER, index_value
from patauth.model.pat_id import PatId
from patauth.operations import listing
from patauth.store import tenant_index
from patauth.store.scripts import Scripts
from patauth.store.tenant_index import TenantIndex
from tests.support.authorities import ALICE, Make, issue, patch_many
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.internals import store_of
from tests.support.interventions import Before, standing_in
from tests.support.servers import shared_engines
from tests.support.tables import each
from tests.support.tenants import (
    INDEXES,
    after_reading,
    cut_after,
    forge,
    forge_all,
    held,
    keys_of,
    marks,
    send,
)

BOB = Owner("bob")


def truth(authority: Authority) -> list[PersonalAccessToken]:
    return [pat for owner in (ALICE, BOB) for pat in authority.list(owner_id=owner.id)]


def assert_right(authority: Authority, clock: Clock) -> None:
    """The listing of the tenant is that of its owners, whatever is asked, whole and in pages."""
    pats = truth(authority)
    instants = {clock.now, NOW, *(pat.expires_ms for pat in pats if pat.expires_ms)}
    # First of all the ranges that an entry which lags behind is missing from: what meets it mends it.
    filters: list[str | None] = ["not lastUsed isnull", "expirationDate isnull", "lastUsed isnull", None]
    filters += [
        f"{field} {order} {format_ms(ms)}"
        for field in INDEXES
        for order in ("le", "gt")
        for ms in sorted(instants)
    ]
    for text in filters:
        matches = [pat for pat in pats if text is None or parse(text).matches(pat)]
        found = authority.list(filters=text, count=True)
        assert sorted(pat.id for pat in found) == sorted(pat.id for pat in matches), text
        assert found.total == len(matches), text
    for index in INDEXES:
        whole = authority.list(sort=index)
        values = [index_value(pat, index) for pat in whole]
        assert values == sorted(values)
        for size in (1, 2):
            pages = [authority.list(sort=index, offset=at, limit=size) for at in range(0, len(pats), size)]
            assert [pat.id for page in pages for pat in page] == [pat.id for pat in whole]


def assert_index_is_right(authority: Authority) -> None:
    """The indexes hold what the records say, and nothing else."""
    pats = truth(authority)
    for index in INDEXES:
        assert held(authority, index) == {pat.id: index_value(pat, index) for pat in pats}


Operation = Callable[[Authority, IssuedPat], object]


def move_expiry(authority: Authority, issued: IssuedPat, days: int | None = 60) -> object:
    value = None if days is None else format_ms(NOW + days * DAY)
    operations = [
        {"op": "replace", "path": "/expirationDate", "value": value},
        {"op": "replace", "path": "/userAwareTokenNeverExpires", "value": True},
    ]
    return patch_many(authority, [issued.pat.id], operations)


OPERATIONS: dict[str, Operation] = {
    "create": lambda authority, _: issue(authority, "another"),
    "create of a name that is taken": lambda authority, _: issue(authority),
    "use": lambda authority, issued: authority.verify_basic(issued.pat.id, issued.secret),
    "later expiry": move_expiry,
    "earlier expiry": lambda authority, issued: move_expiry(authority, issued, 2),
    "no expiry": lambda authority, issued: move_expiry(authority, issued, None),
    "delete": lambda authority, issued: authority.delete(issued.pat.id),
    "revoke owner": lambda authority, _: authority.revoke_owner("alice"),
}


@pytest.mark.system
@shared_engines
@each("name", OPERATIONS)
def test_a_crash_after_any_command_is_mended_by_the_next_listing(
    fresh: Make, clock: Clock, name: str
) -> None:
    """Cut short after 0, 1, 2, … commands until it runs through: right at once, and the index after 60 s."""
    authority = fresh()
    operation = OPERATIONS[name]
    issue(authority, "bob's", owner=BOB, never_expires=True)
    for count in range(40):
        authority.revoke_owner("alice")
        clock.now = NOW
        issued = issue(authority)
        clock.advance(DAY)
        with cut_after(authority, count) as left, suppress(Conflict):
            operation(authority, issued)
        assert_right(authority, clock)
        clock.advance(MINUTE + 1)
        assert_right(authority, clock)
        assert_index_is_right(authority)
        assert marks(authority) == []
        if left[0] >= 0:
            return
    pytest.fail("the operation took 40 commands")


@each("days", [None, 2, 60])
def test_what_may_be_under_way_is_left_for_sixty_seconds(fresh: Make, clock: Clock, days: int | None) -> None:
    """A mark and an entry without a record stay as they are, and the listing is right all the same."""
    authority = fresh()
    issued = issue(authority)
    clock.advance(DAY)
    store_of(authority).tenant_index.mark_expiry([PatId(issued.pat.id)], clock.now)
    unborn = forge(authority, clock.now)
    for step in (0, 30_000, 29_999):
        clock.advance(step)
        assert_right(authority, clock)
        assert marks(authority) == [bytes.fromhex(issued.pat.id) + b"e"]
        assert all(unborn in held(authority, index) for index in INDEXES)
    with cut_after(authority, 10**6):  # the write comes at last
        move_expiry(authority, issued, days)
    assert_right(authority, clock)
    clock.advance(MINUTE + 1)
    assert_right(authority, clock)
    assert_index_is_right(authority)
    assert marks(authority) == []


def test_a_creation_under_way_is_not_taken_for_one_that_was_cut_short(
    authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing comes between index and record; the PAT has its entries afterwards."""

    def look() -> None:
        clock.advance(400)
        assert authority.list(count=True).total == 0

    with Before(Scripts, "run_durably", look):
        issued = issue(authority)
    assert [pat.id for pat in authority.list()] == [issued.pat.id]
    assert_index_is_right(authority)


@shared_engines
@each("name", ["use", "later expiry", "earlier expiry", "no expiry"])
def test_a_mark_that_is_renewed_while_a_listing_mends_is_not_lost(
    fresh: Make, clock: Clock, name: str
) -> None:
    """An old mark is about to be removed; another writer renews it, changes the record, and dies at any
    command."""
    authority = fresh()
    operation = OPERATIONS[name]
    for count in range(40):
        authority.revoke_owner("alice")
        clock.now = NOW
        issued = issue(authority)
        tenant = store_of(authority).tenant_index
        tenant.mark_expiry([PatId(issued.pat.id)], clock.now)
        tenant.mark_use(PatId(issued.pat.id), clock.now)
        clock.advance(DAY)
        over = False

        def crash(issued: IssuedPat = issued, count: int = count) -> None:
            nonlocal over
            with cut_after(authority, count) as left:
                operation(authority, issued)
            over = left[0] >= 0

        after_reading(authority, crash)
        authority.list()
        assert_right(authority, clock)
        clock.advance(MINUTE + 1)
        assert_right(authority, clock)
        assert_index_is_right(authority)
        assert marks(authority) == []
        if over:
            return
    pytest.fail("the operation took 40 commands")


@each("other", [3, 60, None])
def test_an_expiry_that_arrives_late_in_the_index_is_mended(
    fresh: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, other: int | None
) -> None:
    """Of two changes the earlier one reaches the index last; its mark outlives it."""
    authority = fresh()
    issued = issue(authority)
    late: list[Callable[[], None]] = []

    def later(real: Callable[..., Any], *given: Any) -> None:
        late.append(lambda: real(*given))

    with standing_in(TenantIndex, "changed", later):
        move_expiry(authority, issued, 7)
    move_expiry(authority, issued, other)
    for one in late:
        one()
    assert_right(authority, clock)
    assert_index_is_right(authority)


def test_more_marks_than_one_look_takes_are_mended_by_the_next_looks(
    authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of each millisecond, three at a look: no mark goes before what it points at was looked at."""
    monkeypatch.setattr(tenant_index, "_SUSPECTS", 3)
    monkeypatch.setattr(tenant_index, "_AT_ONCE", 2)
    for number in range(8):
        issued = issue(authority, str(number))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(TenantIndex, "changed", lambda *_: None)
            move_expiry(authority, issued, 3)
        clock.advance(number % 2)
    clock.advance(MINUTE + 1)
    for _ in range(8):
        authority.list()
    assert marks(authority) == []
    assert_index_is_right(authority)
    assert_right(authority, clock)


def test_more_creations_under_way_than_are_looked_for_are_found_on_the_way(
    authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their entries stay for 60 s, and the page that meets them is right."""
    monkeypatch.setattr(tenant_index, "_YOUNG", 1)
    pats = [issue(authority, name).pat.id for name in ("a", "b")]
    forged = {forge(authority, clock.now - 30_000 + number, number) for number in range(3)}
    for sort in (None, *INDEXES):
        found = authority.list(sort=sort, limit=5, count=True)
        assert {pat.id for pat in found} == set(pats)
        assert found.total == 2
    for index in INDEXES:
        assert set(held(authority, index)) == {*pats, *forged}
    clock.advance(MINUTE + 1)
    assert_right(authority, clock)
    assert_index_is_right(authority)


def test_pats_whose_retention_is_over_leave_the_index_though_their_record_may_be_there(
    authority: Authority, clock: Clock
) -> None:
    """Records end by the server's clock, which no test moves: here they outlive their retention, as they do
    when the setting was lowered."""
    issue(authority, "short", expires_in=timedelta(days=1))
    gone = issue(authority, "gone by its TTL", expires_in=timedelta(days=1)).pat.id
    issue(authority, "stays", never_expires=True)
    send(authority, ("DEL", keys_of(authority).pat(PatId(gone))))
    clock.advance(DAY + authority.settings.retention * 1000 - 1)
    assert len(authority.list()) == 2
    clock.advance(1)
    assert_right(authority, clock)
    assert_index_is_right(authority)


@each("expires_ms", [NOW - 91 * DAY, NEVER])
def test_a_listing_that_is_cut_short_leaves_less_for_the_next(
    fresh: Make, monkeypatch: pytest.MonkeyPatch, expires_ms: int
) -> None:
    """With 300 that are gone, and for each listing as many commands as take out some tens of them."""
    monkeypatch.setattr(tenant_index, "_SUSPECTS", 20)
    monkeypatch.setattr(tenant_index, "_AT_ONCE", 10)
    monkeypatch.setattr(listing, "_PIECE", 10)
    for asked in ({"limit": 5, "count": True}, {"limit": 5}, {"sort": "name", "limit": 5}):
        authority = fresh()
        issued = issue(authority, never_expires=True)
        forge_all(authority, [(number, NOW - DAY - number, expires_ms) for number in range(300)])
        left = [len(held(authority, "created"))]
        found = None
        while found is None and len(left) < 300:
            with cut_after(authority, 250):
                found = authority.list(**asked)
            left.append(len(held(authority, "created")))
        assert [pat.id for pat in found] == [issued.pat.id]
        assert left == sorted(set(left), reverse=True)
        assert len(left) > 2
        assert left[-1] == 1


def test_marks_that_are_cut_short_leave_fewer_for_the_next(
    authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_index, "_AT_ONCE", 5)
    ids = [
        PatId(issue(authority, f"{number}", owner=Owner(f"o{number // 5}")).pat.id) for number in range(40)
    ]
    for pat_id in ids:
        store_of(authority).tenant_index.mark_expiry([pat_id], clock.now)
        clock.advance(1)
    clock.advance(MINUTE)
    left = [len(marks(authority))]
    while left[-1] and len(left) < 40:
        with cut_after(authority, 60):
            authority.list(limit=1)
        left.append(len(marks(authority)))
    assert left == sorted(set(left), reverse=True)
    assert len(left) > 2


@shared_engines
def test_an_entry_of_another_tenants_pat_is_removed(make: Make, clock: Clock) -> None:
    """Else each listing would meet it again."""
    ours, theirs = make(clock=clock), make(clock=clock, tenant="other")
    foreign = issue(theirs).pat
    for sort in (None, *INDEXES):
        store_of(ours).tenant_index.enter(PatId(foreign.id), foreign.created_ms, foreign.expires_ms)
        assert ours.list(sort=sort, limit=1, count=True).total == 0
        assert held(ours, "created") == {}
    assert [pat.id for pat in theirs.list()] == [foreign.id]


def test_a_deleted_pat_leaves_no_mark_behind(authority: Authority) -> None:
    """Else a tenant that nobody lists would keep one for each PAT it ever had."""
    issued = issue(authority)
    move_expiry(authority, issued)
    assert marks(authority)
    authority.delete(issued.pat.id)
    assert marks(authority) == []


class TestDamage:
    """What nobody of ours has written is refused as unavailable, or passed over; never another error."""

    WAYS: tuple[dict[str, Any], ...] = (
        {"count": True},
        {"limit": 1},
        {"sort": "created"},
        {"sort": "-lastUsed", "limit": 1},
        {"sort": "expirationDate", "offset": 1},
        {"sort": "name"},
        {"filters": "lastUsed isnull"},
        {"filters": "expirationDate gt 2020-01-01T00:00:00Z and created gt 2020-01-01T00:00:00Z"},
        {"filters": 'name co "c"', "limit": 1},
        {"owner_id": "alice"},
    )
    KINDS = ("created", "used", "expires", "marks")

    def key(self, authority: Authority, kind: str) -> bytes:
        return bytes(getattr(keys_of(authority), f"tenant_{kind}"))

    @each("kind", KINDS)
    def test_a_key_of_another_type(self, fresh: Make, kind: str) -> None:
        authority = fresh()
        issued = issue(authority)
        key = self.key(authority, kind)
        send(authority, ("DEL", key), ("SET", key, "x"))
        refused = 0
        for way in self.WAYS:
            try:
                authority.list(**way)
            except StoreUnavailable:
                refused += 1
        assert refused >= (1 if kind == "used" else len(self.WAYS) - 1)
        assert authority.list(owner_id="alice")
        authority.verify_basic(issued.pat.id, issued.secret)

    @each("kind", KINDS)
    @each("score", [0, NOW, NEVER])
    def test_a_member_of_another_form(self, fresh: Make, kind: str, score: int) -> None:
        authority = fresh()
        issue(authority)
        key = self.key(authority, kind)
        for member in (b"", b"x", b"x" * 15, b"x" * 17, b"x" * 18, b"\xff" * 32):
            send(authority, ("ZADD", key, score, member))
            for way in self.WAYS:
                with suppress(StoreUnavailable):
                    authority.list(**way)
            send(authority, ("ZREM", key, member))

    @each("kind", KINDS)
    @each("score", ["1.5", "-1", "inf", "-inf", "1e300", str(NOW) + ".25"])
    def test_a_score_that_is_no_instant(self, fresh: Make, kind: str, score: str) -> None:
        authority = fresh()
        issued = issue(authority)
        member = bytes.fromhex(issued.pat.id) + (b"u" if kind == "marks" else b"")
        send(authority, ("ZADD", self.key(authority, kind), score, member))
        for way in self.WAYS:
            with suppress(StoreUnavailable):
                authority.list(**way)

    @each("kind", KINDS[:3])
    def test_a_score_that_no_record_has_is_mended_where_it_is_met(
        self, fresh: Make, clock: Clock, kind: str
    ) -> None:
        authority = fresh()
        issued = issue(authority, never_expires=True)
        issue(authority, "another")
        send(authority, ("ZADD", self.key(authority, kind), NOW - 7, bytes.fromhex(issued.pat.id)))
        for sort in INDEXES:
            authority.list(sort=sort)
        if kind == "used":  # a use only ever moves on
            send(authority, ("ZADD", self.key(authority, kind), 0, bytes.fromhex(issued.pat.id)))
        assert_right(authority, clock)
        assert_index_is_right(authority)
