"""The management API in the dialect of Identity Security Cloud, in each of its versions."""

from __future__ import annotations

import json
import logging
import re
from functools import partial
from typing import Any

import pytest
from werkzeug.test import TestResponse

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware
from patauth.model.dates import format_ms
from patauth.model.pat_id import PatId
from patauth.operations.operations import Operations
from patauth.wsgi.isc import routes
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import DAY, Clock
from tests.support.tables import each
from tests.support.tenants import put
from tests.support.wsgi import Echo, request

VERSIONS = {name: version.path for name, version in routes.VERSIONS.items()}
SHORT, LONG = ["v3", "beta", "v2024"], ["v1", "v2025", "v2026"]  # lived: six months at most, or for ever
V1 = VERSIONS["v1"]
ID = re.compile(r"[0-9a-f]{32}")
NEVER = "9999-12-31T23:59:59.999Z"
MANAGE = ["sp:scopes:all", "idn:my-personal-access-tokens:manage"]
ADMIN = ["sp:scopes:all", "idn:all-personal-access-tokens:manage"]

every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def authority(make_at: Make, clock: Clock) -> Authority:
    return make_at(clock=clock, max_pats_per_owner=100, request_quota="1000000/1")


class Api:
    """A caller with a PAT of their own."""

    def __init__(self, authority: Authority, issued: IssuedPat) -> None:
        self.app = Echo()
        self.gate = PatAuthMiddleware(self.app, authority, surfaces=["oauth", "isc"])
        self.issued = issued

    def __call__(self, method: str, path: str, body: Any = None, **given: Any) -> TestResponse:
        if body is not None:
            kind = "application/json-patch+json" if isinstance(body, list) else "application/json"
            given = {"data": json.dumps(body), "content_type": kind, **given}
        given.setdefault("authorization", basic_of(self.issued))
        response = request(self.gate, path, method=method, **given)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert self.app.seen == [], "nothing of this is the application's"
        return response

    def create(self, version: str = "v1", **fields: Any) -> TestResponse:
        body = {"name": "new", "scope": ["reports:read"], "expirationDate": "2030-06-01T00:00:00Z", **fields}
        return self("POST", VERSIONS[version], {name: value for name, value in body.items() if value != ...})

    def names(self) -> list[str]:
        listed = self("GET", f"{V1}?owner-id=me")
        assert listed.status_code == 200
        return sorted(pat["name"] for pat in listed.json)


@pytest.fixture
def api(authority: Authority) -> Api:
    return Api(authority, issue(authority, "maker", scope=[*MANAGE, "reports:read"], never_expires=True))


@pytest.fixture
def admin(authority: Authority) -> Api:
    scope = [*ADMIN, "reports:read"]
    return Api(authority, issue(authority, "root", owner=Owner("root"), scope=scope, never_expires=True))


def said(response: TestResponse) -> str:
    return " ".join(cause["text"] for cause in response.json["causes"])


DATES: list[tuple[Any, str | None]] = [
    ("2030-06-01t12:00:00.123456+02:00", "2030-06-01T10:00:00.123Z"),
    ("2030-06-01T00:00:00.000000+00:00", "2030-06-01T00:00:00.000Z"),  # as the vendor's SDK sends it
    ("2029-12-31T23:59:59Z", None),
    ("2030-01-01T00:00:00Z", None),  # now
    ("2030-06-01", None),
    ("2030-06-01T00:00:00", None),
    ("10000-01-01T00:00:00Z", None),
    ("", None),
    ("soon", None),
    (1_900_000_000_000, None),
    (True, None),
]


