"""Routers of several frameworks with the same routes behind patauth: what real servers serve to tests.

`create()` makes one WSGI application of all. The Host header names the one that is asked, as
`CONFIGURATION.ROUTER`, so that no path is spent on it. Nothing looks at the method where a framework allows
that. The store is that of the environment.

Each answer has a field X-Ran, which is put there outside of patauth, so that no layer can hide what ran: JSON
of `[whether the router was called, [[view, method, path, principal, who else is named], ...]]`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from urllib3.util import parse_url
from werkzeug.wsgi import ClosingIterator

from patauth import Authority, Cors, PatAuthMiddleware
from patauth.crypto.profiles import PROFILES

App = Callable[..., Iterable[bytes]]

ORIGIN = "https://app.example"
RULES: dict[str, Any] = {
    "public": ["/pub/*"],
    "optional": ["/feed*"],
    "require": {
        "GET /reports/*": "reports:read", "POST /reports/*": "reports:write", "/admin/*": "admin",
        "GET /pub/private": "reports:read",
    },
}  # fmt: skip
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "rules": RULES,
    "protect": {"protect": ["/admin/*", "/reports/*", "/pub/private"]},
    "corsapp": {**RULES, "cors": "app"},
    "cors": {**RULES, "cors": Cors([ORIGIN])},
}
SETTINGS = {"request_quota": "1000000/1"}
PLACES = ("pub", "feed", "reports", "admin")
BODY, FIELDS = "of a view", {"X-View": "yes", "Access-Control-Allow-Origin": "*"}
FIRST, LAST = b"first\n", b"last\n"


def stream() -> Iterator[bytes]:
    """Yield the body of the view `stream`: the last piece is there once somebody has made the file."""
    yield FIRST
    end = time.monotonic() + 20
    while not Path(os.environ["TESTS_LAST_PIECE"]).exists() and time.monotonic() < end:
        time.sleep(0.01)
    yield LAST


async def later() -> AsyncIterator[bytes]:
    """Yield the same where an event loop runs, without holding it up."""
    pieces = stream()
    while (piece := await asyncio.to_thread(next, pieces, b"")) != b"":
        yield piece


class Witness(threading.local):
    """Knows what has run in this thread since `begin`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.router = False
        self.views: list[list[Any]] = []

    def view(self, name: str, method: str, path: str, environ: dict[str, Any]) -> None:
        principal = environ.get("patauth.principal")
        named = {
            key: value
            for key, value in environ.items()
            if key.removeprefix("HTTP_") in ("REMOTE_USER", "AUTH_TYPE") or key.startswith("HTTP_PATAUTH")
        }
        self.views.append([name, method, path, principal and principal.subject.id, named])


witness = Witness()


def routes(rest: str) -> Iterable[tuple[str, str]]:
    """Yield the names of views and their routes. `rest` is how a framework spells any rest of a path."""
    yield "root", "/"
    yield "feed", "/feed"
    yield "stream", "/stream"
    yield "private", "/pub/private"
    for place in PLACES:
        yield place, f"/{place}/{rest}"
    yield "any", f"/{rest}"


