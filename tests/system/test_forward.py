"""Forward-auth: `/verify` alone, and behind the real nginx with the configuration of the examples."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from patauth import Authority, IssuedPat, Owner, StoreUnavailable
from patauth.store.verdicts import Verdicts
from patauth.wsgi.middleware import PatAuthMiddleware
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic_of, issue, wrong_secret
from tests.support.paths import EXAMPLES
from tests.support.processes import free_port
from tests.support.servers import until
from tests.support.tables import each
from tests.support.wsgi import Echo, request, serving

NAMES = ["X-Auth-Subject", "X-Auth-Scopes", "X-Auth-Pat-Id", "X-Auth-Method"]


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(trusted_proxies=1)


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority, owner=Owner("a%b", name="Änne"), scope=["reports:read", "a"])


class TestVerify:
    @pytest.fixture
    def app(self, authority: Authority) -> Standalone:
        return Standalone(authority)

    def test_it_tells_who_calls_by_each_kind_of_credentials(
        self, authority: Authority, app: Standalone, issued: IssuedPat
    ) -> None:
        access = authority.exchange(issued.pat.id, issued.secret).value
        ways = {
            "basic": basic_of(issued),
            "pat": f"Bearer {issued.token}",
            "access_token": f"Bearer {access}",
        }
        for method, authorization in ways.items():
            answer = request(app, "/verify", authorization=authorization)
            assert answer.status_code == 200
            who = ["a%25b", "a reports:read", issued.pat.id, method]
            assert [answer.headers[name] for name in NAMES] == who
            assert answer.headers["Cache-Control"] == "no-store"
            assert "RateLimit" in answer.headers

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("", 200),
            ("?scope=", 200),
            ("?scope=a", 200),
            ("?scope=a+reports:read", 200),
            ("?scope=a%20reports%3Aread", 200),
            ("?scope=a+reports:write", 403),
            ("?scope=A", 403),
            ("?scope=a&scope=reports:read", 400),
            ("?scope=a++reports:read", 400),
            ("?access_token=x", 400),
            ("?scopes=a", 400),
            ("?SCOPE=a", 400),
            ("?scope=a&reports:write", 400),
        ],
    )
    def test_it_demands_the_scopes_of_the_query(
        self, app: Standalone, issued: IssuedPat, query: str, status: int
    ) -> None:
        answer = request(app, f"/verify{query}", authorization=basic_of(issued))
        assert answer.status_code == status
        if status == 403:
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        if status != 200:
            assert not any(name in answer.headers for name in NAMES)

    def test_a_refusal_is_the_gates_with_its_challenges_in_one_field_and_its_body_in_another(
        self, app: Standalone, authority: Authority, issued: IssuedPat
    ) -> None:
        gate = PatAuthMiddleware(Echo(), authority, require={"/*": "admin"})
        for authorization in (None, "Bearer x", "Basic x, Bearer y", basic_of(issued)):
            asked = request(app, "/verify?scope=admin", authorization=authorization)
            refused = request(gate, "/", authorization=authorization)
            assert (asked.status_code, asked.data) == (refused.status_code, refused.data)
            assert asked.headers.pop("X-Auth-Body").encode() == refused.data
            challenges = refused.headers.getlist("WWW-Authenticate")
            assert asked.headers.getlist("WWW-Authenticate") == ([", ".join(challenges)] if challenges else [])
            for fields in (asked.headers, refused.headers):
                fields.remove("WWW-Authenticate")
                fields.pop("RateLimit", None)  # one request further
            assert sorted(asked.headers) == sorted(refused.headers)

    @each("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_every_method_asks_the_same_and_head_gets_no_body(
        self, app: Standalone, issued: IssuedPat, method: str
    ) -> None:
        for query, authorization, status in (
            ("", basic_of(issued), 200), ("", None, 401), ("?scope=admin", basic_of(issued), 403),
        ):  # fmt: skip
            get = request(app, f"/verify{query}", authorization=authorization)
            other = request(app, f"/verify{query}", method=method, authorization=authorization)
            assert get.status_code == other.status_code == status
            assert other.data == (b"" if method == "HEAD" else get.data)
            for fields in (get.headers, other.headers):
                fields.pop("RateLimit", None)  # one request further
            assert sorted(get.headers) == sorted(other.headers)

    def test_it_is_under_path_prefix_and_not_in_a_wrapped_app(self, make_at: Make) -> None:
        app = Standalone(make_at(path_prefix="/auth"))
        assert [request(app, path).status_code for path in ("/auth/verify", "/verify")] == [401, 404]


@contextmanager
def nginx(folder: Path, patauth_url: str, app_url: str) -> Iterator[str]:
    """nginx with the example's configuration, but for the ports; its URL."""
    port = free_port()
    text = (EXAMPLES / "nginx.conf").read_text()
    for example, real in (("8000", patauth_url), ("8001", app_url), ("8080", f":{port}")):
        text = text.replace(f"127.0.0.1:{example}", f"127.0.0.1:{real.rpartition(':')[2]}")
    (folder / "nginx.conf").write_text(text)
    shutil.copy(EXAMPLES / "patauth-gate.conf", folder)
    (folder / "nginx-temp").mkdir()
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or _answers(url))
            assert process.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code > 0
    except requests.ConnectionError:
        return False


