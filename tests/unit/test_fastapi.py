"""Dependencies of FastAPI behind the ASGI middleware."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Security, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import WebSocketDenialResponse

import patauth
from patauth import Authority, ConfigurationError, InvalidScope, IssuedPat, PatAuthError
from patauth.asgi import PatAuthMiddleware
from patauth.fastapi import OptionalPrincipal, Principal, requires
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each

Reader = Annotated[patauth.Principal, Depends(requires("reports:read"))]
ADMIN = Depends(requires("reports:read", "admin"))


def application(*, handles_errors: bool = False) -> FastAPI:
    """The same routes as sync and as async endpoints, in a router and in an application that is mounted."""
    app, sub = FastAPI(), FastAPI()
    if handles_errors:

        @app.exception_handler(HTTPException)
        async def swallow(request: Request, problem: HTTPException) -> JSONResponse:
            return JSONResponse({"mine": True}, 200, {"X-Mine": "yes"})

    @app.get("/me")
    def me(principal: Principal) -> str:
        return principal.subject.id

    @app.get("/async/me")
    async def async_me(principal: Principal) -> str:
        return principal.subject.id

    @app.get("/reports")
    def reports(principal: Reader) -> str:
        return principal.subject.id

    @app.get("/async/reports")
    async def async_reports(principal: Reader) -> str:
        return principal.subject.id

    @app.get("/feed")
    async def feed(principal: OptionalPrincipal) -> str | None:
        return principal and principal.subject.id

    router = APIRouter(prefix="/admin", dependencies=[ADMIN])

    app.state.ran = []  # of the endpoints for which the callers lack a scope

    @router.get("/x")
    def admin() -> None:
        app.state.ran.append("admin")

    app.include_router(router)

    @sub.get("/reports")
    def of_sub(principal: Reader) -> str:
        return principal.subject.id

    @sub.get("/admin", dependencies=[ADMIN])
    def admin_of_sub() -> None:
        app.state.ran.append("admin of sub")

    app.mount("/sub", sub)

    @app.websocket("/ws")
    async def websocket(socket: WebSocket, principal: Reader) -> None:
        await socket.accept()
        await socket.send_text(principal.subject.id)
        await socket.close()

    @app.websocket("/admin/ws", dependencies=[ADMIN])
    async def admin_websocket(socket: WebSocket) -> None:
        app.state.ran.append("admin websocket")
        await socket.accept()

    return app


PUBLIC = ["/me", "/async/*", "/reports", "/feed", "/sub/*", "/admin/*", "/ws", "/openapi.json"]


@pytest.fixture
def issued(real: Authority) -> IssuedPat:
    return issue(real)


@pytest.fixture(params=["app", "handles"], ids=["plain", "with a handler of errors"])
def behind(request: pytest.FixtureRequest, real: Authority) -> tuple[TestClient, TestClient]:
    """Clients of the application: where all is protected, and where all is public."""
    clients = []
    for public in ([], PUBLIC):
        app = application(handles_errors=request.param == "handles")
        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)  # copies what it sends
        app.add_middleware(PatAuthMiddleware, authority=real, public=public, optional=["/feed"])
        clients.append(TestClient(app))
    return clients[0], clients[1]


async def passing(request: Request, go_on: Any) -> Any:
    return await go_on(request)


READABLE = ["/me", "/async/me", "/reports", "/async/reports", "/sub/reports"]


@each("path", READABLE)
def test_an_endpoint_gets_the_caller(behind: Any, issued: IssuedPat, path: str) -> None:
    answer = behind[0].get(path, headers={"Authorization": basic_of(issued)})
    assert (answer.status_code, answer.json()) == (200, "alice")
    assert "RateLimit" in answer.headers


@each("path", [*READABLE, "/admin/x", "/sub/admin"])
def test_a_refusal_by_a_dependency_is_that_of_the_gate(behind: Any, issued: IssuedPat, path: str) -> None:
    """On a public path it is 401: nobody is known there, whatever is sent. For a scope it is 403."""
    protected, public = behind
    gate = protected.get(path)
    for headers in ({}, {"Authorization": basic_of(issued)}, {"Authorization": "Basic %%"}):
        answer = public.get(path, headers=headers)
        assert (answer.status_code, answer.content) == (401, gate.content)
        assert answer.headers.multi_items() == gate.headers.multi_items()
    if "admin" in path:
        refused = protected.get(path, headers={"Authorization": bearer(issued.token)})
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
        assert 'scope="admin reports:read"' in refused.headers["WWW-Authenticate"]
        assert refused.headers["Cache-Control"] == "no-store"
        assert "RateLimit" in refused.headers
        assert "X-Mine" not in refused.headers
    assert [client.app.state.ran for client in behind] == [[], []]


def test_a_websocket_is_refused_before_it_is_accepted(behind: Any, issued: IssuedPat) -> None:
    protected, public = behind
    good = {"Authorization": bearer(issued.token)}
    with protected.websocket_connect("/ws", headers=good) as socket:
        assert socket.receive_text() == "alice"
    for client, path, headers, status in (
        (protected, "/ws", {}, 401), (public, "/ws", good, 401), (protected, "/admin/ws", good, 403)
    ):  # fmt: skip
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect(path, headers=headers),
        ):
            pass
        assert refused.value.status_code == status
        assert "WWW-Authenticate" in refused.value.headers
    assert protected.app.state.ran == []


def test_a_refusal_is_an_event_and_on_refusal_words_it(
    real: Authority, issued: IssuedPat, events: Any
) -> None:
    asked: list[tuple[str, int]] = []

    def on_refusal(environ: dict[str, Any], error: PatAuthError) -> tuple[str, str]:
        asked.append((environ["PATH_INFO"], error.status))
        assert "HTTP_COOKIE" not in environ
        return "<h1>No</h1>", "text/html"

    app = application()
    app.add_middleware(PatAuthMiddleware, authority=real, on_refusal=on_refusal)
    headers = {"Authorization": bearer(issued.token), "Cookie": "a=b", "X-Request-Id": "r-1"}
    answer = TestClient(app).get("/admin/x", headers=headers)
    assert (answer.status_code, answer.text, asked) == (403, "<h1>No</h1>", [("/admin/x", 403)])
    (refused,) = [event for event in events() if event["type"] == "scope.refused"]
    assert (refused["requestId"], refused["scope"]) == ("r-1", ["admin", "reports:read"])


def test_who_catches_the_refusal_serves_nothing(real: Authority, issued: IssuedPat) -> None:
    app = FastAPI()

    @app.get("/x")
    async def caught(request: Request) -> str:
        try:
            await requires("admin")(request, more=SecurityScopes())
        except HTTPException:
            return "served"
        return "never"

    app.add_middleware(PatAuthMiddleware, authority=real)
    answer = TestClient(app).get("/x", headers={"Authorization": bearer(issued.token)})
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


@each("sent, status, who", [
    ("none", 200, None), ("good", 200, "alice"), ("bad", 401, None), ("expired", 401, None),
    ("limited", 429, None),
])  # fmt: skip
def test_optional_paths_take_nobody_or_somebody_who_is_known(
    make_at: Make, sent: str, status: int, who: str | None
) -> None:
    clock = Clock()
    authority = make_at(clock=clock)
    issued = issue(authority, sent, **({"request_quota": "1/60"} if sent == "limited" else {}))
    app = application()
    app.add_middleware(PatAuthMiddleware, authority=authority, optional=["/feed"])
    client = TestClient(app)
    value = basic(issued.pat.id, wrong_secret(authority)) if sent == "bad" else bearer(issued.token)
    headers = {} if sent == "none" else {"Authorization": value}
    if sent == "limited":
        assert client.get("/feed", headers=headers).status_code == 200
    if sent == "expired":
        clock.advance(31 * 86_400_000)
    answer = client.get("/feed", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == who


def test_the_openapi_document_says_how_to_authenticate(behind: Any) -> None:
    document = behind[1].get("/openapi.json").json()
    validate(document)
    schemes = document["components"]["securitySchemes"]
    assert {name: (one["type"], one["scheme"]) for name, one in schemes.items()} == {
        "PatAuthBearer": ("http", "bearer"), "PatAuthBasic": ("http", "basic")
    }  # fmt: skip
    for path in ("/me", "/reports", "/async/reports", "/feed", "/admin/x"):
        operation = document["paths"][path]["get"]
        assert sorted(name for one in operation["security"] for name in one) == sorted(schemes)
        assert "parameters" not in operation


def test_without_the_middleware_it_says_what_to_add(real: Authority) -> None:
    client = TestClient(application())
    for path in ("/me", "/reports", "/feed", "/admin/x"):
        with pytest.raises(RuntimeError, match=r"app\.add_middleware\(patauth\.asgi\.PatAuthMiddleware"):
            client.get(path)


# -- slips ---------------------------------------------------------------------------------------------------

FORMS: dict[str, Any] = {
    "Depends": Annotated[patauth.Principal, Depends(requires("admin"))],
    "no Depends": Annotated[patauth.Principal, requires("admin")],
    "Security": Annotated[patauth.Principal, Security(requires(), scopes=["admin"])],
    "Security with scopes of both": Annotated[patauth.Principal, Security(requires("admin"), scopes=["b"])],
}
DEFAULTS: dict[str, Any] = {
    "a default": requires("admin"),
    "a default with Depends": Depends(requires("admin")),
    "a default with Security": Security(requires("reports:read"), scopes=["admin"]),
}


@pytest.fixture
def held(real: Authority) -> dict[int, str]:
    """The Authorization of a caller without "admin", and of one who holds it, by the status that they get."""
    scopes = {403: ["reports:read", "b"], 200: ["reports:read", "b", "admin"]}
    return {status: bearer(issue(real, str(status), scope=scope).token) for status, scope in scopes.items()}


@each("form", [*FORMS, *DEFAULTS, "dependencies", "router", "app"])
def test_a_scope_is_demanded_in_whatever_form_it_is_written(
    real: Authority, held: dict[int, str], form: str
) -> None:
    demand = [requires("admin")]
    app = FastAPI(dependencies=demand if form == "app" else None)
    router = APIRouter(dependencies=demand if form == "router" else None)

    def view(principal: Any = None) -> str:
        return "alice" if principal is None else principal.subject.id

    view.__annotations__ = {"principal": FORMS[form]} if form in FORMS else {}
    view.__defaults__ = None if form in FORMS else (DEFAULTS.get(form),)
    router.add_api_route("/x", view, dependencies=demand if form == "dependencies" else None)
    app.include_router(router)
    app.add_middleware(PatAuthMiddleware, authority=real, optional=["/x"])
    client = TestClient(app)
    for status, authorization in held.items():
        answer = client.get("/x", headers={"Authorization": authorization})
        assert (answer.status_code, answer.json() == "alice") == (status, status == 200)
    assert client.get("/x").status_code == 401


def test_what_is_written_wrongly_is_refused_where_it_is_written() -> None:
    app = FastAPI()

    def view() -> None: ...

    for decorated in (lambda: app.get("/x")(requires("a")(view)), lambda: requires("a")(app.get("/x")(view))):
        with pytest.raises(TypeError, match=r"no decorator; write @app\.get\(\"/\", dependencies="):
            decorated()
    with pytest.raises(InvalidScope, match="scope 1 is a function; give a decorator its scopes in parenth"):
        requires(view)  # type: ignore[arg-type]
    with pytest.raises(InvalidScope):
        requires("two words")
    with pytest.raises(Exception):  # noqa: B017 - FastAPI's own
        app.get("/x", dependencies=[requires])(view)  # type: ignore[list-item]


def test_a_dependency_that_is_not_awaited_is_an_error() -> None:
    """So a FastAPI that took it for a synchronous one would serve nobody."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        requires("a")(HTTPConnection({"type": "http"}))


