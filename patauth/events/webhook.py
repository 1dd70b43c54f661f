"""The sink `webhook:URL`: POSTs each event with the headers of Standard Webhooks, signed by its library.

One try has a limited time from end to end, however slowly the receiver answers. A status of 2xx means that
the receiver took the event. Every other answer is a failure, a redirect too: what is signed for one receiver
must go to no other. Interim answers (1xx) are skipped. Nothing is read after the header of an answer.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import ConfigurationError
from ..model import dates
from ..model.sinks import shown
from .outbox import Gone, Letter, Refused, Undelivered

CONNECT = 3.0  # s for each address of the receiver
WHOLE = 10.0  # s for a try
_HEADERS = 65_536  # bytes of an answer's header and of the interim answers before it, about
# Statuses about the receiver and not about the event: a proxy gives them while the receiver is down.
_AWAY = (429, 502, 503, 504)


class Webhook:
    """Delivers letters to a URL, which `read_sinks` has checked.

    `secrets`: each of them signs; during a rotation there are two. `name` is for people; without it, it
    is the origin of the URL. `clock` returns seconds since 1970, `timer` seconds that never step back;
    `whole` limits a try (s). Raise `ConfigurationError` without the
    library that signs.
    """

    most = 1
    in_order = False

    def __init__(
        self,
        url: str,
        secrets: Sequence[bytes],
        *,
        name: str = "",
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        whole: float = WHOLE,
    ) -> None:
        try:
            from standardwebhooks import Webhook as Signer
        except ImportError:
            raise ConfigurationError(
                "events: a webhook needs standardwebhooks: pip install 'patauth[events]'"
            ) from None
        self.name = name or shown(f"webhook:{url}")
        self._signers = [Signer(secret) for secret in secrets]
        self._clock = clock
        self._timer = timer
        self._whole = whole
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._scheme = parts.scheme

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        """Post each letter. Raise `Undelivered`."""
        for letter in letters:
            self.post(letter.id, letter.line)

    def post(self, event_id: str, line: str) -> None:
        """Post an event once.

        Raise `Undelivered`; `Refused` if the receiver refuses this event, `Gone` if it wants none any more.
        """
        until = self._timer() + self._whole
        try:
            status = self._answer(line.encode(), self._fields(event_id, line), until)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            # Some of these repeat what the receiver said.
            raise Undelivered(f"the receiver cannot be reached: {type(problem).__name__}") from None
        if status == http.client.GONE:
            raise Gone("the receiver answered 410: it wants no events any more, and gets none")
        if status in _AWAY:
            raise Undelivered(f"the receiver answered {status}")
        if not 200 <= status < 300:
            raise Refused(f"the receiver answered {status} to the event {event_id}")

    def _fields(self, event_id: str, line: str) -> dict[str, str]:
        seconds = int(self._clock())
        at = dates.to_datetime(1000 * seconds)
        return {
            "Content-Type": "application/json",
            "User-Agent": f"patauth/{__version__}",
            "Connection": "close",
            "webhook-id": event_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signer.sign(event_id, at, line) for signer in self._signers),
        }

    def _answer(self, body: bytes, fields: dict[str, str], until: float) -> int:
        """Return the status of the answer."""
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(self._left(until))
            connection.request("POST", self._path, body, fields)
            limited: Any = _Limited(connection.sock, partial(self._left, until))
            while True:
                answer: Any
                with closing(http.client.HTTPResponse(limited, method="POST")) as answer:
                    answer.begin()
                    status: int = answer.status
                    if status == http.client.SWITCHING_PROTOCOLS or status >= 200:
                        return status
                    answer.fp = None  # what the next one reads stays open
        finally:
            connection.close()

    def _connection(self) -> Any:
        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT)
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT, context=self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _left(self, until: float) -> float:
        left = until - self._timer()
        if left <= 0:
            raise TimeoutError
        return left


class _Limited(io.RawIOBase):
    """Reads a connected socket, up to `_HEADERS`. `left` returns the seconds that all reads may take."""

    def __init__(self, connected: socket.socket, left: Callable[[], float]) -> None:
        self._connected = connected
        self._left = left
        self._read = 0
        self._file: io.BufferedReader = io.BufferedReader(self)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the same file each time. `http.client` asks nothing else of a socket."""
        return self._file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it. Raise `TimeoutError`, and `OSError` if it is too much."""
        self._connected.settimeout(self._left())
        if self._read > _HEADERS:
            raise OSError("the header of the answer is too long")
        count = self._connected.recv_into(buffer)
        self._read += count
        return count


def id_of(line: str) -> str | None:
    """Return the id of an event from its line of JSON; None for anything but an event."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    found = found.get("id") if isinstance(found, dict) else None
    return found if isinstance(found, str) and found.isascii() and found.isalnum() else None
