"""On real servers, no request without credentials reaches an app but where the configuration says so.

Servers of WSGI and ASGI each serve the same routes by routers of several frameworks behind patauth (tests/
support/routed_apps.py and routed_asgi.py). What is judged is not the answer, but the views that ran.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from patauth.crypto.profiles import PROFILES
from patauth.flask import PatAuth
from tests.support import routed_asgi
from tests.support.authorities import issue, patient
from tests.support.hostile_requests import PREFLIGHT, Request, generate, smallest
from tests.support.routed_apps import CONFIGURATIONS, EXTENSION, ORIGIN, PLACES, ROUTERS
from tests.support.searches import examples
from tests.support.servers import Server
from tests.support.web_servers import UVICORN, Answer, Wire, serving
from tests.support.wsgi import request

REQUESTS = 8000  # to each server with each configuration
# By whether the server is one of ASGI: the apps, what makes them, and how their environ names a caller.
APPS = {False: [*ROUTERS, EXTENSION], True: [*routed_asgi.ROUTERS]}
FACTORY = {False: "tests.support.routed_apps:create", True: "tests.support.routed_asgi:create"}
NAMED: dict[bool, dict[str, str]] = {False: {"REMOTE_USER": "alice", "AUTH_TYPE": "Bearer"}, True: {}}
SCOPES = {
    "nothing": ["other"],
    "reports:read": ["reports:read"],
    "all": ["reports:read", "reports:write", "admin"],
}


class Front:
    """A running server, and the callers that its apps know."""

    def __init__(self, server: str, port: int, tokens: dict[str, str]) -> None:
        self.server = server
        self.apps = APPS[server in UVICORN]
        self.named = NAMED[server in UVICORN]
        self.tokens = tokens
        self.wire = Wire(port)

    def bytes(self, app: str, caller: str, request: Request) -> bytes:
        return request.bytes(app, f"Bearer {self.tokens[caller]}" if caller != "nobody" else "")

    def ask(self, app: str, caller: str, request: Request) -> Answer | None:
        return self.wire.ask(self.bytes(app, caller, request), alone=request.is_alone)

    def told(self, app: str, caller: str, request: Request, answer: Answer | None) -> str:
        """Return all that is needed to see a failure again."""
        return (
            f"{self.server}, {app}, {caller}: {self.bytes(app, caller, request)!r}\n"
            f"what ran: {answer and answer.ran}\nthe answer: {answer}"
        )


@pytest.fixture(scope="module", params=["gunicorn gthread", "waitress", "uWSGI", *UVICORN])
def front(
    request: pytest.FixtureRequest, servers: dict[str, Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    url, prefix = servers["valkey"].url, f"patauth:routers-{request.param.replace(' ', '-')}"
    authority = patient(url, key_prefix=prefix, hash_profile=PROFILES["testing"])
    tokens = {name: issue(authority, name, scope=scope).token for name, scope in SCOPES.items()}
    authority.close()
    log = tmp_path_factory.mktemp(request.param) / "log"
    settings = {"PATAUTH_STORE_URL": url, "PATAUTH_KEY_PREFIX": prefix}
    factory = FACTORY[request.param in UVICORN]
    with serving(request.param, factory, log, **settings) as port:
        running = Front(request.param, port, tokens)
        yield running
        running.wire.close()
    assert "Traceback" not in log.read_text()


# what may run
# ------------


# Where credentials need not be looked at.
OPEN = {**dict.fromkeys(CONFIGURATIONS, ("pub",)), "protect": ("pub", "feed", "root", "any")}


def place(view: str, path: str) -> str:
    """Return which part of the app this is. A catch-all view may stand for any."""
    named = [name for name in PLACES if path.startswith(f"/{name}/")]
    return (
        named[0]
        if view == "any" and named
        else "feed"
        if view == "any" and path.startswith("/feed")
        else view
    )


def may_run(configuration: str, caller: str, where: str, method: str) -> bool:
    if configuration == "protect":
        return caller != "nobody" or where in OPEN[configuration]
    if where in ("pub", "feed"):
        return True
    if caller == "reports:read" and where in ("reports", "private"):
        return method in ("GET", "HEAD")
    return caller != "nobody" and where in ("root", "any")


OF_ANY_ANSWER = "vary date server connection cache-control content-length x-content-type-options".split()


def only_cors(answer: Answer) -> bool:
    fields = [name for name in answer.fields if not name.startswith("access-control-")]
    return answer.status == 204 and answer.body == b"" and set(fields) <= set(OF_ANY_ANSWER)


def breach(
    front: Front, configuration: str, caller: str, request: Request, answer: Answer | None
) -> str | None:
    """Return what is wrong with an answer."""
    if answer is None:
        return "no answer"
    preflight = configuration == "corsapp" and request.is_preflight
    for view, method, path, principal, named in answer.views:
        where = place(view, path)
        if preflight and where != "pub":
            if method != "OPTIONS" or principal or not only_cors(answer):
                return "a preflight gave or got more than CORS has"
        elif not may_run(configuration, caller, where, method):
            return f"the view of {where!r} ran"
        nobody = preflight or caller == "nobody" or where in OPEN[configuration]
        if named != (front.named if principal else {}):
            return f"the caller is {principal!r}, but the environ names {named}"
        if principal not in ((None, "alice") if nobody else ("alice",)) or (principal and caller == "nobody"):
            return f"the caller is not {principal!r}"
    if answer.status == 401 and answer.router:
        return "the app was called, and the answer is 401"
    if answer.status >= 500 and not answer.router:
        return "patauth or the server failed"
    return None


def judged(front: Front, configuration: str, app: str, caller: str, request: Request) -> str | None:
    return breach(front, configuration, caller, request, front.ask(app, caller, request))


# What the search must have reached; else it says nothing.
REACHED = {
    "nobody": {"pub", "feed"},
    "nothing": {"pub", "feed", "any"},
    "reports:read": {"pub", "any", "reports"},
}
REACHED_WITHOUT_RULES = {
    "nobody": {"pub", "feed", "any"},
    "nothing": {"admin", "reports"},
    "reports:read": {"admin"},
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_only_what_the_configuration_opens_runs(front: Front, configuration: str) -> None:
    """For nobody, for a PAT without a scope that counts, and for one that may read reports."""
    chance = random.Random(f"{front.server} {configuration}")
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number in range(examples(REQUESTS)):
        request = generate(chance, front.tokens["all"])
        app = f"{configuration}.{chance.choice(front.apps)}"
        caller = chance.choice(("nobody", "nobody", "nothing", "reports:read"))
        answer = front.ask(app, caller, request)
        if breach(front, configuration, caller, request, answer):
            fails = lambda one, to=app, by=caller: judged(front, configuration, to, by, one)  # noqa: E731
            request = smallest(request, fails)
            answer = front.ask(app, caller, request)
            found = breach(front, configuration, caller, request, answer)
            pytest.fail(f"{found}, request {number}\n{front.told(app, caller, request, answer)}")
        if answer is not None and answer.status == 200:
            seen[app, caller].update(place(view, path) for view, _, path, *_ in answer.views)
    for app in front.apps:
        for caller, places in (REACHED_WITHOUT_RULES if configuration == "protect" else REACHED).items():
            assert places <= seen[f"{configuration}.{app}", caller], (app, caller)


# what must get through
# ---------------------

# Rests of paths that people use. Each is odd, or looks so to some gate or server.
RESTS = """
    http%3A%2F%2Fe.org%2Fx http://e.org/x http%3a//e.org/?a=b https%253A%252F%252Fe.org DOMAIN%5Cuser
    x%5Cy%5Cz a%3Bb a;v=1 a;v=1/b;w=2 a%3Bv/b ;a a//b /b /etc/passwd a// %2Fetc%2Fpasswd a%2Fb a%2fb%2Fc
    refs%2Fheads%2Fmain a%252Fb what%3F what%3F%23 %23channel C%23 C%2B%2B a+b a%20b %20a%20 100%25
    100%2525 %25 %2541 caf%C3%A9 caf%c3%a9 %E6%97%A5%E6%9C%AC %F0%9F%98%80 %E2%80%93 .well-known/x ... a..
    ..a a..b a.b.c .a ~alice @alice x%40e.org a:b a%3Ab urn:isbn:0 sha256:abc 2026-01-01T00:00:00Z a,b
    a=b&c=d (a) a'b * $x ! %22a%22 %7Ba%7D %5Ba%5D a%7Cb a%5Eb a/ a/b/c a?x=1 a?u=http://e.org//x;y=%2e%2e
    a?? 1 -1 _ a%2Eb a%2D
