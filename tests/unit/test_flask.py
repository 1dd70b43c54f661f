"""`patauth.flask`: configuration, factories, `current_principal`, `require_scope`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string, request, session
from flask.testing import FlaskClient
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from patauth import Authority, ConfigurationError, Cors, IssuedPat, Owner, PatAuthMiddleware
from patauth.flask import PatAuth, current_principal, require_scope
from patauth.model.caller import Person
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import Echo

pytestmark = pytest.mark.filterwarnings("ignore:store 'memory.:UserWarning")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATAUTH_STORE_URL", "PATAUTH_REALM"):
        monkeypatch.delenv(name, raising=False)


def make_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config["PATAUTH_STORE_URL"] = "memory:"
    app.config.update(config)
    PatAuth(app)

    @app.get("/who")
    def who() -> dict[str, Any]:
        if not current_principal:
            return {"id": None}
        return {"id": current_principal.subject.id, "scopes": sorted(current_principal.scopes)}

    @app.route("/reports", methods=["GET", "POST"])
    @require_scope("reports:admin")
    def reports() -> dict[str, Any]:
        return {"ok": True}

    return app


def issued_by(app: Flask, **more: Any) -> tuple[FlaskClient, IssuedPat, dict[str, str]]:
    authority: Authority = app.extensions["patauth"]
    issued = issue(authority, **more)
    return app.test_client(), issued, {"Authorization": basic_of(issued)}


def test_an_app_is_protected_and_knows_its_caller() -> None:
    client, issued, headers = issued_by(make_app())
    assert client.get("/who").status_code == 401
    for value in (headers["Authorization"], f"Bearer {issued.token}"):
        answer = client.get("/who", headers={"Authorization": value})
        assert answer.get_json() == {"id": "alice", "scopes": ["reports:read", "reports:write"]}
        assert answer.headers["RateLimit"]


def test_the_token_endpoint_is_in_the_app() -> None:
    client, issued, _ = issued_by(make_app())
    form = {"grant_type": "client_credentials", "client_id": issued.pat.id, "client_secret": issued.secret}
    access = client.post("/oauth/token", data=form).get_json()["access_token"]
    assert client.get("/who", headers={"Authorization": f"Bearer {access}"}).status_code == 200


def test_an_app_factory_may_use_one_object_for_several_apps() -> None:
    pat_auth = PatAuth()
    apps = []
    for realm in ("one", "two"):
        app = Flask(realm)
        app.config.update(PATAUTH_STORE_URL="memory:", PATAUTH_REALM=realm)
        pat_auth.init_app(app)
        apps.append(app)
    assert apps[0].extensions["patauth"] is not apps[1].extensions["patauth"]
    for app in apps:
        assert f'realm="{app.name}"' in app.test_client().get("/").headers["WWW-Authenticate"]


def test_require_scope_guards_a_view() -> None:
    app = make_app()
    client, _, headers = issued_by(app)
    refused = client.get("/reports", headers=headers)
    assert refused.status_code == 403
    assert refused.get_json()["scope"] == "reports:admin"
    _, _, headers = issued_by(app, name="admin", scope=["reports:admin"])
    assert client.post("/reports", headers=headers).get_json() == {"ok": True}


def test_require_scope_outside_of_flask_names_what_is_meant() -> None:
    with pytest.raises(TypeError, match=r"use patauth\.require_scope"):
        require_scope("reports:read")(lambda environ, start_response: [])({}, print)


def test_an_authority_of_ones_own_takes_the_place_of_the_settings_but_for_those_of_the_gate(
    real: Authority,
) -> None:
    app = Flask(__name__)
    app.config.update(PATAUTH_CHALLENGES="bearer", PATAUTH_TOKEN_HEADERS=["X-API-Key"], PATAUTH_SURFACES=[])
    app.config.update(PATAUTH_STORE_URL="redis://nowhere.invalid", PATAUTH_REALM="other")
    PatAuth(app, real)
    assert app.extensions["patauth"] is real
    client = app.test_client()
    refused = client.get("/x")
    assert refused.headers.getlist("WWW-Authenticate") == ['Bearer realm="patauth"']
    assert client.post("/oauth/token").status_code == 401, "the app's, and behind the gate"
    assert client.get("/x", headers={"X-API-Key": issue(real).token}).status_code == 404


def test_on_a_public_route_the_principal_is_absent_and_a_scope_cannot_be_had() -> None:
    client, _, headers = issued_by(make_app(PATAUTH_PUBLIC=["/*"]))
    assert client.get("/who", headers=headers).get_json() == {"id": None}
    assert client.get("/reports", headers=headers).status_code == 401


def test_outside_of_a_request_the_principal_is_like_none() -> None:
    assert not current_principal
    assert current_principal == None  # noqa: E711 - a proxy is equal to None, and never None itself
    with pytest.raises(AttributeError):
        _ = current_principal.subject


def test_the_gate_is_configured_as_the_middleware_is() -> None:
    app = make_app(
        PATAUTH_PROTECT=["/who"], PATAUTH_PUBLIC=["/reports"], PATAUTH_REQUIRE={"GET /who": "reports:admin"}
    )
    client, _, headers = issued_by(app)
    assert client.get("/nowhere").status_code == 404
    assert client.get("/who", headers=headers).status_code == 403


@each("sent, feed, who, whole", [
    ("none", 200, None, 401), ("good", 200, "alice", 200), ("bad", 401, None, 401),
    ("expired", 401, None, 401), ("limited", 429, None, 429),
])  # fmt: skip
def test_optional_paths_take_nobody_or_somebody_who_is_known(
    make_at: Make, sent: str, feed: int, who: str | None, whole: int
) -> None:
    """In Flask and in plain WSGI."""
    clock = Clock()
    authority = make_at(clock=clock)
    app = Flask("app")
    app.config["PATAUTH_OPTIONAL"] = ["/feed"]
    PatAuth(app, authority)

    @app.get("/<path>")
    def view(path: str) -> dict[str, Any]:
        return {"who": current_principal.subject.id if current_principal else None}

    for kind, wsgi in (("Flask", app), ("WSGI", PatAuthMiddleware(Echo(), authority, optional=["/feed"]))):
        issued = issue(
            authority, f"{sent} {kind}", **({"request_quota": "1/60"} if sent == "limited" else {})
        )
        value = basic(issued.pat.id, wrong_secret(authority)) if sent == "bad" else bearer(issued.token)
        headers = {} if sent == "none" else {"Authorization": value}
        client = Client(wsgi)
        if sent == "limited":
            assert client.get("/feed", headers=headers).status_code == 200, kind
        if sent == "expired":
            clock.advance(31 * 86_400_000)
        answer = client.get("/feed", headers=headers)
        assert answer.status_code == feed, kind
        if feed == 200:
            assert answer.json["who"] == who, kind
        assert client.get("/whole", headers=headers).status_code == whole, kind


def test_require_may_be_a_callable() -> None:
    app = make_app(PATAUTH_REQUIRE=lambda environ: None if environ["PATH_INFO"] == "/who" else ())
    client, _, headers = issued_by(app)
    assert client.get("/who", headers=headers).status_code == 403
    assert client.get("/nowhere", headers=headers).status_code == 404


def test_settings_come_from_the_config_first_and_then_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATAUTH_REALM", "environment")
    monkeypatch.setenv("PATAUTH_REQUEST_QUOTA", "7/10")
    settings = make_app(PATAUTH_REALM="config", PATAUTH_REQUEST_QUOTA=None).extensions["patauth"].settings
    assert (settings.realm, str(settings.request_quota)) == ("config", "7/10")


def test_the_store_may_be_named_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_STORE_URL", "memory:")
    assert make_app(PATAUTH_STORE_URL=None).extensions["patauth"].settings.store_url == "memory:"


def test_without_a_store_the_app_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="PATAUTH_STORE_URL"):
        make_app(PATAUTH_STORE_URL=None)


def test_a_wrong_value_does_not_start_either_and_is_named() -> None:
    with pytest.raises(ConfigurationError, match="access_token_ttl"):
        make_app(PATAUTH_ACCESS_TOKEN_TTL=5)


def test_a_list_of_origins_is_another_key_which_is_named() -> None:
    with pytest.raises(ConfigurationError, match="PATAUTH_CORS_ORIGINS"):
        make_app(PATAUTH_CORS=["https://app.example"])


def test_a_misspelt_key_is_warned_of_where_it_was_made() -> None:
    with pytest.warns(UserWarning, match="PATAUTH_PROTEKT") as caught:
        make_app(PATAUTH_PROTEKT=["/*"])
    assert {warning.filename for warning in caught if "PROTEKT" in str(warning.message)} == {__file__}


def test_an_app_is_not_wrapped_twice() -> None:
    app = make_app()
    with pytest.raises(ConfigurationError, match="already"):
        PatAuth(app)


def test_a_failed_start_leaves_the_app_as_it_was() -> None:
    app = Flask(__name__)
    before = app.wsgi_app
    app.config.update(PATAUTH_STORE_URL="memory:", PATAUTH_PROTECT=["no-slash"])
    with pytest.raises(ConfigurationError):
        PatAuth(app)
    assert app.wsgi_app == before
    assert "patauth" not in app.extensions


def test_a_signed_in_person_manages_their_pats_by_the_apps_own_session() -> None:
    """PATAUTH_IDENTIFY runs in a request context, and opens none of the app's views."""

    def identify(environ: dict[str, Any]) -> Person | None:
        assert request.environ is environ
        name = session.get("name")
        return None if name is None else Person(Owner(name), ["idn:my-personal-access-tokens:manage"])

    app = make_app(
        SECRET_KEY="x",
        PATAUTH_SURFACES=["oauth", "isc"],
        PATAUTH_PUBLIC=["/login"],
        PATAUTH_IDENTIFY=identify,
    )

    @app.post("/login")
    def login() -> dict[str, Any]:
        session["name"] = "alice"
        return {}

    client = app.test_client()
    mine = "/personal-access-tokens/v1?owner-id=me"
    assert client.get(mine).status_code == 401
    client.post("/login")
    listed = client.get(mine)
    assert (listed.status_code, listed.get_json()) == (200, [])
    body = {"name": "ci", "scope": ["idn:my-personal-access-tokens:read"], "userAwareTokenNeverExpires": True}
    headers = {"X-CSRF-Token": listed.headers["X-CSRF-Token"], "Origin": "http://localhost"}
    made = client.post("/personal-access-tokens/v1", json=body, headers=headers)
    assert made.get_json()["owner"]["id"] == "alice"
    assert client.post("/personal-access-tokens/v1", json=body).status_code == 403
    assert client.get("/who").status_code == 401


