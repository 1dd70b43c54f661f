"""Under gevent: few connections for many greenlets, no mix-ups, no deadlock; each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from patauth import Authority, Owner
from patauth.crypto.profiles import PROFILES
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import Make
from tests.support.callers import PROMISED, SETTINGS, Caller, gather
from tests.support.gunicorn import bearer
from tests.support.mixups import LIMIT, SECONDS, TIMEOUT, Proxy, proxying, waiting_at_once
from tests.support.paths import ROOT
from tests.support.servers import Server, binaries, until

GREENLETS = 2000
WAYS = ["pat", "basic"]  # each caller's first one today: more than one round trip


@pytest.fixture
def proxy(tmp_path: Path, server: Server) -> Iterator[Proxy]:
    with proxying(tmp_path, server) as running:
        yield running


class Program:
    """tests/support/gevent_user.py. That it answers at all says that nothing waits for itself."""

    def __init__(self, what: str, callers: list[Caller], **given: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.gevent_user", what],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._timer = threading.Timer(60 + given["seconds"], self._process.kill)
        self._timer.start()
        self.say(json.dumps({**given, "callers": [caller.as_json() for caller in callers]}))

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        print("\nunder gevent:", line)
        return json.loads(line)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._timer.cancel()


def numerous(authority: Authority) -> list[Caller]:
    """As many callers as there are greenlets, each of them with a PAT of their own, not used yet today."""
    callers = []
    for number in range(GREENLETS):
        issued = authority.create(owner=Owner(f"owner-{number}"), name="ci", scope=["a"], never_expires=True)
        callers.append(
            Caller(
                f"owner-{number}", issued.pat.id, issued.secret, issued.token, ["a"], [], deque(["unused"])
            )
        )
    return callers


def test_2000_greenlets_share_64_connections(make_at: Make, server: Server, prefix: str) -> None:
    """Not one each: those who come when all are in use wait for one, or are told to come back; each gets
    their own answer in the end."""
    authority = make_at(**SETTINGS)
    callers = numerous(authority)
    settings: dict[str, Any] = {}
    with Program(
        "crowd", callers, url=server.url, prefix=prefix, settings=settings, seconds=120, ways=WAYS
    ) as program:
        found = program.answer()
    assert found["wrong"] == []
    assert sum(found["statuses"].get(f"{way} 200", 0) for way in WAYS) == GREENLETS
    assert set(found["statuses"]) <= {f"{way} {status}" for way in WAYS for status in PROMISED}
    assert 32 <= found["open"] <= 64


def test_greenlets_get_their_own_replies_however_late_cut_or_stopped(
    make_at: Make, proxy: Proxy, prefix: str
) -> None:
    """gevent.Timeout ends a call at any wait in it; the reply that it waited for reaches nobody (F17)."""
    authority = make_at(**SETTINGS)
    callers = gather(authority, 24)
    proxy.say("storm")
    settings = {"max_connections": LIMIT, "command_timeout": TIMEOUT}
    with Program(
        "stopped", callers, url=proxy.url, prefix=prefix, settings=settings, seconds=SECONDS, greenlets=200
    ) as program:
        found = program.answer()
        print(proxy.say("calm"))
        program.say("go on")
        until(lambda: waiting_at_once(proxy, LIMIT) == LIMIT)  # none is lost, and there is none too many
        later = program.answer()
    assert found["wrong"] == later["wrong"] == []
    assert {what.split()[1] for what in found["statuses"]} <= {str(status) for status in PROMISED}
    assert sum(count for what, count in found["statuses"].items() if what.endswith(" 200")) > 20 * SECONDS
    assert found["stopped"] > 10 * SECONDS
    assert later["statuses"]["bearer 200"] > LIMIT
    assert later["open"] <= LIMIT


HASHING = """
from gevent import monkey; monkey.patch_all()
import gevent
from patauth.crypto import hashing
from patauth.crypto.profiles import PROFILES
hasher, turns = hashing.Hasher(PROFILES["owasp"], slots=2, queue=9, wait=30), 0
def others():
    global turns
    while True:
        gevent.sleep(0.001)
        turns += 1
def hash():
    return hasher.verify(b"secret", hasher.hash(b"secret", "owner"), "owner")
other = gevent.spawn(others)
right = [one.get() for one in [gevent.spawn(hash) for _ in range(4)]]
print(right == [True] * 4 and turns > 10)
"""


def test_a_hash_does_not_hold_up_the_other_greenlets() -> None:
    """Four of argon2's, some 20 ms each: others go on meanwhile."""
    assert run(HASHING) == ("True\n", "")


