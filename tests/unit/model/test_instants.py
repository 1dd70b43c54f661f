"""What indexes store of a PAT's instants."""

from __future__ import annotations

import pytest

from patauth.model.dates import LATEST
from patauth.model.instants import INDEXED, NEVER, index_value
from patauth.model.pat import Owner, PersonalAccessToken

BARE = PersonalAccessToken("a", "a", ("read",), Owner("alice"), "t", 5, 5, 1)


def test_an_instant_that_is_there_is_itself() -> None:
    whole = PersonalAccessToken(
        "a", "a", ("read",), Owner("alice"), "t", 1, 1, 1, last_used_ms=2, expires_ms=3, revoked_ms=4
    )
    assert [index_value(whole, field) for field in INDEXED] == [1, 2, 3, 4]


def test_what_is_not_there_is_written_as_an_end_of_the_index() -> None:
    assert index_value(BARE, "lastUsed") == 0
    assert index_value(BARE, "expirationDate") == index_value(BARE, "revokedAt") == NEVER > LATEST


def test_another_field_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="name is not an indexed instant"):
        index_value(BARE, "name")
