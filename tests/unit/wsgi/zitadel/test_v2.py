"""Version 2 of ZITADEL's API, over REST and over Connect: the same operations, each with its own errors."""

from __future__ import annotations

from typing import Any

import pytest

from patauth import Authority
from patauth.wsgi.zitadel import v2
from tests.support.authorities import Make, issue
from tests.support.clocks import Clock
from tests.support.zitadel import ALL, BAD_NUMBERS, CODES, CONNECT, JUNE, MY, NEVER, NOW, WORDS, Api

SEARCH, LIST = "/v2/users/pats/search", CONNECT + "ListPersonalAccessTokens"
METHOD, COLUMN = "TIMESTAMP_FILTER_METHOD_", "PERSONAL_ACCESS_TOKEN_FIELD_NAME_"
EARLY = {"timestamp": "2031-01-01T00:00:00Z", "method": METHOD + "BEFORE"}

both = pytest.mark.parametrize("path", [SEARCH, LIST], ids=["REST", "Connect"])


BAD_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("/v2/users/alice/pats", {"userId": "bob"}, "userId: "),
    ("/v2/users/alice/pats", {"name": "x"}, "there is no field name "),
    ("/v2/users/me/pats", {}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {"userId": None}, "userId: "),
    ("/v2/users/alice/pats", {"userId": ""}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {"userId": ""}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {"userId": "me"}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {"userId": 1}, "userId: "),
    (CONNECT + "AddPersonalAccessToken", {"userId": "alice", "user_id": "alice"}, "userId: "),
    (
        CONNECT + "AddPersonalAccessToken",
        {"userId": "alice", "expirationDate": NOW},
        "expirationDate: ",
    ),
    (CONNECT + "RemovePersonalAccessToken", {}, "userId: "),
    (CONNECT + "RemovePersonalAccessToken", {"userId": "alice"}, "tokenId: "),
    (CONNECT + "RemovePersonalAccessToken", {"userId": "me", "tokenId": "x"}, "userId: "),
    (CONNECT + "RemovePersonalAccessToken", {"userId": "alice", "tokenId": None}, "tokenId: "),
    (CONNECT + "RemovePersonalAccessToken", {"userId": "alice", "tokenId": 1}, "tokenId: "),
]


class TestAddAndRemove:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v2/users/alice/pats", {"expirationDate": JUNE}),
            ("/v2/users/alice/pats", {"expiration_date": JUNE, "userId": None}),
            ("/v2/users/alice/pats", {"expirationDate": JUNE, "user_id": "alice"}),
            (CONNECT + "AddPersonalAccessToken", {"userId": "alice", "expirationDate": JUNE}),
            (CONNECT + "AddPersonalAccessToken", {"user_id": "alice", "expiration_date": JUNE}),
        ],
    )
    def test_an_add_answers_with_a_token_that_is_ready_to_use(
        self, api: Api, authority: Authority, path: str, body: dict[str, Any]
    ) -> None:
        response = api("POST", path, body)
        made = response.json
        assert (response.status_code, set(made)) == (200, {"creationDate", "tokenId", "token"})
        assert made["creationDate"] == NOW
        assert authority.authenticate("Bearer " + made["token"]).pat_id == made["tokenId"]
        pat = authority.get(made["tokenId"])
        assert (pat.owner.id, pat.scope) == ("alice", (MY, "reports:read"))
        assert pat.expires_at is not None

    def test_a_remove_answers_with_its_date_once(self, api: Api, clock: Clock) -> None:
        for removal in ("REST", "REST", "userId tokenId", "user_id token_id"):
            made = api("POST", CONNECT + "AddPersonalAccessToken", {"userId": "alice"}).json["tokenId"]
            clock.advance(1)

            def remove(removal: str = removal, made: str = made) -> Any:
                if removal == "REST":
                    return api("DELETE", f"/v2/users/alice/pats/{made}")
                body = dict(zip(removal.split(), ["alice", made], strict=True))
                return api("POST", CONNECT + "RemovePersonalAccessToken", body)

            response = remove()
            assert (response.status_code, set(response.json)) == (200, {"deletionDate"})
            assert response.json["deletionDate"].startswith("2030-01-01T00:00:00.00")
            assert remove().status_code == 404
        assert len(api.ids()) == 1

    def test_a_bad_field_is_named(self, api: Api) -> None:
        for path, body, named in BAD_FIELDS:
            response = api("POST", path, body)
            assert response.status_code == 400, (body, response.text)
            assert response.json["message"].startswith(named), (body, response.text)
            assert len(api.ids()) == 1, (path, body)

    def test_the_same_refusal_in_both_shapes(self, api: Api, admin: Api) -> None:
        other = admin.issued.pat.id
        for (method, path, body), (name, sent), status in (
            (("POST", "/v2/users/bob/pats", {}), ("Add", {"userId": "bob"}), 403),
            (("POST", "/v2/users/a%20b/pats", {}), ("Add", {"userId": "a b"}), 400),
            (
                ("DELETE", f"/v2/users/root/pats/{other}", None),
                ("Remove", {"userId": "root", "tokenId": other}),
                404,
            ),
            (
                ("DELETE", f"/v2/users/alice/pats/{other}", None),
                ("Remove", {"userId": "alice", "tokenId": other}),
                404,
            ),
            (("DELETE", "/v2/users/alice/pats/x", None), ("Remove", {"userId": "alice", "tokenId": ""}), 404),
            (("POST", SEARCH, {}), ("List", {}), 403),
        ):
            rest = api(method, path, body)
            connect = api("POST", f"{CONNECT}{name}PersonalAccessToken{'s' * (name == 'List')}", sent)
            assert rest.status_code == connect.status_code == status
            assert rest.json["message"] == connect.json["message"]
            assert rest.json["code"] == CODES[status]
            assert connect.json["code"] == WORDS[CODES[status]]
        assert admin.ids() == [other]


