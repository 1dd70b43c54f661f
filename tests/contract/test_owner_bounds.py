"""How many PATs one owner can have, how they are listed, and what they cost the server."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    IssuedPat,
    Owner,
)
from patauth.model.pat_id import PatId
from patauth.operations import listing
from patauth.store import owners
from patauth.store.pats import Pats
from patauth.store.record import name_tag
from patauth.store.scripts import Script, Scripts
from tests.support.authorities import Make, issue
from tests.support.clocks import MINUTE, Clock
from tests.support.internals import store_of
from tests.support.interventions import standing_in
from tests.support.servers import Server, commands_of, shared_engines
from tests.support.tenants import owner_keys

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
SECOND = timedelta(seconds=1)


def names(authority: Authority, **given: Any) -> list[str]:
    return [pat.name for pat in authority.list(owner_id="alice", **given)]


# -- expired PATs --------------------------------------------------------------------------------------------


def test_of_expired_pats_the_oldest_go_first_and_with_them_their_names(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_kept_per_owner=3)
    made = []
    for number in range(6):
        made.append(issue(authority, f"n{number}", expires_in=SECOND * (number + 1)).pat.id)
        clock.advance(1)
    clock.advance(10_000)
    assert names(authority) == [f"n{number}" for number in range(6)], "nothing goes before a creation"
    issue(authority, "new")
    assert names(authority) == ["n3", "n4", "n5", "new"]
    assert len(authority.list()) == 4, "the tenant's index has lost them, too"
    assert store_of(authority).pats.read([PatId(made[0])]) == [None]
    issue(authority, "n0")
    with pytest.raises(Conflict):
        issue(authority, "n5")


def test_who_makes_pats_that_expire_at_once_never_has_more_than_both_bounds_allow(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, max_pats_per_owner=4, max_kept_per_owner=5)
    for number in range(60):
        issue(authority, f"n{number}", expires_in=timedelta(milliseconds=20))
        clock.advance(7)
        assert len(authority.list(owner_id="alice")) <= 4 + 5 + 1
    assert len(authority.list()) == len(authority.list(owner_id="alice"))


@shared_engines
def test_one_creation_removes_at_most_ten(make: Make, clock: Clock) -> None:
    """A setting that is lowered costs no creation more than that."""
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(30):
        issue(authority, f"n{number}", expires_in=SECOND)
    clock.advance(2000)
    lower = make(clock=clock, max_kept_per_owner=0)
    for number, left in enumerate((20, 10, 0, 0)):
        issue(lower, f"new{number}", expires_in=timedelta(days=1))
        assert len([name for name in names(lower) if not name.startswith("new")]) == left


def test_nothing_is_left_of_an_owner_whose_pats_are_past_their_retention(make: Make, clock: Clock) -> None:
    """Neither the id in a key nor a name. Real engines do it by TTL, which the test's clock does not move."""
    authority = make(clock=clock, retention=60)
    issue(authority, "laptop", expires_in=SECOND)
    store = store_of(authority)
    found = owner_keys(authority)
    assert len(found) == 3
    left = store.pats.scripts.call([("PTTL", key) for key in found])
    assert all(60_000 < ms <= 61_000 for ms in left)
    forever = issue(authority, "server", never_expires=True)
    assert store.pats.scripts.call([("PTTL", key) for key in found]) == [-1] * 3
    authority.delete(forever.pat.id)
    assert all(0 < ms <= 61_000 for ms in store.pats.scripts.call([("PTTL", key) for key in found]))
    authority.revoke_owner("alice")
    (removed,) = owner_keys(authority)
    assert 0 < store.pats.scripts.call([("PTTL", removed)])[0] <= 60_000
    authority.disable_owner("alice")
    assert len(owner_keys(authority)) == 2
    authority.enable_owner("alice")
    assert owner_keys(authority) == [removed]


def test_nothing_is_left_of_an_owner_without_a_retention(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, retention=0)
    for number in range(3):
        issue(authority, f"n{number}")
    authority.delete(authority.list()[0].id)
    authority.revoke_owner("alice")
    assert owner_keys(authority) == []


# -- pages ---------------------------------------------------------------------------------------------------


def test_a_page_in_order_of_creation_is_that_part_of_all(authority: Authority, clock: Clock) -> None:
    every = [f"n{number}" for number in range(8)]
    for name in every:
        issue(authority, name)
        clock.advance(1)
    assert names(authority) == every
    for offset, limit in [(0, 0), (0, 3), (2, 3), (6, 3), (7, 3), (9, 1), (0, 500), (0, 501)]:
        page = authority.list(owner_id="alice", offset=offset, limit=limit, count=True)
        assert [pat.name for pat in page] == every[offset : offset + limit]
        assert page.total == 8