def test_a_reauthenticate_of_the_config_runs_in_a_request_context() -> None:
    app = make_app(
        SECRET_KEY="x",
        PATAUTH_SURFACES=["isc"],
        PATAUTH_PUBLIC=["/confirm"],
        PATAUTH_IDENTIFY=lambda environ: Person(Owner("alice"), ["idn:my-personal-access-tokens:manage"]),
        PATAUTH_REAUTHENTICATE=lambda environ: "confirmed" in session,
    )

    @app.post("/confirm")
    def confirm() -> dict[str, Any]:
        session["confirmed"] = True
        return {}

    client, path = app.test_client(), "/personal-access-tokens/v1"
    token = client.get(path + "?owner-id=me").headers["X-CSRF-Token"]
    body = {"name": "ci", "scope": ["idn:my-personal-access-tokens:read"], "userAwareTokenNeverExpires": True}
    headers = {"X-CSRF-Token": token, "Origin": "http://localhost"}
    assert client.post(path, json=body, headers=headers).status_code == 403
    client.post("/confirm")
    assert client.post(path, json=body, headers=headers).status_code == 200


def test_an_identify_that_is_named_runs_in_a_request_context_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the configuration or in the environment."""
    (tmp_path / "flask_people.py").write_text(
        "from flask import request\nfrom patauth import Owner, Person\n\ndef who(environ):\n"
        "    rights = ['idn:my-personal-access-tokens:read']\n"
        "    return Person(Owner(request.args['as']), rights) if 'as' in request.args else None\n",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    named = {"PATAUTH_IDENTIFY": "flask_people:who"}
    apps = [make_app(PATAUTH_SURFACES=["isc"], **named)]
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    apps.append(make_app(PATAUTH_SURFACES=["isc"]))
    for app in apps:
        # The API refuses the parameter only once it knows who asks.
        for query, status in (("", 401), ("&as=alice", 400)):
            path = f"/personal-access-tokens/v1?owner-id=me{query}"
            assert app.test_client().get(path).status_code == status
    monkeypatch.setenv("PATAUTH_IDENTIFY", "flask_people:nobody")
    with pytest.raises(ConfigurationError, match="identify: the module flask_people has no function nobody"):
        make_app(PATAUTH_SURFACES=["isc"])


def test_an_identify_that_cannot_be_called_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="identify"):
        make_app(PATAUTH_IDENTIFY="alice")


class TestAround:
    """FINDINGS A19: what reaches the app without having passed the gate is 500, and never served."""

    @pytest.fixture
    def ran(self) -> list[str]:
        return []

    def guarded(self, ran: list[str], **config: Any) -> Flask:
        app = Flask(__name__)
        app.config.update(PATAUTH_STORE_URL="memory:", PATAUTH_PUBLIC=["/open"], **config)
        app.before_request(lambda: ran.append("before"))  # type: ignore[arg-type, return-value]
        for path in ("/open", "/who"):
            app.add_url_rule(path, path, lambda: ran.append("view") or "served", methods=["GET", "POST"])
        return app

    def test_an_app_that_something_kept_from_before(
        self, ran: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        app = self.guarded(ran)
        kept = app.wsgi_app
        PatAuth(app)
        app.before_request_funcs[None].insert(0, lambda: ran.append("first"))  # type: ignore[arg-type, return-value]
        _, _, headers = issued_by(app)
        mounted = DispatcherMiddleware(NotFound(), {"/app": kept})
        for outer, prefix in ((kept, ""), (DispatcherMiddleware(kept), ""), (mounted, "/app")):
            for path in ("/who", "/open", "/nothing"):
                for sent in ({}, headers):
                    caplog.clear()
                    answer = Client(outer).get(prefix + path, headers=sent)
                    assert answer.status_code == 500, path
                    assert "without passing patauth" in caplog.text
        assert ran == []
        assert app.test_client().get("/open").text == "served"
        assert app.test_client().get("/who", headers=headers).text == "served"
        assert app.test_client().get("/who").status_code == 401

    def test_a_method_or_path_that_changes_behind_the_gate(self, ran: list[str]) -> None:
        app = self.guarded(ran)
        inner = app.wsgi_app

        def override(environ: dict[str, Any], start_response: Any) -> Any:
            environ["REQUEST_METHOD"] = environ.get("HTTP_X_METHOD", environ["REQUEST_METHOD"])
            environ["PATH_INFO"] = environ.get("HTTP_X_PATH", environ["PATH_INFO"])
            return inner(environ, start_response)

        app.wsgi_app = override  # type: ignore[method-assign]
        PatAuth(app)
        client = app.test_client()
        assert client.get("/open").text == "served"
        ran.clear()
        for headers in ({"X-Method": "POST"}, {"X-Path": "/who"}):
            assert client.get("/open", headers=headers).status_code == 500
        assert ran == []

    def test_what_wraps_the_gate_later_changes_what_it_judges(self, ran: list[str]) -> None:
        app = self.guarded(ran)
        PatAuth(app)
        app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)  # type: ignore[method-assign]
        assert app.test_client().get("/open").text == "served"
        assert app.test_client().get("/open", headers={"X-Forwarded-Prefix": "/app"}).status_code == 401

    def test_a_mark_cannot_be_brought_along(self, ran: list[str]) -> None:
        app, other = self.guarded(ran), make_app(PATAUTH_PUBLIC=["/*"])
        kept = app.wsgi_app
        PatAuth(app)
        marks: list[Any] = []
        other.before_request(lambda: marks.append(request.environ["patauth.flask"]))  # type: ignore[arg-type, return-value]
        other.test_client().get("/who")
        assert marks
        for mark in (*marks, None, True, (None, "GET", "/who")):
            environ = {"patauth.flask": mark, "HTTP_PATAUTH_FLASK": "1"}
            assert Client(kept).get("/who", environ_overrides=environ).status_code == 500
        assert ran == []


def test_the_options_of_the_gate_are_keys_of_the_config() -> None:
    def on_refusal(environ: dict[str, Any], error: Exception) -> tuple[str, str]:
        return render_template_string("<h1>{{ request.path }}</h1>"), "text/html"

    app = make_app(
        PATAUTH_OPTIONAL=["/who"],
        PATAUTH_CORS=Cors(["https://a.example"]),
        PATAUTH_ON_REFUSAL=on_refusal,
        PATAUTH_CHALLENGES=["bearer"],
        PATAUTH_TOKEN_HEADERS=["X-API-Key"],
    )
    client, issued, _ = issued_by(app)
    assert client.get("/who").get_json() == {"id": None}
    assert client.get("/who", headers={"X-API-Key": issued.token}).get_json()["id"] == "alice"
    refused = client.get("/reports", headers={"Origin": "https://a.example"})
    assert (refused.status_code, refused.text) == (401, "<h1>/reports</h1>")
    assert [field.split()[0] for field in refused.headers.getlist("WWW-Authenticate")] == ["Bearer"]
    assert refused.headers["Access-Control-Allow-Origin"] == "https://a.example"
