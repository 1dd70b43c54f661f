"""HTTP/2 as no library sends it: frames byte by byte, and what the frames of a server say."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = range(6)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PATIENCE = 30.0  # s
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Fields = Iterable[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    return struct.pack(">BHBBL", len(content) >> 16, len(content) & 0xFFFF, kind, flags, stream) + content


GREETING = PREFACE + frame(SETTINGS)
PINGED = frame(PING, content=bytes(8))


def setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, content=struct.pack(">HL", number, value))


def opened(stream: int, by: int) -> bytes:
    """A window that is opened by so many bytes; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", by))


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">L", 8))


def block(fields: Fields) -> bytes:
    """Fields as HPACK has them, without a use of the table."""
    return bytes(Encoder().encode([(name, value, True) for name, value in fields]))


def begun(stream: int, path: str = "/x", fields: Fields = (), flags: int = END_HEADERS) -> bytes:
    """The fields of a POST."""
    own = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
    return frame(HEADERS, flags, stream, block([*own, *fields]))


def asked(stream: int, body: bytes = b"", path: str = "/x", fields: Fields = ()) -> bytes:
    """A whole POST."""
    return begun(stream, path, fields) + frame(DATA, END_STREAM, stream, body)


def references(count: int, length: int = 1) -> bytes:
    """A block of a field of up to 126 bytes and references to it: one byte each, and a field when read."""
    return b"\x40\x01a" + bytes([length]) + b"a" * length + b"\xbe" * count


def read(data: bytes) -> list[Frame]:
    """Return the frames that a server has sent; fail if they are none."""
    found = []
    while data:
        one, length = Frame.parse_frame_header(memoryview(data[:9]))
        assert len(data) >= 9 + length, "a frame that is not whole"
        one.parse_body(memoryview(data[9 : 9 + length]))
        found.append(one)
        data = data[9 + length :]
    return found


class Reader:
    """Reads a server's frames, and keeps what each stream and the connection were told."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.decoder.max_allowed_table_size = 2**32 - 1  # what the client of a test has allowed
        self.frames: list[Frame] = []
        self.fields: dict[int, list[tuple[str, str]]] = {}  # of answers, trailers too
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def __call__(self, data: bytes) -> list[Frame]:
        new = read(data)
        for one in new:
            if isinstance(one, HeadersFrame):
                fields: Any = self.decoder.decode(one.data)
                self.fields.setdefault(one.stream_id, []).extend((name, value) for name, value in fields)
            if isinstance(one, DataFrame):
                self.bodies[one.stream_id] = self.bodies.get(one.stream_id, b"") + one.data
            if isinstance(one, HeadersFrame | DataFrame) and "END_STREAM" in one.flags:
                self.ended.add(one.stream_id)
        self.frames += new
        return new

    def told(self, kind: type[Frame]) -> list[Any]:
        """All frames of a kind."""
        return [one for one in self.frames if isinstance(one, kind)]


class Wire:
    """A socket with a server at its other end."""

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext | None = None,
        greeting: bytes = GREETING,
        source: str = "127.0.0.1",
    ) -> None:
        self.reader = Reader()
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._unread = b""
        self.send(greeting)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)

    def read(self) -> bool:
        """Read what comes next; return whether there was something before the end."""
        try:
            data = self._socket.recv(65_536)
        except ConnectionError:
            return False
        self._unread += data
        while len(self._unread) >= (whole := 9 + int.from_bytes(self._unread[:3], "big")) >= 9:
            self.reader(self._unread[:whole])
            self._unread = self._unread[whole:]
            if len(self._unread) < 9:
                break
        return bool(data)

    def answer(self, stream: int) -> dict[str, str]:
        """Wait for the end of an answer; return its fields."""
        while stream not in self.reader.ended:
            assert self.read(), "the connection has ended before the answer"
        return dict(self.reader.fields[stream])

    def is_closed(self) -> bool:
        """Wait for the end; fail when it does not come."""
        while self.read():
            pass
        return True


@contextmanager
def running(make: Callable[[socket.socket], Any]) -> Iterator[int]:
    """Run a server, made of a socket that listens, in an event loop of its own; yield the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        server = make(listening)
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
        try:
            yield listening.getsockname()[1]
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
