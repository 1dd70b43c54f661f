"""The tests of the app. `patauth_authority` and `patauth_headers` come from patauth's plugin of pytest."""

import re
from base64 import b64encode

import pytest
from app import create_app
from pages import PASSWORD


@pytest.fixture
def patauth_settings():
    """The settings of the app that these tests rely on: they belong to the Authority."""
    return {"challenges": ["bearer"]}


@pytest.fixture
def client(patauth_authority):
    return create_app(patauth_authority).test_client()


@pytest.fixture
def signed_in(client):
    """A client of alice's browser, and the CSRF token of her session."""
    form = {"csrf": token_of(client), "name": "alice", "password": PASSWORD}
    assert client.post("/login", data=form).status_code == 303
    return client, token_of(client)


def token_of(client):
    return re.search('name="csrf" value="([^"]+)"', client.get("/").text)[1]


def basic(headers):
    """The same token as the password of Basic, as a browser may keep it."""
    token = headers["Authorization"].removeprefix("Bearer ")
    return {"Authorization": "Basic " + b64encode(f"x:{token}".encode()).decode()}


@pytest.mark.parametrize("path", ["/api/me", "/api/reports", "/api/reports/q1"])
def test_the_api_takes_a_token_that_may_read_reports(client, patauth_headers, path):
    refused = client.get(path)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="patauth"')
    assert client.get(path, headers=patauth_headers()).status_code == 403
    assert client.get(path, headers=patauth_headers("reports:read")).status_code == 200


def test_a_view_may_demand_more_than_its_blueprint(client, patauth_headers):
    for scopes, status in (
        (["reports:read"], 403),
        (["reports:summary"], 403),
        (["reports:read", "reports:summary"], 200),
    ):
        assert client.get("/api/reports/summary", headers=patauth_headers(*scopes)).status_code == status


def test_so_may_a_view_that_is_a_class(client, patauth_headers):
    for scopes, status in (["reports:read"], 403), (["reports:read", "reports:write"], 200):
        answer = client.put("/api/drafts/q3", json={"title": "Q3"}, headers=patauth_headers(*scopes))
        assert answer.status_code == status
    assert answer.json == {"key": "q3", "title": "Q3", "by": "alice"}


def test_the_pages_of_people_take_no_token(client, patauth_headers):
    assert client.get("/", headers=patauth_headers("reports:read")).status_code == 200
    assert client.get("/").status_code == 200


def test_exports_take_a_session(signed_in):
    client, csrf = signed_in
    assert client.get("/exports").status_code == 200
    assert client.post("/exports").status_code == 400, "a form of another site has no CSRF token"
    made = client.post("/exports", data={"csrf": csrf})
    assert (made.status_code, made.json["by"]) == (201, "alice")
    assert client.get("/api/me").status_code == 401, "a session opens nothing of the API"


def test_exports_take_a_token(client, patauth_headers):
    assert client.get("/exports").status_code == 401
    assert client.get("/exports", headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.get("/exports", headers=patauth_headers("reports:read")).status_code == 403
    program = patauth_headers("exports:read", "exports:write", owner_id="bot")
    made = client.post("/exports", headers=program).json
    assert made["by"] == "bot"
    assert made["export"] in client.get("/exports", headers=program).json["exports"]


def test_a_token_counts_and_the_session_that_comes_with_it_does_not(signed_in, patauth_headers):
    client, _ = signed_in
    program = patauth_headers("exports:write", owner_id="bot")
    assert client.post("/exports", headers=program).json["by"] == "bot"
    assert client.get("/exports", headers=program).status_code == 403, "alice may, and the token may not"
    assert client.get("/exports", headers={"Authorization": "Bearer x"}).status_code == 401


def test_basic_is_not_exempt_from_the_csrf_token(signed_in, patauth_headers):
    client, csrf = signed_in
    browser = basic(patauth_headers("exports:write", owner_id="bot"))
    assert client.post("/exports", headers=browser).status_code == 400
    assert client.post("/exports", headers=browser, data={"csrf": csrf}).json["by"] == "bot"
