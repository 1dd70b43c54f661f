"""One request to ZITADEL's API: the organisation that it acts in, and whom its caller is there."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from patauth import Authority, Owner, Requester
from patauth.errors import Forbidden, NotFound
from patauth.model.caller import Caller, Person
from patauth.model.expiry import Expiry
from patauth.operations.create import NewPat, create
from patauth.operations.lifecycle import get
from patauth.operations.listing import list_pats
from tests.support.authorities import Make, issue
from tests.support.clocks import DAY, Clock
from tests.support.servers import shared_engines
from tests.support.zitadel import ALL, CONNECT, MY, USERS, Api


def may_act_in(by: Caller, tenant: str) -> bool:
    return isinstance(by, Person) or (by.subject.id == "root" and tenant == "other")


NO_ORGANISATIONS = [
    "",
    "a b",
    "me",
    "x" * 129,
    "a/b",
    "default,default",
    "default, other",
    "other,",
    "\xe9",
    ",",
]


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

    def test_a_repeated_or_malformed_field_is_400(self, admin: Api) -> None:
        for name in NO_ORGANISATIONS:
            response = admin.add(environ={"HTTP_X_ZITADEL_ORGID": name})
            assert response.status_code == 400, repr(name)
            assert response.json["message"].startswith("x-zitadel-orgid: "), repr(name)
            assert len(admin.ids()) == 1, repr(name)

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


class TestGuests:
    def test_whom_a_guest_manages_at_home_is_another_here(self, make_at: Make, clock: Clock) -> None:
        """Equal ids in two organisations are two people."""
        settings = {"manages": lambda by, owner: owner == "bob", "may_act_in": lambda by, tenant: True}
        home, away = make_at(clock=clock, **settings), make_at(clock=clock, tenant="acme")
        scopes = ["idn:my-personal-access-tokens:manage", "idn:managed-personal-access-tokens:read"]
        by = home.verify_bearer(issue(home, "maker", scope=scopes).token)
        theirs = issue(away, owner=Owner("bob"), name="theirs")
        acting = home.operations.actor_in("acme", by)
        with pytest.raises(NotFound):
            get(acting, theirs.pat.id)
        with pytest.raises(Forbidden):
            list_pats(acting, owner_id="bob")

    def test_it_is_opened_for_those_alone_whom_the_setting_lets_in(self, make_at: Make, clock: Clock) -> None:
        home = make_at(clock=clock, may_act_in=lambda by, tenant: by.subject.id == "alice")
        alice = home.verify_bearer(issue(home, "a", scope=[ALL]).token)
        bob = home.verify_bearer(issue(home, "b", owner=Owner("bob"), scope=[ALL]).token)
        assert list_pats(home.operations.actor_in("acme", alice)) == []
        with pytest.raises(Forbidden):
            home.operations.actor_in("acme", bob)
        away = make_at(clock=clock, tenant="acme")
        with pytest.raises(Forbidden):
            away.operations.actor(alice)

    def test_the_trail_says_where_and_from_where(
        self, make_at: Make, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        home = make_at(clock=clock, may_act_in=lambda by, tenant: True)
        alice = home.verify_bearer(issue(home, "a", scope=["reports:read", ALL]).token)
        acting = home.operations.actor_in("acme", alice)
        with caplog.at_level("INFO", "patauth.audit"):
            expiry = Expiry(after_ms=DAY)
            new = NewPat(owner=Owner("zoe"), name="x", scope=["reports:read"], expiry=expiry)
            create(acting, new)
        event = json.loads(caplog.records[-1].getMessage())
        assert (event["tenant"], event["byTenant"]) == ("acme", "default")

    def test_a_record_says_where_its_maker_came_from(self, make_at: Make, clock: Clock) -> None:
        home = make_at(clock=clock, may_act_in=lambda by, tenant: True)
        alice = home.verify_bearer(issue(home, "a", scope=["reports:read", ALL]).token)
        new = NewPat(owner=Owner("zoe"), name="x", scope=["reports:read"], expiry=Expiry(after_ms=DAY))
        made = create(home.operations.actor_in("acme", alice), new)
        there = make_at(clock=clock, tenant="acme").get(made.pat.id)
        assert there.made_by == Requester("alice", alice.pat_id, "default")
        own = home.create(name="y", scope=["reports:read"], expires_in=timedelta(days=1), by=alice)
        assert home.get(own.pat.id).made_by == Requester("alice", alice.pat_id)
