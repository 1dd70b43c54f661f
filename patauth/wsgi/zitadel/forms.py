"""The forms of a request and its answer: how each reads a message, and writes one or a refusal.

    REST, CONNECT    application/json; they differ in their errors
    Connect          application/proto, with errors in JSON
    gRPC-web         application/grpc-web or -web-text, each also with +proto; the status is in the trailers
    gRPC             application/grpc, also with +proto, on a port of its own (service/grpc.py)

Operations know nothing of forms: they get and return what a message is in JSON. The binary forms need
protobuf (the extra `grpc`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from ..answers import Answer, Fields, bytes_answer, json_answer
from ..bodies import MAX_JSON, media_type_of, read_bytes, read_json
from ..errors import UNCOMPRESSED, UnsupportedMediaType
from . import framing
from .call import Content
from .errors import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_MESSAGE = MAX_JSON  # bytes
_JSON = "application/json"
_PROTO = "application/proto"
_FRAMED = ("application/grpc", "application/connect+", _PROTO)
GRPC_TYPES = ("application/grpc", "application/grpc+proto")
_ERROR_DETAIL = "type.googleapis.com/zitadel.v1.ErrorDetail"


class Form(Protocol):
    """Reads requests, and writes answers. `method` is the path of a method; REST has none."""

    def read(self, environ: WSGIEnvironment, method: str) -> Any:
        """Return the message in a request, as it is in JSON.

        Raise `InvalidRequest`, `TooLarge`, `UnsupportedMediaType`.
        """

    def done(self, content: Content, method: str) -> Answer:
        """Return the answer with a message."""

    def refused(self, refusal: Refusal) -> Answer:
        """Return the answer with an error."""


class _Json:
    def read(self, environ: WSGIEnvironment, method: str) -> Any:
        media_type = media_type_of(environ)
        if media_type.startswith(_FRAMED):
            lacking = bool(method) and media_type in BINARY  # else it would have been read
            raise UnsupportedMediaType(
                f"send {_JSON} here; {_PROTO} and gRPC-web are for POST /SERVICE/METHOD, and gRPC has a port"
                " of its own (patauth serve --grpc-bind)",
                detail=f"{media_type} needs protobuf: pip install 'patauth[grpc]'" if lacking else None,
            )
        # A GET or DELETE has all that it needs in its path.
        return read_json(environ, _JSON) if environ["REQUEST_METHOD"] == "POST" else {}

    def done(self, content: Content, method: str) -> Answer:
        return json_answer(200, content)


class _Rest(_Json):
    def refused(self, refusal: Refusal) -> Answer:
        detail = {"@type": _ERROR_DETAIL, "id": refusal.tracking, "message": refusal.text}
        content = {"code": refusal.number, "message": refusal.text, "details": [detail]}
        return json_answer(refusal.status, content, refusal.fields)


class _Connect(_Json):
    def refused(self, refusal: Refusal) -> Answer:
        content = {"code": refusal.word, "message": refusal.text}
        return json_answer(refusal.status, content, refusal.fields)


class _ConnectProto(_Connect):
    def read(self, environ: WSGIEnvironment, method: str) -> Any:
        from .messages import read_request

        return read_request(method, read_bytes(environ, MAX_MESSAGE, _PROTO))

    def done(self, content: Content, method: str) -> Answer:
        from .messages import write_answer

        return bytes_answer(200, write_answer(method, content), _PROTO)


class _GrpcWeb:
    def __init__(self, media_type: str) -> None:
        self._media_type = media_type
        self._is_text = "-text" in media_type

    def read(self, environ: WSGIEnvironment, method: str) -> Any:
        from .messages import read_request

        most = framing.HEAD_BYTES + MAX_MESSAGE
        if self._is_text:
            most = framing.text_bytes(most)
        body = read_bytes(environ, most, self._media_type)
        if self._is_text:
            body = framing.from_text(body)
        return read_request(method, framing.unframed(body, MAX_MESSAGE))

    def done(self, content: Content, method: str) -> Answer:
        from .messages import write_answer

        return self._answer(framing.framed(write_answer(method, content)), [_DONE])

    def refused(self, refusal: Refusal) -> Answer:
        answer = self._answer(b"", _trailers(refusal))
        return Answer(200, [*answer.fields, *refusal.fields], answer.body, refusal.status)

    def _answer(self, message: bytes, trailers: Fields) -> Answer:
        frames = message + framing.framed_trailers(trailers)
        return bytes_answer(200, framing.to_text(frames) if self._is_text else frames, self._media_type)


class _Grpc:
    """All fields of an answer are for the trailers."""

    def read(self, environ: WSGIEnvironment, method: str) -> Any:
        from .messages import read_request

        body = read_bytes(environ, framing.HEAD_BYTES + MAX_MESSAGE, *GRPC_TYPES)
        return read_request(method, framing.unframed(body, MAX_MESSAGE))

    def done(self, content: Content, method: str) -> Answer:
        from .messages import write_answer

        return Answer(200, [_DONE], framing.framed(write_answer(method, content)))

    def refused(self, refusal: Refusal) -> Answer:
        # The server refuses every named coding; without one, the flag is a fault of the client's library.
        if _COMPRESSED in refusal.fields:
            refusal = Refusal(refusal.status, 13, "internal", refusal.text, refusal.tracking, [])
        return Answer(refusal.status, [*_trailers(refusal), *refusal.fields], b"")


_DONE = ("grpc-status", "0")
_COMPRESSED = ("Accept-Encoding", UNCOMPRESSED)


def _trailers(refusal: Refusal) -> Fields:
    from .messages import write_status

    return [
        ("grpc-status", str(refusal.number)),
        ("grpc-message", framing.message_field(refusal.text)),
        ("grpc-status-details-bin", framing.binary_field(write_status(refusal))),
    ]


REST: Form = _Rest()
CONNECT: Form = _Connect()
GRPC: Form = _Grpc()
_WEB = ("application/grpc-web", "application/grpc-web-text")
BINARY: dict[str, Form] = {
    _PROTO: _ConnectProto(),
    **{kind + tail: _GrpcWeb(kind + tail) for kind in _WEB for tail in ("", "+proto")},
}


def form_of(environ: WSGIEnvironment) -> Form:
    """Return the form that the media type of a call names: that of Connect with JSON for an unknown one.

    A binary form is unknown where protobuf is not installed.
    """
    form = BINARY.get(media_type_of(environ))
    return form if form is not None and _has_protobuf() else CONNECT


@cache
def _has_protobuf() -> bool:
    try:
        import google.protobuf  # noqa: F401 - whether it can be imported
    except ImportError:
        return False
    return True
