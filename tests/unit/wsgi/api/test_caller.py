"""Who calls patauth's own API: a PAT, or a person of the host's by way of `identify`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, InvalidRequest, Owner, PatAuthMiddleware
from patauth.crypto.keyring import Keyring
from patauth.errors import Forbidden, MissingCredentials, PatAuthError
from patauth.model.caller import Person, Principal
from patauth.wsgi.api import caller
from patauth.wsgi.api.caller import (
    CSRF_LIFE,
    check_csrf_token,
    check_origin,
    identify_caller,
    make_csrf_token,
)
from tests.support.authorities import basic_of, issue, maker
from tests.support.clocks import Clock
from tests.support.wsgi import Echo, request

RING = Keyring(bytes(range(32)))
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


class TestOrigin:
    """Go 1.25's CrossOriginProtection, but closed where a browser says nothing."""

    @pytest.mark.parametrize(
        ("site", "origin", "safe", "unsafe"),
        [
            ("same-origin", None, True, True),
            ("same-origin", "https://app.example", True, True),
            ("same-origin", "https://other.example", True, True),  # Sec-Fetch-Site is what decides
            ("none", None, True, False),  # an address that was typed
            ("same-site", None, False, False),
            ("cross-site", None, False, False),
            ("cross-site", "https://app.example", False, False),
            ("Same-Origin", None, False, False),
            ("same-origin, same-origin", None, False, False),
            ("whatever", None, False, False),
            (None, "https://app.example", True, True),
            (None, "http://app.example", True, True),  # a proxy may have taken TLS off
            (None, "HTTPS://APP.EXAMPLE", True, True),
            ("", "https://app.example", True, True),
            (None, "https://other.example", False, False),
            (None, "https://app.example:8443", False, False),
            (None, "https://app.example.evil.example", False, False),
            (None, "https://evil.example/app.example", False, False),
            (None, "https://app.example@evil.example", False, False),
            (None, "https://app.example/", False, False),
            (None, "https://app.example, https://evil.example", False, False),
            (None, "null", False, False),
            (None, "app.example", False, False),
            (None, "file://app.example", False, False),
            (None, None, True, False),  # no browser, or one that says nothing
            ("", "", True, False),
        ],
    )
    def test_only_this_sites_own_pages_change_anything(
        self, site: str | None, origin: str | None, safe: bool, unsafe: bool
    ) -> None:
        given = {"HTTP_SEC_FETCH_SITE": site, "HTTP_ORIGIN": origin}
        sent = environ(**{name: value for name, value in given.items() if value is not None})
        for kind, allowed in ((True, safe), (False, unsafe)):
            if allowed:
                check_origin(sent, safe=kind)
            else:
                with pytest.raises(Forbidden, match="own pages"):
                    check_origin(sent, safe=kind)

    def test_without_a_host_no_origin_is_this_one(self) -> None:
        with pytest.raises(Forbidden):
            check_origin({"HTTP_ORIGIN": "https://app.example"}, safe=True)

    def test_a_port_is_part_of_the_host(self) -> None:
        check_origin({"HTTP_ORIGIN": "http://localhost:8000", "HTTP_HOST": "localhost:8000"}, safe=False)
        with pytest.raises(Forbidden):
            check_origin({"HTTP_ORIGIN": "http://localhost:8001", "HTTP_HOST": "localhost:8000"}, safe=False)


