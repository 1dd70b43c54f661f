"""What a change makes of a PAT, against a model of what grows and of who may pass that on."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from patauth import Disabled, InvalidRequest, InvalidScope, Owner, PersonalAccessToken, Settings
from patauth.model.dates import DAY
from patauth.model.expiry import Expiry
from patauth.model.quota import Quota
from patauth.operations.pat_change import PatChange, grows
from patauth.operations.permissions import Limit
from tests.support.clocks import NOW
from tests.support.tables import each

PLAIN = Settings.of(store_url="memory:")
PAT = PersonalAccessToken(
    "0" * 32, "ci", ("a", "b"), Owner("alice"), "default", NOW, NOW, 3, expires_ms=NOW + 10 * DAY
)
NEVER = NOW + 10_000 * DAY  # later than any expiry here


def changed(
    scope: tuple[str, ...] | None, expiry: Expiry | None, limit: Limit
) -> PersonalAccessToken | type[Exception]:
    """The PAT after a change, or how the change is refused."""
    try:
        change = PatChange(scope=scope, expiry=expiry, never_acknowledged=True)
        return change.apply(PAT, NOW + DAY, limit, PLAIN)
    except (InvalidRequest, InvalidScope) as refusal:
        return type(refusal)


def test_what_grows_is_all_within_the_limit_and_what_shrinks_needs_none() -> None:
    scopes: list[tuple[str, ...] | None] = [None, ("a",), ("b", "a"), ("a", "b", "c"), ("c",)]
    expiries = [None, Expiry(at_ms=NOW + 5 * DAY), PAT.expires_ms, Expiry(at_ms=NOW + 20 * DAY), Expiry()]
    ceilings = [NOW, NOW + 5 * DAY, NOW + 10 * DAY, NOW + 20 * DAY, None]
    for scope, asked, held, ceiling in itertools.product(scopes, expiries, ["", "ab", "abc"], ceilings):
        expiry = Expiry(at_ms=asked) if isinstance(asked, int) else asked
        limit = Limit((frozenset(held),), ceiling, frozenset())
        after_scope = scope or PAT.scope
        expires_ms = PAT.expires_ms if expiry is None else expiry.at_ms
        is_more = not set(after_scope) <= {"a", "b"} or (expires_ms or NEVER) > NOW + 10 * DAY
        expected: PersonalAccessToken | type[Exception]
        if is_more and not set(after_scope) <= set(held):
            expected = InvalidScope
        elif is_more and (expires_ms or NEVER) > (ceiling or NEVER):
            expected = InvalidRequest
        else:
            expected = replace(
                PAT,
                scope=after_scope,
                expires_ms=expires_ms,
                never_acknowledged=True,
                changed_ms=NOW + DAY,
                sequence=4,
            )
        assert changed(scope, expiry, limit) == expected, (scope, expiry, held, ceiling)


def test_a_change_stays_as_it_was_checked_and_is_its_values() -> None:
    change = PatChange(name="ci", scope=["a", "a"])
    assert change == PatChange(name="ci", scope=("a",))
    assert change != PatChange(name="ci")
    with pytest.raises(FrozenInstanceError):
        change.name = ""  # type: ignore[misc]


HERE = replace(PAT, networks=("203.0.113.0/24",), not_before_ms=NOW + 2 * DAY, request_quota=Quota(50, 10))


@each(
    ("after", "more"),
    [
        ({}, False),
        ({"name": "x", "description": "y", "never_acknowledged": True, "disabled": Disabled(0)}, False),
        ({"scope": ("a",)}, False),
        ({"scope": ("b", "a")}, False),
        ({"scope": ("a", "b", "c")}, True),
        ({"scope": ("c",)}, True),
        ({"expires_ms": NOW + 9 * DAY}, False),
        ({"expires_ms": NOW + 10 * DAY + 1}, True),
        ({"expires_ms": None}, True),
        ({"networks": ("203.0.113.7/32",)}, False),
        ({"networks": ("203.0.112.0/23",)}, True),
        ({"networks": ("203.0.113.0/24", "198.51.100.0/24")}, True),
        ({"networks": ()}, True),
        ({"not_before_ms": NOW + 3 * DAY}, False),
        ({"not_before_ms": NOW + 2 * DAY - 1}, True),
        ({"not_before_ms": None}, True),
        ({"request_quota": Quota(49, 10)}, False),
        ({"request_quota": Quota(51, 10)}, True),
        ({"request_quota": None}, True),
        ({"scope": ("a",), "expires_ms": NOW + 9 * DAY, "networks": ()}, True),
    ],
)
def test_a_pat_grows_by_anything_that_it_can_do_afterwards_and_could_not_before(
    after: dict[str, Any], more: bool
) -> None:
    assert grows(HERE, replace(HERE, **after), NOW + DAY, PLAIN) is more


def test_a_begin_that_has_come_is_as_good_as_none() -> None:
    assert not grows(HERE, replace(HERE, not_before_ms=None), NOW + 2 * DAY, PLAIN)


def test_what_a_catalogue_adds_to_a_scope_is_no_growth_and_what_would_outlive_it_is() -> None:
    catalogue = Settings.of(store_url="memory:", scopes={"reports:read": ""})
    everything = replace(PAT, scope=("sp:scopes:all",))
    assert not grows(everything, replace(PAT, scope=("reports:read",)), NOW, catalogue)
    assert grows(everything, replace(PAT, scope=("sp:scopes:all", "reports:read")), NOW, catalogue)
    assert grows(everything, replace(PAT, scope=("reports:read",)), NOW, PLAIN)