def plain_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    witness.view(view_at(path), environ["REQUEST_METHOD"], path, environ)
    fields = [("Content-Type", "text/plain"), *FIELDS.items()]
    if path == "/stream":
        start_response("200 OK", fields)
        return stream()
    start_response("200 OK", [*fields, ("Content-Length", str(len(BODY)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [BODY.encode()]


def view_at(path: str) -> str:
    """Return the name of the view at a path, where no framework looks for it."""
    exact = {route: name for name, route in routes("") if not route.endswith("/") or route == "/"}
    below = (name for name in PLACES if path.startswith(f"/{name}/"))
    return exact.get(path) or next(below, "any")


def flask_app() -> Any:
    from flask import Flask, request
    from werkzeug.routing import Rule

    app = Flask("routed", static_folder=None)

    def view(**_: str) -> Any:
        assert request.endpoint is not None
        witness.view(request.endpoint, request.method, request.path, request.environ)
        return (stream() if request.endpoint == "stream" else BODY), FIELDS

    for name, route in routes("<path:rest>"):
        app.url_map.add(Rule(route, endpoint=name))  # without methods, so all of them
        app.view_functions[name] = view
    return app


def django_app() -> App:
    from django.core.handlers.wsgi import WSGIHandler

    configure_django()
    return WSGIHandler()


def configure_django() -> None:
    import django
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import path

    def view_named(name: str) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, **_: str) -> HttpResponseBase:
            scope = getattr(request, "scope", None)
            seen = (name, request.method or "", request.path)
            caller = getattr(request, "principal", None) or request.META.get("patauth.principal")
            environ = {**request.META, "patauth.principal": caller}
            if scope is None:
                witness.view(*seen, environ)
            else:
                scope[RAN][1].append([*seen, caller and caller.subject.id, {}])
            if name == "stream":
                return StreamingHttpResponse(stream() if scope is None else later(), headers=FIELDS)
            return HttpResponse(BODY, headers=FIELDS)

        return view

    if settings.configured:
        return
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x" * 50,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ROOT_URLCONF=tuple(path(route[1:], view_named(name)) for name, route in routes("<path:rest>")),
        LOGGING_CONFIG=None,
    )
    django.setup()


def django_adapted(handler: Callable[[], Any], authority: Authority, given: dict[str, Any]) -> Any:
    """Make an app that patauth.django protects. Django reads its settings when it makes the handler."""
    configure_django()
    from django.test import override_settings

    middleware = ["django.middleware.common.CommonMiddleware", "patauth.django.PatAuthMiddleware"]
    named = {f"PATAUTH_{name.upper()}": value for name, value in given.items()}
    with override_settings(MIDDLEWARE=middleware, PATAUTH_AUTHORITY=authority, **named):
        return handler()


def bottle_app() -> App:
    from bottle import Bottle, request, response

    app = Bottle()

    def view_named(name: str) -> Callable[..., str | Iterator[bytes]]:
        def view(**_: str) -> str | Iterator[bytes]:
            witness.view(name, request.method, request.path, request.environ)
            response.headers.update(FIELDS)
            return stream() if name == "stream" else BODY

        return view

    for name, route in routes("<rest:path>"):
        app.route(route, "ANY", view_named(name))
    return app


def falcon_app() -> App:
    import falcon

    app = falcon.App()

    def view_named(name: str) -> Callable[..., None]:
        def view(request: falcon.Request, response: falcon.Response, **_: str) -> None:
            witness.view(name, request.method, request.path, request.env)
            if name == "stream":
                response.stream = stream()
            else:
                response.text = BODY
            response.set_headers(FIELDS)

        return view

    for name, route in routes("{rest:path}"):
        if name == "any":
            app.add_sink(view_named(name), "/")
        else:
            view = staticmethod(view_named(name))
            app.add_route(route, type(name, (), {f"on_{m.lower()}": view for m in falcon.HTTP_METHODS})())
    return app


class Node:
    """Any resource below any other, for Pyramid's traversal."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __getitem__(self, name: str) -> Node:
        return Node(*self.names, name)

    def view(self, path: str) -> str:
        """Return the name of the view of this resource at the given path."""
        if path in ("/", "/pub/private"):
            return "root" if path == "/" else "private"
        first = self.names[0]
        return first if first in ("feed", "stream") or (first in PLACES and len(self.names) > 1) else "any"


def pyramid_app(*, traversal: bool = False) -> App:
    """Make an app of routes; with `traversal`, of resources, where empty and dot segments do not count."""
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response

    def answer(name: str) -> Response:
        response = Response(app_iter=stream()) if name == "stream" else Response(BODY)
        response.headers.update(FIELDS)
        return response

    def view_named(name: str) -> Callable[[Request], Response]:
        def view(request: Request) -> Response:
            witness.view(name, request.method, request.path_info, request.environ)
            return answer(name)

        return view

    def view_of_node(context: Node, request: Request) -> Response:
        slash = (
            "/" if request.path_info.endswith("/") and context.names else ""
        )  # where gates see a difference
        path = "/" + "/".join(context.names) + slash
        name = context.view(path)
        witness.view(name, request.method, path, request.environ)
        return answer(name)

    config = Configurator(root_factory=lambda _: Node())
    if traversal:
        config.add_view(view_of_node, context=Node)
    else:
        for name, route in routes("*rest"):
            key = name + route
            config.add_route(key, route)
            config.add_view(view_named(name), route_name=key)
    app: App = config.make_wsgi_app()
    return app


def forwarding_app(path_at_backend: Callable[[str], str | None]) -> App:
    """Make an app that makes a URL of its path, unquoted as it is, for a backend. The backend is in Flask."""
    app = flask_app()

    def forward(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        environ["PATH_INFO"] = unquote(path_at_backend(path) or "/").encode().decode("latin-1")
        return app.wsgi_app(environ, start_response)

    return forward


def witnessed(app: App) -> App:
    """Note that the application was called. Its own exceptions are a 500 of its own."""

    def inner(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        witness.router = True
        try:
            return app(environ, start_response)
        except Exception as error:
            start_response("500 The application failed", [("Content-Length", "0")])
            logging.getLogger("routed").info("%r", error)
            return []

    return inner


def files_app() -> App:
    """Werkzeug's SharedDataMiddleware over an app without routes."""
    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.shared_data import SharedDataMiddleware

    folder = Path(tempfile.mkdtemp())
    (folder / "secret.txt").write_text("a secret")
    return SharedDataMiddleware(NotFound(), {"/files": str(folder)})


def overridden_app() -> App:
    """A Flask app with a view for POST alone, and a method override inside of patauth."""
    from flask import Flask, request

    app = Flask("overridden", static_folder=None)

    @app.post("/purge")
    def purge() -> str:
        witness.view("purge", request.method, request.path, request.environ)
        return "purged"

    def override(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["REQUEST_METHOD"] = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", environ["REQUEST_METHOD"])
        return app.wsgi_app(environ, start_response)

    return override


ROUTERS: dict[str, Callable[[], App]] = {
    "plain": lambda: plain_app,
    "flask": flask_app,
    "django": django_app,
    "bottle": bottle_app,
    "falcon": falcon_app,
    "pyramid": pyramid_app,
    "traversal": lambda: pyramid_app(traversal=True),
    # It drops tabs and new lines, and takes a path for a URL if it looks like one.
    "urllib": lambda: forwarding_app(lambda path: urlsplit(urljoin("http://backend/", path)).path),
    # It removes dot segments. So does all that stands on it, as requests.
    "urllib3": lambda: forwarding_app(
        lambda path: parse_url(f"http://backend{'' if path.startswith('/') else '/'}{path}").path
    ),
}
EXTENSION = "flaskext"  # Flask again, by patauth.flask.PatAuth
ADAPTED = "djangoext"  # Django again, by patauth.django; of the configuration `cors` alone
RAN = "routed.ran"  # in the scope of ASGI: whether the router was called, and the views
OTHERS = {"files": files_app, "overridden": overridden_app}


def extended(given: dict[str, Any]) -> App:
    from patauth.flask import PatAuth

    app = flask_app()
    app.wsgi_app = witnessed(app.wsgi_app)
    app.config.update({f"PATAUTH_{name.upper()}": value for name, value in {**SETTINGS, **given}.items()})
    PatAuth(app)
    return app


def protected(
    middleware: Callable[..., Any],
    witnessed: Callable[[Any], Any],
    routers: Mapping[str, Callable[[], Any]],
    others: Mapping[str, Callable[[], Any]],
    handler: Callable[[], Any],
) -> dict[str, Any]:
    """Make all applications, each behind a middleware by each configuration, and Django behind its own.

    `handler` is what Django makes an application with, for WSGI or ASGI.
    """
    authority = Authority.from_env(hash_profile=PROFILES["testing"], **SETTINGS)
    inner = {name: witnessed(make()) for name, make in routers.items()}
    apps = {
        f"{configuration}.{name}": middleware(app, authority, **given)
        for configuration, given in CONFIGURATIONS.items()
        for name, app in inner.items()
    }
    apps[f"cors.{ADAPTED}"] = django_adapted(handler, authority, CONFIGURATIONS["cors"])
    rules = {"GET /purge": "reports:read", "POST /purge": "admin"}
    for name, make in others.items():
        apps[f"rules.{name}"] = middleware(witnessed(make()), authority, require=rules)
        apps[f"corsapp.{name}"] = middleware(witnessed(make()), authority, require=rules, cors="app")
    return apps


def create() -> App:
    """Make all of them. A server calls this once."""
    from django.core.handlers.wsgi import WSGIHandler

    apps = protected(PatAuthMiddleware, witnessed, ROUTERS, OTHERS, WSGIHandler)
    apps |= {f"{name}.{EXTENSION}": extended(given) for name, given in CONFIGURATIONS.items()}

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        witness.begin()
        started: list[Any] = []
        answer = apps[environ["HTTP_HOST"]](environ, lambda *given: started.append(given))
        pieces = iter(answer)
        first = next(pieces, b"")  # a router may run no sooner
        status, fields = started[-1][:2]
        start_response(status, [*fields, ("X-Ran", json.dumps([witness.router, witness.views]))])
        return ClosingIterator(chain([first] if first else [], pieces), getattr(answer, "close", None))

    return app