def raw(url: str, path: str, authorization: str) -> tuple[int, bytes]:
    """A GET of a path exactly as it is written."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("Authorization", authorization)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


if shutil.which("nginx"):  # .ci/run installs it

    class TestNginx:
        @pytest.fixture
        def app(self) -> Echo:
            return Echo()

        @pytest.fixture
        def url(self, authority: Authority, app: Echo, tmp_path: Path) -> Iterator[str]:
            with (
                serving(Standalone(authority)) as patauth_url,
                serving(app) as app_url,
                nginx(tmp_path, patauth_url, app_url) as at,
            ):
                app.seen.clear()
                yield at

        def test_the_app_learns_who_calls_and_gets_no_credentials(
            self, url: str, app: Echo, issued: IssuedPat
        ) -> None:
            headers = {"Authorization": basic_of(issued), **dict.fromkeys(map(str.lower, NAMES), "forged")}
            answer = requests.post(f"{url}/reports/1?x=y", data="body", headers=headers, timeout=5)
            assert answer.status_code == 200
            (seen,) = app.seen
            assert seen["HTTP_X_AUTH_SUBJECT"] == "a%25b"
            assert seen["HTTP_X_AUTH_SCOPES"] == "a reports:read"
            assert seen["HTTP_X_AUTH_PAT_ID"] == issued.pat.id
            assert seen["HTTP_X_AUTH_METHOD"] == "basic"
            assert "HTTP_AUTHORIZATION" not in seen
            assert (seen["REQUEST_METHOD"], seen["QUERY_STRING"]) == ("POST", "x=y")
            assert seen["CONTENT_LENGTH"] == "4", "the body went to the app, and not to patauth"

        def test_401_and_403_reach_the_client_and_nothing_reaches_the_app(
            self, url: str, app: Echo, authority: Authority
        ) -> None:
            other = issue(authority, name="other", scope=["a"])
            bad = {"Authorization": basic_of(other)[:-8] + "AAAAAAA="}
            good = {"Authorization": basic_of(other)}
            answers = [
                requests.get(f"{url}/", timeout=5),
                requests.get(f"{url}/", headers=bad, timeout=5),
                requests.get(f"{url}/reports/1", headers=good, timeout=5),
            ]
            assert [answer.status_code for answer in answers] == [401, 401, 403]
            assert all("WWW-Authenticate" in answer.headers for answer in answers[:2])
            assert app.seen == []
            assert requests.get(f"{url}/", headers=good, timeout=5).status_code == 200

        def test_429_reaches_the_client_with_its_body_and_fields(
            self, url: str, app: Echo, authority: Authority
        ) -> None:
            limited = issue(authority, name="limited", scope=["a"], request_quota="1/60")
            headers = {"Authorization": basic_of(limited)}
            assert requests.get(f"{url}/", headers=headers, timeout=5).status_code == 200
            answer = requests.get(f"{url}/", headers=headers, timeout=5)
            assert (answer.status_code, answer.json()) == (429, {"message": " Rate Limit Exceeded "})
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert re.search(r"r=0", answer.headers["RateLimit"])
            assert "requests" in answer.headers["RateLimit-Policy"]
            assert len(app.seen) == 1

        def test_refused_credentials_are_counted_by_the_clients_address(
            self, url: str, authority: Authority
        ) -> None:
            pat = issue(authority, name="guessed").pat
            statuses = set()
            for _ in range(25):
                auth = (pat.id, wrong_secret(authority))
                statuses.add(requests.get(f"{url}/", auth=auth, timeout=5).status_code)
            assert statuses == {401, 429}

        def test_503_reaches_the_client_with_retry_after(
            self, url: str, app: Echo, issued: IssuedPat, monkeypatch: pytest.MonkeyPatch
        ) -> None:
            def down(*_: Any, **__: Any) -> None:
                raise StoreUnavailable(3, detail="down")

            monkeypatch.setattr(Verdicts, "of_secret", down)
            answer = requests.get(f"{url}/", headers={"Authorization": basic_of(issued)}, timeout=5)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
            assert app.seen == []

        def test_a_request_that_can_be_read_in_two_ways_is_400(
            self, url: str, app: Echo, issued: IssuedPat
        ) -> None:
            headers = {"Authorization": f"Bearer {issued.token}, {basic_of(issued)}"}
            assert requests.get(f"{url}/", headers=headers, timeout=5).status_code == 400
            assert app.seen == []

        @pytest.mark.parametrize(
            "path",
            [
                "/reports/1/../../public",
                "/reports/1/..%2f..%2fpublic",
                "/reports/%2e%2e/x",
                "/reports/..",
                "//reports/1",
                "/reports%2f1",
                "/x/../reports/1",
                "/reports;x/1",
                "/x%5c..%5creports/1",
                "/reports/.",
                "/public/%252e%252e/reports/1",
            ],
        )
        def test_no_other_reading_of_a_path_gets_around_its_scopes(
            self, url: str, app: Echo, authority: Authority, path: str
        ) -> None:
            """What is let through reaches the app as the path that was judged."""
            other = issue(authority, name="other", scope=["a"])
            status, body = raw(url, path, basic_of(other))
            assert status in (400, 403), body
            assert app.seen == []

        def test_the_management_apis_are_patauths_and_nothing_beside_them(
            self, url: str, app: Echo, issued: IssuedPat
        ) -> None:
            ours = [
                "/personal-access-tokens/v1",
                "/v3/personal-access-tokens",
                "/management/v1/users/a/pats/x",
                "/v2/users/a/pats",
                "/v2/users/pats/search",
                "/zitadel.user.v2.UserService/ListPersonalAccessTokens",
                "/openapi.json",
            ]
            for path in ours:
                requests.get(f"{url}{path}", timeout=5)
            assert app.seen == []
            headers = {"Authorization": basic_of(issued)}
            for path in ("/v2/users", "/v3/orders", "/management/v1/x", "/.well-known/acme"):
                assert requests.get(f"{url}{path}", headers=headers, timeout=5).status_code == 200
            assert len(app.seen) == 4

        def test_with_patauth_gone_nothing_gets_through(
            self, app: Echo, issued: IssuedPat, tmp_path: Path
        ) -> None:
            with serving(app) as app_url, nginx(tmp_path, f":{free_port()}", app_url) as url:
                answer = requests.get(f"{url}/", headers={"Authorization": basic_of(issued)}, timeout=5)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert app.seen == []

        def test_patauths_own_routes_are_reached_through_it(self, url: str, issued: IssuedPat) -> None:
            form = {"grant_type": "client_credentials"}
            answer = requests.post(
                f"{url}/oauth/token", data=form, headers={"Authorization": basic_of(issued)}, timeout=5
            )
            assert answer.json()["token_type"] == "Bearer"
            assert requests.get(f"{url}/patauth-verify", timeout=5).status_code == 404
