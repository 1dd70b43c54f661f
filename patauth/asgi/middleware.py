"""The middleware before an ASGI application. Its guard decides what it does (wsgi/guard.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from ..errors import ConfigurationError
from ..events.request import REQUEST, CurrentRequest
from ..wsgi import drain
from ..wsgi.answers import Answer, Fields
from ..wsgi.api.csrf import ForeignRequest, check_origin
from ..wsgi.bodies import MAX_FIELDS
from ..wsgi.cors import answer_of_app, bare_preflight
from ..wsgi.guard import Passed, takes
from .connection import CONNECTION, Connection
from .guard import AsyncGuard
from .scope import Headers, Scope, environ_of, kept

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# An application begins its answer with one of these. The last one refuses a WebSocket.
_BEGINNINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start", "websocket.close")


class PatAuthMiddleware(AsyncGuard[App]):
    """Passes connections with good credentials on to an ASGI application, and answers all others.

    The arguments are those of `patauth.PatAuthMiddleware`. Their callables get an environ, in a thread.

    The scope of the application has `patauth.principal`, the `Principal` of the caller, and
    `patauth.auth_type`, the scheme of the credentials: "Basic" or "Bearer". Both are None without a caller.
    The scope has no header with credentials, with `_` in its name, or with a claim about the caller. The
    rules read `path`, as applications do.

    A WebSocket obeys the rules for GET, and is refused before it is accepted. Browsers send a saved Basic
    password with a handshake that any page causes. So a handshake with Basic is 403 if its Origin is neither
    this site nor one that `cors` names.

    Raise `ConfigurationError` for an argument that cannot be used.
    """

    def _check_app(self, app: App) -> None:
        if not takes(app, 3):
            raise ConfigurationError(
                "app: this is no ASGI application; for WSGI there is patauth.PatAuthMiddleware, and for Flask"
                " patauth.flask.PatAuth"
            )
        # FastAPI adds it to the path only inside of itself, so the rules would be about other paths.
        if getattr(app, "root_path", ""):
            raise ConfigurationError(
                "app: it has a root_path of its own, so patauth must be inside of it: call"
                " app.add_middleware(patauth.asgi.PatAuthMiddleware, authority=authority), or give root_path"
                " to the server"
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a connection (ASGI 3). Raise `ValueError` for one that is neither HTTP nor WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"patauth knows no connections of the type {scope['type']!r}; it refuses them")
        environ = environ_of(scope)
        token = REQUEST.set(CurrentRequest(environ, self.site.client_address))
        is_read = False
        try:
            if scope["type"] == "http" and self._own_route(environ) is not None:
                body = await _body(receive)
                if body is None:
                    return  # the client has gone; do not pass on half a request
                is_read = len(body) <= MAX_FIELDS
                environ["wsgi.input"] = BytesIO(body)
                environ["wsgi.input_terminated"] = True
            decide = self._decide if scope["type"] == "http" else self._decide_handshake
            ruling = await self._ruling(environ, decide)
            if isinstance(ruling, Answer):
                if scope["type"] == "websocket":
                    await receive()  # the handshake, which comes first
                await _answer(
                    ruling, scope, send, receive if drain.is_upload(environ) and not is_read else None
                )
            elif ruling.is_preflight:
                await self._ask_app(scope, environ, receive, send)
            else:
                await self._pass_on(ruling, scope, environ, receive, send)
        finally:
            REQUEST.reset(token)

    def _decide_handshake(self, environ: dict[str, Any]) -> Answer | Passed:
        # Check this first: a request that another site causes must not use up a quota. `*` among the origins
        # does not count: it lets each page read what needs no saved password.
        is_basic = environ.get("HTTP_AUTHORIZATION", "")[:5].lower() == "basic"
        is_named = self._cors is not None and environ.get("HTTP_ORIGIN") in self._cors.origins
        if is_basic and not is_named:
            try:
                check_origin(environ, safe=True)
            except ForeignRequest as error:
                return self._refusal(error, environ)
        return self._decide(environ)

    async def _ask_app(self, scope: Scope, environ: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a preflight with only the CORS fields of the application."""
        has_read = has_body = False

        async def receive_nothing() -> Message:
            nonlocal has_read
            if not has_read:
                has_read = True
                return {"type": "http.request", "body": b"", "more_body": False}
            while (message := await receive())["type"] == "http.request":
                pass
            return message

        async def send_fields(message: Message) -> None:
            nonlocal has_body
            if message["type"] == "http.response.start":
                await _answer(answer_of_app(_decoded(message.get("headers", ()))), scope, send)
            elif has_body and message.get("body"):  # the rest may have no end
                raise OSError("nobody reads the body of an answer to a preflight")
            else:
                has_body = True

        seen = self._seen(scope, bare_preflight(environ), Connection(self.site, environ, None))
        await self.app({**seen, "query_string": b""}, receive_nothing, send_fields)

    async def _pass_on(
        self, passed: Passed, scope: Scope, environ: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        connection = Connection(self.site, environ, passed.principal)
        has_begun = is_refused = False

        async def send_with(message: Message) -> None:
            nonlocal has_begun, is_refused
            if not has_begun and message["type"] in _BEGINNINGS:
                has_begun = True
                is_refused = connection.refusal is not None
                if connection.refusal is not None:
                    await _answer(passed.refused(connection.refusal), scope, send)
                elif message["type"] != "websocket.close":
                    fields = passed.fields(_decoded(message.get("headers", ())))
                    message = {**message, "headers": _encoded(fields)}
            if not is_refused:
                await send(message)

        await self.app(self._seen(scope, environ, connection), receive, send_with)

    def _seen(self, scope: Scope, environ: dict[str, Any], connection: Connection) -> Scope:
        """Return the scope that the application sees. Its headers are those that are left in the environ."""
        return {
            **scope,
            "patauth.principal": connection.principal,
            "patauth.auth_type": environ.get("AUTH_TYPE"),
            CONNECTION: connection,
            "headers": kept(scope["headers"], environ),
        }


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request to patauth. Of one that is too long, return only enough to show that.

    Return None if the client has gone before its end.
    """
    body = bytearray()
    while len(body) <= MAX_FIELDS:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _answer(answer: Answer, scope: Scope, send: Send, rest: Receive | None = None) -> None:
    """Send an answer of patauth. A WebSocket gets it before it is accepted, if the server can do that.

    `rest` receives the unread part of the request. This throws it away before the answer ends, within the
    limits of `wsgi/drain.py`: a server may then close the connection, and unread data would reset it.
    """
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008})  # the server answers 403
            return
        kind = "websocket.http.response"
    body = b"" if scope.get("method") == "HEAD" else answer.body
    await send({"type": f"{kind}.start", "status": answer.status, "headers": _encoded(answer.fields)})
    if rest is not None:
        await send({"type": f"{kind}.body", "body": body, "more_body": True})
        body = b""
        with suppress(TimeoutError):
            await asyncio.wait_for(_drop(rest), drain.SECONDS)
    await send({"type": f"{kind}.body", "body": body})


async def _drop(rest: Receive) -> None:
    left = drain.MAX_BYTES
    while left > 0:
        message = await rest()
        if not message.get("more_body", False):
            break
        left -= len(message.get("body", b""))


def _encoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _decoded(headers: Headers) -> Fields:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
