"""WSGI and ASGI servers in processes of their own, and a connection that sends bytes as they are."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.processes import environment, free_port
from tests.support.servers import until

_NOBODY = 65534


def _gunicorn(worker: str, *options: str) -> Callable[[str, str, Path], list[str]]:
    return lambda factory, address, _: [
        sys.executable, "-m", "gunicorn", "--bind", address, "--worker-class", worker, *options,
        "--keep-alive", "60", "--forwarder-headers", "", "--permit-unconventional-http-method",
        "--no-control-socket", f"{factory}()",
    ]  # fmt: skip


def apache(folder: Path, address: str, lines: Sequence[str]) -> list[str]:
    """Return the command of an Apache whose configuration has these lines. It keeps its files in the folder.

    Apache gives up the rights of root and then cannot read what is root's alone. Started by nobody with the
    right to read everything, it keeps that.
    """
    modules = {"mpm_event_module": "mod_mpm_event", "authz_core_module": "mod_authz_core"}
    modules |= {"wsgi_module": "mod_wsgi"}
    configuration = folder / "apache.conf"
    configuration.write_text("\n".join([
        *(f"LoadModule {module} /usr/lib/apache2/modules/{file}.so" for module, file in modules.items()),
        f"ServerRoot {folder}", f"PidFile {folder}/apache.pid", f"Listen {address}", "ServerName 127.0.0.1",
        f"ErrorLog {folder}/apache.log", f"DefaultRuntimeDir {folder}",
        "WSGIPythonHome /usr",  # else it is that of the first python3 on PATH, which may not be Debian's
        *lines,
    ]))  # fmt: skip
    command = ["apache2", "-DFOREGROUND", "-f", str(configuration)]
    if os.geteuid():
        return command
    os.chown(folder, _NOBODY, _NOBODY)
    reader = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return [*reader, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *command]


def _mod_wsgi(factory: str, address: str, folder: Path) -> list[str]:
    module, _, function = factory.partition(":")
    script = folder / "app.wsgi"
    script.write_text(f"from {module} import {function}\n\napplication = {function}()\n")
    # Debian's module brings Debian's Python, of the same version as this one or the packages do not fit.
    paths = ":".join([str(ROOT), sysconfig.get_path("purelib")])
    return apache(folder, address, [
        f"WSGIDaemonProcess app processes=1 threads=4 home={folder} python-path={paths}",
        f"WSGISocketPrefix {folder}/wsgi",
        f"WSGIScriptAlias / {script} process-group=app application-group=%{{GLOBAL}}",
        "WSGIPassAuthorization On",
        f"<Directory {folder}>", "Require all granted", "</Directory>",
    ])  # fmt: skip


# The command that serves what `module:factory` makes at an address, with its files in a folder. As the
# documents say, but odd methods are let through to the gate.
SERVERS: dict[str, Callable[[str, str, Path], list[str]]] = {
    "gunicorn sync": _gunicorn("sync"),
    "gunicorn gthread": _gunicorn("gthread", "--threads", "4"),
    "gunicorn gevent": _gunicorn("gevent"),
    "waitress": lambda factory, address, _: [
        sys.executable, "-m", "waitress", f"--listen={address}", "--threads=4", "--call", factory,
    ],
    "uWSGI": lambda factory, address, _: [
        str(Path(sys.executable).with_name("uwsgi")), "--http-socket", address, "--threads", "4",
        "--need-app", "--die-on-term", "--single-interpreter", "--disable-logging",
        "--buffer-size", "32768", "--post-buffering", "65536",
        "--module", f"{factory}()",
    ],
    "mod_wsgi": _mod_wsgi,
}  # fmt: skip
_UVICORN = (sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "warning")
ASGI_SERVERS: dict[str, Callable[[str, str, Path], list[str]]] = {
    "uvicorn": lambda factory, address, _: [
        *_UVICORN, "--http", "httptools", "--port", address.rpartition(":")[2], factory
    ],
    "uvicorn with h11": lambda factory, address, _: [
        *_UVICORN, "--http", "h11", "--loop", "asyncio", "--port", address.rpartition(":")[2], factory
    ],
    "hypercorn": lambda factory, address, _: [
        sys.executable, "-m", "hypercorn", "--bind", address, "--log-level", "warning", f"{factory}()"
    ],
    "gunicorn for ASGI": lambda factory, address, _: [
        sys.executable, "-m", "gunicorn", "--bind", address, "--preload", "--workers", "2", "-k", "asgi",
        "--graceful-timeout", "1", "--log-level", "warning", "--no-control-socket", f"{factory}()",
    ],
}  # fmt: skip

UVICORN = [name for name in ASGI_SERVERS if name.startswith("uvicorn")]  # by either parser


@contextmanager
def serving(server: str, factory: str, log: Path, **settings: str) -> Iterator[int]:
    """Run what `module:factory` makes under a server; yield its port."""
    port = free_port()
    command = (SERVERS | ASGI_SERVERS)[server](factory, f"127.0.0.1:{port}", log.parent)
    with running(command, port, log, **settings):
        yield port


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, folder: Path | None = None, **settings: str
) -> Iterator[None]:
    """Run a server until the end, once it listens at the port."""
    environ = environment(**settings)
    with (
        log.open("wb") as written,
        subprocess.Popen(command, cwd=folder, env=environ, stdout=written, stderr=written) as process,
    ):
        try:
            until(lambda: process.poll() is not None or listens(port))
            assert process.poll() is None, log.read_text()
            yield
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
