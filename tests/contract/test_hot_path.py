"""What a request costs, in counts: round trips by the server's own word, function calls by the interpreter's.

Times are measured by `python -m tests.benchmarks`, and never asserted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from patauth import Authority, PatAuthMiddleware
from tests.support.authorities import Make, basic_of, issue
from tests.support.servers import ALONE, Server
from tests.support.signing import JWT_MODE


class Cost(NamedTuple):
    """What an authenticated request costs. Change a number only with a reason."""

    calls: int  # of functions written in Python
    conditional_calls: int  # of a PAT with CONDITIONS
    command: int  # bytes at most, with a key_prefix of 16 characters


COSTS = {
    "access token": Cost(16, 30, 307),
    "PAT token": Cost(20, 30, 247),
    "basic": Cost(20, 30, 247),
    "jwt": Cost(19, 30, 307),
}
# Calls more of a PAT with CONDITIONS: from Python 3.13, `dataclasses.replace` is two functions.
TO_REPLACE = 2 if sys.version_info >= (3, 13) else 0
ANSWER = 60  # bytes at most; one with a record has over 300
TO_FIND_THE_SERVER = 10  # calls more at most, in a cluster or behind Sentinels
REQUESTS = 20  # of which the server counts the commands and bytes
ADDRESS = "203.0.113.9"
CONDITIONS: dict[str, Any] = {"request_quota": "999999/10", "networks": ["203.0.113.0/24"]}


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def environ_of(authorization: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/reports/1", "QUERY_STRING": "",
        "REMOTE_ADDR": ADDRESS, "SERVER_NAME": "a.example", "SERVER_PORT": "80",
        "HTTP_AUTHORIZATION": authorization, "HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "curl/8",
    }  # fmt: skip


class Given(NamedTuple):
    """A protected app with all features on, and a credential for it."""

    authority: Authority
    pat_id: str
    app: Any
    authorization: str

    def ask(self) -> None:
        statuses: list[str] = []

        def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
            statuses.append(status)
            assert {"RateLimit", "RateLimit-Policy"} <= {name for name, _ in fields}

        assert list(self.app(environ_of(self.authorization), start_response)) == [b"ok"]
        assert statuses == ["200 OK"]


Giving = Callable[..., Given]


@pytest.fixture
def given(make_at: Make, keys: Path) -> Giving:
    """Makes one by the way of presenting the credential, of a PAT without conditions or with CONDITIONS."""

    def make(way: str, *, conditional: bool = False) -> Given:
        signs = {**JWT_MODE, "keys": str(keys)} if way == "jwt" else {}
        authority = make_at(request_quota="1000000/10", **signs)
        conditions = {**CONDITIONS, "not_before": datetime.now(UTC)} if conditional else {}
        issued = issue(authority, **conditions)
        values = {"basic": basic_of(issued), "PAT token": f"Bearer {issued.token}"}
        if way not in values:
            access = authority.exchange(issued.pat.id, issued.secret, address=ADDRESS)
            values[way] = f"Bearer {access.value}"
        wrapped = PatAuthMiddleware(app, authority, require={"GET /reports/*": "reports:read"})
        return Given(authority, issued.pat.id, wrapped, values[way])

    return make


def commands_of(server: Server, call: Callable[[], object]) -> dict[str, int]:
    """By name, how often the server ran each command of REQUESTS calls: those that it ran for each one."""
    before = server.calls()
    for _ in range(REQUESTS):
        call()
    after = server.calls()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    return {name: count for name, count in grown.items() if count >= REQUESTS}


def traffic_of(server: Server, call: Callable[[], object]) -> tuple[float, float]:
    """The bytes that the server reads and sends for each of REQUESTS calls."""
    with server.client() as client:

        def totals() -> list[int]:
            stats: dict[str, Any] = client.info("stats")
            return [stats["total_net_input_bytes"], stats["total_net_output_bytes"]]

        start, without = totals(), totals()  # what asking for the totals takes
        for _ in range(REQUESTS):
            call()
        end = totals()
    sent, received = (
        (last - middle - (middle - first)) / REQUESTS
        for first, middle, last in zip(start, without, end, strict=True)
    )
    return sent, received


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("way", COSTS)
def test_an_authenticated_request_is_one_round_trip_and_so_many_calls_in_python(
    given: Giving, server: Server, way: str, conditional: bool
) -> None:
    """Scope rule, expiry, revocation, owner state, quota and its fields included; the proof is cached."""
    world = given(way, conditional=conditional)
    for _ in range(3):
        world.ask()

    asked = commands_of(server, world.ask)
    assert asked == dict.fromkeys(["evalsha", "mget", "time", "set"], REQUESTS), (
        "one script, and what it calls"
    )
    if not ALONE:  # else servers talk to each other
        sent, received = traffic_of(server, world.ask)
        assert sent <= COSTS[way].command
        assert received <= ANSWER, "a record was sent that is known"

    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename != __file__:
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        world.ask()
    finally:
        sys.setprofile(None)
    cost = COSTS[way]
    more = sum(calls.values()) - (cost.conditional_calls + TO_REPLACE if conditional else cost.calls)
    assert 0 <= more <= (TO_FIND_THE_SERVER if ALONE else 0), calls.most_common()


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("way", COSTS)
def test_a_record_that_has_changed_comes_in_the_same_round_trip(
    given: Giving, server: Server, way: str, conditional: bool
) -> None:
    """Only one with conditions takes another round trip: it is judged, and the next request says so."""
    world = given(way, conditional=conditional)

    def round_trips() -> int:
        before = server.calls()["evalsha"]
        world.ask()
        return server.calls()["evalsha"] - before

    for _ in range(3):
        world.ask()
    world.authority.update(world.pat_id, description="another version")
    assert [round_trips(), round_trips()] == [2 if conditional else 1, 1]


def test_a_refusal_by_shape_is_no_round_trip(given: Giving, server: Server) -> None:
    """A mistyped token is known by its checksum."""
    _, _, wrapped, authorization = given("access token")
    wrong = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
    before = server.calls().get("evalsha", 0)
    answers: list[str] = []
    for _ in range(20):
        list(wrapped(environ_of(wrong), lambda status, *_: answers.append(status)))
    assert set(answers) == {"401 Unauthorized"}
    assert server.calls().get("evalsha", 0) == before
