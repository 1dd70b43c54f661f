"""Clients that upload 3 MB, and what a server answers them."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import requests

BODY = bytes(3_000_000)


def by_http_client(port: int, path: str, trust: Path | None) -> int:
    return _http_client(port, path, trust, BODY, {})


def in_chunks(port: int, path: str, trust: Path | None) -> int:
    pieces = (BODY[start : start + 50_000] for start in range(0, len(BODY), 50_000))
    return _http_client(port, path, trust, pieces, {"Transfer-Encoding": "chunked"})


def _http_client(port: int, path: str, trust: Path | None, body: object, fields: dict[str, str]) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.connect()
        if trust:
            context = ssl.create_default_context(cafile=str(trust))
            connection.sock = context.wrap_socket(connection.sock, server_hostname="localhost")
        connection.request("POST", path, body=body, headers=fields, encode_chunked=True)  # type: ignore[arg-type]
        answer = connection.getresponse()
        answer.read()
        return answer.status


def by_requests(port: int, path: str, trust: Path | None) -> int:
    url = f"https://localhost:{port}" if trust else f"http://127.0.0.1:{port}"
    return requests.post(url + path, data=BODY, verify=str(trust or True), timeout=20).status_code


def by_a_socket(port: int, path: str, trust: Path | None) -> int:
    """A client that sends all before it looks for an answer, and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        context = ssl.create_default_context(cafile=str(trust)) if trust else None
        with context.wrap_socket(plain, server_hostname="localhost") if context else plain as connection:
            fields = f"Host: h\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
            connection.sendall(f"POST {path} HTTP/1.1\r\n{fields}".encode() + BODY)
            with connection.makefile("rb") as stream:
                return int(stream.read().split()[1])


CLIENTS: list[Callable[[int, str, Path | None], int]] = [
    by_http_client, in_chunks, by_requests, by_a_socket,
]  # fmt: skip


def answers(
    client: Callable[[int, str, Path | None], int], port: int, path: str = "/", trust: Path | None = None
) -> Counter[object]:
    """What a hundred uploads one after the other got."""

    def one() -> object:
        try:
            return client(port, path, trust)
        except Exception as error:
            return repr(error)

    return Counter(one() for _ in range(100))


def all_refused() -> dict[str, dict[int, int]]:
    return {client.__name__: {401: 100} for client in CLIENTS}