class TestToken:
    def test_it_is_good_for_its_person_for_12_hours(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        for age in (0, 1, CSRF_LIFE - 1, -60):
            check_csrf_token(RING, ALICE, token, NOW + age)
        for age in (CSRF_LIFE, CSRF_LIFE * 100, -61):
            with pytest.raises(Forbidden, match="X-CSRF-Token"):
                check_csrf_token(RING, ALICE, token, NOW + age)

    def test_nobody_else_can_use_it(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        others = [BOB, Person(ALICE.owner, ALICE.scopes, tenant="other"), Person(Owner("alic"), ())]
        for person in others:
            with pytest.raises(Forbidden):
                check_csrf_token(RING, person, token, NOW)
        with pytest.raises(Forbidden):
            check_csrf_token(Keyring(bytes(32)), ALICE, token, NOW)

    def test_every_other_text_is_refused(self) -> None:
        token = make_csrf_token(RING, ALICE, NOW)
        texts = [token[:cut] for cut in range(len(token))] + [token + "A", token[:-1] + "!", token[::-1]]
        texts += ["x" * 100_000, "\x00", "\xe9", ".", "..", "." + token, token + token, "W10.", "a.b.c"]
        for text in texts:
            with pytest.raises(Forbidden):
                check_csrf_token(RING, ALICE, text, NOW)

    def test_what_is_signed_but_of_another_shape_is_refused(self) -> None:
        for content in ([], None, 1, "x", ["default", "alice"], ["default", "alice", "1"], {"a": 1}):
            text = caller._serializer(RING).dumps(content)
            with pytest.raises(Forbidden):
                check_csrf_token(RING, ALICE, text, NOW)

    def test_it_fits_into_a_field_whoever_the_person_is(self) -> None:
        longest = Person(Owner("~" * 128), (), tenant='"' * 128)
        token = make_csrf_token(RING, longest, NOW)
        assert token.isascii()
        assert token.isprintable()
        check_csrf_token(RING, longest, token, NOW)


class TestIdentifyCaller:
    def test_an_authorization_wins_and_identify_is_not_asked(self, authority: Authority) -> None:
        issued = issue(authority)
        sent = environ("POST", HTTP_AUTHORIZATION=basic_of(issued))
        admitted = identify_caller(sent, authority, never)
        assert isinstance(admitted.caller, Principal)
        assert admitted.caller.pat_id == issued.pat.id
        assert admitted.decision is not None
        assert admitted.csrf_token is None

    def test_a_refused_authorization_is_refused_whoever_is_signed_in(self, authority: Authority) -> None:
        for value, error in {
            "Basic Og==": InvalidCredentials,
            "Bearer x": InvalidCredentials,
            " ": InvalidCredentials,
            basic_of(issue(authority)) + ", Bearer x": InvalidRequest,
        }.items():
            with pytest.raises(error):
                identify_caller(environ(HTTP_AUTHORIZATION=value, **SAME), authority, never)

    def test_a_token_in_the_url_is_never_read(self, authority: Authority) -> None:
        issued = issue(authority)
        query = {"QUERY_STRING": f"access_token={issued.token}"}
        with pytest.raises(MissingCredentials):
            identify_caller(environ(**query), authority, None)
        with pytest.raises(InvalidRequest, match="never in the URL"):
            identify_caller(environ(HTTP_AUTHORIZATION=basic_of(issued), **query), authority, None)

    def test_nobody_is_missing_credentials(self, authority: Authority) -> None:
        for identify in (None, lambda environ: None):
            for sent in (environ(), environ(HTTP_AUTHORIZATION=""), environ("POST")):
                with pytest.raises(MissingCredentials):
                    identify_caller(sent, authority, identify)

    def test_a_person_reads_and_gets_the_token_to_write_with(self, authority: Authority) -> None:
        for method in ("GET", "HEAD"):
            person, decision, token = identify_caller(environ(method), authority, lambda _: ALICE)
            assert (person, decision) == (ALICE, None)
            assert token is not None
            for unsafe in ("POST", "PATCH", "DELETE", "PUT"):
                sent = environ(unsafe, HTTP_X_CSRF_TOKEN=token, **SAME)
                assert identify_caller(sent, authority, lambda _: ALICE) == (ALICE, None, None)

    def test_to_change_something_takes_both_the_origin_and_the_token(self, authority: Authority) -> None:
        token = identify_caller(environ(), authority, lambda _: ALICE).csrf_token or ""
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
                identify_caller(environ("POST", **sent), authority, lambda _: ALICE)
        with pytest.raises(Forbidden):
            identify_caller(environ("POST", **SAME, **good), authority, lambda _: BOB)

    def test_the_token_ages_by_the_clock_that_is_passed_in(self, authority: Authority) -> None:
        token = identify_caller(environ(), authority, lambda _: ALICE, clock=lambda: NOW).csrf_token
        sent = environ("POST", HTTP_X_CSRF_TOKEN=token, **SAME)
        identify_caller(sent, authority, lambda _: ALICE, clock=lambda: NOW + CSRF_LIFE - 1)
        with pytest.raises(Forbidden, match="any more"):
            identify_caller(sent, authority, lambda _: ALICE, clock=lambda: NOW + CSRF_LIFE)

    def test_a_person_of_another_tenant_is_refused(self, authority: Authority) -> None:
        stranger = Person(ALICE.owner, ALICE.scopes, tenant="other")
        with pytest.raises(Forbidden, match="another organisation"):
            identify_caller(environ(**SAME), authority, lambda _: stranger)

    @pytest.mark.parametrize("answer", ["alice", True, False, 0, {}, Owner("alice"), Person])
    def test_anything_but_a_person_or_none_is_an_error(self, authority: Authority, answer: Any) -> None:
        with pytest.raises(PatAuthError, match="something went wrong") as caught:
            identify_caller(environ(), authority, lambda _: answer)
        assert caught.value.status == 500

    def test_its_exception_is_an_error_and_its_text_goes_nowhere(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        def identify(environ: dict[str, Any]) -> Person:
            raise KeyError(environ["HTTP_COOKIE"])

        with caplog.at_level(logging.INFO), pytest.raises(PatAuthError) as caught:
            identify_caller(environ(HTTP_COOKIE="session=hunter2"), authority, identify)
        assert caught.value.status == 500
        assert caught.value.__cause__ is None
        assert "hunter2" not in caplog.text + str(caught.value) + str(caught.value.detail)
        assert "KeyError" in caplog.text
        assert "test_caller.py" in caplog.text, "where it was"


def never(environ: dict[str, Any]) -> Person:
    raise AssertionError("identify was asked")


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
        assert "RateLimit" not in listed.headers, "no PAT, no quota of one"
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
