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
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path

from tests.support.servers import Server, until

from . import peers
from .calls import PATH
from .cases import authority_at, issue
from .measure import show_progress
from .report import ROOT, Goal, Part, Table, engine_of
from .served import AUTHLIB_PEER, BARE, BARE_FLASK, FLASK_PEER, PATAUTH, SOCKET, WHICH


@dataclass(frozen=True, slots=True)
class Shape:
    """How many workers gunicorn has, and of what kind."""

    name: str
    workers: int
    options: tuple[str, ...]


_GTHREAD = ("--worker-class", "gthread", "--keep-alive", "30", "--threads", "4")
G6 = "gthread 1 x 4"  # what the goal is stated for
SHAPES = (
    Shape(G6, 1, _GTHREAD),
    Shape("gthread 2 x 4", 2, _GTHREAD),
    Shape("sync 1", 1, ("--worker-class", "sync")),
)
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

    def __init__(self, which: str, shape: Shape, server: Server, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._log = folder / f"{which}-{self._port}.log"
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self._port}", "--no-control-socket",
            "--workers", "1", *shape.options, "tests.benchmarks.served:app()",
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


def run(server: Server, folder: Path, *, rounds: int, seconds: int, shapes: Sequence[Shape]) -> Part:
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
    rates = {shape.name: _rates(server, folder, credentials, shape, rounds, seconds) for shape in shapes}
    engine = engine_of(server)
    method = (
        "gunicorn with workers of class gthread, with four threads each, or sync, which keeps no connection;"
        f" for each worker a port of 127.0.0.1 and a wrk with {CONNECTIONS} connections; {engine}, on a unix"
        f" socket; all on the same {os.cpu_count()} CPUs, not pinned. Medians of {rounds} rounds of {seconds}"
        " s, in which the applications take turns; shares are medians of the rounds' shares."
    )
    rows, goals = [], []
    for shape, found in rates.items():
        for which, name in NAMES.items():
            own = _BARE_OF.get(which)
            kept = None if own is None else _share(found, which, own)
            rows.append((shape, name, statistics.median(found[which]), _share(found, which, BARE), kept))
        if shape == G6:
            kept = _share(found, PATAUTH, BARE)
            goals.append(Goal("G6", f"patauth / {NAMES[BARE]}, {shape}", kept, 0.60, at_least=True))
    heads = ("workers", "application", "requests/s", f"of the {NAMES[BARE]}", "of its own bare app")
    return Part(
        "throughput",
        method,
        [Table("Under gunicorn", heads, rows)],
        {
            "engine": engine,
            "rates": {
                shape: {NAMES[one]: rate for one, rate in found.items()} for shape, found in rates.items()
            },
        },
        goals,
    )


def _share(rates: Mapping[str, Sequence[float]], which: str, of: str) -> float:
    return statistics.median(one / other for one, other in zip(rates[which], rates[of], strict=True))


def _rates(
    server: Server,
    folder: Path,
    credentials: Mapping[str, str | None],
    shape: Shape,
    rounds: int,
    seconds: int,
) -> dict[str, list[float]]:
    with ExitStack() as stack:
        services: dict[str, list[Gunicorn]] = {which: [] for which in credentials}
        for which, started in services.items():
            for _ in range(shape.workers):
                started.append(Gunicorn(which, shape, server, folder))
                stack.callback(started[-1].stop)
        for service in chain.from_iterable(services.values()):
            service.wait()
        rates: dict[str, list[float]] = {which: [] for which in credentials}
        for number in range(rounds):
            for which, authorization in credentials.items():
                show_progress(f"{shape.name}, round {number + 1} of {rounds}: {NAMES[which]}")
                urls = [service.url for service in services[which]]
                rates[which].append(wrk(urls, authorization, seconds))
        show_progress("")
    return rates
