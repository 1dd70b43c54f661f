"""Rights over HTTP: version x way of calling x rights x call, each with the status that one oracle says.

The oracle is `rights.py`, and takes no notice of version or way (R8). Every route that there is asks who
calls, or is on a list of those that do not.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware, Person
from patauth.wsgi.api.csrf import make_csrf_token
from patauth.wsgi.routing import Routes
from tests.support import rights
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import NOW, Clock
from tests.support.rights import ALL_MANAGE, ALL_READ, EVERYTHING, HELD, MANAGED_READ, MY_MANAGE
from tests.support.tables import each
from tests.support.wsgi import APIS, Echo, request

BASES = {"v1": "/personal-access-tokens/v1"} | {
    version: f"/{version}/personal-access-tokens" for version in ("v3", "beta", "v2024", "v2025", "v2026")
}
WAYS = ["basic", "pat", "access token", "person"]
SELF, OTHER, MANAGED = Owner("self"), Owner("other"), Owner("managed")
OWNERS = {"own": SELF, "other": OTHER, "managed": MANAGED}
MISSING = "0123456789abcdef" * 2
STATUS = {"forbidden": 403, "missing": 404, "invalid": 400}
CATALOGUE = dict.fromkeys(["reports:read", MANAGED_READ, ALL_MANAGE, *rights.LOOK_ALIKES], "words")
SITE = {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "https://app.example"}
JSON, JSON_PATCH = "application/json", "application/json-patch+json"
SOONER = [{"op": "replace", "path": "/expirationDate", "value": "2030-01-03T00:00:00Z"}]

every_version = pytest.mark.parametrize("version", BASES)
every_way = pytest.mark.parametrize("way", WAYS)


def signed_in(environ: dict[str, Any]) -> Person | None:
    """The host's sign-in: a test puts the person into the environ."""
    return environ.get("test.person")


