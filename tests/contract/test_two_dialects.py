"""One store, two dialects, two organisations: the dialects see the same PATs, the organisations never do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from werkzeug.test import TestResponse

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware
from tests.support.authorities import Make, basic, issue
from tests.support.clocks import Clock
from tests.support.searches import examples
from tests.support.wsgi import Echo, request

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
ISC, V1, V2 = "/personal-access-tokens/v1", "/management/v1/users", "/v2/users"
CONNECT = "/zitadel.user.v2.UserService/"


class Site:
    """An organisation as it is served, in both dialects, to one caller."""

    def __init__(self, authority: Authority, caller: IssuedPat) -> None:
        self.authority = authority
        self.tenant = authority.settings.tenant
        self.caller = caller
        self.gate = PatAuthMiddleware(Echo(), authority, surfaces=["oauth", "isc", "zitadel"])

    def __call__(self, method: str, path: str, body: Any = None, **given: Any) -> TestResponse:
        if body is not None:
            kind = "application/json-patch+json" if isinstance(body, list) else "application/json"
            given = {"data": json.dumps(body), "content_type": kind, **given}
        given.setdefault("authorization", "Bearer " + self.caller.token)
        return request(self.gate, path, method=method, **given)

    def opens(self, authorization: str) -> int:
        """The status with which the application behind the gate answers."""
        return request(self.gate, "/app", authorization=authorization).status_code


@pytest.fixture
def site(make_at: Make, clock: Clock) -> Site:
    authority = make_at(clock=clock, request_quota="1000000/1", max_pats_per_owner=4)
    return Site(authority, issue(authority, "maker", scope=[MY, "reports:read"], never_expires=True))


# -- what each dialect does ----------------------------------------------------------------------------------

JUNE = "2030-06-01T00:00:00.000Z"


def isc_create(site: Site) -> tuple[str, str]:
    """A PAT's id, and an Authorization value of it."""
    response = site("POST", ISC, {"name": "new", "scope": ["reports:read"], "expirationDate": JUNE})
    assert response.status_code == 200, response.text
    return response.json["id"], basic(response.json["id"], response.json["secret"])


def v1_add(site: Site) -> tuple[str, str]:
    response = site("POST", f"{V1}/alice/pats", {"expirationDate": JUNE})
    assert response.status_code == 200, response.text
    return response.json["tokenId"], "Bearer " + response.json["token"]


def connect_add(site: Site) -> tuple[str, str]:
    body = {"userId": "alice", "expirationDate": JUNE}
    response = site("POST", CONNECT + "AddPersonalAccessToken", body)
    assert response.status_code == 200, response.text
    return response.json["tokenId"], "Bearer " + response.json["token"]


MAKERS = {"isc": isc_create, "zitadel v1": v1_add, "zitadel Connect": connect_add}

OF_ALICE = {"filters": [{"userIdFilter": {"id": "alice"}}], "pagination": {"asc": True}}
LISTS: dict[str, Callable[[Site], dict[str, str]]] = {
    "isc": lambda site: {
        pat["id"]: (pat["expirationDate"] or "9999-12-31T23:59:59.000Z").replace(".000Z", "Z")
        for pat in site("GET", ISC + "?owner-id=me").json
    },
    "zitadel v1": lambda site: {
        pat["id"]: pat["expirationDate"]
        for pat in site("POST", f"{V1}/alice/pats/_search", {}).json.get("result", [])
    },
    "zitadel v2": lambda site: {
        pat["id"]: pat["expirationDate"]
        for pat in site("POST", f"{V2}/pats/search", OF_ALICE).json.get("result", [])
    },
    "zitadel Connect": lambda site: {
        pat["id"]: pat["expirationDate"]
        for pat in site("POST", CONNECT + "ListPersonalAccessTokens", OF_ALICE).json.get("result", [])
    },
}

REMOVERS: dict[str, Callable[[Site, str], TestResponse]] = {
    "isc": lambda site, pat_id: site("DELETE", f"{ISC}/{pat_id}"),
    "zitadel v1": lambda site, pat_id: site("DELETE", f"{V1}/alice/pats/{pat_id}"),
    "zitadel v2": lambda site, pat_id: site("DELETE", f"{V2}/alice/pats/{pat_id}"),
    "zitadel Connect": lambda site, pat_id: site(
        "POST", CONNECT + "RemovePersonalAccessToken", {"userId": "alice", "tokenId": pat_id}
    ),
}

