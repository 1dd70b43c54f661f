"""Changes of PATs: the trail of one change, and the rules of many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    Owner,
    PersonalAccessToken,
    StoreUnavailable,
)
from patauth.operations.update import patch_many
from patauth.store.pats import Pats
from patauth.store.scripts import NotDurable
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import basic_of, issue
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.interventions import standing_in
from tests.support.rights import ALL_MANAGE, MY_MANAGE
from tests.support.tables import each
from tests.support.tenants import put, record_of

Trail = Callable[[], list[dict[str, Any]]]
LATER = NOW + 60 * DAY
PUT_OFF = [put("/expirationDate", "2030-03-02T00:00:00Z")]
MISSING = "0123456789abcdef" * 2


def many(authority: Authority, pat_ids: Any, operations: Any = PUT_OFF, by: Any = None) -> Any:
    return patch_many(authority.operations.actor(by), pat_ids, operations)


def pats_of(authority: Authority, count: int, owners: Sequence[str] = ("alice",)) -> list[Any]:
    """PATs of owners in turn."""
    return [
        issue(authority, f"n{number}", owner=Owner(owners[number % len(owners)])).pat
        for number in range(count)
    ]


# -- one -----------------------------------------------------------------------------------------------------


@each(
    "given, told",
    [
        ({"name": "new"}, {"name": "new"}),
        ({"scope": ["reports:read"]}, {"scope": ["reports:read"]}),
        ({"expires_in": timedelta(days=60)}, {"expires": "2030-03-02T00:00:00.000Z"}),
        ({"never_expires": True}, {"expires": "never"}),
        ({"description": "for the nightly job"}, {"description": "for the nightly job"}),
        ({"description": ""}, {"description": ""}),
        (
            {"name": "newer", "scope": ["a"], "expires_in": timedelta(days=1)},
            {"name": "newer", "scope": ["a"], "expires": "2030-01-02T00:00:00.000Z"},
        ),
    ],
)
def test_the_trail_says_what_is_different_and_by_whom(
    keeper: Authority, events: Trail, given: dict[str, Any], told: dict[str, Any]
) -> None:
    """It says nothing about what stays as it is."""
    caller = issue(
        keeper,
        scope=[ALL_MANAGE, "a", "reports:read", "reports:write"],
        owner=Owner("bob"),
        never_expires=True,
    )
    by = keeper.authenticate(basic_of(caller))
    pat = issue(keeper, description="as it was").pat
    events()
    keeper.update(pat.id, by=by, **given)
    who = {"patId": pat.id, "ownerId": "alice", "byOwnerId": "bob", "byPatId": caller.pat.id}
    assert events() == [{"type": "pat.updated", "outcome": "done", **told, **who}]
    keeper.revoke_owner("bob")
    keeper.revoke_owner("alice")


def test_what_changes_nothing_writes_nothing_and_is_no_event(keeper: Authority, events: Trail) -> None:
    pat = issue(keeper).pat
    before = record_of(keeper, pat.id).packed
    events()
    assert keeper.update(pat.id, name=pat.name, scope=pat.scope) == pat
    assert record_of(keeper, pat.id).packed == before
    assert events() == []


def test_an_earlier_expiry_cuts_an_overlap_and_another_change_leaves_it(
    keeper: Authority, clock: Clock
) -> None:
    made = issue(keeper)
    keeper.rotate(made.pat.id, overlap=timedelta(hours=1))
    keeper.update(made.pat.id, name="renamed")
    assert record_of(keeper, made.pat.id).overlap_end_ms == NOW + 60 * MINUTE
    assert len(record_of(keeper, made.pat.id).secrets) == 2
    keeper.update(made.pat.id, expires_in=timedelta(minutes=1))
    assert record_of(keeper, made.pat.id).overlap_end_ms == NOW + MINUTE


@each("outcome, told", [("made", ["unknown"]), ("changed", []), (None, ["unknown"])])
def test_a_change_is_an_event_if_it_was_made_or_may_have_been(
    keeper: Authority, events: Trail, outcome: Any, told: list[Any]
) -> None:
    pat = issue(keeper, str(outcome)).pat
    error = Unanswered(detail="late") if outcome is None else NotDurable(outcome, detail="late")

    def update(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        raise error

    events()
    with standing_in(Pats, "update", update), pytest.raises(StoreUnavailable) as refused:
        keeper.update(pat.id, name="new")
    assert refused.value.may_be_done
    assert [one["outcome"] for one in events()] == told


# -- many ----------------------------------------------------------------------------------------------------


@each("count, is_right", [(0, False), (1, True), (2, True), (25, True), (26, False)])
def test_1_to_25_are_changed_and_answered_in_the_order_of_the_ids(
    keeper: Authority, count: int, is_right: bool
) -> None:
    pats = pats_of(keeper, count, ("alice", "bob", "carol"))
    ids = [pat.id for pat in reversed(pats)]
    if is_right:
        after = many(keeper, ids)
        assert [pat.id for pat in after] == ids
        assert {pat.expires_ms for pat in after} == {LATER}
        assert after == [keeper.get(pat_id) for pat_id in ids]
    else:
        with pytest.raises(InvalidRequest, match="1 to 25 PAT ids") as refused:
            many(keeper, ids)
        assert refused.value.field == "ids"
        assert [keeper.get(pat.id) for pat in pats] == pats
    for owner in ("alice", "bob", "carol"):
        keeper.revoke_owner(owner)


def test_ids_are_a_list_of_different_ids_that_are_there(keeper: Authority) -> None:
    one, other = pats_of(keeper, 2)
    for ids, field in (
        (one.id, "ids"),
        ("", "ids"),
        ({one.id: 1}, "ids"),
        ({one.id}, "ids"),
        (None, "ids"),
        (7, "ids"),
        ([one.id, one.id], "ids"),
        ([one.id, other.id, one.id], "ids"),
        ([one.id, None], "ids"),
        ([one.id, [other.id]], "ids"),
        ([MISSING], "ids[0]"),
        ([one.id, MISSING], "ids[1]"),
        ([one.id, "", other.id], "ids[1]"),
        ([one.id, one.id.upper()], "ids[1]"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            many(keeper, ids)
        assert refused.value.field == field, ids
    assert [keeper.get(pat.id) for pat in (one, other)] == [one, other]
    assert len(many(keeper, (one.id, other.id))) == 2, "a tuple is as good as a list"


@each("bad", [0, 1, 2, 3])
def test_all_are_checked_before_one_is_changed(keeper: Authority, clock: Clock, bad: int) -> None:
    """Whichever owner comes first when they are written."""
    clock.now = NOW
    owners = ("alice", "bob", "carol", "dave")
    pats: list[PersonalAccessToken] = pats_of(keeper, 4, owners)
    over = issue(keeper, "over", owner=Owner(owners[bad]), expires_in=timedelta(milliseconds=1)).pat
    clock.advance(1)
    for place in range(5):
        ids = [pat.id for pat in pats]
        ids.insert(place, over.id)
        with pytest.raises(InvalidRequest, match="has expired"):
            many(keeper, ids)
    assert [keeper.get(pat.id) for pat in pats] == pats
    for owner in owners:
        keeper.revoke_owner(owner)


def test_those_of_one_owner_are_one_write_in_whatever_order_they_come(keeper: Authority) -> None:
    pats = pats_of(keeper, 6, ("alice", "bob"))
    writes: list[set[str]] = []

    def update(real: Callable[..., Any], store: Pats, changes: Any, **named: Any) -> Any:
        writes.append({change.after.pat.id for change in changes})
        return real(store, changes, **named)

    with standing_in(Pats, "update", update):
        many(keeper, [pat.id for pat in pats])
    whose = [{pat.id for pat in pats if pat.owner.id == owner} for owner in ("alice", "bob")]
    assert sorted(writes, key=sorted) == sorted(whose, key=sorted)


def test_many_take_the_right_to_all_at_each_step(keeper: Authority) -> None:
    """It is asked of the caller as they were verified, and again as they are at each write."""
    pats = pats_of(keeper, 2, ("alice", "bob"))
    small = issue(keeper, "small", owner=Owner("carol"), scope=[MY_MANAGE])
    scope = [ALL_MANAGE, MY_MANAGE, *pats[0].scope]
    large = issue(keeper, "large", owner=Owner("carol"), scope=scope, never_expires=True)
    by = keeper.authenticate(basic_of(large))
    with pytest.raises(Forbidden):
        many(keeper, [small.pat.id], by=keeper.authenticate(basic_of(small)))

    def update(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        outcome = real(*given, **named)
        if named["by"] is not None:  # the first owner's are done, and the caller loses the right
            keeper.update(large.pat.id, scope=[MY_MANAGE])
        return outcome

    with standing_in(Pats, "update", update), pytest.raises(NotFound):  # those of others are not there now
        many(keeper, [pat.id for pat in pats], by=by)
    assert sorted(keeper.get(pat.id).expires_ms == LATER for pat in pats) == [False, True]
    with pytest.raises(Forbidden):
        many(keeper, [small.pat.id], by=by)
    keeper.delete(large.pat.id)
    with pytest.raises(InvalidCredentials):
        many(keeper, [small.pat.id], by=by)


def test_one_that_is_not_there_when_its_owners_are_written_stops_them_all(keeper: Authority) -> None:
    pats = pats_of(keeper, 3)
    deleted: list[str] = []

    def read(real: Callable[..., Any], *given: Any) -> Any:
        if not deleted:
            deleted.append(pats[1].id)
            keeper.delete(pats[1].id)
        return real(*given)

    with standing_in(Pats, "read", read), pytest.raises(NotFound):
        many(keeper, [pat.id for pat in pats])
    assert [keeper.get(pat.id) for pat in (pats[0], pats[2])] == [pats[0], pats[2]]
