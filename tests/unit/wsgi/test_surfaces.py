"""Which requests patauth answers itself, and which are the application's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from patauth import Authority, ConfigurationError, PatAuthMiddleware, settings
from patauth.wsgi import surfaces
from patauth.wsgi.site import Site
from patauth.wsgi.surfaces import OPENAPI, SURFACES, check_page, describe, open_routes
from tests.support.authorities import Make, maker
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import APIS, Echo, request

ID = "0123456789abcdef" * 2
VERSIONS = ["v3", "beta", "v2024", "v2025", "v2026"]


@pytest.fixture
def make(prefix: str) -> Iterator[Make]:
    with maker("memory:", prefix) as make_one:
        yield make_one


@pytest.fixture
def authority(make: Make, clock: Clock) -> Authority:
    return make(clock=clock)


OURS_ISC = {
    "/personal-access-tokens/v1": "GET, HEAD, POST",
    "/personal-access-tokens/v1/bulk-update": "PATCH, POST",
    "/personal-access-tokens/v1/self": "GET, HEAD, DELETE",
    f"/personal-access-tokens/v1/{ID}": "GET, HEAD, PATCH, DELETE",
    f"/personal-access-tokens/v1/{ID}/rotate": "POST",
    "/personal-access-tokens/v1/self/rotate": "POST",  # of an id that no PAT has
    **{f"/{version}/personal-access-tokens": "GET, HEAD, POST" for version in VERSIONS},
    **{f"/{version}/personal-access-tokens/{ID}": "PATCH, DELETE" for version in VERSIONS},
    **{f"/{version}/personal-access-tokens/self": "PATCH, DELETE" for version in VERSIONS},
}
MANAGEMENT = "/zitadel.management.v1.ManagementService/"
CONNECT = "/zitadel.user.v2.UserService/"
OURS_ZITADEL = {
    "/management/v1/users/alice/pats": "POST",
    "/management/v1/users/alice/pats/_search": "POST",
    f"/management/v1/users/alice/pats/{ID}": "GET, HEAD, DELETE",
    "/management/v1/users/alice/pats/pats": "GET, HEAD, DELETE",  # of an id that no PAT has
    "/v2/users/alice/pats": "POST",
    f"/v2/users/alice/pats/{ID}": "DELETE",
    "/v2/users/alice/pats/_search": "DELETE",  # again
    "/v2/users/pats/pats": "POST",
    "/v2/users/pats/search": "POST",
    MANAGEMENT + "AddPersonalAccessToken": "POST",
    MANAGEMENT + "GetPersonalAccessTokenByIDs": "POST",
    MANAGEMENT + "ListPersonalAccessTokens": "POST",
    MANAGEMENT + "RemovePersonalAccessToken": "POST",
    CONNECT + "AddPersonalAccessToken": "POST",
    CONNECT + "RemovePersonalAccessToken": "POST",
    CONNECT + "ListPersonalAccessTokens": "POST",
}
OURS = {**OURS_ISC, **OURS_ZITADEL}
DIALECTS = ["isc", "zitadel"]
NOT_OURS = [
    "",
    "/",
    "/personal-access-tokens",
    "/personal-access-tokens/",
    "/personal-access-tokens/v1/",
    "/personal-access-tokens/V1",
    "/Personal-Access-Tokens/v1",
    "/personal-access-tokens/v2",
    "/personal-access-tokens/v10",
    "/personal-access-tokens/v1x",
    "/personal-access-tokens/v3",
    "/personal-access-tokens/v1/a/b",
    "/personal-access-tokens/v1/a/b/c",
    f"/personal-access-tokens/v1/{ID}/",
    f"/personal-access-tokens/v1/{ID}/rotate/",
    f"/personal-access-tokens/v1/{ID}/Rotate",
    f"/personal-access-tokens/v1/{ID}/rotate/x",
    "/personal-access-tokens/v1/bulk-update/",
    "/personal-access-tokens/v1/self/x",
    "/x/personal-access-tokens/v1",
    "/v1/personal-access-tokens",
    "/v4/personal-access-tokens",
    "/v2023/personal-access-tokens",
    "/v2beta/personal-access-tokens",
    "/v3",
    "/v3/personal-access-tokens/",
    "/v3/personal-access-tokensx",
    f"/v3/personal-access-tokens/{ID}/",
    f"/v3/personal-access-tokens/{ID}/rotate",
    f"/v2026/personal-access-tokens/{ID}/x",
    "/oauth",
    "/oauth/token/",
    "/management/v1/users",
    "/management/v1/users/",
    "/management/v1/users/alice",
    "/management/v1/users/alice/",
    "/management/v1/users/alice/pats/",
    "/management/v1/users/alice/Pats",
    "/management/v1/users/alice/pats/a/b",
    "/management/v1/users/alice/pats/_search/",
    "/management/v1/users/pats/search",
    "/management/v1/users/me/keys",
    "/management/v2/users/alice/pats",
    "/v1/users/alice/pats",
    "/v2beta/users/alice/pats",
    "/v2/users",
    "/v2/users/alice",
    "/v2/users/alice/pats/",
    "/v2/users/alice/pats/a/b",
    "/v2/users/pats",
    "/v2/users/search",
    "/v2/users/pats/search/",
    "/v2/users/pats/search/x",
    CONNECT,
    CONNECT + "addPersonalAccessToken",
    CONNECT + "AddPersonalAccessToken/",
    CONNECT + "ListUsers",
    "/zitadel.user.v2beta.UserService/AddPersonalAccessToken",
    "/zitadel.user.v2.UserService",
]


def test_every_surface_of_the_settings_has_routes_and_a_description(make: Make) -> None:
    assert (*SURFACES, OPENAPI) == settings.SURFACE_NAMES
    authority = make(issuer="https://a.example")
    for name in APIS:
        routes, described = open_routes(Site(authority), [name]), describe(authority, [name])
        assert routes.fixed, name
        assert [*map(len, (described, described[0].tag))] == [1, 2], name


def test_a_page_is_for_people_so_somebody_has_to_know_who_they_are_and_it_is_an_extra(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(surfaces=["oauth", "page"])
    with pytest.raises(ConfigurationError, match="surfaces: page needs identify"):
        PatAuthMiddleware(Echo(), authority)
    with pytest.raises(ConfigurationError, match="surfaces: page needs identify"):
        PatAuthMiddleware(Echo(), make(), surfaces=["page"])
    check_page(["page", "oauth"], len)
    check_page(["oauth"], None)
    monkeypatch.setattr(surfaces, "find_spec", lambda name: None)
    check_page(["oauth"], len)
    for given in ({"identify": lambda _: None}, {"identify": "os:getcwd"}):
        with pytest.raises(ConfigurationError, match=r"surfaces: page needs jinja2: .*patauth\[page\]"):
            PatAuthMiddleware(Echo(), authority, **given)


def test_the_page_is_not_in_the_description_of_what_programs_use(authority: Authority) -> None:
    assert describe(authority, ["page"]) == []
    assert len(describe(authority, settings.SURFACE_NAMES)) == len(APIS)


def test_what_only_looks_like_ours_is_the_applications(authority: Authority) -> None:
    routes = open_routes(Site(authority), ["oauth", *DIALECTS])
    for path in (
        *NOT_OURS,
        "/personal-access-tokens/v1//rotate",
        "/v3/personal-access-tokens//",
        "/management/v1/users//pats",
        f"/v2/users//pats/{ID}",
        "/v2/users/alice//pats",
    ):
        assert routes.find(path) is None, path


def test_a_request_for_a_look_alike_reaches_the_application(authority: Authority) -> None:
    app = Echo()
    gate = PatAuthMiddleware(app, authority, public=["/*"], surfaces=["oauth", *DIALECTS])
    for path in filter(None, NOT_OURS):
        for method in ("GET", "POST", "PATCH"):
            assert request(gate, path, method=method).headers["X-App"] == "echo", path
            assert app.seen[-1]["PATH_INFO"] == path


@each("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LINK", "get"])
def test_each_route_names_its_methods_and_takes_no_other(authority: Authority, method: str) -> None:
    """W5; 405 comes before credentials are asked for."""
    app = Echo()
    gate = PatAuthMiddleware(app, authority, public=["/*"], surfaces=DIALECTS)
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    for path, allowed in OURS.items():
        # wsgiref.validate warns of methods it does not know.
        with pytest.warns() if method in ("LINK", "get") else pytest.MonkeyPatch.context():
            response = request(gate, path, method=method, headers=headers)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in response.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
        if method in allowed.split(", "):
            assert response.status_code == 401, path
        else:
            assert (response.status_code, response.headers["Allow"]) == (405, allowed), path
    assert app.seen == []


def test_a_surface_that_is_off_belongs_to_the_application(authority: Authority) -> None:
    for some, ours, not_ours in (
        (["oauth"], ["/oauth/token"], list(OURS)),
        (["isc"], list(OURS_ISC), [*OURS_ZITADEL, "/oauth/token"]),
        (["zitadel"], list(OURS_ZITADEL), [*OURS_ISC, "/oauth/token"]),
        ([], [], [*OURS, "/oauth/token"]),
        (["zitadel", "isc", "oauth"], [*OURS, "/oauth/token"], []),
    ):
        routes = open_routes(Site(authority), some)
        assert all(routes.find(path) for path in ours), some
        assert not any(routes.find(path) for path in not_ours), some


def test_the_setting_path_prefix_stands_before_all_of_them(make: Make) -> None:
    routes = open_routes(Site(make(path_prefix="/auth/pats")), ["oauth", *DIALECTS])
    for path in (*OURS, "/oauth/token"):
        assert routes.find("/auth/pats" + path), path
        assert routes.find(path) is None, path
        assert routes.find("/auth" + path) is None, path
    for path in NOT_OURS:
        assert routes.find("/auth/pats" + path) is None, path


def test_the_wrapped_default_has_the_token_endpoint_alone(authority: Authority) -> None:
    gate = PatAuthMiddleware(Echo(), authority, public=["/*"])
    assert request(gate, "/oauth/token").status_code == 405
    assert all(request(gate, path).headers["X-App"] == "echo" for path in OURS)
