"""`require_scope` at a single application or view."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flask import Flask

import patauth
import patauth.flask
from patauth import Authority, InvalidScope, PatAuthMiddleware
from tests.support.authorities import basic_of, issue
from tests.support.tables import each
from tests.support.wsgi import Echo, request


def challenge(response: Any) -> str:
    return str(response.headers.getlist("WWW-Authenticate")[-1])


def test_it_guards_a_wsgi_application_behind_the_gate(real: Authority) -> None:
    issued = issue(real)
    guarded = patauth.require_scope("reports:read")(Echo())
    gate = PatAuthMiddleware(guarded, real, public=["/open"])
    assert request(gate, "/x", authorization=basic_of(issued)).status_code == 200
    assert request(gate, "/open").status_code == 401
    other = PatAuthMiddleware(patauth.require_scope("reports:read", "admin")(Echo()), real)
    response = request(other, "/x", authorization=basic_of(issued))
    assert response.status_code == 403
    assert 'scope="admin reports:read"' in challenge(response)


def test_it_guards_a_flask_view_with_the_values_of_its_url(real: Authority) -> None:
    issued = issue(real)
    app = Flask(__name__)

    @app.get("/reports/<int:number>/<kind>")
    @patauth.flask.require_scope("reports:read")
    def report(number: int, kind: str) -> dict[str, Any]:
        """A report."""
        return {"number": number, "kind": kind}

    @app.get("/admin")
    @patauth.flask.require_scope("admin")
    def admin() -> str:
        return "never"

    assert report.__doc__ == "A report."
    gate = PatAuthMiddleware(app.wsgi_app, real, public=["/admin"])
    assert request(gate, "/reports/7/x", authorization=basic_of(issued)).json == {"number": 7, "kind": "x"}
    assert request(gate, "/admin", authorization=basic_of(issued)).status_code == 401, (
        "public: nobody is known"
    )
    closed = PatAuthMiddleware(app.wsgi_app, real)
    response = request(closed, "/admin", authorization=basic_of(issued))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")
    assert response.headers["Cache-Control"] == "no-store"


def test_on_refusal_words_its_refusals_too(real: Authority) -> None:
    asked: list[tuple[str, int]] = []

    def on_refusal(environ: dict[str, Any], error: patauth.PatAuthError) -> tuple[str, str]:
        asked.append((environ["PATH_INFO"], error.status))
        assert "HTTP_COOKIE" not in environ
        return "<h1>No</h1>", "text/html"

    app, issued = Flask(__name__), issue(real)
    app.get("/view")(patauth.flask.require_scope("admin")(lambda: "never"))
    for inner in (app.wsgi_app, patauth.require_scope("admin")(Echo())):
        gate = PatAuthMiddleware(inner, real, public=["/view"], on_refusal=on_refusal)
        closed = PatAuthMiddleware(inner, real, on_refusal=on_refusal)
        for guarding, authorization, status in ((gate, None, 401), (closed, basic_of(issued), 403)):
            response = request(guarding, "/view", authorization=authorization, headers={"Cookie": "a=b"})
            assert (response.status_code, response.text) == (status, "<h1>No</h1>")
            assert response.headers["Content-Type"] == "text/html"
            assert "WWW-Authenticate" in response.headers
            assert asked.pop() == ("/view", status)


def test_without_the_gate_it_lets_nobody_through() -> None:
    guarded = patauth.require_scope("reports:read")(Echo())
    with pytest.raises(RuntimeError, match=r"wrap the application: patauth\.PatAuthMiddleware\(app"):
        guarded({"REQUEST_METHOD": "GET"}, lambda *_: None)
    app = Flask(__name__)
    view = patauth.flask.require_scope("reports:read")(lambda: "never")
    with (
        app.test_request_context(),
        pytest.raises(RuntimeError, match=r"call patauth\.flask\.PatAuth\(app\)"),
    ):
        view()


@each("scope", ["", "a b", 'a"', "\u00e9", "a\n"])
def test_a_malformed_scope_is_refused_where_it_is_written(scope: str) -> None:
    with pytest.raises(InvalidScope):
        patauth.require_scope(scope)


def test_without_parentheses_it_says_what_to_write() -> None:
    for decorator in (patauth.require_scope, patauth.flask.require_scope):
        with pytest.raises(InvalidScope, match=r"in parentheses: require_scope\('a'\)"):
            decorator(Echo())  # type: ignore[arg-type]


def test_on_a_view_it_names_the_decorator_that_is_meant() -> None:
    app, guarded = Flask(__name__), patauth.require_scope("reports:read")(lambda *_: None)
    view = type("HttpRequest", (), {"__module__": "django.http.request"})()
    with pytest.raises(TypeError, match=r"a view; use patauth\.django\.require_scope\Z"):
        guarded(view)
    with app.test_request_context(), pytest.raises(TypeError, match=r"use patauth\.flask\.require_scope\Z"):
        guarded()
    with pytest.raises(TypeError, match=r"patauth\.fastapi\.requires"):
        patauth.require_scope("reports:read")(asyncio.sleep)
