"""One connection of HTTP/2: what is read and written, and the bounds, whatever a client sends or ignores."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterable

from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from patauth.wsgi.service import http2
from patauth.wsgi.service.http2 import CALLS, PATIENCE, Connection, Request, Response
from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    GREETING,
    HEADERS,
    PING,
    PINGED,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Reader,
    asked,
    begun,
    block,
    frame,
    opened,
    references,
    reset,
    setting,
)
from tests.support.tables import each

NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, CALM = 0, 1, 7, 8, 11
MOST = 20  # bytes of a body
DONE = Response(200, [("content-type", "x")], b"done", [("status", "0")])
LATE = Response(200, [("status", "4")])


class Refusing:
    """Refuses what has a fault, and the path /no."""

    def refuse(self, request: Request) -> Response | None:
        return LATE if request.fault is not None or request.path == "/no" else None

    def most(self, body: bytearray) -> int:
        return MOST

    async def answer(self, request: Request) -> Response:
        raise NotImplementedError


class Link:
    """A connection, its client, and the time."""

    def __init__(self, greeting: bytes = GREETING) -> None:
        self.now = 0.0
        self.connection = Connection(Refusing(), "192.0.2.1", self.now)
        self.reader = Reader()
        self.requests: list[Request] = []
        self.sends(greeting)

    def sends(self, *parts: bytes) -> Link:
        """Have the client send bytes, and read what comes back."""
        for part in parts:
            self.requests += self.connection.receive(part, self.now)
            self.take()
        return self

    def take(self) -> int:
        """Read what the server sends; return how many bytes that is."""
        taken = 0
        while data := self.connection.take(self.now):
            self.reader(data)
            taken += len(data)
        return taken

    def answers(self, request: Request, response: Response | None = DONE) -> None:
        self.connection.answer(request, response, self.now)
        self.take()

    def sends_on(self, make: Callable[[int], bytes]) -> int:
        """Have the client send until the connection is over, at most 3000 times; return how often that was.

        `make` gets numbers of streams.
        """
        for count in range(3000):
            if self.connection.is_over:
                return count
            self.sends(make(2 * count + 3))
        raise AssertionError("the connection is not over")

    def waits(self, seconds: float) -> None:
        end = self.now + seconds
        while not self.connection.is_over and (due := self.connection.due()) <= end:
            self.now = due
            self.connection.tick(self.now)
            self.take()
            assert self.connection.is_over or self.connection.due() > due
        self.now = end

    def ended_with(self) -> int | None:
        """The error code of the end, None while there is none."""
        if not self.connection.is_over:
            return None
        return int(self.reader.told(GoAwayFrame)[-1].error_code)

    def resets(self) -> list[tuple[int, int]]:
        return [(one.stream_id, int(one.error_code)) for one in self.reader.told(RstStreamFrame)]


# -- requests and answers ------------------------------------------------------------------------------------


def test_a_request_is_read_and_its_answer_written() -> None:
    link = Link().sends(asked(1, b"hello", "/y", [("x-a", "é"), ("x-a", "2")]))
    (request,) = link.requests
    assert (request.method, request.path, bytes(request.body)) == ("POST", "/y", b"hello")
    assert (request.peer, request.began, request.fault) == ("192.0.2.1", 0.0, None)
    assert request.fields == [("x-a", "é".encode().decode("latin-1")), ("x-a", "2")]
    link.answers(request)
    assert link.reader.fields[1] == [(":status", "200"), ("content-type", "x"), ("status", "0")]
    assert (link.reader.bodies[1], link.reader.ended) == (b"done", {1})
    assert link.resets() == []


def test_an_answer_without_a_body_is_one_frame() -> None:
    link = Link().sends(asked(1))
    link.answers(link.requests[0], Response(415, [("accept", "x")], b"", [("status", "0")]))
    (answer,) = link.reader.told(HeadersFrame)
    assert {"END_STREAM", "END_HEADERS"} <= answer.flags
    assert link.reader.fields[1] == [(":status", "415"), ("accept", "x"), ("status", "0")]
    assert link.reader.told(DataFrame) == []


def test_what_arrives_byte_by_byte_is_read_the_same() -> None:
    whole = GREETING + asked(1, b"hello") + PINGED + asked(3, b"you")
    link = Link(b"").sends(*(whole[at : at + 1] for at in range(len(whole))))
    assert [bytes(request.body) for request in link.requests] == [b"hello", b"you"]


def test_an_answer_without_trailers_ends_with_its_body() -> None:
    link = Link().sends(asked(1))
    link.answers(link.requests[0], Response(200, [], b"done"))
    assert (link.reader.fields[1], link.reader.bodies[1]) == ([(":status", "200")], b"done")
    assert link.reader.ended == {1}


def test_one_that_is_refused_has_its_answer_before_its_body() -> None:
    link = Link().sends(begun(1, "/no"))
    assert (link.reader.ended, link.resets()) == ({1}, [(1, NO_ERROR)]), "and no more of it is wanted"
    link.sends(frame(DATA, 0, 1, b"late"), frame(DATA, END_STREAM, 1), asked(3))
    assert [request.stream for request in link.requests] == [3]
    link = Link().sends(begun(1, "/no", flags=END_HEADERS | END_STREAM), asked(3))
    assert (link.reader.ended, link.resets(), len(link.requests)) == ({1}, [], 1)


def test_a_body_is_read_as_far_as_it_may_go() -> None:
    link = Link().sends(begun(1), frame(DATA, 0, 1, bytes(MOST)))
    assert link.requests == []
    link.sends(frame(DATA, 0, 1, b"x"))
    (request,) = link.requests
    link.sends(*[frame(DATA, 0, 1, bytes(16_384))] * 8)  # more than any window, while the call runs
    assert len(request.body) == MOST + 1
    link.answers(request)
    assert (link.reader.ended, link.resets()) == ({1}, [(1, NO_ERROR)])


def test_what_comes_after_an_answer_is_dropped_and_holds_up_no_other_call() -> None:
    """A megabyte, in windows that the connection's calls share."""
    link = Link().sends(begun(1, "/no"))
    for _ in range(64):
        link.sends(frame(DATA, 0, 1, bytes(16_384)))
    link.sends(asked(3, b"y"))
    assert (len(link.requests), link.connection.is_over) == (1, False)


