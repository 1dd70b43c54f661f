"""Connections to an ASGI application in the loop of the test: one answer, or what a WebSocket was sent."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import Headers

Scope = dict[str, Any]
App = Callable[..., Awaitable[None]]


@dataclass
class Answer:
    """What an application has sent, all messages together."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The status; None: there was no answer, as for a WebSocket that was accepted or closed."""
        return next((message["status"] for message in self.messages if "status" in message), None)

    @property
    def fields(self) -> Headers:
        found = Headers()
        for message in self.messages:
            for name, value in message.get("headers", ()):
                found.add(name.decode("latin-1"), value.decode("latin-1"))
        return found

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]


class Echo:
    """An application that remembers the scopes it saw, and answers with who calls."""

    def __init__(self) -> None:
        self.seen: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        principal = scope["patauth.principal"]
        body = json.dumps({"who": principal and principal.subject.id, "path": scope["path"]}).encode()
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "headers": [(b"x-app", b"echo")]})
            await send({"type": "websocket.send", "text": body.decode()})
            await send({"type": "websocket.close", "code": 1000})
            return
        fields = [(b"content-type", b"application/json"), (b"x-app", b"echo")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def names(self) -> set[str]:
        """The names of the headers that reached it last."""
        return {name.decode("latin-1") for name, _ in self.seen[-1]["headers"]}


def scope_of(path: str = "/", authorization: str | None = None, **given: Any) -> Scope:
    """A scope as uvicorn makes it; `headers` as pairs of texts, `more` goes into it as it is."""
    headers = [*given.pop("headers", ())]
    if authorization is not None:
        headers.append(("authorization", authorization))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    kind = given.pop("type", "http")
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("203.0.113.9", 50_000),
        "scheme": "http" if kind == "http" else "ws",
        "root_path": "",
        "path": path,
        "query_string": b"",
        "headers": encoded,
    }
    if kind == "http":
        scope["method"] = "GET"
    else:
        scope["extensions"] = {"websocket.http.response": {}}
    return scope | given


async def ask(app: App, scope: Scope, body: Iterable[bytes] = (), *, goes_away: bool = False) -> Answer:
    """Send one request with these pieces of a body, or a handshake. A client that `goes_away` leaves then."""
    answer = Answer()
    messages: deque[dict[str, Any]] = deque()
    if scope["type"] == "websocket":
        messages.append({"type": "websocket.connect"})
    else:
        pieces = [*body] or [b""]
        messages += [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if not goes_away:
            messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.popleft()
        if goes_away or answer.messages:
            return {"type": f"{scope['type']}.disconnect"}
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: dict[str, Any]) -> None:
        answer.messages.append(message)

    await asyncio.wait_for(app(scope, receive, send), 30)
    return answer


def one(app: App, path: str = "/", authorization: str | None = None, **given: Any) -> Answer:
    """The answer to one request, in a loop of its own."""
    body, goes_away = given.pop("body", ()), given.pop("goes_away", False)
    return asyncio.run(ask(app, scope_of(path, authorization, **given), body, goes_away=goes_away))
