"""FastAPI behind patauth on real uvicorn: 1 000 requests at once, while the store is well, slow and gone."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from patauth import Authority, Owner
from patauth.crypto.profiles import PROFILES
from tests.support.authorities import basic_of, bearer, issue, patient
from tests.support.mixups import proxying
from tests.support.servers import Server, binaries, until
from tests.support.uploads import CLIENTS, all_refused, answers
from tests.support.web_servers import ASGI_SERVERS, UVICORN, serving

FACTORY = "tests.support.asgi_app:create"
AT_ONCE = 1000
SERVED = 0.5  # of them, where the store is well
# What docs/how-to/asgi.md says, in s. On a busy machine the process itself may stand still now and then.
HELD_UP, HELD_UP_ONCE = 0.25, 1.0
ANSWERED, ANSWERED_AT_LAST = (
    0.6,
    1.2,
)  # from the arrival in the middleware to a 503, or with a store that is well


class Caller(NamedTuple):
    owner: str
    pat_id: str
    authorization: str


def callers(authority: Authority, count: int, *, by_basic: bool = False) -> list[Caller]:
    found = []
    for number in range(count):
        issued = issue(authority, owner=Owner(f"owner-{number}"))
        value = basic_of(issued) if by_basic else bearer(issued.token)
        found.append(Caller(f"owner-{number}", issued.pat.id, value))
    return found


async def call(port: int, authorization: str, path: str = "/who", *fields: str, wait: float = 20) -> Any:
    """Return (status, decoded body). A client that does not `wait` long goes away, and returns None."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: h",
        "Connection: close",
        f"Authorization: {authorization}",
        *fields,
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        answer = await asyncio.wait_for(reader.read(), wait)
    except TimeoutError:
        return None
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def ask_all(port: int, who: Sequence[Caller], **given: Any) -> Counter[int]:
    """Send a request of each caller at once, check who each answer is for, and count the statuses."""

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(call(port, caller.authorization, **given) for caller in who))

    outcomes = asyncio.run(all_of_them())
    for caller, (status, body) in zip(who, outcomes, strict=True):
        if status == 200:
            assert body == [caller.owner, caller.pat_id]
    return Counter(status for status, _ in outcomes)


def figures(port: int) -> dict[str, Any]:
    return dict(asyncio.run(call(port, "", "/figures"))[1])


def told(what: str, statuses: Counter[int], found: dict[str, Any]) -> None:
    slowest = {status: round(seconds[-1], 3) for status, seconds in found["seconds"].items()}
    gaps = [round(gap, 3) for gap in found["gaps"][-5:]]
    print(f"\n{what}: {dict(statuses)}, slowest (s): {slowest}, the loop was held up (s): {gaps}")


def check(what: str, statuses: Counter[int], found: dict[str, Any]) -> None:
    told(what, statuses, found)
    assert set(statuses) <= {200, 503}
    late = [seconds for seconds in found["seconds"].get("503", ()) if seconds > ANSWERED]
    assert len(late) <= len(found["seconds"].get("503", ())) // 20, late
    assert max(late, default=0) <= ANSWERED_AT_LAST
    assert_loop_went_on(found)


def assert_loop_went_on(found: dict[str, Any]) -> None:
    assert sum(gap > HELD_UP for gap in found["gaps"]) <= 1, found["gaps"]
    assert max(found["gaps"]) <= HELD_UP_ONCE


