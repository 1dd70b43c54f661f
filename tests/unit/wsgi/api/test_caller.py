"""Who calls patauth's own API: a PAT, or a person of the host's by way of `identify`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from patauth import Authority, Cors, InvalidCredentials, InvalidRequest, Owner, PatAuthMiddleware
from patauth.errors import Forbidden, MissingCredentials, PatAuthError, RateLimited
from patauth.model.caller import Person, Principal
from patauth.wsgi.api.caller import identify_caller
from patauth.wsgi.api.csrf import CSRF_LIFE
from patauth.wsgi.site import Site
from tests.support.authorities import basic_of, issue, maker
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import Echo, request
from tests.support.zitadel import CONNECT, USERS

NOW = 1_893_456_000
ALICE = Person(Owner("alice", name="Alice"), ["idn:my-personal-access-tokens:manage", "reports:read"])
BOB = Person(Owner("bob"), ALICE.scopes)
SAME = {"HTTP_SEC_FETCH_SITE": "same-origin"}
LIST, MINE = "/personal-access-tokens/v1", "/personal-access-tokens/v1?owner-id=me"


@pytest.fixture
def authority(prefix: str, clock: Clock) -> Iterator[Authority]:
    with maker("memory:", prefix) as make:
        yield make(clock=clock)


def environ(method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "PATH_INFO": "/", "HTTP_HOST": "app.example", **more}


class TestIdentifyCaller:
    def test_an_authorization_wins_and_identify_is_not_asked(self, authority: Authority) -> None:
        issued = issue(authority)
        sent = environ("POST", HTTP_AUTHORIZATION=basic_of(issued))
        admitted = identify_caller(sent, Site(authority, identify=never))
        assert isinstance(admitted.caller, Principal)
        assert admitted.caller.pat_id == issued.pat.id
        assert admitted.decision is not None
        assert admitted.csrf_token is None

    def test_a_refused_authorization_is_refused_even_if_somebody_is_signed_in(
        self, authority: Authority
    ) -> None:
        for value, error in {
            "Basic Og==": InvalidCredentials,
            "Bearer x": InvalidCredentials,
            " ": InvalidCredentials,
            basic_of(issue(authority)) + ", Bearer x": InvalidRequest,
        }.items():
            with pytest.raises(error):
                identify_caller(environ(HTTP_AUTHORIZATION=value, **SAME), Site(authority, identify=never))

    def test_a_token_in_the_url_is_never_read(self, authority: Authority) -> None:
        issued = issue(authority)
        query = {"QUERY_STRING": f"access_token={issued.token}"}
        with pytest.raises(MissingCredentials):
            identify_caller(environ(**query), Site(authority, identify=None))
        with pytest.raises(InvalidRequest, match="never in the URL"):
            identify_caller(
                environ(HTTP_AUTHORIZATION=basic_of(issued), **query), Site(authority, identify=None)
            )

    def test_nobody_is_missing_credentials(self, authority: Authority) -> None:
        for identify in (None, lambda environ: None):
            for sent in (environ(), environ(HTTP_AUTHORIZATION=""), environ("POST")):
                with pytest.raises(MissingCredentials):
                    identify_caller(sent, Site(authority, identify=identify))

    def test_a_person_reads_and_gets_the_token_to_write_with(self, authority: Authority) -> None:
        for method in ("GET", "HEAD"):
            person, decision, _, token = identify_caller(
                environ(method), Site(authority, identify=lambda _: ALICE)
            )
            assert person == ALICE
            assert decision is not None
            assert (decision.name, decision.quota) == ("persons", authority.settings.person_quota)
            assert token is not None
            for unsafe in ("POST", "PATCH", "DELETE", "PUT"):
                sent = environ(unsafe, HTTP_X_CSRF_TOKEN=token, **SAME)
                admitted = identify_caller(sent, Site(authority, identify=lambda _: ALICE))
                assert (admitted.caller, admitted.csrf_token) == (ALICE, None)

    def test_a_person_has_a_quota_that_other_sites_and_other_people_do_not_use_up(self, prefix: str) -> None:
        with maker("memory:", prefix) as make:
            clock = Clock()
            small = make(clock=clock, person_quota="2/10")
            alice, bob = (Site(small, identify=lambda _, who=who: who) for who in (ALICE, BOB))
            token = identify_caller(environ(), alice).csrf_token
            foreign = environ("POST", HTTP_X_CSRF_TOKEN=token, HTTP_SEC_FETCH_SITE="cross-site")
            for _ in range(5):
                with pytest.raises(Forbidden):
                    identify_caller(foreign, alice)
                with pytest.raises(Forbidden):
                    identify_caller(environ("POST", **SAME), alice)
            identify_caller(environ(), alice)
            with pytest.raises(RateLimited) as limited:
                identify_caller(environ(), alice)
            assert (limited.value.quota, limited.value.retry_after) == ("persons", 5)
            identify_caller(environ(), bob)
            clock.advance(5000)
            identify_caller(environ(), alice)

    def test_to_change_something_takes_both_the_origin_and_the_token(self, authority: Authority) -> None:
        token = identify_caller(environ(), Site(authority, identify=lambda _: ALICE)).csrf_token or ""
        good = {"HTTP_X_CSRF_TOKEN": token}
        for sent in (
            {},
            SAME,
            good,
            {**SAME, "HTTP_X_CSRF_TOKEN": token[:-1]},
            {**SAME, "QUERY_STRING": f"X-CSRF-Token={token}"},
            {**SAME, "HTTP_COOKIE": f"X-CSRF-Token={token}"},
            {**good, "HTTP_SEC_FETCH_SITE": "cross-site"},
            {**good, "HTTP_SEC_FETCH_SITE": "same-site"},
            {**good, "HTTP_SEC_FETCH_SITE": "none"},
            {**good, "HTTP_ORIGIN": "https://evil.example"},
        ):
            with pytest.raises(Forbidden):
                identify_caller(environ("POST", **sent), Site(authority, identify=lambda _: ALICE))
        with pytest.raises(Forbidden):
            identify_caller(environ("POST", **SAME, **good), Site(authority, identify=lambda _: BOB))

    def test_the_token_ages_by_the_clock_that_is_passed_in(self, authority: Authority) -> None:
        token = identify_caller(
            environ(), Site(authority, identify=lambda _: ALICE), clock=lambda: NOW
        ).csrf_token
        sent = environ("POST", HTTP_X_CSRF_TOKEN=token, **SAME)
        identify_caller(sent, Site(authority, identify=lambda _: ALICE), clock=lambda: NOW + CSRF_LIFE - 1)
        with pytest.raises(Forbidden, match="no longer valid"):
            identify_caller(sent, Site(authority, identify=lambda _: ALICE), clock=lambda: NOW + CSRF_LIFE)

    def test_a_person_of_another_tenant_is_refused(self, authority: Authority) -> None:
        stranger = Person(ALICE.owner, ALICE.scopes, tenant="other")
        with pytest.raises(Forbidden, match="another organisation"):
            identify_caller(environ(**SAME), Site(authority, identify=lambda _: stranger))

    def test_anything_but_a_person_or_none_is_an_error(self, authority: Authority) -> None:
        answers: list[Any] = ["alice", True, False, 0, {}, Owner("alice"), Person]
        for answer in answers:
            with pytest.raises(PatAuthError, match="something went wrong") as caught:
                identify_caller(environ(), Site(authority, identify=lambda _, answer=answer: answer))  # type: ignore[misc]
            assert caught.value.status == 500, answer

    def test_its_exception_is_an_error_and_its_text_goes_nowhere(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        def identify(environ: dict[str, Any]) -> Person:
            raise KeyError(environ["HTTP_COOKIE"])

        with caplog.at_level(logging.INFO), pytest.raises(PatAuthError) as caught:
            identify_caller(environ(HTTP_COOKIE="session=hunter2"), Site(authority, identify=identify))
        assert caught.value.status == 500
        assert caught.value.__cause__ is None
        assert "hunter2" not in caplog.text + str(caught.value) + str(caught.value.detail)
        assert "KeyError" in caplog.text
        assert "test_caller.py" in caplog.text, "where it was"


def never(environ: dict[str, Any]) -> Person:
    raise AssertionError("identify was asked")


FOREIGN = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": "https://evil.example"}
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", LIST, {"name": "new", "scope": ["reports:read"], "userAwareTokenNeverExpires": True}),
    ("PATCH", LIST + "/{id}", [{"op": "replace", "path": "/name", "value": "renamed"}]),
    ("POST", LIST + "/{id}/rotate", None),
    ("POST", LIST + "/{id}/disable", None),
    ("POST", LIST + "/self/rotate", None),
    ("DELETE", LIST + "/{id}", None),
    ("DELETE", LIST + "/self", None),
    ("POST", USERS + "/alice/pats", {}),
    ("DELETE", USERS + "/alice/pats/{id}", None),
    ("POST", "/v2/users/alice/pats", {"expirationDate": "2031-01-01T00:00:00Z"}),
    ("POST", CONNECT + "AddPersonalAccessToken", {"userId": "alice"}),
    ("POST", CONNECT + "RemovePersonalAccessToken", {"userId": "alice", "tokenId": "{id}"}),
]


class TestAPasswordThatABrowserKeeps:
    """A browser sends it by itself, whichever site asked for the request."""

    @each("method, path, body", CHANGES)
    def test_another_site_changes_nothing_with_it_in_either_dialect(
        self, authority: Authority, method: str, path: str, body: Any
    ) -> None:
        clear(authority)
        issued = issue(authority, scope=["self:rotate", *ALICE.scopes], never_expires=True)
        victim = issue(authority, "victim", scope=["reports:read"])
        gate = PatAuthMiddleware(Echo(), authority, surfaces=["isc", "zitadel"], cors=Cors(["*"]))
        names = {"id": victim.pat.id}
        given = {"method": method, "json": in_full(body, names), "authorization": basic_of(issued)}
        path = path.format(**names)
        if method == "PATCH":
            given["headers"] = {"Content-Type": "application/json-patch+json"}
        before = list(authority.list())
        for sent in (FOREIGN, {**FOREIGN, "HTTP_ORIGIN": "null"}, {"HTTP_ORIGIN": "https://evil.example"}):
            refused = request(gate, path, environ=sent, **given)
            assert refused.status_code == 403
            assert "send a token as Bearer" in refused.text
            assert "RateLimit" not in refused.headers, "the PAT's quota is not charged"
        assert list(authority.list()) == before
        for value in (issued.secret, victim.secret):
            assert value not in refused.text
        # It is the origin that was wrong, and nothing else of the request.
        assert request(gate, path, **given).status_code in (200, 201, 204)
        assert list(authority.list()) != before

    def test_it_reads_and_a_bearer_changes_from_anywhere(self, authority: Authority) -> None:
        issued = issue(authority, scope=[*ALICE.scopes])
        gate = PatAuthMiddleware(Echo(), authority, surfaces=["isc"])
        for method in ("GET", "HEAD"):
            answer = request(gate, MINE, method=method, authorization=basic_of(issued), environ=FOREIGN)
            assert answer.status_code == 200
        one = f"{LIST}/{issued.pat.id}"
        refused = request(
            gate, one, method="DELETE", authorization="bAsIc" + basic_of(issued)[5:], environ=FOREIGN
        )
        assert refused.status_code == 403
        by_bearer = request(
            gate, one, method="DELETE", authorization=f"Bearer {issued.token}", environ=FOREIGN
        )
        assert by_bearer.status_code == 204

    def test_from_a_site_that_cors_names_it_changes(self, authority: Authority) -> None:
        issued = issue(authority, scope=[*ALICE.scopes])
        for listed, status in (("https://other.example", 403), ("https://evil.example", 204)):
            gate = PatAuthMiddleware(Echo(), authority, surfaces=["isc"], cors=Cors([listed]))
            one = f"{LIST}/{issued.pat.id}"
            answer = request(gate, one, method="DELETE", authorization=basic_of(issued), environ=FOREIGN)
            assert answer.status_code == status


def in_full(body: Any, names: dict[str, str]) -> Any:
    return json.loads(json.dumps(body).replace("{id}", names["id"]))


def clear(authority: Authority) -> None:
    for pat in authority.list():
        authority.delete(pat.id)


class TestThroughTheMiddleware:
    def gate(self, authority: Authority, identify: Any) -> tuple[PatAuthMiddleware, Echo]:
        app = Echo()
        return PatAuthMiddleware(app, authority, public=["/free"], surfaces=["isc"], identify=identify), app

    def test_a_person_opens_no_route_of_the_application(self, authority: Authority) -> None:
        gate, app = self.gate(authority, lambda _: ALICE)
        look_alikes = [LIST + "/", LIST + "/a/b", "/v4/personal-access-tokens", "/oauth/token"]
        for path in ("/", "/reports/1", "/admin", *look_alikes):
            for method in ("GET", "POST", "OPTIONS"):
                response = request(gate, path, method=method, environ=SAME)
                assert response.status_code == 401, (method, path)
        assert app.seen == []
        assert request(gate, "/free", environ=SAME).json["who"] is None
        assert "patauth.principal" not in app.seen[-1]

    def test_a_person_lists_makes_and_removes_their_pats(self, authority: Authority) -> None:
        gate, app = self.gate(authority, lambda _: ALICE)
        listed = request(gate, MINE)
        assert (listed.status_code, listed.json) == (200, [])
        assert '"persons"' in listed.headers["RateLimit"], "no PAT, so no quota of one"
        headers = {"X-CSRF-Token": listed.headers["X-CSRF-Token"], "Sec-Fetch-Site": "same-origin"}
        body = {"name": "mine", "scope": ["reports:read"], "expirationDate": "2031-01-01T00:00:00Z"}
        made = request(gate, LIST, method="POST", json=body, headers=headers)
        assert made.status_code == 200
        assert made.json["owner"] == {"type": "IDENTITY", "id": "alice", "name": "Alice"}
        assert "X-CSRF-Token" not in made.headers
        assert [pat["name"] for pat in request(gate, MINE).json] == ["mine"]
        one = f"{LIST}/{made.json['id']}"
        assert request(gate, one, method="DELETE").status_code == 403
        assert request(gate, one, method="DELETE", headers=headers).status_code == 204
        assert request(gate, LIST + "/self", headers=headers).status_code == 404, "a person is no PAT"
        assert app.seen == []

    def test_only_a_success_brings_the_token(self, authority: Authority) -> None:
        gate, _ = self.gate(authority, lambda _: ALICE)
        assert "X-CSRF-Token" in request(gate, MINE, method="HEAD").headers
        for path in (f"{LIST}/{'0' * 32}", LIST, MINE + "&limit=x"):
            response = request(gate, path)
            assert response.status_code in (400, 403, 404)
            assert "X-CSRF-Token" not in response.headers
        issued = issue(authority, scope=["sp:scopes:all"])
        assert "X-CSRF-Token" not in request(gate, MINE, authorization=basic_of(issued)).headers

    def test_a_foreign_page_gets_403_with_a_reason(self, authority: Authority) -> None:
        gate, _ = self.gate(authority, lambda _: ALICE)
        response = request(gate, MINE, headers={"Origin": "https://evil.example"})
        assert response.status_code == 403
        assert "own pages" in response.json["causes"][0]["text"]
        assert not [name for name in response.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118

    def test_identity_that_a_client_forged_does_not_reach_identify(self, authority: Authority) -> None:
        seen: list[dict[str, Any]] = []
        gate, _ = self.gate(authority, lambda environ: seen.append(dict(environ)))
        forged = {"REMOTE_USER": "root", "HTTP_REMOTE_USER": "root", "HTTP_PATAUTH_ID": "1"}
        assert request(gate, LIST, environ=forged).status_code == 401
        assert not set(forged) & set(seen[0])

    def test_a_failing_identify_is_500_without_internals(self, authority: Authority) -> None:
        def identify(environ: dict[str, Any]) -> Person:
            raise RuntimeError("hunter2")

        gate, app = self.gate(authority, identify)
        response = request(gate, LIST)
        assert (response.status_code, response.json["detailCode"]) == (500, "500.0 Internal Fault")
        assert "hunter2" not in response.text
        assert "RuntimeError" not in response.text
        assert app.seen == []