class TestCreate:
    @every_version
    def test_it_answers_200_with_all_required_fields_and_none_is_null(self, api: Api, version: str) -> None:
        response = api.create(version, accessTokenValiditySeconds=900)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        made = response.json
        assert ID.fullmatch(made.pop("id"))
        assert made.pop("secret").startswith("pats_")
        assert made == {
            "name": "new",
            "scope": ["reports:read"],
            "owner": {"type": "IDENTITY", "id": "alice", "name": "Alice"},
            "created": "2030-01-01T00:00:00.000Z",
            "accessTokenValiditySeconds": 900,
            "expirationDate": "2030-06-01T00:00:00.000Z",
            **({"networks": [], "state": "active"} if version == "v1" else {}),
        }

    def test_in_v1_creation_and_rotation_tell_what_a_read_does_where_it_is_not_null(
        self, authority: Authority, clock: Clock
    ) -> None:
        """So who leaves networks and quota out sees what the new PAT has of its maker."""
        right = "idn:my-personal-access-tokens:manage"
        maker = issue(
            authority, "bound", scope=["reports:read", right], networks=["127.0.0.1"], request_quota="9/3"
        )
        bound = partial(Api(authority, maker), environ={"REMOTE_ADDR": "127.0.0.1"})
        names = ("description", "networks", "notBefore", "requestQuota", "state")
        inherited = {"networks": ["127.0.0.1/32"], "requestQuota": "9/3"}
        begin = "2030-01-01T00:00:01.000Z"
        body = {"name": "new", "scope": ["reports:read"], "expirationDate": "2030-01-20T00:00:00Z"}
        made = bound("POST", V1, {**body, "description": "for CI", "notBefore": begin}).json
        ours = {"description": "for CI", "notBefore": begin, "state": "not_yet", **inherited}
        assert {name: made[name] for name in names} == ours
        clock.advance(1000)
        rotated = bound("POST", f"{V1}/{made['id']}/rotate").json
        assert {name: rotated[name] for name in names} == {**ours, "state": "active"}
        shown = bound("GET", f"{V1}/{made['id']}").json
        assert {name: shown[name] for name in names} == {**ours, "state": "active"}

    @every_version
    @pytest.mark.parametrize("absent", [..., None])
    def test_what_is_null_or_absent_has_a_default(self, api: Api, version: str, absent: Any) -> None:
        more = {"userAwareTokenNeverExpires": True} if version in LONG else {}
        missing = dict.fromkeys(["scope", "accessTokenValiditySeconds", "expirationDate", "owner"], absent)
        made = api.create(version, **missing, **more).json
        assert made["scope"] == ["sp:scopes:all"]
        assert made["accessTokenValiditySeconds"] == 43_200
        assert made["owner"]["id"] == "alice"
        assert made["expirationDate"] == (NEVER if version in LONG else "2030-07-01T00:00:00.000Z")

    def test_the_secret_works_and_the_pat_is_there(self, api: Api, authority: Authority) -> None:
        made = api.create().json
        assert authority.verify_basic(made["id"], made["secret"]).scopes == {"reports:read"}
        assert authority.get(made["id"]).name == "new"

    def test_an_owners_type_is_given_or_not(self, admin: Api) -> None:
        for number, (kind, status) in enumerate(
            [(..., 200), (None, 200), ("ROLE", 200), ("", 400), ("role", 400)]
        ):
            owner = {"id": "bob", "type": kind} if kind != ... else {"id": "bob"}
            made = admin.create(name=str(number), owner=owner)
            assert made.status_code == status, kind
            assert status == 400 or made.json["owner"]["type"] == (kind if kind == "ROLE" else "IDENTITY")

    @pytest.mark.parametrize("version", SHORT)
    def test_six_months_are_the_longest_where_the_version_says_so(self, api: Api, version: str) -> None:
        latest = "2030-07-01T00:00:00.000Z"
        assert api.create(version, expirationDate=latest).json["expirationDate"] == latest
        late = api.create(version, name="late", expirationDate="2030-07-01T00:00:00.001Z")
        assert (late.status_code, "expirationDate" in said(late)) == (400, True)
        never = api.create(version, name="never", userAwareTokenNeverExpires=True)
        assert (never.status_code, "userAwareTokenNeverExpires" in said(never)) == (400, True)
        assert api.names() == ["maker", "new"]

    @pytest.mark.parametrize("version", LONG)
    def test_for_ever_has_to_be_acknowledged_where_it_is_possible(self, api: Api, version: str) -> None:
        for number, (date, aware, status) in enumerate(
            [
                (..., ..., 400),
                (None, None, 400),
                (None, False, 400),
                (..., True, 200),
                (None, True, 200),
                ("3019-01-01T00:00:00Z", ..., 200),
                ("2030-06-01T00:00:00Z", True, 200),
                (NEVER, False, 200),
            ]
        ):
            response = api.create(
                version, name=str(number), expirationDate=date, userAwareTokenNeverExpires=aware
            )
            assert response.status_code == status, (date, aware)
            if status == 400:
                assert re.search("expirationDate|userAwareTokenNeverExpires", said(response))

    @every_version
    def test_an_expiry_is_a_date_time_of_rfc_3339_in_the_future(self, api: Api, version: str) -> None:
        for date, written in DATES:
            before = api.names()
            response = api.create(version, name=str(len(before)), expirationDate=date)
            if written is None:
                assert (response.status_code, "expirationDate" in said(response)) == (400, True), date
                assert api.names() == before, date
            else:
                assert response.json["expirationDate"] == written, date

    def test_another_owner_takes_the_right_to_all(self, api: Api, admin: Api) -> None:
        owner = {"id": "carol", "name": "Carol", "type": "IDENTITY"}
        assert admin.create(owner=owner).json["owner"] == owner
        only_id = admin.create(name="bare", owner={"id": "dave"}).json["owner"]
        assert only_id == {"id": "dave", "name": "dave", "type": "IDENTITY"}
        nulls = admin.create(name="nulls", owner={"id": "erin", "name": None, "type": None}).json["owner"]
        assert nulls == {"id": "erin", "name": "erin", "type": "IDENTITY"}
        assert api.create(owner=owner).status_code in (403, 404)

    def test_a_name_twice_and_one_too_many_are_400(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, max_pats_per_owner=3, request_quota="1000000/1")
        api = Api(authority, issue(authority, "maker", scope=[*MANAGE, "reports:read"], never_expires=True))
        assert api.create().status_code == 200
        twice = api.create()
        assert (twice.status_code, twice.json["detailCode"]) == (400, "400.1 Bad Request Content")
        assert "name" in said(twice)
        assert api.create(name="third").status_code == 200
        assert api.create(name="fourth").status_code == 400
        assert api.names() == ["maker", "new", "third"]


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"name": ...}, "name"),
    ({"name": None}, "name"),
    ({"name": 1}, "name"),
    ({"name": ""}, "name"),
    ({"name": "x" * 129}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"scope": "reports:read"}, "scope"),
    ({"scope": []}, "scope"),
    ({"scope": ["reports:read", 1]}, r"scope\[1\]"),
    ({"scope": ["reports read"]}, "scope"),
    ({"scope": ["x" * 129]}, "scope"),
    ({"scope": [f"s{number}" for number in range(257)]}, "scopes"),
    ({"scope": ["unknown:to:the:maker"]}, "scope"),
    ({"accessTokenValiditySeconds": 14}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": 43_201}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": -900}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": 10**50}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": 900.5}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": "900"}, "accessTokenValiditySeconds"),
    ({"accessTokenValiditySeconds": True}, "accessTokenValiditySeconds"),
    ({"owner": "alice"}, "owner"),
    ({"owner": {}}, r"owner\.id"),
    ({"owner": {"id": 1}}, r"owner\.id"),
    ({"owner": {"id": "me"}}, r"owner\.id"),
    ({"owner": {"id": "a b"}}, r"owner\.id"),
    ({"owner": {"id": "a", "type": "NOBODY"}}, r"owner\.type"),
    ({"owner": {"id": "a", "name": "\x00"}}, r"owner\.name"),
    ({"owner": {"id": "a", "email": "x"}}, r"owner\.email"),
    # Mass assignment (P6)
    ({"id": "0" * 32}, "id"),
    ({"secret": "pats_x"}, "secret"),
    ({"created": "2020-01-01T00:00:00Z"}, "created"),
    ({"lastUsed": None}, "lastUsed"),
    ({"managed": True}, "managed"),
    ({"tenant": "other"}, "tenant"),
    ({"request_quota": "1/1"}, "request_quota"),
    ({"expiration_date": None}, "expiration_date"),
    ({"Name": "x"}, "Name"),
    ({"a name\r\nwith \u2028lines": 1}, "of that name"),
    ({"x" * 5000: 1}, "of that name"),
]


