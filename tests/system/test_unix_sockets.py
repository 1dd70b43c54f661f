"""WSGI servers on a Unix socket: the proxy at its other end is known by the word `unix` alone."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.servers import until

FACTORY = "tests.support.address_app:create"
COMMANDS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", "--bind", "unix:PATH", f"{FACTORY}()"],
    "waitress": [
        sys.executable, "-m", "waitress", "--unix-socket=PATH", "--no-clear-untrusted-proxy-headers",
        "--call", FACTORY,
    ],
    "uwsgi": [
        str(Path(sys.executable).with_name("uwsgi")), "--http11-socket", "PATH", "--need-app",
        "--die-on-term", "--module", f"{FACTORY}()",
    ],
}  # fmt: skip


def ask(path: Path, **fields: str) -> list[str | None]:
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(str(path))
    try:
        connection.request(
            "GET", "/", headers={name.replace("_", "-"): value for name, value in fields.items()}
        )
        found: list[str | None] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


@pytest.mark.parametrize("server", list(COMMANDS))
def test_the_proxy_at_the_other_end_says_who_the_client_is(server: str, tmp_path: Path) -> None:
    path, log = tmp_path / "socket", tmp_path / "log"
    command = [word.replace("PATH", str(path)) for word in COMMANDS[server]]
    with (
        log.open("wb") as written,
        subprocess.Popen(command, env=environment(), stdout=written, stderr=written) as process,
    ):
        try:
            until(lambda: process.poll() is not None or path.exists())
            assert process.poll() is None, log.read_text()
            assert ask(path, X_Forwarded_For="203.0.113.9") == ["203.0.113.9", "203.0.113.9"]
            assert ask(path, X_Forwarded_For="6.6.6.6, 203.0.113.9") == ["203.0.113.9", "203.0.113.9"]
            assert ask(path) == ask(path, Forwarded="for=203.0.113.9") == [None, None]
        finally:
            process.terminate()
            process.wait(30)