class Site:
    """An application behind patauth, and PATs of three owners."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.app = Echo()
        self.gate = PatAuthMiddleware(self.app, authority, surfaces=["oauth", "isc"], identify=signed_in)
        self.made = 0
        self.targets: dict[str, str] = {}  # the PAT of each owner that calls are about; until it is deleted
        for owner in OWNERS.values():
            issue(authority, "kept", owner=owner, scope=["reports:read"])

    def fresh(self, owner: Owner, scope: list[str] | None = None) -> IssuedPat:
        self.made += 1
        return issue(self.authority, f"n{self.made}", owner=owner, scope=scope or ["reports:read"])

    def ask(self, path: str, **given: Any) -> TestResponse:
        response = request(self.gate, path, **given)
        assert self.app.seen == [], "none of this is the application's"
        return response


@pytest.fixture
def sites(make_at: Make, clock: Clock, prefix: str) -> Callable[..., Site]:
    numbers = itertools.count()

    def make_one(**given: Any) -> Site:
        quotas = dict.fromkeys(["request_quota", "exchange_quota", "failure_quota"], "1000000/1")
        values = {"max_pats_per_owner": 1000, "key_prefix": f"{prefix}-{next(numbers)}", **quotas, **given}
        manages = lambda caller, owner_id: owner_id == MANAGED.id  # noqa: E731
        return Site(make_at(clock=clock, manages=manages, person_quota="100000/1", **values))

    return make_one


@pytest.fixture
def site(sites: Callable[..., Site]) -> Site:
    return sites()


class Caller:
    """Somebody with some rights, who calls in one of four ways."""

    def __init__(self, site: Site, held: list[str], way: str, version: str) -> None:
        self.site, self.version, self.base = site, version, BASES[version]
        scope = [*held, "reports:read"]
        self.pat = site.fresh(SELF, scope)
        self.given: dict[str, Any] = {}
        if way == "person":
            person = Person(SELF, scope)
            token = make_csrf_token(site.authority.operations.keyring(), person, int(time.time()))
            self.given = {"environ": {"test.person": person, "HTTP_X_CSRF_TOKEN": token, **SITE}}
        elif way == "basic":
            self.given = {"authorization": basic_of(self.pat)}
        elif way == "pat":
            self.given = {"authorization": f"Bearer {self.pat.token}"}
        else:
            form = {"grant_type": "client_credentials"}
            form |= {"client_id": self.pat.pat.id, "client_secret": self.pat.secret}
            access = site.ask("/oauth/token", method="POST", data=form).json
            self.given = {"authorization": f"Bearer {access['access_token']}"}

    def ask(self, method: str, path: str, body: Any = None, kind: str = JSON) -> TestResponse:
        sent = {} if body is None else {"data": json.dumps(body), "content_type": kind}
        return self.site.ask(self.base + path, method=method, **sent, **self.given)

    def calls(self) -> list[str]:
        """The calls that this version has."""
        few = ("list", "create", "patch", "delete")
        return [call for call in rights.NEEDS if self.version == "v1" or call.split()[0] in few]

    def requests(self, call: str) -> list[TestResponse]:
        """The answers to a call; more than one where it can be made in more than one way."""
        verb, _, whose = call.partition(" ")
        if verb == "list":
            query = {"me": "?owner-id=me", "all": "", "own id": "?owner-id=self"}
            return [self.ask("GET", query.get(whose, f"?owner-id={whose}"))]
        if verb == "create":
            self.site.made += 1
            body = {"name": f"c{self.site.made}", "scope": ["reports:read"]}
            body["expirationDate"] = "2030-01-02T00:00:00.000Z"
            if whose:
                body["owner"] = {"id": whose.split()[-1]}
            return [self.ask("POST", "", body)]
        if verb == "bulk":
            return [
                self.ask(method, "/bulk-update", {"ids": [self.target(whose)], "patch": SOONER})
                for method in ("PATCH", "POST")
            ]
        target = "/" + self.target(whose)
        if verb == "get":
            return [self.ask("GET", target), self.ask("HEAD", target)]
        if verb == "patch":
            patch = [{"op": "replace", "path": "/name", "value": f"renamed {target}"}]
            return [self.ask("PATCH", target, patch, JSON_PATCH)]
        if verb == "rotate":
            return [self.ask("POST", target + "/rotate"), self.ask("POST", target + "/rotate", {})]
        deletion = self.ask("DELETE", target)
        if deletion.status_code == 204:
            del self.site.targets[whose]
        return [deletion]

    def target(self, whose: str) -> str:
        if whose == "missing":
            return MISSING
        if whose not in self.site.targets:
            self.site.targets[whose] = self.site.fresh(OWNERS[whose]).pat.id
        return self.site.targets[whose]


@pytest.mark.system
@every_way
@every_version
def test_each_call_has_the_status_that_the_rights_say(
    sites: Callable[..., Site], version: str, way: str
) -> None:
    """A1, A2, R8, TOB-PYPI26-8: the same in every version, by every way, for every set of rights."""
    for catalogue in (None, CATALOGUE):
        site = sites(scopes=catalogue)
        for named, held in HELD.items():
            caller = Caller(site, held, way, version)
            may = rights.powers(held, catalogue or ())
            for call in caller.calls():
                outcome = rights.expected(call, may)
                status = STATUS.get(outcome, 204 if call.startswith("delete") else 200)
                for response in caller.requests(call):
                    assert response.status_code == status, (named, call, response.text)


@every_way
@every_version
def test_another_s_pat_and_a_missing_one_get_the_same_answer(site: Site, version: str, way: str) -> None:
    """A2: byte for byte, but for the number by which the log knows the request."""
    for held in ([MY_MANAGE], [EVERYTHING, MY_MANAGE], [MY_MANAGE, MANAGED_READ], [MY_MANAGE, ALL_READ]):
        caller = Caller(site, held, way, version)
        for verb in ("patch", "delete", "get", "rotate"):
            if f"{verb} own" not in caller.calls():
                continue
            for whose in ("other", "managed"):
                if rights.expected(f"{verb} {whose}", rights.powers(held)) != "missing":
                    continue
                answers = [caller.requests(f"{verb} {one}")[0] for one in (whose, "missing")]
                seen = []
                for answer in answers:
                    fields = [field for field in answer.headers if not field[0].startswith("RateLimit")]
                    tracking = answer.json["trackingId"]
                    assert len(tracking) == 32
                    seen.append((answer.status, fields, answer.data.replace(tracking.encode(), b"")))
                assert seen[0] == seen[1]
                assert answers[0].status_code == 404


@every_version
def test_a_pat_given_as_basic_makes_none_without_a_right_to_that(site: Site, version: str) -> None:
    """Gitea GHSA-683j: the id and secret of a PAT are not a person's password."""
    for held in ([], [EVERYTHING], [ALL_READ]):
        for way in WAYS:
            caller = Caller(site, held, way, version)
            before = len(site.authority.list(owner_id="self"))
            for scope in (["reports:read"], [MY_MANAGE], None):
                body = {"name": "x", "scope": scope, "expirationDate": "2030-01-02T00:00:00.000Z"}
                assert caller.ask("POST", "", body).status_code == 403
            assert len(site.authority.list(owner_id="self")) == before