NO_ACKNOWLEDGEMENTS: list[Any] = ["true", 1, 0, "", []]


NO_OBJECTS = [
    b"",
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b"{",
    b"{'name': 'x'}",
    b'{"name":"a","name":"b"}',
    b"\xff",
    b'{"name":NaN}',
    b'{"name":"\\ud800"}',
    b"[" * 10_000,
    b'{"accessTokenValiditySeconds":' + b"9" * 5000 + b"}",
]


class TestBodies:
    @every_version
    def test_a_bad_field_is_named_and_nothing_is_made(self, admin: Api, version: str) -> None:
        for fields, named in BAD_FIELDS:
            response = admin.create(version, **fields)
            text = said(response)
            assert response.status_code == 400, fields
            assert response.json["detailCode"] == "400.1 Bad Request Content", fields
            assert re.search(rf"\b{named}(?!\w)", text), (fields, text)
            assert not re.search("[`$]|msgspec|Expected|object at", text), (fields, "in words of the API")
            assert admin.names() == ["root"], fields

    @pytest.mark.parametrize("version", LONG)
    def test_an_acknowledgement_is_true_false_or_null(self, api: Api, version: str) -> None:
        for value in NO_ACKNOWLEDGEMENTS:
            response = api.create(version, userAwareTokenNeverExpires=value)
            assert response.status_code == 400, repr(value)
            assert "userAwareTokenNeverExpires" in said(response), repr(value)

    def test_what_is_no_object_of_json_is_400(self, api: Api) -> None:
        for body in NO_OBJECTS:
            for method, path in (("POST", V1), ("POST", V1 + "/bulk-update"), ("PATCH", V1 + "/bulk-update")):
                response = api(method, path, data=body, content_type="application/json")
                assert (response.status_code, len(said(response)) > 5) == (400, True), body
            assert api.names() == ["maker"], body

    def test_a_body_over_16_kib_is_413(self, api: Api) -> None:
        response = api.create(name="x" * 17_000)
        assert (response.status_code, response.json["detailCode"][:3]) == (413, "413")
        one = f"{V1}/{api.issued.pat.id}"
        patch = [{"op": "replace", "path": "/name", "value": "x" * 17_000}]
        assert api("PATCH", one, patch).status_code == 413
        assert api.names() == ["maker"]

    @every_version
    def test_a_post_that_lacks_its_body_is_400_and_a_patch_415(self, api: Api, version: str) -> None:
        base = VERSIONS[version]
        response = api("POST", base)
        assert response.status_code == 400
        assert response.json["causes"][0]["text"] == "the body is empty; send JSON"
        response = api("PATCH", f"{base}/{api.issued.pat.id}")
        assert response.status_code == 415
        assert response.headers["Accept-Patch"] == "application/json-patch+json"

    @every_version
    def test_another_media_type_is_415_and_a_patch_says_what_it_takes(self, api: Api, version: str) -> None:
        base = VERSIONS[version]
        body = {"name": "x"}
        for kind in ("application/json-patch+json", "text/plain", "application/x-www-form-urlencoded", ""):
            assert api("POST", base, body, content_type=kind).status_code == 415, kind
        patch = [{"op": "replace", "path": "/name", "value": "x"}]
        for kind in ("application/json", "application/merge-patch+json", "text/plain", ""):
            response = api("PATCH", f"{base}/{api.issued.pat.id}", patch, content_type=kind)
            assert response.status_code == 415, kind
            assert response.headers["Accept-Patch"] == "application/json-patch+json"
        assert api.names() == ["maker"]


class TestRepresentation:
    @every_version
    def test_a_read_has_the_fields_of_its_version(self, api: Api, version: str, authority: Authority) -> None:
        api.create(version)
        listed = api("GET", f"{VERSIONS[version]}?owner-id=me").json
        (shown,) = [pat for pat in listed if pat["name"] == "new"]
        assert ID.fullmatch(shown.pop("id"))
        aware = {"userAwareTokenNeverExpires": False} if version in LONG else {}
        if version == "v1":
            assert shown.pop("madeBy")["ownerId"] == "alice"
            aware |= {
                "description": None,
                "networks": [],
                "notBefore": None,
                "requestQuota": None,
                "state": "active",
                "lastUsedFrom": None,
            }
        assert shown == {
            "name": "new",
            "scope": ["reports:read"],
            "owner": {"type": "IDENTITY", "id": "alice", "name": "Alice"},
            "created": "2030-01-01T00:00:00.000Z",
            "lastUsed": None,
            "managed": False,
            "accessTokenValiditySeconds": 43_200,
            "expirationDate": "2030-06-01T00:00:00.000Z",
            **aware,
        }

    def test_for_ever_is_null_where_the_version_knows_it_and_a_far_date_elsewhere(self, api: Api) -> None:
        api.create(expirationDate=None, userAwareTokenNeverExpires=True)
        for version, path in VERSIONS.items():
            (shown,) = [pat for pat in api("GET", f"{path}?owner-id=me").json if pat["name"] == "new"]
            assert shown["expirationDate"] == (None if version in LONG else NEVER)
            assert shown.get("userAwareTokenNeverExpires") == (True if version in LONG else None)

    def test_last_used_is_a_date_once_it_was_used(self, api: Api, authority: Authority, clock: Clock) -> None:
        made = api.create().json
        clock.advance(DAY + 7)
        authority.exchange(made["id"], made["secret"])
        shown = api("GET", f"{V1}/{made['id']}").json
        assert shown["lastUsed"] == "2030-01-02T00:00:00.007Z"

    def test_a_pat_made_elsewhere_without_a_validity_shows_the_setting(
        self, api: Api, authority: Authority
    ) -> None:
        issued = issue(authority, "elsewhere")
        shown = api("GET", f"{V1}/{issued.pat.id}").json
        assert shown["accessTokenValiditySeconds"] == authority.settings.access_token_ttl == 900

    def test_the_secret_is_shown_once_and_what_keeps_it_never(self, api: Api, authority: Authority) -> None:
        """S5, over every answer that shows a PAT."""
        made = api.create().json
        one = f"{V1}/{made['id']}"
        ring = authority.operations.keyring()
        secret = authority.operations.format.basic(made["id"], made["secret"]).secret
        hidden = [
            made["secret"],
            made["secret"][5:48],
            "argon2",
            ring.secret_tag(PatId(made["id"]), secret).hex(),
        ]
        patch = [{"op": "replace", "path": "/name", "value": "other"}]
        bulk = {"ids": [made["id"]], "patch": [{"op": "remove", "path": "/expirationDate"}]}
        bulk["patch"] += [{"op": "add", "path": "/userAwareTokenNeverExpires", "value": True}]
        answers = [
            api("GET", f"{V1}?owner-id=me"),
            api("GET", one),
            api("PATCH", one, patch),
            api("GET", V1 + "/self"),
            *(api("GET", f"{path}?owner-id=me") for path in VERSIONS.values()),
            api("PATCH", one, patch, content_type="application/json"),
            Api(authority, issue(authority, "boss", scope=ADMIN, never_expires=True))(
                "PATCH", V1 + "/bulk-update", bulk
            ),
        ]
        known = {"id", "name", "scope", "owner", "created", "lastUsed", "managed"}
        known |= {"accessTokenValiditySeconds", "expirationDate", "userAwareTokenNeverExpires"}
        known |= {"description", "networks", "notBefore", "requestQuota", "state", "lastUsedFrom", "madeBy"}
        for response in answers:
            assert not [part for part in hidden if part in response.text + str(response.headers)]
            shown = response.json if isinstance(response.json, list) else [response.json]
            if response.status_code == 200:
                assert all(set(pat) <= known for pat in shown)
        rotated = api("POST", one + "/rotate").json
        assert rotated["secret"] != made["secret"]
        assert set(rotated) == set(made)


