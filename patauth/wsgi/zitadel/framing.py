"""The frames of gRPC and gRPC-web: one message comes in, and one goes out, in gRPC-web with the trailers.

    1 byte     0: a message; 1: a message that is compressed, which is not read here; 128: trailers
    4 bytes    the length of what follows, big-endian

gRPC-web's trailers are lines `name: value`. In its form for text, all frames together are in base64.

Source: PROTOCOL-WEB.md and PROTOCOL-HTTP2.md of https://github.com/grpc/grpc/tree/master/doc.
"""

from __future__ import annotations

import binascii
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from urllib.parse import quote

from ...errors import InvalidRequest
from ..errors import UNCOMPRESSED, TooLarge, UnsupportedMediaType

Trailers = Iterable[tuple[str, str]]

_HEAD = struct.Struct(">BI")
HEAD_BYTES = _HEAD.size
_MESSAGE, _COMPRESSED, _TRAILERS = 0, 1, 0x80
_KEPT = "".join(set(map(chr, range(0x20, 0x7F))) - {"%"})
_BLANKS = re.compile(r"\A +| +\Z")


def unframed(body: bytes, most: int) -> bytes:
    """Return the one message in a body.

    Raise `TooLarge` for a message of more than `most` bytes, `UnsupportedMediaType` for one that is
    compressed and for any other number of messages, and `InvalidRequest` for what is no frame.
    """
    if not body:
        raise UnsupportedMediaType("send one message; there is none")
    if len(body) < HEAD_BYTES:
        raise InvalidRequest("the frame ended early; send it again")
    flags, length = _HEAD.unpack_from(body)
    if flags == _COMPRESSED:
        raise UnsupportedMediaType("send the message uncompressed", accept_encoding=UNCOMPRESSED)
    if flags != _MESSAGE:
        raise InvalidRequest("the frame is no message; its first byte has to be 0")
    if length > most:
        raise TooLarge(f"the message is too large; send at most {most} bytes")
    end = HEAD_BYTES + length
    if len(body) < end:
        raise InvalidRequest("the message ended early; send it again")
    if len(body) > end:
        raise UnsupportedMediaType("send one message; there is more after it")
    return body[HEAD_BYTES:]


def bytes_of_one(body: bytes | bytearray, most: int) -> int:
    """Return how many bytes of a body `unframed` needs to see, as far as its beginning tells."""
    if len(body) < HEAD_BYTES:
        return HEAD_BYTES
    flags, length = _HEAD.unpack_from(body)
    return HEAD_BYTES + (length if flags == _MESSAGE and length <= most else 0)


def framed(message: bytes) -> bytes:
    """Return the frame of a message."""
    return _frame(_MESSAGE, message)


def framed_trailers(trailers: Trailers) -> bytes:
    """Return the frame of trailers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return _frame(_TRAILERS, lines.encode("ascii"))


def _frame(flags: int, content: bytes) -> bytes:
    return _HEAD.pack(flags, len(content)) + content


def from_text(body: bytes) -> bytes:
    """Return what a body in base64 holds. Raise `InvalidRequest`."""
    try:
        return b64decode(body, validate=True)
    except binascii.Error:
        raise InvalidRequest("the body is not base64 in one piece, with its padding") from None


def text_bytes(count: int) -> int:
    """Return how many bytes base64 makes of `count` bytes."""
    return -(-count // 3) * 4


def to_text(body: bytes) -> bytes:
    """Return a body in base64."""
    return b64encode(body)


def message_field(text: str) -> str:
    """Return a text as `grpc-message` has it: percent-encoded UTF-8, in printable ASCII.

    Encode blanks at its ends too, because HTTP/2 would drop them.
    """
    return _BLANKS.sub(lambda blanks: "%20" * len(blanks[0]), quote(text, safe=_KEPT))


def binary_field(content: bytes) -> str:
    """Return bytes as a field whose name ends in `-bin` has them: base64 without padding."""
    return b64encode(content).rstrip(b"=").decode("ascii")
