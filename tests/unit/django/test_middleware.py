"""`patauth.django.PatAuthMiddleware`: the gate in Django's stack, for its sync and its async client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from threading import current_thread
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.middleware import get_user
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import JsonResponse
from django.test import AsyncClient, Client, override_settings
from httpx2 import ASGITransport
from httpx2 import AsyncClient as AsyncHttp

from patauth import Authority, Cors, IssuedPat, Owner, Principal
from patauth.django.requests import environ_of_request
from patauth.model.caller import Person
from tests.support.asgi import scope_of
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import MINUTE, Clock
from tests.support.django_site import instead, person, site, user_of
from tests.support.rights import MY_MANAGE
from tests.support.tables import each

Call = Callable[..., Any]  # a request of a client: method and path, and what clients take


def call(method: str, path: str, **given: Any) -> Any:
    """The answer to a request of Django's own client, which passes the whole stack."""
    return Client(enforce_csrf_checks=True).generic(method, path, **given)


def call_later(method: str, path: str, **given: Any) -> Any:
    """The answer to a request of Django's asynchronous client."""
    return asyncio.run(AsyncClient(enforce_csrf_checks=True).generic(method, path, **given))


CALLS = (call, call_later)


def sent(authorization: str) -> dict[str, Any]:
    return {"headers": {"Authorization": authorization}}


def kinds(make_at: Make) -> tuple[Authority, dict[str, dict[str, Any]]]:
    """An Authority, and what a client sends with each kind of credentials."""
    clock = Clock()
    authority = make_at(clock=clock)
    expired = issue(authority, "expired", expires_in=timedelta(hours=1))
    clock.advance(2 * 60 * MINUTE)
    good = issue(authority, "good")
    limited = issue(authority, "limited", request_quota="1/10")
    authority.authenticate(bearer(limited.token))
    return authority, {
        "none": {},
        "good": sent(bearer(good.token)),
        "Basic": sent(basic_of(good)),
        "bad": sent(basic(good.pat.id, wrong_secret(authority))),
        "expired": sent(bearer(expired.token)),
        "limited": sent(bearer(limited.token)),
    }


def test_credentials_of_each_kind_have_the_same_verdict_for_both_clients(make_at: Make) -> None:
    """On a protected, an optional and a public path, for functions, async functions and DRF."""
    authority, given = kinds(make_at)
    protected = {"none": 401, "good": 200, "Basic": 200, "bad": 401, "expired": 401, "limited": 429}
    verdicts = {
        "/who": protected,
        "/who-later": protected,
        "/api/who": protected,
        "/feed": {**protected, "none": 200},
        "/feed-later": {**protected, "none": 200},
        "/api/feed": {**protected, "none": 200},
        "/public": dict.fromkeys(protected, 200),
    }
    with site(authority, public=["/public"], optional=["/feed*", "/api/feed"]):
        for ask in CALLS:
            found = {
                path: {kind: ask("GET", path, **sends).status_code for kind, sends in given.items()}
                for path in verdicts
            }
            assert found == verdicts, ask.__name__


def test_the_view_knows_its_caller_and_nothing_of_the_credentials(make_at: Make) -> None:
    authority = make_at(token_headers=["X-API-Key"])
    issued = issue(authority)
    headers = {
        "Authorization": bearer(issued.token), "Remote-User": "root", "Auth-Type": "x", "PatAuth-X": "x",
    }  # fmt: skip
    with site(authority, public=["/public"]):
        for ask in CALLS:
            answer = ask("GET", "/who", headers=headers)
            assert answer.json() == {"principal": "alice", "user": "", "session": None, "left": []}
            assert answer.headers["RateLimit"].startswith('"requests"')
            by_field = ask("GET", "/who", headers={"X-API-Key": issued.token})
            assert by_field.json()["left"] == []
            public = ask("GET", "/public", headers={**headers, "X-API-Key": issued.token}).json()
            assert (public["principal"], public["left"]) == (
                None, ["HTTP_AUTHORIZATION", "HTTP_X_API_KEY", "Authorization"],
            )  # fmt: skip


