"""What all routes of ZITADEL's API have in common: who calls, and how refusals and faults are answered."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Authority, PatAuthMiddleware
from patauth.model.caller import Person
from patauth.model.pat_id import PatId
from patauth.operations.operations import Operations
from tests.support.authorities import ALICE, Make, basic, basic_of, issue, wrong_secret
from tests.support.wsgi import Echo, request
from tests.support.zitadel import CONNECT, JUNE, MY, NEVER, USERS, Api

NAMES = ["userId", "user_id", "tokenId", "expirationDate", "query", "pagination", "offset", "limit", "asc"]
NAMES += ["filters", "sortingColumn", "createdDateFilter", "expiration_date_filter", "tokenIdFilter"]
NAMES += ["userIdFilter", "organizationIdFilter", "id", "timestamp", "method", "x"]
WHOLE = [-1, 0, 1, 2**31, 2**53, 2**64 - 1, 2**64, 10**60]
TEXTS = [
    "alice",
    "me",
    "",
    "default",
    "0" * 32,
    JUNE,
    NEVER,
    "0001-01-01T00:00:00Z",
    "10",
    "-1",
    "\x00",
    "\U0001f600",
]
TEXTS += ["TIMESTAMP_FILTER_METHOD_AFTER", "PERSONAL_ACCESS_TOKEN_FIELD_NAME_ID"]
ATOMS = st.none() | st.booleans() | st.sampled_from(WHOLE) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    ATOMS | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(body=VALUES, organisation=st.none() | st.sampled_from(TEXTS[:4]))
def test_no_json_whatever_is_a_fault_of_ours(api: Api, body: Any, organisation: str | None) -> None:
    environ = {} if organisation is None else {"HTTP_X_ZITADEL_ORGID": organisation}
    for path in (
        f"{USERS}/alice/pats",
        f"{USERS}/alice/pats/_search",
        "/v2/users/alice/pats",
        "/v2/users/pats/search",
        CONNECT + "AddPersonalAccessToken",
        CONNECT + "RemovePersonalAccessToken",
        CONNECT + "ListPersonalAccessTokens",
    ):
        sent = {"data": json.dumps(body), "content_type": "application/json", "environ": environ}
        assert api("POST", path, **sent).status_code in (200, 400, 403, 404)


class TestErrors:
    def test_without_credentials_and_with_refused_ones_it_is_401(
        self, api: Api, authority: Authority
    ) -> None:
        texts = set()
        for method, path in (
            ("POST", f"{USERS}/alice/pats"),
            ("GET", api.one(api.issued.pat.id)),
            ("POST", CONNECT + "AddPersonalAccessToken"),
            ("DELETE", f"/v2/users/alice/pats/{api.issued.pat.id}"),
        ):
            none = api(method, path, authorization=None)
            assert (none.status_code, none.json["message"]) == (401, "credentials are required")
            for value in (basic(api.issued.pat.id, wrong_secret(authority)), "Basic Og==", "Bearer x"):
                refused = api(method, path, authorization=value)
                assert refused.status_code == 401
                assert len(refused.headers.getlist("WWW-Authenticate")) == 2
                texts.add(refused.json["message"])
            assert len(none.headers.getlist("WWW-Authenticate")) == 2
        assert texts == {"the credentials are not valid"}

    def test_a_token_basic_and_an_access_token_all_open_it(self, api: Api, authority: Authority) -> None:
        access = authority.exchange(api.issued.pat.id, api.issued.secret)
        one = api.one(api.issued.pat.id)
        for value in ("Bearer " + api.issued.token, basic_of(api.issued), "Bearer " + access.value):
            assert api("GET", one, authorization=value).status_code == 200

    def test_credentials_are_asked_for_before_a_body_is_read(self, api: Api) -> None:
        response = request(api.gate, f"{USERS}/alice/pats", method="POST", data=b"x" * 100_000)
        assert response.status_code == 401

    def test_past_the_quota_it_is_429_of_both_shapes(self, authority: Authority) -> None:
        api = Api(authority, issue(authority, "few", scope=[MY], request_quota="1/30"))
        assert api.search().status_code == 200
        for path, code in (
            (f"{USERS}/alice/pats", 8),
            (CONNECT + "AddPersonalAccessToken", "resource_exhausted"),
        ):
            response = api("POST", path, {})
            assert (response.status_code, response.json["code"]) == (429, code)
            assert response.json["message"] == " Rate Limit Exceeded "
            assert response.headers["Retry-After"] == "30"
            assert response.headers["RateLimit"] == '"requests";r=0;t=30'

    def test_every_answer_to_a_pat_tells_its_quota(self, api: Api) -> None:
        one = api.one(api.issued.pat.id)
        for method, path, body, status in [
            ("GET", one, None, 200),
            ("HEAD", one, None, 200),
            ("GET", api.one("x"), None, 404),
            ("POST", f"{USERS}/alice/pats", {}, 200),
            ("POST", f"{USERS}/alice/pats", [], 400),
            ("POST", f"{USERS}/bob/pats", {}, 403),
            ("POST", f"{USERS}/alice/pats/_search", {}, 200),
            ("POST", CONNECT + "AddPersonalAccessToken", {"userId": "alice"}, 200),
            ("POST", CONNECT + "ListPersonalAccessTokens", {}, 403),
            ("DELETE", one, None, 200),
        ]:
            response = api(method, path, body)
            assert response.status_code == status, (method, path, response.text)
            assert response.headers.getlist("RateLimit-Policy") == ['"requests";q=1000000;w=1']

    def test_a_fault_of_ours_is_500_without_internals_and_no_secret_is_logged(
        self,
        api: Api,
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"with {api.issued.token} in hand")

        monkeypatch.setattr(Operations, "actor", broken)
        one = api.one(api.issued.pat.id)
        with caplog.at_level(logging.DEBUG):
            for method, path, body in [
                ("POST", f"{USERS}/alice/pats", {}),
                ("POST", f"{USERS}/alice/pats/_search", {}),
                ("GET", one, None),
                ("DELETE", one, None),
                ("POST", CONNECT + "AddPersonalAccessToken", {"userId": "alice"}),
                ("POST", "/v2/users/pats/search", {}),
            ]:
                response = api(method, path, body)
                assert (response.status_code, response.json["message"]) == (500, "something went wrong")
                if "details" in response.json:
                    assert response.json["details"][0]["id"] in caplog.text
        assert "in broken" in caplog.text
        assert api.issued.token not in caplog.text

    def test_the_store_gone_is_503_with_retry_after(self, make_at: Make) -> None:
        authority = make_at(url="unix:///nonexistent/socket")
        gate = PatAuthMiddleware(Echo(), authority, surfaces=["zitadel"])
        some = basic("0" * 32, wrong_secret(authority))
        for path, code in ((f"{USERS}/a/pats", 14), (CONNECT + "AddPersonalAccessToken", "unavailable")):
            response = request(gate, path, method="POST", authorization=some)
            assert (response.status_code, response.json["code"]) == (503, code)
            assert int(response.headers["Retry-After"]) >= 1

    def test_no_answer_but_to_an_add_has_a_secret(self, api: Api, authority: Authority) -> None:
        made = api.add().json
        secret = authority.operations.format.bearer(made["token"]).secret
        ring = authority.operations.keyring()
        hidden = [
            made["token"],
            made["token"][-48:-8],
            "argon2",
            ring.secret_tag(PatId(made["tokenId"]), secret).hex(),
        ]
        for response in (
            api("GET", api.one(made["tokenId"])),
            api.search(),
            api("POST", "/v2/users/pats/search", {"filters": [{"userIdFilter": {"id": "alice"}}]}),
            api("DELETE", api.one(made["tokenId"])),
            api("DELETE", api.one(made["tokenId"])),
        ):
            assert not [part for part in hidden if part in response.text + str(response.headers)]


def test_a_person_of_the_hosts_uses_it_with_a_csrf_token(make_at: Make) -> None:
    authority = make_at()
    person = Person(ALICE, [MY, "reports:read"])
    gate = PatAuthMiddleware(Echo(), authority, surfaces=["zitadel"], identify=lambda environ: person)
    made = issue(authority)
    same = {"Sec-Fetch-Site": "same-origin"}
    got = request(gate, f"{USERS}/alice/pats/{made.pat.id}", headers=same)
    assert got.status_code == 200
    body = {"method": "POST", "data": "{}", "content_type": "application/json"}
    assert request(gate, f"{USERS}/alice/pats", headers=same, **body).status_code == 403
    with_token = {**same, "X-CSRF-Token": got.headers["X-CSRF-Token"]}
    added = request(gate, f"{USERS}/alice/pats", headers=with_token, **body)
    assert authority.get(added.json["tokenId"]).scope == (MY, "reports:read")