def test_a_fault_of_the_server_is_a_reset() -> None:
    link = Link().sends(asked(1))
    link.answers(link.requests[0], None)
    assert link.resets() == [(1, 2)]
    link.sends(asked(3))
    assert len(link.requests) == 2


def test_no_table_grows_by_answers_however_large_the_client_lets_it_be() -> None:
    link = Link().sends(setting(1, 2**32 - 1))
    for number in range(300):
        link.sends(asked(2 * number + 1))
        link.answers(
            link.requests[-1], Response(200, [("x-id", f"{number}" * 10)], b"", [("y", f"{number}")])
        )
    assert len(link.reader.fields) == 300
    assert len(link.reader.decoder.header_table.dynamic_entries) == 0


# -- how much there may be -----------------------------------------------------------------------------------


def test_a_client_is_told_how_much_that_is() -> None:
    told = Link().reader.told(SettingsFrame)[0].settings
    assert (told[3], told[5], told[6]) == (CALLS, http2.FRAME_BYTES, http2.FIELDS_BYTES)


def test_too_many_fields_are_refused_and_not_kept() -> None:
    fields = [("x-a", "a" * 500)] * 16
    link = Link().sends(begun(1, fields=fields), asked(3, b"y"))
    assert link.reader.fields[1] == [(":status", "200"), ("status", "4")]
    assert [request.stream for request in link.requests] == [3]
    link = Link().sends(asked(1, fields=fields[2:]))
    assert link.requests[0].fault is None


@each("acknowledges", [True, False])
def test_a_flood_of_references_ends_the_connection_and_takes_no_memory(acknowledges: bool) -> None:
    """200 000 of them are 200 KB, and would be 20 MB; settings that are never acknowledged count at once."""
    flood = frame(
        HEADERS, END_STREAM | END_HEADERS, 1, block([(":method", "POST")]) + references(16_000, 120)
    )
    link = Link().sends(frame(SETTINGS, ACK) if acknowledges else b"")
    tracemalloc.start()
    link.sends(flood)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (link.ended_with(), peak < 500_000) == (CALM, True)


