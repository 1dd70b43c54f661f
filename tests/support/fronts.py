"""nginx and Caddy with the configurations of the examples, and requests to them byte by byte."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import EXAMPLES
from tests.support.processes import free_port
from tests.support.servers import until

Front = Callable[[Path, str, str], AbstractContextManager[str]]


@contextmanager
def nginx(folder: Path, patauth_url: str, app_url: str) -> Iterator[str]:
    """nginx with the example's configuration, but for the ports; its URL."""
    shutil.copy(EXAMPLES / "patauth-gate.conf", folder)
    (folder / "nginx-temp").mkdir()
    configuration = folder / "nginx.conf"
    # Its workers write uploads to a folder that is open to this user alone.
    directives = f"daemon off; user {getpass.getuser()};"
    command = ["nginx", "-p", str(folder), "-c", str(configuration), "-g", directives]
    with _front(configuration, command, patauth_url, app_url) as url:
        yield url


@contextmanager
def caddy(folder: Path, patauth_url: str, app_url: str) -> Iterator[str]:
    """Caddy with the example's configuration, but for the ports; its URL."""
    configuration = folder / "Caddyfile"
    command = ["caddy", "run", "--config", str(configuration), "--adapter", "caddyfile"]
    # No port but this one, and nothing written elsewhere.
    options = "{\n\tadmin off\n}\n"
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with _front(configuration, command, patauth_url, app_url, options, home) as url:
        yield url


# Each by its name; .ci/run installs both.
FRONTS: dict[str, Front] = {
    name: front for name, front in (("nginx", nginx), ("caddy", caddy)) if shutil.which(name)
}


@contextmanager
def _front(
    configuration: Path,
    command: Sequence[str],
    patauth_url: str,
    app_url: str,
    before: str = "",
    environ: dict[str, str] | None = None,
) -> Iterator[str]:
    port = free_port()
    text = (EXAMPLES / configuration.name).read_text()
    for example, real in (("8000", patauth_url), ("8001", app_url), ("8080", f":{port}")):
        assert f":{example}" in text
        text = text.replace(f":{example}", f":{real.rpartition(':')[2]}")
    configuration.write_text(before + text)
    log = configuration.with_name("front.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=os.environ | (environ or {}), stdout=output, stderr=output) as process,
    ):
        try:
            until(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


class Answer(NamedTuple):
    """An answer, read whole."""

    status: int
    fields: HTTPMessage
    body: bytes


class Wire:
    """A connection on which requests are written byte by byte. It is made again when the front ends it."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = host, int(port)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def get(self, target: bytes, *fields: tuple[str, str]) -> Answer:
        """GET a target exactly as it is written."""
        return self.send(b"GET", target, *fields)

    def send(self, method: bytes, target: bytes, *fields: tuple[str, str], body: bytes = b"") -> Answer:
        lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: 127.0.0.1"]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, 20)
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        with HTTPResponse(self._socket, method=method.decode()) as response:
            response.begin()
            answer = Answer(response.status, response.headers, response.read())
            if response.will_close:
                self.close()
        return answer
