"""In Chromium: what pages of other origins can read, and when a password is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page

from patauth import Authority, Cors, IssuedPat, PatAuthMiddleware
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.browser import submit
from tests.support.rights import MY_MANAGE
from tests.support.servers import Server
from tests.support.service import serving as serving_patauth
from tests.support.wsgi import Echo, serving

API = "/personal-access-tokens/v1"

# Returns what a script can read of an answer. fetch() says "TypeError" whatever it was that failed.
FETCH = """async ([url, given]) => {
    try {
        const answer = await fetch(url, {...given, signal: AbortSignal.timeout(30000)})
        return [answer.status, Object.fromEntries(answer.headers), await answer.text()]
    } catch (problem) {
        return [problem.name, {}, ""]
    }
}"""


class Read(NamedTuple):
    """What the script of a page can read of an answer."""

    status: int | str
    fields: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


NOTHING = Read("TypeError", {}, "")


def fetch(page: Page, url: str, authorization: str | None = None, **given: Any) -> Read:
    """Let the script of a page fetch a URL."""
    if authorization is not None:
        given["headers"] = {"Authorization": authorization, **given.get("headers", {})}
    return Read(*page.evaluate(FETCH, [url, given]))


def fetch_json(page: Page, method: str, url: str, authorization: str, kind: str, content: object) -> Read:
    """Let the script of a page send JSON."""
    headers = {"Content-Type": kind}
    return fetch(page, url, authorization, method=method, headers=headers, body=json.dumps(content))


class Site(NamedTuple):
    """An application behind the gate, and what arrived at the gate."""

    url: str
    app: Echo
    arrived: list[str]


@contextmanager
def site(authority: Authority, **given: Any) -> Iterator[Site]:
    """Serve an application behind a gate that has these arguments."""
    app, arrived = Echo(), []
    gate = PatAuthMiddleware(app, authority, public=["/public"], optional=["/reports/feed"], **given)

    def front(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/favicon.ico":  # browsers ask for it at a time of their own
            return any_page(environ, start_response)
        arrived.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return gate(environ, start_response)

    with serving(front) as url:
        yield Site(url, app, arrived)


def any_page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A page, and one whose origin is null."""
    fields = [("Content-Type", "text/html")]
    if environ["PATH_INFO"] == "/null":
        fields.append(("Content-Security-Policy", "sandbox allow-scripts"))
    start_response("200 OK", fields)
    return [b"<!doctype html><title>A page</title>"]


@pytest.fixture
def listed() -> Iterator[str]:
    """The origin whose pages may read."""
    with serving(any_page) as origin:
        yield origin


@pytest.fixture
def unlisted() -> Iterator[str]:
    with serving(any_page) as origin:
        yield origin


@pytest.fixture
def page(browser: Browser, listed: str) -> Iterator[Page]:
    """A page of the listed origin, in a profile of its own."""
    with browser.new_context() as profile:
        opened = profile.new_page()
        opened.goto(listed)
        yield opened


@pytest.fixture
def issued(real: Authority) -> IssuedPat:
    return issue(real, scope=["reports:read", MY_MANAGE], never_expires=True)


def check_the_token_endpoint(page: Page, url: str, issued: IssuedPat) -> None:
    """A script gets an access token with a form and with Basic, and can read a refusal."""
    kind = "application/x-www-form-urlencoded"
    grant = {"method": "POST", "headers": {"Content-Type": kind}}
    form = f"grant_type=client_credentials&client_id={issued.pat.id}&client_secret="
    by_form = fetch(page, f"{url}/oauth/token", **grant, body=form + issued.secret)
    by_basic = fetch(
        page, f"{url}/oauth/token", basic_of(issued), **grant, body="grant_type=client_credentials"
    )
    for answer in (by_form, by_basic):
        assert (answer.status, answer.json["token_type"]) == (200, "Bearer")
        listing = fetch(page, f"{url}{API}?owner-id=me", bearer(answer.json["access_token"]))
        assert [pat["id"] for pat in listing.json] == [issued.pat.id]
    refused = fetch(page, f"{url}/oauth/token", **grant, body=form + "wrong")
    assert (refused.status, refused.json["error"]) == (401, "invalid_client")
    assert refused.fields["www-authenticate"].startswith("Basic ")


