"""Every framework on every server gives the same verdicts: a table, and one oracle for all of its cells.

Each server runs in processes of its own with all frameworks, and each request is a connection of its own.
What a server itself refuses is marked in tests/support/homes.py.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import NamedTuple

import pytest

from patauth import IssuedPat
from patauth.crypto.profiles import PROFILES
from patauth.model.credentials import Format, mint_secret
from tests.support.authorities import basic_of, issue, patient
from tests.support.homes import CASES, HOMES, MARKS, Case
from tests.support.routed_apps import ADAPTED, BODY, FIRST, LAST, ORIGIN
from tests.support.servers import Server
from tests.support.web_servers import ASGI_SERVERS, SERVERS, serving

UNKNOWN = Format().token_text("0" * 32, mint_secret())


class Home(NamedTuple):
    """A running server, and a PAT that its apps know."""

    server: str
    port: int
    pat: IssuedPat
    last_piece: Path  # whose making lets a stream go on

    def bytes(self, app: str, case: Case) -> bytes:
        carriers = {
            "bearer": f"Bearer {self.pat.token}",
            "basic": basic_of(self.pat),
            "bad": f"Bearer {UNKNOWN}",
        }
        lines = [
            f"{case.method} {case.target} HTTP/1.1", f"Host: cors.{app}", "Connection: close", *case.fields
        ]  # fmt: skip
        if case.carrier:
            lines.append(f"Authorization: {carriers[case.carrier]}")
        if case.body:
            lines.append(f"Content-Length: {case.body}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + bytes(case.body)


@pytest.fixture(scope="module", params=HOMES)
def home(
    request: pytest.FixtureRequest, servers: dict[str, Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    url, prefix = servers["valkey"].url, f"patauth:homes-{request.param.replace(' ', '-')}"
    with patient(url, key_prefix=prefix, hash_profile=PROFILES["testing"]) as authority:
        issued = issue(authority, scope=["reports:read"])
    log, last_piece = folder / "log", folder / "last-piece"
    settings = {"PATAUTH_STORE_URL": url, "PATAUTH_KEY_PREFIX": prefix, "TESTS_LAST_PIECE": str(last_piece)}
    module = "routed_asgi" if request.param in ASGI_SERVERS else "routed_apps"
    with serving(request.param, f"tests.support.{module}:create", log, **settings) as port:
        yield Home(request.param, port, issued, last_piece)
    assert "Traceback" not in log.read_text()


def test_every_framework_on_every_server_gives_the_same_verdicts(home: Home) -> None:
    found = {
        f"{framework}, {name}": trouble
        for framework, app in HOMES[home.server].items()
        for name in CASES
        if (trouble := judged(home, framework, app, name))
    }
    assert not found, "\n".join(
        [f"on {home.server}:", *(f"  {cell}: {text}" for cell, text in found.items())]
    )


# -- the oracle ----------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What an answer has to be, apart from its status. `challenges` and `error` are those of a refusal."""

    challenges: tuple[str, ...] = ()
    error: dict[str, str] | None = None
    ran: tuple[str, str | None] | None = None  # the caller's owner and how they came


BASIC = 'Basic realm="patauth", charset="UTF-8"'
NOT_VALID = "the credentials are not valid"
ODD = Verdict(
    error={
        "error": "invalid_request",
        "error_description": "the path can be read in more than one way; send it in its plain form",
    },
)
NOBODY = Verdict((BASIC, 'Bearer realm="patauth"'), {"error": "unauthorized"})
BY_BEARER = Verdict(ran=("alice", "Bearer"))
VERDICTS = {
    "good bearer": BY_BEARER,
    "Basic": Verdict(ran=("alice", "Basic")),
    "bad": Verdict(
        (BASIC, f'Bearer realm="patauth", error="invalid_token", error_description="{NOT_VALID}"'),
        {"error": "invalid_token", "error_description": NOT_VALID},
    ),
    "none": NOBODY,
    "dots": ODD,
    "escaped dots": ODD,
    "escaped slash": ODD,
    "backslash": ODD,
    "preflight": Verdict(),
    "refused upload": NOBODY,
    "stream": BY_BEARER,
    "HEAD": BY_BEARER,
    "refused HEAD": NOBODY,
}


