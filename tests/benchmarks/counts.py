"""What a request does, counted: no clock, so the same on every machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

import redis

from tests.support.servers import Server

_OF_COUNTING = ("info", "client")  # commands of the connections that ask


@dataclass(frozen=True, slots=True)
class Count:
    """Of one request: calls of Python functions and of C functions, and what reached the server.

    The wrapped application's own are left out, and those of who asks. `commands`: by name, the inner ones of
    scripts included.
    """

    python_calls: int
    c_calls: int
    round_trips: float
    commands: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return asdict(self)


def count(server: Server, call: Callable[[], object], requests: int = 50) -> Count:
    """Count one warm call; what reaches the server as the mean of `requests` calls."""
    for _ in range(20):
        call()
    functions, c_calls = functions_of(call)
    before = server.calls()
    with server.client() as client:
        reads = _reads(client)
        for _ in range(requests):
            call()
        reads = _reads(client) - reads - 1  # the last one was for counting
    used = {
        name: (often - before.get(name, 0)) / requests
        for name, often in sorted(server.calls().items())
        if often > before.get(name, 0) and not name.startswith(_OF_COUNTING)
    }
    return Count(sum(functions.values()), c_calls, reads / requests, used)


def _reads(client: redis.Redis) -> int:
    """How often the server has read from a socket: once for what is sent at once, if it is short."""
    stats: dict[str, Any] = client.info("stats")
    return int(stats["total_reads_processed"])


def functions_of(call: Callable[[], object]) -> tuple[Counter[str], int]:
    """How often one call calls which Python function (by module and name), and how many C functions.

    Functions of this package, and what they call in C, are left out.
    """
    functions: Counter[str] = Counter()
    c_calls = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal c_calls
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(__package__ or ""):
            return
        if event == "call":
            functions[f"{module}.{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            c_calls += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return functions, c_calls
