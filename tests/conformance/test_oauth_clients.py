"""requests-oauthlib, Authlib and curl, as published, at the token service and at a resource that it protects.

Two sockets on one real engine: the token service, whose metadata tells the clients its endpoints, and an
application behind the gate of another Authority of the same store, as another process would have it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
import requests
from oauthlib.oauth2 import (
    BackendApplicationClient,
    InvalidClientError,
    InvalidScopeError,
    UnsupportedGrantTypeError,
)
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware
from patauth.jwt.key_files import SigningKeys
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic_of, issue, wrong_secret
from tests.support.wsgi import App, Echo, serving

with warnings.catch_warnings(action="ignore"):  # of authlib, about a part of authlib
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.requests_client import OAuth2Session as AuthlibSession

FORMATS = ("opaque", "jwt")
BOTH = "reports:read reports:write"


class Sent(NamedTuple):
    """A request as the token service got it."""

    path: str
    scheme: str  # of Authorization, in lower case; empty without one
    form: dict[str, list[str]]


class Seen:
    """An application that comes later, and what was sent to it."""

    def __init__(self) -> None:
        self.app: App | None = None
        self.sent: list[Sent] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert self.app is not None
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = _Again(body)
        scheme = environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0].lower()
        self.sent.append(Sent(environ["PATH_INFO"], scheme, parse_qs(body.decode())))
        assert not environ.get("QUERY_STRING"), "nothing of it stands in a URL"
        return self.app(environ, start_response)


class _Again:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        size = len(self._body) if size < 0 else size
        found, self._body = self._body[:size], self._body[size:]
        return found


class Service:
    """The token service as its metadata describes it, and a resource elsewhere."""

    def __init__(self, url: str, resource: str, authority: Authority, seen: Seen) -> None:
        self.resource = resource
        self.authority = authority
        self.seen = seen
        found = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=10).json()
        assert found["issuer"] == url
        self.token: str = found["token_endpoint"]
        self.introspect: str = found["introspection_endpoint"]
        self.revoke: str = found["revocation_endpoint"]
        self.seen.sent.clear()


@pytest.fixture(params=FORMATS)
def service(request: pytest.FixtureRequest, make_at: Make, tmp_path: Path) -> Iterator[Service]:
    """Its issuer is the URL that it is served at."""
    seen = Seen()
    with ExitStack() as stack:
        url = stack.enter_context(serving(seen))
        given: dict[str, Any] = {"issuer": url, "surfaces": ["oauth"]}
        if request.param == "jwt":
            SigningKeys(tmp_path / "keys").rotate()
            given |= {"access_token_format": "jwt", "keys": str(tmp_path / "keys")}
        authority = make_at(**given)
        seen.app = Standalone(authority)
        gate = PatAuthMiddleware(Echo(), make_at(**given), require={"/admin": "reports:write"}, surfaces=[])
        yield Service(url, stack.enter_context(serving(gate)), authority, seen)


@pytest.fixture
def issued(service: Service) -> IssuedPat:
    return issue(service.authority)


class Client(ABC):
    """What a client of each kind can be asked for, with one PAT's id and secret."""

    scheme = "basic"  # of Authorization; empty: the secret is in the body

    def __init__(self, service: Service, pat_id: str, secret: str, tmp_path: Path) -> None:
        self.service, self.pat_id, self.secret = service, pat_id, secret
        self.tmp_path = tmp_path

    @abstractmethod
    def token(self, scope: str | None = None) -> dict[str, Any]:
        """The token endpoint's answer."""

    @abstractmethod
    def introspect(self, token: str) -> dict[str, Any]:
        """The introspection endpoint's answer."""

    @abstractmethod
    def revoke(self, token: str) -> int:
        """The status of the revocation endpoint's answer."""

    @abstractmethod
    def get(self, token: str, path: str) -> tuple[int, str]:
        """Status and body of a protected resource."""


