"""Each row of the protocol's requirements, once and small, by its id; the whole tables are elsewhere.

B  HTTP Basic and what all credentials share    RFC 7617, RFC 9110        test_credentials, test_middleware
R  bearer tokens                                RFC 6750                  test_middleware, test_hostile
O  the token endpoint                           RFC 6749, RFC 9700        test_oauth, test_scope
I  introspection                                RFC 7662                  test_introspect
V  revocation                                   RFC 7009                  test_introspect, test_redis
X  token exchange, which is not offered         RFC 8693
J  signed access tokens                         RFC 9068, RFC 8725        test_jwt, test_jwt_hostile
M  metadata                                     RFC 8414                  test_discovery
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import logging
import random
import re
import tracemalloc
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.test import TestResponse

from patauth import (
    Authority,
    ConfigurationError,
    InvalidCredentials,
    InvalidRequest,
    InvalidToken,
    IssuedPat,
    JWTVerifier,
    Owner,
    PatAuthMiddleware,
    Settings,
)
from patauth.jwt.key_files import SigningKeys
from patauth.logs import RedactingFormatter
from patauth.model.credentials import split_basic
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.paths import DOCS
from tests.support.tables import each
from tests.support.wsgi import Echo, request

ISSUER = "https://pats.example"
GRANT = {"grant_type": "client_credentials"}
FORM = "application/x-www-form-urlencoded"
ROWS = [
    f"{letter}{number}"
    for letter, last in {"B": 10, "R": 8, "O": 16, "I": 4, "V": 4, "X": 1, "J": 5, "M": 1}.items()
    for number in range(1, last + 1)
]


def test_every_row_has_a_test_by_its_id() -> None:
    for row in ROWS:
        tests = [test for name, test in globals().items() if name.startswith(f"test_{row.lower()}_")]
        assert tests, f"no test of {row}"
        assert all(re.search(r"RFC \d{4}|ASVS|product", test.__doc__ or "") for test in tests), row
    named = re.findall(r"^test_([a-z]\d+)_", "\n".join(globals()), re.MULTILINE)
    assert {name.upper() for name in named} == set(ROWS)


# -- what the tests stand on ---------------------------------------------------------------------------------


@pytest.fixture
def authority(make_at: Make, clock: Clock) -> Authority:
    return make_at(clock=clock, issuer=ISSUER, surfaces=["oauth", "isc"])


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority)


@pytest.fixture
def access(authority: Authority, issued: IssuedPat) -> str:
    return access_of(authority, issued)


@pytest.fixture
def app(authority: Authority) -> PatAuthMiddleware:
    """An application behind the gate, with a few rules."""
    return gate_of(authority)


@pytest.fixture
def nowhere(make_at: Make) -> Authority:
    """An Authority whose store does not exist."""
    return make_at(url="unix:///nonexistent/s")


@pytest.fixture
def storeless(nowhere: Authority, issued: IssuedPat) -> PatAuthMiddleware:
    """Without a store to ask: whatever asks it is 503, so a 400 or 401 was decided without it."""
    app = gate_of(nowhere)
    assert request(app, "/", authorization=basic_of(issued)).status_code == 503
    return app


@pytest.fixture
def signing(make_at: Make, clock: Clock, tmp_path: Path) -> Callable[..., Authority]:
    """Makes Authorities that sign, all with one key."""
    SigningKeys(tmp_path / "keys").rotate()
    values = {"access_token_format": "jwt", "issuer": ISSUER, "keys": str(tmp_path / "keys"), "clock": clock}
    return lambda **given: make_at(**{**values, **given})


def gate_of(authority: Authority) -> PatAuthMiddleware:
    require = {"GET /reports/*": "reports:read", "/admin": ["x:two", "x:one"]}
    return PatAuthMiddleware(Echo(), authority, public=["/open"], require=require)


def access_of(authority: Authority, issued: IssuedPat, **given: Any) -> str:
    return authority.exchange(issued.pat.id, issued.secret, **given).value


def token(app: Any, form: dict[str, str] | str | None = None, **given: Any) -> TestResponse:
    data = GRANT if form is None else form
    values = {"data": data, "content_type": FORM, **given}
    return request(app, "/oauth/token", method="POST", **values)


def body_of(issued: IssuedPat, **more: str) -> dict[str, str]:
    return {**GRANT, "client_id": issued.pat.id, "client_secret": issued.secret, **more}


def about(app: Any, endpoint: str, text: str, caller: IssuedPat, **given: Any) -> TestResponse:
    values = {"authorization": basic_of(caller), "data": {"token": text}, **given}
    return request(app, f"/oauth/{endpoint}", method="POST", **values)


def is_error(response: TestResponse, status: int, code: str) -> bool:
    return (response.status_code, (response.json or {}).get("error")) == (status, code)


def challenges(response: TestResponse) -> dict[str, WWWAuthenticate]:
    """By scheme, read by another's parser, which takes no list; /verify has one in its field."""
    fields = ", ".join(response.headers.getlist("WWW-Authenticate"))
    read = map(WWWAuthenticate.from_header, re.split(", (?=[A-Z][a-z]+ )", fields))
    return {one.type: one for one in read if one is not None}


