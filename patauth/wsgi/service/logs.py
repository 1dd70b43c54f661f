"""The log of `patauth serve`: where it goes, and that each line of it is JSON if that is asked for."""

from __future__ import annotations

import logging
import sys
import threading
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


def log_calls_to_stdout(settings: Settings, *, as_json: bool) -> None:
    """Send the access log of the gRPC port to stdout; with `quiet` there is none, as its level is INFO."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter_of(settings, _CALL, as_json=as_json))
    CALLS.addHandler(handler)
    CALLS.propagate = False


def _log_uncaught(kind: type[BaseException], problem: BaseException, traceback: TracebackType | None) -> None:
    _log.critical("nobody has caught an exception", exc_info=(kind, problem, traceback))
