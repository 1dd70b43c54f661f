"""Read binary messages of ZITADEL's API into their JSON form, and write them from it. Needs protobuf.

The descriptors are in a pool of their own, so that they never collide with a user's stubs of the same names.
`proto/` has the `.proto` files, in our own words; `python -m tests.descriptors` makes descriptors.binpb of
them.

Source of the names and numbers: the vendor's npm package `@zitadel/proto`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ...errors import InvalidRequest
from .call import Content
from .errors import Refusal


def read_request(method: str, data: bytes) -> Content:
    """Return the request of a method, such as `/zitadel.user.v2.UserService/AddPersonalAccessToken`.

    Of a field that was sent twice, or of two that exclude each other, the last counts, as protobuf has it.
    Raise `InvalidRequest`, for unknown fields too, as for those of JSON.
    """
    message = GetMessageClass(_method(method).input_type)()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise InvalidRequest("the message is not what this method takes") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise InvalidRequest("there is a field that is not known here")
    try:
        content: Content = json_format.MessageToDict(message)
    except (ValueError, json_format.Error):
        raise InvalidRequest("an instant is not from the years 1 to 9999") from None
    return content


def write_answer(method: str, content: Content) -> bytes:
    """Return the answer of a method."""
    return _written(GetMessageClass(_method(method).output_type)(), content)


def write_status(refusal: Refusal) -> bytes:
    """Return a refusal as a google.rpc.Status."""
    status = _class("google.rpc.Status")(code=refusal.number, message=refusal.text)
    detail = _class("zitadel.v1.ErrorDetail")(id=refusal.tracking, message=refusal.text)
    status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def _written(message: Message, content: Content) -> bytes:
    return bytes(json_format.ParseDict(content, message).SerializeToString())


@cache
def _method(path: str) -> MethodDescriptor:
    service, name = path[1:].split("/")
    return _pool().FindServiceByName(service).methods_by_name[name]


@cache
def _class(name: str) -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    shipped = files(__package__) / "proto" / "descriptors.binpb"
    for file in FileDescriptorSet.FromString(shipped.read_bytes()).file:
        pool.Add(file)
    return pool
