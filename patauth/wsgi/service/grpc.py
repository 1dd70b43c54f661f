"""The gRPC port of `patauth serve`: ZITADEL's methods and a health service over HTTP/2.

A call becomes a request to the routes of `zitadel/`, so rights, quotas and errors are those of the other
forms. Only credentials, the organisation and the request's id are taken from the metadata. The client's
address is the peer's, whatever a proxy or a client says; it is not known for certain if one says anything. A
call holds a thread only once its message is there, so clients that send slowly or without end hold up nobody.

Source: PROTOCOL-HTTP2.md and compression.md of https://github.com/grpc/grpc/tree/master/doc.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from ipaddress import IPv6Address
from typing import Any

from ...authority import Authority
from ...errors import NotFound, Overloaded, PatAuthError
from ...events.request import REQUEST, CurrentRequest, request_id
from ...logs import REQUEST_ID
from ..answers import Answer
from ..bodies import media_type_of
from ..errors import UNCOMPRESSED
from ..request import PAT_ID
from ..site import Site
from ..zitadel import framing, v1, v2
from ..zitadel.errors import refusal
from ..zitadel.forms import GRPC, GRPC_TYPES, MAX_MESSAGE
from ..zitadel.routes import METHODS, call
from .http2 import FIELDS_BYTES, MESSAGE_SECONDS, Fault, Fields, Request, Response
from .http2_server import Http2Server
from .logs import CALLS
from .traces import within_trace_of

_log = logging.getLogger("patauth")

STOP_SECONDS = 10.0  # for calls in flight
WAITING = 100  # calls for each thread, with those that have one; more are refused

_PASSED_ON = {"x-forwarded-for", "forwarded"}  # that one is there counts, and not what it says

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVICES = {"", v1.SERVICE.strip("/"), v2.SERVICE.strip("/")}
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])", re.ASCII)
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class GrpcServer:
    """Serves one Authority on a socket that listens. Start and stop it in one event loop."""

    def __init__(
        self, authority: Authority, *, listening: socket.socket, threads: int, tls: ssl.SSLContext | None
    ) -> None:
        self._authority = authority
        self._within_trace = within_trace_of(authority.settings)
        self._site = Site(authority, identify=_nobody)
        self._carriers = {
            "authorization",
            "x-request-id",
            "traceparent",
            "x-zitadel-orgid",
            *map(str.lower, self._site.token_headers),
        }
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        self._most_waiting = WAITING * threads
        self._waiting = 0
        self._server = Http2Server(self, listening, tls)

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Refuse new calls, and return when those in flight are answered, or after 10 s."""
        await self._server.stop(STOP_SECONDS)
        # What was given up still runs to its end, which its deadline bounds.
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a call that is refused without its message, else None."""
        if request.fault is Fault.FIELDS:
            return _refused(8, f"the metadata is too large; send at most {FIELDS_BYTES} bytes")
        if request.fault is Fault.TIME:
            return _refused(4, f"the message did not come within {MESSAGE_SECONDS:g} s")
        fields = dict(request.fields)
        if request.method != "POST":
            return Response(405, [("allow", "POST")])
        if media_type_of({"CONTENT_TYPE": fields.get("content-type", "")}) not in GRPC_TYPES:
            return Response(415, [("accept", ", ".join(GRPC_TYPES))])
        if request.path != _HEALTH and request.path not in METHODS:
            return _refused(12, "there is no such method here")
        if fields.get("grpc-encoding", UNCOMPRESSED) != UNCOMPRESSED:
            accepted = ("grpc-accept-encoding", UNCOMPRESSED)
            return _refused(12, "send the message uncompressed", accepted)
        if "grpc-timeout" in fields and _timeout(request) is None:
            return _refused(3, "grpc-timeout: give 1 to 8 digits and one of H, M, S, m, u, n")
        return None

    def most(self, body: bytearray) -> int:
        """Return how many bytes a body may have: those of one message."""
        return framing.bytes_of_one(body, MAX_MESSAGE)

    async def answer(self, request: Request) -> Response:
        """Return the answer to a call, once a thread has decided it."""
        environ = self._environ(request)
        response = await self._answered(request, environ)
        _log_call(request, environ, response)
        return response

    async def _answered(self, request: Request, environ: dict[str, Any]) -> Response:
        if self._waiting >= self._most_waiting:
            return _response(GRPC.refused(refusal(Overloaded(), self._site.challenges)))
        self._waiting += 1
        try:
            decide = partial(self._decided, request, environ)
            return await asyncio.get_running_loop().run_in_executor(self._pool, decide)
        finally:
            self._waiting -= 1

    def _decided(self, request: Request, environ: dict[str, Any]) -> Response:
        timeout = _timeout(request)
        is_late = timeout is not None and time.monotonic() - request.began >= timeout
        if is_late or request.is_given_up:
            return _refused(4, "the time of the call was over before it began")
        if request.path not in METHODS:
            return _response(self._health(environ))
        token = REQUEST.set(CurrentRequest(environ, self._site.client_address))
        try:
            with self._within_trace(environ):
                return _response(call(environ, self._site, request.path, GRPC))
        finally:
            REQUEST.reset(token)

    def _health(self, environ: dict[str, Any]) -> Answer:
        try:
            if GRPC.read(environ, _HEALTH).get("service", "") not in _SERVICES:
                raise NotFound("there is no such service here")
        except PatAuthError as error:
            return GRPC.refused(refusal(error, self._site.challenges))
        return GRPC.done({"status": self._status()}, _HEALTH)

    def _status(self) -> str:
        try:
            self._authority.ping()
        except PatAuthError as problem:
            _log.warning("not ready: %s", problem.detail or problem)
            return "NOT_SERVING"
        return "SERVING"

    def _environ(self, request: Request) -> dict[str, Any]:
        """Return the request that a WSGI server would make of a call."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "REMOTE_ADDR": address_of(request.peer),
            "CONTENT_TYPE": dict(request.fields)["content-type"],
            "CONTENT_LENGTH": str(len(request.body)),
            "wsgi.input": BytesIO(request.body),
        }
        for name, value in request.fields:
            if name in _PASSED_ON:
                environ["HTTP_FORWARDED"] = ""
            elif name in self._carriers:
                key = "HTTP_" + name.upper().replace("-", "_")
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ


def _nobody(environ: dict[str, Any]) -> None:
    """Return that no person sends a call: it has no cookies, and the function of the setting no request."""


def _response(answer: Answer) -> Response:
    trailers = [(name.lower(), value) for name, value in answer.fields]
    return Response(200, [("content-type", GRPC_TYPES[0])], answer.body, trailers)


def _log_call(request: Request, environ: dict[str, Any], response: Response) -> None:
    """Write a line of the access log. The path is one of ours: others are refused before."""
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status,
        "grpcStatus": int(dict([*response.fields, *response.trailers])["grpc-status"]),
        "bytes": len(response.body),
        "durationSeconds": time.monotonic() - request.began,
        "address": environ["REMOTE_ADDR"],
        "patId": environ.get(PAT_ID),
        REQUEST_ID: request_id(environ),
    }
    known = {name: value for name, value in fields.items() if value is not None}
    CALLS.info("%(method)s %(path)s %(status)d", fields, extra=known)


def _refused(number: int, text: str, *fields: tuple[str, str]) -> Response:
    """Return the answer to a call about which nothing was decided. No log has it: any client can cause it."""
    status: Fields = [("grpc-status", str(number)), ("grpc-message", framing.message_field(text))]
    return Response(200, [("content-type", GRPC_TYPES[0])], b"", [*status, *fields])


def _timeout(request: Request) -> float | None:
    """Return how long (s) the client waits for an answer; None if it does not say so in gRPC's words."""
    found = _TIMEOUT.fullmatch(dict(request.fields).get("grpc-timeout", ""))
    return int(found[1]) * _SECONDS[found[2]] if found else None


def address_of(peer: str | None) -> str | None:
    """Return the address of a peer: that of IPv4 for one that IPv6 has mapped."""
    mapped = IPv6Address(peer).ipv4_mapped if peer is not None and ":" in peer else None
    return str(mapped) if mapped else peer


def serve(
    authority: Authority,
    *,
    listening: socket.socket,
    threads: int,
    tls: ssl.SSLContext | None,
    started: Callable[[], None],
) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input; call `started` when calls are taken."""

    async def run() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)

        def parent_ended() -> None:
            loop.remove_reader(sys.stdin)
            over.set()

        loop.add_reader(sys.stdin, parent_ended)  # nothing is sent to it, so what can be read is its end
        server = GrpcServer(authority, listening=listening, threads=threads, tls=tls)
        await server.start()
        started()
        await over.wait()
        await server.stop()

    asyncio.run(run())