BAD_PARAMETERS = [
    ("owner-id=", "owner-id"),
    ("owner-id=me&owner-id=me", "owner-id"),
    ("owner-id=a%20b", "owner-id"),
    ("owner-id=me&limit=", "limit"),
    ("owner-id=me&limit=-1", "limit"),
    ("owner-id=me&limit=251", "limit"),
    ("owner-id=me&limit=1.0", "limit"),
    ("owner-id=me&limit=%2B1", "limit"),
    ("owner-id=me&limit=1e1", "limit"),
    ("owner-id=me&limit=%D9%A1", "limit"),
    ("owner-id=me&limit=" + "9" * 5000, "limit"),
    ("owner-id=me&limit=1&limit=1", "limit"),
    ("owner-id=me&offset=-1", "offset"),
    ("owner-id=me&offset=x", "offset"),
    ("owner-id=me&offset=9999999999", "offset"),
    ("owner-id=me&count=1", "count"),
    ("owner-id=me&count=True", "count"),
    ("owner-id=me&count=", "count"),
    ("owner-id=me&filters=", "filters"),
    ("owner-id=me&filters=lastUsed%20between%201", "filters"),
    ("owner-id=me&filters=secret%20eq%20%22x%22", "filters"),
    ("owner-id=me&sorters=", "sorters"),
    ("owner-id=me&sorters=secret", "sorters"),
    ("owner_id=me", "owner_id"),
    ("owner-id=me&page=2", "page"),
    ("owner-id=me&a%0D%0Ab=2", "of that name"),
]


class TestList:
    def test_me_is_the_caller_and_no_owner_is_everybody(self, api: Api, admin: Api) -> None:
        api.create()
        assert api.names() == ["maker", "new"]
        assert sorted(pat["name"] for pat in admin("GET", V1).json) == ["maker", "new", "root"]
        assert sorted(pat["name"] for pat in admin("GET", f"{V1}?owner-id=alice").json) == ["maker", "new"]
        for query in ("", "?owner-id=root", "?owner-id=nobody"):
            assert api("GET", V1 + query).status_code == 403
        assert admin("GET", f"{V1}?owner-id=nobody").json == []

    @every_version
    def test_a_parameter_that_is_wrong_or_unknown_is_named(self, api: Api, version: str) -> None:
        """W8, and whatever is unsupported is refused, never ignored."""
        for query, named in BAD_PARAMETERS:
            response = api("GET", f"{VERSIONS[version]}?{query}")
            assert response.status_code == 400, query
            text = said(response)
            assert re.match(rf"({named}:|there is no parameter {named} here)", text), (query, text)

    def test_pages_sorters_filters_and_a_count(self, api: Api) -> None:
        for name in "cab":
            api.create(name=name)

        def names(query: str) -> list[str]:
            response = api("GET", f"{V1}?owner-id=me&{query}")
            assert "X-Total-Count" not in response.headers
            return [pat["name"] for pat in response.json]

        assert names("sorters=name") == ["a", "b", "c", "maker"]
        assert names("sorters=-name&limit=2") == ["maker", "c"]
        assert names("sorters=name&offset=1&limit=2&count=false") == ["b", "c"]
        assert names("sorters=name&offset=4") == []
        assert names("limit=0") == []
        assert sorted(names("filters=lastUsed+isnull")) == ["a", "b", "c"]
        assert names("filters=lastUsed%20isnull%20and%20name%20eq%20%22a%22") == ["a"]
        assert names("limit=250&sorters=created,-name") == ["maker", "c", "b", "a"]

    @every_version
    def test_count_is_of_all_that_match_whatever_the_page(self, api: Api, version: str) -> None:
        for name in "abc":
            api.create(name=name)
        for query, total, here in [
            ("count=true", 4, 4),
            ("count=true&limit=1", 4, 1),
            ("count=true&limit=0", 4, 0),
            ("count=true&limit=2&offset=3", 4, 1),
            ("count=true&filters=lastUsed%20isnull&limit=1", 3, 1),
        ]:
            response = api("GET", f"{VERSIONS[version]}?owner-id=me&{query}")
            assert (response.headers["X-Total-Count"], len(response.json)) == (str(total), here), query