made_by = pytest.mark.parametrize("made_by", MAKERS)


def listed(site: Site) -> dict[str, str]:
    """Ids and expiries, on which all lists agree."""
    first, *others = [read(site) for read in LISTS.values()]
    assert all(other == first for other in others)
    return first


class TestEachSeesWhatTheOtherDid:
    @made_by
    def test_what_is_made_is_used_listed_and_read(self, site: Site, made_by: str) -> None:
        pat_id, authorization = MAKERS[made_by](site)
        assert site.opens(authorization) == 200
        assert listed(site)[pat_id] == "2030-06-01T00:00:00Z"
        isc = site("GET", f"{ISC}/{pat_id}").json
        zitadel = site("GET", f"{V1}/alice/pats/{pat_id}").json["token"]
        assert isc["owner"]["id"] == "alice"
        assert isc["scope"] == zitadel["scopes"]
        assert isc["created"] == zitadel["details"]["creationDate"].replace("Z", ".000Z")
        assert zitadel["details"]["resourceOwner"] == "default"
        assert isc["name"] == ("new" if made_by == "isc" else f"zitadel-{pat_id[-8:]}")

    @made_by
    def test_what_is_used_shows_so(self, site: Site, made_by: str) -> None:
        pat_id, authorization = MAKERS[made_by](site)
        assert site("GET", f"{ISC}/{pat_id}").json["lastUsed"] is None
        before = site("GET", f"{V1}/alice/pats/{pat_id}").json
        site.opens(authorization)
        assert site("GET", f"{ISC}/{pat_id}").json["lastUsed"] == "2030-01-01T00:00:00.000Z"
        assert site("GET", f"{V1}/alice/pats/{pat_id}").json == before, "a use is no change"

    @made_by
    def test_what_is_patched_is_patched_everywhere(self, site: Site, clock: Clock, made_by: str) -> None:
        pat_id, authorization = MAKERS[made_by](site)
        clock.advance(1000)
        patch = [
            {"op": "replace", "path": "/name", "value": "renamed"},
            {"op": "replace", "path": "/scope", "value": ["reports:read"]},
            {"op": "replace", "path": "/expirationDate", "value": "2030-01-02T00:00:00Z"},
        ]
        assert site("PATCH", f"{ISC}/{pat_id}", patch).status_code == 200
        shown = site("GET", f"{V1}/alice/pats/{pat_id}").json["token"]
        assert shown["expirationDate"] == listed(site)[pat_id] == "2030-01-02T00:00:00Z"
        assert shown["scopes"] == ["reports:read"]
        assert (shown["details"]["sequence"], shown["details"]["changeDate"]) == ("2", "2030-01-01T00:00:01Z")
        clock.advance(86_400_000)
        assert site.opens(authorization) == 401

    @made_by
    def test_what_is_rotated_is_rotated_everywhere(self, site: Site, clock: Clock, made_by: str) -> None:
        pat_id, authorization = MAKERS[made_by](site)
        rotated = site("POST", f"{ISC}/{pat_id}/rotate", {"overlapSeconds": 0}).json
        assert site.opens(authorization) == 401
        assert site.opens(basic(pat_id, rotated["secret"])) == 200
        assert site("GET", f"{V1}/alice/pats/{pat_id}").json["token"]["details"]["sequence"] == "2"
        assert pat_id in listed(site)

    @made_by
    @pytest.mark.parametrize("removed_by", REMOVERS)
    def test_what_is_removed_is_gone_everywhere(self, site: Site, made_by: str, removed_by: str) -> None:
        pat_id, authorization = MAKERS[made_by](site)
        before = listed(site)
        assert REMOVERS[removed_by](site, pat_id).status_code in (200, 204)
        assert site.opens(authorization) == 401
        assert listed(site) == {one: date for one, date in before.items() if one != pat_id}
        assert "revokedAt" in site("GET", f"{ISC}/{pat_id}").json, "who asks for one that was removed sees it"
        assert site("GET", f"{V1}/alice/pats/{pat_id}").status_code == 404
        for remove in REMOVERS.values():
            assert remove(site, pat_id).status_code == 404

    def test_what_is_made_in_one_counts_in_the_other(self, site: Site) -> None:
        """The most that an owner may have, and the sequence of all changes."""
        for make in (isc_create, v1_add, connect_add):
            make(site)
        full = site("POST", f"{V1}/alice/pats", {})
        assert (full.status_code, full.json["code"]) == (400, 9)
        body = {"name": "more", "scope": ["reports:read"], "expirationDate": JUNE}
        assert site("POST", ISC, body).status_code == 400
        assert len(listed(site)) == 4

    def test_one_quota_is_charged_by_both(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock)
        site = Site(authority, issue(authority, scope=[MY], request_quota="3/60"))
        asked = itertools.cycle(
            [("GET", ISC + "?owner-id=me", None), ("POST", f"{V1}/alice/pats/_search", {})]
        )
        statuses = [site(*one).status_code for one in itertools.islice(asked, 5)]
        assert statuses == [200, 200, 200, 429, 429]


