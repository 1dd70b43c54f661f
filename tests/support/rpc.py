"""The methods of ZITADEL's services, called in each form. Messages are made by the `.proto` files alone."""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from werkzeug.test import TestResponse

from tests.descriptors import built
from tests.support.wsgi import App, request
from tests.support.zitadel import WORDS

V1, V2 = "/zitadel.management.v1.ManagementService/", "/zitadel.user.v2.UserService/"
METHODS = [
    *(V1 + name + "PersonalAccessToken" for name in ("Add", "Remove")),
    V1 + "GetPersonalAccessTokenByIDs",
    V1 + "ListPersonalAccessTokens",
    *(V2 + name + "PersonalAccessToken" for name in ("Add", "Remove")),
    V2 + "ListPersonalAccessTokens",
]
WEB = [f"application/grpc-web{text}{tail}" for text in ("", "-text") for tail in ("", "+proto")]
PROTO = "application/proto"

Content = dict[str, Any]


class Outcome(NamedTuple):
    """What a call came to, in the words that all forms share."""

    code: int  # of gRPC; 0: it was done
    content: Content  # the message as it is in JSON, or of a refusal its `message`
    fields: Mapping[str, str] = {}  # of HTTP, or metadata; names in lower case


def combined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name; what was sent in two of one name is joined by a comma (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


@cache
def pool() -> DescriptorPool:
    found = DescriptorPool()
    for file in FileDescriptorSet.FromString(built()).file:
        found.Add(file)
    return found


def encode(method: str, content: Content, *, answer: bool = False) -> bytes:
    message = _of_method(method, answer)()
    return bytes(json_format.ParseDict(content, message).SerializeToString())


def decode(method: str, data: bytes, *, answer: bool = True) -> Content:
    return json_format.MessageToDict(_of_method(method, answer).FromString(data))


def status(data: bytes) -> Content:
    """Return a google.rpc.Status as it is in JSON, with its details unpacked."""
    found = GetMessageClass(pool().FindMessageTypeByName("google.rpc.Status")).FromString(data)
    return json_format.MessageToDict(found, descriptor_pool=pool())


def _of_method(method: str, answer: bool) -> Any:
    service, _, name = method.strip("/").partition("/")
    described = pool().FindServiceByName(service).methods_by_name[name]
    return GetMessageClass(described.output_type if answer else described.input_type)


# -- gRPC-web ------------------------------------------------------------------------------------------------


def frame(message: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(message)) + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Return flags and content of each frame; fail on anything else."""
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        assert len(body) >= 5 + length
        found.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def read_web(response: TestResponse, method: str) -> Outcome:
    """Read an answer of gRPC-web as a client does, and check what every answer has."""
    assert response.status_code == 200, response.text
    kind = response.headers["Content-Type"]
    assert response.headers["Cache-Control"] == "no-store"
    body = b64decode(response.data, validate=True) if "-text" in kind else response.data
    *messages, (flags, lines) = frames(body)
    assert flags == 0x80
    trailers = dict(line.split(": ", 1) for line in lines.decode("ascii").split("\r\n")[:-1])
    fields = combined(response.headers.items())
    code = int(trailers["grpc-status"])
    if code == 0:
        ((flags, message),) = messages
        assert (flags, set(trailers)) == (0, {"grpc-status"})
        return Outcome(0, decode(method, message), fields)
    assert messages == []
    details = trailers["grpc-status-details-bin"]
    told = status(b64decode(details + "=" * (-len(details) % 4), validate=True))
    text = unquote(trailers["grpc-message"])
    check_status(told, code, text)
    return Outcome(code, {"message": text}, fields)


def check_status(told: Content, code: int, text: str) -> None:
    """Hold the details of an error against its code and text."""
    (detail,) = told.pop("details")
    assert told == {"code": code, "message": text}
    assert set(detail) == {"@type", "id", "message"}
    assert detail["message"] == text


# -- one call in each form -----------------------------------------------------------------------------------


def as_json(app: App, method: str, content: Content, authorization: str, **given: Any) -> Outcome:
    """Call by Connect with JSON."""
    sent = {"data": json.dumps(content), "content_type": "application/json", **given}
    return read_connect(request(app, method, method="POST", authorization=authorization, **sent), method)


def as_proto(app: App, method: str, content: Content, authorization: str, **given: Any) -> Outcome:
    """Call by Connect with protobuf."""
    sent = {"data": encode(method, content), "content_type": PROTO, **given}
    return read_connect(request(app, method, method="POST", authorization=authorization, **sent), method)


def read_connect(response: TestResponse, method: str) -> Outcome:
    fields = combined(response.headers.items())
    if response.status_code == 200:
        is_json = response.headers["Content-Type"] == "application/json"
        return Outcome(0, response.json if is_json else decode(method, response.data), fields)
    numbers = {word: number for number, word in WORDS.items()}
    return Outcome(numbers[response.json["code"]], {"message": response.json["message"]}, fields)


def as_web(kind: str) -> Callable[..., Outcome]:
    """Return what calls by gRPC-web."""

    def call(app: App, method: str, content: Content, authorization: str, **given: Any) -> Outcome:
        body = frame(encode(method, content))
        sent = {"data": b64encode(body) if "-text" in kind else body, "content_type": kind, **given}
        return read_web(request(app, method, method="POST", authorization=authorization, **sent), method)

    return call


def as_rest(app: App, method: str, content: Content, authorization: str, **given: Any) -> Outcome:
    """Call the path that REST has for a method."""
    left = dict(content)
    user, token = left.pop("userId", ""), left.get("tokenId", "")
    base = f"/management/v1/users/{user}/pats" if method.startswith(V1) else f"/v2/users/{user}/pats"
    name = method.rpartition("/")[2]
    verb, path = {
        "AddPersonalAccessToken": ("POST", base),
        "RemovePersonalAccessToken": ("DELETE", f"{base}/{token}"),
        "GetPersonalAccessTokenByIDs": ("GET", f"{base}/{token}"),
        "ListPersonalAccessTokens": (
            "POST",
            f"{base}/_search" if method.startswith(V1) else "/v2/users/pats/search",
        ),
    }[name]
    sent = {"data": json.dumps(left), "content_type": "application/json"} if verb == "POST" else {}
    response = request(app, path, method=verb, authorization=authorization, **sent, **given)
    fields = combined(response.headers.items())
    if response.status_code == 200:
        return Outcome(0, response.json, fields)
    return Outcome(response.json["code"], {"message": response.json["message"]}, fields)


# By the name of the form; gRPC itself needs a server (tests/support/grpc_port.py).
OVER_HTTP: dict[str, Callable[..., Outcome]] = {
    "REST": as_rest,
    "Connect": as_json,
    "Connect protobuf": as_proto,
    **{kind: as_web(kind) for kind in WEB},
}