class RequestsOAuthlib(Client):
    def session(self, scope: str | None = None) -> OAuth2Session:
        scopes = scope.split() if scope else None
        return OAuth2Session(client=BackendApplicationClient(client_id=self.pat_id, scope=scopes))

    def token(self, scope: str | None = None) -> dict[str, Any]:
        auth = HTTPBasicAuth(self.pat_id, self.secret)
        return dict(self.session(scope).fetch_token(self.service.token, auth=auth))

    def introspect(self, token: str) -> dict[str, Any]:
        return self.ask(
            self.service.introspect, {}, f"token={token}"
        ).json()  # the library has no call for it

    def revoke(self, token: str) -> int:
        client = BackendApplicationClient(client_id=self.pat_id)
        return self.ask(*client.prepare_token_revocation_request(self.service.revoke, token)).status_code

    def ask(self, url: str, headers: dict[str, str], body: str) -> requests.Response:
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return requests.post(url, data=body, headers=fields, auth=(self.pat_id, self.secret), timeout=10)

    def get(self, token: str, path: str) -> tuple[int, str]:
        session = OAuth2Session(token={"access_token": token, "token_type": "Bearer"})
        answer = session.get(self.service.resource + path)
        return answer.status_code, answer.text


class RequestsOAuthlibBody(RequestsOAuthlib):
    scheme = ""

    def token(self, scope: str | None = None) -> dict[str, Any]:
        fetch = self.session(scope).fetch_token
        return dict(fetch(self.service.token, client_secret=self.secret, include_client_id=True))

    def ask(self, url: str, headers: dict[str, str], body: str) -> requests.Response:
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        body += f"&client_id={self.pat_id}&client_secret={self.secret}"
        return requests.post(url, data=body, headers=fields, timeout=10)


class Authlib(Client):
    method = "client_secret_basic"

    @cached_property
    def session(self) -> Any:
        return AuthlibSession(
            self.pat_id,
            self.secret,
            token_endpoint_auth_method=self.method,
            revocation_endpoint_auth_method=self.method,
        )

    def token(self, scope: str | None = None) -> dict[str, Any]:
        given = {"scope": scope} if scope else {}
        return dict(self.session.fetch_token(self.service.token, grant_type="client_credentials", **given))

    def introspect(self, token: str) -> dict[str, Any]:
        found: dict[str, Any] = self.session.introspect_token(self.service.introspect, token=token).json()
        return found

    def revoke(self, token: str) -> int:
        status: int = self.session.revoke_token(self.service.revoke, token=token).status_code
        return status

    def get(self, token: str, path: str) -> tuple[int, str]:
        session = AuthlibSession(token={"access_token": token, "token_type": "Bearer"})
        answer = session.get(self.service.resource + path)
        return answer.status_code, answer.text


class AuthlibPost(Authlib):
    method = "client_secret_post"
    scheme = ""