FAILING = """
from gevent import monkey; monkey.patch_all()
import gevent, argon2.low_level
from patauth import Overloaded
from patauth.crypto.hashing import Hasher
from patauth.crypto.profiles import PROFILES
def fail(*_, **__):
    raise argon2.exceptions.HashingError("no memory")
argon2.low_level.hash_secret_raw = fail
try:
    Hasher(PROFILES["owasp"], slots=2, queue=9, wait=1).hash(b"THE-SECRET-BYTES", "owner")
except Overloaded as refused:
    print("refused", repr(refused))
"""

GIVING_UP = """
from gevent import monkey; monkey.patch_all()
import gevent, threading, time, argon2.low_level
from patauth import Overloaded
from patauth.crypto import hashing
from patauth.crypto.profiles import PROFILES
running, most, lock = 0, 0, monkey.get_original("threading", "Lock")()
def slow(*_, **__):
    global running, most
    with lock:
        running += 1; most = max(most, running)
    monkey.get_original("time", "sleep")(0.2)
    with lock:
        running -= 1
    return bytes(32)
argon2.low_level.hash_secret_raw = slow
hasher = hashing.Hasher(PROFILES["owasp"], slots=1, queue=99, wait=0.05)
def client():
    with gevent.Timeout(0.002, False):
        try:
            hasher.hash(b"secret", "owner")
        except Overloaded:
            pass
gevent.joinall([gevent.spawn(client) for _ in range(20)])
held = hasher._slots.held
gevent.sleep(0.5)
print(most, held, hasher._slots.held, hasher.hash(b"secret", "owner") is not None)
"""


def run(program: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


def test_a_hash_that_fails_shows_nothing_of_the_secret() -> None:
    """gevent prints what fails in its pool, with what it was given (REQUIREMENTS S1)."""
    out, err = run(FAILING)
    assert out.startswith("refused")
    assert "SECRET" not in out + err


def test_who_gives_up_leaves_the_slot_to_the_hash_that_goes_on() -> None:
    """20 clients that wait for 2 ms buy one hash at a time, and the slot comes back when it is done (F13)."""
    assert run(GIVING_UP) == ("1 1 0 True\n", "")


class Gunicorn:
    """tests/support/gevent_app.py, preloaded, in two workers of the class gevent."""

    def __init__(self, folder: Path, url: str, prefix: str, first: Caller) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "gunicorn.log"
        command = [
            sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "2", "--preload",
            "--graceful-timeout", "2", "--bind", f"127.0.0.1:{port}", "--no-control-socket",
            "tests.support.gevent_app:app",
        ]  # fmt: skip
        environ = {
            **os.environ,
            "PATAUTH_STORE_URL": url,
            "PATAUTH_KEY_PREFIX": prefix,
            "FIRST_CALLER": f"Bearer {first.token}",
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log)
        until(lambda: "Booting worker" in self.log.read_text(), 30)

    def asked_by(self, caller: Caller) -> str:
        """What one who calls is answered, in a word."""
        try:
            answer = requests.get(f"{self.url}/who", headers=bearer(caller.access[0]), timeout=3)
        except requests.RequestException as problem:
            return type(problem).__name__
        if answer.status_code != 200:
            return str(answer.status_code)
        return "right" if answer.json()[1] == caller.pat_id else "wrong"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.mark.parametrize("store", ["unix", "local"])
def test_workers_serve_whom_they_are_asked_by_after_a_preload(
    tmp_path: Path, prefix: str, store: str
) -> None:
    """The Authority was made and used before gevent's patch and the fork, and the server is slow as the first
    requests come, all at once: no worker waits for itself, and each caller is told apart."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(binaries()["valkey"], folder) if store == "unix" else None
    url = server.url if server is not None else f"local:{tmp_path / 'store'}"
    with Authority.from_url(
        url, key_prefix=prefix, hash_profile=PROFILES["testing"], **SETTINGS
    ) as authority:
        callers = gather(authority, 12)
        running = Gunicorn(tmp_path, url, prefix, callers[0])
        try:
            pid = server.process.pid if server is not None else engine_of(tmp_path / "store")
            os.kill(pid, signal.SIGSTOP)
            with ThreadPoolExecutor(48) as pool:
                asked = [pool.submit(running.asked_by, caller) for caller in callers * 2]
                time.sleep(0.4)
                os.kill(pid, signal.SIGCONT)
                first = {one.result() for one in asked}
                assert first <= {"right", "503"}
                until(lambda: set(pool.map(running.asked_by, callers)) == {"right"})
        finally:
            running.stop()
            if server is not None:
                server.stop()
            else:
                LocalEngine(tmp_path / "store").stop()
    assert "Traceback" not in running.log.read_text()


def engine_of(folder: Path) -> int:
    return int((folder / "engine.pid").read_text().split()[0])
