"""TLS for tests: a certificate that signs itself, and a server that has it."""

from __future__ import annotations

import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import until


def certificate(folder: Path, host: str = "localhost") -> tuple[Path, Path]:
    """Write a certificate for a host and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / f"{host}.pem", folder / f"{host}-key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@contextmanager
def serving_tls(folder: Path, answer: Callable[[bytes], bytes], host: str = "localhost") -> Iterator[str]:
    """A server of the test's own making on TCP with TLS; its URL, which trusts the certificate."""
    chain, key = certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as connected:
                    while asked := connected.recv(65536):
                        connected.sendall(answer(asked))
            except OSError:  # a client that does not trust it
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.002})
        thread.start()
        try:
            yield f"rediss://localhost:{listening.server_address[1]}/0?ssl_ca_certs={chain}"
        finally:
            listening.shutdown()
            thread.join()


@contextmanager
def engine_with_tls(folder: Path) -> Iterator[str]:
    """A real server with TLS; its URL. The wheel's has none, so this needs one on PATH."""
    chain, key = certificate(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options = [
        "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(chain), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(chain), "--tls-auth-clients", "no", "--save", "", "--dir", str(folder),
    ]  # fmt: skip
    for binary in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        until(lambda process=process: process.poll() is not None or _listens(port))
        if process.poll() is None:
            try:
                yield f"rediss://localhost:{port}/0?ssl_ca_certs={chain}"
            finally:
                process.kill()
                process.wait()
            return
    pytest.fail("no redis-server or valkey-server with TLS is on PATH: apt-get install redis-server")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