class Curl(Client):
    """Secrets and tokens go to its standard input, where no list of processes shows them."""

    def token(self, scope: str | None = None) -> dict[str, Any]:
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        found: dict[str, Any] = json.loads(self.post(self.service.token, form)[1])
        return found

    def introspect(self, token: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.post(self.service.introspect, {"token": token})[1])
        return found

    def revoke(self, token: str) -> int:
        return self.post(self.service.revoke, {"token": token})[0]

    def get(self, token: str, path: str) -> tuple[int, str]:
        return self.run(f'url = "{self.service.resource}{path}"', f'header = "Authorization: Bearer {token}"')

    def post(self, url: str, form: dict[str, str]) -> tuple[int, str]:
        fields = (f'data-urlencode = "{name}={value}"' for name, value in form.items())
        return self.run(f'url = "{url}"', *fields, *self.credentials())

    def credentials(self) -> Iterable[str]:
        return [f'user = "{self.pat_id}:{self.secret}"']

    def run(self, *config: str) -> tuple[int, str]:
        fixed = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10"]
        command = [*fixed, "--write-out", r"\n%{http_code}", "--config", "-"]
        done = subprocess.run(
            command, input="\n".join(config), capture_output=True, text=True, timeout=20, check=True
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


class CurlNetrc(Curl):
    def credentials(self) -> Iterable[str]:
        netrc = self.tmp_path / "netrc"
        netrc.touch(0o600)
        netrc.write_text(f"machine 127.0.0.1 login {self.pat_id} password {self.secret}\n")
        return [f'netrc-file = "{netrc}"']


class CurlBody(Curl):
    scheme = ""

    def credentials(self) -> Iterable[str]:
        pairs = {"client_id": self.pat_id, "client_secret": self.secret}
        return [f'data-urlencode = "{name}={value}"' for name, value in pairs.items()]


KINDS = [
    pytest.param(RequestsOAuthlib, id="requests-oauthlib, Basic"),
    pytest.param(RequestsOAuthlibBody, id="requests-oauthlib, body"),
    pytest.param(Authlib, id="Authlib, client_secret_basic"),
    pytest.param(AuthlibPost, id="Authlib, client_secret_post"),
]
if shutil.which("curl"):  # .ci/run installs it
    KINDS += [
        pytest.param(Curl, id="curl, its configuration"),
        pytest.param(CurlNetrc, id="curl, netrc"),
        pytest.param(CurlBody, id="curl, body"),
    ]


@pytest.fixture(params=KINDS)
def make_client(
    request: pytest.FixtureRequest, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Client]:
    """Makes clients of one kind, each of a PAT's id and secret."""
    # oauthlib wants https, and takes loopback for no exception.
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return lambda pat_id, secret: request.param(service, pat_id, secret, tmp_path)


@pytest.fixture
def client(make_client: Callable[..., Client], issued: IssuedPat) -> Client:
    return make_client(issued.pat.id, issued.secret)


class TestEachClient:
    def test_its_token_opens_the_resource_until_it_is_revoked(
        self, service: Service, client: Client, issued: IssuedPat
    ) -> None:
        first, second = client.token(), client.token("reports:read")
        assert (first["token_type"], first["expires_in"]) == ("Bearer", 900)
        assert [first["scope"], second["scope"]] in ([BOTH, "reports:read"], [BOTH.split(), ["reports:read"]])
        assert "refresh_token" not in first
        token, other = first["access_token"], second["access_token"]
        assert token.count(".") == (2 if service.authority.settings.signs_tokens else 0)
        status, body = client.get(token, "/reports/1")
        assert (status, json.loads(body)["who"]) == (200, "alice")

        found = client.introspect(token)
        assert (found["active"], found["scope"], found["client_id"]) == (True, BOTH, issued.pat.id)
        assert (found["sub"], found["token_type"]) == ("alice", "Bearer")

        assert client.revoke(token) == 200
        assert client.introspect(token) == {"active": False}
        status, body = client.get(token, "/reports/1")
        assert (status, json.loads(body)["error"]) == (401, "invalid_token")
        assert client.revoke(token) == 200, "revoking it again changes nothing"
        assert client.get(other, "/reports/1")[0] == 200, "nor does it end the PAT's other token"
        assert client.get(other, "/admin")[0] == 403, "which was asked for with fewer scopes"

    def test_it_authenticates_in_the_way_that_was_meant(self, service: Service, client: Client) -> None:
        token = client.token("reports:read")["access_token"]
        client.introspect(token)
        client.revoke(token)
        assert [sent.path for sent in service.seen.sent] == [
            "/oauth/token",
            "/oauth/introspect",
            "/oauth/revoke",
        ]
        for sent in service.seen.sent:
            assert sent.scheme == client.scheme
            assert ("client_secret" in sent.form) == (client.scheme == "")
        assert service.seen.sent[0].form["scope"] == ["reports:read"]

    def test_another_owners_token_is_neither_shown_nor_ended(self, service: Service, client: Client) -> None:
        bob = issue(service.authority, "other", owner=Owner("bob"))
        token = service.authority.exchange(bob.pat.id, bob.secret).value
        assert client.introspect(token) == {"active": False}
        assert client.revoke(token) == 200
        assert client.get(token, "/reports/1")[0] == 200

    def test_deleting_the_pat_ends_its_token(
        self, service: Service, client: Client, issued: IssuedPat
    ) -> None:
        token = client.token()["access_token"]
        service.authority.delete(issued.pat.id)
        assert client.get(token, "/reports/1")[0] == 401

    def test_a_wrong_secret_and_a_scope_too_many_are_told_by_their_codes(
        self, service: Service, make_client: Callable[..., Client], client: Client, issued: IssuedPat
    ) -> None:
        def code(asked: Callable[[], dict[str, Any]]) -> str:
            try:
                return str(asked()["error"])
            except (InvalidClientError, InvalidScopeError, OAuthError) as problem:
                return str(problem.error)

        wrong = make_client(issued.pat.id, wrong_secret(service.authority))
        assert code(wrong.token) == "invalid_client"
        assert code(lambda: client.token("reports:read admin")) == "invalid_scope"


class TestRequestsOAuthlib:
    @pytest.fixture(autouse=True)
    def _over_loopback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")

    def session(self, issued: IssuedPat) -> OAuth2Session:
        return OAuth2Session(client=BackendApplicationClient(client_id=issued.pat.id))

    @pytest.mark.parametrize("include", [None, True, False])
    def test_basic_with_the_client_id_repeated_in_the_body_or_not(
        self, service: Service, issued: IssuedPat, include: bool | None
    ) -> None:
        auth = HTTPBasicAuth(issued.pat.id, issued.secret)
        token = self.session(issued).fetch_token(service.token, auth=auth, include_client_id=include)
        assert token["access_token"]
        (sent,) = service.seen.sent
        assert (sent.scheme, "client_id" in sent.form) == ("basic", include is True)

    def test_it_makes_basic_of_a_client_id_and_secret_by_itself(
        self, service: Service, issued: IssuedPat
    ) -> None:
        found = self.session(issued).fetch_token(
            service.token, client_id=issued.pat.id, client_secret=issued.secret
        )
        assert found["scope"] == BOTH.split()
        assert service.seen.sent[0].scheme == "basic"

    def test_its_session_introspects_and_revokes_itself_with_the_token_alone(
        self, service: Service, issued: IssuedPat
    ) -> None:
        session = self.session(issued)
        form = {
            "token": session.fetch_token(service.token, auth=(issued.pat.id, issued.secret))["access_token"]
        }
        assert session.post(service.introspect, data=form).json()["active"]
        assert session.post(service.revoke, data=form).status_code == 200
        assert session.get(service.resource + "/x").status_code == 401
        assert [sent.scheme for sent in service.seen.sent] == ["basic", "bearer", "bearer"]

    def test_another_grant_is_an_error_of_its_own(self, service: Service, issued: IssuedPat) -> None:
        client = BackendApplicationClient(client_id=issued.pat.id)
        client.grant_type = "password"
        with pytest.raises(UnsupportedGrantTypeError):
            OAuth2Session(client=client).fetch_token(service.token, auth=(issued.pat.id, issued.secret))


class TestAuthlib:
    def test_it_fetches_again_by_itself_once_its_token_has_expired(
        self, service: Service, issued: IssuedPat
    ) -> None:
        """Its own record of the expiry is moved into the past."""
        session = AuthlibSession(
            issued.pat.id,
            issued.secret,
            token_endpoint=service.token,
            grant_type="client_credentials",
        )
        first = session.fetch_token()["access_token"]
        session.token["expires_at"] = 1
        assert session.get(service.resource + "/x").json()["who"] == "alice"
        assert session.token["access_token"] != first

    def test_the_token_by_itself_revokes_itself(self, service: Service, issued: IssuedPat) -> None:
        session = AuthlibSession(issued.pat.id, issued.secret)
        session.fetch_token(service.token, grant_type="client_credentials")
        assert session.revoke_token(service.revoke, token=session.token["access_token"]).json() == {}
        assert session.get(service.resource + "/x").status_code == 401


if shutil.which("curl"):

    class TestCurl:
        def test_its_own_basic_at_the_resource_and_a_challenge_without_credentials(
            self, service: Service, issued: IssuedPat, tmp_path: Path
        ) -> None:
            """`--anyauth` asks first without credentials, and then does what the challenge says."""
            curl = Curl(service, issued.pat.id, issued.secret, tmp_path)
            url = f'url = "{service.resource}/reports/1"'
            assert curl.run(url)[0] == 401
            status, body = curl.run(url, "anyauth", *curl.credentials())
            assert (status, json.loads(body.splitlines()[-1])["who"]) == (200, "alice")
            assert curl.run(url, f'header = "Authorization: {basic_of(issued)}"')[0] == 200
            assert curl.run(url, f'oauth2-bearer = "{issued.token}"')[0] == 200