BAD_PATCHES: list[Any] = [
    {"op": "replace", "path": "/name", "value": "x"},
    [],
    [1],
    [{"op": "replace", "path": "", "value": {}}],
    [{"op": "replace", "path": "/owner/id", "value": "x"}],
    [{"op": "replace", "path": "/owner", "value": {"id": "x"}}],
    [{"op": "replace", "path": "/id", "value": "0" * 32}],
    [{"op": "add", "path": "/secret", "value": "x"}],
    [{"op": "replace", "path": "/created", "value": "2020-01-01T00:00:00Z"}],
    [{"op": "replace", "path": "/lastUsed", "value": None}],
    [{"op": "replace", "path": "/accessTokenValiditySeconds", "value": 900}],
    [{"op": "remove", "path": "/name"}],
    [{"op": "replace", "path": "/name", "value": 1}],
    [{"op": "replace", "path": "/name", "value": None}],
    [{"op": "replace", "path": "/scope", "value": "reports:read"}],
    [{"op": "replace", "path": "/scope", "value": []}],
    [{"op": "replace", "path": "/scope", "value": [None]}],
    [{"op": "replace", "path": "/scope/01", "value": "x"}],
    [{"op": "replace", "path": "/scope", "value": ["more:than:mine"]}],
    [{"op": "copy", "from": "/owner/name", "path": "/name"}],
    [{"op": "test", "path": "/name", "value": "other"}],
    [
        {"op": "replace", "path": "/name", "value": "x"},
        {"op": "test", "path": "/name", "value": "y"},
    ],
    [{"op": "spam", "path": "/name", "value": "x"}],
]


class TestPatch:
    @every_version
    def test_it_answers_with_the_new_representation(self, api: Api, version: str) -> None:
        made = api.create().json
        one = f"{VERSIONS[version]}/{made['id']}"
        patch = [
            {"op": "test", "path": "/name", "value": "new"},
            {"op": "replace", "path": "/name", "value": "renamed"},
            {"op": "add", "path": "/scope/-", "value": "idn:my-personal-access-tokens:read"},
        ]
        response = api("PATCH", one, patch)
        assert response.status_code == 200
        assert response.json["name"] == "renamed"
        assert response.json["scope"] == ["reports:read", "idn:my-personal-access-tokens:read"]
        assert ("userAwareTokenNeverExpires" in response.json) == (version in LONG)
        assert api("GET", f"{V1}/{made['id']}").json["name"] == "renamed"

    @every_version
    def test_the_expiry_can_be_patched_from_v2025_on(self, api: Api, version: str) -> None:
        made = api.create().json
        one = f"{VERSIONS[version]}/{made['id']}"
        date = "2030-05-01T00:00:00.000Z"
        response = api("PATCH", one, [{"op": "replace", "path": "/expirationDate", "value": date}])
        assert response.status_code == (200 if version in LONG else 400)
        if version in LONG:
            assert response.json["expirationDate"] == date
            aware = {"op": "add", "path": "/userAwareTokenNeverExpires", "value": True}
            for removal in (
                {"op": "remove", "path": "/expirationDate"},
                {"op": "replace", "path": "/expirationDate", "value": None},
                {"op": "replace", "path": "/expirationDate"},  # the SDK drops a null
            ):
                assert api("PATCH", one, [removal]).status_code == 400
                never = api("PATCH", one, [removal, aware])
                assert never.json["expirationDate"] is None
                assert never.json["userAwareTokenNeverExpires"] is True
                back = [{"op": "replace", "path": "/expirationDate", "value": date}]
                back += [{"op": "replace", "path": "/userAwareTokenNeverExpires", "value": False}]
                assert api("PATCH", one, back).json["expirationDate"] == date

    @every_version
    def test_a_bad_patch_is_400_with_a_cause_and_changes_nothing(self, api: Api, version: str) -> None:
        made = api.create().json
        before = api("GET", f"{V1}/{made['id']}").json
        one = f"{VERSIONS[version]}/{made['id']}"
        for patch in BAD_PATCHES:
            response = api("PATCH", one, patch, content_type="application/json-patch+json")
            assert (response.status_code, len(said(response)) > 5) == (400, True), patch
            assert api("GET", f"{V1}/{made['id']}").json == before, patch


class TestDelete:
    @every_version
    def test_it_answers_204_with_nothing_and_then_there_is_nothing(self, api: Api, version: str) -> None:
        made = api.create().json
        one = f"{VERSIONS[version]}/{made['id']}"
        response = api("DELETE", one)
        assert (response.status_code, response.data) == (204, b"")
        assert "Content-Type" not in response.headers
        assert "Content-Length" not in response.headers
        assert "RateLimit" in response.headers
        assert api("DELETE", one).status_code == 404
        refused = api("GET", V1, authorization=basic(made["id"], made["secret"]))
        assert refused.status_code == 401


ODD_IDS = ["x", "0" * 31, "0" * 33, "A" * 32, "me", "..", ".", "%2e%2e", "0" * 31 + "\xc3\xa9", "a;b", "a\\b"]
ODD_IDS += [" ", "*", "\x00", "'", "{id}", "0" * 5000, "0" * 32 + "\n"]


@every_version
def test_an_id_that_no_pat_has_is_404_whatever_it_looks_like(api: Api, version: str) -> None:
    for pat_id in ("0" * 32, *ODD_IDS):
        path = f"{VERSIONS[version]}/{pat_id}"
        patch = [{"op": "replace", "path": "/name", "value": "x"}]
        asked: list[tuple[str, str, Any]] = [("DELETE", path, None), ("PATCH", path, patch)]
        if version == "v1":
            asked += [("GET", path, None), ("POST", path + "/rotate", None)]
        for method, where, body in asked:
            response = api(method, "/", body, raw_path=where)
            assert response.status_code == 404, (method, pat_id)
            assert response.json["detailCode"] == "404 Not found", (method, pat_id)
    assert api.names() == ["maker"]