def judged(home: Home, framework: str, app: str, name: str) -> str:
    """Return what is wrong with a cell of the table; empty: nothing."""
    case, verdict, mark = CASES[name], VERDICTS[name], MARKS.get((home.server, name))
    answer = streamed(home, app, case) if name == "stream" else asked(home, app, case)
    if isinstance(answer, str):
        return answer
    ran = verdict.ran
    if ran is not None and not (home.server in SERVERS and app != ADAPTED):
        ran = ran[0], None  # only an environ says how they came
    wanted: dict[str, object] = {
        "status": case.status,
        "ran": ran,
        "challenges": ", ".join(verdict.challenges),
    }
    got: dict[str, object] = {
        "status": answer.status,
        "ran": answer.ran,
        "challenges": ", ".join(answer.all("WWW-Authenticate")),  # one field, or several (RFC 9110 §5.3)
    }
    if case.method == "HEAD":
        like = asked(home, app, case._replace(method="GET"))
        wanted |= {"fields": like if isinstance(like, str) else like.lasting(), "body": b""}
        got |= {"fields": answer.lasting(), "body": answer.body}
    elif name == "preflight":
        wanted |= {"body": b"", "origin": (ORIGIN,)}
        got |= {"body": answer.body, "origin": answer.all("Access-Control-Allow-Origin")}
    elif verdict.error is not None:
        wanted |= {"error": verdict.error, "caches": ("no-store",), "type": ("application/json",)}
        got |= {
            "error": answer.json(),
            "caches": answer.all("Cache-Control"),
            "type": answer.all("Content-Type"),
        }
    elif name == "stream":
        wanted["body"], got["body"] = FIRST + LAST, answer.body
    else:
        wanted["body"], got["body"] = BODY.encode(), answer.body
    differs = [f"{part} {got[part]!r}" for part in wanted if got[part] != wanted[part]]
    if mark is not None and (not mark.frameworks or framework in mark.frameworks):
        allowed = ran if mark.status == case.status else None
        is_as_marked = differs and (answer.status, answer.ran) == (mark.status, allowed)
        return "" if is_as_marked else f"it is not as marked: {answer}"
    return ", ".join(differs)


class Answer(NamedTuple):
    """An answer, read to the end of its connection."""

    status: int
    fields: HTTPMessage
    body: bytes

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self.fields.get_all(name, ()))

    def lasting(self) -> set[tuple[str, str]]:
        """Return the fields that are those of the next answer, too."""
        passing = {"date", "ratelimit", "x-ran", "connection", "transfer-encoding"}
        return {(name, text) for name, text in self.fields.items() if name.lower() not in passing}

    def json(self) -> object:
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body

    @property
    def ran(self) -> tuple[str, str | None] | None:
        """The caller that a view has seen; None: no view ran."""
        _, views = json.loads(self.fields.get("X-Ran", "[false, []]"))
        for _, _, _, owner, named in views:
            return owner, named.get("AUTH_TYPE")
        return None


def asked(home: Home, app: str, case: Case) -> Answer | str:
    """Send all of a request before the answer is looked at, as simple clients do."""
    with socket.create_connection(("127.0.0.1", home.port), 20) as connection:
        try:
            with suppress(BrokenPipeError):
                connection.sendall(home.bytes(app, case))
            with HTTPResponse(connection, method=case.method) as response:
                response.begin()
                return Answer(response.status, response.headers, body_of(response, connection, case))
        except ConnectionResetError:
            return "a reset"


def body_of(response: HTTPResponse, connection: socket.socket, case: Case) -> bytes:
    """Read the body. What comes behind the fields for HEAD counts as one."""
    if case.method != "HEAD":
        return response.read()
    connection.settimeout(0.2)  # s: a server that sends a body has sent it by then, and others may wait
    with suppress(TimeoutError):
        return response.fp.peek()
    return b""


def streamed(home: Home, app: str, case: Case) -> Answer | str:
    """Let the last piece of a stream be made once the first one is here."""
    home.last_piece.unlink(missing_ok=True)
    with socket.create_connection(("127.0.0.1", home.port), 5) as connection:
        connection.sendall(home.bytes(app, case))
        with HTTPResponse(connection) as response:
            try:
                response.begin()
                body = response.read1()
            except TimeoutError:
                return "the first piece comes with the last"
            home.last_piece.touch()
            return Answer(response.status, response.headers, body + response.read())
