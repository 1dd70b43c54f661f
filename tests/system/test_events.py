"""Events across processes: workers that are killed, receivers with TLS, servers that fork."""

from __future__ import annotations

import json
import signal
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from patauth import Authority, Owner
from patauth.events.delivery import Delivery, group_of
from patauth.events.outbox import Undelivered
from patauth.events.webhook import Webhook
from tests.support.authorities import patient
from tests.support.processes import PATAUTH, environment
from tests.support.receivers import KEY, SECRET, answers, hangs, in_turn, receiving, takes
from tests.support.servers import Server, binaries, until
from tests.support.service import Service
from tests.support.tls import certificate


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(binaries()["valkey"], tmp_path)
    yield server
    server.stop()


@pytest.fixture
def worker(own: Server) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts `patauth events deliver` as a process."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        given = {
            "PATAUTH_STORE_URL": own.url,
            "PATAUTH_EVENTS": f"stream:audit webhook:{url}",
            "PATAUTH_WEBHOOK_SECRET": SECRET,
        }
        process = subprocess.Popen(
            [*PATAUTH, "events", "deliver", "--output", "json"],
            env=environment(**given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


Worker = Callable[[str], "subprocess.Popen[str]"]


def make_pats(authority: Authority, *numbers: int) -> list[str]:
    return [
        authority.create(owner=Owner(f"o{number}"), name="x", scope=["a"], never_expires=True).pat.id
        for number in numbers
    ]


def test_what_a_killed_worker_had_taken_another_delivers(own: Server, worker: Worker) -> None:
    with (
        receiving(in_turn(takes, hangs, takes)) as receiver,
        patient(own.url, events="stream:audit") as authority,
    ):
        made = make_pats(authority, *range(4))
        first = worker(receiver.url)
        until(lambda: len(receiver.tries) == 2)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=30)
        assert len(receiver.taken) == 1
        stream = authority.operations._store.event_stream("audit")
        webhook = Webhook(receiver.url, [KEY])
        at_once = Delivery(stream, webhook, group_of(receiver.url), "next")
        assert at_once.step() is None, "they belong to the first one, for two minutes"
        later = Delivery(stream, webhook, group_of(receiver.url), "later", left_ms=0)
        while later.step() is not None:
            pass
        assert {event["patId"] for event in receiver.taken} == set(made)
        assert later.lost == 0


def test_workers_run_until_sigterm_share_the_work_and_outlive_the_store(own: Server, worker: Worker) -> None:
    with receiving() as receiver, patient(own.url, events="stream:audit") as authority:
        workers = [worker(receiver.url) for _ in range(2)]
        made = make_pats(authority, *range(20))
        until(lambda: len(receiver.taken) == 20)
        own.kill()
        own.start()
        made += make_pats(authority, *range(20, 25))
        until(lambda: len(receiver.ids) == 25)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=30) for process in workers]
        assert [process.returncode for process in workers] == [0, 0], said
        assert sum(json.loads(out)["delivered"] for out, _ in said) >= 25
        assert {event["patId"] for event in receiver.taken} == set(made)


def test_a_receiver_is_asked_for_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator may name the authority that vouches for it; the host's name has to be right, too."""
    chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    asked: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as connected:
                    asked.append(b"")
                    while not asked[-1].endswith(b"}") and (piece := connected.recv(65_536)):
                        asked[-1] += piece  # to the end: to close with a body unread resets the connection
                    connected.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = server.server_address[1]
        line = json.dumps({"id": "ab" * 16})
        with pytest.raises(Undelivered, match="SSLCertVerificationError"):
            Webhook(f"https://localhost:{port}/", [KEY]).post("ab" * 16, line)
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        with pytest.raises(Undelivered, match="SSLCertVerificationError"):
            Webhook(f"https://127.0.0.1:{port}/", [KEY]).post("ab" * 16, line)
        assert asked == []
        Webhook(f"https://localhost:{port}/", [KEY]).post("ab" * 16, line)
        assert asked[0].startswith(b"POST / HTTP/1.1\r\n")
        server.shutdown()


def test_each_worker_of_the_service_posts_what_it_did_and_the_rest_at_its_end(
    own: Server, tmp_path: Path
) -> None:
    """Four processes that were forked from one; the receiver is down until shortly before they end."""
    with receiving(answers(500)) as receiver, patient(own.url) as authority:
        made = authority.create(owner=Owner("alice"), name="x", scope=["a"], never_expires=True)
        service = Service(
            tmp_path, "--workers", "4",
            PATAUTH_STORE_URL=own.url,
            PATAUTH_EVENTS=f"log webhook:{receiver.url}",
            PATAUTH_WEBHOOK_SECRET=SECRET,
        )  # fmt: skip
        service.wait()
        for number in range(20):
            answer = requests.post(
                f"{service.url}/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=(made.pat.id, made.secret),
                headers={"X-Request-Id": f"req-{number}", "Connection": "close"},
                timeout=10,
            )
            assert answer.status_code == 200
        until(lambda: receiver.tries)
        receiver.behaviour = takes
        assert service.stop() == 0
        told = [(event["type"], event["requestId"]) for event in receiver.taken]
        assert sorted(told) == sorted(("token.issued", f"req-{number}") for number in range(20))
        assert made.secret not in service.said()
