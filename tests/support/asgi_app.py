"""What uvicorn and hypercorn serve in tests of the ASGI middleware: FastAPI, watched from the outside.

`create()` makes it; the store is that of the environment, HASH_PROFILE names a profile. Outside of patauth:

    GET /figures      how long answers took and the loop was held up since it was last asked
    X-Give-Up: 0.01   the call of the application is cancelled after so many seconds, which is 504
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from time import monotonic
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from starlette.responses import JSONResponse

from patauth import Authority
from patauth.asgi import PatAuthMiddleware
from patauth.crypto.profiles import PROFILES
from patauth.fastapi import OptionalPrincipal, Principal

BEAT = 0.005  # s


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(principal: Principal) -> list[str]:
        return [principal.subject.id, principal.pat_id]

    @app.get("/sync/who")
    def sync_who(principal: Principal) -> list[str]:
        return [principal.subject.id, principal.pat_id]

    @app.get("/feed")
    async def feed(principal: OptionalPrincipal) -> str | None:
        return principal and principal.subject.id

    @app.post("/upload")
    async def upload(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    @app.get("/healthz")
    async def healthz() -> bool:
        return True

    @app.websocket("/ws")
    async def websocket(socket: WebSocket, principal: Principal) -> None:
        await socket.accept()
        await socket.send_text(f"{principal.subject.id} {await socket.receive_text()}")
        await socket.close()

    return app


class Watched:
    """Measures how long each answer of an application takes to begin, and how late a heartbeat comes."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.beat: asyncio.Task[None] | None = None
        self.forget()

    def forget(self) -> None:
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self.gaps: list[float] = []

    async def beating(self) -> None:
        while True:
            began = monotonic()
            await asyncio.sleep(BEAT)
            self.gaps.append(monotonic() - began - BEAT)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.beat is None:
            self.beat = asyncio.create_task(self.beating())
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/figures":
            figures = {
                "seconds": {status: sorted(found) for status, found in self.seconds.items()},
                "gaps": sorted(self.gaps)[-20:],
            }
            self.forget()
            return await JSONResponse(figures)(scope, receive, send)
        arrived = monotonic()

        async def send_timed(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.seconds[message["status"]].append(monotonic() - arrived)
            await send(message)

        give_up = dict(scope["headers"]).get(b"x-give-up")
        if give_up is None:
            return await self.app(scope, receive, send_timed)
        try:
            return await asyncio.wait_for(self.app(scope, receive, send_timed), float(give_up))
        except TimeoutError:
            return await JSONResponse(None, 504)(scope, receive, send)


def create() -> Watched:
    sys.setswitchinterval(float(os.environ.get("SWITCH_INTERVAL", "0.005")))
    profile = PROFILES[os.environ.get("HASH_PROFILE", "testing")]
    authority = Authority.from_env(hash_profile=profile, request_quota="1000000/1")
    gate = PatAuthMiddleware(
        fastapi_app(), authority, public=["/healthz"], optional=["/feed"], surfaces=["oauth"]
    )
    return Watched(gate)
