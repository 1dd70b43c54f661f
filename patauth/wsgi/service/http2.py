"""A server's side of an HTTP/2 connection, without I/O and clock: bytes come in, requests and bytes go out.

h2 speaks the protocol. The bounds here hold whatever a client sends, acknowledges or leaves unread. Times are
seconds of a clock that never goes back. Nothing that a client sends raises an exception.

Source: RFC 9113; RFC 7541 (HPACK); CVE-2023-44487 and CVE-2025-8671 for calls that are given up at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import NamedTuple, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import NeverIndexedHeaderTuple

CALLS = 100  # of one connection: those that are open, and those that were given up and still run
FRAME_BYTES = 16_384  # the least that RFC 9113 §4.2 allows; h2 reads 16 MB before it looks at the length
FIELDS_BYTES = 8192  # of the fields of a call, as RFC 9113 §6.5.2 counts them; with more, it is refused
# More ends the connection, which is out of step then. A proxy passes on up to 60 KiB (Envoy), and of all its
# clients only the one that sends too much is to lose a call.
MAX_FIELDS_BYTES = 65_536
MAX_BLOCK_BYTES = 65_536  # the same, as they are sent; h2 keeps 1 MB before it looks at them
PATIENCE = 1000  # frames that a connection may send without a call to its end
FRAMES_PER_CALL = 20  # which a call to its end adds to that; a client needs two to six
FRAMES_PER_FAULT = 10  # which a call takes off that is given up, or has a fault, beyond those it has
CHUNK_BYTES = 65_536  # of answers that are written before the client has taken what was written before

GREETING_SECONDS = 5.0  # for the client's preface and settings
MESSAGE_SECONDS = 5.0  # for a whole body, from the beginning of the call
ANSWER_SECONDS = 30.0  # for the client to take an answer, or anything else that it is sent
IDLE_SECONDS = 60.0  # without a call

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">BHBBL")  # of a frame: 3 bytes for its length, then type, flags, stream
_HEADERS, _SETTINGS, _GOAWAY, _CONTINUATION = 1, 4, 7, 9
_ANY_NUMBER = 2**31 - 1

Fields = list[tuple[str, str]]


class Fault(Enum):
    """Says why a request is refused by these bounds."""

    FIELDS = auto()  # it has more than FIELDS_BYTES
    TIME = auto()  # its body did not come within MESSAGE_SECONDS


@dataclass(eq=False, slots=True)
class Request:
    """Holds a request. `peer` is the client's address, and `began` the time when its fields had come."""

    stream: int
    method: str
    path: str
    fields: Fields  # names in lower case; characters of values are bytes, as in WSGI
    peer: str | None
    began: float
    body: bytearray = field(default_factory=bytearray)
    fault: Fault | None = None
    is_given_up: bool = False  # nobody waits for the answer


class Response(NamedTuple):
    """Holds an answer. One without a body has its fields and its trailers together (gRPC: trailers-only)."""

    status: int
    fields: Fields
    body: bytes = b""
    trailers: Fields = []  # noqa: RUF012 - nobody changes it