@each("type_", [patauth.Principal, patauth.Principal | None, list[patauth.Principal], patauth.Person])
def test_no_caller_is_read_from_a_request(type_: Any) -> None:
    """FastAPI would make one of the body, with whatever owner and scopes a client sends."""

    def view(principal: Any) -> None: ...

    view.__annotations__ = {"principal": type_}
    with pytest.raises(TypeError, match=r"write patauth\.fastapi\.Principal as the type"):
        FastAPI().post("/x")(view)


def test_no_caller_is_made_of_parameters() -> None:
    """A class may be a dependency: FastAPI would call it with what a client sends."""
    for depends in (Depends(), Depends(patauth.Principal)):

        def view(principal: Any) -> None: ...

        view.__annotations__ = {"principal": Annotated[patauth.Principal, depends]}
        with pytest.raises(TypeError, match=r"write patauth\.fastapi\.Principal as the type"):
            FastAPI().post("/x")(view)


def test_around_an_app_with_a_root_path_of_its_own_the_middleware_is_refused(real: Authority) -> None:
    """Rules would be about other paths than the app routes. Inside of it they are about the same."""
    app = FastAPI()
    app.root_path = "/api"  # as an argument it is deprecated
    with pytest.raises(ConfigurationError, match="add_middleware"):
        PatAuthMiddleware(app, real)
    app.add_middleware(PatAuthMiddleware, authority=real, protect=["/admin*"])
    app.get("/admin")(lambda: "never")
    with TestClient(app) as client:
        for path in ("/admin", "/api/admin"):
            assert client.get(path).status_code == 401, path