""".split()
FOR_CALLERS = {"pub": "nobody", "feed": "nobody", "reports": "reports:read", "admin": "all", "x": "nothing"}
LEGITIMATE = [
    *((caller, f"/{place}/{rest}") for place, caller in FOR_CALLERS.items() for rest in RESTS),
    *(("nobody", path) for path in ("/feed", "/feed?since=1", "/feed;v=1", "/feeds", "/pub/")),
    *(("nothing", path) for path in ("/", "/?x=1", "/x", "/x/", "/adminx", "/admin", "/reports", "/pub")),
    *(("reports:read", path) for path in ("/reports/", "/pub/private", "/pub/private?x=1")),
    ("all", "/admin/"),
    ("reports:read", "/reports/" + "long/" * 40),
]  # fmt: skip


@pytest.mark.parametrize("configuration", ["rules", "protect"])
def test_the_paths_that_people_use_get_through(front: Front, configuration: str) -> None:
    """A view or the router's own 404 or redirect; never a 400 of patauth."""
    for app in front.apps:
        for minimal, path in LEGITIMATE:
            request = Request("GET", (path,))
            for caller in {minimal, "all"}:
                answer = front.ask(f"{configuration}.{app}", caller, request)
                if answer is None or not answer.router:
                    pytest.fail(front.told(f"{configuration}.{app}", caller, request, answer))