def check_the_management_api(page: Page, url: str, issued: IssuedPat) -> None:
    """A script creates a PAT, renames it, finds it in the list and deletes it."""
    who, api = bearer(issued.token), url + API
    new = {"name": "new", "scope": ["reports:read"], "userAwareTokenNeverExpires": True}
    made = fetch_json(page, "POST", api, who, "application/json", new)
    assert (made.status, made.json["name"]) == (200, "new")
    one = f"{api}/{made.json['id']}"
    rename = [{"op": "replace", "path": "/name", "value": "renamed"}]
    assert fetch_json(page, "PATCH", one, who, "application/json-patch+json", rename).status == 200
    listing = fetch(page, f"{api}?owner-id=me", who)
    assert {pat["name"] for pat in listing.json} == {issued.pat.name, "renamed"}
    assert '"requests"' in listing.fields["ratelimit"]
    assert fetch(page, one, who, method="DELETE").status == 204
    assert fetch(page, one, who).json["state"] == "revoked"
    refused = fetch(page, api)
    assert (refused.status, "Bearer" in refused.fields["www-authenticate"]) == (401, True)


class TestAPageOfAListedOrigin:
    @pytest.fixture(params=["argument", "setting"])
    def at(self, request: pytest.FixtureRequest, make_at: Make, listed: str) -> Iterator[Site]:
        surfaces = ["oauth", "isc"]
        if request.param == "argument":
            with site(make_at(), surfaces=surfaces, cors=Cors([listed])) as running:
                yield running
        else:
            with site(make_at(surfaces=surfaces, cors_origins=[listed])) as running:
                yield running

    def test_it_reads_data_and_what_is_left_of_the_quota(
        self, page: Page, at: Site, issued: IssuedPat
    ) -> None:
        answer = fetch(page, f"{at.url}/reports/1", bearer(issued.token))
        assert (answer.status, answer.json["who"]) == (200, "alice")
        assert answer.fields["ratelimit"].startswith('"requests";r=99;')
        assert answer.fields["ratelimit-policy"] == '"requests";q=100;w=10'
        assert "x-app" not in answer.fields
        assert at.arrived == ["OPTIONS /reports/1", "GET /reports/1"]
        assert len(at.app.seen) == 1

    def test_it_reads_why_it_is_refused(self, page: Page, at: Site, make_at: Make) -> None:
        answer = fetch(page, f"{at.url}/reports/1")
        assert (answer.status, answer.json) == (401, {"error": "unauthorized"})
        assert answer.fields["www-authenticate"] == (
            'Basic realm="patauth", charset="UTF-8", Bearer realm="patauth"'
        )
        limited = issue(make_at(), name="limited", request_quota="1/60")
        answers = [fetch(page, f"{at.url}/reports/1", bearer(limited.token)) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 429]
        assert 0 < int(answers[1].fields["retry-after"]) <= 60
        assert answers[1].fields["ratelimit"].startswith('"requests";r=0;')
        assert answers[1].json == {"message": " Rate Limit Exceeded "}

    def test_it_gets_access_tokens(self, page: Page, at: Site, issued: IssuedPat) -> None:
        check_the_token_endpoint(page, at.url, issued)

    def test_it_manages_pats(self, page: Page, at: Site, issued: IssuedPat) -> None:
        check_the_management_api(page, at.url, issued)
        assert at.app.seen == []


def test_patauth_serve_lets_listed_origins_read(
    page: Page, listed: str, unlisted: str, issued: IssuedPat, server: Server, prefix: str, tmp_path: Path
) -> None:
    settings = {
        "PATAUTH_STORE_URL": server.url, "PATAUTH_KEY_PREFIX": prefix, "PATAUTH_CORS_ORIGINS": listed,
    }  # fmt: skip
    with serving_patauth(tmp_path, "--workers", "1", **settings) as service:
        check_the_token_endpoint(page, service.url, issued)
        check_the_management_api(page, service.url, issued)
        page.goto(unlisted)
        assert fetch(page, service.url + API, bearer(issued.token)) == NOTHING
        assert fetch(page, service.url + API) == NOTHING


