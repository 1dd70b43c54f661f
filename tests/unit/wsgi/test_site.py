"""What a site reads of a request, and how its refusals look: carriers of credentials, and challenges."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, ClassVar

import pytest
from flask import Flask

from patauth import Authority, ConfigurationError, IssuedPat, Owner, PatAuthMiddleware, Person
from patauth.flask import PatAuth
from tests.support.authorities import Make, basic, basic_of, issue
from tests.support.tables import each
from tests.support.wsgi import Echo, request


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority)


@pytest.fixture
def app() -> Echo:
    return Echo()


def schemes(response: Any) -> list[str]:
    """The schemes of the challenges, in their order."""
    return [field.split(" ", 1)[0] for field in response.headers.getlist("WWW-Authenticate")]


class TestChallenges:
    def test_a_401_carries_those_of_the_argument_or_the_setting_in_their_order(
        self, app: Echo, authority: Authority, make: Make
    ) -> None:
        for offered, expected, at_token in (
            (("basic", "bearer"), ["Basic", "Bearer"], ["Basic"]),
            (("bearer", "basic"), ["Bearer", "Basic"], ["Basic"]),
            (("bearer",), ["Bearer"], ["Bearer"]),
            (("basic",), ["Basic"], ["Basic"]),
        ):
            for gate in (
                PatAuthMiddleware(app, authority, surfaces=["oauth", "isc"], challenges=offered),
                PatAuthMiddleware(app, make(challenges=offered, surfaces=["oauth", "isc"])),
            ):
                for path in ("/", "/personal-access-tokens/v1"):
                    assert schemes(request(gate, path)) == expected, (offered, path)
                form = {"grant_type": "client_credentials"}
                refused = request(gate, "/oauth/token", method="POST", data=form)
                assert (refused.status_code, schemes(refused)) == (401, at_token), offered

    def test_a_403_has_the_bearer_challenge_which_names_the_scope(
        self, app: Echo, authority: Authority, issued: IssuedPat
    ) -> None:
        gate = PatAuthMiddleware(app, authority, require={"/x": "a"}, challenges=["basic"])
        (challenge,) = request(gate, "/x", authorization=basic_of(issued)).headers.getlist("WWW-Authenticate")
        assert challenge.startswith("Bearer ")
        assert 'scope="a"' in challenge

    def test_what_cannot_be_sent_is_refused_at_the_start(self, app: Echo, authority: Authority) -> None:
        for wrong in ((), ("digest",), ("basic", "basic"), "", 7):
            with pytest.raises(ConfigurationError, match="challenges: "):
                PatAuthMiddleware(app, authority, challenges=wrong)  # type: ignore[arg-type]


class TestTokenHeaders:
    @pytest.fixture
    def gate(self, app: Echo, authority: Authority) -> PatAuthMiddleware:
        return PatAuthMiddleware(
            app, authority, public=["/pub"], optional=["/feed"], surfaces=["oauth", "isc"],
            token_headers=["X-API-Key", "X-Token"],
        )  # fmt: skip

    def test_a_token_in_such_a_header_is_a_bearer(
        self, gate: PatAuthMiddleware, app: Echo, authority: Authority, issued: IssuedPat
    ) -> None:
        access = authority.exchange(issued.pat.id, issued.secret).value
        for name in ("X-API-Key", "x-token"):
            for token, method in ((issued.token, "pat"), (access, "access_token")):
                for path in ("/", "/feed"):
                    assert request(gate, path, headers={name: token}).json["who"] == "alice"
                    seen = app.seen[-1]
                    assert (seen["patauth.principal"].method, seen["AUTH_TYPE"]) == (method, "Bearer")
                    assert token not in [value for value in seen.values() if isinstance(value, str)]

    def test_anything_else_in_it_is_refused(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
    ) -> None:
        for value in ("x", issued.secret, "Bearer " + issued.token, basic_of(issued), issued.pat.id):
            assert request(gate, "/", headers={"X-API-Key": value}).status_code == 401, value
        assert request(gate, "/", headers={"X-API-Key": ""}).json == {"error": "unauthorized"}
        assert app.seen == []

    def test_two_carriers_in_one_request_are_a_bad_request(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
    ) -> None:
        token = issued.token
        for headers in (
            {"X-API-Key": token, "Authorization": f"Bearer {token}"},
            {"X-API-Key": token, "X-Token": token},
            {"X-API-Key": f"{token}, {token}"},
        ):
            for path in ("/", "/feed", "/personal-access-tokens/v1"):
                assert request(gate, path, headers=headers).status_code == 400, (path, headers.keys())
        in_url = request(gate, f"/?access_token={token}", headers={"X-API-Key": token})
        assert in_url.status_code == 400
        assert app.seen == []

    def test_patauths_own_routes_read_it_too(self, gate: PatAuthMiddleware, issued: IssuedPat) -> None:
        headers = {"X-API-Key": issued.token}
        assert request(gate, "/personal-access-tokens/v1/self", headers=headers).json["id"] == issued.pat.id
        asked = request(
            gate, "/oauth/introspect", method="POST", headers=headers, data={"token": issued.token}
        )
        assert asked.json["active"]

    def test_a_public_route_keeps_its_headers(self, gate: PatAuthMiddleware, app: Echo) -> None:
        request(gate, "/pub", headers={"X-API-Key": "of the app"})
        assert app.seen[-1]["HTTP_X_API_KEY"] == "of the app"

    def test_the_setting_names_them_too(self, make: Make, app: Echo) -> None:
        authority = make(token_headers="X-API-Key")
        gate = PatAuthMiddleware(app, authority)
        assert request(gate, "/", headers={"X-API-Key": issue(authority).token}).status_code == 200

    def test_names_that_mean_something_else_are_refused(self, app: Echo, authority: Authority) -> None:
        for wrong in (["Authorization"], ["Cookie"], ["X_API_Key"], [""], ["a b"], ["PatAuth-Token"]):
            with pytest.raises(ConfigurationError, match="token_headers: "):
                PatAuthMiddleware(app, authority, token_headers=wrong)


class TestReauthenticate:
    """The host may want people to confirm who they are before they make, rotate, enable or widen a PAT."""

    PATH = "/personal-access-tokens/v1"
    BODY: ClassVar = {"name": "x", "scope": ["a"], "expirationDate": "2031-01-01T00:00:00Z"}
    ALICE = Person(Owner("alice"), ["a", "idn:my-personal-access-tokens:manage"])

    def sent(self, gate: PatAuthMiddleware, path: str, method: str = "POST", **given: Any) -> Any:
        token = request(gate, self.PATH + "?owner-id=me").headers["X-CSRF-Token"]
        headers = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin"}
        return request(gate, path, method=method, headers=headers, **given)

    def gate(self, authority: Authority, reauthenticate: Any) -> PatAuthMiddleware:
        return PatAuthMiddleware(
            Echo(), authority, surfaces=["isc", "zitadel"], identify=lambda _: self.ALICE,
            reauthenticate=reauthenticate,
        )  # fmt: skip

    def test_a_person_whom_it_refuses_changes_nothing_and_is_told_what_to_do(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(environ: dict[str, Any]) -> None:
            raise KeyError(environ["HTTP_COOKIE"])

        waiting: list[Any] = []

        async def later(environ: dict[str, Any]) -> bool:
            return True

        def forget_to_wait(environ: dict[str, Any]) -> Any:
            waiting.append(later(environ))
            return waiting[-1]

        def end(environ: dict[str, Any]) -> None:
            sys.exit(environ["HTTP_COOKIE"])  # as a library for command lines does

        mistakes = {
            forget_to_wait: "returned a coroutine", (lambda _: 0): "returned a int",
            (lambda _: "fine"): "returned a str", (lambda _: [1]): "returned a list",
            fail: "failed", end: "failed",
        }  # fmt: skip
        for refuse in (lambda _: False, *mistakes):
            gate = self.gate(authority, refuse)
            caplog.clear()
            made = self.sent(gate, self.PATH, json=self.BODY, environ={"HTTP_COOKIE": "session=hunter2"})
            assert made.status_code == 403
            assert made.json["causes"][0]["text"] == "confirm who you are, then send this again"
            said = mistakes.get(refuse)
            assert ("`reauthenticate`" in caplog.text) is (said is not None)
            assert said is None or f"the callable `reauthenticate` {said}" in caplog.text
            added = self.sent(gate, "/management/v1/users/alice/pats", json={})
            assert (added.status_code, added.json["code"]) == (403, 7)
            assert "confirm who you are" in added.text
            assert authority.list() == []
            assert "hunter2" not in caplog.text + made.text + added.text
        for coroutine in waiting:
            coroutine.close()

    @pytest.mark.parametrize("answer", [True, None])
    def test_a_person_whom_it_lets_pass_makes_one_by_the_request_that_it_has_seen(
        self, authority: Authority, answer: object
    ) -> None:
        seen: list[dict[str, Any]] = []

        def pass_on(environ: dict[str, Any]) -> object:
            seen.append(environ)
            return answer

        gate = self.gate(authority, pass_on)
        made = self.sent(gate, self.PATH, json=self.BODY)
        assert made.status_code == 200
        assert [(one["REQUEST_METHOD"], one["PATH_INFO"]) for one in seen] == [("POST", self.PATH)]
        assert self.sent(gate, f"{self.PATH}/{made.json['id']}", "DELETE").status_code == 204
        assert len(seen) == 1

    def test_what_the_host_reads_of_the_body_is_nothing_and_takes_nothing_away(
        self, authority: Authority
    ) -> None:
        """A server such as wsgiref waits for ever for what lies beyond the body."""
        read: list[bytes] = []

        def reading(environ: dict[str, Any]) -> bool:
            assert "HTTP_TRANSFER_ENCODING" not in environ
            read.append(environ["wsgi.input"].read() + b"".join(environ["wsgi.input"]))
            read.append(environ["CONTENT_LENGTH"].encode())
            environ["host.of.its.own"] = environ["wsgi.input"] = None
            return True

        def identify(environ: dict[str, Any]) -> Person:
            reading(environ)
            return self.ALICE

        gate = PatAuthMiddleware(
            Echo(), authority, surfaces=["isc"], identify=identify, reauthenticate=reading
        )
        sent = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        assert self.sent(gate, self.PATH, json=self.BODY).status_code == 200
        assert self.sent(gate, self.PATH, json={**self.BODY, "name": "y"}, environ=sent).status_code == 200
        assert read == [b"", b"0"] * 6

    def test_neither_a_removal_nor_a_pat_is_asked_about(self, authority: Authority) -> None:
        gate = self.gate(authority, lambda _: False)
        made = issue(authority, owner=self.ALICE.owner, scope=["a"])
        assert self.sent(gate, f"{self.PATH}/{made.pat.id}/disable").status_code == 200
        enabled = self.sent(gate, f"{self.PATH}/{made.pat.id}/enable")
        assert (enabled.status_code, "confirm who you are" in enabled.text) == (403, True)
        assert self.sent(gate, f"{self.PATH}/{made.pat.id}", "DELETE").status_code == 204
        caller = issue(authority, owner=self.ALICE.owner, scope=self.ALICE.scopes, never_expires=True)
        by_pat = request(gate, self.PATH, method="POST", json=self.BODY, authorization=basic_of(caller))
        assert by_pat.status_code == 200

    def test_what_cannot_be_called_is_refused_at_the_start(self, authority: Authority) -> None:
        for wrong in (True, 7, {}):
            with pytest.raises(ConfigurationError, match="reauthenticate: "):
                self.gate(authority, wrong)


def test_a_pat_token_as_the_password_of_basic_is_that_token(authority: Authority, app: Echo) -> None:
    """As git and pip send it. A browser sends Basic by itself, so the app is told that it was Basic."""
    issued, gate = issue(authority), PatAuthMiddleware(app, authority)
    for user in ("x-access-token", "", issued.pat.id):
        assert request(gate, "/", authorization=basic(user, issued.token)).json["who"] == "alice"
        assert (app.seen[-1]["patauth.principal"].method, app.seen[-1]["AUTH_TYPE"]) == ("pat", "Basic")
    assert request(gate, "/", authorization=basic("0" * 32, issued.token)).status_code == 401
    answer = request(
        gate, "/oauth/token", method="POST", data={"grant_type": "client_credentials"},
        authorization=basic(issued.pat.id, issued.token),
    )  # fmt: skip
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client"), (
        "a token is no client secret"
    )


class _Callable:
    async def __call__(self, environ: dict[str, Any], error: Any = None) -> None: ...


async def _later(environ: dict[str, Any], error: Any = None) -> None: ...


@each("name", ["require", "identify", "reauthenticate", "on_refusal"])
def test_a_function_of_the_host_that_is_async_is_refused_at_the_start(
    authority: Authority, name: str
) -> None:
    """Nobody would await it. Flask and Django wrap these functions, and see it before that."""
    said = f"{name}: give a function that is not async; patauth calls it in a thread"
    for function in (_later, _Callable(), partial(_later, error=1)):
        with pytest.raises(ConfigurationError, match=said):
            PatAuthMiddleware(Echo(), authority, **{name: function})
        app = Flask(__name__)
        app.config[f"PATAUTH_{name.upper()}"] = function
        app.config["PATAUTH_STORE_URL"] = "redis://nowhere"
        with pytest.raises(ConfigurationError, match=said):
            PatAuth(app)


def test_a_name_may_not_be_that_of_an_async_function(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="identify: give a function that is not async"):
        PatAuthMiddleware(Echo(), authority, identify="asyncio:sleep")
