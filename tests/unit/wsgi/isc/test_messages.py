"""The messages of errors: each language has all of them."""

from __future__ import annotations

from patauth.wsgi.isc.messages import _TEXTS, text
from patauth.wsgi.languages import DEFAULT, LOCALES
from tests.support.tables import each

STATUSES = {400, 403, 404, 405, 409, 413, 415, 429, 500, 503}


@each("locale", LOCALES)
def test_each_language_is_whole_and_its_own(locale: str) -> None:
    assert _TEXTS.keys() == set(LOCALES)
    assert _TEXTS[locale].keys() == STATUSES
    said = list(_TEXTS[locale].values())
    assert len(set(said)) == len(said)
    for status in STATUSES:
        one = text(status, locale)
        assert one == one.strip()
        assert one.endswith((".", "。"))
        assert "\n" not in one
        assert [other for other in LOCALES if text(status, other) == one] == [locale]


def test_the_english_texts_of_400_403_and_500_are_the_management_apis_own() -> None:
    assert text(400, DEFAULT) == (
        "The request was syntactically correct but its content is semantically invalid."
    )
    assert text(403, DEFAULT) == "The server understood the request but refuses to authorize it."
    assert text(500, DEFAULT) == "An internal fault occurred."


@each("locale", LOCALES)
def test_a_status_without_a_text_has_that_of_its_class(locale: str) -> None:
    assert text(422, locale) == text(400, locale)
    assert text(501, locale) == text(500, locale)
