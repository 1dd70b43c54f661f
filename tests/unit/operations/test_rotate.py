"""Rotation, against a model of what a record holds afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Owner,
    PatAuthError,
    StoreUnavailable,
)
from patauth.model.pat_id import PatId
from patauth.store.pats import Pats
from patauth.store.record import PatRecord, pack
from patauth.store.scripts import NotDurable
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import MINUTE, NOW, Clock
from tests.support.internals import VERSION, hasher_of
from tests.support.interventions import standing_in
from tests.support.rights import ALL_MANAGE
from tests.support.tables import each
from tests.support.tenants import keys_of, record_of, send

Trail = Callable[[], list[dict[str, Any]]]
HOUR, WEEK, AT_ONCE = timedelta(hours=1), timedelta(days=7), timedelta(0)
MICROSECOND, MS = timedelta(microseconds=1), timedelta(milliseconds=1)


def names(count: int = 0) -> Callable[[], str]:
    """Names that no PAT has yet."""

    def name() -> str:
        nonlocal count
        count += 1
        return f"pat {count}"

    return name


new_name = names()


def state_of(authority: Authority, pat_id: str) -> PatRecord:
    """What the store holds of a PAT, without the version that each write draws."""
    return replace(record_of(authority, pat_id), packed=b"")


# -- what a rotation leaves ----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    life=st.sampled_from([None, HOUR, timedelta(days=30), timedelta(milliseconds=90_500)]),
    steps=st.lists(
        st.tuples(
            st.sampled_from([0, 1, -MINUTE, 30_000, MINUTE]),
            st.sampled_from([AT_ONCE, MICROSECOND, MS * 1.5, MINUTE * MS, HOUR, WEEK]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_rotation_adds_a_secret_keeps_the_one_before_and_changes_nothing_else(
    keeper: Authority, clock: Clock, life: timedelta | None, steps: list[tuple[int, timedelta]]
) -> None:
    """The clock may go back; no change is dated before the last one."""
    clock.now = NOW
    given = {"never_expires": True} if life is None else {"expires_in": life}
    made = issue(keeper, new_name(), **given)
    for passed, overlap in steps:
        clock.advance(passed)
        if made.pat.expires_ms is not None and clock.now >= made.pat.expires_ms:
            with pytest.raises(InvalidRequest, match="has expired"):
                keeper.rotate(made.pat.id, overlap=overlap)
            return
        before = state_of(keeper, made.pat.id)
        issued = keeper.rotate(made.pat.id, overlap=overlap)
        after = state_of(keeper, made.pat.id)
        new, previous = after.secrets
        assert previous == before.secrets[0], "an older one is gone"
        assert new.generation == previous.generation + 1
        assert {new.tag, new.digest.salt}.isdisjoint({previous.tag, previous.digest.salt})
        ends = [clock.now + overlap // MS, *([made.pat.expires_ms] if made.pat.expires_ms else [])]
        assert after.overlap_end_ms == min(ends)
        dated = max(clock.now, before.pat.changed_ms)
        expected = replace(before.pat, changed_ms=dated, sequence=before.pat.sequence + 1)
        assert after.pat == issued.pat == expected
    assert keeper.verify_basic(made.pat.id, issued.secret).pat_id == made.pat.id
    assert keeper.verify_bearer(issued.token).pat_id == made.pat.id


@each(
    "overlap, is_right",
    [
        (AT_ONCE, True),
        (MICROSECOND, True),
        (WEEK, True),
        (-MICROSECOND, False),
        (WEEK + MICROSECOND, False),
        (timedelta.max, False),
        (3600, False),
        (0, False),
        (None, False),
        ("1h", False),
    ],
)
def test_an_overlap_is_a_time_of_0_to_7_days(keeper: Authority, overlap: Any, is_right: bool) -> None:
    made = issue(keeper, new_name(), never_expires=True)
    before = state_of(keeper, made.pat.id)
    if is_right:
        keeper.rotate(made.pat.id, overlap=overlap)
        assert state_of(keeper, made.pat.id).overlap_end_ms == NOW + overlap // MS
        return
    with pytest.raises(InvalidRequest, match="0 seconds to 7 days") as refused:
        keeper.rotate(made.pat.id, overlap=overlap)
    assert refused.value.field == "overlap"
    assert state_of(keeper, made.pat.id) == before


def test_where_nothing_else_is_said_the_overlap_is_an_hour(keeper: Authority) -> None:
    made = issue(keeper)
    keeper.rotate(made.pat.id)
    assert state_of(keeper, made.pat.id).overlap_end_ms == NOW + 60 * MINUTE


@each("generation, is_last", [(2**24 - 3, False), (2**24 - 2, False), (2**24 - 1, True)])
def test_a_pat_is_rotated_until_three_bytes_hold_no_further_generation(
    keeper: Authority, generation: int, is_last: bool
) -> None:
    made = issue(keeper, new_name())
    found = record_of(keeper, made.pat.id)
    late = replace(found, secrets=(replace(found.secrets[0], generation=generation),))
    send(keeper, ("SET", keys_of(keeper).pat(PatId(made.pat.id)), pack(late, VERSION)))
    if is_last:
        with pytest.raises(Conflict, match="as often as it can be"):
            keeper.rotate(made.pat.id)
    else:
        keeper.rotate(made.pat.id)
        assert state_of(keeper, made.pat.id).secrets[0].generation == generation + 1


def test_counted_access_tokens_go_with_the_secret_that_they_came_from_and_no_others(
    make_at: Make, clock: Clock
) -> None:
    """Nothing else frees their memory before they expire."""
    keeper = make_at(clock=clock, exchange_quota="1000000/1")  # where it is small, none are counted
    made = issue(keeper, never_expires=True)
    secrets, tokens = [made.secret], []

    def there() -> list[bool]:
        names = [
            keys_of(keeper).access_token(PatId(made.pat.id), sha256(token.encode()).digest())
            for token in tokens
        ]
        return [bool(one) for one in send(keeper, *(("EXISTS", name) for name in names))]

    for overlap, left in (
        (HOUR, [True]),
        (HOUR, [False, True]),
        (AT_ONCE, [False, False, False]),
        (HOUR, [False, False, False, True]),
    ):
        tokens.append(keeper.exchange(made.pat.id, secrets[-1]).value)
        secrets.append(keeper.rotate(made.pat.id, overlap=overlap).secret)
        assert there() == left


# -- who may, and what it costs ------------------------------------------------------------------------------


def test_what_the_caller_could_not_have_made_is_not_rotated_and_costs_no_hash(
    keeper: Authority, clock: Clock
) -> None:
    """Nor is what has expired, or is not there."""
    bob = Owner("bob")
    by = keeper.authenticate(basic_of(issue(keeper, scope=[ALL_MANAGE, "a"])))
    more = issue(keeper, owner=bob, scope=["b"])
    longer = issue(keeper, "longer", owner=bob, scope=["a"], never_expires=True)
    over = issue(keeper, "over", owner=bob, scope=["a"], expires_in=MS)
    clock.advance(1)
    hashes = hasher_of(keeper).computed
    for pat_id, error in (
        (more.pat.id, Forbidden),
        (longer.pat.id, Forbidden),
        (over.pat.id, InvalidRequest),
        ("0" * 32, NotFound),
    ):
        with pytest.raises(error):
            keeper.rotate(pat_id, by=by)
    assert hasher_of(keeper).computed == hashes


def test_a_pat_that_outgrows_the_caller_while_its_secret_is_hashed_is_not_rotated(keeper: Authority) -> None:
    by = keeper.authenticate(basic_of(issue(keeper, scope=[ALL_MANAGE, "a"])))
    target = issue(keeper, owner=Owner("bob"), scope=["a"])
    hasher: Any = hasher_of(keeper)

    def hashed(real: Callable[..., Any], *given: Any) -> Any:
        keeper.update(target.pat.id, scope=["a", "b"])
        return real(*given)

    with standing_in(type(hasher), "hash", hashed), pytest.raises(Forbidden, match="more scopes"):
        keeper.rotate(target.pat.id, by=by)
    assert len(state_of(keeper, target.pat.id).secrets) == 1


def test_the_pat_of_a_disabled_owner_gets_no_secret(keeper: Authority) -> None:
    made = issue(keeper)
    keeper.disable_owner("alice")
    with pytest.raises(Forbidden, match="owner is disabled"):
        keeper.rotate(made.pat.id)
    assert len(state_of(keeper, made.pat.id).secrets) == 1


# -- the trail -----------------------------------------------------------------------------------------------


@each(
    "life, overlap, seconds",
    [
        (None, AT_ONCE, 0),
        (None, HOUR, 3600),
        (None, timedelta(seconds=1.999), 1),
        (timedelta(minutes=30), HOUR, 1800),
        (timedelta(minutes=30, milliseconds=999), HOUR, 1800),
        (timedelta(minutes=30), timedelta(minutes=20), 1200),
        (timedelta(milliseconds=1000), HOUR, 1),
        (timedelta(milliseconds=999), HOUR, 0),
    ],
)
def test_the_trail_says_by_whom_and_for_how_many_whole_seconds_the_secret_before_is_valid(
    keeper: Authority, events: Trail, life: timedelta | None, overlap: timedelta, seconds: int
) -> None:
    caller = issue(keeper, new_name(), scope=[ALL_MANAGE, "a"], never_expires=True)
    by = keeper.authenticate(basic_of(caller))
    given = {"never_expires": True} if life is None else {"expires_in": life}
    made = issue(keeper, new_name(), owner=Owner("bob"), scope=["a"], **given)
    events()
    keeper.rotate(made.pat.id, overlap=overlap, by=by)
    assert events() == [
        {
            "type": "pat.rotated",
            "outcome": "done",
            "overlapSeconds": seconds,
            "patId": made.pat.id,
            "ownerId": "bob",
            "byOwnerId": "alice",
            "byPatId": caller.pat.id,
        }
    ]


def test_a_rotation_that_finds_the_pat_changed_is_tried_again_and_is_one_event(
    keeper: Authority, events: Trail
) -> None:
    made = issue(keeper)
    calls: list[Any] = []

    def update(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        calls.append(named)
        if len(calls) == 1:
            keeper.update(made.pat.id, name="renamed")
        return real(*given, **named)

    events()
    with standing_in(Pats, "update", update):
        assert keeper.rotate(made.pat.id).pat.name == "renamed"
    assert [one["type"] for one in events()] == ["pat.updated", "pat.rotated"]


# -- rotations of unknown outcome ----------------------------------------------------------------------------


class Update:
    """Stands in for the update of records: says what happens to the calls in turn, and counts them."""

    def __init__(self, *steps: Callable[[Callable[[], Any]], Any]) -> None:
        self.steps = list(steps)
        self.count = 0

    def __call__(self, real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self.count += 1
        if not self.steps:
            return real(*given, **named)
        return self.steps.pop(0)(lambda: real(*given, **named))


def then_fails(error: PatAuthError) -> Callable[[Callable[[], Any]], Any]:
    """The store does it, and nobody is told so."""

    def step(real: Callable[[], Any]) -> Any:
        real()
        raise error

    return step


def fails(real: Callable[[], Any]) -> Any:
    """The store does not do it, and nobody is told so."""
    raise Unanswered(detail="no answer")


@each("error", [Unanswered(detail="no answer"), NotDurable("made", detail="no answer")])
@each("rotated", [False, True])
def test_a_rotation_of_unknown_outcome_is_taken_back(
    keeper: Authority, events: Trail, error: PatAuthError, rotated: bool
) -> None:
    """Nobody was shown the new secret, so it must open nothing. The older ones are what they were."""
    made = issue(keeper, new_name())
    if rotated:
        keeper.rotate(made.pat.id)
    before = state_of(keeper, made.pat.id)
    events()
    update = Update(then_fails(error))
    with standing_in(Pats, "update", update), pytest.raises(StoreUnavailable) as refused:
        keeper.rotate(made.pat.id, overlap=AT_ONCE)
    assert type(refused.value) is StoreUnavailable, "it is known that nothing was written"
    assert state_of(keeper, made.pat.id) == before
    assert update.count == 2
    assert events() == []


@each("rotated", [False, True])
def test_a_rotation_that_was_not_written_takes_nothing_back(
    keeper: Authority, events: Trail, rotated: bool
) -> None:
    made = issue(keeper, new_name())
    if rotated:
        keeper.rotate(made.pat.id)
    before = record_of(keeper, made.pat.id).packed
    events()
    update = Update(fails)
    with standing_in(Pats, "update", update), pytest.raises(StoreUnavailable):
        keeper.rotate(made.pat.id)
    assert record_of(keeper, made.pat.id).packed == before
    assert update.count == 1
    assert events() == []


def test_what_was_changed_after_the_rotation_stays_when_that_is_taken_back(
    keeper: Authority, events: Trail
) -> None:
    """Also what is changed while it is taken back."""
    made = issue(keeper)
    before = state_of(keeper, made.pat.id)

    def change(name: str) -> Callable[[Callable[[], Any]], Any]:
        def step(real: Callable[[], Any]) -> Any:
            update.steps.insert(0, lambda real: real())
            keeper.update(made.pat.id, name=name)
            return real()

        return step

    def rotated_and_renamed(real: Callable[[], Any]) -> Any:
        real()
        change("first")(lambda: None)
        raise Unanswered(detail="no answer")

    update = Update(rotated_and_renamed, change("second"))
    events()
    with standing_in(Pats, "update", update), pytest.raises(StoreUnavailable):
        keeper.rotate(made.pat.id, overlap=AT_ONCE)
    after = state_of(keeper, made.pat.id)
    assert after.secrets == before.secrets
    assert after.pat.name == "second"
    assert after.pat.sequence > before.pat.sequence
    assert [one["type"] for one in events()] == ["pat.updated", "pat.updated"]


def test_a_pat_that_is_deleted_after_its_rotation_does_not_come_back(
    keeper: Authority, events: Trail
) -> None:
    made = issue(keeper)

    def rotated_and_deleted(real: Callable[[], Any]) -> Any:
        real()
        keeper.delete(made.pat.id)
        raise Unanswered(detail="no answer")

    events()
    with standing_in(Pats, "update", Update(rotated_and_deleted)), pytest.raises(StoreUnavailable):
        keeper.rotate(made.pat.id)
    with pytest.raises(NotFound):
        keeper.get(made.pat.id)
    assert [one["type"] for one in events()] == ["pat.revoked"]


def test_a_rotation_that_cannot_be_taken_back_is_in_the_trail(keeper: Authority, events: Trail) -> None:
    made = issue(keeper)
    events()
    update = Update(then_fails(Unanswered(detail="no answer")), fails)
    with standing_in(Pats, "update", update), pytest.raises(Unanswered):
        keeper.rotate(made.pat.id)
    assert [(one["type"], one["patId"], one["outcome"]) for one in events()] == [
        ("pat.rotated", made.pat.id, "unknown")
    ]
    assert keeper.verify_basic(made.pat.id, made.secret).pat_id == made.pat.id
