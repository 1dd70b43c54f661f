"""A server of HTTP/2 on asyncio: with TLS or, by prior knowledge, without. `http2.py` has the protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Coroutine, Iterable
from math import inf
from typing import Any

from .http2 import Application, Connection, Request, Response
from .tls import ALPN

READ_BYTES = 1024  # of one connection before the others have their turn: h2 takes up to 3 µs for each byte
HANDSHAKE_SECONDS = 5.0  # of TLS
GOODBYE_SECONDS = 5.0  # for a client to take the last that it is sent
BACKLOG = 128  # connections that wait to be accepted
CONNECTIONS = 900  # of the 1024 descriptors that a process usually has, some are for the store
ACCEPT_SECONDS = 1.0  # before another try, when none could be accepted

_log = logging.getLogger("patauth")


class Http2Server:
    """Serves an application on a socket that listens. Start and stop it in one event loop."""

    def __init__(
        self, application: Application, listening: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self.application = application
        # Of all connections: what has come is read before anything else comes. TLS fills it slice by slice.
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.links: set[_Link] = set()
        self.is_stopping = False
        self._tls = tls
        self._listening = listening
        self._arriving: set[_Link] = set()  # that may not have made their TLS
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_gone = asyncio.Event()

    async def start(self) -> None:
        """Begin to serve."""
        self._listening.listen(BACKLOG)
        self._listening.setblocking(False)
        # What is accepted inherits this; without it an answer waits 40 ms now and then. asyncio sets it for
        # sockets of its own making alone.
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepting = asyncio.create_task(self._accept())

    async def stop(self, seconds: float) -> None:
        """Take no new calls, and return when those there are have their answers, or after `seconds`."""
        self.is_stopping = True
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listening.close()
        self._last_gone.clear()
        for link in list(self.links):
            link.stop()
        if self.links:
            try:
                await asyncio.wait_for(self._last_gone.wait(), seconds)
            except TimeoutError:
                for link in self.links:
                    link.transport.abort()

    async def _accept(self) -> None:
        while True:
            try:
                connected, _ = await asyncio.get_running_loop().sock_accept(self._listening)
            except ConnectionAbortedError:  # the client has gone
                continue
            except OSError as problem:
                _log.warning("no connection can be accepted at the moment: %s", problem.strerror)
                await asyncio.sleep(ACCEPT_SECONDS)
                continue
            if self._has_room():
                self._keep(self._connect(connected))
            else:
                connected.close()
            await asyncio.sleep(0)  # who comes again and again takes turns with all others

    def _has_room(self) -> bool:
        """Return whether one more connection may come; the one that is idle the longest goes for it."""
        if len(self.links | self._arriving) < CONNECTIONS:
            return True
        idle = [link for link in self.links if link.connection.is_idle()]
        if idle:
            min(idle, key=lambda link: link.connection.due()).stop()
        return bool(idle)

    async def _connect(self, connected: socket.socket) -> None:
        more: dict[str, Any] = {}
        if self._tls is not None:
            more = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": GOODBYE_SECONDS}
        link = _Link(self)
        self._arriving.add(link)
        try:
            await link.loop.connect_accepted_socket(lambda: link, connected, ssl=self._tls, **more)
        except OSError:  # TLS was not made, or not in time: any client can cause that
            pass
        finally:
            self._arriving.discard(link)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the event loop itself would forget it
        task.add_done_callback(self._tasks.discard)

    def answer(self, link: _Link, requests: Iterable[Request]) -> None:
        """Have requests answered, all at the same time."""
        for request in requests:
            self._keep(self._answer(link, request))

    async def _answer(self, link: _Link, request: Request) -> None:
        response: Response | None = None
        try:
            if not request.is_given_up:
                response = await self.application.answer(request)
        except Exception:
            _log.exception("a call failed")
        link.connection.answer(request, response, link.loop.time())
        link.flush()

    def gone(self, link: _Link) -> None:
        """Forget a connection that is lost."""
        self.links.discard(link)
        if not self.links:
            self._last_gone.set()


class _Link(asyncio.BufferedProtocol):
    """Carries bytes between a socket and its `Connection`, and tells that the time."""

    transport: asyncio.Transport
    connection: Connection

    def __init__(self, server: Http2Server) -> None:
        self._server = server
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        name = transport.get_extra_info("peername")
        peer = name[0] if isinstance(name, tuple) else None
        self.connection = Connection(self._server.application, peer, self.loop.time())
        self._server.links.add(self)
        spoken = transport.get_extra_info("ssl_object")
        if spoken is not None and spoken.selected_alpn_protocol() != ALPN:  # RFC 9113 §3.2
            self.connection.lose()
            self.transport.abort()
        elif self._server.is_stopping:
            self.stop()
        else:
            self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        requests = self.connection.receive(bytes(self._server.buffer[:nbytes]), self.loop.time())
        self._server.answer(self, requests)
        self.flush()

    def pause_writing(self) -> None:
        self.transport.pause_reading()  # or what is to be sent back would be without an end
        self.connection.set_full(True, self.loop.time())

    def resume_writing(self) -> None:
        self.connection.set_full(False, self.loop.time())
        self.transport.resume_reading()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.lose()
        if self._timer is not None:
            self._timer.cancel()
        self._server.gone(self)

    def stop(self) -> None:
        self.connection.stop()
        self.flush()

    def flush(self) -> None:
        """Send what there is to send, and see to it that the time is told."""
        if self._is_closing or self.transport.is_closing():
            return
        while data := self.connection.take(self.loop.time()):
            self.transport.write(data)
        if self.connection.is_over:
            self._is_closing = True
            self.transport.close()
            self._wake(self.loop.time() + GOODBYE_SECONDS)
        else:
            self._wake(self.connection.due())

    def _wake(self, due: float) -> None:
        """Call `_woken` at that time, or earlier."""
        if due < inf and (self._timer is None or due < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(due, self._woken)

    def _woken(self) -> None:
        self._timer = None
        if self._is_closing:
            self.transport.abort()
        else:
            self.connection.tick(self.loop.time())
            self.flush()