def answers(app: Any, authority: Authority, issued: IssuedPat) -> Iterator[tuple[str, TestResponse]]:
    """One of each kind that patauth gives of its own."""
    wrong = basic(issued.pat.id, wrong_secret(authority))
    tight = issue(authority, "tight", request_quota="1/60")
    request(app, "/", authorization=basic_of(tight))
    good, pats = basic_of(issued), "/v2025/personal-access-tokens"
    yield "nobody", request(app, "/reports/1")
    yield "wrong", request(app, "/reports/1", authorization=wrong)
    yield "malformed", request(app, "/reports/1", authorization="Basic Og==")
    yield "combined", request(app, "/reports/1", authorization=f"{good},{good}")
    yield "odd path", request(app, raw_path="/reports/../admin", authorization=good)
    yield "scope", request(app, "/admin", authorization=good)
    yield "quota", request(app, "/", authorization=basic_of(tight))
    yield "token", token(app, authorization=good)
    yield "token: nobody", token(app)
    yield "token: wrong", token(app, authorization=wrong)
    yield "token: wrong in the body", token(app, {**body_of(issued), "client_id": "0" * 32})
    yield "token: grant", token(app, {"grant_type": "password"})
    yield "token: scope", token(app, body_of(issued, scope="admin"))
    yield "token: GET", request(app, "/oauth/token")
    yield "token: JSON", token(app, "{}", content_type="application/json")
    yield "introspect", about(app, "introspect", issued.token, issued)
    yield "introspect: nobody", about(app, "introspect", issued.token, issued, authorization=None)
    yield "revoke", about(app, "revoke", "unknown", issued)
    yield "metadata", request(app, "/.well-known/oauth-authorization-server")
    yield "list", request(app, pats, authorization=good)
    yield "list: nobody", request(app, pats)
    yield "create", request(app, pats, method="POST", authorization=wrong, json={})
    standing = Standalone(authority)
    yield "verify", request(standing, "/verify", authorization=good)
    yield "verify: nobody", request(standing, "/verify")
    yield "health", request(standing, "/healthz")


# -- B: Basic, and what all credentials share ----------------------------------------------------------------