BAD_LISTS: list[tuple[dict[str, Any], str]] = [
    ({"filters": {}}, "filters: "),
    ({"filters": [None]}, "filters[0]: "),
    ({"filters": [{}]}, "filters[0]: "),
    ({"filters": [{"userIdFilter": None}]}, "filters[0]: "),
    (
        {"filters": [{"userIdFilter": {"id": "a"}, "tokenIdFilter": {"id": "a"}}]},
        "filters[0]: ",
    ),
    ({"filters": [{"userIdFilter": {"id": "a"}, "user_id_filter": {"id": "a"}}]}, "userIdFilter: "),
    ({"filters": [{"userIdFilter": {}}]}, "filters[0].userIdFilter.id: "),
    ({"filters": [{"userIdFilter": {"id": None}}]}, "filters[0].userIdFilter.id: "),
    ({"filters": [{"userIdFilter": {"id": ""}}]}, "filters[0].userIdFilter.id: "),
    ({"filters": [{"userIdFilter": {"id": "me"}}]}, "filters[0].userIdFilter.id: "),
    ({"filters": [{"tokenIdFilter": {"id": "a b"}}]}, "filters[0].tokenIdFilter.id: "),
    ({"filters": [{"organizationIdFilter": {"id": 1}}]}, "filters[0].organizationIdFilter.id: "),
    ({"filters": [{"nameFilter": {"id": "a"}}]}, "there is no field filters[0].nameFilter "),
    ({"filters": [{"createdDateFilter": {}}]}, "filters[0].createdDateFilter.timestamp: "),
    (
        {"filters": [{"createdDateFilter": {"timestamp": "2030-01-01T00:00:00"}}]},
        "filters[0].createdDateFilter.timestamp: ",
    ),
    (
        {"filters": [{"expirationDateFilter": {**EARLY, "method": METHOD + "NEAR"}}]},
        "filters[0].expirationDateFilter.method: ",
    ),
    (
        {"filters": [{"expirationDateFilter": {**EARLY, "method": "BEFORE"}}]},
        "filters[0].expirationDateFilter.method: ",
    ),
    (
        {"filters": [{"expirationDateFilter": {**EARLY, "method": 1}}]},
        "filters[0].expirationDateFilter.method: ",
    ),
    ({"sortingColumn": "ID"}, "sortingColumn: "),
    ({"sortingColumn": COLUMN + "NAME"}, "sortingColumn: "),
    ({"sortingColumn": 2}, "sortingColumn: "),
    ({"sortingColumn": COLUMN + "ID", "sorting_column": COLUMN + "ID"}, "sortingColumn: "),
    ({"pagination": {"asc": "yes"}}, "pagination.asc: "),
    ({"query": {}}, "there is no field query "),
]


