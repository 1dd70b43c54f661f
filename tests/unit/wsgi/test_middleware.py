"""The gate before an application: who gets through, with what, and how refusals are answered."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import http_sf
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.testclient import TestClient
from werkzeug.http import parse_list_header

from patauth import (
    Authority,
    ConfigurationError,
    IssuedPat,
    Owner,
    PatAuthError,
    PatAuthMiddleware,
    Principal,
)
from patauth.asgi import PatAuthMiddleware as AsgiMiddleware
from patauth.flask import PatAuth
from patauth.model.caller import Person
from tests.support.asgi import Echo as AsgiEcho
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import Echo, request


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority)


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def gate(app: Echo, authority: Authority) -> PatAuthMiddleware:
    return PatAuthMiddleware(
        app,
        authority,
        public=["/healthz", "/static/*"],
        require={
            "GET /reports/*": "reports:read",
            "POST /reports/*": ["reports:read", "reports:write"],
            "/admin": "admin",
        },
    )


def challenges(response: Any) -> dict[str, str]:
    """Scheme -> the rest, of each WWW-Authenticate field."""
    return dict(field.split(" ", 1) for field in response.headers.getlist("WWW-Authenticate"))


def test_good_credentials_reach_the_application_with_a_principal(
    gate: PatAuthMiddleware, app: Echo, authority: Authority, issued: IssuedPat
) -> None:
    access = authority.exchange(issued.pat.id, issued.secret)
    for value, method, auth_type in [
        (basic_of(issued), "basic", "Basic"),
        ("bEaReR " + issued.token, "pat", "Bearer"),
        ("Bearer   " + access.value, "access_token", "Bearer"),
    ]:
        response = request(gate, "/reports/1", authorization=value)
        assert (response.status_code, response.json["who"], response.json["user"]) == (200, "alice", "alice")
        seen = app.seen[-1]
        principal: Principal = seen["patauth.principal"]
        assert (principal.method, seen["AUTH_TYPE"]) == (method, auth_type)
        assert seen["patauth.scopes"] == {"reports:read", "reports:write"}
        assert "HTTP_AUTHORIZATION" not in seen
        assert response.headers["X-App"] == "echo"


def test_a_success_tells_what_is_left_of_the_quota_in_fields_of_rfc_9651(
    gate: PatAuthMiddleware, issued: IssuedPat
) -> None:
    response = request(gate, "/", authorization=basic_of(issued))
    policy = http_sf.parse(response.headers["RateLimit-Policy"].encode(), tltype="list")
    limit = http_sf.parse(response.headers["RateLimit"].encode(), tltype="list")
    assert policy == [("requests", {"q": 100, "w": 10})]
    assert limit == [("requests", {"r": 99, "t": 1})]


def test_without_credentials_the_challenge_names_no_error(gate: PatAuthMiddleware, app: Echo) -> None:
    for environ in ({}, {"HTTP_AUTHORIZATION": ""}, {"QUERY_STRING": "access_token=pata_x"}):
        response = request(gate, "/reports/1", environ=environ)
        assert response.status_code == 401
        assert response.json == {"error": "unauthorized"}
        assert challenges(response) == {
            "Basic": 'realm="patauth", charset="UTF-8"',
            "Bearer": 'realm="patauth"',
        }
    assert app.seen == []


def refused_values(authority: Authority, issued: IssuedPat) -> Iterator[tuple[str, str]]:
    wrong, good = wrong_secret(authority), basic_of(issued)
    yield "wrong secret", basic(issued.pat.id, wrong)
    yield "unknown id", basic("0" * 32, wrong)
    yield "no colon", "Basic YWJj"
    yield "empty Basic", "Basic Og=="
    yield "Basic alone", "Basic"
    yield "Bearer alone", "Bearer "
    yield "blank", " "
    yield "scheme alone", "Digest x"
    yield "secret as bearer", "Bearer " + issued.secret
    yield "cut", good[:-4]
    yield "not canonical", good + "="
    yield "garbage inside", good[:20] + "!" + good[20:]
    yield "tab", good.replace(" ", "\t", 1)
    yield "latin-1", "Basic \xe9\xe9\xe9\xe9"
    yield "too long", "Bearer " + "a" * 2000
    yield "stored digest as secret", basic(issued.pat.id, "a" * 64)


def test_every_refused_credential_has_one_answer_byte_for_byte(
    gate: PatAuthMiddleware, authority: Authority, issued: IssuedPat, app: Echo
) -> None:
    """S3: unknown, wrong and deleted cannot be told apart; B4, B9: with both challenges, never cached."""
    gone = issue(authority, "gone")
    authority.delete(gone.pat.id)
    known = {"deleted": basic_of(gone), **dict(refused_values(authority, issued))}
    answers = {}
    for label, value in known.items():
        response = request(gate, "/reports/1", authorization=value)
        assert response.status_code == 401, label
        assert response.json["error"] == "invalid_token", label
        assert response.headers["Cache-Control"] == "no-store"
        assert 'error="invalid_token"' in challenges(response)["Bearer"]
        assert challenges(response)["Basic"] == 'realm="patauth", charset="UTF-8"'
        answers[label] = (response.data, tuple(response.headers))
    assert answers["wrong secret"] == answers["unknown id"] == answers["deleted"]
    assert app.seen == []


@each("join", [",", ", ", " , "])
def test_combined_authorization_values_are_refused_with_neither_tried(
    gate: PatAuthMiddleware, issued: IssuedPat, app: Echo, join: str
) -> None:
    good = basic_of(issued)
    for value in (
        good + join + "Bearer x",
        good + join + good,
        "Bearer " + issued.token + join + good,
        "Foo a=b, " + good,
    ):
        response = request(gate, "/reports/1", authorization=value)
        assert (response.status_code, response.json["error"]) == (400, "invalid_request")
    both = request(gate, "/", authorization=good, query_string={"access_token": "x"})
    assert (both.status_code, both.json["error"]) == (400, "invalid_request")
    assert app.seen == []


def test_scopes_decide_alike_for_every_scheme(authority: Authority, gate: PatAuthMiddleware) -> None:
    """R8: scheme x scopes x route."""
    for number, scopes in enumerate([["reports:read"], ["reports:read", "reports:write"], ["admin"], ["x"]]):
        issued = issue(authority, f"pat {number}", scope=scopes)
        access = authority.exchange(issued.pat.id, issued.secret)
        values = [basic_of(issued), "Bearer " + issued.token, "Bearer " + access.value]
        for method, path, needed in [
            ("GET", "/reports/1", {"reports:read"}),
            ("HEAD", "/reports/1", {"reports:read"}),
            ("POST", "/reports/1", {"reports:read", "reports:write"}),
            ("GET", "/admin", {"admin"}),
            ("PUT", "/admin", {"admin"}),
            ("DELETE", "/reports/1", None),
            ("GET", "/free", set()),
        ]:
            allowed = needed is not None and needed <= set(scopes)
            for value in values:
                response = request(gate, path, method=method, authorization=value)
                assert response.status_code == (200 if allowed else 403), (method, path, scopes)
                if not allowed and method != "HEAD":
                    assert response.json["error"] == "insufficient_scope"
                    challenge = challenges(response)["Bearer"]
                    assert 'error="insufficient_scope"' in challenge
                    if needed:
                        assert f'scope="{" ".join(sorted(needed))}"' in challenge


def test_an_expired_pat_is_told_so_with_its_right_secret(
    gate: PatAuthMiddleware, authority: Authority, clock: Clock
) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=1))
    clock.advance(1000)
    response = request(gate, "/", authorization=basic_of(issued))
    assert response.status_code == 401
    assert response.json == {
        "error": "invalid_token",
        "error_description": "the personal access token has expired",
    }
    assert 'error_description="the personal access token has expired"' in challenges(response)["Bearer"]


def test_past_the_quota_429_says_when_to_come_back(
    gate: PatAuthMiddleware, authority: Authority, clock: Clock
) -> None:
    """L1-L6."""
    issued = issue(authority, request_quota="2/30")
    for _ in range(2):
        assert request(gate, "/", authorization=basic_of(issued)).status_code == 200
    response = request(gate, "/", authorization=basic_of(issued))
    assert response.status_code == 429
    assert response.data == b'{"message":" Rate Limit Exceeded "}'
    assert response.headers["Retry-After"] == "15"
    assert response.headers["Cache-Control"] == "no-store"
    limit = http_sf.parse(response.headers["RateLimit"].encode(), tltype="list")
    assert limit == [("requests", {"r": 0, "t": 15})]
    clock.advance(15_000)
    assert request(gate, "/", authorization=basic_of(issued)).status_code == 200


def test_refusals_from_one_address_turn_into_429_and_the_right_secret_passes(
    gate: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """W7: the address is REMOTE_ADDR, whatever X-Forwarded-For says."""
    wrong = basic(issued.pat.id, wrong_secret(authority))
    statuses = [
        request(gate, "/", authorization=wrong, headers={"X-Forwarded-For": f"10.0.0.{number}"}).status_code
        for number in range(22)
    ]
    assert statuses == [401] * 20 + [429] * 2
    assert request(gate, "/", authorization="Basic Og==").status_code == 401, "wrong shapes do not count"
    assert request(gate, "/", authorization=basic_of(issued)).status_code == 200


def test_behind_a_trusted_proxy_the_address_is_what_it_says(make: Make, app: Echo) -> None:
    authority = make(trusted_proxies=1, failure_quota="1/60")
    gate = PatAuthMiddleware(app, authority)
    wrong = basic("0" * 32, wrong_secret(authority))

    def status(forwarded: str) -> int:
        return request(gate, "/", authorization=wrong, headers={"X-Forwarded-For": forwarded}).status_code

    assert status("1.1.1.1, 198.51.100.1") == 401
    assert status("2.2.2.2, 198.51.100.1") == 429, "only what the proxy added counts"
    assert status("1.1.1.1, 198.51.100.2") == 401


def test_public_routes_ignore_credentials_and_carry_no_identity(gate: PatAuthMiddleware, app: Echo) -> None:
    forged = {"REMOTE_USER": "root", "AUTH_TYPE": "x", "HTTP_REMOTE_USER": "root", "HTTP_PATAUTH_ID": "1"}
    forged |= {"patauth.principal": "root", "patauth.scopes": "all", "HTTP_PATAUTH": "x"}
    for path in ("/healthz", "/static/app.js"):
        response = request(gate, path, authorization="Basic garbage", environ=forged)
        assert (response.status_code, response.json["who"]) == (200, None)
        assert "RateLimit" not in response.headers
        seen = app.seen[-1]
        assert not {"REMOTE_USER", "AUTH_TYPE", "patauth.principal", "patauth.scopes"} & set(seen)
        assert not [name for name in seen if name.startswith(("HTTP_PATAUTH", "HTTP_REMOTE_USER"))]


def test_a_guard_remembers_few_of_the_names_that_clients_choose_and_removes_each_identity(
    gate: PatAuthMiddleware, app: Echo
) -> None:
    """However many a request has, and however often they change."""
    for count in (1, 60, 600):
        for turn in range(1200 // count):
            names = {f"HTTP_X_{count}_{turn}_{at}": "" for at in range(count)}
            forged = {"REMOTE_USER": "root", "HTTP_PATAUTH_ID": "1", "HTTP_REMOTE_USER": "root"}
            assert request(gate, "/healthz", environ={**names, **forged}).status_code == 200
            assert names.keys() <= app.seen[-1].keys()
            assert not forged.keys() & app.seen[-1].keys()
            assert len(gate._harmless) <= 512


@each(
    "path",
    ["/static/../reports/1", "/static/..%2freports", "/static/a;/../../x", "/reports/1;x/../../b", "/a\x00"],
)
def test_an_odd_path_is_refused_before_its_credentials_are_looked_at(
    gate: PatAuthMiddleware, issued: IssuedPat, app: Echo, path: str
) -> None:
    response = request(gate, raw_path=path, authorization=basic_of(issued))
    assert (response.status_code, response.json["error"]) == (400, "invalid_request")
    assert app.seen == []


ODD_AND_FINE = [
    "/r/http://e.org/x", "/r/DOMAIN\\user", "/r/a;b", "/r/a;v=1", "//", "/r//x", "/r/what?", "/r/C#",
]  # fmt: skip


def test_an_odd_path_reaches_an_app_that_is_protected_as_a_whole(
    authority: Authority, issued: IssuedPat, app: Echo
) -> None:
    """FINDINGS A22: 0.1.0 refused them all."""
    options: list[dict[str, Any]] = [{}, {"public": ["/x"]}, {"require": {"GET /r*": "reports:read"}}]
    for given in options:
        gate = PatAuthMiddleware(app, authority, **given)
        for path in ODD_AND_FINE:
            assert request(gate, raw_path=path).status_code == 401
            assert request(gate, raw_path=path, authorization=basic_of(issued)).json["path"] == path


def test_an_environ_without_a_method_is_a_get(authority: Authority, app: Echo) -> None:
    """For the gate and for the application alike; 0.1.0 raised KeyError (FINDINGS A22)."""
    gate = PatAuthMiddleware(app, authority, public=["/*"], require={"POST /r": "x"})
    expected = {"/": "200 OK", "/r": "401 Unauthorized", "/oauth/token": "405 Method Not Allowed"}
    for path, status in expected.items():
        statuses: list[str] = []
        gate({"PATH_INFO": path}, lambda status, *_, seen=statuses: seen.append(status))  # type: ignore[misc]
        assert statuses == [status], path
    assert [seen["REQUEST_METHOD"] for seen in app.seen] == ["GET"]


class TestOptional:
    """Session or token: without credentials there is no principal, and those that are sent must be good."""

    @pytest.fixture
    def gate(self, app: Echo, authority: Authority) -> PatAuthMiddleware:
        return PatAuthMiddleware(
            app, authority, optional=["/feed*"], require={"POST /feed/new": "reports:write"}
        )

    def test_without_credentials_there_is_no_principal(self, gate: PatAuthMiddleware, app: Echo) -> None:
        for headers in ({}, {"Authorization": ""}, {"Cookie": "session=1"}):
            response = request(gate, "/feed", headers=headers, environ={"patauth.principal": "forged"})
            assert (response.status_code, response.json["who"], response.json["user"]) == (200, None, None)
            assert "RateLimit" not in response.headers
        assert app.seen[-1]["HTTP_COOKIE"] == "session=1"

    def test_credentials_that_are_sent_must_be_good(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat, authority: Authority
    ) -> None:
        assert request(gate, "/feed", authorization=basic_of(issued)).json["who"] == "alice"
        reached = len(app.seen)
        bad = {
            basic(issued.pat.id, wrong_secret(authority)): 401,
            "Bearer x": 401,
            "Digest x": 401,
            basic_of(issued) + ", Bearer x": 400,
        }
        for value, status in bad.items():
            assert request(gate, "/feed", authorization=value).status_code == status, value
        limited = issue(authority, name="limited", request_quota="1/60")
        statuses = [request(gate, "/feed", authorization=basic_of(limited)).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert len(app.seen) == reached + 1

    def test_a_path_with_a_rule_is_never_optional(self, gate: PatAuthMiddleware, issued: IssuedPat) -> None:
        assert request(gate, "/feed/new", method="POST").status_code == 401
        assert request(gate, "/feed/new").status_code == 401
        assert request(gate, "/feed/new", authorization=basic_of(issued)).status_code == 403
        good = request(gate, "/feed/new", method="POST", authorization=basic_of(issued))
        assert good.status_code == 200

    def test_a_callable_that_demands_something_makes_the_path_protected(
        self, app: Echo, authority: Authority, issued: IssuedPat
    ) -> None:
        def require(environ: dict[str, Any]) -> Iterable[str] | None:
            return {"/free": (), "/one": "reports:read", "/none": None}[environ["PATH_INFO"]]

        gate = PatAuthMiddleware(app, authority, optional=["/*"], require=require)
        for path, without, with_credentials in (("/free", 200, 200), ("/one", 401, 200), ("/none", 401, 403)):
            assert request(gate, path).status_code == without
            assert request(gate, path, authorization=basic_of(issued)).status_code == with_credentials


class TestOnRefusal:
    def test_it_words_the_refusal_and_the_rest_is_patauths(
        self, app: Echo, authority: Authority, issued: IssuedPat
    ) -> None:
        seen: list[tuple[dict[str, Any], PatAuthError]] = []

        def on_refusal(environ: dict[str, Any], error: PatAuthError) -> tuple[str, str]:
            seen.append((environ, error))
            return f"<h1>{error.status}: für {environ['PATH_INFO']!r}</h1>", "text/html; charset=utf-8"

        gate = PatAuthMiddleware(
            app, authority, on_refusal=on_refusal, token_headers=["X-API-Key"], require={"/x": "a"}
        )
        limited = issue(authority, name="limited", request_quota="1/60")
        request(gate, "/", authorization=basic_of(limited))
        for path, authorization, status, field in (
            ("/", None, 401, "WWW-Authenticate"),
            ("/x", basic_of(issued), 403, "WWW-Authenticate"),
            ("/", basic_of(limited), 429, "Retry-After"),
            ("/a\n", basic_of(issued), 400, "Cache-Control"),
        ):
            response = request(
                gate, "/?q=secret", raw_path=path, authorization=authorization, method="POST", data="body",
                headers={"Cookie": "session=1", "X-API-Key": "", "Accept": "text/html"},
                environ={"RAW_URI": "/?q=secret"},
            )  # fmt: skip
            assert response.status_code == status
            assert response.text == f"<h1>{status}: für {path!r}</h1>"
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert response.headers["Cache-Control"] == "no-store"
            assert field in response.headers
            environ, error = seen[-1]
            assert (error.status, environ["HTTP_ACCEPT"], environ["QUERY_STRING"]) == (
                status, "text/html", "",
            )  # fmt: skip
            assert environ["wsgi.input"].read() == b""
            hidden = {"HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_X_API_KEY", "RAW_URI", "CONTENT_LENGTH"}
            assert hidden.isdisjoint(environ)
        assert [one["PATH_INFO"] for one in app.seen] == ["/"]

    def test_none_is_the_usual_answer_and_so_is_a_failure(
        self, app: Echo, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(environ: dict[str, Any], error: PatAuthError) -> Any:
            raise RuntimeError("Bearer " + "x" * 40)

        usual = request(PatAuthMiddleware(app, authority), "/")
        wrong: list[Any] = [
            7, "ab", ("x",), ("x", "text/plain", 1), ["x", "text/plain"], {"x": 1, "text/plain": 2},
            ("x", "text/html\r\nA: b"), (["x"], "text/html"), ("x", ""), ("x", None), (5, "text/plain"),
            (bytearray(b"x"), "text/plain"),
        ]  # fmt: skip
        for given in wrong:
            caplog.clear()
            gate = PatAuthMiddleware(app, authority, on_refusal=lambda *_, given=given: given)
            assert request(gate, "/").data == usual.data
            assert "on_refusal: return (body, content type) or None" in caplog.text
        caplog.clear()
        for on_refusal in (lambda *_: None, broken):
            response = request(PatAuthMiddleware(app, authority, on_refusal=on_refusal), "/")
            assert (response.status_code, response.data) == (401, usual.data)
            assert response.headers == usual.headers
        assert "xxxx" not in caplog.text
        assert "in broken" in caplog.text

    def test_it_is_not_asked_about_patauths_own_routes(self, app: Echo, authority: Authority) -> None:
        gate = PatAuthMiddleware(app, authority, on_refusal=lambda *_: ("mine", "text/plain"))
        assert request(gate, "/oauth/token", method="POST").text != "mine"
        refused = request(gate, "/", method="HEAD")
        assert (refused.data, refused.headers["Content-Length"]) == (b"", "4")

    def test_what_cannot_be_called_is_refused_at_the_start(self, app: Echo, authority: Authority) -> None:
        with pytest.raises(ConfigurationError, match="on_refusal: "):
            PatAuthMiddleware(app, authority, on_refusal="page.html")  # type: ignore[arg-type]


def test_the_authorization_is_kept_only_when_asked_for(make: Make, app: Echo) -> None:
    authority = make(keep_authorization=True)
    issued = issue(authority)
    request(PatAuthMiddleware(app, authority), "/", authorization=basic_of(issued))
    assert app.seen[-1]["HTTP_AUTHORIZATION"] == basic_of(issued)


def test_require_may_be_a_callable_of_the_environ(
    authority: Authority, app: Echo, issued: IssuedPat, caplog: pytest.LogCaptureFixture
) -> None:
    def require(environ: dict[str, Any]) -> Iterable[str] | None:
        return {"/none": None, "/free": (), "/one": "reports:read", "/two": ["x"]}[environ["PATH_INFO"]]

    gate = PatAuthMiddleware(app, authority, public=["/public"], require=require)
    for path, status in {"/none": 403, "/free": 200, "/one": 200, "/two": 403, "/public": 200}.items():
        assert request(gate, path, authorization=basic_of(issued)).status_code == status, path
    assert request(gate, "/free").status_code == 401
    reached = len(app.seen)
    with caplog.at_level(logging.CRITICAL):
        response = request(gate, "/boom", authorization=basic_of(issued))
    assert (response.status_code, response.json["error"]) == (500, "server_error")
    assert len(app.seen) == reached


def test_the_text_of_a_failed_require_is_logged_at_debug_alone_and_without_credentials(
    authority: Authority, app: Echo, issued: IssuedPat, caplog: pytest.LogCaptureFixture
) -> None:
    """FINDINGS A12: it may repeat the whole environ."""

    def require(environ: dict[str, Any]) -> Iterable[str] | None:
        raise LookupError(f"no rule for {environ}")

    gate = PatAuthMiddleware(app, authority, require=require)
    for authorization, secret in (
        (basic_of(issued), basic_of(issued)[6:]),
        (f"Bearer {issued.token}", issued.token),
    ):
        for level in (logging.INFO, logging.DEBUG):
            caplog.clear()
            with caplog.at_level(level, "patauth"):
                assert request(gate, "/x", authorization=authorization).status_code == 500
            assert secret not in caplog.text
            assert "LookupError" in caplog.text
            assert "in require" in caplog.text
            assert ("no rule for {'" in caplog.text) == (level == logging.DEBUG)


def test_the_applications_body_and_close_are_untouched(authority: Authority, issued: IssuedPat) -> None:
    """W2: a generator, its close(), and the request's body, read by nobody but the application."""
    closed = []

    class Body:
        def __init__(self, data: bytes) -> None:
            self.parts = iter([data[:3], data[3:]])

        def __iter__(self) -> Body:
            return self

        def __next__(self) -> bytes:
            return next(self.parts)

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Any) -> Body:
        start_response("201 Created", [("Content-Type", "text/plain")])
        return Body(environ["wsgi.input"].read(100))

    gate = PatAuthMiddleware(app, authority)
    response = request(gate, "/", method="POST", data=b"streamed body", authorization=basic_of(issued))
    assert (response.status_code, response.data) == (201, b"streamed body")
    assert closed == [True]


