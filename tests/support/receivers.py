"""A receiver of webhooks on loopback, which does what a test wants of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

KEY = bytes(range(32))
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # of KEY
OTHER_KEY = b"o" * 24


@dataclass
class Receiver:
    """`behaviour` answers a request, given the handler; what was answered 200 is `taken`."""

    url: str
    behaviour: Callable[[Any], None]
    taken: list[dict[str, Any]] = field(default_factory=list)  # events, verified by the library
    tries: list[str] = field(default_factory=list)  # the id of each request
    keys: list[bytes] = field(default_factory=lambda: [KEY])
    free: threading.Event = field(default_factory=threading.Event)  # set: nobody is held up any more

    @property
    def ids(self) -> set[str]:
        return {event["id"] for event in self.taken}


def takes(handler: Any) -> None:
    """Verify the event with each key, keep it, and answer 200."""
    receiver = handler.server.receiver
    for key in receiver.keys:
        event = Webhook(key).verify(handler.body, dict(handler.headers))
    assert event["id"] == handler.headers["webhook-id"]
    receiver.taken.append(event)
    answers(204)(handler)


def answers(status: int, *fields: tuple[str, str], body: bytes = b"") -> Callable[[Any], None]:
    """Answer with a status."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        for name, value in fields:
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def says(text: bytes) -> Callable[[Any], None]:
    """Send these bytes, whatever they are, and close."""

    def say(handler: Any) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return say


def hangs(handler: Any) -> None:
    """Send nothing until the test ends."""
    handler.server.receiver.free.wait(60)


def drips(handler: Any) -> None:
    """Send a header that never ends, byte by byte."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not handler.server.receiver.free.wait(0.02):
        handler.wfile.write(b"x")


def in_turn(*behaviours: Callable[[Any], None]) -> Callable[[Any], None]:
    """Do one after the other, and the last one for good."""
    left = list(behaviours)
    lock = threading.Lock()

    def behave(handler: Any) -> None:
        with lock:
            now = left.pop(0) if len(left) > 1 else left[0]
        now(handler)

    return behave


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        self.body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        receiver.tries.append(self.headers["webhook-id"])
        with contextlib.suppress(ConnectionError):
            receiver.behaviour(self)

    def do_GET(self) -> None:
        self.do_POST()  # what follows a redirect may be one

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def receiving(behaviour: Callable[[Any], None] = takes, *, port: int = 0) -> Iterator[Receiver]:
    """A receiver that listens."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook?of=patauth", behaviour)
    server.receiver = receiver  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.002,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.free.set()
        server.shutdown()
        thread.join()
        server.server_close()