def test_a_block_of_fields_without_an_end_ends_the_connection() -> None:
    first = begun(1, flags=0)
    link = Link().sends(first)
    assert link.sends_on(lambda _: frame(CONTINUATION, 0, 1, references(16_000))) <= 5
    assert link.ended_with() == CALM
    assert Link().sends(first).sends_on(lambda _: frame(CONTINUATION, 0, 1)) < 100


def test_a_frame_that_is_too_long_ends_the_connection_before_it_comes() -> None:
    link = Link().sends(struct.pack(">BHBBL", 0, 16_385, DATA, 0, 1))
    assert link.ended_with() == 6


def test_calls_beyond_a_hundred_are_refused_and_no_others() -> None:
    link = Link().sends(*(asked(number) for number in range(1, 2 * CALLS + 21, 2)))
    assert len(link.requests) == CALLS
    refused = {number for number, why in link.resets() if why == REFUSED_STREAM}
    assert refused == {*range(2 * CALLS + 1, 2 * CALLS + 21, 2)}
    link.answers(link.requests[0])
    link.sends(asked(1001))
    assert link.requests[-1].stream == 1001


def end_by_reset(number: int) -> bytes:
    return reset(number)


def end_by_window(number: int) -> bytes:
    return opened(number, 2**31 - 1)


def end_by_data(number: int) -> bytes:
    return frame(DATA, 0, number, b"x")


def end_by_fields(number: int) -> bytes:
    return frame(HEADERS, END_STREAM | END_HEADERS, number, block([("x", "y")]))


@each("end", [end_by_reset, end_by_window, end_by_data, end_by_fields])
def test_a_call_that_is_given_up_counts_until_it_has_run(end: Callable[[int], bytes]) -> None:
    """By the client, or by this server because of what the client sends on a call that runs."""
    link = Link()
    for number in range(1, 61, 2):
        link.sends(asked(number), end(number))
    assert all(request.is_given_up for request in link.requests)
    link.sends(*(asked(number) for number in range(61, 261, 2)))
    assert len([request for request in link.requests if not request.is_given_up]) == CALLS - 30
    for request in link.requests[:30]:
        link.answers(request)
    assert link.reader.fields == {}, "nobody waits for these"
    link.sends(*(asked(number) for number in range(301, 381, 2)))
    assert len([request for request in link.requests if not request.is_given_up]) == CALLS


@each("parts", [[asked, end_by_reset], [begun, end_by_reset]])
def test_who_gives_up_call_after_call_is_ended(parts: list[Callable[[int], bytes]]) -> None:
    link = Link()
    assert link.sends_on(lambda number: b"".join(part(number) for part in parts)) < CALLS
    assert link.ended_with() == CALM
    assert all(request.is_given_up for request in link.requests)


NOISE: dict[str, Callable[[int], bytes]] = {
    "pings": lambda _: PINGED,
    "answers to no pings": lambda _: frame(PING, ACK, content=bytes(8)),
    "settings": lambda _: frame(SETTINGS),
    "settings of a table": lambda number: setting(1, number),
    "acknowledgements": lambda _: frame(SETTINGS, ACK),
    "windows": lambda _: opened(0, 1),
    "windows of a call that is over": lambda _: opened(1, 1),
    "priorities": lambda _: frame(PRIORITY, 0, 7, struct.pack(">LB", 0, 1)),
    "unknown frames": lambda _: frame(99),
    "resets of a call that is over": lambda _: reset(1),
    "data after the answer": lambda _: frame(DATA, 0, 1),
    "calls with too many fields": lambda number: begun(number, fields=[("x", "a" * 9000)]),
}


@each("kind", NOISE)
def test_frames_out_of_proportion_to_calls_end_the_connection(kind: str) -> None:
    link = Link().sends(begun(1, "/no"))
    assert link.sends_on(NOISE[kind]) <= PATIENCE + 1
    assert link.ended_with() == CALM


def test_empty_pieces_of_a_body_are_out_of_proportion_too() -> None:
    link = Link().sends(begun(1), *[frame(DATA, 0, 1)] * PATIENCE)
    assert link.ended_with() == CALM


