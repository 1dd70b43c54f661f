"""A FastAPI app behind patauth, with a WebSocket; needs `pip install '.[fastapi,local]'`.

    uvicorn --app-dir examples fastapi_app:app

The store is local:./patauth-data, or what PATAUTH_STORE_URL says. /docs shows what there is.
"""

import os
from typing import Annotated

from fastapi import APIRouter, FastAPI, WebSocket

from patauth import Authority
from patauth import Principal as Caller
from patauth.asgi import PatAuthMiddleware
from patauth.fastapi import OptionalPrincipal, Principal, requires

Reader = Annotated[Caller, requires("reports:read")]

router = APIRouter()


@router.get("/healthz")
async def healthz():
    return {"ok": True}


@router.get("/me")
async def me(principal: Principal):
    return {
        "owner": principal.subject.id,
        "method": principal.method,
        "scopes": sorted(principal.scopes),
    }


@router.get("/feed")
async def feed(principal: OptionalPrincipal):
    return {"for": None if principal is None else principal.subject.name}


@router.get("/reports")
def reports(principal: Reader):
    return {"reports": ["Q1", "Q2"], "for": principal.subject.name}


@router.post("/reports", status_code=201, dependencies=[requires("reports:write")])
def add_report(report: dict, principal: Principal):
    return {"added": report, "by": principal.subject.name}


@router.websocket("/reports/live")
async def live(socket: WebSocket, principal: Reader):
    await socket.accept()
    async for report in socket.iter_text():
        await socket.send_json({"seen": report, "for": principal.subject.name})


def create_app(authority=None):
    """Tests give an Authority; without one, the environment says what the store is."""
    app = FastAPI()
    app.include_router(router)
    store = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
    app.add_middleware(
        PatAuthMiddleware,
        authority=authority or Authority.from_env(store_url=store),
        public=["/healthz", "/docs", "/openapi.json"],
        optional=["/feed"],
    )
    return app


app = create_app()