# preflights
# ----------


def test_a_preflight_of_a_protected_path_is_401_and_nothing_runs(front: Front) -> None:
    """Views that do not look at the method, a middleware that serves files, and a method override inside."""
    paths = {f"rules.{app}": ("/reports/salaries", "/admin/users/bob/delete", "/x") for app in front.apps}
    paths |= {"rules.files": ("/files/secret.txt",), "rules.overridden": ("/purge",)}
    for app, of_app in paths.items():
        for path in of_app:
            for more in ((), ("X-HTTP-Method-Override: POST",), ("X-HTTP-Method-Override: GET",)):
                request = Request("OPTIONS", (path,), fields=(*PREFLIGHT, *more))
                answer = front.ask(app, "nobody", request)
                if answer is None or answer.status != 401 or answer.router:
                    pytest.fail(front.told(app, "nobody", request, answer))


def test_what_answers_preflights_itself_gets_no_method_override(front: Front) -> None:
    request = Request("OPTIONS", ("/purge",), fields=(*PREFLIGHT, "X-HTTP-Method-Override: POST"))
    answer = front.ask("corsapp.overridden", "nobody", request)
    if answer is None or (answer.status, answer.ran) != (204, (True, [])):
        pytest.fail(front.told("corsapp.overridden", "nobody", request, answer))


def test_with_credentials_those_apps_answer(front: Front) -> None:
    file = front.ask("rules.files", "nothing", Request("GET", ("/files/secret.txt",)))
    purge = front.ask("rules.overridden", "all", Request("POST", ("/purge",)))
    assert file is not None
    assert purge is not None
    assert (file.status, file.body) == (200, b"a secret")
    assert (purge.status, [view for view, *_ in purge.views]) == (200, ["purge"])


def test_cors_answers_a_preflight_itself(front: Front) -> None:
    for app in front.apps:
        for path in ("/reports/7", "/admin/x", "/feed", "/x"):
            request = Request("OPTIONS", (path,), fields=PREFLIGHT)
            answer = front.ask(f"cors.{app}", "nobody", request)
            if answer is None or (answer.status, answer.router) != (204, False):
                pytest.fail(front.told(f"cors.{app}", "nobody", request, answer))
            assert answer.fields["access-control-allow-origin"] == ORIGIN


# around patauth
# --------------


class LikeConnexion:
    """Keeps the app's `wsgi_app` as it is now, and calls it in another thread with an environ of its own."""

    def __init__(self, app: Flask) -> None:
        self._kept = app.wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ = {name: value for name, value in environ.items() if isinstance(value, str)} | {
            name: value for name, value in environ.items() if name.startswith("wsgi.")
        }
        with ThreadPoolExecutor() as pool:
            return pool.submit(lambda: list(self._kept(environ, start_response))).result()


FRONTS: dict[str, Callable[[Flask], Any]] = {
    "the dispatcher of werkzeug": lambda app: DispatcherMiddleware(app.wsgi_app, {}),
    "a mount by it": lambda app: DispatcherMiddleware(NotFound(), {"/app": app.wsgi_app}),
    "Connexion 3": LikeConnexion,
}


@pytest.mark.parametrize("made", FRONTS)
def test_what_took_the_flask_app_before_patauth_serves_nothing(
    server: Server, prefix: str, caplog: pytest.LogCaptureFixture, made: str
) -> None:
    """It is 500 and logged, and nothing of the app has run. What took it afterwards serves it."""
    ran: list[str] = []
    app = Flask("kept")
    app.config.update(
        PATAUTH_STORE_URL=server.url, PATAUTH_KEY_PREFIX=prefix, PATAUTH_PUBLIC=["/pub", "/app/pub"]
    )
    app.before_request(lambda: ran.append("before_request"))
    for rule in ("/pub", "/reports"):
        app.add_url_rule(rule, rule, lambda: ran.append("view") or "seen", methods=["GET", "POST", "OPTIONS"])
    before = FRONTS[made](app)
    PatAuth(app)
    after = FRONTS[made](app)
    authority = app.extensions["patauth"]
    mount = "/app" if "mount" in made else ""
    good = f"Bearer {issue(authority).token}"
    for path in ("/pub", "/reports", "/static/x", "/none"):
        for method in ("GET", "POST", "OPTIONS"):
            for authorization in (None, good):
                caplog.clear()
                answer = request(before, mount + path, method=method, authorization=authorization)
                assert (answer.status_code, ran) == (500, []), (path, method, authorization)
                assert "without passing patauth" in caplog.text
    for path, authorization, status in (
        ("/pub", None, 200),
        ("/reports", None, 401),
        ("/reports", good, 200),
    ):
        ran.clear()
        assert request(after, mount + path, authorization=authorization).status_code == status
        assert ran == (["before_request", "view"] if status == 200 else [])
    authority.close()