def test_frames_in_proportion_to_calls_are_welcome_without_an_end() -> None:
    link = Link()
    for number in range(1, 2001, 2):
        link.sends(
            PINGED, begun(number), PINGED, frame(DATA, 0, number, b"a"), opened(0, 10), setting(4, 70_000)
        )
        link.sends(frame(DATA, END_STREAM, number, b"b"), frame(SETTINGS, ACK))
        link.answers(link.requests[-1])
    assert len(link.reader.ended) == 1000
    assert len(link.reader.told(PingFrame)) == 2000


# -- what is no HTTP/2 ---------------------------------------------------------------------------------------


@each(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01", b"P\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!"],
)
def test_another_protocol_is_ended_at_its_first_wrong_byte(sent: bytes) -> None:
    link = Link(sent)
    assert link.connection.is_over
    assert [type(one) for one in link.reader.frames] == [] or link.reader.told(SettingsFrame)
    link.sends(asked(1))
    assert link.requests == []


@each("first", [PINGED, asked(1), frame(GOAWAY, content=bytes(8)), frame(99)])
def test_settings_come_first(first: bytes) -> None:
    assert Link(PREFACE + first).ended_with() == PROTOCOL_ERROR


OWN = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]
MALFORMED: dict[str, list[tuple[str, str]]] = {
    "a name in capitals": [*OWN, ("X-A", "1")],
    "no name": [*OWN, ("", "1")],
    "no path": OWN[:3],
    "an empty path": [*OWN[:3], (":path", "")],
    "a special field twice": [*OWN, OWN[0]],
    "a special field at the end": [("x", "1"), *OWN],
    "an unknown special field": [*OWN, (":x", "1")],
    "a field of a response": [*OWN, (":status", "200")],
    "a field of the connection": [*OWN, ("connection", "x")],
    "a wrong te": [*OWN, ("te", "gzip")],
    "a line break": [*OWN, ("x", "a\r\nb")],
    "a length that is none": [*OWN, ("content-length", "+1")],
    "nothing": [],
}


def test_fields_that_are_right_are_read() -> None:
    assert len(Link().sends(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(OWN))).requests) == 1


@each("kind", MALFORMED)
def test_malformed_fields_end_the_connection(kind: str) -> None:
    link = Link().sends(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(MALFORMED[kind])))
    assert link.ended_with() == PROTOCOL_ERROR
    assert link.requests == []


@each(
    "sent",
    [
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(HEADERS, END_HEADERS, 1, b"\x82\x86\xfe"),
        frame(HEADERS, END_HEADERS, 2, block(OWN)),
        frame(HEADERS, END_HEADERS, 0, block(OWN)),
        frame(DATA, 0, 1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, block(OWN)),
        begun(1, flags=0) + PINGED,
        frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(OWN)),
        frame(PING, 0, 0, b"1234567"),
        frame(PING, 0, 1, bytes(8)),
        frame(SETTINGS, 0, 0, b"123"),
        frame(SETTINGS, ACK, 0, bytes(6)),
        setting(5, 1),
        setting(4, 2**31),
        frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        opened(0, 2**31 - 1),
        frame(RST_STREAM, 0, 0, bytes(4)),
        frame(PRIORITY, 0, 1, struct.pack(">LB", 1, 1)),
        begun(1, fields=[("content-length", "3")]) + frame(DATA, END_STREAM, 1, b"four"),
    ],
)
def test_malformed_frames_end_the_connection(sent: bytes) -> None:
    link = Link().sends(sent)
    assert link.connection.is_over
    assert link.ended_with() != NO_ERROR
    assert link.requests == []


def test_a_call_that_cannot_be_numbered_again_ends_the_connection() -> None:
    assert Link().sends(asked(5), begun(3)).connection.is_over


# -- time ----------------------------------------------------------------------------------------------------


def test_a_greeting_has_five_seconds() -> None:
    link = Link(PREFACE)
    link.waits(4.9)
    assert link.ended_with() is None
    link.waits(0.2)
    assert link.ended_with() == NO_ERROR