@every_way
@every_version
def test_a_pat_passes_on_no_more_than_it_has(site: Site, version: str, way: str) -> None:
    """A3: scopes and life; a later expiry that was asked for is 400, an implied one is cut."""
    caller = Caller(site, [MY_MANAGE], way, version)
    day = {"expirationDate": "2030-01-02T00:00:00.000Z"}
    for scope in (["reports:write"], [EVERYTHING], None, ["reports:read", "x"], [ALL_READ], [MANAGED_READ]):
        assert caller.ask("POST", "", {"name": "x", "scope": scope, **day}).status_code == 400, scope
    small = caller.target("own")
    for scope in ("reports:write", EVERYTHING, ALL_MANAGE):
        patch = [{"op": "add", "path": "/scope/-", "value": scope}]
        assert caller.ask("PATCH", f"/{small}", patch, JSON_PATCH).status_code == 400, scope
    assert site.authority.get(small).scope == ("reports:read",)
    body = {"name": "x", "scope": ["reports:read"]}
    if way == "person":
        return
    late = {"expirationDate": "2030-01-31T00:00:00.001Z"}
    assert caller.ask("POST", "", {**body, **late}).status_code == 400
    assert caller.ask("POST", "", {**body, "userAwareTokenNeverExpires": True}).status_code == 400
    if version in ("v3", "v2024"):
        assert caller.ask("POST", "", body).json["expirationDate"] == "2030-01-31T00:00:00.000Z"
    else:
        later = [{"op": "replace", "path": "/expirationDate", "value": late["expirationDate"]}]
        for pat_id in (small, caller.pat.pat.id):
            assert caller.ask("PATCH", f"/{pat_id}", later, JSON_PATCH).status_code == 400
    if version == "v1":
        more = site.fresh(SELF, ["reports:read", "reports:write"])
        assert caller.ask("POST", f"/{more.pat.id}/rotate").status_code == 403
        assert site.authority.verify_bearer(more.token)


class TestWhoIsNobody:
    """Authorization missing or refused: 401 everywhere, whatever is asked."""

    @every_version
    @each(
        "kind", ["none", "empty", "wrong", "deleted", "expired", "disabled", "no scheme", "cookie", "query"]
    )
    def test_each_call_is_401(
        self, sites: Callable[..., Site], clock: Clock, version: str, kind: str
    ) -> None:
        clock.now = NOW
        site = sites()
        caller = Caller(site, [ALL_MANAGE], "basic", version)
        pat, authority = caller.pat, site.authority
        given: dict[str, Any] = {"authorization": basic_of(pat)}
        if kind == "none":
            given = {}
        elif kind == "empty":
            given = {"authorization": ""}
        elif kind == "wrong":
            given = {"authorization": basic(pat.pat.id, wrong_secret(authority))}
        elif kind == "no scheme":
            given = {"authorization": pat.token}
        elif kind == "cookie":
            given = {"headers": {"Cookie": f"access_token={pat.token}; session={pat.token}"}}
        elif kind == "query":
            given = {"environ": {"QUERY_STRING": f"access_token={pat.token}"}}
        targets = {whose: site.fresh(owner) for whose, owner in OWNERS.items()}
        if kind == "deleted":
            authority.delete(pat.pat.id)
        elif kind == "expired":
            clock.now = pat.pat.expires_ms or 0
        elif kind == "disabled":
            authority.disable_owner(SELF.id)
        before = [authority.list(owner_id=owner.id) for owner in OWNERS.values()]
        caller.given = given
        caller.target = lambda whose: MISSING if whose == "missing" else targets[whose].pat.id  # type: ignore[method-assign]
        bodies = set()
        for call in caller.calls():
            for response in caller.requests(call):
                assert response.status_code == 401, (call, response.text)
                assert response.data == b"" or list(response.json) == ["error"]
                bodies.add(response.data)
        assert len(bodies - {b""}) == 1
        assert before == [authority.list(owner_id=owner.id) for owner in OWNERS.values()]

    @every_version
    def test_a_person_who_is_nobody_anymore_is_401_too(self, site: Site, version: str) -> None:
        caller = Caller(site, [ALL_MANAGE], "person", version)
        caller.given["environ"]["test.person"] = None
        for call in caller.calls():
            for response in caller.requests(call):
                assert response.status_code == 401, call

    @every_version
    def test_a_person_without_the_token_or_from_elsewhere_changes_nothing(
        self, site: Site, version: str
    ) -> None:
        caller = Caller(site, [ALL_MANAGE], "person", version)
        good = caller.given["environ"]
        for change in (
            {"HTTP_X_CSRF_TOKEN": ""},
            {"HTTP_X_CSRF_TOKEN": good["HTTP_X_CSRF_TOKEN"][:-1]},
            {"HTTP_SEC_FETCH_SITE": "cross-site"},
            {"HTTP_SEC_FETCH_SITE": "same-site"},
            {"HTTP_SEC_FETCH_SITE": ""},
            {"test.person": Person(OTHER, [ALL_MANAGE])},  # with another's token
            {"test.person": Person(SELF, [ALL_MANAGE], tenant="elsewhere")},
        ):
            caller.given["environ"] = {**good, **change}
            for call in caller.calls():
                if call.split()[0] in ("list", "get"):
                    continue
                for response in caller.requests(call):
                    assert response.status_code == 403, (call, change)

    @every_version
    def test_a_refused_authorization_is_not_made_good_by_who_is_signed_in(
        self, site: Site, version: str
    ) -> None:
        caller = Caller(site, [ALL_MANAGE], "person", version)
        caller.given["authorization"] = basic(caller.pat.pat.id, wrong_secret(site.authority))
        for call in caller.calls():
            for response in caller.requests(call):
                assert response.status_code == 401, call