def test_the_very_iterable_of_the_application_is_returned(authority: Authority, issued: IssuedPat) -> None:
    body = io.BytesIO(b"x")
    gate = PatAuthMiddleware(lambda environ, start: body, authority)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": basic_of(issued)}
    assert gate(environ, lambda *_: lambda data: None) is body


def test_an_error_after_the_start_is_passed_on(authority: Authority, issued: IssuedPat) -> None:
    """PEP 3333's exc_info reaches the server as it was given, and its write() the application."""
    import sys

    given = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            raise RuntimeError
        except RuntimeError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())(b"written")
        return [b""]

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        given.append((status, exc_info[0]))
        return given.append

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": basic_of(issued)}
    PatAuthMiddleware(app, authority)(environ, start)
    assert given == [("500 Oops", RuntimeError), b"written"]


def test_head_gets_the_fields_of_a_refusal_without_its_body(gate: PatAuthMiddleware) -> None:
    response = request(gate, "/", method="HEAD")
    assert (response.status_code, response.data) == (401, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_wrong_options_are_refused_at_start(authority: Authority, app: Echo) -> None:
    for options in (
        {"protect": "/x"},
        {"public": ["x"]},
        {"require": {"GET /x": ""}},
        {"surfaces": ["isc!"]},
        {"identify": "alice"},
        {"identify": True},
    ):
        with pytest.raises(ConfigurationError):
            PatAuthMiddleware(app, authority, **options)  # type: ignore[arg-type]


def test_the_token_endpoint_belongs_to_the_application_when_its_surface_is_off(
    authority: Authority, app: Echo
) -> None:
    gate = PatAuthMiddleware(app, authority, surfaces=[])
    assert request(gate, "/oauth/token", method="POST").status_code == 401


def test_identify_opens_nothing_of_the_application(authority: Authority, app: Echo) -> None:
    """Nor is it asked there: a person's cookie is no credential of the application's API."""
    asked: list[dict[str, Any]] = []

    def identify(environ: dict[str, Any]) -> Person:
        asked.append(environ)
        return Person(Owner("alice"), ["reports:read"])

    same = {"Sec-Fetch-Site": "same-origin", "Cookie": "session=1"}
    gate = PatAuthMiddleware(
        app, authority, public=["/healthz"], surfaces=["oauth", "isc"], identify=identify
    )
    for path in ("/", "/reports/1", "/personal-access-tokens/v1/", "/v4/personal-access-tokens"):
        assert request(gate, path, headers=same).status_code == 401, path
    assert request(gate, "/oauth/token", method="POST", headers=same).status_code != 200
    assert app.seen == []
    assert request(gate, "/healthz", headers=same).json["who"] is None
    assert asked == []
    assert request(gate, "/personal-access-tokens/v1/self", headers=same).status_code == 404
    assert len(asked) == 1


def test_a_request_to_the_application_costs_its_routes_one_look_up(authority: Authority) -> None:
    """Whatever surfaces are on: its path is never taken apart."""

    class Path(str):
        def split(self, *_: Any) -> Any:
            raise AssertionError("the path was taken apart")

        partition = __getitem__ = split

    for surfaces in ([], ["oauth"], ["oauth", "isc"]):
        gate = PatAuthMiddleware(Echo(), authority, surfaces=surfaces)
        assert gate._own_route({"PATH_INFO": Path("/reports/1")}) is None


def test_patauths_own_routes_obey_no_rule_of_the_application(authority: Authority, app: Echo) -> None:
    gate = PatAuthMiddleware(app, authority, require={"/oauth/*": "admin"})
    response = request(gate, "/oauth/token", method="GET")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert request(gate, "/oauth/token/", method="POST").status_code == 401
    assert app.seen == []


def test_the_store_gone_is_503_with_retry_after_on_every_protected_route(make_at: Make, app: Echo) -> None:
    authority = make_at(url="unix:///nonexistent/socket")
    gate = PatAuthMiddleware(app, authority, public=["/healthz"])
    some = basic("0" * 32, wrong_secret(authority))
    token, _ = authority.operations.format.mint_access_token("0" * 32)
    for value in (some, "Bearer " + token):
        response = request(gate, "/x", authorization=value)
        assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Cache-Control"] == "no-store"
    form = {
        "grant_type": "client_credentials",
        "client_id": "0" * 32,
        "client_secret": wrong_secret(authority),
    }
    response = request(gate, "/oauth/token", method="POST", data=form)
    assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert request(gate, "/healthz").status_code == 200
    assert request(gate, "/x").status_code == 401, "no credentials, no question"


def test_an_engine_that_cannot_be_had_is_503_and_says_nothing_of_this_machine(
    make_at: Make, app: Echo, tmp_path: Path
) -> None:
    """A ConfigurationError is for the operator who starts the service, never for a request."""
    (tmp_path / "file").write_text("")
    authority = make_at(url=f"local:{tmp_path / 'file'}")
    some = basic("0" * 32, wrong_secret(authority))
    response = request(PatAuthMiddleware(app, authority), "/x", authorization=some)
    assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
    assert str(tmp_path) not in response.text
    with pytest.raises(ConfigurationError):
        authority.ping()


def test_a_parameter_that_only_ends_like_a_token_is_the_applications(
    gate: PatAuthMiddleware, issued: IssuedPat
) -> None:
    for query, status in {
        "next_access_token=1": 200,
        "a=1&access_token=x": 400,
        "access_token=": 400,
    }.items():
        response = request(gate, "/", authorization=basic_of(issued), environ={"QUERY_STRING": query})
        assert response.status_code == status


def test_challenges_parse_as_lists_of_parameters(gate: PatAuthMiddleware) -> None:
    response = request(gate, "/", authorization="Basic Og==")
    for rest in challenges(response).values():
        for parameter in parse_list_header(rest):
            assert "=" in parameter


@each("wrong", [AsgiEcho(), AsgiEcho().__call__, lambda environ: None, "app"])
def test_what_is_no_wsgi_application_is_told_the_middleware_that_is_meant(
    authority: Authority, wrong: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"app: .* there is patauth\.asgi\.PatAuthMiddleware"):
        PatAuthMiddleware(wrong, authority)


def test_starlette_that_adds_the_wrong_middleware_does_not_start(authority: Authority) -> None:
    app = Starlette()
    app.add_middleware(PatAuthMiddleware, authority=authority)  # type: ignore[arg-type]
    with (
        pytest.raises(ConfigurationError, match=r"patauth\.asgi\.PatAuthMiddleware"),
        TestClient(app),  # type: ignore[arg-type]
    ):
        pass


@each("front", [PatAuthMiddleware, AsgiMiddleware, lambda app, *given: PatAuth(Flask("app"), *given)])
def test_what_is_no_authority_is_refused_at_the_start(front: Any) -> None:
    """Django gives none to what its MIDDLEWARE names."""
    with pytest.raises(ConfigurationError, match=r"authority: give a patauth\.Authority, .*from_env"):
        front(Echo(), "local:./patauth-data")


@each("front", [PatAuthMiddleware, AsgiMiddleware])
def test_in_the_middleware_of_django_it_names_that_of_django(front: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"MIDDLEWARE.* write patauth\.django\.PatAuthMiddleware"):
        front(lambda request: None)