def test_a_page_of_another_origin_reads_nothing_and_its_preflights_reach_no_application(
    page: Page, listed: str, unlisted: str, real: Authority, issued: IssuedPat
) -> None:
    who = bearer(issued.token)
    with site(real, surfaces=["oauth", "isc"], cors=Cors([listed])) as at:
        assert fetch(page, f"{at.url}/reports/1", who).status == 200
        for elsewhere in (unlisted, f"{listed}/null"):
            page.goto(elsewhere)
            at.arrived.clear()
            at.app.seen.clear()
            for given in ({}, {"credentials": "include"}):
                assert fetch(page, f"{at.url}/reports/1", who, **given) == NOTHING
                assert fetch(page, f"{at.url}/reports/1", basic_of(issued), **given) == NOTHING
            assert fetch_json(page, "POST", at.url + API, who, "application/json", {"name": "x"}) == NOTHING
            assert fetch(page, f"{at.url}{API}/{issued.pat.id}", who, method="DELETE") == NOTHING
            assert {request.split()[0] for request in at.arrived} == {"OPTIONS"}
            # What browsers send without a preflight arrives, and the answer cannot be read.
            assert fetch(page, f"{at.url}/reports/1") == NOTHING
            form = {"method": "POST", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
            assert fetch(page, f"{at.url}/oauth/token", **form, body="grant_type=x") == NOTHING
            assert at.arrived[-2:] == ["GET /reports/1", "POST /oauth/token"]
            assert at.app.seen == []
        assert [pat.id for pat in real.list(owner_id="alice")] == [issued.pat.id]


@pytest.mark.parametrize("everybody", [False, True])
def test_no_page_reads_with_the_visitors_cookies_or_saved_password(
    browser: Browser, listed: str, real: Authority, issued: IssuedPat, *, everybody: bool
) -> None:
    typed = {"username": issued.pat.id, "password": issued.secret}
    with (
        site(real, cors=Cors(["*"] if everybody else [listed])) as at,
        browser.new_context(http_credentials=typed) as profile,
    ):
        page = profile.new_page()
        profile.add_cookies([{"name": "session", "value": "1", "url": at.url}])
        assert page.goto(f"{at.url}/reports/1").status == 200
        page.goto(listed)
        at.app.seen.clear()
        assert fetch(page, f"{at.url}/reports/1").status == 401
        assert fetch(page, f"{at.url}/reports/feed").json["who"] is None
        assert fetch(page, f"{at.url}/reports/feed", credentials="include") == NOTHING
        assert [("HTTP_COOKIE" in seen, seen.get("REMOTE_USER")) for seen in at.app.seen] == [
            (False, None), (True, "alice"),
        ]  # fmt: skip
        assert fetch(page, f"{at.url}/reports/feed", bearer(issued.token), credentials="include") == NOTHING
        assert at.arrived[-1] == "OPTIONS /reports/feed"


@pytest.mark.parametrize("way", ["saved", "in the URL"])
def test_a_form_of_another_site_changes_nothing_with_the_visitors_password(
    browser: Browser, unlisted: str, listed: str, real: Authority, issued: IssuedPat, way: str
) -> None:
    """In the browser's store or in the form's URL, Basic opens no change; from the own site it does."""
    kept = issue(real, "kept", scope=["reports:read"])
    typed = {"username": issued.pat.id, "password": issued.secret}
    new = '{"name": "theirs", "scope": ["reports:read"], "userAwareTokenNeverExpires": true, "x": "'
    forms = [
        (f"{API}/{kept.pat.id}/rotate", "text/plain", ""),
        (f"{API}/{kept.pat.id}/rotate", "application/x-www-form-urlencoded", ""),
        (f"{API}/{kept.pat.id}/disable", "multipart/form-data", ""),
        (API, "text/plain", new),
        ("/management/v1/users/alice/pats", "text/plain", "{}"),
        ("/v2/users/alice/pats", "text/plain", new),
        ("/zitadel.user.v2.UserService/RemovePersonalAccessToken", "text/plain", "{}"),
    ]
    with (
        site(real, surfaces=["oauth", "isc", "zitadel"], cors=Cors([listed])) as at,
        browser.new_context(**({"http_credentials": typed} if way == "saved" else {})) as profile,
    ):
        target = at.url
        if way == "in the URL":
            target = at.url.replace("://", f"://{issued.pat.id}:{issued.secret}@")
        page = profile.new_page()
        assert page.goto(f"{target}/reports/1").status == 200
        before = list(real.list())
        for path, *form in forms:
            page.goto(unlisted)
            assert submit(page, target + path, *form) == 403, path
        assert list(real.list()) == before
        assert real.verify_basic(kept.pat.id, kept.secret).pat_id == kept.pat.id
        # A page of the own site is let in with the same password and the same forms.
        statuses = []
        for path, *form in forms:
            page.goto(f"{at.url}/public")
            statuses.append(submit(page, target + path, *form))
        assert 403 not in statuses
        assert statuses[0] == 200, "the rotation"
        assert list(real.list()) != before


def test_at_the_oauth_endpoints_another_site_learns_and_ends_nothing_with_a_saved_password(
    browser: Browser, unlisted: str, listed: str, real: Authority, issued: IssuedPat
) -> None:
    """The browser sends the password there; what comes back, no page of another site can read."""
    access = real.exchange(issued.pat.id, issued.secret)
    guess = real.operations.format.token_text(issued.pat.id, bytes(32))
    forms = {
        "/oauth/token": "grant_type=client_credentials",
        "/oauth/introspect": f"token={access.value}",
        "/oauth/revoke": f"token={guess}",
    }
    typed = {"username": issued.pat.id, "password": issued.secret}
    with (
        site(real, surfaces=["oauth"], cors=Cors([listed])) as at,
        browser.new_context(http_credentials=typed) as profile,
    ):
        page = profile.new_page()
        assert page.goto(f"{at.url}/reports/1").status == 200
        for path, body in forms.items():
            form = {"method": "POST", "body": body, "credentials": "include"}
            kind = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}
            page.goto(f"{at.url}/public")
            assert fetch(page, at.url + path, **form, **kind).status == 200, (
                "the own site, which proves the way"
            )
            for elsewhere in (unlisted, listed):
                page.goto(elsewhere)
                at.arrived.clear()
                assert fetch(page, at.url + path, **form, **kind) == NOTHING
                assert at.arrived == [f"POST {path}"]
        assert real.verify_bearer(access.value).pat_id == real.verify_bearer(issued.token).pat_id


