"""Routers of ASGI frameworks behind patauth, with the routes of tests/support/routed_apps.py.

`create()` makes one ASGI application of all. Hosts, answers and the field X-Ran are as there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from patauth.asgi import PatAuthMiddleware
from tests.support.hostile_requests import UNUSUAL, USUAL
from tests.support.routed_apps import BODY, FIELDS, RAN, later, protected, routes

App = Callable[..., Awaitable[None]]


async def view(request: Request, name: str) -> Response:
    """Note that a view has run, who it was told calls, and which headers name somebody."""
    principal = request.scope["patauth.principal"]
    headers = {key.upper().replace("-", "_"): value for key, value in request.headers.items()}
    named = {
        key: value
        for key, value in headers.items()
        if key in ("REMOTE_USER", "AUTH_TYPE") or key.startswith("PATAUTH")
    }
    path = request.scope["path"]
    request.scope[RAN][1].append([name, request.method, path, principal and principal.subject.id, named])
    if name == "stream":
        return StreamingResponse(later(), headers=FIELDS)
    return PlainTextResponse(BODY, headers=FIELDS)


class Endpoint:
    """A view of Starlette's for all methods, which is an application."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (await view(Request(scope), self.name))(scope, receive, send)


def starlette_app() -> App:
    return Starlette(routes=[Route(route, Endpoint(name)) for name, route in routes("{rest:path}")])


def fastapi_app() -> App:
    app = FastAPI(openapi_url=None)
    for name, route in routes("{rest:path}"):
        app.add_route(route, partial(view, name=name), methods=sorted({*USUAL, *UNUSUAL}))
    return app


def mounted_app() -> App:
    """An application whose views are in another one, below each of their places."""
    inner = {name: [] for name in ("pub", "feed", "reports", "admin")}  # type: dict[str, list[Route]]
    outer: list[Any] = []
    for name, route in routes("{rest:path}"):
        first = route.split("/")[1]
        if first in inner and route != f"/{first}":
            inner[first].append(Route(route.removeprefix(f"/{first}"), Endpoint(name)))
        else:
            outer.append(Route(route, Endpoint(name)))
    mounts = [Mount(f"/{name}", app=Starlette(routes=found)) for name, found in inner.items()]
    return Starlette(routes=[*(one for one in outer if one.path == "/"), *mounts, *outer])


def files_app() -> App:
    """Starlette's StaticFiles over an app without routes."""
    folder = Path(tempfile.mkdtemp())
    (folder / "secret.txt").write_text("a secret")
    return Starlette(routes=[Mount("/files", app=StaticFiles(directory=folder))])


def overridden_app() -> App:
    """An app with a view for POST alone, and a method override inside of patauth."""
    app = Starlette(routes=[Route("/purge", partial(view, name="purge"), methods=["POST"])])

    async def override(scope: Any, receive: Any, send: Any) -> None:
        method = Request(scope).headers.get("X-HTTP-Method-Override", scope["method"])
        await app({**scope, "method": method}, receive, send)

    return override


ROUTERS: dict[str, Callable[[], App]] = {
    "starlette": starlette_app, "fastapi": fastapi_app, "mounted": mounted_app
}  # fmt: skip
OTHERS = {"files": files_app, "overridden": overridden_app}


def witnessed(app: App) -> App:
    """Note that the application was called."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scope[RAN][0] = True
        await app(scope, receive, send)

    return inner


def create() -> App:
    """Make all of them. A server calls this once."""
    apps = protected(PatAuthMiddleware, witnessed, ROUTERS, OTHERS, ASGIHandler)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        ran: list[Any] = [False, []]

        async def send_with(message: Any) -> None:
            if message["type"] == "http.response.start":
                field = (b"x-ran", json.dumps(ran).encode())
                message = {**message, "headers": [*message.get("headers", ()), field]}
            await send(message)

        host = dict(scope["headers"])[b"host"].decode()
        await apps[host]({**scope, RAN: ran}, receive, send_with)

    return app
