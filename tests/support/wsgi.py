"""Requests to a WSGI application under `wsgiref.validate`, outside and inside of patauth."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref import simple_server
from wsgiref.validate import validator

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app
from werkzeug.wrappers import Request

from patauth.settings import SURFACE_NAMES

App = Callable[..., Iterable[bytes]]
APIS = tuple(name for name in SURFACE_NAMES if name != "page")  # the surfaces that programs use


class Echo:
    """An application that remembers what reached it, and answers with who it was told calls."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.seen.append(dict(environ))
        principal = environ.get("patauth.principal")
        who = None if principal is None else principal.subject.id
        body = json.dumps({"who": who, "user": environ.get("REMOTE_USER"), "path": environ["PATH_INFO"]})
        start_response("200 OK", [("Content-Type", "application/json"), ("X-App", "echo")])
        return [body.encode()]


def request(
    app: App,
    path: str = "/",
    *,
    method: str = "GET",
    authorization: str | None = None,
    environ: dict[str, Any] | None = None,
    raw_path: str | None = None,
    headers: dict[str, str] | None = None,
    **given: Any,
) -> TestResponse:
    """One request. `raw_path` goes into PATH_INFO as it is, as a server would decode it."""
    builder = EnvironBuilder(path, method=method, headers=headers, **given)
    values = builder.get_environ()
    builder.close()
    values["REMOTE_ADDR"] = "203.0.113.9"
    if raw_path is not None:
        values["PATH_INFO"] = raw_path
    if authorization is not None:
        values["HTTP_AUTHORIZATION"] = authorization
    values.update(environ or {})
    body, status, fields = run_wsgi_app(validator(app), values, buffered=True)
    return TestResponse(body, status, fields, Request(values))


@contextmanager
def serving(app: App, port: int = 0, *, tls: bool = False) -> Iterator[str]:
    """The application on a TCP socket of its own, several requests at a time; its URL.

    `tls`: with a certificate that nobody trusts.
    """

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    server = make_server(
        "127.0.0.1", port, app, threaded=True, request_handler=Quiet, ssl_context="adhoc" if tls else None
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.002,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Threading(ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


class _Silent(simple_server.WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return str(self.client_address[0])


@contextmanager
def folding(app: App) -> Iterator[str]:
    """The application on wsgiref, which makes the same of `X-A-B`, `X_A_B` and `x-a_b`; its URL."""
    with simple_server.make_server("127.0.0.1", 0, app, _Threading, _Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.002,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
