"""The log of `patauth serve`: where it goes, and that each line of it is JSON if that is asked for."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ...logs import JSONFormatter, RedactingFormatter
from ...settings import Settings

_log = logging.getLogger("patauth")
CALLS = logging.getLogger("patauth.access")  # a record for each call of the gRPC port
_CALL = logging.Formatter(
    '%(asctime)s %(address)s "%(method)s %(path)s" %(status)d %(bytes)d %(durationSeconds).3fs'
    " grpc-status=%(grpcStatus)d",
    "[%d/%b/%Y:%H:%M:%S %z]",  # as gunicorn has it
    defaults={"address": "-"},
)
_TEXT = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")

ROOM = 10_000  # lines of the access log that may wait
_END_SECONDS = 1.0  # for room in the queue, and again for what is in it
_MINUTE = 60.0


def formatter_of(settings: Settings, text: logging.Formatter | None, *, as_json: bool) -> logging.Formatter:
    """Return what shows records, without credentials: as JSON, or as `text` does."""
    prefixes = settings.credential_prefixes
    return JSONFormatter(prefixes) if as_json else RedactingFormatter(text, prefixes)


def log_to_stderr(settings: Settings, *, quiet: bool, as_json: bool) -> None:
    """Send patauth's own log to stderr: warnings, and unless `quiet` the audit trail.

    OpenTelemetry's warnings go there too, as they may repeat what they cannot read. As JSON, so do warnings
    of all others, and what nobody has caught: each line is JSON then.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_of(settings, _TEXT, as_json=as_json))
    logger = logging.getLogger("patauth")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    if not as_json:
        others = logging.getLogger("opentelemetry")
        others.addHandler(handler)
        others.propagate = False
    else:
        logging.getLogger().addHandler(handler)
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda args: _log_uncaught(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )


class Lines(logging.Handler):
    """Writes lines in a thread of its own, so that a reader that stalls holds up no caller.

    Lines for which there is no room are dropped. Once the reader goes on, a warning tells how many, once a
    minute at most. Lines that cannot be written are lost, as gunicorn's are.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        room: int = ROOM,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._write = write
        self._timer = timer
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(room)  # None: the end
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="patauth access log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue, or drop it."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Wait until what waits is written, for a few seconds at most. `logging` calls this at the end."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_END_SECONDS)
            self._thread.join(_END_SECONDS)
        super().close()

    def _run(self) -> None:
        told, told_at = 0, -_MINUTE
        while (record := self._waiting.get()) is not None:
            with suppress(OSError):
                self._write(f"{self.format(record)}\n".encode("ascii", "backslashreplace"))
            if self._dropped > told and self._timer() >= told_at + _MINUTE:
                told, told_at = self._dropped, self._timer()
                _log.warning(
                    "the reader of stdout was too slow: %d lines of the access log are missing", told
                )


def log_calls_to_stdout(settings: Settings, *, as_json: bool) -> None:
    """Send the access log of the gRPC port to stdout; with `quiet` there is none, as its level is INFO."""
    CALLS.propagate = False
    if sys.stdout is not None:  # else its number may belong to another file by now
        # Without a buffer: its lock, held by a thread that waits for a reader, would break the process's end.
        out = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - open to the end
        handler = Lines(out.write)
        handler.setFormatter(formatter_of(settings, _CALL, as_json=as_json))
        CALLS.addHandler(handler)


def _log_uncaught(kind: type[BaseException], problem: BaseException, traceback: TracebackType | None) -> None:
    _log.critical("nobody has caught an exception", exc_info=(kind, problem, traceback))