class TestBulk:
    def test_one_patch_changes_several_expiries(self, admin: Api) -> None:
        pat_ids = [admin.create(name=name).json["id"] for name in "ab"]
        for method, date in (("PATCH", "2030-04-01T00:00:00.000Z"), ("POST", "2030-05-01T00:00:00.000Z")):
            patch = [{"op": "replace", "path": "/expirationDate", "value": date}]
            response = admin(method, V1 + "/bulk-update", {"ids": pat_ids, "patch": patch})
            assert response.status_code == 200
            assert [(pat["id"], pat["expirationDate"]) for pat in response.json] == [
                (pat_id, date) for pat_id in pat_ids
            ]

    def test_its_body_is_strict_and_nothing_changes_otherwise(self, admin: Api) -> None:
        made = admin.create().json
        pat_id = made["id"]
        patch = [{"op": "replace", "path": "/expirationDate", "value": "2030-04-01T00:00:00Z"}]
        rename = [{"op": "replace", "path": "/name", "value": "x"}]
        for body, named in [
            ({}, "ids"),
            ({"ids": [pat_id]}, "patch"),
            ({"patch": patch}, "ids"),
            ({"ids": pat_id, "patch": patch}, "ids"),
            ({"ids": [1], "patch": patch}, r"ids\[0\]"),
            ({"ids": [], "patch": patch}, "ids"),
            ({"ids": [pat_id, pat_id], "patch": patch}, "ids"),
            ({"ids": [f"{number:032x}" for number in range(26)], "patch": patch}, "ids"),
            ({"ids": [pat_id], "patch": {}}, "patch"),
            ({"ids": [pat_id], "patch": []}, ""),
            ({"ids": [pat_id], "patch": rename}, ""),
            ({"ids": [pat_id], "patch": patch, "all": True}, "there is no field all"),
        ]:
            response = admin("PATCH", V1 + "/bulk-update", body)
            assert response.status_code == 400, body
            assert re.match(named, said(response)), said(response)
        missing = admin("PATCH", V1 + "/bulk-update", {"ids": [pat_id, "0" * 32], "patch": patch})
        assert missing.status_code in (400, 404)
        assert admin("GET", f"{V1}/{pat_id}").json["expirationDate"] == made["expirationDate"]

    def test_it_takes_the_right_to_all(self, api: Api) -> None:
        patch = [{"op": "replace", "path": "/expirationDate", "value": "2030-04-01T00:00:00Z"}]
        body = {"ids": [api.create().json["id"]], "patch": patch}
        assert api("PATCH", V1 + "/bulk-update", body).status_code == 403


BAD_OVERLAPS: list[Any] = [-1, 7 * 86_400 + 1, 10**60, -(10**60), 1.5, "60", True, [], {}]


