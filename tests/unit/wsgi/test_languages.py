"""Which language people are answered in."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from patauth.wsgi.languages import DEFAULT, LOCALES, choose

CHOSEN = [
    ("de", "de"),
    ("DE", "de"),
    ("de-CH", "de"),
    ("de-Latn-CH-1996", "de"),
    ("de-x-private", "de"),
    ("de-CH-x-private-more", "de"),
    ("fr-CA,en;q=0.5", "fr"),
    ("en", "en-US"),
    ("en-GB", "en-US"),
    ("en-us", "en-US"),
    ("pt", "pt-BR"),
    ("pt-PT", "pt-BR"),
    ("PT-br", "pt-BR"),
    ("es-419", "es"),
    ("ja-JP, en;q=0.1", "ja"),
    ("it, de;q=0.2", "de"),
    ("en;q=0.1, de;q=0.2", "de"),
    ("de;q=0.5, fr;q=0.5", "de"),
    ("fr;q=0.001", "fr"),
    ("fr ; Q=1.000 , de", "fr"),
    ("fr\t;\tq=0.5", "fr"),
    ("*, de;q=0.1", "de"),
    ("*;q=0, de", "de"),
    ("de;q=0, de-CH, fr;q=0.1", "fr"),
    ("pt;q=0, pt-BR", "pt-BR"),
    ("en-GB;q=0, en", "en-US"),
    ("de;q=0.1, de;q=0.9, fr;q=0.5", "fr"),
    ("x" * 9 + ", de;q=2, fr", "fr"),
    ("de;q=0.1234, fr;level=1, ja;q=0.1", "ja"),
    (",,, ,ja", "ja"),
    ("de_CH, fr", "fr"),
]


def test_a_range_is_cut_until_a_language_is_found_and_the_request_has_chosen() -> None:
    """RFC 4647 section 3.4 and RFC 9110 section 12.5.4."""
    for field, locale in CHOSEN:
        assert choose(field) == (locale, "REQUEST"), field


def test_where_nothing_that_we_have_is_asked_for_it_is_the_default() -> None:
    for field in (
        *(None, "", "*", "*;q=0.5", "it", "it-CH, *", "xx-yy-zz", "de;q=0", "en;q=0", "de;q=0.0, *"),
        *("pt;q=0, pt-PT", "d e", "de;q=", "de;q=x", "de;q=1.5", "de;;q=1", "de;q=0.5;x"),
        *("-de", "de-", "dé", "deu"),
    ):
        assert choose(field) == (DEFAULT, "DEFAULT"), field


def test_what_is_beyond_the_cap_is_not_looked_at_nor_half_a_part() -> None:
    filler = "it," * 340  # 1020 characters
    assert choose(filler + "fr") == ("fr", "REQUEST")
    assert choose(filler + "de-CH-1996, fr")[1] == "DEFAULT"
    assert choose("de;q=0.1," + "x" * 100_000) == ("de", "REQUEST")


@given(st.text() | st.text(st.sampled_from(string.ascii_lowercase[:6] + "deptbrfsja-;q=01. ,*"), max_size=60))
def test_any_field_chooses_one_of_ours(field: str) -> None:
    locale, origin = choose(field)
    assert locale in LOCALES
    assert origin == "REQUEST" or (locale, origin) == (DEFAULT, "DEFAULT")


@given(st.lists(st.sampled_from(LOCALES), min_size=1, unique=True), st.data())
def test_the_greatest_weight_wins_in_any_order(locales: list[str], data: st.DataObject) -> None:
    weights = data.draw(
        st.lists(st.integers(1, 999), min_size=len(locales), max_size=len(locales), unique=True)
    )
    field = ", ".join(f"{locale};q=0.{weight:03d}" for locale, weight in zip(locales, weights, strict=True))
    best = locales[weights.index(max(weights))]
    assert choose(field) == (best, "REQUEST")