@both
class TestList:
    def test_a_pat_has_these_fields(self, api: Api, authority: Authority, clock: Clock, path: str) -> None:
        pat = authority.get(api.issued.pat.id)
        clock.advance(1500)
        authority.patch(pat.id, [{"op": "replace", "path": "/name", "value": "x"}])
        answer = api("POST", path, {"filters": [{"userIdFilter": {"id": "alice"}}]}).json
        assert answer == {
            "pagination": {"totalResult": "1", "appliedLimit": "100"},
            "result": [
                {
                    "creationDate": NOW,
                    "changeDate": "2030-01-01T00:00:01.500Z",
                    "id": pat.id,
                    "userId": "alice",
                    "organizationId": "default",
                    "expirationDate": NEVER,
                }
            ],
        }

    def test_zeros_are_left_out(self, admin: Api, path: str) -> None:
        body = {"filters": [{"user_id_filter": {"id": "nobody"}}], "pagination": {"limit": "7"}}
        assert admin("POST", path, body).json == {"pagination": {"appliedLimit": "7"}}

    def test_both_spellings_and_null_are_read(self, admin: Api, authority: Authority, path: str) -> None:
        made = issue(authority).pat.id
        for body in (
            {"filters": [{"tokenIdFilter": {"id": made}}], "sortingColumn": COLUMN + "ID"},
            {"filters": [{"token_id_filter": {"id": made}}], "sorting_column": COLUMN + "ID"},
            {"filters": [{"expirationDateFilter": EARLY}], "pagination": {"offset": "0", "limit": 5}},
            {"filters": [{"expiration_date_filter": EARLY, "userIdFilter": None}], "pagination": None},
            {
                "filters": [{"createdDateFilter": {**EARLY, "method": METHOD + "BEFORE"}}],
                "pagination": {"limit": 1},
            },
        ):
            answer = admin("POST", path, body).json
            assert [pat["id"] for pat in answer["result"]][-1] in (made, admin.issued.pat.id)
        for body in ({}, {"filters": None}, {"filters": []}, {"sortingColumn": None}, {"pagination": {}}):
            assert len(admin("POST", path, body).json["result"]) == 2

    def test_a_hundred_unless_asked_and_a_thousand_at_most(
        self, admin: Api, authority: Authority, path: str
    ) -> None:
        for number in range(101):
            issue(authority, str(number))
        answer = admin("POST", path, {}).json
        assert answer["pagination"] == {"totalResult": "102", "appliedLimit": "100"}
        assert len(answer["result"]) == 100
        answer = admin("POST", path, {"pagination": {"limit": 1000}}).json
        assert (len(answer["result"]), answer["pagination"]["appliedLimit"]) == (102, "1000")
        response = admin("POST", path, {"pagination": {"limit": "1001"}})
        assert response.json["message"] == "pagination.limit: give at most 1000"
        response = admin("POST", path, {"pagination": {"limit": 2, "offset": 101}})
        assert len(response.json["result"]) == 1

    def test_the_setting_lowers_both(self, make_at: Make, clock: Clock, path: str) -> None:
        authority = make_at(clock=clock, page_limit_zitadel=5)
        admin = Api(authority, issue(authority, scope=[ALL]))
        assert admin("POST", path, {}).json["pagination"]["appliedLimit"] == "5"
        assert admin("POST", path, {"pagination": {"limit": 6}}).status_code == 400

    def test_a_bad_field_is_named(self, admin: Api, path: str) -> None:
        for body, named in BAD_LISTS:
            response = admin("POST", path, body)
            assert response.status_code == 400, (body, response.text)
            assert response.json["message"].startswith(named), (body, response.text)
            assert "body" not in response.json["message"], body

    @pytest.mark.parametrize("name", ["offset", "limit"])
    def test_a_number_is_a_uint64_or_its_text(self, admin: Api, path: str, name: str) -> None:
        for value in BAD_NUMBERS:
            response = admin("POST", path, {"pagination": {name: value}})
            assert response.status_code == 400, repr(value)
            assert f"pagination.{name}: " in response.json["message"], repr(value)

    def test_no_error_repeats_what_was_sent_at_length(self, admin: Api, path: str) -> None:
        long = "x\r\n" * 3000
        for body in (
            {"sortingColumn": long},
            {"filters": [{"createdDateFilter": {**EARLY, "method": long}}]},
            {"filters": [{"createdDateFilter": {"timestamp": long}}]},
            {"filters": [{"userIdFilter": {"id": long}}]},
            {long: 1},
        ):
            response = admin("POST", path, body)
            assert (response.status_code, "x\r\n" in response.json["message"]) == (400, False)
            assert len(response.json["message"]) < 300


def test_what_is_left_out_is_the_first_method_and_column() -> None:
    """The list of the vendor's SDK is compared in test_zitadel_sdk.py."""
    assert v2._METHODS[0] == "EQUALS"
    assert next(iter(v2._COLUMNS)) == "UNSPECIFIED"
