"""The frames of gRPC and gRPC-web: what is written is read, and nothing else is."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.wsgi.answers import LIMITED
from patauth.wsgi.errors import TooLarge, UnsupportedMediaType
from patauth.wsgi.zitadel import framing
from tests.support.rpc import frame, frames
from tests.support.tables import each

MOST = 40
MESSAGES = st.binary(max_size=MOST)


@given(MESSAGES)
def test_a_message_in_one_frame_is_read(message: bytes) -> None:
    assert framing.unframed(frame(message), MOST) == message


@given(MESSAGES, st.integers(0, MOST + 4))
def test_a_frame_that_ends_early_is_malformed_and_none_is_no_call(message: bytes, kept: int) -> None:
    cut = frame(message)[:kept]
    if len(cut) == len(message) + 5:
        return
    with pytest.raises(InvalidRequest) as caught:
        framing.unframed(cut, MOST)
    assert isinstance(caught.value, UnsupportedMediaType) == (cut == b"")


@given(st.binary(max_size=2 * MOST))
def test_whatever_the_bytes_are_they_are_one_message_or_refused(body: bytes) -> None:
    try:
        message = framing.unframed(body, MOST)
    except InvalidRequest:
        return
    assert body == frame(message)


@each(
    ("body", "error", "says"),
    [
        (b"", UnsupportedMediaType, "there is none"),
        (frame(b"a") + frame(b"b"), UnsupportedMediaType, "there is more"),
        (frame(b"a") + frame(b"x: y\r\n", 0x80), UnsupportedMediaType, "there is more"),
        (frame(b"a", 1), UnsupportedMediaType, "uncompressed"),
        (frame(b"x: y\r\n", 0x80), InvalidRequest, "has to be 0"),
        (frame(b"a", 2), InvalidRequest, "has to be 0"),
        (frame(b"a", 0xFF), InvalidRequest, "has to be 0"),
        (frame(bytes(MOST + 1)), TooLarge, "at most 40 bytes"),
        (b"\0\xff\xff\xff\xff", TooLarge, "at most 40 bytes"),
        (b"\0\0\0\0\x02a", InvalidRequest, "ended early"),
        (b"\0\0\0", InvalidRequest, "ended early"),
    ],
)
def test_each_wrong_frame_has_its_error(body: bytes, error: type[InvalidRequest], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        framing.unframed(body, MOST)
    assert type(caught.value) is error


def test_a_message_may_have_all_of_its_bytes() -> None:
    assert framing.unframed(frame(bytes(MOST)), MOST) == bytes(MOST)


def test_who_compresses_is_told_what_is_read() -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        framing.unframed(frame(b"", 1), MOST)
    assert caught.value.accept_encoding == "identity"


@given(MESSAGES, st.dictionaries(st.sampled_from(["a", "b-bin"]), st.sampled_from(["", "x y"])))
def test_what_is_written_are_frames(message: bytes, trailers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers.items()).encode()
    body = framing.framed(message) + framing.framed_trailers(trailers.items())
    assert frames(body) == [(0, message), (0x80, lines)]


@given(st.binary(max_size=2 * MOST) | MESSAGES.map(frame), st.binary(max_size=MOST))
def test_what_is_read_no_further_is_decided(body: bytes, more: bytes) -> None:
    """Once a body has more bytes than are worth reading, those that come change nothing."""

    def read(body: bytes) -> object:
        try:
            return framing.unframed(body, MOST)
        except InvalidRequest as error:
            return str(error)

    if len(body) > framing.bytes_of_one(body, MOST):
        assert read(body) == read(body + more)
    else:
        assert len(body) <= framing.HEAD_BYTES + MOST


@given(st.binary())
def test_base64_is_read_as_it_is_written_and_its_size_is_known(body: bytes) -> None:
    text = framing.to_text(body)
    assert (framing.from_text(text), framing.text_bytes(len(body))) == (body, len(text))


@each("body", [b"AAA", b"AA=A", b"AA==AA==", b"A*==", b"AAAA\n", b"=", b"\xff"])
def test_what_is_no_base64_is_malformed(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        framing.from_text(body)


@given(st.text())
def test_any_text_fits_into_a_field(text: str) -> None:
    encoded = text.encode("utf-8", "surrogatepass")
    if encoded.decode("utf-8", "replace") != text:
        return  # half of a surrogate pair: no error has one
    field = framing.message_field(text)
    assert field.isascii()
    assert field.isprintable()
    assert unquote(field) == text


def test_plain_words_stay_as_they_are() -> None:
    assert (
        framing.message_field("userId: is missing; give it a value") == "userId: is missing; give it a value"
    )
    assert framing.message_field("50 %\n!~") == "50 %25%0A!~"


def test_blanks_at_the_ends_of_a_text_are_no_blanks_of_its_field() -> None:
    """RFC 9113 §8.2.1: a field's value has none there, and 429's text does."""
    assert framing.message_field(LIMITED) == "%20Rate Limit Exceeded%20"
    assert framing.message_field("  ") == "%20%20"


@given(st.binary())
def test_bytes_in_a_field_have_no_padding(content: bytes) -> None:
    assert framing.binary_field(content).encode() == b64encode(content).rstrip(b"=")
