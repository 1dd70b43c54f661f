"""WSGI servers in processes of their own, and a connection that sends bytes as they are."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import environment, free_port
from tests.support.servers import until

# As docs/deployment.md says; odd methods are let through to the gate.
SERVERS: dict[str, Callable[[str, str], list[str]]] = {
    "gunicorn": lambda factory, address: [
        sys.executable, "-m", "gunicorn", "--bind", address, "--worker-class", "gthread", "--threads", "4",
        "--keep-alive", "60", "--forwarder-headers", "", "--permit-unconventional-http-method",
        f"{factory}()",
    ],
    "waitress": lambda factory, address: [
        sys.executable, "-m", "waitress", f"--listen={address}", "--threads=4", "--call", factory,
    ],
    "uwsgi": lambda factory, address: [
        str(Path(sys.executable).with_name("uwsgi")), "--http11-socket", address, "--threads", "4",
        "--need-app", "--die-on-term", "--single-interpreter", "--disable-logging", "--buffer-size", "32768",
        "--module", f"{factory}()",
    ],
}  # fmt: skip


@contextmanager
def serving(server: str, factory: str, log: Path, **settings: str) -> Iterator[int]:
    """Run what `module:factory` makes under a server; yield its port."""
    port = free_port()
    command = SERVERS[server](factory, f"127.0.0.1:{port}")
    with (
        log.open("wb") as written,
        subprocess.Popen(command, env=environment(**settings), stdout=written, stderr=written) as process,
    ):
        try:
            until(lambda: process.poll() is not None or listens(port))
            assert process.poll() is None, log.read_text()
            yield port
        finally:
            process.terminate()
            process.wait(30)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@dataclass
class Answer:
    """Holds an answer, and what its field X-Ran says (tests/support/routed_apps.py). None: it has none."""

    status: int
    fields: dict[str, str]  # by names in lower case
    body: bytes
    ran: tuple[bool, list[list[Any]]] | None

    @property
    def router(self) -> bool:
        """Whether the application was called."""
        return self.ran is not None and self.ran[0]

    @property
    def views(self) -> list[list[Any]]:
        """What ran of it."""
        return [] if self.ran is None else self.ran[1]


class Wire:
    """Sends requests to a port, over one connection for as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, data: bytes, *, alone: bool = False) -> Answer | None:
        """Send bytes, and return the answer, or None for an end without one.

        `alone`: nothing else is asked on this connection, and the body is not read. This is for requests
        after which client and server may not agree on where the answer ends or the next request begins.
        """
        for _ in range(2):  # a server may close a connection that nobody uses, and has not read this then
            fresh = self._socket is None
            try:
                return self._ask(data, alone)
            except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
                self.close()
                if fresh:
                    return None
            except http.client.HTTPException:
                self.close()
                return None
            except TimeoutError as problem:
                self.close()
                problem.add_note(f"asked: {data!r}")
                raise
        return None

    def _ask(self, data: bytes, alone: bool) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 20)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)
        got = http.client.HTTPResponse(self._socket, method=data.partition(b" ")[0].decode("latin-1"))
        try:
            got.begin()
            fields = {name.lower(): value for name, value in got.getheaders()}
            if alone:  # a connection that is cut off confuses waitress, so the server may end it
                self._socket.shutdown(socket.SHUT_WR)
                while self._socket.recv(65536):
                    pass
            body = b"" if alone else got.read()
            if alone or got.will_close:
                self.close()
        finally:
            got.close()
        ran = fields.pop("x-ran", None)
        return Answer(got.status, fields, body, None if ran is None else tuple(json.loads(ran)))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
