"""What one owner may make and have: quotas of makers, and of access tokens."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidRequest,
    IssuedPat,
    Owner,
    PatAuthError,
    Person,
    RateLimited,
)
from patauth.model.pat_id import PatId
from tests.support.authorities import Make, basic_of, issue, maker_of
from tests.support.clocks import Clock
from tests.support.internals import store_of
from tests.support.servers import one_engine
from tests.support.tables import each
from tests.support.tenants import keys_like

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
SECOND = timedelta(seconds=1)


# -- quotas of makers ----------------------------------------------------------------------------------------


def make_one(authority: Authority, name: str, by: Any, **given: Any) -> IssuedPat:
    return authority.create(name=name, scope=["reports:read"], expires_in=timedelta(days=1), by=by, **given)


def test_deleting_and_making_again_does_not_reset_the_create_quota(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, create_quota="3/60")
    _, by = maker_of(authority)
    for number in range(3):
        authority.delete(make_one(authority, f"n{number}", by).pat.id)
    with pytest.raises(RateLimited) as limited:
        make_one(authority, "n3", by)
    assert (limited.value.quota, limited.value.retry_after) == ("creations", 20)
    issue(authority, "the host's")
    clock.advance(20_000)
    made = make_one(authority, "n3", by)
    authority.rotate(made.pat.id, by=by)
    authority.delete(made.pat.id, by=by)


@one_engine
def test_deleting_and_making_again_multiplies_no_request_quota(make: Make, clock: Clock) -> None:
    """FINDINGS A13: each PAT begins with a fresh request quota, so it is the making that is bounded."""
    authority = make(clock=clock, create_quota="6/360")
    maker, by = maker_of(authority, request_quota="20/10")
    served = 0
    for _ in range(36):  # all that the maker's own quota lets them do in six minutes
        clock.advance(10_000)
        with suppress(RateLimited):
            while authority.verify_bearer(maker.token):
                child = make_one(authority, "child", by)
                with suppress(RateLimited):
                    while authority.verify_bearer(child.token):
                        served += 1
                authority.delete(child.pat.id, by=by)
    assert 20 * 6 <= served <= 20 * (6 + 6)


def test_the_create_quota_is_of_the_maker_whoever_owns_the_pat_and_however_they_call(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, create_quota="2/60")
    operator = issue(authority, "operator", owner=Owner("root"), scope=["reports:read", ALL])
    by = authority.authenticate(basic_of(operator))
    person = Person(Owner("root"), by.scopes)
    make_one(authority, "one", by, owner=Owner("bob"))
    make_one(authority, "two", person, owner=Owner("carol"))
    for caller in (by, person):
        with pytest.raises(RateLimited):
            make_one(authority, "three", caller, owner=Owner("dave"))
    _, other = maker_of(authority)
    make_one(authority, "another maker's", other)


def test_a_creation_that_is_refused_is_not_charged(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, create_quota="1/60")
    _, by = maker_of(authority)
    for _ in range(3):
        with pytest.raises(Conflict):
            make_one(authority, "maker", by)
        with pytest.raises(InvalidRequest):
            authority.create(name="x", scope=["admin"], expires_in=timedelta(days=1), by=by)
    make_one(authority, "one", by)


@each(
    "own, asked, passes",
    [
        ("20/10", "20/10", True),
        ("20/10", "10/10", True),
        ("20/10", "20/20", True),
        ("20/10", "21/10", False),
        ("20/10", "20/9", False),
        ("20/10", "40/20", False),  # the same rate in bursts twice as large
        ("20/10", "1000000/1", False),
        (None, "100/10", True),  # the setting
        (None, "101/10", False),
    ],
)
def test_a_request_quota_never_grows(
    make: Make, clock: Clock, own: str | None, asked: str, passes: bool
) -> None:
    authority = make(clock=clock)
    authority.revoke_owner("alice")  # the row before
    _, by = maker_of(authority, request_quota=own)
    if passes:
        made = make_one(authority, "child", by, request_quota=asked)
        assert str(made.pat.request_quota) == asked
    else:
        with pytest.raises(InvalidRequest, match="request_quota"):
            make_one(authority, "child", by, request_quota=asked)
    assert str(issue(authority, "the host's", request_quota=asked).pat.request_quota) == asked


def test_a_secret_has_a_bounded_number_of_access_tokens(make: Make, clock: Clock) -> None:
    """An exchange beyond it passes when one has expired or was revoked; another secret has its own."""
    authority = make(clock=clock, max_tokens_per_secret=2, access_token_ttl=900)
    issued = issue(authority)
    first = authority.exchange(issued.pat.id, issued.secret)
    clock.advance(100_000)
    second = authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(RateLimited) as limited:
        authority.exchange(issued.pat.id, issued.secret)
    assert (limited.value.quota, limited.value.count, limited.value.retry_after) == ("tokens", 2, 800)
    assert authority.revoke(second.value)
    third = authority.exchange(issued.pat.id, issued.secret)
    clock.advance(800_000)
    authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(PatAuthError):
        authority.verify_bearer(first.value)
    rotated = authority.rotate(issued.pat.id, overlap=timedelta(0))
    with pytest.raises(PatAuthError):
        authority.verify_bearer(third.value)
    authority.exchange(rotated.pat.id, rotated.secret)


def test_who_loses_all_access_tokens_may_have_as_many_again(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_tokens_per_secret=2)
    issued = issue(authority)
    for _ in range(2):
        authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(RateLimited):
        authority.exchange(issued.pat.id, issued.secret)
    authority.purge_access_tokens()
    for _ in range(2):
        authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(RateLimited):
        authority.exchange(issued.pat.id, issued.secret)


def test_where_the_exchange_quota_bounds_the_tokens_nothing_counts_them(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)  # 60 at once and 60 a minute, for 15 minutes: 960
    issued = issue(authority, access_token_ttl=900)
    long = issue(authority, "long", access_token_ttl=43_200)
    pats = store_of(authority).pats
    indexes = [pats.keys.tokens_of(PatId(one.pat.id), 1) for one in (issued, long)]
    for one in (issued, long):
        authority.exchange(one.pat.id, one.secret)
    assert pats.scripts.call([("EXISTS", index) for index in indexes]) == [0, 1]
    # An index outlives the last of its tokens by a minute at most.
    assert 0 < pats.scripts.call([("PTTL", indexes[1])])[0] <= 43_260_000


def test_a_rotation_hands_out_no_bigger_quota(make_at: Make, clock: Clock) -> None:
    authority = make_at(clock=clock, request_quota="20/10")
    big = issue(authority, "big", scope=["x"], request_quota="1000/10")
    small = issue(authority, "small", scope=["x", MY])
    with pytest.raises(Forbidden):
        authority.rotate(big.pat.id, by=authority.authenticate(basic_of(small)))


@pytest.mark.parametrize("how", ["rotate", "delete and make again"])
def test_neither_rotation_nor_deletion_leaves_more_token_records_than_the_bound(
    make_at: Make, clock: Clock, how: str
) -> None:
    authority = make_at(clock=clock, max_tokens_per_secret=5, access_token_ttl=43_200)
    issued = issue(authority)
    for _ in range(5):
        for _ in range(5):
            authority.exchange(issued.pat.id, issued.secret)
        clock.advance(6_000)
        if how == "rotate":
            issued = authority.rotate(issued.pat.id, overlap=timedelta(0))
        else:
            authority.delete(issued.pat.id)
            issued = issue(authority)
    found = keys_like(authority, store_of(authority).pats.keys.access_tokens)
    assert len(found) <= 2 * 5
