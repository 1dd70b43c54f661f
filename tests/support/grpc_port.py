"""The gRPC port in this process, and calls by grpcio's own client."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from patauth import Authority
from patauth.wsgi.service.grpc import GrpcServer
from tests.support.http2 import PATIENCE, running
from tests.support.rpc import Content, Outcome, check_status, combined, decode, encode, status

HEALTH = "/grpc.health.v1.Health/Check"


@contextmanager
def serving(authority: Authority, *, threads: int = 4, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve an Authority; yield the port."""
    with running(lambda at: GrpcServer(authority, listening=at, threads=threads, tls=tls)) as port:
        yield port


class Client:
    """grpcio's client, and what its calls come to."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def __call__(self, method: str, content: Content, authorization: str | None, **fields: str) -> Outcome:
        """Call with a message as it is in JSON. `fields` are metadata, with `_` for `-`."""
        return self.send(method, [encode(method, content)], authorization, **fields)

    def send(
        self,
        method: str,
        messages: Iterable[bytes],
        authorization: str | None = None,
        compression: grpc.Compression | None = None,
        **fields: str,
    ) -> Outcome:
        """Call with any number of messages, as they are."""
        metadata = [(name.replace("_", "-"), value) for name, value in fields.items()]
        if authorization is not None:
            metadata.append(("authorization", authorization))
        try:
            data, call = self.channel.stream_unary(method).with_call(
                iter(messages), metadata=metadata, timeout=PATIENCE, compression=compression
            )
        except grpc.RpcError as error:
            return _refused(error)
        return Outcome(0, decode(method, data), combined(call.trailing_metadata()))


def _refused(error: Any) -> Outcome:
    code, text = error.code().value[0], error.details()
    fields = combined(error.trailing_metadata() or ())
    if details := fields.pop("grpc-status-details-bin", None):
        check_status(status(details), code, text)
    return Outcome(code, {"message": text}, fields)


@contextmanager
def client_of(authority: Authority, **given: Any) -> Iterator[Client]:
    """Serve an Authority; yield a client of it."""
    with serving(authority, **given) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel)
