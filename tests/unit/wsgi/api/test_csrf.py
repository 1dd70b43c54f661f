"""What protects a signed-in person from requests that another site makes their browser send."""

from __future__ import annotations

from typing import Any

import pytest

from patauth import Cors, Owner
from patauth.crypto.keyring import Keyring
from patauth.errors import Forbidden
from patauth.model.caller import Person
from patauth.wsgi.api import csrf
from patauth.wsgi.api.csrf import (
    CSRF_LIFE,
    check_change_by_basic,
    check_csrf_token,
    check_origin,
    make_csrf_token,
)
from tests.support.tables import each

RING = Keyring(bytes(range(32)))
NOW = 1_893_456_000
ALICE = Person(Owner("alice", name="Alice"), ["idn:my-personal-access-tokens:manage", "reports:read"])
BOB = Person(Owner("bob"), ALICE.scopes)

# Sec-Fetch-Site, Origin, whether a safe request passes, whether one that changes something does
ORIGINS: list[tuple[str | None, str | None, bool, bool]] = [
    ("same-origin", None, True, True),
    ("same-origin", "https://app.example", True, True),
    ("same-origin", "https://other.example", True, True),  # Sec-Fetch-Site is what decides
    ("none", None, True, False),  # an address that was typed
    ("same-site", None, False, False),
    ("cross-site", None, False, False),
    ("cross-site", "https://app.example", False, False),
    ("Same-Origin", None, False, False),
    ("same-origin, same-origin", None, False, False),
    ("whatever", None, False, False),
    (None, "https://app.example", True, True),
    (None, "http://app.example", True, True),  # a proxy may have taken TLS off
    (None, "HTTPS://APP.EXAMPLE", True, True),
    ("", "https://app.example", True, True),
    (None, "https://other.example", False, False),
    (None, "https://app.example:8443", False, False),
    (None, "https://app.example.evil.example", False, False),
    (None, "https://evil.example/app.example", False, False),
    (None, "https://app.example@evil.example", False, False),
    (None, "https://app.example/", False, False),
    (None, "https://app.example, https://evil.example", False, False),
    (None, "null", False, False),
    (None, "app.example", False, False),
    (None, "file://app.example", False, False),
    (None, None, True, False),  # no browser, or one that says nothing
    ("", "", True, False),
]


def is_let_in(sent: dict[str, Any], *, safe: bool) -> bool:
    try:
        check_origin(sent, safe=safe)
    except Forbidden as refusal:
        assert "own pages" in str(refusal)
        return False
    return True


class TestOrigin:
    """Go 1.25's CrossOriginProtection, but closed where a browser says nothing."""

    def test_only_this_sites_own_pages_change_anything(self) -> None:
        for site, origin, *expected in ORIGINS:
            given = {"HTTP_SEC_FETCH_SITE": site, "HTTP_ORIGIN": origin, "HTTP_HOST": "app.example"}
            sent = {name: value for name, value in given.items() if value is not None}
            found = [is_let_in(sent, safe=True), is_let_in(sent, safe=False)]
            assert found == expected, (site, origin)

    def test_without_a_host_no_origin_is_this_one(self) -> None:
        assert not is_let_in({"HTTP_ORIGIN": "https://app.example"}, safe=True)

    def test_a_port_is_part_of_the_host(self) -> None:
        for port, expected in ((8000, True), (8001, False)):
            sent = {"HTTP_ORIGIN": f"http://localhost:{port}", "HTTP_HOST": "localhost:8000"}
            assert is_let_in(sent, safe=False) == expected


class TestAChangeByBasic:
    """What a browser may do with an id and a secret that it keeps."""

    @each("site, origin", [row[:2] for row in ORIGINS])
    def test_a_browser_makes_one_from_this_site_alone_and_others_from_anywhere(
        self, site: str | None, origin: str | None
    ) -> None:
        given = {"HTTP_SEC_FETCH_SITE": site, "HTTP_ORIGIN": origin, "HTTP_HOST": "app.example"}
        sent = {name: value for name, value in given.items() if value is not None}
        is_no_browser = not (site or origin)
        assert changes_by_basic(sent) == (is_no_browser or is_let_in(sent, safe=False))

    @each(
        "allowed, site, origin, passes",
        [
            (["https://page.example"], "cross-site", "https://page.example", True),
            (["https://page.example"], "same-site", "https://page.example", True),
            (["https://page.example"], None, "https://page.example", True),
            (["https://page.example"], "cross-site", "https://page.example:8443", False),
            (["https://page.example"], "cross-site", "http://page.example", False),
            (["https://page.example"], "cross-site", "https://page.example, https://evil.example", False),
            (["https://page.example"], "cross-site", "null", False),
            (["https://page.example"], "cross-site", None, False),
            # To read is allowed to everybody here, and to act to nobody.
            (["*"], "cross-site", "https://page.example", False),
            (["*"], None, "https://page.example", False),
            (["*"], "cross-site", "null", False),
        ],
    )
    def test_of_other_origins_those_that_cors_names_may(
        self, allowed: list[str], site: str | None, origin: str | None, passes: bool
    ) -> None:
        given = {"HTTP_SEC_FETCH_SITE": site, "HTTP_ORIGIN": origin, "HTTP_HOST": "app.example"}
        sent = {name: value for name, value in given.items() if value is not None}
        assert changes_by_basic(sent, Cors(allowed)) is passes
        assert not changes_by_basic({**sent, "HTTP_ORIGIN": "https://other.example"}, Cors(allowed))


def changes_by_basic(sent: dict[str, Any], cors: Cors | None = None) -> bool:
    try:
        check_change_by_basic(sent, cors)
    except Forbidden as refusal:
        assert "send a token as Bearer" in str(refusal)
        return False
    return True


class TestToken:
    def test_it_is_good_for_its_person_for_12_hours(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        for age in (0, 1, CSRF_LIFE - 1, -60):
            check_csrf_token(RING, ALICE, token, NOW + age)
        for age in (CSRF_LIFE, CSRF_LIFE * 100, -61):
            with pytest.raises(Forbidden, match="X-CSRF-Token"):
                check_csrf_token(RING, ALICE, token, NOW + age)

    def test_nobody_else_can_use_it(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        others = [BOB, Person(ALICE.owner, ALICE.scopes, tenant="other"), Person(Owner("alic"), ())]
        for person in others:
            with pytest.raises(Forbidden):
                check_csrf_token(RING, person, token, NOW)
        with pytest.raises(Forbidden):
            check_csrf_token(Keyring(bytes(32)), ALICE, token, NOW)

    def test_every_other_text_is_refused(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        texts = [token[:cut] for cut in range(len(token))] + [token + "A", token[:-1] + "!", token[::-1]]
        texts += ["x" * 100_000, "\x00", "\xe9", ".", "..", "." + token, token + token, "W10.", "a.b.c"]
        for text in texts:
            with pytest.raises(Forbidden):
                check_csrf_token(RING, ALICE, text, NOW)

    def test_what_is_signed_but_of_another_shape_is_refused(self) -> None:
        for content in ([], None, 1, "x", ["default", "alice"], ["default", "alice", "1"], {"a": 1}):
            text = csrf._serializer(RING).dumps(content)
            with pytest.raises(Forbidden):
                check_csrf_token(RING, ALICE, text, NOW)

    def test_it_fits_into_a_field_for_every_person(self) -> None:
        longest = Person(Owner("~" * 128), (), tenant='"' * 128)
        token = make_csrf_token(RING, longest, NOW)
        assert token.isascii()
        assert token.isprintable()
        check_csrf_token(RING, longest, token, NOW)
