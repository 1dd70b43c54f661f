"""Read the rest of a refused upload and throw it away, after the answer is sent and within limits.

A server that closes a socket with unread data resets the connection. A client that still sends then sees the
reset in place of its answer, and a proxy turns it into a 502. So under gunicorn, which gives access to its
socket, patauth reads the rest: at most 16 MiB, and for at most 2 s. After the first tenth of a second only
one thread of the process goes on, because nobody knows how many threads serve requests. A connection whose
request was read whole is used again; at a limit it ends.
"""

from __future__ import annotations

import errno
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ..concurrency.forks import after_fork_in_child

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SECONDS = 2.0
# So long no place is needed. A client has its answer while much of what it sent is still unread, and its next
# upload may come before that is read.
FREE_SECONDS = 0.1
MAX_BYTES = 16 * 1024 * 1024

_BLOCK = 65_536  # bytes of one read
_PLACES = 1
_PLACES_UNDER_GEVENT = 250  # a quarter of gunicorn's default of `worker_connections`


@dataclass(eq=False, slots=True)
class _Reading:
    """Describes one drain under way."""

    connection: socket.socket
    since: float
    due: float  # when somebody must look at it
    has_place: bool = False
    stopped: bool = False


class Drain:
    """Reads the rest of refused uploads. A process has one object, because it limits the whole process."""

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        free_seconds: float = FREE_SECONDS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._free_seconds = free_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._after_fork()
        after_fork_in_child(self._after_fork)

    def _after_fork(self) -> None:
        # Nothing that waits is done under the lock. Under gevent it may be older than gevent's patch.
        self._lock = threading.Lock()
        self._open: set[_Reading] = set()
        self._watched = False

    def answered(self, body: Iterable[bytes], environ: WSGIEnvironment) -> Iterable[bytes]:
        """Return the body of a refusal, so that the server reads the rest of the request after sending it.

        Return `body` itself where there is nothing to read or no gunicorn, and for `Expect: 100-continue`,
        because that client stops sending when it sees the answer.
        """
        return _ThenDrained(body, environ, self._drain) if _is_drained(environ) else body

    def _drain(self, environ: WSGIEnvironment) -> None:
        if not self._read(environ["wsgi.input"], environ["gunicorn.socket"]):
            # Nobody knows where the next request begins, so gunicorn must not look for one. It handles this
            # error in any worker as that of a client that went away: it closes, and logs nothing.
            raise ConnectionResetError(errno.ECONNRESET, "the rest of a refused upload is not read")

    def _read(self, rest: IO[bytes], connection: socket.socket) -> bool:
        """Read the rest of a body. Return False if the connection must end, because more may come."""
        now = self._clock()
        reading = _Reading(connection, now, now + self._free_seconds)
        try:
            self._begin(reading)
            ended = self._read_to_end(rest)
        except ConnectionError:
            return True  # the client has gone, and nothing more can come
        except Exception:  # each version of gunicorn has its own for a body that is wrong
            ended = False
        finally:
            with self._lock:
                self._open.discard(reading)
        if not ended:
            _stop_reading(connection)  # else gunicorn waits for more before it closes
        return ended and not reading.stopped

    def _read_to_end(self, rest: IO[bytes]) -> bool:
        left = self._max_bytes
        while left > 0:
            block = rest.read(min(_BLOCK, left))
            if not block:
                return True
            left -= len(block)
        return False

    # -- the time --------------------------------------------------------------------------------------------

    # gunicorn reads the socket again and again until it has a whole block. So a timeout of the socket would
    # not end the wait for a body that comes byte by byte; shutting it down does. One thread does that for all
    # drains under way, and ends when there are none.

    def _begin(self, reading: _Reading) -> None:
        with self._lock:
            self._open.add(reading)
            watched, self._watched = self._watched, True
        if not watched:
            try:
                threading.Thread(target=self._watch, daemon=True).start()
            except BaseException:
                self._watched = False
                raise

    def _watch(self) -> None:
        never = threading.Event()
        while (pause := self._look()) is not None:
            never.wait(pause)

    def _look(self) -> float | None:
        """Stop drains whose time is over. Return the seconds until the next look, or None if none is open."""
        places = _places()
        with self._lock:
            now = self._clock()
            for reading in self._open:
                if reading.due > now:
                    continue
                if not reading.has_place and sum(one.has_place for one in self._open) < places:
                    reading.has_place = True
                    reading.due = reading.since + self._seconds
                else:
                    reading.stopped = True
                    reading.due = math.inf
                    _stop_reading(reading.connection)
            self._watched = bool(self._open)
            if not self._watched:
                return None
            # A drain that begins meanwhile is due no sooner.
            return min(self._free_seconds, *(reading.due - now for reading in self._open))


class _ThenDrained:
    """Holds the body of an answer. A server calls `close()` when it has sent it (PEP 3333)."""

    def __init__(
        self, body: Iterable[bytes], environ: WSGIEnvironment, drain: Callable[[WSGIEnvironment], None]
    ) -> None:
        self._body = body
        self._environ = environ
        self._drain = drain

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        self._drain(self._environ)


def _is_drained(environ: WSGIEnvironment) -> bool:
    return "gunicorn.socket" in environ and is_upload(environ)


def is_upload(environ: WSGIEnvironment) -> bool:
    """Return whether a request has a body, whose rest would reset its connection."""
    return (
        (bool(environ.get("CONTENT_LENGTH", "").strip("0")) or "HTTP_TRANSFER_ENCODING" in environ)
        and environ.get("HTTP_EXPECT", "").lower() != "100-continue"
        # A connection of HTTP/2 has other requests too, and an early answer there resets nothing.
        and environ["SERVER_PROTOCOL"].startswith("HTTP/1.")
    )


def _places() -> int:
    # Under gevent each connection has a greenlet, and holds no thread.
    monkey = sys.modules.get("gevent.monkey")
    patched = monkey is not None and monkey.is_module_patched("threading")
    return _PLACES_UNDER_GEVENT if patched else _PLACES


def _stop_reading(connection: socket.socket) -> None:
    """Shut down the reading side, so that a thread that waits for data gets the end of the stream at once."""
    # By another socket object: TLS and gevent do more in their own `shutdown`, in the middle of a read.
    with suppress(OSError), socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as same:
        same.shutdown(socket.SHUT_RD)


answered = Drain().answered