@contextmanager
def served(folder: Path, url: str, server: str = "uvicorn", **settings: str) -> Iterator[int]:
    log = folder / "server.log"
    with serving(server, FACTORY, log, PATAUTH_STORE_URL=url, **settings) as port:
        yield port
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "never retrieved" not in text, text


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which may be stopped."""
    server = Server(binaries()["valkey"], tmp_path)
    yield server
    server.stop()


@contextmanager
def made(url: str, **given: Any) -> Iterator[Authority]:
    with patient(
        url, **{"hash_profile": PROFILES["testing"], "max_pats_per_owner": 100, **given}
    ) as authority:
        yield authority


def well_within(seconds: float, ask: Callable[[], bool]) -> float:
    began = time.monotonic()
    until(ask, seconds)
    return time.monotonic() - began


def test_1000_requests_at_a_time_while_the_store_is_well_slow_stopped_and_killed(
    tmp_path: Path, own: Server
) -> None:
    with made(own.url) as authority:
        who = callers(authority, 100) * (AT_ONCE // 100)
    with proxying(tmp_path, own) as proxy, served(tmp_path, proxy.url) as port:

        def is_well() -> bool:
            return ask_all(port, who[:1])[200] == 1

        until(lambda: ask_all(port, who[:100]) == {200: 100})  # connections and threads start
        for what in ("healthy", "slow", "stopped", "killed"):
            figures(port)
            if what == "slow":
                proxy.say("slow")
            elif what == "stopped":
                own.freeze()
            elif what == "killed":
                own.kill()
            statuses = ask_all(port, who)
            found = figures(port)
            check(what, statuses, found)
            proxy.say("calm")
            if what == "healthy":
                assert statuses[200] >= AT_ONCE * SERVED
                assert found["seconds"]["200"][-1] <= ANSWERED_AT_LAST
            elif what == "slow":
                assert statuses[200] > 100
                assert statuses[503] > 100
            else:
                assert statuses == {503: AT_ONCE}
                own.thaw() if what == "stopped" else own.start()
            print(f"well again after {well_within(2.0, is_well):.2f} s")
        assert ask_all(port, who)[200] >= AT_ONCE * SERVED


def test_no_answer_is_for_another_caller_whoever_gives_up(tmp_path: Path, own: Server) -> None:
    """Clients go away, and calls of the application are cancelled, while replies come late, cut or not."""
    with made(own.url) as authority:
        who = callers(authority, 50)
    chance = random.Random(1)

    async def one(port: int, caller: Caller) -> str:
        way = chance.choice(("waits", "goes away", "is cancelled"))
        seconds = chance.uniform(0.0005, 0.03)
        path = chance.choice(("/who", "/sync/who"))
        if way == "waits":
            found = await call(port, caller.authorization, path)
        elif way == "goes away":
            found = await call(port, caller.authorization, path, wait=seconds)
        else:
            found = await call(port, caller.authorization, path, f"X-Give-Up: {seconds:.4f}")
        if found is None:
            return "gone"
        assert found[0] in (200, 503, 504), found
        assert found[0] != 200 or found[1] == [caller.owner, caller.pat_id], (caller, found)
        return f"{way} {found[0]}"

    async def storm(port: int) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            outcomes.update(await asyncio.gather(*(one(port, chance.choice(who)) for _ in range(100))))
        return outcomes

    few = {"PATAUTH_MAX_CONNECTIONS": "8"}
    with proxying(tmp_path, own) as proxy, served(tmp_path, proxy.url, **few) as port:
        assert ask_all(port, who) == {200: 50}
        proxy.say("storm")
        outcomes = asyncio.run(storm(port))
        troubles = proxy.say("calm")
        print(f"\n{dict(outcomes)}, {troubles}")
        assert outcomes["waits 200"] > 100
        assert outcomes["is cancelled 504"] > 20
        assert outcomes["gone"] > 20
        assert troubles["late"] > 0
        until(lambda: ask_all(port, who) == {200: 50}, 5.0)


def test_first_uses_hold_up_neither_the_loop_nor_who_needs_no_hash(tmp_path: Path, own: Server) -> None:
    """64 hashes at full cost, with four turns: a request that waits for its hash has none."""
    full = {"hash_profile": PROFILES["owasp"]}
    with made(own.url, **full) as authority:
        every = callers(authority, 68, by_basic=True)
    fresh, warm = every[:64], every[64:]

    async def both(port: int) -> tuple[list[Any], list[Any], list[float]]:
        first_uses = [asyncio.create_task(call(port, one.authorization)) for one in fresh]
        await asyncio.sleep(0.05)
        others, seconds = [], []
        while not all(task.done() for task in first_uses):
            began = time.monotonic()
            others += await asyncio.gather(*(call(port, one.authorization) for one in warm))
            seconds.append(time.monotonic() - began)
        return [await task for task in first_uses], others, sorted(seconds)

    settings = {"HASH_PROFILE": "owasp", "PATAUTH_MAX_CONNECTIONS": "4", "PATAUTH_HASH_WAIT": "30"}
    with served(tmp_path, own.url, **settings) as port:
        assert ask_all(port, warm) == {200: 4}
        figures(port)
        first_uses, others, seconds = asyncio.run(both(port))
        found = figures(port)
        told("first uses", Counter(status for status, _ in first_uses + others), found)
        print(f"{len(seconds)} rounds of others meanwhile, at most {seconds[-1]:.3f} s")
        assert {status for status, _ in first_uses} == {200}
        assert {status for status, _ in others} == {200}
        assert len(seconds) >= 5
        assert seconds[len(seconds) // 2] < 0.25
        assert_loop_went_on(found)


# -- servers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ASGI_SERVERS)
def test_each_server_serves_optional_paths_and_websockets(server: str, tmp_path: Path, own: Server) -> None:
    """test_homes.py has its other verdicts. A WebSocket is refused before it is accepted."""
    with made(own.url) as authority:
        (alice,) = callers(authority, 1)
    with served(tmp_path, own.url, server) as port:
        for value, found in (("", (200, None)), (alice.authorization, (200, alice.owner))):
            assert asyncio.run(call(port, value, "/feed")) == found
        assert asyncio.run(call(port, "Bearer x", "/feed"))[0] == 401
        check_websockets(port, alice, knows_refusals=server != "gunicorn for ASGI")


def check_websockets(port: int, alice: Caller, *, knows_refusals: bool) -> None:
    """A server that does not know `websocket.http.response` answers each refusal with 403."""
    url = f"ws://127.0.0.1:{port}/ws"
    headers = {"Authorization": alice.authorization}
    with connect(url, additional_headers=headers) as socket:
        socket.send("hello")
        assert socket.recv() == f"{alice.owner} hello"
        assert socket.response is not None
        assert "RateLimit" in socket.response.headers
    for given in ({}, {"Authorization": "Bearer x"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=given)
        answer = refused.value.response
        assert answer.status_code == (401 if knows_refusals else 403)
        if knows_refusals:
            assert "Bearer" in str(answer.headers.get_all("WWW-Authenticate"))
            assert b'"error"' in (answer.body or b"")


@pytest.mark.parametrize("server", UVICORN)
def test_each_refused_upload_gets_its_answer(server: str, tmp_path: Path, own: Server) -> None:
    """3 MB without credentials."""
    with served(tmp_path, own.url, server) as port:
        assert {client.__name__: answers(client, port, "/upload") for client in CLIENTS} == all_refused()


def test_an_upload_with_credentials_streams_to_the_application(tmp_path: Path, own: Server) -> None:
    with made(own.url) as authority:
        (alice,) = callers(authority, 1)
    with served(tmp_path, own.url) as port:
        pieces = (bytes(50_000) for _ in range(60))
        url, headers = f"http://127.0.0.1:{port}/upload", {"Authorization": alice.authorization}
        assert requests.post(url, pieces, headers=headers, timeout=20).json() == 3_000_000


def test_gunicorn_forks_what_the_parent_has_made(tmp_path: Path, own: Server) -> None:
    """With `preload_app`, each child has threads and connections of its own."""
    with made(own.url) as authority:
        who = callers(authority, 20)
    with served(tmp_path, own.url, "gunicorn for ASGI") as port:
        assert ask_all(port, who * 10) == {200: 200}