def test_a_body_has_five_seconds_from_the_beginning() -> None:
    link = Link().sends(begun(1), frame(DATA, 0, 1, b"x"))
    link.waits(3)
    link.sends(frame(DATA, 0, 1, b"y"), begun(3))
    link.waits(2.1)
    assert (link.reader.fields[1], link.resets()) == ([(":status", "200"), ("status", "4")], [(1, NO_ERROR)])
    link.sends(frame(DATA, END_STREAM, 3, b"z"))
    assert [request.stream for request in link.requests] == [3]
    link.waits(1000)
    assert link.ended_with() is None, "a call that runs has all the time that it takes"


def test_a_minute_without_a_call_ends_the_connection_whatever_else_comes() -> None:
    link = Link()
    link.waits(50)
    link.sends(asked(1))
    link.answers(link.requests[0])
    link.waits(50)
    link.sends(PINGED, begun(3, flags=0)[:20])
    assert link.ended_with() is None
    link.waits(11)
    assert link.ended_with() == NO_ERROR


def test_an_answer_waits_for_the_window_but_not_for_ever() -> None:
    link = Link().sends(setting(4, 0), asked(1), asked(3))
    for request in link.requests:
        link.answers(request)
    assert link.reader.told(DataFrame) == []
    link.waits(29)
    link.sends(opened(1, 3))
    assert link.reader.bodies == {1: b"don"}
    link.sends(setting(4, 1))
    assert (link.reader.bodies, link.reader.ended) == ({1: b"done", 3: b"d"}, {1})
    link.waits(2)
    assert link.resets() == [(3, CANCEL)]
    link.waits(61)
    assert link.ended_with() == NO_ERROR


def test_a_client_that_gives_up_an_answer_has_none_of_it() -> None:
    link = Link().sends(setting(4, 0), asked(1))
    link.answers(link.requests[0])
    link.sends(reset(1), opened(1, 100))
    assert (link.reader.bodies, link.connection.is_over) == ({}, False)


def test_what_is_written_ahead_of_a_client_that_reads_nothing_is_bounded() -> None:
    """Windows of a megabyte and a full socket: no more than one chunk of all answers is made."""
    link = Link().sends(setting(4, 1_000_000), opened(0, 1_000_000), *(asked(n) for n in range(1, 21, 2)))
    link.connection.set_full(True, link.now)
    for request in link.requests:
        link.connection.answer(request, Response(200, [], bytes(100_000), []), link.now)
    assert link.take() < 1000
    link.connection.set_full(False, link.now)
    assert http2.CHUNK_BYTES <= len(link.connection.take(link.now)) < http2.CHUNK_BYTES + 1000
    link.connection.set_full(True, link.now)
    link.waits(31)
    assert link.connection.is_over
    assert all(request.is_given_up for request in link.requests)


def test_a_connection_works_for_calls_that_are_whole_and_wanted() -> None:
    link = Link().sends(setting(4, 0), begun(1), frame(DATA, 0, 1, b"x"))
    assert not link.connection.works(), "the body may never be whole"
    link.sends(asked(3))
    assert link.connection.works(), "one runs"
    link.answers(link.requests[0])
    assert link.connection.works(), "its answer waits for the window"
    link.sends(opened(3, 100))
    assert not link.connection.works()
    link.sends(asked(5), reset(5))
    assert not link.connection.works(), "nobody waits for the answer"
    link.sends(asked(7), frame(9, 0, 1))
    assert link.connection.is_over
    assert not link.connection.works()


def test_a_connection_is_idle_since_its_greeting_or_the_end_of_its_last_call() -> None:
    link = Link()
    began = link.connection.idle_since
    link.waits(2)
    link.sends(asked(1))
    assert link.connection.idle_since == began, "a call that has only come is no work yet"
    link.waits(2)
    link.answers(link.requests[0])
    assert link.connection.idle_since == link.now == began + 4


# -- the end -------------------------------------------------------------------------------------------------


def test_a_stop_takes_no_new_calls_and_answers_those_there_are() -> None:
    link = Link().sends(asked(1), begun(3))
    link.connection.stop()
    link.take()
    (goodbye,) = link.reader.told(GoAwayFrame)
    assert (goodbye.last_stream_id, goodbye.error_code) == (3, NO_ERROR)
    link.sends(asked(5), frame(DATA, END_STREAM, 3, b"x"))
    assert [request.stream for request in link.requests] == [1, 3]
    assert link.resets()[0] == (5, REFUSED_STREAM)
    for request in link.requests:
        assert not link.connection.is_over
        link.answers(request)
    assert (link.reader.ended, link.ended_with()) == ({1, 3}, NO_ERROR)


