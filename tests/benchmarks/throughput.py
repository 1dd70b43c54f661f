"""The part `throughput`: requests per second under gunicorn, asked by wrk."""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path

from tests.support.servers import Server, until

from . import peers
from .calls import PATH
from .cases import authority_at, issue
from .goals import Goal, goals_table
from .measure import show_progress
from .report import ROOT, Part, Table, engine_of
from .served import AUTHLIB_PEER, BARE, BARE_FLASK, FLASK_PEER, PATAUTH, SOCKET, WHICH

THREADS = 4  # of each worker: two for each core, where gunicorn's documentation begins
CONNECTIONS = 8  # to each worker
NAMES = {
    BARE: "bare WSGI app",
    PATAUTH: "patauth, access token",
    BARE_FLASK: "bare Flask app",
    FLASK_PEER: "Flask-HTTPAuth + Flask-Limiter",
    AUTHLIB_PEER: "Authlib ResourceProtector + limits",
}
_BARE_OF = {PATAUTH: BARE, FLASK_PEER: BARE_FLASK, AUTHLIB_PEER: BARE_FLASK}
NO_WRK = "wrk is not on PATH; Debian and Ubuntu have it: apt-get install wrk"


class Gunicorn:
    """One worker with one of the applications, on a port of 127.0.0.1.

    Of several workers on one port, one may get all connections that are kept, and the others none: so each
    worker has a port, and a wrk, of its own.
    """

    def __init__(self, which: str, server: Server, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._log = folder / f"{which}-{self._port}.log"
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self._port}", "--no-control-socket",
            "--worker-class", "gthread", "--workers", "1", "--threads", str(THREADS),
            "--keep-alive", "30", "tests.benchmarks.served:app()",
        ]  # fmt: skip
        environ = {**os.environ, WHICH: which, SOCKET: server.socket}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it answers."""
        until(lambda: self._process.poll() is not None or _listens(self._port), 30)
        if self._process.poll() is not None:
            raise SystemExit(f"gunicorn has ended:\n{self._log.read_text()}")

    def stop(self) -> None:
        """End it, with its workers."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _listens(port: int) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("HEAD", "/")
        connection.getresponse()
    except OSError:
        return False
    connection.close()
    return True


def wrk(urls: Sequence[str], authorization: str | None, seconds: int) -> float:
    """Requests per second of all workers, asked at the same time; each answer was 200."""
    fields = [] if authorization is None else ["-H", f"Authorization: {authorization}"]
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", *fields]
    running = [subprocess.Popen([*command, url + PATH], stdout=subprocess.PIPE, text=True) for url in urls]
    rate = 0.0
    for printed in [one.communicate()[0] for one in running]:
        found = re.search(r"^Requests/sec:\s*([0-9.]+)", printed, re.MULTILINE)
        if found is None or "Non-2xx" in printed or "Socket errors" in printed:
            raise SystemExit(f"not every request was answered with 200:\n{printed}")
        rate += float(found[1])
    return rate


def run(server: Server, folder: Path, *, rounds: int, seconds: int, workers: Sequence[int]) -> Part:
    """All applications stay up while wrk goes from one to the next."""
    if shutil.which("wrk") is None:
        raise SystemExit(NO_WRK)
    with authority_at(server.url) as authority:
        issued = issue(authority)
        token = f"Bearer {authority.exchange(issued.pat.id, issued.secret).value}"
    credentials = {
        BARE: None,
        PATAUTH: token,
        BARE_FLASK: None,
        FLASK_PEER: peers.open_peer(peers.FLASK_HTTPAUTH, server.socket).authorizations[0],
        AUTHLIB_PEER: peers.open_peer(peers.AUTHLIB, server.socket).authorizations[0],
    }
    rates = {number: _rates(server, folder, credentials, number, rounds, seconds) for number in workers}
    engine = engine_of(server)
    method = (
        f"gunicorn with workers of class gthread, {THREADS} threads each, on ports of 127.0.0.1; for each a"
        f" wrk with {CONNECTIONS} connections that are kept; {engine}, on a unix socket; all on the same"
        f" {os.cpu_count()} CPUs, not pinned. Medians of {rounds} rounds of {seconds} s, in which the"
        " applications take turns."
    )
    rows, goals = [], []
    for number, found in rates.items():
        for which, name in NAMES.items():
            own = _BARE_OF.get(which)
            kept = None if own is None else found[which] / found[own]
            rows.append((number, name, found[which], found[which] / found[BARE], kept))
        kept = found[PATAUTH] / found[BARE]
        goals.append(Goal("G6", f"patauth / {NAMES[BARE]}, workers: {number}", kept, 0.70, at_least=True))
    heads = ("workers", "application", "requests/s", f"of the {NAMES[BARE]}", "of its own bare app")
    return Part(
        "throughput",
        method,
        [Table("Requests per second", heads, rows), goals_table(goals)],
        {
            "engine": engine,
            "rates": {
                str(number): {NAMES[one]: rate for one, rate in found.items()}
                for number, found in rates.items()
            },
            "goals": [goal.as_json() for goal in goals],
        },
    )


def _rates(
    server: Server,
    folder: Path,
    credentials: Mapping[str, str | None],
    workers: int,
    rounds: int,
    seconds: int,
) -> dict[str, float]:
    with ExitStack() as stack:
        services: dict[str, list[Gunicorn]] = {which: [] for which in credentials}
        for which, started in services.items():
            for _ in range(workers):
                started.append(Gunicorn(which, server, folder))
                stack.callback(started[-1].stop)
        for service in chain.from_iterable(services.values()):
            service.wait()
        rates: dict[str, list[float]] = {which: [] for which in credentials}
        for number in range(rounds):
            for which, authorization in credentials.items():
                show_progress(f"{workers} workers, round {number + 1} of {rounds}: {NAMES[which]}")
                urls = [service.url for service in services[which]]
                rates[which].append(wrk(urls, authorization, seconds))
        show_progress("")
    return {which: statistics.median(found) for which, found in rates.items()}
