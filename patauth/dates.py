"""Instants as whole milliseconds since 1970 (UTC), and their one spelling outside.

Everything inside patauth is an `int` of milliseconds; `datetime` and text appear only at the edges.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .errors import InvalidRequest

DAY = 86_400_000  # ms
LATEST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant that can be written

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# RFC 3339 §5.6 date-time. The offset is required; "T" and "Z" in either case; any number of fraction digits.
_DATE_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))", re.ASCII
)


def to_datetime(ms: int) -> datetime:
    """The aware UTC datetime of an instant."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime, field: str = "date") -> int:
    """The instant of an aware datetime, cut to the millisecond. `InvalidRequest` if it has no zone."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidRequest(f"{field}: give a time zone, for example datetime.now(UTC) + timedelta(days=30)")
    return (moment - _EPOCH) // _MILLISECOND


def format_ms(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`, always three fraction digits."""
    moment = to_datetime(ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z".rjust(24, "0")


def parse_ms(text: str, field: str = "date") -> int:
    """Read an RFC 3339 §5.6 date-time (offset required), cut to the millisecond.

    A leap second (`:60`) counts as the last millisecond before it. Raises `InvalidRequest` for any other
    shape and for instants after the year 9999.
    """
    match = _DATE_TIME.fullmatch(text)
    problem = InvalidRequest(f"{field}: give an RFC 3339 date-time such as 2030-01-31T12:00:00Z")
    if match is None:
        raise problem
    date, clock, second, fraction, sign, hours, minutes = match.groups()
    offset = 0
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise problem
        offset = (int(hours) * 60 + int(minutes)) * 60_000 * (-1 if sign == "-" else 1)
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}:{'59' if leap else second}+00:00")
    except ValueError:
        raise problem from None
    millis = 999 if leap else int(((fraction or "") + "000")[:3])
    ms = (moment - _EPOCH) // _MILLISECOND + millis - offset
    if ms > LATEST:
        raise InvalidRequest(f"{field}: the year 9999 is the last that can be given")
    return ms
