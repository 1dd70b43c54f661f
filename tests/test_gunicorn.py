"""The whole story over HTTP: gunicorn with 2 workers of 4 threads on `local:`, and the CLI beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from .servers import until

EXAMPLES = Path(__file__).parent.parent / "examples"


class Service:
    """examples/flask_app.py under gunicorn."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.log = folder / "gunicorn.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {**os.environ, "PATAUTH_STORE_URL": f"local:{folder / 'store'}"}
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


@pytest.fixture(params=["preload", "each its own"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    options = [] if request.param == "preload" else ["--no-preload"]
    if options:
        configuration = (EXAMPLES / "gunicorn.conf.py").read_text().replace("preload_app = True", "")
        configuration = configuration.replace("Path(__file__).parent", f"Path({str(EXAMPLES)!r})")
        (tmp_path / "gunicorn.conf.py").write_text(configuration)
        options = ["-c", str(tmp_path / "gunicorn.conf.py")]
    running = Service(tmp_path, *options)
    yield running
    running.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_whole_story_and_all_of_it_still_true_after_a_restart(service: Service) -> None:
    pat_id, secret, token = service.create("ci", "reports:read")
    access = service.exchange(pat_id, secret)
    gone_id, gone_secret, gone_token = service.create("gone", "reports:read")
    gone_access = service.exchange(gone_id, gone_secret)

    def story() -> None:
        for given in ({"auth": (pat_id, secret)}, {"headers": bearer(token)}, {"headers": bearer(access)}):
            answer = service.get("/reports", **given)
            assert (answer.status_code, answer.json()["for"]) == (200, "alice")
            assert answer.headers["RateLimit-Policy"] == '"requests";q=100;w=10'
        refused = requests.post(service.url + "/reports", json={}, auth=(pat_id, secret), timeout=10)
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
        assert service.get("/reports").status_code == 401

    story()
    # Twenty requests to two workers: each has accepted it, and has its proof; none does after the deletion.
    for given in ({"auth": (gone_id, gone_secret)}, {"headers": bearer(gone_access)}):
        assert [service.get("/me", **given).status_code for _ in range(10)] == [200] * 10
    assert service.cli("pat", "revoke", gone_id, "--yes") == {"changed": 1, "ids": [gone_id]}

    def all_refused() -> None:
        for given in (
            {"auth": (gone_id, gone_secret)},
            {"headers": bearer(gone_token)},
            {"headers": bearer(gone_access)},
        ):
            assert {service.get("/me", **given).status_code for _ in range(8)} <= {401, 429}
            assert service.get("/me", **given).status_code != 200

    all_refused()
    service.stop()
    service.start()
    story()
    all_refused()
    listed = service.cli("pat", "list", "--owner-id", "alice")
    assert [pat["id"] for pat in listed["pats"]] == [pat_id]
    assert listed["pats"][0]["lastUsed"] is not None


def test_the_quota_is_one_for_all_workers_and_threads(service: Service) -> None:
    """8 clients ask as fast as they can; 100 pass, and those that come back in the meantime."""
    import time

    pat_id, secret, _ = service.create("ci", "reports:read")
    token = service.exchange(pat_id, secret)
    counts: list[dict[int, int]] = []
    retry: list[int] = []
    start = time.monotonic()

    def client() -> None:
        seen: dict[int, int] = {}
        with requests.Session() as session:
            for _ in range(40):
                answer = session.get(service.url + "/me", headers=bearer(token), timeout=10)
                seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
                if answer.status_code == 429:
                    retry.append(int(answer.headers["Retry-After"]))
        counts.append(seen)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    passed = sum(seen.get(200, 0) for seen in counts)
    assert sum(map(sum, (seen.values() for seen in counts))) == 320
    assert {status for seen in counts for status in seen} == {200, 429}
    assert 100 <= passed <= 100 + 10 * seconds
    assert set(retry) == {1}
