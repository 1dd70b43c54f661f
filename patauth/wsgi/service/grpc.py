"""The gRPC port of `patauth serve`: ZITADEL's methods and a health service on grpcio's own server.

A call becomes a request to the routes of `zitadel/`, so rights, quotas and errors are those of the other
forms. Only credentials and the organisation are taken from the metadata; the client's address is the peer's,
whatever a proxy or a client says.

The process that runs this imports grpcio and is never forked. A call holds a thread only once its message is
there, so clients that send slowly or without end hold up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio

from ...authority import Authority
from ...errors import ConfigurationError, PatAuthError
from ..answers import Answer
from ..site import Site
from ..zitadel import v1, v2
from ..zitadel.call import Content
from ..zitadel.errors import Refusal
from ..zitadel.forms import MAX_MESSAGE
from ..zitadel.messages import read_request, write_answer, write_status
from ..zitadel.routes import METHODS, call
from .tls import Tls

_log = logging.getLogger("patauth")

MESSAGE_SECONDS = 5.0  # for a whole message, from the beginning of the call
STOP_SECONDS = 10.0  # for calls in flight

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVICES = {"", v1.SERVICE.strip("/"), v2.SERVICE.strip("/")}
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else two servers could share a port, and nobody would notice
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message could unpack to a large one
    ("grpc.max_concurrent_streams", 100),  # of one connection
    ("grpc.max_metadata_size", 8192),  # bytes; above it some calls are refused, above the next one all
    ("grpc.absolute_max_metadata_size", 16_384),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # more pings than that end a connection
]


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Serves one Authority on an address. Start and stop it in one event loop."""

    def __init__(self, authority: Authority, *, bind: str, threads: int, tls: Tls | None) -> None:
        """Raise `ConfigurationError` for an address or a certificate that cannot be used."""
        self._authority = authority
        self._site = Site(authority)
        self._carriers = {"authorization", "x-zitadel-orgid", *map(str.lower, self._site.token_headers)}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers([self])
        try:
            if tls is None:
                self.port: int = self._server.add_insecure_port(bind)
            else:
                self.port = self._server.add_secure_port(bind, grpc.ssl_server_credentials([tls]))
        except RuntimeError:
            raise ConfigurationError(
                f"cannot serve gRPC on {bind}: see that the address is free and the certificate fits its key"
            ) from None

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Refuse new calls, and return when those in flight are answered, or after 10 s."""
        await self._server.stop(STOP_SECONDS)
        # What was given up still runs to its end, which its deadline bounds.
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def service(self, handler_call_details: Any) -> Any:
        """Return what handles a method. grpcio calls this, and refuses a method for which it is None."""
        path: str = handler_call_details.method
        if path != _HEALTH and path not in METHODS:
            return None
        answer = self._health if path == _HEALTH else partial(self._call, path)

        # As a stream: for the message of a unary call, grpcio would wait for as long as the client likes.
        async def handle(messages: AsyncIterator[bytes], context: Any) -> Any:
            return await answer(await _one_message(messages, context), context)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _call(self, method: str, message: bytes, context: Any) -> bytes:
        form = _OneCall(message)
        environ = self._environ(context.invocation_metadata(), context.peer())
        answer: Answer = await self._in_thread(partial(call, environ, self._site, method, form))
        fields = [(name.lower(), value) for name, value in answer.fields]
        if form.refusal is not None:
            details = ("grpc-status-details-bin", answer.body)
            await _abort(context, form.refusal.number, form.refusal.text, [*fields, details])
        context.set_trailing_metadata(fields)
        return answer.body

    async def _health(self, message: bytes, context: Any) -> bytes:
        try:
            service = read_request(_HEALTH, message).get("service", "")
        except PatAuthError as error:
            await _abort(context, 3, str(error))
        if service not in _SERVICES:
            await _abort(context, 5, "there is no such service here")
        return write_answer(_HEALTH, {"status": await self._in_thread(self._status)})

    def _status(self) -> str:
        try:
            self._authority.ping()
        except PatAuthError as problem:
            _log.warning("not ready: %s", problem.detail or problem)
            return "NOT_SERVING"
        return "SERVING"

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def _environ(self, metadata: Iterable[tuple[str, str | bytes]], peer: str) -> dict[str, Any]:
        """Return the request that a WSGI server would make of a call."""
        environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "REMOTE_ADDR": address_of(peer)}
        for name, value in metadata:
            if name in self._carriers and isinstance(value, str):
                key = "HTTP_" + name.upper().replace("-", "_")
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ


class _OneCall:
    """The form of one call of gRPC: the server has taken off the frame, and sends the status itself."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self.refusal: Refusal | None = None

    def read(self, environ: Mapping[str, Any], method: str) -> Content:
        return read_request(method, self._message)

    def done(self, content: Content, method: str) -> Answer:
        return Answer(200, [], write_answer(method, content))

    def refused(self, refusal: Refusal) -> Answer:
        self.refusal = refusal
        return Answer(refusal.status, refusal.fields, write_status(refusal))


async def _one_message(messages: AsyncIterator[bytes], context: Any) -> bytes:
    found: bytes | None = None
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            async for message in messages:
                if found is not None:
                    await _abort(context, 12, "send one message; there is more after it")
                found = message
    except TimeoutError:
        await _abort(context, 4, f"the message did not come within {MESSAGE_SECONDS:g} s")
    if found is None:
        await _abort(context, 12, "send one message; there is none")
    return found


async def _abort(context: Any, number: int, text: str, trailers: Iterable[Any] = ()) -> NoReturn:
    """End a call with an error. Raise what grpcio wants to see then."""
    code = next(code for code in grpc.StatusCode if code.value[0] == number)
    raise await context.abort(code, text, tuple(trailers))


def address_of(peer: str) -> str | None:
    """Return the address in the name that grpcio gives to a peer, such as `ipv6:%5B::1%5D:50000`."""
    family, _, rest = unquote(peer).partition(":")
    host, _, _ = rest.rpartition(":")
    return host.strip("[]") if family in ("ipv4", "ipv6") else None


def serve(
    authority: Authority, *, bind: str, threads: int, tls: Tls | None, started: Callable[[], None]
) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input; call `started` when the port is open.

    Raise `ConfigurationError`.
    """

    async def run() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)

        def parent_ended() -> None:
            loop.remove_reader(sys.stdin)
            over.set()

        loop.add_reader(sys.stdin, parent_ended)  # nothing is sent to it, so what can be read is its end
        server = GrpcServer(authority, bind=bind, threads=threads, tls=tls)
        await server.start()
        started()
        await over.wait()
        await server.stop()

    asyncio.run(run())
