"""The commands of docs/how-to/uvicorn.md, run as they stand: whose address patauth takes for the client's."""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.connection import HTTPConnection

from patauth import Authority
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import bearer, issue
from tests.support.paths import ROOT
from tests.support.processes import environment, free_port
from tests.support.servers import until

PAGE = (ROOT / "docs/how-to/uvicorn.md").read_text("utf-8")
PLAIN, BEHIND_PROXY, ON_SOCKET = re.findall(r"^```sh\n(.+)\n```$", PAGE, re.M)
APP, WITH_SCHEME = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
CLIENT, OTHER = "203.0.113.9", "198.51.100.1"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    LocalEngine(tmp_path / "patauth-data").stop()


@pytest.fixture
def tokens(folder: Path) -> tuple[str, str]:
    """Authorization values: of a PAT for anywhere, and of one for the client's address."""
    with Authority.from_url(f"local:{folder}/patauth-data") as authority:
        anywhere = issue(authority, "anywhere")
        here = issue(authority, "here", networks=[f"{CLIENT}/32"])
        return bearer(anywhere.token), bearer(here.token)


def listens(address: str | int) -> bool:
    """Whether a socket at a path, or at a port of loopback, takes connections."""
    where: Any = address if isinstance(address, str) else ("127.0.0.1", address)
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        return connection.connect_ex(where) == 0


@contextmanager
def running(folder: Path, command: str, port: int | None = None, *, app: str = APP) -> Iterator[None]:
    """Run a command of the page, on a port, or on the socket that it names."""
    (folder / "app.py").write_text(app, "utf-8")
    words = shlex.split(command)
    given = dict(word.split("=") for word in words if re.match(r"[A-Z_]+=", word))
    program = [sys.executable, "-m", *words[len(given) :], *(["--port", str(port)] if port else [])]
    address = port or str(folder / "app.sock")
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            program, cwd=folder, env=environment(**given), stdout=output, stderr=output
        ) as process,
    ):
        try:
            # It says "startup complete" and "running on" before it listens.
            until(lambda: process.poll() is not None or listens(address))
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(30)
    assert "Traceback" not in log.read_text()


def ask(port: int, authorization: str, *forwarded: str, proto: str = "http") -> requests.Response:
    headers = {"Authorization": authorization, "X-Forwarded-Proto": proto}
    if forwarded:
        headers["X-Forwarded-For"] = ", ".join(forwarded)
    return requests.get(f"http://127.0.0.1:{port}/reports", headers=headers, timeout=20)


def test_workers_share_the_store(folder: Path, tokens: tuple[str, str]) -> None:
    port = free_port()
    with running(folder, PLAIN, port):
        assert {ask(port, tokens[0]).status_code for _ in range(20)} == {200}
        assert {ask(port, "Bearer x").status_code for _ in range(20)} == {401}


def test_behind_a_proxy_the_client_is_known(folder: Path, tokens: tuple[str, str]) -> None:
    port = free_port()
    with running(folder, BEHIND_PROXY, port, app=WITH_SCHEME):
        assert ask(port, tokens[1], CLIENT).status_code == 200
        assert ask(port, tokens[1], CLIENT, OTHER).status_code == 401, "the client wrote the first entry"
        assert ask(port, tokens[1]).status_code == 401
        assert ask(port, tokens[0], CLIENT, proto="https").text == "https alice"


def test_by_the_defaults_of_uvicorn_no_client_is_known(folder: Path, tokens: tuple[str, str]) -> None:
    for command in (PLAIN, BEHIND_PROXY.replace(" --no-proxy-headers", "")):
        port = free_port()
        with running(folder, command, port):
            assert ask(port, tokens[0], CLIENT).status_code == 200
            assert ask(port, tokens[1], CLIENT).status_code == 401


def test_on_a_unix_socket_the_client_is_known(folder: Path, tokens: tuple[str, str]) -> None:
    class OnSocket(HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(folder / "app.sock"))

    def asked(address: str) -> int:
        with contextlib.closing(OnSocket("localhost")) as connection:
            headers = {"Authorization": tokens[1], "X-Forwarded-For": address}
            connection.request("GET", "/reports", headers=headers)
            return connection.getresponse().status

    with running(folder, ON_SOCKET):
        assert (asked(CLIENT), asked(OTHER)) == (200, 401)
