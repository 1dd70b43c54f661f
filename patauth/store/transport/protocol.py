"""Define a transport and the errors of its calls, for the modules of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ...errors import StoreUnavailable
from .wire import Command, ErrorReply


class Transport(Protocol):
    """How commands reach a store."""

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Send commands together, and return their replies. Those with keys in one slot use one connection.

        A WAIT or WAITAOF uses the connection of the command before it. `deadline` is an instant of
        `time.monotonic()` (s). `retry`: sending the commands twice is harmless. `patience` is how many
        seconds beyond the deadline the last command may take, as WAIT does. Raise `StoreUnavailable`, of
        which the errors below are kinds, at the first reply that is an error: the replies after it are not
        waited for.
        """

    def send(
        self,
        packed: bytes,
        count: int,
        deadline: float,
        *,
        retry: bool = False,
        patience: float = 0.0,
        tag: bytes = b"",
    ) -> list[Any]:
        """Send `count` commands that are already packed (RESP), and return their replies.

        `tag` is the hash tag of all their keys; a cluster needs it. The other parameters and the errors are
        those of `call`.
        """

    def parts(self, deadline: float) -> Sequence[Part]:
        """Return each server that holds a part of the keys. Raise `StoreUnavailable`."""

    def connections(self) -> tuple[int, int]:
        """Return how many connections of this process are in use, and how many are idle."""

    def close(self) -> None:
        """Close what is open and not in use."""


class Part(NamedTuple):
    """A server that holds a part of the keys. `tag` is the hash tag of some keys that it holds."""

    transport: Transport
    tag: str


class ScriptMissing(StoreUnavailable):
    """The server does not know the script's digest, so send its text. The connection is still good."""


class MemoryFull(StoreUnavailable):
    """The server's memory is full: it writes nothing that may need more. The connection is still good."""


class Unanswered(StoreUnavailable):
    """A command was sent, and no readable answer came: the server may have run it, or may still run it."""


class PartlyDone(StoreUnavailable):
    """A command was answered with an error, and others before it were done. `replies` are those to them."""

    def __init__(self, replies: Sequence[Any], *, detail: str) -> None:
        super().__init__(detail=detail)
        self.replies = replies


OF_CLUSTER = "the server is a node of a cluster: let store_url begin with redis+cluster://"


def unavailable(problem: Exception) -> StoreUnavailable:
    """Return the error for a caller. It only says that the store fails; `detail` tells the log why."""
    detail = f"{type(problem).__name__}: {problem}"
    if str(problem).startswith(("MOVED ", "ASK ")):
        detail += f"; {OF_CLUSTER}"
    if isinstance(problem, ErrorReply) and problem.before:
        return PartlyDone(problem.before, detail=detail)
    kind = MemoryFull if str(problem).startswith("OOM") else StoreUnavailable
    return kind(detail=detail)
