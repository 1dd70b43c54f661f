"""An example under gunicorn, as a deployment runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.support.paths import EXAMPLES
from tests.support.servers import until


class Service:
    """examples/flask_app.py under gunicorn, on a `local:` store of its own or on the one at `store_url`."""

    def __init__(self, folder: Path, *options: str, store_url: str = "", **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.log = folder / "gunicorn.log"
        self.url = f"http://127.0.0.1:{self.port}"
        given = {"store_url": store_url or f"local:{folder / 'store'}", **settings}
        named = {f"PATAUTH_{name.upper()}": value for name, value in given.items()}
        self.environ = {**os.environ, **named}
        self._command = [
            sys.executable, "-m", "gunicorn", "-c", str(EXAMPLES / "gunicorn.conf.py"),
            "--bind", f"127.0.0.1:{self.port}", *options, "flask_app:app",
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:  # a pipe that nobody reads would block the workers
            self.process = subprocess.Popen(self._command, env=self.environ, stderr=log)
        until(self.answers, 30)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        assert "Traceback" not in self.log.read_text()

    def workers(self) -> set[int]:
        """Return the process ids of the workers."""
        arbiter = self.process.pid
        return set(map(int, Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()))

    def answers(self) -> bool:
        try:
            return self.get("/healthz").status_code == 200
        except requests.ConnectionError:
            return False

    def get(self, path: str, **given: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=10, **given)

    def cli(self, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "patauth", *words, "--output", "json"],
            env=self.environ, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return json.loads(done.stdout)

    def create(self, name: str, *scopes: str) -> tuple[str, str, str]:
        words = [word for scope in scopes for word in ("--scope", scope)]
        made = self.cli("pat", "create", "--owner-id", "alice", "--name", name, "--expires-in", "1d", *words)
        return made["pat"]["id"], made["secret"], made["token"]

    def exchange(self, pat_id: str, secret: str) -> str:
        answer = requests.post(
            self.url + "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(pat_id, secret),
            timeout=10,
        )
        assert answer.status_code == 200
        return str(answer.json()["access_token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
