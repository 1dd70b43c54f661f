"""The ASGI middleware: the verdicts of the WSGI one, on the scopes of servers."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

import patauth
from patauth import Authority, ConfigurationError, Cors, IssuedPat, PatAuthError
from patauth.asgi import PatAuthMiddleware
from patauth.events.request import REQUEST
from patauth.wsgi import drain
from tests.support.asgi import Echo, ask, one, scope_of
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import Echo as WsgiEcho
from tests.support.wsgi import request

ORIGIN = "https://app.example"
RULES: dict[str, Any] = {
    "public": ["/healthz", "/static/*"],
    "optional": ["/feed"],
    "require": {"GET /reports/*": "reports:read", "POST /reports/*": ["reports:write"], "/admin": "admin"},
}
CASES = [
    *(("GET", path) for path in ("/", "/healthz", "/static/x", "/static/../admin", "/feed", "/reports/1")),
    *(("GET", path) for path in ("/admin", "/a//b", "/a\x01", "/oauth/jwks", "/healthz/", "/é")),
    *(("HEAD", path) for path in ("/reports/1", "/admin", "/feed")),
    *(("POST", "/reports/1"), ("DELETE", "/reports/1"), ("OPTIONS", "/reports/1")),
]


@pytest.fixture
def issued(real: Authority) -> IssuedPat:
    return issue(real)


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def gate(app: Echo, real: Authority) -> PatAuthMiddleware:
    return PatAuthMiddleware(app, real, **RULES)


@each("method, path", CASES)
def test_a_request_gets_the_answer_of_the_wsgi_middleware(
    real: Authority, issued: IssuedPat, method: str, path: str
) -> None:
    """Without, with good and with bad credentials: status, body, and the fields of patauth's own answers."""
    wsgi = PatAuthMiddleware(Echo(), real, **RULES), patauth.PatAuthMiddleware(WsgiEcho(), real, **RULES)
    for authorization in (None, basic_of(issued), bearer(issued.token), bearer("pat_x"), "Digest x"):
        ours = one(wsgi[0], path, authorization, method=method)
        raw_path = path.encode().decode("latin-1")
        theirs = request(
            wsgi[1], "/", method=method, raw_path=raw_path, environ={"HTTP_AUTHORIZATION": authorization}
            if authorization else {},
        )  # fmt: skip
        assert ours.status == theirs.status_code, authorization
        if ours.status != 200:
            assert ours.body == theirs.data
            kept = {"content-type", "www-authenticate", "cache-control", "pragma", "allow"}
            shown = sorted((name.lower(), value) for name, value in ours.fields if name in kept)
            assert shown == sorted(
                (name.lower(), value) for name, value in theirs.headers if name.lower() in kept
            )


def test_good_credentials_reach_the_application_as_a_principal_and_nothing_else(
    gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
) -> None:
    headers = [("X-Kept", "1"), ("remote-user", "eve"), ("PatAuth-Principal", "eve"), ("auth-type", "Basic")]
    folded = [("x_kept", "2"), ("remote_user", "eve"), ("patauth_scopes", "admin")]
    answer = one(gate, "/x", basic_of(issued), headers=[*headers, *folded])
    assert (answer.status, answer.json["who"], answer.fields["X-App"]) == (200, "alice", "echo")
    assert answer.fields["RateLimit"] == '"requests";r=99;t=1'
    assert app.seen[-1]["patauth.principal"].method == "basic"
    assert app.seen[-1]["patauth.auth_type"] == "Basic"
    assert app.names() == {"X-Kept"}


@each("type_", ["http", "websocket"])
def test_a_token_as_the_password_of_basic_is_told_from_a_bearer(
    gate: PatAuthMiddleware, app: Echo, issued: IssuedPat, type_: str
) -> None:
    """A browser sends Basic by itself, so an application checks what a session or Basic may change."""
    for value, carried in ((basic("x", issued.token), "Basic"), (bearer(issued.token), "Bearer"), ("", None)):
        one(gate, "/feed", value or None, type=type_)
        assert app.seen[-1]["patauth.auth_type"] == carried