def test_a_stop_without_calls_is_the_end() -> None:
    link = Link()
    link.connection.stop()
    link.take()
    assert link.ended_with() == NO_ERROR


def test_a_client_that_says_goodbye_has_its_answers_first() -> None:
    link = Link().sends(asked(1), frame(GOAWAY, content=bytes(8)))
    assert not link.connection.is_over
    link.answers(link.requests[0])
    assert (link.reader.ended, link.ended_with()) == ({1}, NO_ERROR)
    assert Link().sends(frame(GOAWAY, content=bytes(8))).ended_with() == NO_ERROR


def test_a_lost_connection_gives_up_its_calls() -> None:
    link = Link().sends(asked(1))
    link.connection.lose()
    assert link.requests[0].is_given_up
    link.answers(link.requests[0])
    assert link.reader.fields == {}


# -- whatever comes ------------------------------------------------------------------------------------------

STREAMS = st.sampled_from([0, 1, 3, 5, 7, 9, 2, 2**31 - 1])
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", bytes(4), bytes(8), bytes(5), struct.pack(">HL", 4, 0), struct.pack(">HL", 1, 2**32 - 1)]
    ),
    st.sampled_from([block(OWN), block([("x", "y")]), references(300, 100), struct.pack(">L", 2**31 - 1)]),
)
ANY = st.builds(frame, st.integers(0, 11), st.integers(0, 255), STREAMS, CONTENTS)
GOOD = st.one_of(
    st.builds(asked, STREAMS, st.binary(max_size=30), st.sampled_from(["/x", "/no"])),
    st.builds(begun, STREAMS, st.just("/x"), st.just(()), st.sampled_from([0, END_STREAM, END_HEADERS])),
    st.builds(frame, st.just(DATA), st.sampled_from([0, 1, 8]), STREAMS, st.binary(max_size=300)),
    st.builds(reset, STREAMS),
    st.builds(opened, STREAMS, st.sampled_from([1, 100, 2**31 - 1])),
    st.builds(setting, st.integers(1, 8), st.sampled_from([0, 1, 4096, 16_384, 2**31 - 1])),
    st.just(PINGED),
)


def spoiled(parts: Iterable[bytes], at: int, by: int, cut: int) -> bytes:
    """Change one byte, and leave out one."""
    data = bytearray(b"".join(parts))
    if data:
        data[at % len(data)] ^= by
        del data[cut % len(data)]
    return bytes(data)


FRAMES = st.lists(GOOD | ANY, max_size=12)
SENT = FRAMES.map(b"".join) | st.builds(
    spoiled, FRAMES, st.integers(0, 2000), st.integers(0, 255), st.integers(0, 2000)
)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(SENT, st.integers(1, 50), st.sampled_from([0.0, 4.0, 31.0])), max_size=5), st.data()
)
def test_whatever_comes_nothing_is_raised_and_the_bounds_hold(
    turns: list[tuple[bytes, int, float]], data: st.DataObject
) -> None:
    """Frames that are right, wrong and spoiled, in pieces; answers in any order, and time that passes."""
    link = Link()
    waiting: list[Request] = []
    for sent, size, seconds in turns:
        link.requests = []
        link.sends(*(sent[at : at + size] for at in range(0, len(sent), size)))
        waiting += link.requests
        assert len(waiting) <= CALLS
        for _ in range(data.draw(st.integers(0, len(waiting)))):
            request = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            link.answers(request, data.draw(st.sampled_from([DONE, LATE, None])))
        link.waits(seconds)
    if link.connection.is_over:
        assert all(request.is_given_up for request in waiting)
    else:
        assert [link.answers(request) for request in waiting] == [None] * len(waiting)
        link.connection.stop()
    other = Link().sends(asked(1, b"y"))
    other.answers(other.requests[0])
    assert other.reader.ended == {1}