class TestOurs:
    def test_get_shows_one(self, api: Api, authority: Authority) -> None:
        made = api.create().json
        shown = api("GET", f"{V1}/{made['id']}").json
        assert shown in api("GET", f"{V1}?owner-id=me").json
        other = issue(authority, "hers", owner=Owner("zoe"))
        assert api("GET", f"{V1}/{other.pat.id}").status_code == 404

    def test_rotate_answers_like_a_create_and_the_old_secret_overlaps(
        self, api: Api, authority: Authority, clock: Clock
    ) -> None:
        made = api.create().json
        one = f"{V1}/{made['id']}/rotate"
        response = api("POST", one, {"overlapSeconds": 60})
        assert response.status_code == 200
        new = response.json
        assert {**new, "secret": ""} == {**made, "secret": ""}
        for secret in (made["secret"], new["secret"]):
            authority.verify_basic(made["id"], secret)
        clock.advance(60_000)
        assert api("GET", V1, authorization=basic(made["id"], made["secret"])).status_code == 401
        authority.verify_basic(made["id"], new["secret"])

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"content_type": "application/json"},
            {"data": b"{}", "content_type": "application/json"},
            {"data": b'{"overlapSeconds":null}', "content_type": "application/json"},
            {"environ": {"wsgi.input_terminated": True}},  # as servers say it of every request
        ],
    )
    def test_without_a_word_of_it_the_overlap_is_an_hour(
        self, api: Api, authority: Authority, clock: Clock, given: dict[str, Any]
    ) -> None:
        made = api.create().json
        new = api("POST", f"{V1}/{made['id']}/rotate", **given).json
        clock.advance(3_599_999)
        authority.verify_basic(made["id"], made["secret"])
        clock.advance(1)
        assert api("GET", V1, authorization=basic(made["id"], made["secret"])).status_code == 401
        authority.verify_basic(made["id"], new["secret"])

    def test_a_bad_overlap_is_400_and_no_secret_is_made(self, api: Api, authority: Authority) -> None:
        made = api.create().json
        rotate = f"{V1}/{made['id']}/rotate"
        for overlap in BAD_OVERLAPS:
            response = api("POST", rotate, {"overlapSeconds": overlap})
            assert (response.status_code, "overlap" in said(response)) == (400, True), repr(overlap)
        unknown = api("POST", rotate, {"overlap": 60})
        assert (unknown.status_code, said(unknown)) == (400, "there is no field overlap here")
        assert authority.verify_basic(made["id"], made["secret"]).pat_id == made["id"]
        assert api("GET", f"{V1}/{made['id']}").json["expirationDate"] == made["expirationDate"]

    def test_what_was_removed_is_shown_to_who_asks_and_changed_by_nobody(
        self, api: Api, admin: Api, authority: Authority, clock: Clock
    ) -> None:
        asks = "filters=state%20eq%20%22revoked%22"
        made = api.create(scope=["reports:read"]).json
        path = f"{V1}/{made['id']}"
        assert "revokedAt" not in api("GET", path).json
        clock.advance(1)
        assert api("DELETE", path + "?reason=lost%20caf%C3%A9").status_code == 204
        shown = api("GET", path)
        assert shown.status_code == 200
        assert shown.json["revokedAt"] == format_ms(clock.now)
        assert shown.json["revokedBy"] == {"ownerId": "alice", "patId": api.issued.pat.id}
        assert shown.json["revokedReason"] == "lost café"
        assert "secret" not in shown.json
        assert admin("GET", path).json == shown.json
        for caller, owner in ((api, "owner-id=me&"), (admin, "")):
            listed = caller("GET", f"{V1}?{owner}{asks}&count=true&sorters=-revokedAt")
            assert (listed.json, listed.headers["X-Total-Count"]) == ([shown.json], "1")
        assert made["name"] not in api.names()
        assert api("DELETE", path).status_code == 404
        assert api("PATCH", path, [put("/name", "x")]).status_code == 404
        assert api("POST", path + "/rotate").status_code == 404
        older = api("GET", f"{VERSIONS['v2025']}?owner-id=me&{asks}").json
        assert [pat["id"] for pat in older] == [made["id"]]
        assert "revokedAt" not in older[0]
        other = issue(authority, "other", owner=Owner("bob"))
        authority.delete(other.pat.id)
        assert api("GET", f"{V1}/{other.pat.id}").status_code == 404
        assert admin("GET", f"{V1}/{other.pat.id}").json["revokedBy"] is None

    def test_a_bad_reason_is_400_and_removes_nothing(self, api: Api) -> None:
        path = f"{V1}/{api.create().json['id']}"
        for reason in ("", "%20", "x" * 257, "a%0Ab", "a&reason=b"):
            refused = api("DELETE", f"{path}?reason={reason}")
            assert refused.status_code == 400, reason
            assert "reason" in said(refused)
        assert api("GET", path).status_code == 200
        assert api("DELETE", f"{V1}/self?reason=x%00").status_code == 400
        old = path.replace(V1, VERSIONS["v3"])
        assert api("DELETE", f"{old}?reason=").status_code == 204, "the vendor's versions have no such thing"

    def test_a_pat_looks_at_itself_and_revokes_itself(self, api: Api, authority: Authority) -> None:
        issued = issue(authority, "plain", scope=["sp:scopes:all"])
        for value in (basic_of(issued), "Bearer " + issued.token):
            response = api("GET", V1 + "/self", authorization=value)
            assert (response.status_code, response.json["id"]) == (200, issued.pat.id)
        response = api("DELETE", V1 + "/self", authorization=basic_of(issued))
        assert (response.status_code, response.data) == (204, b"")
        assert api("GET", V1 + "/self", authorization=basic_of(issued)).status_code == 401
        assert api.names() == ["maker"]

    def test_v1_takes_shows_and_patches_what_no_other_version_has(self, api: Api, clock: Clock) -> None:
        given = {
            "description": "for CI",
            "networks": ["203.0.113.9", "2001:db8::/32"],
            "notBefore": "2030-01-01T01:00:00+01:00",
            "requestQuota": "50/10",
        }
        made = api.create(**given).json
        one = f"{V1}/{made['id']}"
        shown = api("GET", one).json
        assert shown["networks"] == ["203.0.113.9/32", "2001:db8::/32"]
        assert (shown["description"], shown["requestQuota"]) == ("for CI", "50/10")
        assert (shown["notBefore"], shown["state"]) == (None, "active"), "that instant has come"
        later = {"op": "add", "path": "/notBefore", "value": "2030-01-01T02:00:00+01:00"}
        after = api("PATCH", one, [later, {"op": "replace", "path": "/description", "value": None}]).json
        assert (after["notBefore"], after["state"]) == ("2030-01-01T01:00:00.000Z", "not_yet")
        assert after["description"] is None
        (bare,) = [pat for pat in api("GET", f"{VERSIONS['v2026']}?owner-id=me").json if pat["name"] == "new"]
        assert set(given).isdisjoint(bare)
        for version in set(VERSIONS) - {"v1"}:
            path = f"{VERSIONS[version]}/{made['id']}"
            assert api("PATCH", path, [later]).status_code == 400
            kept = api("PATCH", path, [{"op": "replace", "path": "/name", "value": version}])
            assert kept.status_code == 200
            assert api.create(version, name="other", **given).status_code == 400
        assert api("GET", one).json == {**after, "name": api("GET", one).json["name"]}

    @each(
        ("field", "value"),
        [
            ("networks", ["10.0.0.1/8"]),
            ("networks", "10.0.0.0/8"),
            ("networks", [["10.0.0.0/8"]]),
            ("description", ""),
            ("description", "\n"),
            ("notBefore", "soon"),
            ("requestQuota", "1000"),
            ("requestQuota", "101/10"),
            ("state", "active"),
            ("madeBy", None),
            ("lastUsedFrom", "10.0.0.1"),
        ],
    )
    def test_a_bad_member_of_ours_is_named_and_nothing_is_made(
        self, fresh: Make, field: str, value: Any
    ) -> None:
        authority = fresh()
        api = Api(authority, issue(authority, "maker", scope=[*MANAGE, "reports:read"]))
        response = api.create(**{field: value})
        assert (response.status_code, field in said(response)) == (400, True), response.text
        assert api.names() == ["maker"]

    def test_disable_and_enable_answer_with_the_pat_and_obey_who_disabled_it(
        self, api: Api, admin: Api, authority: Authority
    ) -> None:
        made = api.create().json
        one, value = f"{V1}/{made['id']}", basic(made["id"], made["secret"])
        for _ in range(2):
            assert api("POST", one + "/disable").json["state"] == "disabled"
        assert api("GET", V1, authorization=value).status_code == 401
        assert api("POST", one + "/enable").json["state"] == "active"
        assert admin("POST", one + "/disable").json["state"] == "disabled"
        refused = api("POST", one + "/enable")
        assert (refused.status_code, "operator" in said(refused)) == (403, True)
        assert admin("POST", one + "/enable").json["state"] == "active"
        hers = issue(authority, "hers", owner=Owner("zoe")).pat.id
        for verb in ("disable", "enable"):
            assert api("POST", f"{V1}/{hers}/{verb}").status_code == 404
            assert api("GET", f"{V1}/{hers}/{verb}").status_code == 405

    def test_a_pat_with_the_scope_for_it_rotates_itself(self, api: Api, authority: Authority) -> None:
        issued = issue(authority, "own", scope=["self:rotate"])
        own = V1 + "/self/rotate"
        short = api("POST", own, {"overlapSeconds": 599}, authorization=basic_of(issued))
        assert (short.status_code, "overlapSeconds" in said(short)) == (400, True)
        new = api("POST", own, {"overlapSeconds": 600}, authorization="Bearer " + issued.token)
        assert (new.status_code, new.json["id"]) == (200, issued.pat.id)
        again = api("POST", own, authorization=basic(issued.pat.id, new.json["secret"]))
        assert again.status_code == 200
        assert api("POST", own).status_code == 403, "a right to manage is not this scope"


