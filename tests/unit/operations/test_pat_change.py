"""What a change makes of a PAT, against a model of what grows and of who may pass that on."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError, replace

import pytest

from patauth import InvalidRequest, InvalidScope, Owner, PersonalAccessToken, Settings
from patauth.model.dates import DAY
from patauth.model.expiry import Expiry
from patauth.operations.pat_change import PatChange
from patauth.operations.permissions import Limit
from tests.support.clocks import NOW

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
        grows = not set(after_scope) <= {"a", "b"} or (expires_ms or NEVER) > NOW + 10 * DAY
        expected: PersonalAccessToken | type[Exception]
        if grows and not set(after_scope) <= set(held):
            expected = InvalidScope
        elif grows and (expires_ms or NEVER) > (ceiling or NEVER):
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