class TestThePasswordDialog:
    """The visitor types good credentials into every dialog at once, so a dialog shows in the status."""

    @pytest.fixture
    def visitor(self, browser: Browser, issued: IssuedPat) -> Iterator[Page]:
        typed = {"username": issued.pat.id, "password": issued.secret}
        with browser.new_context(http_credentials=typed) as profile:
            yield profile.new_page()

    @pytest.mark.parametrize("challenges", [None, ["bearer", "basic"]])
    def test_with_a_basic_challenge_it_opens(
        self, visitor: Page, real: Authority, challenges: list[str] | None
    ) -> None:
        with site(real, challenges=challenges) as at:
            assert visitor.goto(f"{at.url}/reports/1").status == 200
            assert at.arrived.count("GET /reports/1") == 2

    def test_with_a_basic_challenge_it_opens_for_a_script_too(self, visitor: Page, real: Authority) -> None:
        with site(real) as at:
            visitor.goto(f"{at.url}/public")
            assert fetch(visitor, f"{at.url}/reports/1").status == 200
            assert at.arrived.count("GET /reports/1") == 2

    def test_with_the_bearer_challenge_alone_it_never_opens(self, visitor: Page, real: Authority) -> None:
        def sign_in(*_: object) -> tuple[str, str]:
            return "<!doctype html><title>Sign in</title><h1>Sign in first</h1>", "text/html"

        with site(real, challenges=["bearer"], on_refusal=sign_in) as at:
            assert visitor.goto(f"{at.url}/reports/1").status == 401
            assert (visitor.title(), visitor.inner_text("h1")) == ("Sign in", "Sign in first")
            visitor.goto(f"{at.url}/public")
            answer = fetch(visitor, f"{at.url}/reports/2")
            assert (answer.status, "Sign in first" in answer.text) == (401, True)
            assert answer.fields["www-authenticate"] == 'Bearer realm="patauth"'
            assert at.arrived.count("GET /reports/1") == at.arrived.count("GET /reports/2") == 1
            assert [seen["PATH_INFO"] for seen in at.app.seen] == ["/public"]
