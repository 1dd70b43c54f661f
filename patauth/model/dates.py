"""Instants as whole milliseconds since 1970 (UTC), and the text and `datetime` that users see.

Inside patauth, every instant is an `int` of milliseconds. Text and `datetime` appear only at the edges.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta

from ..errors import InvalidRequest

DAY = 86_400_000  # ms
EARLIEST = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z, the first instant that `datetime` can hold
LATEST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant that can be written

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# RFC 3339 §5.6 date-time. The offset is required; "T" and "Z" may have either case; the fraction may have any
# number of digits. Hours end at 23. `datetime.fromisoformat` accepts 24:00 from Python 3.14 on, so this
# module does not use it.
_DATE_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def to_datetime(ms: int) -> datetime:
    """Return the aware UTC datetime of an instant."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime, field: str = "date") -> int:
    """Return the instant of an aware datetime, cut to the millisecond. Raise `InvalidRequest`."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidRequest(
            "give a time zone, for example datetime.now(UTC) + timedelta(days=30)", field=field
        )
    return (moment - _EPOCH) // _MILLISECOND


def add_months(ms: int, months: int) -> int:
    """Return the same day and time a number of calendar months later.

    Where that month has no such day, return its last day. After the year 9999, return `LATEST`.
    """
    moment = to_datetime(ms)
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if year > 9999:
        return LATEST
    day = min(moment.day, monthrange(year, month + 1)[1])
    return to_ms(moment.replace(year=year, month=month + 1, day=day))


def format_ms(ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`, always with three fraction digits."""
    moment = to_datetime(ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z".rjust(24, "0")


def require_writable(ms: int, field: str) -> int:
    """Return an instant. Raise `InvalidRequest` if it is after the year 9999 and so cannot be written."""
    if ms > LATEST:
        raise InvalidRequest("the year 9999 is the last that can be given", field=field)
    return ms


def parse_ms(text: str, field: str = "date") -> int:
    """Read an RFC 3339 §5.6 date-time (the offset is required), cut to the millisecond.

    A leap second (`:60`) counts as the last millisecond before it. Raise `InvalidRequest` for any other
    shape, and for instants before the year 1 or after 9999 (in UTC).
    """
    match = _DATE_TIME.fullmatch(text)
    problem = InvalidRequest("give an RFC 3339 date-time such as 2030-01-31T12:00:00Z", field=field)
    if match is None:
        raise problem
    *numbers, fraction, sign, hours, minutes = match.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        raise problem from None
    millis = 999 if leap else int(((fraction or "") + "000")[:3])
    offset = 0
    if sign:
        offset = (int(hours) * 60 + int(minutes)) * 60_000 * (-1 if sign == "-" else 1)
    ms = (moment - _EPOCH) // _MILLISECOND + millis - offset
    if ms < EARLIEST:
        raise problem
    return require_writable(ms, field)
