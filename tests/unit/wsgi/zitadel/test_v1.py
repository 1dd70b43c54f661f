"""Version 1 of ZITADEL's management API."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, Owner
from patauth.errors import StoreUnavailable
from patauth.store.pats import Pats
from tests.support.authorities import ALICE, Make, issue
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.zitadel import ALL, BAD_NUMBERS, CONNECT, JUNE, MY, NEVER, NOW, USERS, Api

ID = re.compile(r"[0-9a-f]{32}")


DATES: list[tuple[Any, str | None]] = [
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
]


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

    @pytest.mark.parametrize("spelling", ["expirationDate", "expiration_date"])
    def test_an_expiry_is_a_date_time_of_rfc_3339_in_the_future(self, api: Api, spelling: str) -> None:
        for date, written in DATES:
            before = api.ids()
            response = api.add(body={spelling: date})
            if written is None:
                assert (response.status_code, response.json["code"]) == (400, 3), date
                assert response.json["message"].startswith("expirationDate: "), date
                assert api.ids() == before, date
            else:
                shown = api("GET", api.one(response.json["tokenId"])).json["token"]
                assert shown["expirationDate"] == written, date

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


NO_USERS = ["me", "a%20b", "%C3%A9", "x" * 129, "%00", "%0a"]


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

    def test_what_is_no_id_of_a_user_is_400(self, admin: Api) -> None:
        for user_id in NO_USERS:
            one, many = f"{USERS}/{user_id}/pats/{admin.issued.pat.id}", f"{USERS}/{user_id}/pats"
            for method, path, body in (
                ("GET", one, None),
                ("DELETE", one, None),
                ("POST", many, {}),
                ("POST", many + "/_search", {}),
            ):
                response = admin(method, path, body)
                assert response.status_code == 400, (method, user_id)
                assert response.json["message"].startswith("userId: "), (method, user_id)
            assert len(admin.ids()) == 1, user_id


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
        assert after > before, "of the organisation, not of the one PAT"
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

        monkeypatch.setattr(Pats, "confirmed", unsure)
        assert api("DELETE", api.one(made)).status_code == 503


# -- request bodies ------------------------------------------------------------------------------------------

NO_NUMBERS = [*BAD_NUMBERS, "01", "0x1", "\u0661", "one", True, False, [], {}, "9" * 5000]


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("", {"expirationDate": JUNE, "expiration_date": JUNE}, "expirationDate: "),
    ("", {"name": "x"}, "there is no field name "),
    ("", {"userId": "bob"}, "userId: give the id that is in the path"),
    ("", {"tokenId": "x"}, "there is no field tokenId "),
    ("", {"user_id": "bob"}, "userId: give the id that is in the path"),
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
]


NO_BODIES = [
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
]


OTHER_TYPES = [
    "application/grpc",
    "application/grpc+proto",
    "application/connect+json",
    "application/connect+proto",
    "Application/GRPC; charset=utf-8",
    "application/x-protobuf",
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
]
OF_SERVICES = [  # read at the paths of services alone
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/proto",
]


class TestBodies:
    @pytest.mark.parametrize("name", ["offset", "limit"])
    def test_a_number_is_a_uint64_or_its_text(self, api: Api, name: str) -> None:
        for value in NO_NUMBERS:
            response = api.search(**{name: value})
            assert response.status_code == 400, repr(value)
            assert response.json["message"].startswith(f"query.{name}: "), repr(value)

    def test_a_bad_field_is_named(self, api: Api) -> None:
        for where, body, named in BAD_FIELDS:
            response = api(
                "POST", f"{USERS}/alice/pats{where}", data=json.dumps(body), content_type="application/json"
            )
            assert response.status_code == 400, body
            assert response.json["message"].startswith(named), (body, response.text)
            assert not re.search("[`$]|msgspec|Expected|object at", response.json["message"]), body
            assert api.ids() == [api.issued.pat.id], body

    def test_what_is_no_json_of_ours_is_400(self, api: Api) -> None:
        for body in NO_BODIES:
            for path in (
                f"{USERS}/alice/pats",
                f"{USERS}/alice/pats/_search",
                CONNECT + "ListPersonalAccessTokens",
            ):
                response = api("POST", path, data=body, content_type="application/json")
                assert (response.status_code, len(response.json["message"]) > 5) == (400, True), body
            assert len(api.ids()) == 1, body

    def test_a_body_over_16_kib_is_413(self, api: Api) -> None:
        assert api.add(body={"expirationDate": "x" * 17_000}).status_code == 413

    def test_another_framing_or_media_type_is_415_and_told_what_to_send(self, api: Api) -> None:
        for kind in OTHER_TYPES:
            for path in (
                f"{USERS}/alice/pats",
                f"{USERS}/alice/pats/_search",
                CONNECT + "AddPersonalAccessToken",
            ):
                response = api("POST", path, {}, content_type=kind)
                assert response.status_code == 415, kind
                assert "application/json" in response.json["message"], kind
            assert len(api.ids()) == 1, kind

    def test_forms_of_the_services_are_told_where_these_are(self, api: Api) -> None:
        for kind in OF_SERVICES:
            for path in (f"{USERS}/alice/pats", f"{USERS}/alice/pats/_search", "/v2/users/pats/search"):
                response = api("POST", path, data=b"", content_type=kind)
                assert response.status_code == 415, (kind, path)
                assert "POST /SERVICE/METHOD" in response.json["message"], (kind, path)
                assert "--grpc-bind" in response.json["message"], (kind, path)
        assert len(api.ids()) == 1

    def test_a_call_without_a_body_in_grpc_is_415_too(self, api: Api) -> None:
        one = api.one(api.issued.pat.id)
        for method in ("GET", "DELETE"):
            assert api(method, one, content_type="application/grpc").status_code == 415
        assert api("GET", one, content_type="application/json").status_code == 200
