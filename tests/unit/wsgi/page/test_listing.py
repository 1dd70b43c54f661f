"""What a link asks of the list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.wsgi.page.listing import SHOWN, SORTED, Wanted

SOON = 1_800_000_000_000


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Wanted("all", "newest", "", 1)),
        (
            {"show": "expiring", "sort": "name", "q": " build ", "page": "3"},
            Wanted("expiring", "name", "build", 3),
        ),
        ({"show": "x", "sort": "-created", "page": "0"}, Wanted("all", "newest", "", 1)),
        ({"page": "-1"}, Wanted("all", "newest", "", 1)),
        ({"page": "٣"}, Wanted("all", "newest", "", 1)),
        ({"page": "9" * 7}, Wanted("all", "newest", "", 1)),
    ],
)  # fmt: skip
def test_what_is_not_known_counts_as_left_out(query: dict[str, str], wanted: Wanted) -> None:
    assert Wanted.of(query) == wanted


@given(st.dictionaries(st.sampled_from(["show", "sort", "q", "page", "lang"]), st.text(max_size=200)))
def test_every_query_has_a_filter_and_a_link_to_itself(query: dict[str, str]) -> None:
    wanted = Wanted.of(query)
    wanted.filter(SOON)
    again: dict[str, Any] = {**wanted.query, "page": str(wanted.page)}
    assert Wanted.of(again) == wanted


def test_each_choice_has_a_filter_that_is_understood() -> None:
    for show in SHOWN:
        for sort in SORTED:
            found = Wanted(show, sort, "", 1).filter(SOON)
            assert (found is None) == (show == "all")
