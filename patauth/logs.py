"""Formatters of log records: as JSON with the time and the request's id, and without credentials.

    {"time": "2026-11-30T06:38:08.385Z", "level": "WARNING", "logger": "patauth", "message": "not ready: …",
     "requestId": "req-7"}

An application can use all of this for its own logs; `patauth serve` does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import date
from math import isfinite
from typing import Any

from .events.events import line_of
from .events.log import EVENT
from .events.request import REQUEST
from .model import dates
from .model.credentials import Prefixes, read_prefixes
from .model.redaction import Redaction
from .settings import read_named

REQUEST_ID = "request_id"  # the attribute of a record
WITHOUT_ID = "-"

_DEFAULT = (Prefixes(),)
_DEPTH = 8  # of objects and lists inside each other; what is deeper is left out
_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName", REQUEST_ID, EVENT}


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to each record: the id of the HTTP request, as in events, or `-` outside of one.

    A format can name it, as `%(request_id)s`. Put it on a `QueueHandler`: the thread that writes the records
    of a queue answers no request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id, and return True: every record passes."""
        record.__dict__.setdefault(REQUEST_ID, _current_id() or WITHOUT_ID)
        return True


class RedactingFormatter(logging.Formatter):
    """Formats records as another formatter does, and hides every credential, in tracebacks too.

    A record that the other cannot format is a line that says so.
    `credential_prefixes` are those of the setting. Raise `ConfigurationError` for wrong ones.
    """

    def __init__(self, inner: logging.Formatter | None = None, credential_prefixes: Any = _DEFAULT) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._hide = _redaction(credential_prefixes).hide

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text.

        Never raise: `logging` would print the record as it is, with its secrets.
        """
        try:
            return self._hide(self._inner.format(record))
        except Exception as problem:
            return self._hide(" ".join(_unformatted(record, problem).values()))


class JSONFormatter(logging.Formatter):
    """Formats each record as one JSON object: one line of printable ASCII, without credentials.

    Its members are `time` (RFC 3339 in UTC with milliseconds), `level`, `logger`, `message`, `requestId`
    while a request is answered, `exception` and `stack` where the record has them, and what the record was
    given as `extra`. An event of the audit trail is the object `event`, and its type is the message. A value
    that JSON cannot hold is shown as the name of its type: its text may have anything in it. A record that
    cannot be shown at all is a line that says so.

    `credential_prefixes` are those of the setting. Raise `ConfigurationError` for wrong ones.
    """

    def __init__(self, credential_prefixes: Any = _DEFAULT) -> None:
        super().__init__()
        self._redaction = _redaction(credential_prefixes)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line, without its end.

        Never raise: `logging` would print the record as it is, with its secrets.
        """
        try:
            return line_of(self._shown(self._members(record), _DEPTH))
        except Exception as problem:
            now = dates.format_ms(int(time.time() * 1000))
            return line_of(self._shown({"time": now, **_unformatted(record, problem)}, 1))

    def _members(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what is shown of a record, in its order."""
        extra = record.__dict__
        event = extra.get(EVENT)
        members = {
            "time": dates.format_ms(int(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record) if event is None else event["type"],
            "requestId": extra.get(REQUEST_ID) or _current_id(),
            "event": event,
            "exception": self.formatException(record.exc_info) if record.exc_info else record.exc_text,
            "stack": record.stack_info,
        }
        if members["requestId"] == WITHOUT_ID:
            members["requestId"] = None
        known = {name: value for name, value in members.items() if value is not None}
        others = {name: value for name, value in extra.items() if name not in _STANDARD | known.keys()}
        return {**known, **others}

    def _shown(self, value: Any, depth: int) -> Any:
        """Return a value as JSON has it."""
        if isinstance(value, str):
            return self._redaction.hide(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float) and isfinite(value):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        if isinstance(value, date):  # a datetime too
            return self._redaction.hide(value.isoformat())
        if depth > 0 and isinstance(value, Mapping):
            return {
                self._redaction.hide(str(name)): self._shown(one, depth - 1) for name, one in value.items()
            }
        if depth > 0 and isinstance(value, list | tuple):
            return [self._shown(one, depth - 1) for one in value]
        return f"<{type(value).__name__}>"


def _current_id() -> str | None:
    request = REQUEST.get()
    return None if request is None else request.id


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # its arguments do not fit; `logging` would write a traceback in its place
        return record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"


def _unformatted(record: logging.LogRecord, problem: Exception) -> dict[str, str]:
    """Return what is said of a record that could not be formatted."""
    return {
        "level": str(record.levelname),
        "logger": str(record.name),
        "message": f"a record of {record.filename}:{record.lineno} cannot be shown: {type(problem).__name__}",
    }


def _redaction(credential_prefixes: Any) -> Redaction:
    return Redaction(read_named("credential_prefixes", read_prefixes, credential_prefixes))
