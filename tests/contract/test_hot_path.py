"""What a request costs, in counts: round trips by the server's own word, function calls by the interpreter's.

Times are measured by `python -m tests.benchmarks`, and never asserted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from patauth import Authority, PatAuthMiddleware
from patauth.jwt.key_files import SigningKeys
from tests.support.authorities import Make, basic_of, issue
from tests.support.servers import ALONE, Server
from tests.support.signing import JWT_MODE

# Of functions written in Python, in one authenticated request. Change a number only with a reason.
CALLS = {"access token": 31, "PAT token": 47, "basic": 47, "jwt": 37}
TO_FIND_THE_SERVER = 10  # more at most, in a cluster or behind Sentinels


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def environ_of(authorization: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/reports/1", "QUERY_STRING": "",
        "REMOTE_ADDR": "203.0.113.9", "SERVER_NAME": "a.example", "SERVER_PORT": "80",
        "HTTP_AUTHORIZATION": authorization, "HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "curl/8",
    }  # fmt: skip


@pytest.fixture
def given(make_at: Make, tmp_path: Path) -> Callable[[str], tuple[Any, str]]:
    """A protected app with all features on, and an Authorization value, by the way of presenting it."""

    def make(way: str) -> tuple[Any, str]:
        signs: dict[str, Any] = {}
        if way == "jwt":
            SigningKeys(tmp_path / "keys").rotate()
            signs = {**JWT_MODE, "keys": str(tmp_path / "keys")}
        authority: Authority = make_at(request_quota="1000000/10", **signs)
        issued = issue(authority)
        values = {"basic": basic_of(issued), "PAT token": f"Bearer {issued.token}"}
        if way not in values:
            values[way] = f"Bearer {authority.exchange(issued.pat.id, issued.secret).value}"
        wrapped = PatAuthMiddleware(app, authority, require={"GET /reports/*": "reports:read"})
        return wrapped, values[way]

    return make


def ask(wrapped: Any, authorization: str) -> None:
    statuses: list[str] = []

    def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
        statuses.append(status)
        assert {"RateLimit", "RateLimit-Policy"} <= {name for name, _ in fields}

    assert list(wrapped(environ_of(authorization), start_response)) == [b"ok"]
    assert statuses == ["200 OK"]


@pytest.mark.parametrize("way", CALLS)
def test_an_authenticated_request_is_one_round_trip_and_so_many_calls_in_python(
    given: Callable[[str], tuple[Any, str]], server: Server, way: str
) -> None:
    """Scope rule, expiry, revocation, owner state, quota and its fields included; the proof is cached."""
    wrapped, authorization = given(way)
    for _ in range(3):
        ask(wrapped, authorization)

    before = server.calls()
    for _ in range(20):
        ask(wrapped, authorization)
    after = server.calls()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    asked = {name: count for name, count in grown.items() if count >= 20}
    assert asked == {"evalsha": 20, "mget": 20, "time": 20, "set": 20}, "one script, with what it calls"

    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename != __file__:
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        ask(wrapped, authorization)
    finally:
        sys.setprofile(None)
    more = sum(calls.values()) - CALLS[way]
    assert 0 <= more <= (TO_FIND_THE_SERVER if ALONE else 0), calls.most_common()


def test_a_refusal_by_shape_is_no_round_trip(given: Callable[[str], tuple[Any, str]], server: Server) -> None:
    """A mistyped token is known by its checksum."""
    wrapped, authorization = given("access token")
    wrong = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
    before = server.calls().get("evalsha", 0)
    answers: list[str] = []
    for _ in range(20):
        list(wrapped(environ_of(wrong), lambda status, *_: answers.append(status)))
    assert set(answers) == {"401 Unauthorized"}
    assert server.calls().get("evalsha", 0) == before
