"""Refused uploads under real gunicorn, alone and behind real nginx: each is answered, and holds up nobody."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.paths import ROOT
from tests.support.processes import free_port
from tests.support.servers import until
from tests.support.threads import all_at_once
from tests.support.uploads import BODY, CLIENTS, all_refused, answers, by_http_client, in_chunks

WORKERS = {
    "sync": ["-k", "sync"],
    "gthread": ["-k", "gthread", "--threads", "4"],
    "gevent": ["-k", "gevent"],
}


@contextmanager
def gunicorn(folder: Path, *options: str, app: str = "with_patauth") -> Iterator[int]:
    """The port of tests/support/upload_app.py. Whatever its clients do, gunicorn logs no error of the app."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "warning",
        "--graceful-timeout", "1", *options, f"tests.support.upload_app:{app}",
    ]  # fmt: skip
    with running(folder / "gunicorn.log", command, port):
        yield port
    logged = (folder / "gunicorn.log").read_text()
    assert not any(text in logged for text in ("drain.py", "Error handling", "Socket error")), logged


@contextmanager
def running(log: Path, command: list[str], port: int) -> Iterator[None]:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            until(lambda: process.poll() is not None or listens(port))
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(30)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.close()
        return True
    return False


# -- each upload gets its answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("worker", WORKERS)
def test_each_refused_upload_gets_its_answer(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, *WORKERS[worker]) as port:
        assert {client.__name__: answers(client, port) for client in CLIENTS} == all_refused()


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_each_gets_it_over_tls(tmp_path: Path, worker: str) -> None:
    trust = certificate(tmp_path)
    with gunicorn(tmp_path, *WORKERS[worker], "--certfile", str(trust)) as port:
        found = {client.__name__: answers(client, port, trust=trust) for client in CLIENTS}
    assert found == all_refused()


def certificate(folder: Path) -> Path:
    """A certificate for localhost and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(pem))
    return path


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """nginx before gunicorn: /on/… and /off/… are with and without buffering of requests; its port."""
    port = free_port()
    kept = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    locations = "".join(
        f"location /{buffering}/{version}/ {{"
        f" proxy_pass http://gunicorn; proxy_request_buffering {buffering}; {given} }}\n"
        for buffering in ("on", "off")
        for version, given in (("1.0", ""), ("1.1", kept))
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path temp/{kind};" for kind in kinds)
    (folder / "temp").mkdir()
    (folder / "nginx.conf").write_text(
        f"user root; pid nginx.pid; error_log stderr crit; events {{}}\n"  # nobody cannot reach the folder
        f"http {{ access_log off; {places} client_max_body_size 0;\n"
        f"upstream gunicorn {{ server 127.0.0.1:{upstream}; keepalive 4; }}\n"
        f"server {{ listen 127.0.0.1:{port};\n{locations} }} }}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with running(folder / "nginx.log", command, port):
        yield port


if shutil.which("nginx"):  # .ci/run installs it

    @pytest.mark.parametrize("worker", WORKERS)
    def test_each_gets_it_through_nginx(tmp_path: Path, worker: str) -> None:
        paths = [f"/{buffering}/{version}/" for buffering in ("on", "off") for version in ("1.0", "1.1")]
        with gunicorn(tmp_path, *WORKERS[worker]) as upstream, nginx(tmp_path, upstream) as port:
            for path in paths:
                for client in (by_http_client, in_chunks):
                    assert answers(client, port, path) == {401: 100}, (path, client.__name__)


# -- the connection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_a_connection_whose_upload_was_read_serves_the_next_request(tmp_path: Path, worker: str) -> None:
    with (
        gunicorn(tmp_path, *WORKERS[worker]) as port,
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection,
    ):
        connection.connect()
        connection.auto_open = False
        for _ in range(20):
            for method, path, body, status in (("POST", "/", BODY, 401), ("GET", "/ok", None, 200)):
                connection.request(method, path, body=body)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == status


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_no_part_of_a_body_is_taken_for_a_request(tmp_path: Path, worker: str) -> None:
    """Once nobody waits for the rest of a body, what still comes of it is nothing to anybody."""

    def statuses(port: int) -> list[bytes]:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n")
            received = b""
            with suppress(ConnectionError):
                for _ in range(1400):
                    connection.sendall(b"GET /ok HTTP/1.1\r\nHost: h\r\n\r\n")
                    time.sleep(0.002)
            with suppress(ConnectionError):
                while data := connection.recv(65_536):
                    received += data
            return re.findall(rb"HTTP/1.1 (\d+)", received)

    with gunicorn(tmp_path, *WORKERS[worker]) as port:
        answered = all_at_once([partial(statuses, port)] * 20)
    assert [b"401"] in answered  # not for all: the reset can overtake the answer
    assert [one for one in answered if one not in ([b"401"], [])] == []


# -- clients that send slowly --------------------------------------------------------------------------------


@contextmanager
def slow_clients(port: int, fields: str) -> Iterator[None]:
    """Eight clients that send one byte of a refused upload a second."""
    head = f"POST / HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 3000000\r\n\r\nx".encode()
    over = threading.Event()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    for connection in connections:
        connection.sendall(head)

    def send() -> None:
        while not over.wait(1):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"x")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for connection in connections:
            connection.close()


def seconds_for_fifty(port: int, at_most: float) -> float:
    """How long fifty small requests take, one after the other; `at_most` if they take longer."""
    began = time.monotonic()
    with suppress(TimeoutError):
        for _ in range(50):
            left = began + at_most - time.monotonic()
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=max(left, 0.001))) as one:
                one.request("GET", "/ok")
                assert one.getresponse().read() == b"ok"
    return min(time.monotonic() - began, at_most)


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_slow_clients_hold_up_nobody_more_than_without_patauth(
    tmp_path: Path, processes: str, fields: str
) -> None:
    took = {}
    for app in ("with_patauth", "without_patauth"):
        with gunicorn(tmp_path, *WORKERS["gthread"], "--workers", processes, app=app) as port:
            until(lambda port=port: seconds_for_fifty(port, 5) < 1)
            with slow_clients(port, fields):
                time.sleep(0.2)
                took[app] = seconds_for_fifty(port, 8)
    print(f"\n50 requests beside 8 slow uploads, {processes} x 4, {fields.strip()}: {took}")
    assert took["with_patauth"] < took["without_patauth"] + 1
    assert took["with_patauth"] < 4


@pytest.mark.parametrize("worker", WORKERS)
def test_a_slow_client_is_not_awaited_for_more_than_two_seconds(tmp_path: Path, worker: str) -> None:
    with (
        gunicorn(tmp_path, *WORKERS[worker]) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        began = time.monotonic()
        client.settimeout(20)
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\nx")
        received = b""
        with suppress(ConnectionResetError):
            while data := client.recv(65_536):
                received += data
        assert received.startswith(b"HTTP/1.1 401 ")
        assert 1.9 < time.monotonic() - began < 5
