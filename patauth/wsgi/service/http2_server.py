"""A server of HTTP/2 on asyncio: with TLS or, by prior knowledge, without. `http2.py` has the protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

from ...model.address import client_network
from .http2 import Application, Connection, Request, Response
from .tls import ALPN

READ_BYTES = 1024  # of one connection before the others have their turn: h2 takes up to 3 µs for each byte
HANDSHAKE_SECONDS = 5.0  # of TLS
GOODBYE_SECONDS = 5.0  # for a client to take the last that it is sent
BACKLOG = 128  # connections that wait to be accepted
CONNECTIONS = 900  # of the 1024 descriptors that a process usually has, some are for the store
ACCEPT_SECONDS = 1.0  # before another try, when none could be accepted

_log = logging.getLogger("patauth")


class Place(NamedTuple):
    """Holds what one connection has its place by. `network`: of its client; None: it has no address."""

    network: str | None
    works: bool
    idle_since: float


def displaced(places: Sequence[Place], newcomer: str | None) -> int | None:
    """Return the index of the connection whose place a newcomer takes; None: the newcomer is closed.

    `newcomer` is its client's network. The network that has the most connections gives one up, that which is
    idle the longest, and none gives one to a network that has more. A connection that works goes only for
    another network, and only if its own has more than half of all: one client shuts nobody out.
    """
    counts = Counter(place.network for place in places)

    def may_go(place: Place) -> bool:
        count = counts[place.network]
        if place.works and (place.network == newcomer or count <= len(places) / 2):
            return False
        return count >= counts[newcomer]

    def rank(at: int) -> tuple[int, bool, float]:
        return -counts[places[at].network], places[at].works, places[at].idle_since

    return min((at for at, place in enumerate(places) if may_go(place)), key=rank, default=None)


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
                connected, address = await asyncio.get_running_loop().sock_accept(self._listening)
            except ConnectionAbortedError:  # the client has gone
                continue
            except OSError as problem:
                _log.warning("no connection can be accepted at the moment: %s", problem.strerror)
                await asyncio.sleep(ACCEPT_SECONDS)
                continue
            link = _Link(self, connected, address[0] if isinstance(address, tuple) else None)
            if self._makes_room(link):
                self._arriving.add(link)
                self._keep(self._connect(link, connected))
            else:
                connected.close()
            await asyncio.sleep(0)  # who comes again and again takes turns with all others

    def _makes_room(self, newcomer: _Link) -> bool:
        """Return whether one more connection may come; if it takes the place of another, that one goes."""
        held = self.links | self._arriving
        if len(held) < CONNECTIONS:
            return True
        staying = [link for link in held if not link.is_displaced]
        at = displaced([link.place() for link in staying], newcomer.network)
        if at is None:
            return False
        staying[at].displace()
        return True

    async def _connect(self, link: _Link, connected: socket.socket) -> None:
        more: dict[str, Any] = {}
        if self._tls is not None:
            more = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": GOODBYE_SECONDS}
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

    def __init__(self, server: Http2Server, connected: socket.socket, peer: str | None) -> None:
        self.network = client_network(peer)
        self.is_displaced = False
        self.loop = asyncio.get_running_loop()
        self._server = server
        self._socket = connected
        self._peer = peer
        self._came = self.loop.time()
        self._is_made = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connection = Connection(self._server.application, self._peer, self.loop.time())
        self._is_made = True
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

    def place(self) -> Place:
        if self._is_made:
            return Place(self.network, self.connection.works(), self.connection.idle_since)
        return Place(self.network, False, self._came)

    def displace(self) -> None:
        """End at once, without waiting for what the client does: the descriptor is needed."""
        self.is_displaced = True
        if self._is_made:
            self.stop()  # a client that reads learns that it may call again
            self.transport.abort()
        else:
            with suppress(OSError):  # the client has gone
                self._socket.shutdown(socket.SHUT_RDWR)  # which ends its TLS

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
