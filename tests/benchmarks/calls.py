"""WSGI calls without a server: a request as gunicorn would hand it over, and its answer consumed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

PATH = "/reports/1"
LIMITED = "/limited"  # of peers: the same behind a quota of `FEW` in a minute
FEW = 3
SCOPE = "reports:read"
BODY = b"report 1\n"


def bare(_: dict[str, Any], start_response: Any) -> list[bytes]:
    """The application that is protected."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "9")])
    return [BODY]


def environ_of(
    authorization: str | None = None, *, method: str = "GET", path: str = PATH, body: bytes = b"", **more: str
) -> dict[str, Any]:
    """A request with the fields that curl sends, behind no proxy."""
    environ: dict[str, Any] = {
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "SERVER_SOFTWARE": "gunicorn",
        "REQUEST_METHOD": method,
        "QUERY_STRING": "",
        "RAW_URI": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "curl/8.5.0",
        "HTTP_ACCEPT": "*/*",
        "REMOTE_ADDR": "203.0.113.9",
        "REMOTE_PORT": "50000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
    }
    if authorization is not None:
        environ["HTTP_AUTHORIZATION"] = authorization
    if body:
        environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/x-www-form-urlencoded"}
    return environ | more


class WrongAnswer(Exception):
    """A case got a wrong answer, so its time would mean nothing."""


class Calling:
    """One request over and over, each time with an environ of its own, and the answer that it must have.

    `environs`: several take turns. Raises `WrongAnswer`.
    """

    def __init__(self, app: App, environs: Sequence[Mapping[str, Any]], status: int) -> None:
        self._app = app
        self._environs = cycle(environs)
        self._expected = str(status)
        self._seen = ""

    def _start_response(self, status: str, _headers: Any, _exc_info: Any = None) -> Callable[[bytes], None]:
        self._seen = status
        return _no_write

    def __call__(self) -> bytes:
        environ = dict(next(self._environs))
        if "CONTENT_LENGTH" in environ:
            environ["wsgi.input"].seek(0)
        answer = self._app(environ, self._start_response)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        if self._seen[:3] != self._expected:
            raise WrongAnswer(f"{self._seen!r} where {self._expected} was due: {body[:200]!r}")
        return body


def _no_write(_: bytes) -> None:
    raise WrongAnswer("write() was called")


def answers(app: App, authorization: str | None, status: int, path: str = PATH) -> None:
    """Check one answer; with 200, its body too. Raises `WrongAnswer`."""
    body = Calling(app, [environ_of(authorization, path=path)], status)()
    if status == 200 and body != BODY:
        raise WrongAnswer(f"the body is {body[:200]!r}")