def test_what_a_server_says_of_the_caller_is_removed(real: Authority, issued: IssuedPat) -> None:
    given = {"REMOTE_USER": "root", "AUTH_TYPE": "Basic", "patauth.principal": "root"}
    with site(real, public=["/public"]):
        client = Client()
        assert client.get("/public", **given).json()["left"] == []
        told = client.get("/who", **given, **sent(basic_of(issued))).json()
        assert (told["principal"], told["left"]) == ("alice", [])


def test_what_was_read_before_patauth_is_read_again(real: Authority, issued: IssuedPat) -> None:
    """Django keeps the fields and the user of a request once something has asked for them."""
    from tests.support import django_views

    django_views.view = lambda request: JsonResponse([
        request.headers.get("Authorization"), get_user(request).get_username(),
    ], safe=False)  # fmt: skip
    before = instead("PatAuthMiddleware", f"{__name__}.reading", "patauth.django.PatAuthMiddleware")
    with site(real, MIDDLEWARE=before):
        client = Client()
        client.force_login(person("victim"))
        assert client.get("/any", **sent(bearer(issued.token))).json() == [None, ""]


@each("always", [False, True])
@each("authorization, user", [("basic", "bob"), ("bearer", "bob"), (None, "victim")])
def test_a_request_with_credentials_has_no_part_of_the_session(
    real: Authority, issued: IssuedPat, changes: list[str], authorization: str | None, user: str, always: bool
) -> None:
    """bob's user is the PAT's owner; the cookie is the victim's. What the view keeps is kept for nobody.

    `always`: each request saves its session.
    """
    bob = issue(real, f"of bob, {authorization}, {always}", owner=Owner("bob"))
    person("bob")
    victim = person("victim")
    values = {None: {}, "basic": sent(basic_of(bob)), "bearer": sent(bearer(bob.token))}
    saving = override_settings(SESSION_SAVE_EVERY_REQUEST=always)
    with saving, site(real, user=user_of, optional=["/feed*", "/change"]):
        for later in (False, True):
            client: Any = Client()
            client.force_login(victim)
            if later:
                cookies, client = client.cookies, AsyncClient()
                client.cookies = cookies

            def ask(method: str, path: str, client: Any = client, later: bool = later) -> Any:
                answer = client.generic(method, path, **values[authorization])
                return asyncio.run(answer) if later else answer

            told = ask("GET", "/feed-later" if later else "/feed").json()
            assert (told["user"], told["session"]) == (user, str(victim.pk) if user == "victim" else None)
            answer = ask("POST", "/change")
            assert (answer.status_code, changes.pop()) == (200, user)
            assert ("sessionid" in answer.cookies) is (user == "victim")
            assert not any(cookie["max-age"] == 0 for cookie in answer.cookies.values())


def test_the_user_is_the_functions_or_anonymous_and_asked_for_once_when_it_is_used(
    real: Authority, issued: IssuedPat
) -> None:
    asked: list[str] = []

    def function(principal: Principal) -> Any:
        asked.append(principal.subject.id)
        return person("inactive", is_active=False) if len(asked) > 1 else person("active")

    with site(real, user=function):
        assert call("GET", "/path/x", **sent(bearer(issued.token))).status_code == 200
        assert asked == [], "the view has not used it"
        assert [call("GET", "/who", **sent(bearer(issued.token))).json()["user"] for _ in range(2)] == [
            "active", "",
        ]  # fmt: skip
        assert asked == ["alice"] * 2
        assert call_later("GET", "/who-later", **sent(bearer(issued.token))).json()["user"] == ""
    asked.clear()
    from tests.support import django_views

    django_views.view = lambda request: JsonResponse([
        async_to_sync(request.auser)().get_username(), request.user.get_username(),
    ], safe=False)  # fmt: skip
    with site(real, user=lambda principal: function(principal)):
        assert call("GET", "/any", **sent(bearer(issued.token))).json() == ["active", "active"]
    assert asked == ["alice"], "once for both"
    with site(real, user=lambda principal: 1 / 0), pytest.raises(ZeroDivisionError):
        call("GET", "/who", **sent(bearer(issued.token)))
    with site(real, user=lambda principal: True):
        assert call("GET", "/who", **sent(bearer(issued.token))).json()["user"] == ""


_CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@each("order", [(_CSRF, "patauth.django.PatAuthMiddleware"), ("patauth.django.PatAuthMiddleware", _CSRF)])
def test_csrf_is_checked_for_basic_and_for_nobody_else_with_credentials(
    make_at: Make, changes: list[str], order: tuple[str, str]
) -> None:
    authority = make_at(token_headers=["X-API-Key"])
    issued = issue(authority, order[0])
    stack = [one for one in instead("PatAuthMiddleware", *order) if one != _CSRF]
    stack = stack[: stack.index("patauth.django.PatAuthMiddleware")] + list(order)
    cookie = {"csrftoken": "a" * 32}
    with site(authority, MIDDLEWARE=stack, public=["/public/*"]):
        for ask in CALLS:
            rows = [
                ({"Authorization": bearer(issued.token)}, "/change", 200),
                ({"X-API-Key": issued.token}, "/change", 200),
                ({"Authorization": basic_of(issued)}, "/change", 403),
                # A password that is a token is one that a browser keeps, too.
                ({"Authorization": basic("git", issued.token)}, "/change", 403),
                ({"Authorization": basic_of(issued), "X-CSRFToken": "a" * 32}, "/change", 200),
                ({"Authorization": bearer(issued.token)}, "/public/change", 403),  # nobody has verified it
                ({"Authorization": "Bearer x"}, "/public/change", 403),
                ({}, "/public/change", 403),
            ]
            for headers, path, status in rows:
                client: Any = Client(enforce_csrf_checks=True)
                if ask is call_later:
                    client = AsyncClient(enforce_csrf_checks=True)
                client.cookies.load(cookie)
                answer = client.generic("POST", path, headers=headers)
                answer = asyncio.run(answer) if ask is call_later else answer
                assert answer.status_code == status, (headers.keys(), path, ask.__name__)
    assert len(changes) == 6
    changes.clear()