def test_b1_the_scheme_is_read_in_any_case(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 7617 §2, RFC 9110 §11.1: the name of the scheme is case-insensitive."""
    value = basic_of(issued).removeprefix("Basic")
    for scheme in ("Basic", "basic", "BASIC", "BaSiC"):
        assert request(app, "/", authorization=scheme + value).json["who"] == "alice"


def test_b2_the_first_colon_parts_id_and_secret(storeless: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 7617 §2: an id holds no colon, a secret may; ours holds none, so one more is refused."""
    assert split_basic(b64encode(b"a:b:c").decode()) == ("a", "b:c")
    for value in (basic(issued.pat.id, issued.secret + ":"), basic(issued.pat.id + ":", issued.secret)):
        assert request(storeless, "/", authorization=value).status_code == 401


def test_b3_control_characters_are_refused_before_the_store(
    storeless: PatAuthMiddleware, issued: IssuedPat
) -> None:
    """RFC 7617 §2: neither id nor secret holds one; no store call, and so no hash, is spent on it."""
    for control in map(chr, [*range(0x20), 0x7F]):
        for value in (
            basic(issued.pat.id + control, issued.secret),
            basic(issued.pat.id, control + issued.secret),
            basic(issued.pat.id, issued.secret[:20] + control + issued.secret[20:]),
        ):
            assert request(storeless, "/", authorization=value).status_code == 401


def test_b4_every_401_names_the_realm(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 7617 §2: the challenge has the parameter `realm`."""
    refused = {why: one for why, one in answers(app, authority, issued) if one.status_code == 401}
    assert len(refused) >= 9
    for why, response in refused.items():
        fields = "\n".join(response.headers.getlist("WWW-Authenticate"))
        assert re.search(r'^Basic realm="patauth"(,|$)', fields, re.MULTILINE), why


def test_b5_the_charset_is_utf_8_and_nothing_else_is_tried(
    app: PatAuthMiddleware, storeless: PatAuthMiddleware, issued: IssuedPat
) -> None:
    """RFC 7617 §2.1: `charset="UTF-8"`; bytes that are none are refused, and not read as latin-1."""
    assert challenges(request(app, "/"))["basic"].parameters["charset"] == "UTF-8"
    for more in (b"\xff", b"\xe9", b"\xc3", b"\xed\xa0\x80", "\xe9".encode(), b"\xef\xbb\xbf"):
        pair = more + f"{issued.pat.id}:{issued.secret}".encode()
        value = "Basic " + b64encode(pair).decode()
        assert request(storeless, "/", authorization=value).status_code == 401


def test_b6_only_the_canonical_spelling_is_accepted(
    nowhere: Authority, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 4648 §3, product: of 10,000 mutated encodings none gets as far as the store."""
    good, choose = basic_of(issued), random.Random(1)
    tried = 0
    while tried < 10_000:
        text, at = list(good.removeprefix("Basic ")), choose.randrange(len(good) - len("Basic "))
        text[at : at + choose.randrange(2)] = choose.choice([*"= \t-_!\n", "==", *"AZaz09+/"])
        mutated = "".join(text)
        if mutated.lstrip(" ") == good.removeprefix("Basic ") or _is_canonical(mutated):
            continue  # the same, or the right spelling of something else
        tried += 1
        with pytest.raises((InvalidCredentials, InvalidRequest)):  # and never StoreUnavailable
            nowhere.authenticate(f"Basic {mutated}")
    assert authority.authenticate(good).subject.id == "alice"
    assert split_basic("YTo=") == ("a", "")
    for spelled in ("YTp=", "YTo", "YTo==", "YTo=YTo=", "Y To="):
        with pytest.raises(InvalidCredentials):
            split_basic(spelled)


def _is_canonical(text: str) -> bool:
    try:
        return b64encode(b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def test_b7_combined_values_are_400_and_none_is_tried(
    storeless: PatAuthMiddleware, issued: IssuedPat, access: str
) -> None:
    """RFC 9110 §5.3: Authorization is one value; where a server joined two, the request is malformed."""
    good = basic_of(issued)
    for value in (f"{good},Bearer {access}", f"{good}, {good}", f"Bearer {access}, {good}", f"{good},"):
        assert is_error(request(storeless, "/", authorization=value), 400, "invalid_request")


def test_b8_no_field_has_a_line_end_or_nul(storeless: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 9110 §5.5: CR, LF and NUL are refused in what comes in, and stand in nothing that goes out."""
    good = basic_of(issued)
    for char, place in itertools.product("\r\n\0", (0, 6, 20, len(good))):
        value = good[:place] + char + good[place:]
        for response in (
            request(storeless, "/", authorization=value),
            request(storeless, raw_path=f"/{char}", authorization=good),
            token(storeless, authorization=value),
            token(storeless, {"grant_type": f"x{char}"}),
        ):
            assert response.status_code in (400, 401)
            assert not any(set("\r\n\0") & set(name + text) for name, text in response.headers)


def test_b9_each_401_has_a_challenge_and_who_may_not_is_403(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 9110 §11.6.1, §15.5.2, §15.5.4: the gate's challenges are for both schemes, and both parse."""
    seen = dict(answers(app, authority, issued))
    for why, response in seen.items():
        assert (response.status_code == 401) <= ("basic" in challenges(response)), why
        assert (response.status_code != 401) or "realm" in challenges(response)["basic"].parameters
    for why in ("nobody", "wrong", "malformed", "verify: nobody", "list: nobody"):
        assert seen[why].status_code == 401
        assert {one.parameters["realm"] for one in challenges(seen[why]).values()} == {"patauth"}
        assert set(challenges(seen[why])) == {"basic", "bearer"}, why
    assert seen["scope"].status_code == 403


def test_b10_no_answer_of_ours_may_be_stored(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 9111 §3.5: shared caches must not use an authenticated answer for another; the host is told how."""
    for why, response in answers(app, authority, issued):
        assert response.headers["Cache-Control"] == "no-store", why
    guide = DOCS / "deployment.md"
    assert "Vary: Authorization" in guide.read_text("utf-8")


# -- R: bearer tokens ----------------------------------------------------------------------------------------


def test_r1_what_is_no_b64token_is_refused_before_the_store(
    storeless: PatAuthMiddleware, issued: IssuedPat, access: str
) -> None:
    """RFC 6750 §2.1: a token has letters, digits, -._~+/ and then any =; no store sees another."""
    assert request(storeless, "/", authorization=f"Bearer {access}").status_code == 503
    for char in map(chr, range(256)):
        for text in (access[:50] + char + access[50:], access + char, char + issued.token):
            if not (char == " " and text.startswith(" ")):  # blanks behind the scheme are no part of it
                response = request(storeless, "/", authorization=f"Bearer {text}")
                assert response.status_code in (400, 401), repr(char)
    for text in ("", "=", "a b", '"' + access + '"', "ä"):
        assert request(storeless, "/", authorization=f"Bearer {text}").status_code == 401


def test_r2_two_ways_of_sending_a_token_are_400(
    app: PatAuthMiddleware, issued: IssuedPat, access: str
) -> None:
    """RFC 6750 §2, §3.1: more than one method in a request is invalid_request."""
    both = request(app, "/", authorization=f"Bearer {access}", query_string={"access_token": access})
    assert is_error(both, 400, "invalid_request")
    for endpoint, name in itertools.product(("introspect", "revoke"), ("access_token", "client_secret")):
        form = {"token": access, name: access}
        answer = about(app, endpoint, access, issued, authorization=f"Bearer {access}", data=form)
        assert is_error(answer, 400, "invalid_request"), (endpoint, name)


def test_r3_a_token_in_the_url_is_never_looked_up_nor_logged(
    app: PatAuthMiddleware, storeless: PatAuthMiddleware, authority: Authority, access: str
) -> None:
    """RFC 6750 §2.3, RFC 9700 §4.3.2: there it counts as none at all."""
    for gate in (app, storeless):
        response = request(gate, "/reports/1", query_string={"access_token": access})
        assert (response.status_code, response.json) == (401, {"error": "unauthorized"})
    shown = RedactingFormatter(logging.Formatter("%(message)s"))
    line = shown.format(logging.makeLogRecord({"msg": f"GET /reports/1?access_token={access} 401"}))
    assert line == "GET /reports/1?access_token=[hidden] 401"


def test_r4_without_credentials_the_challenge_has_no_error(app: PatAuthMiddleware) -> None:
    """RFC 6750 §3: who sent none learns the schemes, and of no error."""
    response = request(app, "/reports/1")
    assert response.status_code == 401
    assert set(challenges(response)["bearer"].parameters) == {"realm"}


def test_r5_expired_revoked_and_malformed_tokens_are_invalid_token(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat, clock: Clock
) -> None:
    """RFC 6750 §3.1: each is 401, in body and challenge alike."""
    gone, disabled = issue(authority, "gone"), issue(authority, "off", owner=Owner("bob"))
    texts = [access_of(authority, one) for one in (issued, issued, gone, disabled)]
    tokens = dict(zip(("expired", "revoked", "of a deleted PAT", "of a disabled owner"), texts, strict=True))
    tokens |= {"malformed": "x", "cut": texts[0][:-1], "a secret": issued.secret, "no": "pata_" + "0" * 82}
    for text in texts:
        assert request(app, "/", authorization=f"Bearer {text}").status_code == 200
    authority.revoke(tokens["revoked"])
    authority.delete(gone.pat.id)
    authority.disable_owner("bob")
    clock.advance(900_000)
    for why, text in tokens.items():
        response = request(app, "/", authorization=f"Bearer {text}")
        assert is_error(response, 401, "invalid_token"), why
        assert challenges(response)["bearer"].parameters["error"] == "invalid_token", why


def test_r6_a_missing_scope_is_403_and_the_scope_is_named(app: PatAuthMiddleware, access: str) -> None:
    """RFC 6750 §3.1: insufficient_scope, with what the route demands, separated by blanks."""
    response = request(app, "/admin", authorization=f"Bearer {access}")
    assert is_error(response, 403, "insufficient_scope")
    named = challenges(response)["bearer"].parameters
    assert (named["error"], named["scope"]) == ("insufficient_scope", "x:one x:two")


@given(st.text(st.characters(max_codepoint=255), max_size=40))
@hypothesis_settings(max_examples=60)
def test_r7_descriptions_hold_only_what_they_may(authority: Authority, text: str) -> None:
    """RFC 6750 §3, RFC 6749 §5.2: no quote, no backslash, nothing beyond ASCII, whatever was sent."""
    app, issued = gate_of(authority), _one_of(authority)
    values: list[dict[str, Any]] = [
        {"authorization": text},
        {"authorization": f"Basic {text}"},
        {"authorization": f"Bearer {text}"},
        {"authorization": basic_of(issued), "raw_path": f"/reports/../admin{text}"},
    ]
    responses = [request(app, **given) for given in values]
    forms = [{"grant_type": text}, {**GRANT, "client_id": text, "client_secret": text}, {text: text}]
    responses += [token(app, urlencode(form)) for form in forms]
    responses.append(token(app, urlencode([("x" + text, "1")] * 2)))
    responses.append(token(app, urlencode(body_of(issued, scope=f'"{text}'))))
    for response in responses:
        assert response.status_code in (400, 401, 413, 415, 429)
        described = (response.json or {}).get("error_description", "")
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", described)
        for field in response.headers.getlist("WWW-Authenticate"):
            assert re.fullmatch(r'\w+(?: \w+="[\x20\x21\x23-\x5b\x5d-\x7e]*",?)+', field)


def _one_of(authority: Authority) -> IssuedPat:
    """A PAT of a test that runs many examples on one store."""
    for pat in authority.list():
        authority.delete(pat.id)
    return issue(authority)


def test_r8_scopes_decide_alike_for_basic_and_bearer(app: PatAuthMiddleware, authority: Authority) -> None:
    """RFC 6750 §3.1, product (GHSA-9r5x, GHSA-cc8w): each scheme, set of scopes and route."""
    for number, scopes in enumerate([["reports:read"], ["x:one", "x:two"], ["x:one"]]):
        issued = issue(authority, f"pat {number}", scope=scopes)
        bearers = [issued.token, access_of(authority, issued)]
        values = [basic_of(issued), *(f"Bearer {text}" for text in bearers)]
        for method, path, needed in [
            ("GET", "/reports/1", {"reports:read"}),
            ("HEAD", "/reports/1", {"reports:read"}),
            ("GET", "/admin", {"x:one", "x:two"}),
            ("POST", "/admin", {"x:one", "x:two"}),
            ("GET", "/else", set()),
            ("POST", "/reports/1", {"no rule covers it"}),
        ]:
            found = {request(app, path, method=method, authorization=value).status_code for value in values}
            assert found == {200 if needed <= set(scopes) else 403}, (scopes, method, path)


# -- O: the token endpoint -----------------------------------------------------------------------------------


def test_o1_it_takes_post_alone(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 6749 §3.2: any other method is 405, and Allow says which."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = request(app, "/oauth/token", method=method, authorization=basic_of(issued))
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")


@each("name", ["grant_type", "client_id", "client_secret", "scope", "unknown"])
def test_o2_a_parameter_that_is_sent_twice_is_invalid_request(
    app: PatAuthMiddleware, issued: IssuedPat, name: str
) -> None:
    """RFC 6749 §3.2: none may stand more than once, not with the same value and not in multipart."""
    pairs = [*body_of(issued, scope="reports:read", unknown="1").items()]
    assert token(app, urlencode(pairs)).status_code == 200
    pairs += [pair for pair in pairs if pair[0] == name]
    assert is_error(token(app, urlencode(pairs)), 400, "invalid_request")
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in pairs)
    multipart = token(app, parts + "--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert is_error(multipart, 400, "invalid_request")


def test_o3_an_empty_parameter_is_omitted_and_an_unknown_one_ignored(
    app: PatAuthMiddleware, issued: IssuedPat
) -> None:
    """RFC 6749 §3.2."""
    response = token(app, body_of(issued, scope="", foo="1"))
    assert (response.status_code, response.json["scope"]) == (200, "reports:read reports:write")
    empty = {**GRANT, "client_id": "", "client_secret": ""}
    assert token(app, empty, authorization=basic_of(issued)).status_code == 200
    assert is_error(token(app, {"grant_type": ""}), 400, "invalid_request")


def test_o4_both_readings_of_basic_agree(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 6749 §2.3.1: ids and secrets have no character that form-urlencoding would read otherwise."""
    for number in range(3):
        another = issue(authority, f"pat {number}")
        assert re.fullmatch(r"[0-9A-Za-z_]+", another.pat.id + another.secret)

    def escaped(text: str, form: str = "%{:02X}") -> str:
        return "".join(form.format(ord(char)) for char in text)

    every = basic(escaped(issued.pat.id), escaped(issued.secret, "%{:02x}"))
    for value in (basic_of(issued), basic(issued.pat.id, issued.secret.replace("_", "%5F")), every):
        assert token(app, authorization=value).status_code == 200
    assert request(app, "/", authorization=every).status_code == 401, "elsewhere raw only"


def test_o5_a_client_authenticates_once(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 6749 §2.3: credentials in the header and in the body are invalid_request, even the same ones."""
    both = token(app, body_of(issued), authorization=basic_of(issued))
    assert is_error(both, 400, "invalid_request")
    other = token(app, {**GRANT, "client_id": "0" * 32}, authorization=basic_of(issued))
    assert is_error(other, 400, "invalid_request")
    same = token(app, {**GRANT, "client_id": issued.pat.id}, authorization=basic_of(issued))
    assert same.status_code == 200, "the id alone is no second method"


def test_o6_credentials_in_the_url_are_refused_and_not_repeated(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 6749 §2.3.1: they go into the body and never into the URI."""
    for name in ("client_id", "client_secret"):
        response = token(app, body_of(issued), query_string={name: issued.secret})
        assert is_error(response, 400, "invalid_request")
        assert issued.secret not in response.text + str(response.headers)
    shown = RedactingFormatter(logging.Formatter("%(message)s"))
    line = shown.format(logging.makeLogRecord({"msg": f"/oauth/token?client_secret={issued.secret}"}))
    assert issued.secret not in line


def test_o7_a_refused_client_is_401_with_a_challenge(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 6749 §5.2: invalid_client; where Authorization was used, the challenge is of its scheme."""
    wrong = wrong_secret(authority)
    for response in (
        token(app, authorization=basic(issued.pat.id, wrong)),
        token(app, {**body_of(issued), "client_secret": wrong}),
        token(app),
    ):
        assert is_error(response, 401, "invalid_client")
        assert "basic" in challenges(response)


@each(
    ("form", "code"),
    [
        ({"scope": "admin"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
    ],
)
def test_o8_refusals_are_400_in_json_by_their_codes(
    app: PatAuthMiddleware, issued: IssuedPat, form: dict[str, str], code: str
) -> None:
    """RFC 6749 §5.2."""
    response = token(app, body_of(issued, **form))
    assert is_error(response, 400, code)
    assert response.content_type == "application/json"
    assert set(response.json or {}) == {"error", "error_description"}


def test_o9_what_the_token_endpoint_answers_is_never_stored(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """RFC 6749 §5.1: Cache-Control: no-store and Pragma: no-cache, with errors too."""
    seen = [one for why, one in answers(app, authority, issued) if why.startswith("token")]
    assert {one.status_code for one in seen} >= {200, 400, 401, 405, 415}
    for response in seen:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Pragma"] == "no-cache"


def test_o10_the_answer_tells_type_lifetime_and_scope(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 6749 §5.1, §3.3: `scope` is always there; more than is held is refused and not narrowed."""
    response = token(app, body_of(issued, scope="openid reports:write"))
    assert set(response.json or {}) == {"access_token", "token_type", "expires_in", "scope"}
    assert response.json["token_type"] == "Bearer"
    assert (response.json["expires_in"], response.json["scope"]) == (900, "reports:write")
    assert is_error(token(app, body_of(issued, scope="reports:read admin")), 400, "invalid_scope")


def test_o11_scopes_have_their_charset_one_blank_between_and_no_order(
    app: PatAuthMiddleware, issued: IssuedPat
) -> None:
    """RFC 6749 §3.3."""
    for scope in ("reports:read  reports:write", "reports:read\treports:write", '"', "\\", " ", "a ", "\x7f"):
        assert is_error(token(app, body_of(issued, scope=scope)), 400, "invalid_scope"), repr(scope)
    turned = token(app, body_of(issued, scope="reports:write reports:read"))
    assert set(turned.json["scope"].split()) == {"reports:read", "reports:write"}


def test_o12_there_is_no_refresh_token(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """RFC 6749 §4.4.3: none is issued for client credentials, and none is taken."""
    assert "refresh_token" not in token(app, body_of(issued, scope="offline_access")).json
    refreshed = token(app, {**body_of(issued), "grant_type": "refresh_token", "refresh_token": "x"})
    assert is_error(refreshed, 400, "unsupported_grant_type")


def test_o13_a_token_for_another_audience_is_refused(signing: Callable[..., Authority]) -> None:
    """RFC 9700 §2.3, RFC 9068 §4: a token is for the audience in it and with the scopes asked for."""
    here, there = signing(audience="https://a.example"), signing(audience="https://b.example")
    text = access_of(here, issue(here), scope="reports:read")
    assert request(gate_of(here), "/reports/1", authorization=f"Bearer {text}").status_code == 200
    assert request(gate_of(here), "/admin", authorization=f"Bearer {text}").status_code == 403
    refused = request(gate_of(there), "/reports/1", authorization=f"Bearer {text}")
    assert is_error(refused, 401, "invalid_token")


@each("grant", ["password", "implicit", "authorization_code", "refresh_token", "token"])
def test_o14_there_is_no_password_and_no_implicit_grant(
    app: PatAuthMiddleware, issued: IssuedPat, grant: str
) -> None:
    """ASVS 10.4.4, RFC 9700 §2.1.2, §2.4: client_credentials is the only one there is."""
    form = {**body_of(issued), "grant_type": grant, "username": "alice", "password": issued.secret}
    assert is_error(token(app, form), 400, "unsupported_grant_type")
    found = request(app, "/.well-known/oauth-authorization-server").json
    assert found["grant_types_supported"] == ["client_credentials"]


words = st.sets(st.sampled_from(["reports:read", "reports:write", "admin", "x:one", "x:two"]))


@given(held=words.filter(bool), asked=words)
@hypothesis_settings(max_examples=40)
def test_o15_no_more_is_granted_than_was_asked_for_and_is_held(
    authority: Authority, held: set[str], asked: set[str]
) -> None:
    """RFC 6749 §3.3, product: what is granted lies in both; asking beyond what is held is invalid_scope."""
    for pat in authority.list():
        authority.delete(pat.id)
    issued = issue(authority, scope=sorted(held))
    response = token(gate_of(authority), body_of(issued, scope=" ".join(sorted(asked))))
    if asked <= held:
        assert set(response.json["scope"].split()) == (asked or held)
        found = authority.verify_bearer(response.json["access_token"])
        assert found.scopes == (asked or held)
    else:
        assert is_error(response, 400, "invalid_scope")


def test_o16_a_token_ends_with_its_pat(app: PatAuthMiddleware, authority: Authority, clock: Clock) -> None:
    """RFC 6749 §5.1, product: expires_in is at most what the PAT has left."""
    issued = issue(authority, expires_in=timedelta(seconds=7, milliseconds=400))
    found = token(app, body_of(issued)).json
    assert found["expires_in"] == 7
    value = f"Bearer {found['access_token']}"
    clock.advance(7_399)
    assert request(app, "/", authorization=value).status_code == 200
    clock.advance(1)
    assert request(app, "/", authorization=value).status_code == 401


# -- I: introspection ----------------------------------------------------------------------------------------


def test_i1_the_caller_posts_a_form_and_authenticates(
    app: PatAuthMiddleware, issued: IssuedPat, access: str
) -> None:
    """RFC 7662 §2.1: nobody looks at tokens anonymously."""
    assert about(app, "introspect", access, issued).json["active"] is True
    for value in (None, "Basic Og==", "Bearer x"):
        refused = about(app, "introspect", access, issued, authorization=value)
        assert is_error(refused, 401, "invalid_client")
    assert request(app, "/oauth/introspect", authorization=basic_of(issued)).status_code == 405


def test_i2_what_is_not_active_has_one_answer(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat, clock: Clock
) -> None:
    """RFC 7662 §2.2: unknown, expired, revoked and somebody else's are the same bytes."""
    bob = issue(authority, "bob's", owner=Owner("bob"))
    expired = access_of(authority, issued)
    clock.advance(900_000)
    revoked, foreign = access_of(authority, issued), access_of(authority, bob)
    authority.revoke(revoked)
    unknown = authority.operations.format.mint_access_token(issued.pat.id)[0]
    found = [about(app, "introspect", text, issued) for text in (expired, revoked, foreign, unknown, "x")]
    assert {(one.status_code, one.data) for one in found} == {(200, b'{"active": false}')}


def test_i3_a_deleted_pat_makes_its_tokens_inactive_at_once(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat, access: str
) -> None:
    """RFC 7662 §2.2, §4: all is checked before `active` is said, at the next request."""
    caller = issue(authority, "caller")
    assert about(app, "introspect", access, caller).json["active"] is True
    authority.delete(issued.pat.id)
    assert about(app, "introspect", access, caller).json == {"active": False}
    assert about(app, "introspect", issued.token, caller).json == {"active": False}


def test_i4_guessing_secrets_there_is_counted_as_at_the_gate(make_at: Make, clock: Clock) -> None:
    """RFC 7662 §4, product: wrong PAT tokens and wrong Basic secrets share one failure quota."""
    authority = make_at(clock=clock, failure_quota="4/60")
    app, issued = gate_of(authority), issue(authority)
    wrong = authority.operations.format.token_text(issued.pat.id, bytes(32))
    bad = basic(issued.pat.id, wrong_secret(authority))
    for _ in range(2):
        assert about(app, "introspect", wrong, issued).json == {"active": False}
        assert request(app, "/", authorization=bad).status_code == 401
    assert about(app, "introspect", wrong, issued).status_code == 429
    assert request(app, "/", authorization=bad).status_code == 429
    assert about(app, "introspect", issued.token, issued).json["active"] is True


# -- V: revocation -------------------------------------------------------------------------------------------


def test_v1_a_client_ends_its_own_tokens_and_no_others(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat, access: str
) -> None:
    """RFC 7009 §2.1: the client authenticates, and the token was issued to it."""
    bob = issue(authority, "bob's", owner=Owner("bob"))
    assert is_error(about(app, "revoke", access, issued, authorization=None), 401, "invalid_client")
    about(app, "revoke", access, bob)
    about(app, "revoke", issued.token, bob)
    assert request(app, "/", authorization=f"Bearer {access}").status_code == 200
    assert about(app, "revoke", access, issued).status_code == 200
    assert request(app, "/", authorization=f"Bearer {access}").status_code == 401


def test_v2_an_unknown_token_is_200_with_the_same_body(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat, access: str
) -> None:
    """RFC 7009 §2.2: what is not there is revoked already."""
    unknown = authority.operations.format.mint_access_token(issued.pat.id)[0]
    found = [about(app, "revoke", text, issued) for text in (access, access, unknown, "x", "ä")]
    assert len({(one.status_code, one.data) for one in found}) == 1
    assert found[0].status_code == 200


def test_v3_without_a_store_it_is_503(storeless: PatAuthMiddleware, issued: IssuedPat, access: str) -> None:
    """RFC 7009 §2.2.1: the client assumes that the token lives, and comes back after Retry-After."""
    for text in (access, issued.token):
        response = about(storeless, "revoke", text, issued)
        assert is_error(response, 503, "temporarily_unavailable")
        assert int(response.headers["Retry-After"]) >= 1


def test_v4_a_revocation_that_is_not_durable_is_not_acknowledged(
    make_at: Make, authority: Authority, issued: IssuedPat, access: str, clock: Clock
) -> None:
    """RFC 7009 §2.2, product: 2xx only once as many replicas have it as the setting says; repeats too."""
    careful = gate_of(make_at(clock=clock, durability="replicas:1", durability_timeout=0.01))
    for _ in range(2):
        response = about(careful, "revoke", access, issued)
        assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert not authority.introspect(access).active, "gone all the same"


# -- X: token exchange ---------------------------------------------------------------------------------------


def test_x1_token_exchange_is_not_offered(app: PatAuthMiddleware, issued: IssuedPat, access: str) -> None:
    """RFC 8693 §2.1: its grant type is an unsupported one, with and without its parameters."""
    urn = "urn:ietf:params:oauth:"
    subject = {"subject_token": access, "subject_token_type": f"{urn}token-type:access_token"}
    for more in ({}, subject):
        form = {**body_of(issued, **more), "grant_type": f"{urn}grant-type:token-exchange"}
        assert is_error(token(app, form), 400, "unsupported_grant_type")


# -- J: signed access tokens ---------------------------------------------------------------------------------


class Signed:
    """An Authority that signs, a token of it, and forgeries of that with the right key or another."""

    def __init__(self, signing: Callable[..., Authority], tmp_path: Path, clock: Clock) -> None:
        self.authority = signing()
        self.issued = issue(self.authority)
        self.token = access_of(self.authority, self.issued)
        header, payload, _ = self.token.split(".")
        self.header, self.claims = (json.loads(_decoded(part)) for part in (header, payload))
        self.key = SigningKeys(tmp_path / "keys").signer()
        self.verifier = JWTVerifier(self.authority.jwks(), issuer=ISSUER, clock=lambda: clock.now / 1000)
        self.gate = gate_of(self.authority)

    def by(self, sign: Callable[[bytes], bytes], header: dict[str, Any], claims: dict[str, Any]) -> str:
        message = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{message}.{_encoded(sign(message.encode()))}"

    def forged(self, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
        """By the right key; its claims are those of a token whose record is there."""
        return self.by(self.key.sign, header or self.header, claims or self.claims)

    def passes(self, text: str) -> list[bool]:
        """With the store and without."""
        status = request(self.gate, "/", authorization=f"Bearer {text}").status_code
        assert status in (200, 401)
        try:
            self.verifier.verify(text)
        except InvalidToken:
            return [status == 200, False]
        return [status == 200, True]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def signed(signing: Callable[..., Authority], tmp_path: Path, clock: Clock) -> Signed:
    found = Signed(signing, tmp_path, clock)
    assert found.passes(found.token) == found.passes(found.forged()) == [True, True]
    return found


def test_j1_the_type_is_at_jwt_and_the_key_asymmetric(signed: Signed) -> None:
    """RFC 9068 §2.1: never none, never HMAC with the public key, never another type of token."""
    assert (signed.header["typ"], signed.header["alg"]) == ("at+jwt", "ES256")
    public = json.dumps(signed.authority.jwks()["keys"][0]).encode()
    for alg in ("none", "None", "NONE", ""):
        header = {**signed.header, "alg": alg}
        assert signed.passes(signed.by(lambda _: b"", header, signed.claims)) == [False, False]
        assert signed.passes(signed.forged(header)) == [False, False]
    for key in (public, signed.key.kid.encode(), _decoded(signed.authority.jwks()["keys"][0]["x"]), b""):

        def mac(message: bytes, key: bytes = key) -> bytes:
            return hmac.digest(key, message, hashlib.sha256)

        assert signed.passes(signed.by(mac, {**signed.header, "alg": "HS256"}, signed.claims)) == [False] * 2
    for typ in ("JWT", "jwt", "id_token+jwt", "", None):
        assert signed.passes(signed.forged({**signed.header, "typ": typ})) == [False, False], typ


@each("claim", ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"])
def test_j2_each_claim_is_there_or_it_is_401(signed: Signed, claim: str) -> None:
    """RFC 9068 §2.2 (GHSA-wxg7: a missing exp was for ever), although signed by the right key."""
    assert claim in signed.claims
    without = {name: value for name, value in signed.claims.items() if name != claim}
    assert signed.passes(signed.forged(claims=without)) == [False, False]
    assert signed.passes(signed.forged(claims={**without, claim: None})) == [False, False]


def test_j3_no_key_is_taken_from_the_header_and_no_crit_is_ignored(signed: Signed, tmp_path: Path) -> None:
    """RFC 8725 §3.1, §3.10, RFC 7515 §4.1.11, ASVS 9.1.2: algorithms and keys are ours to choose."""
    SigningKeys(tmp_path / "evil").rotate()
    evil = SigningKeys(tmp_path / "evil").signer()
    jwk = dict(evil.jwk())
    for header in (
        {**signed.header, "jwk": jwk},
        {**signed.header, "kid": evil.kid, "jwk": jwk},
        {**signed.header, "jku": "https://evil.example/keys"},
        {**signed.header, "x5u": "https://evil.example/cert"},
        {**signed.header, "x5c": ["AAAA"]},
        signed.header,
    ):
        assert signed.passes(signed.by(evil.sign, header, signed.claims)) == [False, False]
    for more in ({"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": ["b64"], "b64": True}, {"alg": "ES384"}):
        assert signed.passes(signed.forged({**signed.header, **more})) == [False, False], more


def test_j4_a_revoked_jwt_ends_at_once_where_there_is_a_store(
    signed: Signed, signing: Callable[..., Authority]
) -> None:
    """ASVS 7.4.1, RFC 7009 §2: its record under `jti` is gone; a verifier without a store says what it is."""
    elsewhere = gate_of(signing())
    value = f"Bearer {signed.token}"
    assert request(elsewhere, "/", authorization=value).status_code == 200
    assert about(signed.gate, "revoke", signed.token, signed.issued).status_code == 200
    assert is_error(request(elsewhere, "/", authorization=value), 401, "invalid_token")
    assert signed.passes(signed.token) == [False, True]
    assert "a revoked token" in (JWTVerifier.__doc__ or "")
    assert signed.passes(signed.forged(claims={**signed.claims, "jti": "A" * 32})) == [False, True]


def test_j5_a_long_one_is_refused_by_its_length(signed: Signed) -> None:
    """RFC 8725 §3.11 (GHSA-pq5p): a megabyte takes less than 64 KiB, so it was not decoded."""
    text = f"{'e' * 1_000_000}.e.{'e' * 86}"
    value = f"Bearer {text}"

    def refuse() -> None:
        with pytest.raises(InvalidCredentials):
            signed.authority.authenticate(value)
        with pytest.raises(InvalidToken):
            signed.verifier.verify(text)

    assert signed.passes(text) == [False, False]
    refuse()
    tracemalloc.start()
    try:
        refuse()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65_536


# -- M: metadata ---------------------------------------------------------------------------------------------


def test_m1_the_metadata_lists_what_a_probe_finds_working(
    app: PatAuthMiddleware, issued: IssuedPat, access: str
) -> None:
    """RFC 8414 §2, §3.2: the issuer exactly, in JSON, what is required, and only what works."""
    response = request(app, "/.well-known/oauth-authorization-server")
    assert (response.status_code, response.content_type) == (200, "application/json")
    found: dict[str, Any] = response.json or {}
    assert found["issuer"] == ISSUER
    assert {"token_endpoint", "response_types_supported"} <= set(found)

    secret = {"client_id": issued.pat.id, "client_secret": issued.secret}
    ways: dict[str, dict[str, Any]] = {
        "client_secret_basic": {"authorization": basic_of(issued), "data": {}},
        "client_secret_post": {"data": secret},
        "Bearer": {"authorization": f"Bearer {access}", "data": {}},
    }
    probes = 0
    for endpoint, form in {
        "token": GRANT,
        "introspection": {"token": "x"},
        "revocation": {"token": "x"},
    }.items():
        path = found[f"{endpoint}_endpoint"].removeprefix(ISSUER)
        for method in found[f"{endpoint}_endpoint_auth_methods_supported"]:
            given = {**ways[method], "data": {**ways[method]["data"], **form}}
            assert request(app, path, method="POST", **given).status_code == 200, (endpoint, method)
            probes += 1
    assert probes == 7
    for issuer in (
        "http://pats.example",
        "pats.example",
        "https://pats.example/?x",
        "https://pats.example#x",
    ):
        with pytest.raises(ConfigurationError):
            Settings.of(store_url="memory:", issuer=issuer)
    for issuer in ("http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000"):
        assert Settings.of(store_url="memory:", issuer=issuer).issuer == issuer
