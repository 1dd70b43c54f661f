"""What people see of their own PATs: a page of them, how many they have, and which end soon."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, Forbidden, InvalidRequest, Owner, PersonalAccessToken
from patauth.model.caller import Person
from patauth.model.dates import DAY, to_datetime
from patauth.model.filters import containing, parse
from patauth.model.pat_id import PatId
from patauth.model.sorters import Sorter
from patauth.operations import listing
from patauth.operations.listing import TooMany
from patauth.operations.own import OwnPats, actions, grantable, lifetime_left, own_pats
from tests.support.authorities import ALICE, Make, issue
from tests.support.clocks import NOW, Clock
from tests.support.rights import ALL_MANAGE, EVERYTHING, MY_MANAGE, MY_READ
from tests.support.servers import Server, commands_of, one_engine, shared_engines
from tests.support.tables import each
from tests.support.tenants import fill_owner, keys_of, round_trips, send, transport_of

PERSON = Person(ALICE, [MY_READ])


def seen(authority: Authority, **given: Any) -> OwnPats:
    return own_pats(authority.operations.actor(PERSON), **given)


def names(pats: list[PersonalAccessToken]) -> list[str]:
    return [pat.name for pat in pats]


def test_the_newest_come_first_and_the_total_is_of_all(authority: Authority, clock: Clock) -> None:
    every = [f"n{number}" for number in range(8)]
    for name in every:
        issue(authority, name)
        issue(authority, name, owner=Owner("bob"))
        clock.advance(1)
    page = seen(authority)
    assert (names(page.pats), page.pats.total, page.now) == (every[::-1], 8, clock.now)
    for offset, limit in [(0, 0), (0, 3), (2, 3), (6, 3), (7, 3), (9, 1), (0, 500), (0, 501)]:
        for asked, order in (
            ({}, every[::-1]),
            ({"sort": [Sorter("created", False)]}, every),
            ({"sort": [Sorter("name", True)]}, every[::-1]),
        ):
            page = seen(authority, offset=offset, limit=limit, **asked)
            assert names(page.pats) == order[offset : offset + limit], (offset, limit, asked)
            assert (page.pats.total, page.used) == (8, 8)


def test_those_that_have_expired_are_listed_and_take_no_place(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=3)
    for name in ("first", "second"):
        issue(authority, name, expires_in=timedelta(seconds=10))
    issue(authority, "third", never_expires=True)
    assert seen(authority).used == 3
    for ms, used in ((9_999, 3), (1, 1), (DAY, 1)):
        clock.advance(ms)
        page = seen(authority)
        assert (page.used, page.pats.total) == (used, 3)
    for name in ("fourth", "fifth"):
        issue(authority, name)
    assert seen(authority).used == authority.settings.max_pats_per_owner


def test_a_filter_and_another_order_narrow_the_page_and_nothing_else(
    authority: Authority, clock: Clock
) -> None:
    for number, name in enumerate(("b", "c", "a", "CI b")):
        issue(authority, name, expires_in=timedelta(days=number + 1))
        clock.advance(1)
    removed = issue(authority, "removed").pat.id
    authority.delete(removed)
    whole = seen(authority)
    assert names(whole.soon) == ["b", "c", "a", "CI b"]
    for asked, found in (
        ({"filters": containing("B")}, ["CI b", "b"]),
        ({"filters": parse('name eq "x"')}, []),
        ({"filters": parse('state eq "revoked"')}, ["removed"]),
        ({"sort": [Sorter("name", False)], "limit": 2}, ["CI b", "a"]),
        ({"sort": [Sorter("name", False)], "limit": 2, "offset": 2}, ["b", "c"]),
    ):
        page = seen(authority, **asked)
        assert names(page.pats) == found, asked
        assert (page.used, page.soon, page.is_disabled, page.now) == (4, whole.soon, False, clock.now)
    assert seen(authority, filters=containing("b")).pats.total == 2


def test_at_most_five_are_named_that_expire_soon_the_first_to_expire_first(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=100, expiry_warning="3d")
    for number in (7, 3, 5, 1, 6, 2, 4):
        issue(authority, f"n{number}", expires_in=timedelta(hours=number))
    issue(authority, "in time", expires_in=timedelta(days=3, milliseconds=1))
    issue(authority, "never", never_expires=True)
    assert names(seen(authority).soon) == ["n1", "n2", "n3", "n4", "n5"]
    clock.advance(3_600_000)
    assert names(seen(authority).soon) == ["n2", "n3", "n4", "n5", "n6"]
    clock.advance(6 * 3_600_000)
    assert names(seen(authority).soon) == ["in time"]
    assert seen(authority, limit=1).soon == seen(authority).soon
    without = make(clock=clock, expiry_warning="none")
    issue(without, "soon", expires_in=timedelta(hours=1))
    assert seen(without).soon == []


def test_what_cannot_be_used_is_not_named_as_ending(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(12):
        given: dict[str, Any] = {"expires_in": timedelta(hours=number + 1)}
        if number in (1, 3):
            given["not_before"] = to_datetime(NOW + 60_000)
        made = issue(authority, f"n{number}", **given)
        if number in (0, 2, 4):
            authority.disable(made.pat.id)
        if number == 5:
            authority.delete(made.pat.id)
    assert names(seen(authority).soon) == ["n6", "n7", "n8", "n9", "n10"]
    clock.advance(60_000)
    assert names(seen(authority).soon) == ["n1", "n3", "n6", "n7", "n8"]


def test_it_is_said_that_the_owner_is_disabled(authority: Authority) -> None:
    issue(authority, expires_in=timedelta(days=1))
    for change, disabled in (
        (authority.enable_owner, False),
        (authority.disable_owner, True),
        (authority.enable_owner, False),
    ):
        change("alice")
        page = seen(authority)
        assert (page.is_disabled, len(page.soon)) == (disabled, 0 if disabled else 1)
        assert seen(authority, filters=containing("x")).is_disabled is disabled
    authority.disable_owner("alice")
    authority.revoke_owner("alice")
    page = seen(authority)
    assert (page.pats, page.pats.total, page.used, page.is_disabled) == ([], 0, 0, True)


def test_who_has_none_sees_none(authority: Authority, clock: Clock) -> None:
    issue(authority, owner=Owner("bob"))
    assert seen(authority) == ([], 0, [], False, clock.now)


def test_an_entry_that_lost_its_record_is_repaired_and_shown_nowhere(
    authority: Authority, clock: Clock
) -> None:
    made = []
    for number in range(5):
        made.append(issue(authority, f"n{number}", expires_in=timedelta(days=number + 1)).pat.id)
        clock.advance(1)
    send(authority, *(("DEL", keys_of(authority).pat(PatId(pat_id))) for pat_id in (made[0], made[3])))
    page = seen(authority, limit=2)
    assert (names(page.pats), page.pats.total, page.used) == (["n4", "n2"], 3, 3)
    assert names(page.soon) == ["n1", "n2", "n4"]


@one_engine
def test_one_sees_ones_own_and_needs_the_right_to(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, may_act_in=lambda caller, tenant: True)
    issue(authority)
    for scopes in ([], ["reports:read"], ["oauth:introspect"]):
        with pytest.raises(Forbidden):
            own_pats(authority.operations.actor(Person(ALICE, scopes)))
    for scopes in ([MY_READ], [MY_MANAGE], [EVERYTHING], [ALL_MANAGE]):
        assert len(own_pats(authority.operations.actor(Person(ALICE, scopes))).pats) == 1
        assert own_pats(authority.operations.actor(Person(Owner("bob"), scopes))).pats == []
    nobody = [
        authority.operations.actor(None),
        authority.operations.actor_in("away", Person(ALICE, [ALL_MANAGE])),
    ]
    for actor in nobody:
        with pytest.raises((InvalidRequest, Forbidden)):
            own_pats(actor)


@one_engine
@each("given", [{"offset": -1}, {"limit": -1}, {"limit": True}, {"offset": "1"}])
def test_a_page_is_asked_for_by_whole_numbers(authority: Authority, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        seen(authority, **given)
    assert refused.value.field == next(iter(given))


# -- many ----------------------------------------------------------------------------------------------------

ALL_READ: tuple[dict[str, Any], ...] = (
    {"filters": containing("n1")},
    {"filters": parse('state eq "active"')},
    {"filters": parse('state eq "revoked"')},
    {"sort": [Sorter("name", False)]},
)


@one_engine
def test_a_search_that_reads_many_has_a_deadline_for_each_piece(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(clock=clock, max_pats_per_owner=100_000)
    fill_owner(authority, 1600)
    transport, deadlines = transport_of(authority), list[float]()
    call = transport.call

    def noting(commands: Any, deadline: float, **options: Any) -> Any:
        deadlines.append(deadline)
        return call(commands, deadline, **options)

    monkeypatch.setattr(transport, "call", noting)
    for asked in ALL_READ:
        deadlines.clear()
        seen(authority, **asked)
        assert len(set(deadlines)) == len(deadlines) > 2, asked
    deadlines.clear()
    seen(authority)
    assert len(set(deadlines)) == 1 < len(deadlines), "a page has one for all"


@one_engine
def test_too_many_to_search_or_sort_are_told_apart_from_a_wrong_question(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST", 3)
    for number in range(4):
        authority.delete(issue(authority, f"r{number}").pat.id)
        issue(authority, f"n{number}")
    for asked in ALL_READ:
        with pytest.raises(TooMany):
            seen(authority, **asked)
    assert len(seen(authority).pats) == 4, "a page in order of creation reads itself alone"
    for wrong in ({"offset": -1}, {"filters": None, "limit": -1}):
        with pytest.raises(InvalidRequest) as refused:
            seen(authority, **wrong)
        assert not isinstance(refused.value, TooMany)


# -- cost ----------------------------------------------------------------------------------------------------


@shared_engines
def test_the_first_page_takes_two_round_trips_and_as_many_commands_beside_10_000(
    make: Make, clock: Clock, servers: dict[str, Server], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the quota of the person three. The server counts the commands of scripts, too."""
    sides = []
    for count in (200, 10_000):
        authority = make(clock=clock, tenant=f"of-{count}", max_pats_per_owner=100_000)
        fill_owner(authority, count)
        person = Person(ALICE, [MY_READ], tenant=f"of-{count}")

        def show(authority: Authority = authority, person: Person = person) -> OwnPats:
            authority.operations.admit_person(person, ending=False)
            return own_pats(authority.operations.actor(person))

        page = show()
        assert (len(page.pats), page.pats.total, page.used, len(page.soon)) == (50, count, count, 5)
        assert page.pats[0].name == f"n{count - 2}"
        commands = commands_of(servers[engine], show)
        trips = round_trips(authority, monkeypatch)
        show()
        assert trips == ["EVALSHA"] * 3
        trips.clear()
        own_pats(authority.operations.actor(person), offset=count // 2)
        assert trips == ["EVALSHA"] * 2
        sides.append(commands)
    assert sides[0] == sides[1] < 100


@one_engine
def test_a_list_of_an_owner_in_order_of_creation_takes_two_round_trips_from_either_end(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(clock=clock, max_pats_per_owner=100_000)
    fill_owner(authority, 1200)
    authority.list(owner_id="alice", limit=10)
    trips = round_trips(authority, monkeypatch)
    for sort, first in ((None, "first"), ("created", "first"), ("-created", "n1198")):
        trips.clear()
        page = authority.list(owner_id="alice", sort=sort, limit=10, count=True)
        assert (page[0].name, page.total, len(trips)) == (first, 1200, 2)


# -- what a person can pass on -------------------------------------------------------------------------------

WORDS = {"reports:read": "read reports", "reports:write": "write them", "admin": "all else"}
HELD = ["reports:write", "reports:read", "old", MY_MANAGE]


@one_engine
@each(
    ("catalogue", "held", "found"),
    [
        (None, HELD, tuple(sorted(HELD))),
        (None, [EVERYTHING, MY_MANAGE], (MY_MANAGE, EVERYTHING)),
        (WORDS, HELD, (MY_MANAGE, "reports:read", "reports:write")),
        (WORDS, [EVERYTHING, MY_MANAGE], ("admin", MY_MANAGE, "reports:read", "reports:write", EVERYTHING)),
        (WORDS, [], ()),
        (WORDS | {MY_READ: ""}, [MY_MANAGE], (MY_MANAGE, MY_READ)),
        (WORDS | {MY_MANAGE: ""}, [EVERYTHING], ("admin", "reports:read", "reports:write", EVERYTHING)),
    ],
)
def test_what_can_be_passed_on_is_what_a_creation_accepts_of_the_catalogue_and_of_what_is_held(
    fresh: Make, catalogue: dict[str, str] | None, held: list[str], found: tuple[str, ...]
) -> None:
    authority = fresh(scopes=catalogue, max_pats_per_owner=100)
    person = Person(ALICE, held)
    assert grantable(authority.operations.actor(person)) == found
    maker = Person(ALICE, [*held, MY_MANAGE])
    for number, scope in enumerate(grantable(authority.operations.actor(maker))):
        authority.create(name=f"n{number}", scope=[scope], expires_in=timedelta(days=1), by=maker)


@one_engine
def test_a_pat_passes_on_what_it_still_holds(authority: Authority) -> None:
    issued = issue(authority, scope=["reports:read", "reports:write", MY_MANAGE])
    principal = authority.verify_bearer(issued.token)
    authority.update(issued.pat.id, scope=["reports:read", MY_MANAGE])
    assert grantable(authority.operations.actor(principal)) == (MY_MANAGE, "reports:read")


# -- what a person can do with a PAT -------------------------------------------------------------------------

ALL = "edit rotate disable revoke"


@one_engine
@each(
    ("scopes", "of_pat", "owner_is_disabled", "can"),
    [
        ([MY_MANAGE], "active", False, ALL),
        ([EVERYTHING], "active", False, "revoke"),  # a right that is kept from rights to manage
        ([MY_READ], "active", False, ""),
        ([MY_MANAGE], "by owner", False, "edit rotate enable revoke"),
        ([MY_MANAGE], "by operator", False, "edit rotate revoke"),
        ([ALL_MANAGE], "by operator", False, "edit rotate enable revoke"),
        ([MY_MANAGE], "expired", False, "revoke"),
        ([MY_READ], "expired", False, ""),
        ([MY_MANAGE], "revoked", False, ""),
        ([MY_MANAGE], "active", True, "edit revoke"),
        ([MY_MANAGE], "expired", True, "revoke"),
    ],
)
def test_what_can_be_done_with_a_pat_depends_on_its_state_and_on_the_right_of_its_owner(
    fresh: Make, clock: Clock, scopes: list[str], of_pat: str, owner_is_disabled: bool, can: str
) -> None:
    authority = fresh(clock=clock)
    pat_id = issue(authority, "x", scope=["reports:read"], expires_in=timedelta(seconds=10)).pat.id
    if of_pat.startswith("by"):
        authority.disable(pat_id, by=Person(ALICE, [MY_MANAGE]) if of_pat == "by owner" else None)
    if of_pat == "expired":
        clock.advance(10_000)
    if of_pat == "revoked":
        authority.delete(pat_id)
    if owner_is_disabled:
        authority.disable_owner("alice")
    pat = authority.get(pat_id, removed=True)
    actor = authority.operations.actor(Person(ALICE, ["reports:read", *scopes]))
    assert actions(actor, pat, is_disabled=owner_is_disabled) == can.split()


@one_engine
def test_a_pat_lives_no_longer_than_what_is_left_of_the_limit(fresh: Make, clock: Clock) -> None:
    for longest, left in ((None, None), (100, 70)):
        authority = fresh(clock=clock, max_lifetime=longest)
        pat = issue(authority, "x", expires_in=timedelta(seconds=50)).pat
        actor = authority.operations.actor(Person(ALICE, ["reports:read", "reports:write", MY_MANAGE]))
        clock.advance(30_000)
        now = clock.now // 1000
        assert (lifetime_left(actor, None, now), lifetime_left(actor, pat, now)) == (longest, left)
        if left is not None:
            with pytest.raises(InvalidRequest):
                authority.update(pat.id, expires_in=timedelta(seconds=left + 1))
        authority.update(pat.id, expires_in=timedelta(seconds=left or 1000))
