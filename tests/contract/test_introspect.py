"""Introspection and revocation: in Python on every engine, and over HTTP with real clients' forms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from patauth import Authority, Forbidden, InvalidRequest, IssuedPat, Owner, RateLimited, StoreUnavailable
from patauth.model import dates
from patauth.operations.introspect import INACTIVE
from patauth.store.tokens import Tokens
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import ALICE, Make, basic_of, issue
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.servers import one_engine
from tests.support.tables import each
from tests.support.wsgi import request

BOB = Owner("bob", name="Bob")


@pytest.fixture
def other(authority: Authority) -> IssuedPat:
    return issue(authority, owner=BOB, name="bob's")


@pytest.fixture
def resource(authority: Authority) -> IssuedPat:
    """A resource server's PAT."""
    return issue(authority, owner=Owner("api"), name="api", scope=["oauth:introspect"])


def access_of(authority: Authority, issued: IssuedPat, **given: Any) -> str:
    return authority.exchange(issued.pat.id, issued.secret, **given).value


ENDS: dict[str, Callable[[Authority, Clock, IssuedPat, str], object]] = {
    "expired": lambda a, clock, p, t: clock.advance(901_000),
    "revoked": lambda a, clock, p, t: a.revoke(t),
    "of a deleted PAT": lambda a, clock, p, t: a.delete(p.pat.id),
    "of a disabled owner": lambda a, clock, p, t: a.disable_owner("alice"),
    "of a secret that was rotated away": lambda a, clock, p, t: a.rotate(p.pat.id, overlap=timedelta(0)),
    "of a PAT whose expiry was moved to before now": lambda a, clock, p, t: (
        a.patch(p.pat.id, [{"op": "replace", "path": "/expirationDate", "value": "2030-01-01T00:00:10Z"}]),
        clock.advance(10_000),
    ),
}