def test_what_an_outer_layer_says_of_the_caller_is_not_believed(
    gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
) -> None:
    for path in ("/healthz", "/feed"):
        given = {"patauth.principal": "eve", "patauth.connection": "eve", "patauth.auth_type": "Bearer"}
        assert one(gate, path, **given).json["who"] is None
        assert app.seen[-1]["patauth.auth_type"] is None
        assert app.seen[-1]["patauth.connection"].principal is None


@each("type_", ["http", "websocket"])
def test_the_own_application_and_the_thread_know_the_request(
    real: Authority, issued: IssuedPat, events: Any, type_: str
) -> None:
    ids: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        current = REQUEST.get()
        assert current is not None
        ids.append(current.id)
        await Echo()(scope, receive, send)

    gate = PatAuthMiddleware(app, real, token_headers=["X-API-Key"])
    headers = [("X-Request-Id", "r-1"), ("x-api-key", issued.token)]
    one(gate, "/", type=type_, headers=headers)
    one(gate, "/", bearer(issued.token + "x"), type=type_, headers=headers[:1])
    assert ids == ["r-1"]
    refused = next(event for event in events() if event["type"] == "credentials.refused")
    assert (refused["requestId"], refused["address"]) == ("r-1", "203.0.113.9")
    assert REQUEST.get() is None


def test_two_carriers_are_400_and_header_names_may_have_any_case(real: Authority, issued: IssuedPat) -> None:
    gate = PatAuthMiddleware(Echo(), real, token_headers=["X-API-Key"])
    good = bearer(issued.token)
    for headers, status in (
        ([("Authorization", good)], 200),
        ([("AUTHORIZATION", good)], 200),
        ([("X-API-KEY", issued.token)], 200),
        ([("x_api_key", issued.token)], 401),
        ([("authorization", good), ("Authorization", good)], 400),
        ([("authorization", good), ("x-api-key", issued.token)], 400),
    ):
        assert one(gate, headers=headers).status == status, headers
    assert one(gate, headers=[("Authorization", good)], query_string=b"access_token=x").status == 400


def test_a_token_header_is_removed_and_authorization_stays_if_the_setting_says_so(make_at: Make) -> None:
    authority, app = make_at(keep_authorization=True), Echo()
    token = issue(authority).token
    gate = PatAuthMiddleware(app, authority, token_headers=["X-API-Key"])
    assert one(gate, headers=[("x-api-key", token)]).status == 200
    assert app.names() == set()
    assert one(gate, "/", bearer(token)).status == 200
    assert app.names() == {"authorization"}


@each("scheme, root_path, path, public", [
    ("in the path", "/app", "/app/pub", True),
    ("in the path", "/app", "/app/secret", False),
    ("not in the path", "/app", "/pub", True),
    ("not in the path", "/app", "/secret", False),
    ("the mount itself", "/app", "/app", False),
    ("only looks so", "/app", "/apppub", False),
    ("with a last slash", "/app/", "/app/pub", True),
    ("nothing", "", "/app/pub", True),
    ("nothing", "/", "/app/pub", True),
])  # fmt: skip
def test_patterns_name_paths_as_clients_see_them(
    real: Authority, scheme: str, root_path: str, path: str, public: bool
) -> None:
    """`root_path` is in `path` at uvicorn and in mounts of Starlette, and not at hypercorn."""
    gate = PatAuthMiddleware(Echo(), real, public=["/app/pub", "/apppub"])
    assert one(gate, path, root_path=root_path).status == (200 if public else 401)


@each(
    "path",
    ["/\udc80", "/pub\udcff", "/\ud800", "/pub\udc2f..", "pub", "", "*", "http://h/pub/../x", "//h/pub"],
)
def test_what_is_no_plain_path_is_nothing_public(real: Authority, path: str) -> None:
    gate = PatAuthMiddleware(Echo(), real, public=["/pub/*"])
    assert one(gate, path).status in (400, 401)


def test_a_peer_without_an_address_is_that_of_a_unix_socket(make_at: Make) -> None:
    authority = make_at(trusted_proxies=1, proxy_networks=["unix"])
    token = issue(authority, networks=["203.0.113.0/24"]).token
    gate = PatAuthMiddleware(Echo(), authority)
    for address, status in (("203.0.113.9", 200), ("198.51.100.1", 401)):
        headers = [("x-forwarded-for", f"192.0.2.1, {address}")]
        assert one(gate, "/", bearer(token), client=None, headers=headers).status == status