@every_version
def test_a_tokens_own_rights_decide_and_not_those_of_its_pat(site: Site, version: str) -> None:
    """R8 the other way round: what an exchange left out is not there."""
    caller = Caller(site, [ALL_MANAGE], "basic", version)
    for asked in ("reports:read", "sp:my-personal-access-tokens:read", ALL_READ, MY_MANAGE):
        access = site.authority.exchange(caller.pat.pat.id, caller.pat.secret, scope=f"{asked} reports:read")
        caller.given = {"authorization": f"Bearer {access.value}"}
        may = rights.powers([asked])
        for call in caller.calls():
            outcome = rights.expected(call, may)
            status = STATUS.get(outcome, 204 if call.startswith("delete") else 200)
            for response in caller.requests(call):
                assert response.status_code == status, (asked, call, response.text)


# -- side routes ---------------------------------------------------------------------------------------------

# Routes that answer without credentials, and why. Anything else must be 401.
OPEN = {
    "/.well-known/oauth-authorization-server": "what clients read before they have any credentials",
    "/.well-known/openid-configuration": "the same",
    "/openapi.json": "how the API works, which is no secret",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
FORM = "application/x-www-form-urlencoded"
BODIES = [(JSON, b"{}"), (JSON_PATCH, b"[]"), (FORM, b"grant_type=client_credentials&token=x")]


def known_paths(routes: Routes) -> list[str]:
    """Each path that `routes` answers: those that are fixed, and of the others one of each form."""
    rests = ["x", MISSING, f"{MISSING}/rotate", "self/rotate", "bulk-update", "self", "me", "%2e"]
    rests += ["u1/pats", "u1/pats/_search", f"u1/pats/{MISSING}"]
    open_ended = {
        start: [path for rest in rests if routes.find(path := start + rest)] for start in routes.below
    }
    assert all(open_ended.values()), "say in `rests` what a path of this beginning looks like"
    return [*routes.fixed, *itertools.chain.from_iterable(open_ended.values())]


@each("credentials", ["none", "empty", "Basic Og==", "Bearer x", "expired"])
def test_every_route_there_is_asks_who_calls_or_is_known_to_be_open(
    make_at: Make, clock: Clock, prefix: str, credentials: str
) -> None:
    """Gitea GHSA-mg4f and others: no side route misses the check."""
    clock.now = NOW
    authority = make_at(
        clock=clock,
        issuer="https://tokens.example",
        failure_quota="1000000/1",
        key_prefix=f"{prefix}-{len(credentials)}",
    )
    expired = issue(authority, request_quota="1000000/1")
    clock.now = expired.pat.expires_ms or 0
    given = {"none": None, "empty": "", "expired": f"Bearer {expired.token}"}.get(credentials, credentials)
    app = Echo()
    gate = PatAuthMiddleware(app, authority, public=["/*"], surfaces=APIS, identify=lambda _: None)
    paths = known_paths(gate._routes)
    assert {*OPEN, *BASES.values(), "/oauth/token"} <= set(paths)
    asked = set()
    for path, method, (kind, data) in itertools.product(paths, METHODS, BODIES):
        response = request(gate, path, method=method, authorization=given, data=data, content_type=kind)
        status = response.status_code
        if path in OPEN and method in ("GET", "HEAD"):
            assert status == 200
        elif path.startswith("/oauth/") and (kind != FORM or credentials == "Bearer x"):
            # The form is read first there, and a bearer is none of its ways to say who calls.
            assert status in (400, 401, 405, 415), (method, path, response.text)
        else:
            assert status in (401, 405), (method, path, response.text)
        if status == 401:
            asked.add(path)
    assert asked == set(paths) - set(OPEN)
    assert app.seen == []
