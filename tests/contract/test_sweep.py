"""The sweep of the indexes: it takes out all entries of PATs that are gone, and nothing of one that lives."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, IssuedPat, Owner, PersonalAccessToken
from patauth.model.instants import NEVER, index_value
from patauth.model.pat_id import PatId
from patauth.operations import sweep as sweeping
from patauth.operations.sweep import Sweep
from patauth.store import owners, tenant_index
from patauth.store.keys import OwnerKeys
from patauth.store.record import pack_entry
from patauth.store.scripts import Scripts
from tests.support.authorities import Make, issue
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.internals import store_of
from tests.support.interventions import Before
from tests.support.servers import shared_engines
from tests.support.tables import each
from tests.support.tenants import (
    INDEXES,
    cut_after,
    forge,
    forge_all,
    held,
    keys_of,
    lose,
    marks,
    send,
    sizes_of_calls,
)

OWNERS = [Owner("alice"), Owner("bob"), Owner("c*[o]?\\l")]
EXPIRIES: list[dict[str, Any]] = [{"never_expires": True}, {"expires_in": timedelta(days=1)}]
GONE_AT = NOW - 91 * DAY


def parts_of(authority: Authority) -> Sweep:
    return sweeping.sweep(authority.operations.actor(None))


def swept(authority: Authority) -> tuple[int, ...]:
    """Sweep; the numbers of tenant entries, marks, owner entries and removed entries that went."""
    return tuple(sum(part) for part in parts_of(authority))


def populate(authority: Authority, owner: Owner, gone: int = 2) -> list[IssuedPat]:
    """Two PATs that live, with an expiry and without; so many others are gone, and leave their entries."""
    for number in range(gone):
        lose(authority, issue(authority, f"gone {number}", owner=owner, **EXPIRIES[number % 2]).pat.id)
    return [
        issue(authority, "never", owner=owner, never_expires=True),
        issue(authority, "expires", owner=owner),
    ]


def owner_entries(authority: Authority, owner: Owner) -> set[bytes]:
    """What an owner's three indexes hold, which is the same."""
    keys = owner_keys(authority, owner)
    names, *others = send(
        authority,
        ("HVALS", keys.names),
        ("ZRANGE", keys.created, 0, -1),
        ("ZRANGE", keys.expires, 0, -1),
    )
    assert set(names) == set(others[0]) == set(others[1])
    return set(names)


def owner_keys(authority: Authority, owner: Owner) -> OwnerKeys:
    tag = store_of(authority).keyring.owner_tag(authority.settings.tenant, owner.id)
    return keys_of(authority).owner(tag, owner.id)


def assert_only_these_have_entries(authority: Authority, pats: Sequence[PersonalAccessToken]) -> None:
    for index in INDEXES:
        assert held(authority, index) == {pat.id: index_value(pat, index) for pat in pats}
    for owner in OWNERS:
        mine = {pack_entry(pat) for pat in pats if pat.owner.id == owner.id}
        assert owner_entries(authority, owner) == mine


@shared_engines
def test_entries_of_pats_that_are_gone_go_and_all_others_stay(authority: Authority, clock: Clock) -> None:
    """Of all owners, also of one who is disabled; a second sweep finds nothing, and what lives works."""
    living = [issued for owner in OWNERS for issued in populate(authority, owner)]
    authority.disable_owner("bob")
    clock.advance(MINUTE + 1)
    assert swept(authority) == (3 * 2 * len(OWNERS), 0, 2 * len(OWNERS), 0)
    pats = [authority.get(issued.pat.id) for issued in living]
    assert_only_these_have_entries(authority, pats)
    assert swept(authority) == (0, 0, 0, 0)
    assert {pat.id for pat in authority.list()} == {pat.id for pat in pats}
    assert {pat.owner.id for pat in pats if pat.state == "disabled"} == {"bob"}
    for issued in living:
        if issued.pat.owner.id != "bob":
            assert authority.verify_bearer(issued.token).pat_id == issued.pat.id
    for owner in (OWNERS[0], OWNERS[2]):
        issue(authority, "gone 0", owner=owner)  # the name is free


@shared_engines
def test_an_owner_whose_pats_are_all_gone_leaves_no_key(authority: Authority, clock: Clock) -> None:
    lose(authority, issue(authority, never_expires=True).pat.id)
    clock.advance(MINUTE + 1)
    swept(authority)
    left = send(authority, ("KEYS", f"{authority.settings.key_prefix}:*"))[0]
    assert {key.partition(b"}:")[2] for key in left} <= {b"key", b"check", b"sequence", b"w"}


@shared_engines
@each("tenant", ["t*", "t?", "[t]x", "t\\x"])
def test_a_sweep_is_of_its_own_tenant(fresh: Make, clock: Clock, tenant: str) -> None:
    """Whatever its name means in a pattern of SCAN."""
    theirs = fresh(tenant="tx")
    ours = fresh(tenant=tenant, key_prefix=theirs.settings.key_prefix)
    for authority in (ours, theirs):
        populate(authority, OWNERS[0])
    clock.advance(MINUTE + 1)
    assert swept(ours) == (6, 0, 2, 0)
    assert swept(ours) == (0, 0, 0, 0)
    assert swept(theirs) == (6, 0, 2, 0)


@shared_engines
def test_an_entry_that_waits_for_its_record_stays(make: Make, clock: Clock) -> None:
    """A sweep comes between the entries of a creation and its record."""
    authority, other = make(clock=clock), make(clock=clock)
    with Before(Scripts, "run_durably", lambda: swept(other)) as creation:
        issued = issue(authority)
    assert creation.count == 1
    assert_only_these_have_entries(authority, [issued.pat])


