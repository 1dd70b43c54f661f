"""What a call sends to the server: recorded on the way through a socket of our own."""

from __future__ import annotations

import select
import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import Server, serving


class Recorder:
    """What came through the socket at `url` since `sent_by` began."""

    def __init__(self, url: str, sent: list[bytes]) -> None:
        self.url = url
        self._sent = sent

    def sent_by(self, call: Callable[[], object]) -> bytes:
        """The bytes that one call sends."""
        self._sent.clear()
        call()
        return b"".join(self._sent)


@contextmanager
def recorder_before(server: Server, path: Path) -> Iterator[Recorder]:
    """A recorder on a unix socket before a server. Close what is connected to it before this ends."""
    sent: list[bytes] = []

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as far:
                far.connect(server.socket)
                while True:
                    for source in select.select([self.request, far], [], [])[0]:
                        data = source.recv(65_536)
                        if not data:
                            return
                        if source is self.request:
                            sent.append(data)
                        (far if source is self.request else self.request).sendall(data)

    with serving(path, Relay) as url:
        yield Recorder(url, sent)