class TestErrors:
    def test_without_credentials_and_with_refused_ones_it_is_401(
        self, api: Api, authority: Authority
    ) -> None:
        texts = set()
        for path in [*VERSIONS.values(), f"{V1}/{api.issued.pat.id}", V1 + "/self"]:
            method = "GET" if path.startswith(V1) else "POST"
            none = api(method, path, authorization=None)
            assert (none.status_code, list(none.json)) == (401, ["error"])
            for value in (basic(api.issued.pat.id, wrong_secret(authority)), "Basic Og==", "Bearer x"):
                refused = api(method, path, authorization=value)
                assert (refused.status_code, list(refused.json)) == (401, ["error"])
                texts.add(refused.json["error"])
            assert none.json["error"] not in texts
            assert none.headers.getlist("WWW-Authenticate")
        assert len(texts) == 1

    def test_credentials_are_asked_for_before_a_body_is_read(self, api: Api) -> None:
        response = request(api.gate, V1, method="POST", data=b"x" * 100_000, content_type="text/plain")
        assert response.status_code == 401

    def test_past_the_quota_it_is_429_of_its_own_form(self, authority: Authority) -> None:
        """L3."""
        api = Api(authority, issue(authority, "few", scope=MANAGE, request_quota="1/30"))
        assert api("GET", f"{V1}?owner-id=me").status_code == 200
        response = api("GET", f"{V1}?owner-id=me")
        assert (response.status_code, response.data) == (429, b'{"message":" Rate Limit Exceeded "}')
        assert response.headers["Retry-After"] == "30"

    def test_every_answer_to_a_pat_tells_its_quota(self, api: Api) -> None:
        one = f"{V1}/{api.issued.pat.id}"
        for method, path, body, status in [
            ("GET", f"{V1}?owner-id=me", None, 200),
            ("GET", V1, None, 403),
            ("GET", one, None, 200),
            ("GET", f"{V1}/x", None, 404),
            ("POST", V1, {}, 400),
            ("POST", V1, {"name": "a", "userAwareTokenNeverExpires": True}, 200),
            ("PATCH", one, [{"op": "replace", "path": "/name", "value": "b"}], 200),
            ("PATCH", one, {}, 415),
            ("POST", one + "/rotate", None, 200),
            ("DELETE", V1 + "/self", None, 204),
        ]:
            response = api(method, path, body)
            assert response.status_code == status, (method, path, response.text)
            assert response.headers.getlist("RateLimit-Policy") == ['"requests";q=1000000;w=1']
            assert len(response.headers.getlist("RateLimit")) == 1

    def test_head_answers_like_get_without_a_body(self, api: Api) -> None:
        for path, status in {
            f"{V1}?owner-id=me&count=true": 200,
            V1: 403,
            f"{V1}/{api.issued.pat.id}": 200,
            f"{V1}/x": 404,
            V1 + "/self": 200,
            **{f"{path}?owner-id=me": 200 for path in VERSIONS.values()},
        }.items():
            got, head = api("GET", path), api("HEAD", path)
            assert (head.status_code, head.data) == (status, b"")
            assert [name for name, _ in head.headers] == [name for name, _ in got.headers]
            assert head.headers["Content-Length"] == got.headers["Content-Length"]
            assert head.headers.get("X-Total-Count") == got.headers.get("X-Total-Count")

    def test_a_fault_of_ours_is_500_without_internals_and_no_secret_is_logged(
        self,
        api: Api,
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"with {api.issued.secret} in hand")

        monkeypatch.setattr(Operations, "actor", broken)
        one = f"{V1}/{api.issued.pat.id}"
        with caplog.at_level(logging.DEBUG):
            for method, path, body in [
                ("GET", V1, None),
                ("POST", V1, {"name": "x", "userAwareTokenNeverExpires": True}),
                ("GET", one, None),
                ("PATCH", one, [{}]),
                ("PATCH", V1 + "/bulk-update", {"ids": [], "patch": []}),
                ("POST", one + "/rotate", None),
                ("DELETE", one, None),
            ]:
                response = api(method, path, body)
                assert (response.status_code, response.json["detailCode"]) == (500, "500.0 Internal Fault")
                assert response.json["causes"] == []
                for internal in ("RuntimeError", "hand", ".py", "Traceback"):
                    assert internal not in response.text
                assert response.json["trackingId"] in caplog.text
                assert "RateLimit" in response.headers
        assert "RuntimeError" in caplog.text
        assert "in broken" in caplog.text, "where it was"
        for secret in (api.issued.secret, api.issued.secret[5:48], basic_of(api.issued)):
            assert secret not in caplog.text

    def test_the_store_gone_is_503_with_retry_after(self, make_at: Make) -> None:
        authority = make_at(url="unix:///nonexistent/socket")
        gate = PatAuthMiddleware(Echo(), authority, surfaces=["isc"])
        some = basic("0" * 32, wrong_secret(authority))
        for path in VERSIONS.values():
            response = request(gate, path, authorization=some)
            assert (response.status_code, response.json["detailCode"]) == (503, "503 Service unavailable")
            assert int(response.headers["Retry-After"]) >= 1


def test_an_access_token_manages_with_the_scopes_it_was_given(api: Api, authority: Authority) -> None:
    full = authority.exchange(api.issued.pat.id, api.issued.secret)
    body = {"name": "by token", "scope": ["reports:read"], "expirationDate": "2030-06-01T00:00:00Z"}
    assert api("POST", V1, body, authorization="Bearer " + full.value).status_code == 200
    narrow = authority.exchange(api.issued.pat.id, api.issued.secret, scope="reports:read")
    body["name"] = "by narrow"
    assert api("POST", V1, body, authorization="Bearer " + narrow.value).status_code == 403
