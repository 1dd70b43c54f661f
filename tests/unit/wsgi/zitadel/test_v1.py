"""The management API in ZITADEL's dialect: version 1, organisations, what all versions share."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Authority, Owner, PatAuthMiddleware
from patauth.errors import Forbidden, NotFound, StoreUnavailable
from patauth.model.caller import Caller, Person
from tests.support.authorities import ALICE, Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.servers import shared_engines
from tests.support.wsgi import Echo, request
from tests.support.zitadel import ALL, BAD_NUMBERS, CONNECT, JUNE, MY, NEVER, NOW, USERS, Api

ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def authority(make_at: Make, clock: Clock) -> Authority:
    return make_at(clock=clock, max_pats_per_owner=100, request_quota="1000000/1")


@pytest.fixture
def api(authority: Authority) -> Api:
    return Api(authority, issue(authority, "maker", scope=[MY, "reports:read"], never_expires=True))


@pytest.fixture
def admin(authority: Authority) -> Api:
    scope = [ALL, "reports:read"]
    return Api(authority, issue(authority, "root", owner=Owner("root"), scope=scope, never_expires=True))


class TestAdd:
    def test_it_answers_200_with_a_token_that_is_ready_to_use(self, api: Api, authority: Authority) -> None:
        response = api.add(body={"expirationDate": JUNE})
        made = response.json
        assert (response.status_code, set(made)) == (200, {"tokenId", "token", "details"})
        assert ID.fullmatch(made["tokenId"])
        assert made["details"] == {
            "sequence": "1",
            "creationDate": NOW,
            "changeDate": NOW,
            "resourceOwner": "default",
        }
        principal = authority.authenticate("Bearer " + made["token"])
        assert (principal.pat_id, principal.method) == (made["tokenId"], "pat")
        pat = authority.get(made["tokenId"])
        assert (pat.name, pat.owner) == (f"zitadel-{pat.id[-8:]}", ALICE)
        assert (pat.scope, pat.never_acknowledged) == ((MY, "reports:read"), False)

    @pytest.mark.parametrize("body", [{}, {"expirationDate": None}, {"expiration_date": None}])
    def test_without_a_date_it_never_expires(self, api: Api, authority: Authority, body: Any) -> None:
        made = api.add(body=body).json
        pat = authority.get(made["tokenId"])
        assert (pat.expires_ms, pat.never_acknowledged) == (None, True)
        assert api("GET", api.one(pat.id)).json["token"]["expirationDate"] == NEVER

    @pytest.mark.parametrize(
        ("date", "written"),
        [
            (JUNE, JUNE),
            ("2030-06-01T00:00:00.120Z", "2030-06-01T00:00:00.120Z"),
            ("2030-06-01t02:00:00.123456789+02:00", "2030-06-01T00:00:00.123Z"),
            (NEVER, NEVER),
            ("9999-12-31T23:59:59.999Z", NEVER),
            (NOW, None),
            ("2029-12-31T23:59:59.999Z", None),
            ("2030-06-01T00:00:00", None),  # without an offset
            ("2030-06-01", None),
            ("", None),
            ("soon", None),
            ("10000-01-01T00:00:00Z", None),
            (1_900_000_000, None),
            (True, None),
            ([], None),
            ({"seconds": 1}, None),
        ],
    )
    @pytest.mark.parametrize("spelling", ["expirationDate", "expiration_date"])
    def test_an_expiry_is_a_date_time_of_rfc_3339_in_the_future(
        self, api: Api, spelling: str, date: Any, written: str | None
    ) -> None:
        response = api.add(body={spelling: date})
        if written is None:
            assert (response.status_code, response.json["code"]) == (400, 3)
            assert response.json["message"].startswith("expirationDate: ")
            assert api.ids() == [api.issued.pat.id]
        else:
            shown = api("GET", api.one(response.json["tokenId"])).json["token"]
            assert shown["expirationDate"] == written

    def test_for_another_user_it_takes_the_right_to_all(
        self, api: Api, admin: Api, authority: Authority
    ) -> None:
        made = admin.add("carol").json
        assert authority.get(made["tokenId"]).owner == Owner("carol")
        assert api.add("carol").status_code == 403

    def test_one_too_many_is_a_failed_precondition(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, max_pats_per_owner=2)
        api = Api(authority, issue(authority, "maker", scope=[MY], never_expires=True))
        assert api.add().status_code == 200
        response = api.add()
        assert (response.status_code, response.json["code"]) == (400, 9)
        assert len(api.ids()) == 2

    def test_what_policy_demands_of_lifetimes_holds_here(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock, max_lifetime=86_400)
        api = Api(authority, issue(authority, "maker", scope=[MY], expires_in=timedelta(hours=2)))
        for body in ({}, {"expirationDate": "2030-01-01T02:00:00.001Z"}, {"expirationDate": JUNE}):
            response = api.add(body=body)
            assert (response.status_code, response.json["message"][:16]) == (400, "expirationDate: ")
        assert api.add(body={"expirationDate": "2030-01-01T02:00:00Z"}).status_code == 200

    def test_of_machines_alone_where_the_setting_says_so(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock, owner_types=["APPLICATION"])
        machine = Owner("robot", type="APPLICATION")
        robot = Api(authority, issue(authority, owner=machine, scope=[MY, ALL], never_expires=True))
        assert robot.add().status_code == 200
        made = robot.add("another")  # of whom nothing is known but an id
        assert made.status_code == 200
        assert authority.get(made.json["tokenId"]).owner == Owner("another", type="APPLICATION")

    def test_for_somebody_who_is_known_name_and_type_stay(self, make_at: Make, clock: Clock) -> None:
        plain = make_at(clock=clock)
        issue(plain, owner=Owner("bob", name="Bob"), name="old")
        authority = make_at(clock=clock, owner_types=["IDENTITY", "APPLICATION"])
        admin = Api(authority, issue(authority, "maker", scope=[ALL], never_expires=True))
        made = admin.add("bob")
        assert authority.get(made.json["tokenId"]).owner == Owner("bob", name="Bob")
        machines = make_at(clock=clock, owner_types=["APPLICATION"])
        refused = Api(machines, issue(plain, "other", scope=[ALL], never_expires=True)).add("bob")
        assert (refused.status_code, refused.json["message"][:8]) == (400, "userId: ")


class TestGet:
    def test_a_pat_has_these_fields(self, api: Api, authority: Authority, clock: Clock) -> None:
        made = api.add(body={"expirationDate": "2030-06-01T00:00:00.5Z"}).json
        clock.advance(1001)
        authority.patch(made["tokenId"], [{"op": "replace", "path": "/name", "value": "x"}])
        response = api("GET", api.one(made["tokenId"]))
        assert response.status_code == 200
        assert response.json == {
            "token": {
                "id": made["tokenId"],
                "details": {
                    "sequence": "2",
                    "creationDate": NOW,
                    "changeDate": "2030-01-01T00:00:01.001Z",
                    "resourceOwner": "default",
                },
                "expirationDate": "2030-06-01T00:00:00.500Z",
                "scopes": [MY, "reports:read"],
            }
        }

    def test_an_id_that_the_user_has_not_is_404(self, api: Api, admin: Api) -> None:
        own, other = api.issued.pat.id, admin.issued.pat.id
        for caller, token_id, user_id in (
            (api, "0" * 32, "alice"),
            (api, other, "alice"),
            (api, other, "root"),
            (api, own, "root"),
            (admin, own, "root"),
            (admin, other, "alice"),
            *((api, odd, "alice") for odd in ("x", "me", "..", "a;b", "0" * 33, "A" * 32, "%00", "_Search")),
        ):
            for method in ("GET", "DELETE"):
                response = caller(method, caller.one(token_id, user_id))
                assert (response.status_code, response.json["code"]) == (404, 5), (token_id, user_id)
        assert (api.ids(), admin.ids()) == ([own], [other])
        assert admin("GET", admin.one(own, "alice")).status_code == 200

    @pytest.mark.parametrize("user_id", ["me", "a%20b", "%C3%A9", "x" * 129, "%00", "%0a"])
    def test_what_is_no_id_of_a_user_is_400(self, admin: Api, user_id: str) -> None:
        one, many = f"{USERS}/{user_id}/pats/{admin.issued.pat.id}", f"{USERS}/{user_id}/pats"
        for method, path, body in (
            ("GET", one, None),
            ("DELETE", one, None),
            ("POST", many, {}),
            ("POST", many + "/_search", {}),
        ):
            response = admin(method, path, body)
            assert (response.status_code, response.json["message"][:8]) == (400, "userId: "), method
        assert len(admin.ids()) == 1


class TestSearch:
    def test_newest_first_and_oldest_where_asked(self, api: Api, clock: Clock) -> None:
        made = [api.issued.pat.id]
        for _ in range(3):
            clock.advance(1)
            made.append(api.add().json["tokenId"])
        for asc in (..., None, False):
            query = {} if asc is ... else {"asc": asc}
            assert api.ids(**query) == made[::-1]
        assert api.ids(asc=True) == made
        assert api.ids(asc=True, offset=1, limit=2) == made[1:3]
        assert api.ids(asc=True, offset="1", limit="2") == made[1:3]
        assert api.ids(offset=4) == []
        assert api.ids(offset=2**64 - 1) == api.ids(offset=str(2**64 - 1)) == []
        assert api.ids(limit=0) == api.ids(limit="0", offset=None) == made[::-1], "as good as none"

    def test_what_an_answer_counts(self, api: Api, admin: Api, clock: Clock, authority: Authority) -> None:
        clock.advance(7)
        answer = api.search(limit=1).json
        before = int(answer["details"]["processedSequence"])
        assert answer["details"] == {
            "totalResult": "1",
            "processedSequence": str(before),
            "viewTimestamp": "2030-01-01T00:00:00.007Z",
        }
        made = admin.add("bob").json
        authority.delete(made["tokenId"])
        after = int(api.search().json["details"]["processedSequence"])
        assert after > before, "of the organisation, whoever was changed"
        assert len(admin.search("alice").json["result"]) == 1

    def test_zeros_are_left_out(self, admin: Api, clock: Clock) -> None:
        clock.advance(MINUTE)
        answer = admin.search("nobody").json
        assert set(answer) == {"details"}
        assert set(answer["details"]) == {"processedSequence", "viewTimestamp"}
        assert answer["details"]["viewTimestamp"] == "2030-01-01T00:01:00Z"
        other = admin("POST", f"{USERS}/nobody/pats/_search", {"query": {"offset": 3}}).json
        assert other == answer

    @pytest.mark.parametrize("body", [{}, {"query": None}, {"query": {}}, {"query": {"limit": None}}])
    def test_without_a_query_all_defaults_hold(self, api: Api, body: Any) -> None:
        response = api("POST", f"{USERS}/alice/pats/_search", body)
        assert (response.status_code, len(response.json["result"])) == (200, 1)

    def test_the_default_and_the_most_are_the_setting(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock, page_limit_zitadel=2)
        api = Api(authority, issue(authority, "maker", scope=[MY], never_expires=True))
        for _ in range(2):
            api.add()
        answer = api.search().json
        assert (len(answer["result"]), answer["details"]["totalResult"]) == (2, "3")
        assert len(api.ids(limit=2)) == 2
        for limit in (3, "3", 2**64 - 1):
            response = api.search(limit=limit)
            assert (response.status_code, response.json["message"]) == (400, "query.limit: give at most 2")

    def test_unset_it_is_a_thousand(self, api: Api) -> None:
        assert api.search(limit=1000).status_code == 200
        assert api.search(limit=1001).status_code == 400

    def test_of_others_it_takes_the_right_to_all_or_to_manage_them(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock, manages=lambda by, owner_id: owner_id == "bob")
        issue(authority, owner=Owner("bob"))
        for scope, of_bob, of_eve in (
            (["idn:my-personal-access-tokens:read"], 403, 403),
            (["idn:managed-personal-access-tokens:read"], 200, 403),
            (["idn:all-personal-access-tokens:read"], 200, 200),
        ):
            api = Api(authority, issue(authority, scope[0], scope=scope))
            assert api.search().status_code == 200
            assert (api.search("bob").status_code, api.search("eve").status_code) == (of_bob, of_eve)
        assert Api(authority, issue(authority, "plain", scope=["reports:read"])).search().status_code == 403

    def test_an_expired_one_is_listed_while_it_is_retained(self, api: Api, clock: Clock) -> None:
        made = api.add(body={"expirationDate": "2030-01-01T01:00:00Z"}).json["tokenId"]
        clock.advance(DAY)
        assert made in api.ids()
        clock.advance(31 * DAY)
        assert made not in api.ids()


class TestRemove:
    def test_it_answers_200_with_details_and_then_there_is_nothing(self, api: Api, clock: Clock) -> None:
        made = api.add().json
        clock.advance(500)
        response = api("DELETE", api.one(made["tokenId"]))
        assert response.status_code == 200
        assert response.json == {
            "details": {
                "sequence": "2",
                "changeDate": "2030-01-01T00:00:00.500Z",
                "resourceOwner": "default",
            }
        }
        assert api("DELETE", api.one(made["tokenId"])).status_code == 404
        assert api("GET", api.one(made["tokenId"])).status_code == 404
        refused = api("GET", api.one(api.issued.pat.id), authorization="Bearer " + made["token"])
        assert refused.status_code == 401

    def test_a_repeated_removal_waits_until_the_first_is_durable(
        self, api: Api, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = api.add().json["tokenId"]
        assert api("DELETE", api.one(made)).status_code == 200

        def unsure(*_: Any) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(authority.operations._store, "confirm_removals", unsure)
        assert api("DELETE", api.one(made)).status_code == 503


# -- request bodies ------------------------------------------------------------------------------------------

BAD_NUMBERS += ["01", "0x1", "\u0661", "one", True, False, [], {}, "9" * 5000]


class TestBodies:
    @pytest.mark.parametrize("name", ["offset", "limit"])
    @pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: ascii(value)[:20])
    def test_a_number_is_a_uint64_or_its_text(self, api: Api, name: str, value: Any) -> None:
        response = api.search(**{name: value})
        assert (response.status_code, response.json["message"].startswith(f"query.{name}: ")) == (400, True)

    @pytest.mark.parametrize(
        ("where", "body", "named"),
        [
            ("", {"expirationDate": JUNE, "expiration_date": JUNE}, "expirationDate: "),
            ("", {"name": "x"}, "there is no field name "),
            ("", {"userId": "alice"}, "there is no field userId "),
            ("", {"user_id": "alice"}, "there is no field user_id "),
            ("", {"scopes": ["a"]}, "there is no field scopes "),
            ("", {"ExpirationDate": JUNE}, "there is no field ExpirationDate "),
            ("", {"expiration-date": JUNE}, "there is no field expiration-date "),
            ("", {"tenant": "x"}, "there is no field tenant "),
            ("", {"a\r\nb": 1}, "there is no field of that name "),
            ("", [], "body: "),
            ("", None, "body: "),
            ("", "x", "body: "),
            ("/_search", [], "body: "),
            ("/_search", {"query": []}, "query: "),
            ("/_search", {"query": "x"}, "query: "),
            ("/_search", {"query": {"asc": "true"}}, "query.asc: "),
            ("/_search", {"query": {"asc": 1}}, "query.asc: "),
            ("/_search", {"query": {"page": 1}}, "there is no field query.page "),
            ("/_search", {"limit": 1}, "there is no field limit "),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    def test_a_bad_field_is_named(self, api: Api, where: str, body: Any, named: str) -> None:
        response = api(
            "POST", f"{USERS}/alice/pats{where}", data=json.dumps(body), content_type="application/json"
        )
        assert response.status_code == 400
        assert response.json["message"].startswith(named), response.text
        assert not re.search("[`$]|msgspec|Expected|object at", response.json["message"])
        assert api.ids() == [api.issued.pat.id]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"{'a': 1}",
            b"\xff",
            b'{"expirationDate":NaN}',
            b'{"query":{"limit":NaN}}',
            b'{"query":{"limit":Infinity}}',
            b'{"expirationDate":null,"expirationDate":null}',
            b'{"query":{"limit":1,"limit":1}}',
            b'{"expirationDate":"\\ud800"}',
            b"[" * 10_000,
            b'{"query":' * 1000,
            b'{"query":{"limit":' + b"9" * 5000 + b"}}",
        ],
        ids=lambda value: ascii(value)[:40],
    )
    def test_what_is_no_json_of_ours_is_400(self, api: Api, body: bytes) -> None:
        for path in (
            f"{USERS}/alice/pats",
            f"{USERS}/alice/pats/_search",
            CONNECT + "ListPersonalAccessTokens",
        ):
            response = api("POST", path, data=body, content_type="application/json")
            assert (response.status_code, len(response.json["message"]) > 5) == (400, True)
        assert len(api.ids()) == 1

    def test_a_body_over_16_kib_is_413(self, api: Api) -> None:
        assert api.add(body={"expirationDate": "x" * 17_000}).status_code == 413

    @pytest.mark.parametrize(
        "kind",
        [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/connect+json",
            "application/connect+proto",
            "application/proto",
            "Application/GRPC; charset=utf-8",
            "application/x-protobuf",
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
        ],
    )
    def test_another_framing_or_media_type_is_415_and_told_what_to_send(self, api: Api, kind: str) -> None:
        for path in (
            f"{USERS}/alice/pats",
            f"{USERS}/alice/pats/_search",
            CONNECT + "AddPersonalAccessToken",
        ):
            response = api("POST", path, {}, content_type=kind)
            assert (response.status_code, "application/json" in response.json["message"]) == (415, True)
        assert len(api.ids()) == 1

    def test_a_call_without_a_body_in_grpc_is_415_too(self, api: Api) -> None:
        one = api.one(api.issued.pat.id)
        for method in ("GET", "DELETE"):
            assert api(method, one, content_type="application/grpc").status_code == 415
        assert api("GET", one, content_type="application/json").status_code == 200


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


# -- organisations -------------------------------------------------------------------------------------------


def may_act_in(by: Caller, tenant: str) -> bool:
    return isinstance(by, Person) or (by.subject.id == "root" and tenant == "other")


@shared_engines
class TestOrganisation:
    @pytest.fixture
    def authority(self, make: Make, clock: Clock) -> Authority:
        return make(clock=clock, may_act_in=may_act_in)

    @pytest.fixture
    def other(self, make: Make, clock: Clock) -> Authority:
        return make(clock=clock, tenant="other")

    def test_ones_own_may_be_named(self, api: Api) -> None:
        headers = {"x-zitadel-orgid": "default"}
        assert api.add(headers=headers).json["details"]["resourceOwner"] == "default"

    def test_another_one_is_forbidden(self, api: Api, admin: Api, other: Authority) -> None:
        theirs = issue(other, owner=Owner("alice"))
        for caller, name in ((api, "other"), (admin, "third")):
            headers = {"X-Zitadel-Orgid": name}
            one = caller.one(theirs.pat.id, "alice")
            for method, path, body in (
                ("POST", f"{USERS}/alice/pats", {}),
                ("POST", f"{USERS}/alice/pats/_search", {}),
                ("GET", one, None),
                ("DELETE", one, None),
                ("POST", CONNECT + "ListPersonalAccessTokens", {}),
                ("POST", "/v2/users/pats/search", {}),
            ):
                response = caller(method, path, body, headers=headers)
                assert response.status_code == 403, path
                assert response.json["code"] in (7, "permission_denied")
        assert [pat.id for pat in other.list()] == [theirs.pat.id]

    @pytest.mark.parametrize(
        "name",
        ["", "a b", "me", "x" * 129, "a/b", "default,default", "default, other", "other,", "\xe9", ","],
    )
    def test_a_repeated_or_malformed_field_is_400(self, admin: Api, name: str) -> None:
        response = admin.add(environ={"HTTP_X_ZITADEL_ORGID": name})
        assert response.status_code == 400
        assert response.json["message"].startswith("x-zitadel-orgid: ")
        assert len(admin.ids()) == 1

    def test_who_may_act_there_does_so_and_nobody_there_is_themselves(
        self, admin: Api, other: Authority, authority: Authority
    ) -> None:
        theirs = issue(other, owner=Owner("root"))
        headers = {"x-zitadel-orgid": "other"}
        made = admin.add("root", headers=headers).json
        assert made["details"]["resourceOwner"] == "other"
        pat = other.get(made["tokenId"])
        assert (pat.tenant, pat.owner) == ("other", Owner("root"))
        listed = admin("POST", "/v2/users/pats/search", {}, headers=headers).json["result"]
        assert {shown["id"] for shown in listed} == {theirs.pat.id, made["tokenId"]}
        assert {shown["organizationId"] for shown in listed} == {"other"}
        assert admin.ids() == [admin.issued.pat.id], "without the field it is their own organisation"
        assert admin("DELETE", admin.one(made["tokenId"], "root")).status_code == 404
        assert admin("DELETE", admin.one(made["tokenId"], "root"), headers=headers).status_code == 200
        assert [pat.id for pat in other.list()] == [theirs.pat.id]
        refused = admin("GET", admin.one("0" * 32), authorization="Bearer " + theirs.token, headers=headers)
        assert refused.status_code == 401, "credentials from there are not let in here"

    def test_the_right_to_ones_own_is_worth_nothing_there(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, may_act_in=lambda by, tenant: True)
        other = make(clock=clock, tenant="other")
        theirs = issue(other, owner=Owner("alice"))
        api = Api(authority, issue(authority, "maker", scope=[MY], never_expires=True))
        headers = {"x-zitadel-orgid": "other"}
        one = api.one(theirs.pat.id)
        for method, path, body, status in (
            ("POST", f"{USERS}/alice/pats", {}, 403),
            ("POST", f"{USERS}/alice/pats/_search", {}, 403),
            ("GET", one, None, 404),
            ("DELETE", one, None, 404),
        ):
            assert api(method, path, body, headers=headers).status_code == status, path
        assert [pat.id for pat in other.list()] == [theirs.pat.id]

    def test_a_rule_that_fails_lets_nobody_in(self, make: Make, clock: Clock) -> None:
        def broken(by: Caller, tenant: str) -> bool:
            raise RuntimeError("inner words")

        authority = make(clock=clock, may_act_in=broken)
        api = Api(authority, issue(authority, "maker", scope=[ALL], never_expires=True))
        response = api.add(headers={"x-zitadel-orgid": "other"})
        assert (response.status_code, "inner" in response.text) == (403, False)


# -- errors --------------------------------------------------------------------------------------------------


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

        for name in ("create_pat", "list", "get", "delete", "tenant_sequence"):
            monkeypatch.setattr(authority, name, broken)
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
            ring.secret_tag(made["tokenId"], secret).hex(),
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


class TestGuests:
    def test_whom_a_guest_manages_at_home_is_another_here(self, make_at: Make, clock: Clock) -> None:
        """Equal ids in two organisations are two people."""
        settings = {"manages": lambda by, owner: owner == "bob", "may_act_in": lambda by, tenant: True}
        home, away = make_at(clock=clock, **settings), make_at(clock=clock, tenant="acme")
        scopes = ["idn:my-personal-access-tokens:manage", "idn:managed-personal-access-tokens:read"]
        by = home.verify_bearer(issue(home, "maker", scope=scopes).token)
        theirs = issue(away, owner=Owner("bob"), name="theirs")
        acting = home.operations.management_in("acme", by)
        with pytest.raises(NotFound):
            acting.get(theirs.pat.id, by=by)
        with pytest.raises(Forbidden):
            acting.list(owner_id="bob", by=by)

    def test_what_was_opened_for_one_caller_serves_no_other(self, make_at: Make, clock: Clock) -> None:
        home = make_at(clock=clock, may_act_in=lambda by, tenant: by.subject.id == "alice")
        alice = home.verify_bearer(issue(home, "a", scope=[ALL]).token)
        bob = home.verify_bearer(issue(home, "b", owner=Owner("bob"), scope=[ALL]).token)
        acting = home.operations.management_in("acme", alice)
        assert acting.list(by=alice) == []
        for by in (bob, None):
            with pytest.raises(Forbidden):
                acting.list(by=by)
        assert not hasattr(acting, "authenticate")

    def test_the_trail_says_where_and_from_where(
        self, make_at: Make, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        home = make_at(clock=clock, may_act_in=lambda by, tenant: True)
        alice = home.verify_bearer(issue(home, "a", scope=["reports:read", ALL]).token)
        acting = home.operations.management_in("acme", alice)
        with caplog.at_level("INFO", "patauth.audit"):
            acting.create(
                owner=Owner("zoe"), name="x", scope=["reports:read"], expires_in=timedelta(days=1), by=alice
            )
        event = json.loads(caplog.records[-1].getMessage())
        assert (event["tenant"], event["byTenant"]) == ("acme", "default")
