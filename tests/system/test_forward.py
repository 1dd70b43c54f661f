"""Forward-auth: `/verify` alone. test_fronts.py has it behind nginx and Caddy."""

from __future__ import annotations

import pytest

from patauth import Authority, IssuedPat, Owner
from patauth.wsgi.middleware import PatAuthMiddleware
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic_of, issue
from tests.support.tables import each
from tests.support.wsgi import Echo, request

NAMES = ["X-Auth-Subject", "X-Auth-Scopes", "X-Auth-Pat-Id", "X-Auth-Method"]


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(trusted_proxies=1, proxy_networks="127.0.0.1")


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority, owner=Owner("a%b", name="Änne"), scope=["reports:read", "a"])


@pytest.fixture
def app(authority: Authority) -> Standalone:
    return Standalone(authority)


def test_it_tells_who_calls_by_each_kind_of_credentials(
    authority: Authority, app: Standalone, issued: IssuedPat
) -> None:
    access = authority.exchange(issued.pat.id, issued.secret).value
    ways = {
        "basic": basic_of(issued),
        "pat": f"Bearer {issued.token}",
        "access_token": f"Bearer {access}",
    }
    for method, authorization in ways.items():
        answer = request(app, "/verify", authorization=authorization)
        assert answer.status_code == 200
        who = ["a%25b", "a reports:read", issued.pat.id, method]
        assert [answer.headers[name] for name in NAMES] == who
        assert answer.headers["Cache-Control"] == "no-store"
        assert "RateLimit" in answer.headers


@each(
    "query, status",
    [
        ("", 200),
        ("?scope=", 200),
        ("?scope=a", 200),
        ("?scope=a+reports:read", 200),
        ("?scope=a%20reports%3Aread", 200),
        ("?scope=a+reports:write", 403),
        ("?scope=A", 403),
        ("?scope=a&scope=reports:read", 400),
        ("?scope=a++reports:read", 400),
        ("?access_token=x", 400),
        ("?scopes=a", 400),
        ("?SCOPE=a", 400),
        ("?scope=a&reports:write", 400),
    ],
)
def test_it_demands_the_scopes_of_the_query(
    app: Standalone, issued: IssuedPat, query: str, status: int
) -> None:
    answer = request(app, f"/verify{query}", authorization=basic_of(issued))
    assert answer.status_code == status
    if status == 403:
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    if status != 200:
        assert not any(name in answer.headers for name in NAMES)


def test_a_refusal_is_the_gates_with_its_challenges_in_one_field_and_its_body_in_another(
    app: Standalone, authority: Authority, issued: IssuedPat
) -> None:
    gate = PatAuthMiddleware(Echo(), authority, require={"/*": "admin"})
    for authorization in (None, "Bearer x", "Basic x, Bearer y", basic_of(issued)):
        asked = request(app, "/verify?scope=admin", authorization=authorization)
        refused = request(gate, "/", authorization=authorization)
        assert (asked.status_code, asked.data) == (refused.status_code, refused.data)
        assert asked.headers.pop("X-Auth-Body").encode() == refused.data
        challenges = refused.headers.getlist("WWW-Authenticate")
        assert asked.headers.getlist("WWW-Authenticate") == ([", ".join(challenges)] if challenges else [])
        for fields in (asked.headers, refused.headers):
            fields.remove("WWW-Authenticate")
            fields.pop("RateLimit", None)  # one request further
            fields.pop("X-Request-ID", None)  # another request
        assert sorted(asked.headers) == sorted(refused.headers)


def test_it_takes_a_pat_from_its_networks_alone(app: Standalone, authority: Authority) -> None:
    """The front server is at 127.0.0.1, and says who its client is."""
    issued = issue(authority, scope=["a"], networks=["198.51.100.0/24"])
    for peer, passed_on, status in (
        ("127.0.0.1", "198.51.100.7", 200),
        ("127.0.0.1", "203.0.113.9", 401),
        ("127.0.0.1", "198.51.100.7, 203.0.113.9", 401),
        ("127.0.0.1", None, 401),
        ("127.0.0.2", "198.51.100.7", 401),  # no front server of ours
        ("198.51.100.7", None, 200),
        ("198.51.100.7", "198.51.100.7", 401),
    ):
        given = {"REMOTE_ADDR": peer} | ({} if passed_on is None else {"HTTP_X_FORWARDED_FOR": passed_on})
        answer = request(app, "/verify", authorization=basic_of(issued), environ=given)
        assert answer.status_code == status, (peer, passed_on)


@each("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_asks_the_same_and_head_gets_no_body(
    app: Standalone, issued: IssuedPat, method: str
) -> None:
    for query, authorization, status in (
        ("", basic_of(issued), 200), ("", None, 401), ("?scope=admin", basic_of(issued), 403),
    ):  # fmt: skip
        get = request(app, f"/verify{query}", authorization=authorization)
        other = request(app, f"/verify{query}", method=method, authorization=authorization)
        assert get.status_code == other.status_code == status
        assert other.data == (b"" if method == "HEAD" else get.data)
        for fields in (get.headers, other.headers):
            fields.pop("RateLimit", None)  # one request further
            fields.pop("X-Request-ID", None)  # another request
        assert sorted(get.headers) == sorted(other.headers)


def test_it_is_under_path_prefix_and_not_in_a_wrapped_app(make_at: Make) -> None:
    app = Standalone(make_at(path_prefix="/auth"))
    assert [request(app, path).status_code for path in ("/auth/verify", "/verify")] == [401, 404]