# -- own routes ----------------------------------------------------------------------------------------------


def exchange(issued: IssuedPat) -> bytes:
    form = {"client_id": issued.pat.id, "client_secret": issued.secret, "grant_type": "client_credentials"}
    return urlencode(form).encode()


FORM = [("content-type", "application/x-www-form-urlencoded")]


def test_an_own_route_reads_its_body_in_pieces(gate: PatAuthMiddleware, app: Echo, issued: IssuedPat) -> None:
    body = exchange(issued)
    for pieces in ([body], [body[:7], b"", body[7:]], [bytes([number]) for number in body]):
        answer = one(gate, "/oauth/token", method="POST", headers=FORM, body=pieces)
        assert (answer.status, answer.json["token_type"]) == (200, "Bearer")
    assert app.seen == []


def test_of_an_endless_body_no_more_is_read_than_shows_that_it_is_too_large(gate: PatAuthMiddleware) -> None:
    taken = 0

    def pieces() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 10_000

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(body), "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    body = pieces()
    asyncio.run(gate(scope_of("/oauth/token", method="POST", headers=FORM), receive, send))
    assert sent[0]["status"] == 413
    assert taken == 7  # 65 536 bytes


def test_a_refusal_after_a_whole_body_waits_for_no_more(gate: PatAuthMiddleware) -> None:
    messages = [{"type": "http.request", "body": b"grant_type=x", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop()  # an error where there is no more

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [*FORM, ("content-length", "12")]
    asyncio.run(gate(scope_of("/oauth/token", method="POST", headers=headers), receive, send))
    assert (sent[0]["status"], len(sent)) == (400, 2)


def test_a_client_that_leaves_before_its_body_ends_changes_nothing(
    gate: PatAuthMiddleware, real: Authority, issued: IssuedPat
) -> None:
    """Half of a form may be a whole one: here a revocation without its last parameter."""
    body = [urlencode({"token": issued.token}).encode()]
    given = {"method": "POST", "headers": [*FORM, ("authorization", basic_of(issued))], "body": body}
    assert one(gate, "/oauth/revoke", goes_away=True, **given).messages == []
    assert real.authenticate(basic_of(issued)).pat_id == issued.pat.id
    assert one(gate, "/oauth/revoke", **given).status == 200
    with pytest.raises(PatAuthError):
        real.authenticate(basic_of(issued))


def test_a_handshake_at_an_own_route_is_answered(gate: PatAuthMiddleware) -> None:
    assert one(gate, "/oauth/token", type="websocket").status == 405


# -- the application's answer --------------------------------------------------------------------------------


def test_a_body_streams_both_ways(real: Authority, issued: IssuedPat) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": more})

    answer = one(PatAuthMiddleware(app, real), "/", basic_of(issued), method="PUT", body=[b"a", b"b", b"c"])
    assert [message.get("body") for message in answer.messages] == [None, b"A", b"B", b"C"]


def test_a_refusal_of_head_has_the_fields_and_no_body(gate: PatAuthMiddleware) -> None:
    get, head = one(gate, "/x"), one(gate, "/x", method="HEAD")
    assert (get.status, head.status, head.body) == (401, 401, b"")
    assert list(head.fields) == list(get.fields)


def test_an_answer_to_a_pat_that_expires_soon_says_when(make_at: Make) -> None:
    clock = Clock()
    authority = make_at(clock=clock)
    token = issue(authority, expires_in=timedelta(days=1)).token
    gate = PatAuthMiddleware(Echo(), authority)
    for type_ in ("http", "websocket"):
        assert "PatAuth-Expires" in one(gate, "/", bearer(token), type=type_).fields


def test_what_needs_no_store_waits_for_nobody(gate: PatAuthMiddleware, app: Echo, issued: IssuedPat) -> None:
    """Public paths, and whatever comes without credentials."""
    assert one(gate, "/healthz", "Bearer wrong", headers=[("cookie", "a=b")]).status == 200
    assert app.names() == {"authorization", "cookie"}
    for path, status in (("/x", 401), ("/reports/1", 401), ("/static/../admin", 400), ("/feed", 200)):
        assert one(gate, path).status == status, path
    assert "_workers" not in vars(gate)
    one(gate, "/x", basic_of(issued))
    assert "_workers" in vars(gate)


@each("what, sent, feed, whole", [
    ("none", None, (200, None), 401),
    ("good", "good", (200, "alice"), 200),
    ("bad", "bad", (401, None), 401),
    ("expired", "expired", (401, None), 401),
    ("limited", "limited", (429, None), 429),
])  # fmt: skip
def test_optional_paths_take_nobody_or_somebody_who_is_known(
    make_at: Make, what: str, sent: str | None, feed: tuple[int, str | None], whole: int
) -> None:
    clock = Clock()
    authority = make_at(clock=clock)
    issued = issue(authority, what, **({"request_quota": "1/60"} if sent == "limited" else {}))
    value = {
        None: None, "good": bearer(issued.token), "bad": basic(issued.pat.id, wrong_secret(authority)),
        "expired": bearer(issued.token), "limited": basic_of(issued),
    }[sent]  # fmt: skip
    if sent == "expired":
        clock.advance(31 * 86_400_000)
    gate = PatAuthMiddleware(Echo(), authority, optional=["/feed"])
    if sent == "limited":
        assert one(gate, "/feed", value).status == 200
    for type_ in ("http", "websocket"):
        answer = one(gate, "/feed", value, type=type_)
        status, who = feed
        assert answer.status == (status if type_ == "http" or status != 200 else None)
        if status == 200:
            text = answer.body or answer.messages[1]["text"]
            assert json.loads(text)["who"] == who
    assert one(gate, "/x", value).status == whole


# -- CORS ----------------------------------------------------------------------------------------------------

PREFLIGHT = [("origin", ORIGIN), ("access-control-request-method", "PUT")]


def test_cors_answers_preflights_and_opens_answers(real: Authority, issued: IssuedPat) -> None:
    app = Echo()
    gate = PatAuthMiddleware(app, real, cors=Cors([ORIGIN]))
    preflight = one(gate, "/x", method="OPTIONS", headers=PREFLIGHT)
    assert (preflight.status, app.seen) == (204, [])
    for answer in (preflight, one(gate, "/x", headers=PREFLIGHT[:1]),
                   one(gate, "/x", basic_of(issued), headers=PREFLIGHT[:1])):  # fmt: skip
        assert answer.fields["Access-Control-Allow-Origin"] == ORIGIN
    assert one(PatAuthMiddleware(app, real), "/x", method="OPTIONS", headers=PREFLIGHT).status == 401


def test_an_application_that_answers_preflights_sees_and_says_nothing_else(real: Authority) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        assert (await receive())["body"] == b""
        fields = [(b"Access-Control-Allow-Origin", b"*"), (b"set-cookie", b"a=b"), (b"vary", b"Origin")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"data", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    gate = PatAuthMiddleware(app, real, cors="app", token_headers=["X-API-Key"])
    more = [("authorization", "Bearer x"), ("x-api-key", "x"), ("cookie", "a=b"),
            ("x-http-method-override", "PUT"), ("content-type", "text/plain")]  # fmt: skip
    answer = one(
        gate, "/x", method="OPTIONS", headers=[*PREFLIGHT, *more], query_string=b"a=b", body=[b"body"]
    )
    assert (answer.status, answer.body) == (204, b"")
    assert {name.lower() for name, _ in answer.fields} == {
        "access-control-allow-origin", "vary", "cache-control", "x-content-type-options"
    }  # fmt: skip
    assert {name for name, _ in seen[0]["headers"]} == {b"origin", b"access-control-request-method"}
    assert (seen[0]["query_string"], seen[0]["patauth.principal"]) == (b"", None)
    assert one(gate, "/x", headers=PREFLIGHT).status == 401


def test_a_preflight_starts_no_endless_answer(real: Authority) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
            sent += 1

    gate = PatAuthMiddleware(app, real, cors="app")
    with pytest.raises(OSError, match="preflight"):
        one(gate, "/x", method="OPTIONS", headers=PREFLIGHT)
    assert sent == 1


# -- WebSockets, and other connections -----------------------------------------------------------------------


def test_a_websocket_is_judged_as_get_and_refused_before_it_is_accepted(
    gate: PatAuthMiddleware, app: Echo, real: Authority, issued: IssuedPat
) -> None:
    accepted = one(gate, "/reports/live", bearer(issued.token), type="websocket")
    assert accepted.types == ["websocket.accept", "websocket.send", "websocket.close"]
    assert (accepted.fields["X-App"], accepted.fields["RateLimit"]) == ("echo", '"requests";r=99;t=1')
    app.seen.clear()
    for path, value in (
        ("/x", None),
        ("/x", "Bearer x"),
        ("/admin", bearer(issued.token)),
        ("/a/..%2f", None),
    ):
        http, refused = one(gate, path, value), one(gate, path, value, type="websocket")
        assert refused.types == ["websocket.http.response.start", "websocket.http.response.body"]
        assert (refused.status, refused.body) == (http.status, http.body)
        assert [name for name, _ in refused.fields] == [name for name, _ in http.fields]
        closed = one(gate, path, value, type="websocket", extensions=None)
        assert closed.messages == [{"type": "websocket.close", "code": 1008}]
    assert app.seen == []


@each("said, basic_status, bearer_status", [
    ([], None, None),  # no browser
    ([("origin", "http://api.example")], None, None),
    ([("origin", "http://api.example"), ("sec-fetch-site", "same-origin")], None, None),
    ([("origin", "https://evil.example")], 403, None),
    ([("origin", "null")], 403, None),
    ([("origin", "http://api.example"), ("sec-fetch-site", "same-site")], 403, None),
    ([("sec-fetch-site", "cross-site")], 403, None),
    ([("origin", ORIGIN), ("sec-fetch-site", "cross-site")], None, None),  # `cors` names it
])  # fmt: skip
def test_a_foreign_page_opens_no_websocket_by_a_saved_password(
    real: Authority, issued: IssuedPat, said: list[tuple[str, str]], basic_status: Any, bearer_status: Any
) -> None:
    gate = PatAuthMiddleware(Echo(), real, cors=Cors([ORIGIN]), public=["/pub"])
    headers = [("host", "api.example"), *said]
    for value, status in ((basic_of(issued), basic_status), (bearer(issued.token), bearer_status)):
        assert one(gate, "/x", value, type="websocket", headers=headers).status == status
        assert one(gate, "/x", value, headers=headers).status == 200, "what HTTP may is for CSRF to say"
        assert one(gate, "/pub", value, type="websocket", headers=headers).status is None


def test_any_origin_in_cors_opens_no_websocket_by_a_saved_password(
    real: Authority, issued: IssuedPat
) -> None:
    gate = PatAuthMiddleware(Echo(), real, cors=Cors(["*"]))
    headers = [("host", "api.example"), ("origin", ORIGIN)]
    refused = one(gate, "/x", basic_of(issued), type="websocket", headers=headers)
    assert (refused.status, refused.json["error"]) == (403, "access_denied")
    assert "RateLimit" not in refused.fields
    assert one(gate, "/x", basic_of(issued)).fields["RateLimit"] == '"requests";r=99;t=1'
    assert one(gate, "/x", bearer(issued.token), type="websocket", headers=headers).status is None


def test_lifespan_passes_and_what_is_unknown_is_refused(real: Authority) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    gate = PatAuthMiddleware(app, real)
    asyncio.run(gate({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'webtransport'"):
        asyncio.run(gate({"type": "webtransport"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


@each("wrong", [WsgiEcho(), WsgiEcho().__call__, lambda scope: None, "app"])
def test_what_is_no_asgi_application_is_told_the_middleware_that_is_meant(
    real: Authority, wrong: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"app: .* for WSGI there is patauth\.PatAuthMiddleware"):
        PatAuthMiddleware(wrong, real)


def test_callables_of_the_host_get_an_environ_in_a_thread(real: Authority, issued: IssuedPat) -> None:
    import threading

    asked: list[tuple[str, str, bool]] = []

    def note(name: str, environ: dict[str, Any]) -> None:
        main = threading.current_thread() is threading.main_thread()
        asked.append((name, environ["PATH_INFO"], main))

    def require(environ: dict[str, Any]) -> list[str]:
        note("require", environ)
        return ["admin"]

    def on_refusal(environ: dict[str, Any], error: PatAuthError) -> tuple[str, str]:
        note("on_refusal", environ)
        return "no", "text/plain"

    gate = PatAuthMiddleware(Echo(), real, require=require, on_refusal=on_refusal)
    answer = one(gate, "/x", basic_of(issued))
    assert (answer.status, answer.body) == (403, b"no")
    assert asked == [("require", "/x", False), ("on_refusal", "/x", False)]


def test_while_a_callable_of_the_host_runs_another_request_has_the_turn(make_at: Make) -> None:
    authority = make_at(max_connections=1)
    token = bearer(issue(authority).token)
    others: list[int | None] = []

    def require(environ: dict[str, Any]) -> list[str]:
        if environ["PATH_INFO"] == "/slow":
            others.append(one(gate, "/x", token).status)
        return []

    gate = PatAuthMiddleware(Echo(), authority, require=require)
    assert (one(gate, "/slow", token).status, others) == (200, [200])


def test_whose_turn_does_not_come_is_told_so_in_the_words_of_the_host(make_at: Make) -> None:
    """Pages of other origins can read it, and nothing that a client says of itself reaches `on_refusal`."""
    authority = make_at(max_connections=1, request_seconds=0.1)
    asked: list[dict[str, Any]] = []

    def on_refusal(environ: dict[str, Any], error: PatAuthError) -> tuple[str, str]:
        asked.append(environ)
        return str(error.status), "text/plain"

    gate = PatAuthMiddleware(Echo(), authority, cors=Cors([ORIGIN]), on_refusal=on_refusal)
    gate._workers._free = 0
    headers = [("origin", ORIGIN), ("remote-user", "eve"), ("cookie", "a=b")]
    answer = one(gate, "/x", "Bearer x", headers=headers)
    assert (answer.status, answer.body) == (503, b"503")
    assert (answer.fields["Access-Control-Allow-Origin"], answer.fields["Retry-After"]) == (ORIGIN, "1")
    assert asked[0].keys().isdisjoint({"HTTP_REMOTE_USER", "HTTP_COOKIE", "HTTP_AUTHORIZATION"})


def test_many_at_once_each_get_their_own(real: Authority) -> None:
    tokens = {
        f"owner-{number}": issue(real, owner=patauth.Owner(f"owner-{number}")).token for number in range(9)
    }
    gate = PatAuthMiddleware(Echo(), real)

    async def all_of_them() -> None:
        owners = [*tokens] * 20
        answers = await asyncio.gather(*(ask(gate, scope_of("/", bearer(tokens[owner]))) for owner in owners))
        told = [(answer.status, answer.json.get("who") or answer.json.get("message")) for answer in answers]
        limited = (429, " Rate Limit Exceeded ")
        assert all(found in ((200, owner), limited) for owner, found in zip(owners, told, strict=True))

    asyncio.run(all_of_them())


# -- refused uploads -----------------------------------------------------------------------------------------


def upload(gate: PatAuthMiddleware, pieces: int, *fields: tuple[str, str], stalls: bool = False) -> Any:
    """(messages of the answer, how many pieces of the body were read before its end)."""
    read, before_end = 0, 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        if stalls and read:
            return await asyncio.Event().wait()  # type: ignore[return-value]
        read += 1
        return {"type": "http.request", "body": bytes(2**20), "more_body": read < pieces}

    async def send(message: Any) -> None:
        nonlocal before_end
        sent.append(message)
        if not message.get("more_body", False):
            before_end = read

    headers = [("transfer-encoding", "chunked"), *fields]
    asyncio.run(gate(scope_of("/x", method="POST", headers=headers), receive, send))
    return sent, before_end


def test_the_rest_of_a_refused_upload_is_dropped_before_the_answer_ends(
    gate: PatAuthMiddleware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "SECONDS", 0.05)
    for pieces, fields, stalls, read in (
        (3, (), False, 3),
        (100, (), False, 16),  # MiB
        (3, (), True, 1),
        (3, (("expect", "100-continue"),), False, 0),
    ):
        sent, before_end = upload(gate, pieces, *fields, stalls=stalls)
        assert before_end == read
        assert sent[0]["status"] == 401
        assert sent[1]["body"] == b'{"error": "unauthorized"}'
