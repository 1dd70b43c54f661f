"""The metadata: true, complete, where clients look for it, and never of the client's own making."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from patauth import Authority, Settings
from patauth.wsgi.answers import Answer
from patauth.wsgi.oauth import endpoints
from patauth.wsgi.oauth.metadata import metadata, routes
from patauth.wsgi.service.app import Standalone
from patauth.wsgi.site import Site
from tests.support.authorities import Make, basic_of, issue
from tests.support.tables import each
from tests.support.wsgi import request

WELL_KNOWN = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
# issuer, path_prefix, the token endpoint
PLACES = [
    ("https://auth.example.com", "", "https://auth.example.com/oauth/token"),
    ("https://auth.example.com", "/auth", "https://auth.example.com/auth/oauth/token"),
    ("https://example.com/auth", "/auth", "https://example.com/auth/oauth/token"),
    ("https://example.com/sso/auth", "/auth", "https://example.com/sso/auth/oauth/token"),
    ("https://example.com/sso", "", "https://example.com/sso/oauth/token"),
    ("https://example.com/sso", "/auth", "https://example.com/sso/auth/oauth/token"),
    ("https://example.com/xauth", "/auth", "https://example.com/xauth/auth/oauth/token"),
    ("http://127.0.0.1:8000", "", "http://127.0.0.1:8000/oauth/token"),
    ("http://[::1]:8000", "/a/b", "http://[::1]:8000/a/b/oauth/token"),
]


def settings(**given: Any) -> Settings:
    return Settings.of(store_url="memory:", **given)


def served(authority: Authority) -> Any:
    """The routes of the surface as an application."""
    known = endpoints.routes(Site(authority))

    def app(environ: Any, start_response: Any) -> Any:
        route = known.find(environ["PATH_INFO"])
        return (Answer(404, [], b"") if route is None else route(environ))(environ, start_response)

    return app


def test_without_an_issuer_there_is_none() -> None:
    assert metadata(settings()) is None
    assert routes(settings()) == {}


def test_it_lists_what_there_is_and_the_catalogue_where_one_is_set() -> None:
    plain = {
        "issuer": "https://auth.example.com",
        "token_endpoint": "https://auth.example.com/oauth/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "introspection_endpoint": "https://auth.example.com/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "Bearer",
        ],
        "revocation_endpoint": "https://auth.example.com/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
    }
    assert metadata(settings(issuer="https://auth.example.com")) == plain
    assert metadata(settings(issuer="https://auth.example.com", scopes={})) == plain
    catalogue = {"reports:read": "Read", "reports:write": ""}
    assert metadata(settings(issuer="https://auth.example.com", scopes=catalogue)) == {
        **plain,
        "scopes_supported": ["reports:read", "reports:write"],
    }


@each(("issuer", "prefix", "endpoint"), PLACES)
def test_the_token_endpoint_is_where_clients_reach_it(issuer: str, prefix: str, endpoint: str) -> None:
    found = metadata(settings(issuer=issuer, path_prefix=prefix))
    assert found is not None
    assert (found["issuer"], found["token_endpoint"]) == (issuer, endpoint)


@each(("issuer", "path_prefix", "endpoint"), PLACES)
def test_it_answers_where_clients_of_that_issuer_look(
    make_at: Make, issuer: str, path_prefix: str, endpoint: str
) -> None:
    """RFC 8414 section 3.1 inserts the issuer's path, OpenID Connect Discovery appends to it."""
    authority = make_at(issuer=issuer, path_prefix=path_prefix)
    app, path = served(authority), urlsplit(issuer).path
    mount = urlsplit(endpoint).path.removesuffix(f"{path_prefix}/oauth/token")
    for place in (
        path_prefix + WELL_KNOWN,
        path_prefix + OPENID,
        WELL_KNOWN + path,
        OPENID + path,
        (path + OPENID).removeprefix(mount),
    ):
        response = request(app, place)
        assert (response.status_code, response.json["issuer"]) == (200, issuer), place
        assert response.content_type == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        head = request(app, place, method="HEAD")
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(response.data))
    probe = urlsplit(endpoint).path.removeprefix(mount)
    assert request(app, probe, method="POST").status_code == 415
    assert not any(place.endswith("/") for place in routes(authority.settings))


@each("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_405_with_allow(make_at: Make, method: str) -> None:
    app = served(make_at(issuer="https://a.example"))
    response = request(app, WELL_KNOWN, method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.json["error"] == "invalid_request"


def test_no_header_of_a_request_changes_a_byte(make_at: Make) -> None:
    app = served(make_at(issuer="https://a.example"))
    plain = request(app, WELL_KNOWN).data
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example;proto=http",
        "Origin": "https://evil.example",
        "Accept": "text/html",
    }
    response = request(app, WELL_KNOWN, headers=forged, query_string="issuer=evil")
    assert response.data == plain
    assert b"evil" not in plain
    assert "Access-Control-Allow-Origin" not in response.headers


def test_everything_that_is_listed_works(make_at: Make) -> None:
    """REQUIREMENTS M1: by probing each of them, and each auth method, with what the metadata says."""
    catalogue = {"reports:read": "", "reports:write": ""}
    authority = make_at(issuer="https://a.example", path_prefix="/auth", scopes=catalogue)
    app, issued = served(authority), issue(authority, scope=list(catalogue))
    found = json.loads(request(app, "/auth" + WELL_KNOWN).data)
    path = urlsplit(found["token_endpoint"]).path
    body = {"client_id": issued.pat.id, "client_secret": issued.secret}
    ways: dict[str, dict[str, Any]] = {
        "client_secret_basic": {"authorization": basic_of(issued), "data": {}},
        "client_secret_post": {"data": body},
    }
    assert set(found["token_endpoint_auth_methods_supported"]) == ways.keys()
    for grant in found["grant_types_supported"]:
        for way in ways.values():
            form = {"grant_type": grant, "scope": " ".join(found["scopes_supported"]), **way["data"]}
            response = request(app, path, method="POST", **{**way, "data": form})
            assert response.status_code == 200, response.data
            assert response.json["scope"].split() == found["scopes_supported"]
    other = {"grant_type": "authorization_code", **body}
    assert request(app, path, method="POST", data=other).json["error"] == "unsupported_grant_type"


def test_m1_each_endpoint_that_it_lists_works_in_each_way_that_it_lists(make_at: Make) -> None:
    """A probe: what is listed is there, and what is not listed is not."""
    authority = make_at(issuer="https://a.example", surfaces=["oauth"])
    issued, app = issue(authority), Standalone(authority)
    found = request(app, WELL_KNOWN).json
    endpoints = {name: url for name, url in found.items() if name.endswith("_endpoint")}
    assert set(endpoints) == {"token_endpoint", "introspection_endpoint", "revocation_endpoint"}
    form = {"grant_type": found["grant_types_supported"][0], "token": "unknown"}
    secret = {"client_id": issued.pat.id, "client_secret": issued.secret}
    ways: dict[str, dict[str, Any]] = {
        "client_secret_basic": {"authorization": basic_of(issued), "data": form},
        "client_secret_post": {"data": {**form, **secret}},
        "Bearer": {"authorization": f"Bearer {issued.token}", "data": form},
    }
    for name, url in endpoints.items():
        for way in found[f"{name}_auth_methods_supported"]:
            answer = request(app, urlsplit(url).path, method="POST", **ways[way])
            assert answer.status_code == 200, (name, way)
    assert {"jwks_uri", "authorization_endpoint", "registration_endpoint"} & found.keys() == set()