@each(
    "headers, status",
    [
        ({}, 200),
        ({"Origin": "https://e.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "null"}, 403),
        ({"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "http://testserver", "Host": "testserver"}, 200),
    ],
)
def test_a_change_by_basic_from_another_site_is_refused_where_django_checks_nothing(
    real: Authority, issued: IssuedPat, changes: list[str], headers: dict[str, str], status: int
) -> None:
    """A view that is exempt, and a project without the check."""
    given = {**headers, "Authorization": basic_of(issued)}
    with site(real, cors=Cors(["https://a.example"]), MIDDLEWARE=instead("CsrfViewMiddleware")):
        for path in ("/change", "/exempt"):
            assert Client().post(path, headers=given).status_code == status
            by_token = {**headers, "Authorization": bearer(issued.token)}
            assert Client().post(path, headers=by_token).status_code == 200
        assert Client().get("/who", headers=given).status_code == 200, "a GET changes nothing"
        if "Host" not in headers:  # the asynchronous client sends one by itself
            assert call_later("POST", "/exempt", headers=given).status_code == status
    changes.clear()


def test_patauths_own_routes_are_served_with_the_body_that_is_left(
    real: Authority, issued: IssuedPat
) -> None:
    form = {"grant_type": "client_credentials", "client_id": issued.pat.id, "client_secret": issued.secret}
    reading = instead("CommonMiddleware", f"{__name__}.reading")
    for stack in (instead("nothing"), reading):
        with site(real, MIDDLEWARE=stack):
            answers = [
                Client().post("/oauth/token", form),
                asyncio.run(AsyncClient().post("/oauth/token", form)),
            ]
            assert [answer.status_code for answer in answers] == [200, 200]
            for answer in answers:
                access = answer.json()["access_token"]
                assert call("GET", "/who", **sent(bearer(access))).status_code == 200


def test_a_body_without_a_length_is_read_under_asgi(real: Authority, issued: IssuedPat) -> None:
    form = {"grant_type": "client_credentials", "client_id": issued.pat.id, "client_secret": issued.secret}

    async def body() -> AsyncIterator[bytes]:
        yield urlencode(form).encode()

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with site(real):
        answer = call_served("POST", "/oauth/token", content=body(), headers=headers)
        assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")


def test_a_header_whose_name_has_an_underscore_is_no_other_header() -> None:
    """Whatever this release of Django makes of it."""
    headers = [("x-forwarded-for", "203.0.113.9"), ("x_forwarded_for", "10.0.0.1"), ("x_api_key", "pat_x")]
    request = ASGIRequest(scope_of("/x", headers=headers), BytesIO())
    request.META.update(HTTP_X_FORWARDED_FOR="203.0.113.9,10.0.0.1", HTTP_X_API_KEY="pat_x")
    environ = environ_of_request(request)
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"
    assert "HTTP_X_API_KEY" not in environ


def reading(get_response: Any) -> Any:
    """A middleware that has read body, fields and user before patauth sees the request."""

    def middleware(request: Any) -> Any:
        assert request.body is not None
        assert request.headers is not None
        if not iscoroutinefunction(get_response) and hasattr(request, "user"):
            assert request.user.get_username() is not None
        return get_response(request)

    if iscoroutinefunction(get_response):
        markcoroutinefunction(middleware)
    return middleware


reading.async_capable = True  # type: ignore[attr-defined]


def call_served(method: str, path: str, mount: str = "", **given: Any) -> Any:
    """The answer to a request by ASGI. Django's asynchronous client spells a path as WSGI does."""

    async def ask() -> Any:
        transport = ASGITransport(get_asgi_application(), root_path=mount)
        async with AsyncHttp(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, **given)

    return asyncio.run(ask())


@each("raw, decoded", [("/path/caf%C3%A9", "/path/café"), ("/path/%61dmin", "/path/admin")])
def test_rules_are_about_the_path_that_django_reads(
    real: Authority, issued: IssuedPat, raw: str, decoded: str
) -> None:
    with site(real, protect=[decoded], require={f"GET {decoded}": "reports:admin"}):
        for ask in (call, call_served):
            assert ask("GET", "/path/other").status_code == 200
            assert ask("GET", raw).status_code == 401, ask.__name__
            assert ask("GET", raw, **sent(bearer(issued.token))).status_code == 403


def test_rules_see_where_the_project_is_mounted(real: Authority) -> None:
    with site(real, public=["/mount/path/a"]):
        for path, mounted in (("/path/a", 200), ("/path/b", 401)):
            assert call("GET", path, SCRIPT_NAME="/mount").status_code == mounted
            assert call_served("GET", path, mount="/mount").status_code == mounted
            assert call("GET", path).status_code == call_served("GET", path).status_code == 401


def test_a_path_that_reads_two_ways_is_refused(real: Authority) -> None:
    with site(real, public=["/path/*"]):
        for ask in CALLS:
            assert ask("GET", "/path/../who").status_code == 400


def test_a_head_and_a_stream_have_the_fields_of_the_caller(real: Authority, issued: IssuedPat) -> None:
    with site(real):
        for ask in CALLS:
            head = ask("HEAD", "/who")
            assert (head.status_code, head.content, head.headers["Content-Length"] > "0") == (401, b"", True)
            answer = ask("GET", "/stream", **sent(bearer(issued.token)))
            assert answer.streaming
            assert "RateLimit" in answer.headers


def test_cors_fields_are_on_refusals_and_on_the_apps_answers(real: Authority, issued: IssuedPat) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    with site(real, cors=Cors(["https://a.example"])):
        for ask in CALLS:
            assert ask("OPTIONS", "/who", headers=asked).status_code == 204
            assert (
                ask("OPTIONS", "/who", headers={**asked, "Origin": "https://b.example"}).headers.get(
                    "Access-Control-Allow-Origin"
                )
                is None
            )
            refused = ask("GET", "/who", headers={"Origin": "https://a.example"})
            assert refused.headers["Access-Control-Allow-Origin"] == "https://a.example"
            headers = {"Origin": "https://a.example", "Authorization": bearer(issued.token)}
            answer = ask("GET", "/who", headers=headers)
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert {"Accept", "Origin"} <= {one.strip() for one in answer.headers["Vary"].split(",")}


def test_a_preflight_that_the_app_answers_is_bare_and_so_is_its_answer(
    real: Authority, changes: list[str]
) -> None:
    headers = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "DELETE",
        "X-Http-Method-Override": "DELETE",
        "Cookie": "sessionid=x",
    }
    seen = "['HTTP_ACCESS_CONTROL_REQUEST_METHOD', 'HTTP_ORIGIN']"
    with site(real, cors="app"):
        for ask in CALLS:
            answer = ask("OPTIONS", "/preflight?a=b", headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "X-Secret" not in answer.headers
            assert changes.pop() == f"OPTIONS {seen} True None"
            assert ask("OPTIONS", "/preflight", headers={"Origin": "https://a.example"}).status_code == 401


def test_functions_of_the_host_get_djangos_request(real: Authority, issued: IssuedPat) -> None:
    def require(request: Any) -> Any:
        assert not current_thread().name.startswith("patauth"), "a thread whose connections Django closes"
        return ["reports:admin"] if request.GET.get("admin") else ()

    def on_refusal(request: Any, error: Any) -> tuple[str, str]:
        assert not request.COOKIES
        assert "HTTP_AUTHORIZATION" not in request.META
        return f"{request.path} {error.status}", "text/plain"

    with site(real, require=require, on_refusal=on_refusal):
        for ask in CALLS:
            assert ask("GET", "/who", **sent(bearer(issued.token))).status_code == 200
            refused = ask("GET", "/who?admin=1", **sent(bearer(issued.token)))
            assert (refused.status_code, refused.content) == (403, b"/who 403")
            assert ask("GET", "/path/x").content == b"/path/x 401"
        assert call("GET", "/path/caf%C3%A9").content.decode() == "/path/café 401"


def test_require_never_sees_the_sessions_user_beside_credentials(real: Authority, issued: IssuedPat) -> None:
    seen: list[str] = []

    def require(request: Any) -> Any:
        seen.append(request.user.get_username())
        return ()

    with site(real, require=require):
        client = Client()
        client.force_login(person("victim"))
        assert client.get("/who", **sent(bearer(issued.token))).status_code == 200
    assert seen == [""]


def test_people_of_django_manage_their_own_pats(make_at: Make) -> None:
    """`identify` may use `request.user`, whose query runs where Django runs synchronous code."""

    def identify(request: Any) -> Person | None:
        user = request.user
        if not user.is_authenticated:
            return None
        return Person(Owner(user.username), ["reports:read", MY_MANAGE])

    api = "/personal-access-tokens/v1"
    with site(make_at(identify=identify, surfaces=["isc"])):
        for later in (False, True):
            client: Any = Client()
            client.force_login(person("victim"))
            if later:
                cookies, client = client.cookies, AsyncClient()
                client.cookies = cookies

            def ask(method: str, path: str, client: Any = client, later: bool = later, **given: Any) -> Any:
                answer = client.generic(method, path, **given)
                return asyncio.run(answer) if later else answer

            listed = ask("GET", f"{api}?owner-id=me", headers={"Sec-Fetch-Site": "same-origin"})
            assert listed.status_code == 200
            new = {"name": f"made {later}", "scope": ["reports:read"], "userAwareTokenNeverExpires": True}
            headers = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": listed.headers["X-CSRF-Token"]}
            made = ask("POST", api, data=json.dumps(new), content_type="application/json", headers=headers)
            assert made.status_code == 200, made.content
            headers["X-CSRF-Token"] = ""
            refused = ask("POST", api, data=json.dumps(new), content_type="application/json", headers=headers)
            assert refused.status_code == 403
        cookie = f"sessionid={client.cookies['sessionid'].value}"
        headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        assert len(call_served("GET", f"{api}?owner-id=me", headers=headers).json()) == 2
        assert Client().get(f"{api}?owner-id=me").status_code == 401


def test_a_store_that_does_not_answer_is_a_503(make_at: Make, issued: IssuedPat, tmp_path: Path) -> None:
    stopped = make_at(url=f"unix://{tmp_path}/no-socket", request_seconds=0.3)
    with site(stopped, public=["/public"]):
        for ask in CALLS:
            assert ask("GET", "/who", **sent(bearer(issued.token))).status_code == 503
            assert ask("GET", "/public").status_code == 200