class TestIntrospect:
    def test_an_access_token_tells_whose_it_is_what_it_may_and_until_when(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        found = authority.introspect(access_of(authority, issued, scope="reports:read"))
        assert (found.active, found.scope, found.subject) == (True, ("reports:read",), ALICE)
        assert (found.pat_id, found.method) == (issued.pat.id, "access_token")
        assert found.expires_ms == clock.now + 900_000

    @one_engine
    def test_what_came_from_a_secret_that_is_rotated_away_expires_with_the_overlap(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority, never_expires=True)
        early = access_of(authority, issued)
        new = authority.rotate(issued.pat.id, overlap=timedelta(seconds=60))
        overlap_end = clock.now + MINUTE
        clock.advance(1000)
        for token in (issued.token, early, access_of(authority, issued)):
            assert authority.introspect(token).expires_ms == overlap_end
            assert authority.verify_bearer(token).expires_ms == overlap_end
        assert authority.introspect(new.token).expires_ms is None

    @one_engine
    def test_it_never_outlives_its_pat(self, authority: Authority, clock: Clock) -> None:
        issued = issue(authority, expires_in=timedelta(seconds=60))
        assert authority.introspect(access_of(authority, issued)).expires_ms == clock.now + MINUTE

    @each("end", ENDS)
    def test_an_ended_one_is_not_active_and_says_nothing(self, fresh: Make, clock: Clock, end: str) -> None:
        authority = fresh()
        issued = issue(authority)
        token = access_of(authority, issued)
        assert authority.introspect(token).active
        ENDS[end](authority, clock, issued, token)
        assert authority.introspect(token) == INACTIVE

    def test_an_old_secrets_token_is_active_until_the_overlap_ends(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        authority.rotate(issued.pat.id, overlap=timedelta(seconds=60))
        clock.advance(59_999)
        assert authority.introspect(token).active
        clock.advance(1)
        assert authority.introspect(token) == INACTIVE

    @one_engine
    def test_who_may_look(self, authority: Authority, other: IssuedPat, resource: IssuedPat) -> None:
        issued = issue(authority)
        callers = {
            "alice": authority.verify_bearer(issued.token),
            "bob": authority.verify_bearer(other.token),
            "api": authority.verify_bearer(resource.token),
            "host": None,
        }
        seen = {
            kind: [who for who, by in callers.items() if authority.introspect(token, by=by).active]
            for kind, token in {"access": access_of(authority, issued), "pat": issued.token}.items()
        }
        assert seen == {"access": ["alice", "api", "host"], "pat": ["alice", "api", "host"]}

    def test_another_tenants_tokens_are_not_active(self, make: Make, clock: Clock) -> None:
        home = make(clock=clock)
        issued = issue(home)
        if home.settings.store_url == "memory:":  # a store of its own for each
            return
        away = make(clock=clock, tenant="acme")
        for token in (issued.token, access_of(home, issued)):
            assert home.introspect(token).active
            assert away.introspect(token) == INACTIVE
            away.revoke(token)
            assert home.introspect(token).active

    def test_looking_is_no_use_and_costs_the_pat_nothing(self, authority: Authority) -> None:
        issued = issue(authority, request_quota="1/60")
        for _ in range(5):
            assert authority.introspect(issued.token).active
        assert authority.get(issued.pat.id).last_used is None
        authority.verify_bearer(issued.token)

    @one_engine
    def test_wrong_pat_tokens_are_counted_as_refused_credentials(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, failure_quota="2/60")
        issued, decoy = issue(authority), issue(authority, name="decoy")
        wrong = authority.operations.format.token_text(issued.pat.id, bytes(32))
        assert decoy.token != wrong
        for _ in range(2):
            assert authority.introspect(wrong, address="203.0.113.7") == INACTIVE
        with pytest.raises(RateLimited):
            authority.introspect(wrong, address="203.0.113.7")
        assert authority.introspect(issued.token, address="203.0.113.7").active

    @one_engine
    @each("text", ["", "x", "pats_" + "0" * 49, "pata_" + "0" * 32, "ü", "a" * 10_000])
    def test_what_is_no_token_is_not_active(self, authority: Authority, text: str) -> None:
        assert authority.introspect(text) == INACTIVE
        authority.revoke(text)

    @one_engine
    @each("address", ["", "banana", "10.0.0.0/8", "unknown", "unix:", "203.0.113.256", 5, b"203.0.113.9"])
    def test_a_client_address_that_is_none_is_refused_by_name(
        self, authority: Authority, address: Any
    ) -> None:
        issued = issue(authority, repr(address))
        for token in (issued.token, access_of(authority, issued), "x"):
            with pytest.raises(InvalidRequest) as refused:
                authority.introspect(token, client_address=address)
            assert refused.value.field == "client_address"


class TestRevoke:
    def test_an_access_token_ends_at_once_and_its_pat_lives(self, authority: Authority) -> None:
        issued = issue(authority)
        first, second = access_of(authority, issued), access_of(authority, issued)
        authority.revoke(first, by=authority.verify_bearer(issued.token))
        assert authority.introspect(first) == INACTIVE
        assert authority.verify_bearer(second).subject == ALICE

    def test_a_pat_token_ends_the_pat_and_all_that_came_from_it(self, authority: Authority) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        authority.revoke(issued.token, by=authority.verify_bearer(issued.token))
        assert authority.list(owner_id="alice") == []
        assert authority.introspect(token) == INACTIVE

    @one_engine
    def test_nobody_elses(self, authority: Authority, other: IssuedPat, resource: IssuedPat) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        for caller in (other, resource):
            by = authority.verify_bearer(caller.token)
            authority.revoke(token, by=by)
            authority.revoke(issued.token, by=by)
        assert authority.verify_bearer(token).subject == ALICE
        assert authority.verify_bearer(issued.token).subject == ALICE

    @one_engine
    def test_an_access_token_that_calls_ends_itself_alone(self, authority: Authority, clock: Clock) -> None:
        """FINDINGS A15."""
        issued = issue(authority)
        own = access_of(authority, issued)
        clock.advance(1000)
        other = access_of(authority, issued)
        narrow = authority.exchange(issued.pat.id, issued.secret, scope=["reports:read"]).value
        by = authority.verify_bearer(own)
        for token in (other, narrow):
            with pytest.raises(Forbidden, match="can end only itself"):
                authority.revoke(token, by=by)
            assert authority.introspect(token).active
        authority.revoke(own, by=by)
        assert authority.introspect(own) == INACTIVE

    @one_engine
    def test_each_is_one_event(self, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        with caplog.at_level(logging.INFO, "patauth.audit"):
            authority.revoke(token)
            authority.revoke(token)
            authority.revoke(issued.token)
        events = [record.getMessage() for record in caplog.records]
        assert ["token.revoked" in events[0], "pat.revoked" in events[1]] == [True, True]
        assert len(events) == 2, "the second revocation of the access token changed nothing"
        assert not any(token in event or issued.secret in event for event in events)

    def test_it_is_done_only_once_it_is_durable(self, make_at: Make, clock: Clock) -> None:
        """V4, and the repeat: without the replica that is to have it, no answer is given, ever."""
        plain = make_at(clock=clock)
        issued = issue(plain)
        token = access_of(plain, issued)
        careful = make_at(clock=clock, durability="replicas:9", durability_timeout=0.01)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                careful.revoke(token)
        assert plain.introspect(token) == INACTIVE, "gone all the same"


class Service:
    """The endpoints, as a client with a PAT of its own calls them."""

    def __init__(self, authority: Authority, caller: IssuedPat) -> None:
        self.app = Standalone(authority)
        self.caller = caller

    def __call__(self, endpoint: str, token: str | None, **given: Any) -> TestResponse:
        data = given.pop("data", {} if token is None else {"token": token})
        given.setdefault("authorization", basic_of(self.caller))
        return request(self.app, f"/oauth/{endpoint}", method="POST", data=data, **given)


class TestEndpoints:
    @pytest.fixture
    def authority(self, make_at: Make, clock: Clock) -> Authority:
        return make_at(clock=clock, issuer="https://pats.example", surfaces=["oauth"])

    @pytest.fixture
    def alice(self, authority: Authority) -> IssuedPat:
        return issue(authority)

    @pytest.fixture
    def service(self, authority: Authority, alice: IssuedPat) -> Service:
        return Service(authority, alice)

    def test_an_active_token_by_the_members_of_rfc_7662(
        self, authority: Authority, service: Service, alice: IssuedPat, clock: Clock
    ) -> None:
        answer = service("introspect", access_of(authority, alice))
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert "RateLimit" in answer.headers
        assert answer.json == {
            "active": True,
            "scope": "reports:read reports:write",
            "client_id": alice.pat.id,
            "username": "Alice",
            "token_type": "Bearer",
            "sub": "alice",
            "exp": clock.now // 1000 + 900,
            "iss": "https://pats.example",
        }
        forever = issue(authority, name="never", never_expires=True)
        assert "exp" not in (service("introspect", forever.token).json or {})

    def test_i2_all_that_is_not_active_answers_the_same_bytes(
        self, authority: Authority, service: Service, alice: IssuedPat, other: IssuedPat, clock: Clock
    ) -> None:
        revoked, old = access_of(authority, alice), access_of(authority, alice)
        authority.revoke(revoked)
        unknown = authority.operations.format.mint_access_token(alice.pat.id)[0]
        clock.advance(901_000)
        foreign = access_of(authority, other)
        tokens = [revoked, old, unknown, foreign, other.token, "no token at all", old[:-1], alice.secret]
        bodies = {service("introspect", token).data for token in tokens}
        assert bodies == {b'{"active": false}'}

    def test_v1_v2_revoking_answers_200_and_the_same_bytes_whatever_becomes_of_it(
        self, authority: Authority, service: Service, alice: IssuedPat, other: IssuedPat
    ) -> None:
        own, foreign = access_of(authority, alice), access_of(authority, other)
        answers = [service("revoke", token) for token in (own, own, foreign, other.token, "nothing")]
        assert {(answer.status_code, answer.data) for answer in answers} == {(200, b"{}")}
        assert not authority.introspect(own).active
        assert authority.introspect(foreign).active
        assert authority.introspect(other.token).active

    def test_v3_a_store_that_cannot_answer_is_503(
        self, service: Service, alice: IssuedPat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*_: object, **__: object) -> None:
            raise StoreUnavailable(detail="down")

        monkeypatch.setattr(Tokens, "read", down)
        token = service.app._authority.operations.format.mint_access_token(alice.pat.id)[0]
        for endpoint in ("introspect", "revoke"):
            answer = service(endpoint, token)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")

    @each("endpoint", ["introspect", "revoke"])
    def test_clients_authenticate_in_each_way_and_i1_nobody_gets_in_without(
        self, authority: Authority, service: Service, alice: IssuedPat, endpoint: str
    ) -> None:
        token = access_of(authority, alice)
        form = {"token": token, "client_id": alice.pat.id, "client_secret": alice.secret}
        ways: list[dict[str, Any]] = [
            {},
            {"authorization": f"Bearer {access_of(authority, alice)}"},
            {"authorization": f"Bearer {alice.token}"},
            {"authorization": None, "data": form},
            {"authorization": None, "data": form, "content_type": "multipart/form-data"},
            {"data": {**form, "client_secret": "", "token_type_hint": "refresh_token", "foo": "1"}},
        ]
        for way in ways:
            assert service(endpoint, token, **way).status_code == 200, way
        for refused in (None, "Bearer pata_x", basic_of(alice)[:-4]):
            answer = service(endpoint, token, authorization=refused)
            assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
            assert "WWW-Authenticate" in answer.headers

    @each("endpoint", ["introspect", "revoke"])
    def test_what_is_malformed_is_refused_before_anybody_is_looked_up(
        self, authority: Authority, service: Service, alice: IssuedPat, endpoint: str
    ) -> None:
        token = access_of(authority, alice)
        twice = urlencode([("token", token), ("token", token)])
        form = "application/x-www-form-urlencoded"
        cases = [
            ({"data": {"foo": "1"}}, 400),
            ({"data": twice, "content_type": form}, 400),
            ({"data": {"token": token, "client_secret": alice.secret}}, 400),
            ({"data": {"token": token, "client_id": "0" * 32}}, 400),
            ({"query_string": {"token": token}, "data": {"foo": "1"}}, 400),
            ({"data": "{}", "content_type": "application/json"}, 415),
            ({"data": {"token": "a" * 9000}}, 413),
        ]
        for given, status in cases:
            answer = service(endpoint, token, **given)
            assert answer.status_code == status, given
            assert token not in answer.text
        got = request(service.app, f"/oauth/{endpoint}", authorization=basic_of(alice))
        assert (got.status_code, got.headers["Allow"]) == (405, "POST")

    def test_a_client_address_is_one_or_is_left_out(
        self, authority: Authority, service: Service, alice: IssuedPat
    ) -> None:
        """An empty parameter counts as omitted."""
        issued = issue(authority, name="here", networks=["203.0.113.9"])
        ways = {"203.0.113.9": True, "[::ffff:203.0.113.9]:80": True, "192.0.2.1": False, "": False}
        for address, active in ways.items():
            answer = service("introspect", None, data={"token": issued.token, "client_address": address})
            assert answer.json["active"] is active, address
        refused = service("introspect", None, data={"token": issued.token, "client_address": "banana"})
        assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
        assert "client_address" in refused.json["error_description"]

    def test_i4_wrong_pat_tokens_meet_the_counter_that_basic_meets(self, make_at: Make, clock: Clock) -> None:
        authority = make_at(clock=clock, failure_quota="3/60", surfaces=["oauth"])
        alice = issue(authority)
        service = Service(authority, alice)
        wrong = authority.operations.format.token_text(alice.pat.id, bytes(32))
        statuses = [service("introspect", wrong).status_code, service("revoke", wrong).status_code]
        statuses += [service("introspect", wrong).status_code for _ in range(2)]
        assert statuses == [200, 200, 200, 429]
        assert service("introspect", alice.token).json["active"], "a right one always passes"

    def test_what_a_resource_server_is_shown_is_no_guess_of_its_own(
        self, make_at: Make, clock: Clock, events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """Others send it those tokens. Its own credentials count from its address as everybody's do."""
        authority = make_at(clock=clock, failure_quota="2/60", surfaces=["oauth"])
        alice = issue(authority)
        api = issue(authority, owner=Owner("api"), name="api", scope=["oauth:introspect"])
        wrong = authority.operations.format.token_text(alice.pat.id, bytes(32))
        authority.rotate(alice.pat.id, overlap=timedelta(0))
        service = Service(authority, api)
        events()
        for _ in range(3):
            for token in (wrong, alice.token):
                answer = service("introspect", token)
                assert (answer.status_code, answer.json) == (200, {"active": False})
        told = [(one["type"], one["patId"], one.get("address")) for one in events()]
        known = [(event, alice.pat.id, None) for event in ("credentials.refused", "secret.reused")]
        assert told == known * 3
        statuses = [
            service("introspect", wrong, authorization=f"Bearer {wrong}").status_code for _ in range(3)
        ]
        assert statuses == [401, 401, 429]
        assert service("revoke", wrong).status_code == 429, "a revocation is the caller's own"

    def test_pats_that_have_gone_are_not_active_in_their_retention_too(
        self, authority: Authority, service: Service, clock: Clock
    ) -> None:
        short = issue(authority, name="short", expires_in=timedelta(days=1))
        clock.advance(DAY)
        assert service("introspect", short.token).json == {"active": False}


class TestRevokeWhileDisabled:
    """Disabling an owner comes first in an incident; what is revoked then is not there after it."""

    @each("kind", ["access token", "PAT token"])
    def test_it_stays_revoked_when_the_owner_is_enabled_again(self, fresh: Make, kind: str) -> None:
        authority = fresh()
        issued = issue(authority)
        token = access_of(authority, issued) if kind == "access token" else issued.token
        authority.disable_owner("alice")
        assert authority.introspect(token) == INACTIVE
        assert authority.revoke(token)
        authority.enable_owner("alice")
        assert authority.introspect(token) == INACTIVE


def test_a_pat_with_networks_is_active_only_where_the_caller_says_that_it_is(
    authority: Authority, clock: Clock
) -> None:
    """Over HTTP it is the form's parameter `client_address`, never the address of who asks."""
    begin = clock.now + 1500
    issued = issue(authority, networks=["203.0.113.0/24"], not_before=dates.to_datetime(begin))
    resource_server = issue(authority, "rs", scope=["oauth:introspect"])
    app = Standalone(authority)

    def told(token: str, **more: str) -> dict[str, Any]:
        value = basic_of(resource_server)
        answer = request(
            app, "/oauth/introspect", method="POST", authorization=value, data={"token": token, **more}
        )
        assert answer.status_code == 200
        return dict(answer.json or {})

    inside = {"client_address": "203.0.113.77"}
    assert told(issued.token, **inside) == {"active": False}, "not yet"
    clock.advance(1500)
    access = authority.exchange(issued.pat.id, issued.secret, address="203.0.113.1").value
    for token in (issued.token, access):
        found = told(token, **inside)
        assert (found["active"], found["nbf"]) == (True, begin // 1000)
        for more in ({}, {"client_address": ""}, {"client_address": "198.51.100.1"}):
            assert told(token, **more) == {"active": False}, more
    own = request(
        app, "/oauth/introspect", method="POST", authorization=basic_of(issued), data={"token": access}
    )
    assert (own.status_code, own.json) == (200, {"active": False}), "who asks may be elsewhere"
