"""`patauth serve` as a process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import requests

from patauth import IssuedPat
from patauth.store.local.engine import LocalEngine
from tests.support.processes import PATAUTH, environment, free_port
from tests.support.servers import until

FORM = {"grant_type": "client_credentials"}


class Service:
    """`patauth serve` on a port of its own, its two logs in files."""

    def __init__(self, folder: Path, *words: str, **more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [*PATAUTH, "serve", "--bind", f"127.0.0.1:{self.port}", *words],
                env=environment(**more), cwd=folder, stdout=out, stderr=err,
            )  # fmt: skip

    def wait(self) -> None:
        """Until it answers."""
        until(lambda: self.process.poll() is not None or self.status("/healthz") == 200, 20)
        assert self.process.poll() is None, self.said()

    def status(self, path: str) -> int:
        try:
            return requests.get(self.url + path, timeout=10).status_code
        except requests.ConnectionError:
            return 0

    def exchange(self, made: IssuedPat) -> requests.Response:
        return requests.post(
            f"{self.url}/oauth/token", data=FORM, auth=(made.pat.id, made.secret), timeout=10
        )

    def workers(self) -> set[int]:
        """The children, those too that a thread of the service has started."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(child) for task in tasks for child in task.read_text().split()}

    def said(self) -> str:
        return (self.folder / "err").read_text() + (self.folder / "out").read_text()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def serving(folder: Path, *words: str, **more: str) -> Iterator[Service]:
    service = Service(folder, *words, **more)
    try:
        service.wait()
        yield service
    finally:
        service.stop()
        for directory in folder.glob("*/engine.json"):
            LocalEngine(directory.parent).stop()
