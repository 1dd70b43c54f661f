"""A proxy that loses, delays and cuts replies, and a count of the requests that wait behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.servers import Server, until

SECONDS = float(os.environ.get("MIXUP_SECONDS", "1.5"))


LIMIT = 16  # connections of an Authority: fewer than threads, so that each serves many callers


TIMEOUT = 0.25  # s, of a command; the proxy's late replies are about as late


class Proxy:
    """Runs tests/support/troubled_proxy.py in a process of its own."""

    def __init__(self, folder: Path, server: Server, seed: int) -> None:
        script = str(Path(__file__).with_name("troubled_proxy.py"))
        path = folder / "proxy"
        self.url = f"unix://{path}"
        self._process = subprocess.Popen(
            [sys.executable, script, str(path), server.socket, str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "{}\n"

    def say(self, word: str) -> dict[str, int]:
        """Tell the proxy what to do from now on, and return what it has done so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.communicate(timeout=10)


@contextmanager
def proxying(folder: Path, server: Server, seed: int = 1) -> Iterator[Proxy]:
    proxy = Proxy(folder, server, seed)
    try:
        yield proxy
    finally:
        proxy.stop()


def waiting_at_once(proxy: Proxy, limit: int, asking: Callable[[], object] = int) -> int:
    """Return how many replies wait on their connections when none may pass and more callers ask."""
    proxy.say("hold")
    asking()
    with suppress(AssertionError):
        until(lambda: proxy.say("tell")["waiting"] >= limit, 0.7 * TIMEOUT)
    time.sleep(0.01)  # for one too many to come
    return proxy.say("calm")["waiting"]