# -- two organisations ---------------------------------------------------------------------------------------

USERS = ["alice", "bob", "root"]  # the same ids in both
TENANTS = ["default", "other"]

users, tenants = st.sampled_from(USERS), st.sampled_from(TENANTS)


class Made(NamedTuple):
    tenant: str
    user: str
    id: str
    authorization: str


class TwoOrganisations(RuleBasedStateMachine):
    """Two Authorities on one store and prefix; each serves its own, to one who may do everything there."""

    pats = Bundle("pats")

    def __init__(self, make: Make, numbers: Any) -> None:
        super().__init__()
        prefix = f"patauth:two{next(numbers)}"
        self.sites: dict[str, Site] = {}
        self.model: dict[str, dict[str, str]] = {}
        for tenant in TENANTS:
            authority = make(
                key_prefix=prefix,
                tenant=tenant,
                max_pats_per_owner=1000,
                request_quota="1000000/1",
                failure_quota="1000000/1",
                max_connections=2,
            )
            scope = [ALL, "reports:read"]
            caller = issue(authority, "admin", owner=Owner("root"), scope=scope, never_expires=True)
            self.sites[tenant] = Site(authority, caller)
            self.model[tenant] = {caller.pat.id: "root"}
        self.numbers = itertools.count()

    def gone(self, pat: Made) -> bool:
        """Whether its owner was revoked."""
        return pat.id not in self.model[pat.tenant]

    def teardown(self) -> None:
        for site in self.sites.values():
            site.authority.close()

    def elsewhere(self, tenant: str) -> Site:
        return self.sites[TENANTS[1 - TENANTS.index(tenant)]]

    @rule(target=pats, tenant=tenants, user=users, dialect=st.sampled_from(["isc", "v1", "v2", "Connect"]))
    def make_one(self, tenant: str, user: str, dialect: str) -> Made:
        site = self.sites[tenant]
        if dialect == "isc":
            body = {"name": f"n{next(self.numbers)}", "scope": ["reports:read"], "owner": {"id": user}}
            made = site("POST", ISC, {**body, "userAwareTokenNeverExpires": True}).json
            found = made["id"], basic(made["id"], made["secret"])
        else:
            path, body = {
                "v1": (f"{V1}/{user}/pats", {}),
                "v2": (f"{V2}/{user}/pats", {}),
                "Connect": (CONNECT + "AddPersonalAccessToken", {"userId": user}),
            }[dialect]
            made = site("POST", path, body).json
            found = made["tokenId"], "Bearer " + made["token"]
        self.model[tenant][found[0]] = user
        return Made(tenant, user, *found)

    @rule(pat=pats)
    def its_credentials_open_its_own_alone(self, pat: Made) -> None:
        tenant, user, pat_id, authorization = pat
        assert self.sites[tenant].opens(authorization) == (401 if self.gone(pat) else 200)
        other = self.elsewhere(tenant)
        assert other.opens(authorization) == 401
        for method, path, body in (
            ("GET", ISC + "?owner-id=me", None),
            ("GET", f"{V1}/{user}/pats/{pat_id}", None),
            ("POST", f"{V2}/pats/search", {}),
        ):
            for headers in ({}, {"x-zitadel-orgid": tenant}):
                refused = other(method, path, body, authorization=authorization, headers=headers)
                assert refused.status_code == 401

    @rule(pat=pats, named=st.booleans())
    def the_other_finds_and_removes_nothing_of_it(self, pat: Made, named: bool) -> None:
        """`named`: with the field that names the organisation, which nobody may act in from there."""
        tenant, user, pat_id, authorization = pat
        other = self.elsewhere(tenant)
        headers = {"x-zitadel-orgid": tenant} if named else {}
        one = {"userId": user, "tokenId": pat_id}
        patch = [{"op": "replace", "path": "/name", "value": "taken"}]
        for method, path, body in (
            ("GET", f"{V1}/{user}/pats/{pat_id}", None),
            ("DELETE", f"{V1}/{user}/pats/{pat_id}", None),
            ("DELETE", f"{V2}/{user}/pats/{pat_id}", None),
            ("POST", CONNECT + "RemovePersonalAccessToken", one),
        ):
            assert other(method, path, body, headers=headers).status_code == (403 if named else 404)
        for method, path, body in (
            ("GET", f"{ISC}/{pat_id}", None),
            ("PATCH", f"{ISC}/{pat_id}", patch),
            ("POST", f"{ISC}/{pat_id}/rotate", {}),
            ("DELETE", f"{ISC}/{pat_id}", None),
        ):
            assert other(method, path, body).status_code == 404
        assert self.sites[tenant].opens(authorization) == (401 if self.gone(pat) else 200)

    @rule(pat=consumes(pats), by=st.sampled_from(["isc", "v1", "v2", "Connect", "self"]))
    def remove(self, pat: Made, by: str) -> None:
        if self.gone(pat):
            return
        tenant, user, pat_id, authorization = pat
        site = self.sites[tenant]
        response = {
            "isc": lambda: site("DELETE", f"{ISC}/{pat_id}"),
            "v1": lambda: site("DELETE", f"{V1}/{user}/pats/{pat_id}"),
            "v2": lambda: site("DELETE", f"{V2}/{user}/pats/{pat_id}"),
            "Connect": lambda: site(
                "POST", CONNECT + "RemovePersonalAccessToken", {"userId": user, "tokenId": pat_id}
            ),
            "self": lambda: site("DELETE", ISC + "/self", authorization=authorization),
        }[by]()
        assert response.status_code in (200, 204)
        del self.model[tenant][pat_id]
        assert site.opens(authorization) == 401

    @rule(tenant=tenants, user=users)
    def revoke_an_owner(self, tenant: str, user: str) -> None:
        if user != "root":
            self.sites[tenant].authority.revoke_owner(user)
            self.model[tenant] = {one: of for one, of in self.model[tenant].items() if of != user}

    @invariant()
    def each_lists_its_own_in_both_dialects(self) -> None:
        for tenant, site in self.sites.items():
            model = self.model[tenant]
            found: list[list[dict[str, Any]]] = [
                site("GET", ISC + "?limit=250").json,
                site("POST", f"{V2}/pats/search", {"pagination": {"limit": 1000}}).json["result"],
                site("POST", CONNECT + "ListPersonalAccessTokens", {}).json["result"],
            ]
            for pats in found:
                assert {pat["id"] for pat in pats} == set(model)
            assert all(pat["organizationId"] == tenant for pat in found[1])
            for user in USERS:
                of_user = {pat_id for pat_id, owner in model.items() if owner == user}
                pats = site("POST", f"{V1}/{user}/pats/_search", {}).json.get("result", [])
                assert {pat["id"] for pat in pats} == of_user
                assert all(pat["details"]["resourceOwner"] == tenant for pat in pats)
            elsewhere = [{"organizationIdFilter": {"id": self.elsewhere(tenant).tenant}}]
            nothing = site("POST", f"{V2}/pats/search", {"filters": elsewhere}).json
            assert "result" not in nothing
            assert "totalResult" not in nothing["pagination"]


@pytest.mark.system
def test_nothing_crosses_between_two_organisations(make_at: Make) -> None:
    numbers = itertools.count()
    run_state_machine_as_test(
        lambda: TwoOrganisations(make_at, numbers),
        settings=settings(settings.get_profile("engines"), max_examples=examples(8), stateful_step_count=20),
    )