def test_a_page_has_no_hole_where_pats_are_past_their_retention(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "_PIECE", 3)
    authority = make(clock=clock, retention=60, max_pats_per_owner=100)
    for number in range(20):
        issue(authority, f"n{number}", expires_in=SECOND if number % 3 else timedelta(days=1))
        clock.advance(1)
    clock.advance(2 * MINUTE)
    page = authority.list(owner_id="alice", limit=4, count=True)
    assert [pat.name for pat in page] == ["n0", "n3", "n6", "n9"]
    assert page.total == 7


def test_an_entry_that_lost_its_record_is_repaired_by_the_page_that_meets_it(
    authority: Authority, clock: Clock
) -> None:
    made = []
    for number in range(5):
        made.append(issue(authority, f"n{number}").pat.id)
        clock.advance(1)
    pats = store_of(authority).pats
    pats.scripts.call([("DEL", pats.keys.pat(PatId(made[1])))])
    page = authority.list(owner_id="alice", limit=3, count=True)
    assert (len(page), page.total) == (3, 4)
    issue(authority, "n1")


def test_a_listing_of_all_repairs_entries_that_lost_their_records(make: Make, clock: Clock) -> None:
    """Else they would count towards the maximum, although no listing shows them."""
    authority = make(clock=clock, max_pats_per_owner=2)
    made = [issue(authority, f"n{number}").pat.id for number in range(2)]
    pats = store_of(authority).pats
    pats.scripts.call([("DEL", pats.keys.pat(PatId(pat_id))) for pat_id in made])
    assert names(authority) == []
    issue(authority, "n0")


@shared_engines
def test_a_pat_that_gets_a_new_name_meanwhile_is_listed_once(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is the last part of an entry of the index."""
    monkeypatch.setattr(listing, "_PIECE", 2)
    authority = make(clock=clock)
    for number in range(4):
        issue(authority, f"n{number}")
        clock.advance(1)
    later = next(name for name in map(str, itertools.count()) if name_tag(name) > name_tag("n1"))

    middle = authority.list(owner_id="alice")[1].id

    def rename(real: Callable[..., Any], self: Pats, pat_ids: Any) -> Any:
        found = real(self, pat_ids)
        if len(pat_ids) == 2 and PatId(middle) in pat_ids:
            authority.update(middle, name=later)
        return found

    with standing_in(Pats, "read", rename):
        assert names(authority) == ["n0", "n1", "n2", "n3"]
    assert names(authority) == ["n0", later, "n2", "n3"]


# -- cost ----------------------------------------------------------------------------------------------------


def test_what_is_done_with_one_pat_takes_as_many_commands_whatever_the_owner_has(
    make_at: Make, server: Server
) -> None:
    """Commands in the server, those of scripts included: create, page, verify, patch, delete."""
    authority = make_at(max_pats_per_owner=10_000, max_kept_per_owner=10_000, create_quota="1000000/1")
    for owner, count in (("few", 10), ("many", 1_000)):
        for number in range(count):
            given = {"never_expires": True} if number % 2 else {"expires_in": timedelta(milliseconds=1)}
            issue(authority, f"n{number}", owner=Owner(owner), scope=["a"], **given)

    def costs(owner: str) -> list[int]:
        made: list[IssuedPat] = []
        steps: list[Callable[[], Any]] = [
            lambda: made.append(issue(authority, "one", owner=Owner(owner), scope=["a"], never_expires=True)),
            lambda: authority.list(owner_id=owner, limit=5, count=True),
            lambda: authority.verify_basic(made[0].pat.id, made[0].secret),
            lambda: authority.verify_basic(made[0].pat.id, made[0].secret),
            lambda: authority.update(made[0].pat.id, name="other"),
            lambda: authority.delete(made[0].pat.id),
        ]
        return [commands_of(server, step) for step in steps]

    costs("few"), costs("many")  # a server that lacks a script is sent it once
    assert costs("few") == costs("many")


def test_no_script_touches_more_than_a_piece(make_at: Make, clock: Clock) -> None:
    """The keys and arguments of one script do not grow with the PATs of an owner, expired ones included."""
    authority = make_at(clock=clock, max_pats_per_owner=10_000, max_kept_per_owner=10_000)
    for number in range(350):
        issue(authority, f"n{number}", scope=["a"], expires_in=SECOND if number % 3 else timedelta(days=1))
    clock.advance(2000)
    most = 0

    def run(
        real: Callable[..., Any], scripts: Scripts, script: Script, keys: Any, *given: Any, **named: Any
    ) -> Any:
        nonlocal most
        most = max(most, len(keys))
        return real(scripts, script, keys, *given, **named)

    with standing_in(Scripts, "run", run), standing_in(Scripts, "run_durably", run):
        assert authority.disable_owner("alice") == authority.enable_owner("alice") == 350
        assert authority.revoke_owner("alice") == 350
    assert most <= 6 + 4 * 100