def test_an_entry_without_a_record_stays_for_a_minute(authority: Authority, clock: Clock) -> None:
    forge(authority, clock.now)
    clock.advance(MINUTE)
    assert swept(authority) == (0, 0, 0, 0)
    clock.advance(1)
    assert swept(authority) == (3, 0, 0, 0)


@each("index", INDEXES)
def test_an_entry_that_only_one_index_has_is_found(fresh: Make, index: Any) -> None:
    """A removal that was cut short leaves it."""
    authority = fresh()
    pat_id = forge(authority, NOW - DAY, 7)
    keys = keys_of(authority)
    names = dict(zip(INDEXES, (keys.tenant_created, keys.tenant_used, keys.tenant_expires), strict=True))
    send(authority, *(("ZREM", names[other], pat_id.raw) for other in INDEXES if other != index))
    assert swept(authority) == (1, 0, 0, 0)


def test_marks_go_when_they_are_old_and_their_entries_are_right(authority: Authority, clock: Clock) -> None:
    """Also of more PATs than one call looks for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tenant_index, "_SUSPECTS", 4)
        patched.setattr(tenant_index, "_AT_ONCE", 2)
        pats = [issue(authority, f"{number}").pat for number in range(9)]
        for pat in pats:
            store_of(authority).tenant_index.mark_expiry([PatId(pat.id)], clock.now)
            clock.advance(1)
        send(authority, ("ZADD", keys_of(authority).tenant_expires, NOW, PatId(pats[3].id).raw))
        clock.advance(MINUTE - 3)  # the first 7 are old enough
        assert swept(authority) == (0, 7, 0, 0)
        assert len(marks(authority)) == 2
        assert held(authority, "expirationDate")[pats[3].id] == pats[3].expires_ms
        clock.advance(MINUTE)
        assert swept(authority) == (0, 2, 0, 0)


@pytest.mark.system
@shared_engines
def test_a_sweep_may_be_killed_after_any_command(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lives is listed as before, and the next sweep removes what is left."""
    monkeypatch.setattr(tenant_index, "_SWEPT", 2)
    monkeypatch.setattr(owners, "_PIECE", 2)
    count, was_cut = 0, True
    while was_cut:
        clock = Clock()
        authority = fresh(clock=clock)
        living = [issued.pat for owner in OWNERS[:2] for issued in populate(authority, owner, gone=3)]
        clock.advance(MINUTE + 1)
        with cut_after(authority, count) as left:
            swept(authority)
        was_cut, count = left[0] < 0, count + 1
        whole = [authority.list(owner_id=owner.id) for owner in OWNERS[:2]]
        assert {pat.id for pats in whole for pat in pats} == {pat.id for pat in living}
        swept(authority)
        assert_only_these_have_entries(authority, living)
    assert count > 30


@shared_engines
def test_creations_and_endings_beside_it_lose_and_leave_nothing(make: Make) -> None:
    authority = make(max_pats_per_owner=1000)
    living: list[PersonalAccessToken] = []
    done = threading.Event()

    def work(number: int) -> None:
        mine = make(max_pats_per_owner=1000)
        for turn in range(40):
            issued = issue(mine, f"{number}-{turn}", owner=OWNERS[number % 2])
            if turn % 3:
                living.append(issued.pat)
            elif turn % 2:
                mine.delete(issued.pat.id)
            else:
                lose(mine, issued.pat.id)

    def sweep() -> None:
        mine = make()
        while not done.is_set():
            swept(mine)

    sweeper = threading.Thread(target=sweep)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in (sweeper, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    sweeper.join()
    assert len(living) == 3 * 26
    # Those that were lost just now may belong to creations that are under way.
    assert {pat.id for pat in living} <= held(authority, "created").keys()
    assert {pat.id for pat in authority.list()} == {pat.id for pat in living}
    swept(authority)
    for owner in OWNERS[:2]:
        mine = {pack_entry(pat) for pat in living if pat.owner.id == owner.id}
        assert owner_entries(authority, owner) == mine


@shared_engines
def test_ten_thousand_entries_of_a_tenant_and_of_an_owner_go_in_small_pieces(fresh: Make) -> None:
    """No call has more commands, and none of them more words, than for a thousand."""
    largest = []
    for count in (1_000, 10_000):
        authority = fresh()
        populate(authority, OWNERS[0], gone=0)
        forge_all(authority, [(number, NOW - DAY - number, NEVER) for number in range(count)])
        forge_of_owner(authority, OWNERS[0], count)
        with pytest.MonkeyPatch.context() as patched:
            sizes = sizes_of_calls(authority, patched)
            assert swept(authority) == (3 * count, 0, count, 0)
        largest.append((max(calls for calls, _ in sizes), max(words for _, words in sizes)))
        assert len(held(authority, "created")) == len(owner_entries(authority, OWNERS[0])) == 2
    assert max(calls for calls, _ in largest) <= 1_100
    assert max(words for _, words in largest) <= 1_100


def forge_of_owner(authority: Authority, owner: Owner, count: int) -> None:
    """So many entries of an owner's indexes whose PATs have no record."""
    keys = owner_keys(authority, owner)
    commands: list[tuple[Any, ...]] = []
    for number in range(count):
        entry = (NOW + number).to_bytes(6) + number.to_bytes(12) + number.to_bytes(8)
        commands += [
            ("HSET", keys.names, entry[18:], entry),
            ("ZADD", keys.created, 0, entry),
            ("ZADD", keys.expires, GONE_AT + number, entry),
        ]
    for at in range(0, len(commands), 3000):
        send(authority, *commands[at : at + 3000])