class Application(Protocol):
    """Answers requests."""

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request whose body does not matter; one with a fault has to have one."""

    def most(self, body: bytearray) -> int:
        """Return how many bytes a body may have, as far as its beginning tells. With more, it is whole."""

    async def answer(self, request: Request) -> Response:
        """Return the answer to a request whose body is whole."""


class _State(Enum):
    READING = auto()
    RUNNING = auto()
    ANSWERING = auto()


@dataclass(eq=False, slots=True)
class _Call:
    request: Request
    due: float  # when the state has lasted too long
    has_ended: bool  # the client sends no more of it
    state: _State = _State.READING
    left: memoryview = field(default_factory=lambda: memoryview(b""))  # of the answer's body
    trailers: Fields = field(default_factory=list)


class _H2(H2Connection):
    DEFAULT_MAX_HEADER_LIST_SIZE = MAX_FIELDS_BYTES  # for HPACK too, before any settings are acknowledged
    MAX_CLOSED_STREAMS = 10 * CALLS  # that it remembers; 65 536 would take megabytes of a long connection


class Connection:
    """Reads what a client sends, and writes what it is sent.

    `receive` and `tick` may make bytes to be sent, and so may all that changes the connection: send what
    `take` returns after each of them. Close the connection once `is_over` is true and all is sent.
    """

    def __init__(self, application: Application, peer: str | None, now: float) -> None:
        self.is_over = False
        self.idle_since = now  # when it began, or its last call ended
        self._application = application
        self._peer = peer
        self._h2 = _H2(H2Configuration(client_side=False))
        self._h2.local_settings = _settings(CALLS, FIELDS_BYTES)
        self._h2.initiate_connection()
        # What is too many is refused here, call by call: h2 would end the connection of a client that has
        # sent them before it could read how many it may.
        self._h2.local_settings = _settings(_ANY_NUMBER, MAX_FIELDS_BYTES)
        self._calls: dict[int, _Call] = {}
        self._at_work: set[int] = set()  # the streams of calls that run or are being answered
        self._preface = _PREFACE  # what is missing of it
        self._incoming = bytearray()  # at most one frame that is not whole, and what has come with it
        self._block = 0  # bytes of the fields that come
        self._patience = PATIENCE
        self._has_greeted = False
        self._is_leaving = False  # it ends with its last call
        self._farewell = b""  # a GOAWAY that h2 does not know of: it would take no more calls to their end
        self._full_until = inf  # when the client has to have read what was written

    # -- what comes ------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Request]:
        """Read bytes; return the requests whose bodies are whole now."""
        part, rest = data[: len(self._preface)], data[len(self._preface) :]
        if not self._preface.startswith(part):  # another protocol: what could be said would not be understood
            self.lose()
            return []
        self._preface = self._preface[len(part) :]
        self._incoming += rest
        whole: list[Request] = []
        try:
            if part:
                self._h2.receive_data(part)
            for frame in self._frames(now):
                for event in self._h2.receive_data(frame):
                    self._take_in(event, now, whole)
        except ProtocolError:  # h2 has written what was wrong
            self.lose()
        return whole

    def _frames(self, now: float) -> Iterator[bytes]:
        """Yield the frames that h2 is to read, one by one, each as soon as it is whole."""
        while not self.is_over and len(self._incoming) >= _HEAD.size:
            high, low, kind, _, _ = _HEAD.unpack_from(self._incoming)
            length = high << 16 | low
            if length > FRAME_BYTES:
                return self._end(ErrorCodes.FRAME_SIZE_ERROR)
            if len(self._incoming) < _HEAD.size + length:
                return None
            frame = bytes(self._incoming[: _HEAD.size + length])
            del self._incoming[: len(frame)]
            if not self._has_greeted:
                if kind != _SETTINGS:
                    return self._end(ErrorCodes.PROTOCOL_ERROR)
                self._has_greeted = True
                self.idle_since = now
            self._block = length if kind == _HEADERS else self._block + length * (kind == _CONTINUATION)
            self._patience -= 1
            if self._patience < 0 or self._block > MAX_BLOCK_BYTES:
                return self._end(ErrorCodes.ENHANCE_YOUR_CALM)
            if kind == _GOAWAY:  # h2 would not answer the calls that are open
                self._leave()
            else:
                yield frame
        return None

    def _take_in(self, event: Event, now: float, whole: list[Request]) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event, now)
            return
        stream = getattr(event, "stream_id", None)
        if isinstance(event, DataReceived):  # what comes after the answer is dropped, and asked for no more
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        call = self._calls.get(stream or 0)
        if call is None:
            return
        if isinstance(event, DataReceived):
            if call.state is _State.READING:
                call.request.body += event.data
                if len(call.request.body) > self._application.most(call.request.body):
                    self._run(call, whole)
        elif isinstance(event, StreamEnded):
            call.has_ended = True
            if call.state is _State.READING:
                self._run(call, whole)
        elif isinstance(event, StreamReset) and not call.request.is_given_up:
            # By the client, or by h2 because of what the client has sent.
            self._patience -= FRAMES_PER_FAULT
            call.request.is_given_up = True
            self._at_work.discard(call.request.stream)
            if call.state is not _State.RUNNING:  # one that runs counts until it has run
                self._forget(call, now)

    def _begin(self, event: RequestReceived, now: float) -> None:
        stream = event.stream_id
        if self._is_leaving or len(self._calls) >= CALLS:
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        found = [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in event.headers
        ]
        special = {name: value for name, value in found if name.startswith(":")}
        fields = [(name, value) for name, value in found if name not in special]
        method, path = special.get(":method", ""), special.get(":path", "")
        size = sum(32 + len(name) + len(value) for name, value in found)
        fault = Fault.FIELDS if size > FIELDS_BYTES else None
        request = Request(stream, method, path, fields, self._peer, now, fault=fault)
        self._calls[stream] = _Call(request, now + MESSAGE_SECONDS, event.stream_ended is not None)
        refusal = self._application.refuse(request)
        if refusal is not None:
            self.answer(request, refusal, now)

    def _run(self, call: _Call, whole: list[Request]) -> None:
        call.state, call.due = _State.RUNNING, inf
        self._at_work.add(call.request.stream)
        whole.append(call.request)

    # -- what goes -------------------------------------------------------------------------------------------

    def answer(self, request: Request, response: Response | None, now: float) -> None:
        """Write the answer to a request; None says that there is none, for a fault of this server."""
        call = self._calls[request.stream]
        if request.is_given_up or self.is_over:
            self._forget(call, now)
        elif response is None:
            self._h2.reset_stream(request.stream, ErrorCodes.INTERNAL_ERROR)
            self._forget(call, now)
        else:
            fields = [(":status", str(response.status)), *response.fields]
            if response.body:
                self._h2.send_headers(request.stream, _unindexed(fields))
                call.left, call.trailers = memoryview(response.body), response.trailers
                call.state, call.due = _State.ANSWERING, now + ANSWER_SECONDS
                self._at_work.add(request.stream)
            else:
                self._close(call, [*fields, *response.trailers], now)

    def take(self, now: float) -> bytes:
        """Return what is to be sent now. After the last of it there is nothing, until something changes."""
        room = 0 if self._full_until < inf else CHUNK_BYTES
        for call in [call for call in self._calls.values() if call.state is _State.ANSWERING]:
            room -= self._write(call, room, now)
        data = self._farewell + self._h2.data_to_send()
        self._farewell = b""
        return data

    def _write(self, call: _Call, room: int, now: float) -> int:
        """Write of an answer what the client's window and `room` allow; return how many bytes of body."""
        if self.is_over or room <= 0:
            return 0
        stream, written = call.request.stream, 0
        while call.left:
            window = self._h2.local_flow_control_window(stream)
            most = min(window, self._h2.max_outbound_frame_size, FRAME_BYTES, room - written)
            if most <= 0:
                return written
            self._h2.send_data(stream, call.left[:most])
            call.left = call.left[most:]
            written += most
        self._close(call, call.trailers, now)
        return written

    def _close(self, call: _Call, fields: Fields, now: float) -> None:
        if fields:
            self._h2.send_headers(call.request.stream, _unindexed(fields), end_stream=True)
        else:
            self._h2.end_stream(call.request.stream)
        if not call.has_ended:  # RFC 9113 §8.1: the rest of the body is not wanted
            self._h2.reset_stream(call.request.stream, ErrorCodes.NO_ERROR)
        self._patience -= FRAMES_PER_FAULT if call.request.fault else -FRAMES_PER_CALL
        self._patience = min(self._patience, PATIENCE)
        self._forget(call, now)

    def _forget(self, call: _Call, now: float) -> None:
        del self._calls[call.request.stream]
        self._at_work.discard(call.request.stream)
        self.idle_since = now
        if self._is_leaving:
            self._leave()

    # -- time, and the end -----------------------------------------------------------------------------------

    def works(self) -> bool:
        """Return whether a call runs or is being answered; one whose body is not whole does neither."""
        return bool(self._at_work) and not self.is_over

    def _waits_until(self) -> float:
        """Return when a connection without a call ends."""
        return self.idle_since + (IDLE_SECONDS if self._has_greeted else GREETING_SECONDS)

    def due(self) -> float:
        """Return when `tick` has something to do, if nothing changes before."""
        waits = inf if self._calls else self._waits_until()
        return min(waits, self._full_until, *(call.due for call in self._calls.values()))

    def tick(self, now: float) -> None:
        """End what has lasted too long."""
        if not self._calls and self._waits_until() <= now:
            self._end(ErrorCodes.NO_ERROR)
        if self._full_until <= now:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)
        for call in [call for call in self._calls.values() if call.due <= now and not self.is_over]:
            if call.state is _State.READING:
                call.request.fault = Fault.TIME
                self.answer(call.request, self._application.refuse(call.request), now)
            else:
                self._h2.reset_stream(call.request.stream, ErrorCodes.CANCEL)
                self._forget(call, now)

    def set_full(self, full: bool, now: float) -> None:
        """Say whether the client leaves unread what was sent: then only answers that are small are made."""
        self._full_until = now + ANSWER_SECONDS if full else inf

    def stop(self) -> None:
        """Take no new calls, and end with the last of those there are."""
        if not self._is_leaving and self._calls:
            content = struct.pack(">LL", self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR)
            self._farewell = _HEAD.pack(0, len(content), _GOAWAY, 0, 0) + content
        self._leave()

    def _leave(self) -> None:
        self._is_leaving = True
        if not self._calls:
            self._end(ErrorCodes.NO_ERROR)

    def _end(self, why: ErrorCodes) -> None:
        if not self.is_over:
            self._h2.close_connection(why)
            self.lose()

    def lose(self) -> None:
        """Give up all calls, because the connection is lost."""
        self.is_over = True
        for call in self._calls.values():
            call.request.is_given_up = True


def _settings(calls: int, fields_bytes: int) -> Settings:
    values = {SettingCodes.MAX_CONCURRENT_STREAMS: calls, SettingCodes.MAX_HEADER_LIST_SIZE: fields_bytes}
    return Settings(client=False, initial_values=values)


def _unindexed(fields: Iterable[tuple[str, str]]) -> list[NeverIndexedHeaderTuple]:
    """Return fields that no table keeps: how large that table is, is up to the client."""
    return [NeverIndexedHeaderTuple(name.encode("ascii"), value.encode("latin-1")) for name, value in fields]
