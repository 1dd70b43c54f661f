"""When a PAT is to expire: the table of what is asked for, and what policy makes of it."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.model.dates import DAY, LATEST, add_months, parse_ms, to_datetime
from patauth.model.expiry import Expiry
from tests.support.tables import each

NOW = 1_893_456_000_000  # 2030-01-01T00:00:00Z
EARLIER = NOW - 10 * DAY  # when it was made, where that is not now
SIX_MONTHS = parse_ms("2030-07-01T00:00:00Z")
NEVER, SOON, LATER = Expiry(), Expiry(at_ms=NOW + 1), Expiry(at_ms=NOW + 40 * DAY)
MONTHS = Expiry(months=6)
THIRTY_DAYS = 30 * 86_400  # seconds, as the setting


@each(
    ("asked", "policy", "expires"),
    [
        pytest.param(NEVER, {}, None, id="nothing is never"),
        pytest.param(SOON, {}, NOW + 1, id="a millisecond from now"),
        pytest.param(Expiry(at_ms=LATEST), {}, LATEST, id="the last instant of the year 9999"),
        pytest.param(Expiry(after_ms=DAY), {}, NOW + DAY, id="a time from now"),
        pytest.param(Expiry(after_ms=DAY), {"created": EARLIER}, NOW + DAY, id="from now, not from creation"),
        pytest.param(Expiry(after_ms=LATEST - NOW), {}, LATEST, id="a time until the end of 9999"),
        pytest.param(
            Expiry(at_ms=NOW + 30 * DAY), {"longest": THIRTY_DAYS}, NOW + 30 * DAY, id="the longest"
        ),
        pytest.param(SOON, {"longest": 1}, NOW + 1, id="within the longest"),
        pytest.param(SOON, {"ceiling": NOW + 1}, NOW + 1, id="with the maker's own"),
        pytest.param(MONTHS, {}, SIX_MONTHS, id="months are the life of one for which nothing is asked"),
        pytest.param(MONTHS, {"ceiling": NOW + 1}, NOW + 1, id="the default is cut to the maker's own"),
        pytest.param(
            MONTHS, {"longest": THIRTY_DAYS}, NOW + 30 * DAY, id="the default is cut to the longest"
        ),
        pytest.param(MONTHS, {"longest": 1, "ceiling": NOW + DAY}, NOW + 1000, id="the shortest of all"),
        pytest.param(MONTHS, {"ceiling": LATEST}, SIX_MONTHS, id="a late ceiling prolongs nothing"),
        pytest.param(
            Expiry(at_ms=SIX_MONTHS, months=6), {}, SIX_MONTHS, id="asked for, to the last millisecond"
        ),
        pytest.param(Expiry(at_ms=NOW + 1, months=6), {}, NOW + 1, id="asked for, within the months"),
    ],
)
def test_what_is_within_policy_is_what_it_comes_to(
    asked: Expiry, policy: dict[str, Any], expires: int | None
) -> None:
    assert asked.settle(NOW, **{"created": NOW, **policy}) == expires


@each(
    ("asked", "policy", "words"),
    [
        pytest.param(Expiry(at_ms=NOW), {}, "future", id="now is not the future"),
        pytest.param(Expiry(at_ms=NOW - 1), {}, "future", id="past"),
        pytest.param(Expiry(at_ms=-1), {}, "future", id="before 1970"),
        pytest.param(Expiry(after_ms=0), {}, "future", id="in no time"),
        pytest.param(Expiry(after_ms=-1), {}, "future", id="a time ago"),
        pytest.param(Expiry(at_ms=LATEST + 1), {}, "9999", id="the year 10000"),
        pytest.param(Expiry(after_ms=LATEST - NOW + 1), {}, "9999", id="a time into the year 10000"),
        pytest.param(NEVER, {"longest": THIRTY_DAYS}, "within 2592000 seconds", id="never is too long"),
        pytest.param(
            Expiry(at_ms=NOW + 30 * DAY + 1), {"longest": THIRTY_DAYS}, "within 2592000", id="too long"
        ),
        pytest.param(
            Expiry(at_ms=EARLIER + 30 * DAY + 1),
            {"longest": THIRTY_DAYS, "created": EARLIER},
            "within",
            id="the longest counts from creation",
        ),
        pytest.param(NEVER, {"ceiling": LATEST}, "your own", id="never, from one who expires"),
        pytest.param(LATER, {"ceiling": NOW + 40 * DAY - 1}, "your own", id="later than the maker's own"),
        pytest.param(
            Expiry(after_ms=2, months=6), {"ceiling": NOW + 1}, "your own", id="asked for is never cut"
        ),
        pytest.param(Expiry(at_ms=SIX_MONTHS + 1, months=6), {}, "6 months", id="past the months"),
        pytest.param(
            Expiry(at_ms=SIX_MONTHS, months=6), {"created": EARLIER}, "6 months", id="months from creation"
        ),
    ],
)
def test_what_is_not_is_refused_by_name(asked: Expiry, policy: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        asked.settle(NOW, **{"created": NOW, **policy})
    assert caught.value.field == "expiry"


some_instants = st.integers(NOW - 400 * DAY, NOW + 400 * DAY)


@given(
    st.builds(
        Expiry,
        at_ms=st.none() | some_instants,
        after_ms=st.none() | st.integers(-DAY, 400 * DAY),
        months=st.none() | st.integers(1, 12),
    ),
    st.integers(NOW - 100 * DAY, NOW),
    st.none() | st.integers(1, 500 * 86_400),
    st.none() | st.integers(NOW + 1, NOW + 400 * DAY),
)
def test_whatever_is_asked_for_no_limit_is_passed_and_nothing_asked_for_is_changed(
    asked: Expiry, created: int, longest: int | None, ceiling: int | None
) -> None:
    try:
        expires = asked.settle(NOW, created=created, longest=longest, ceiling=ceiling)
    except InvalidRequest:
        return
    limits = [limit for limit in (ceiling, None if longest is None else created + longest * 1000) if limit]
    if asked.months is not None:
        limits.append(add_months(created, asked.months))
    assert all(expires is not None and expires <= limit for limit in limits)
    if asked.after_ms is not None:
        assert expires == NOW + asked.after_ms > NOW
    elif asked.at_ms is not None:
        assert expires == asked.at_ms > NOW
    else:
        assert expires == min(limits, default=None)


class TestKeywords:
    """Expiries as Python says them."""

    def test_nothing_is_nothing_and_never_is_never(self) -> None:
        assert Expiry.of_keywords(None, None, False) is None
        assert Expiry.of_keywords(None, None, True) == NEVER

    def test_times_are_whole_milliseconds_cut(self) -> None:
        assert Expiry.of_keywords(timedelta(microseconds=1_999), None, False) == Expiry(after_ms=1)
        longest = Expiry.of_keywords(timedelta.max, None, False)
        assert longest is not None
        assert longest.after_ms is not None
        moment = datetime(2030, 1, 1, 1, microsecond=999, tzinfo=timezone(timedelta(hours=1)))
        assert Expiry.of_keywords(None, moment, False) == Expiry(at_ms=NOW)

    def test_anything_else_and_several_at_once_are_refused(self) -> None:
        hour, moment = timedelta(hours=1), datetime(2030, 1, 1, tzinfo=UTC)
        for keywords in (
            *[(None, one, False) for one in (datetime(2030, 1, 1), 30, "2030-01-01T00:00Z", moment.date())],
            *[(one, None, False) for one in (30, "1h", True, moment)],
            (hour, moment, False), (hour, None, True), (None, moment, True), (hour, moment, True),
        ):  # fmt: skip
            with pytest.raises(InvalidRequest, match="expire"):
                Expiry.of_keywords(*keywords)  # type: ignore[arg-type]


class TestMonths:
    """Calendar months, which are the months of people."""

    @each(
        ("start", "months", "end"),
        [
            ("2030-01-01T00:00:00Z", 6, "2030-07-01T00:00:00Z"),
            ("2030-08-31T12:34:56.789Z", 6, "2031-02-28T12:34:56.789Z"),
            ("2031-08-31T00:00:00Z", 6, "2032-02-29T00:00:00Z"),
            ("2032-02-29T00:00:00Z", 12, "2033-02-28T00:00:00Z"),
            ("2032-02-29T00:00:00Z", 48, "2036-02-29T00:00:00Z"),
            ("2030-12-31T23:59:59.999Z", 1, "2031-01-31T23:59:59.999Z"),
            ("2030-06-30T00:00:00Z", 6, "2030-12-30T00:00:00Z"),
            ("2030-07-31T00:00:00Z", 0, "2030-07-31T00:00:00Z"),
            ("9999-06-30T00:00:00Z", 6, "9999-12-30T00:00:00Z"),
            ("9999-07-01T00:00:00Z", 6, "9999-12-31T23:59:59.999Z"),
        ],
    )
    def test_the_same_day_and_time_or_the_months_last_day(self, start: str, months: int, end: str) -> None:
        assert add_months(parse_ms(start), months) == parse_ms(end)

    @given(st.integers(0, LATEST), st.integers(0, 1200))
    def test_day_and_time_stay_and_the_month_is_counted_on(self, ms: int, months: int) -> None:
        start, end = to_datetime(ms), to_datetime(add_months(ms, months))
        month = start.year * 12 + start.month - 1 + months
        if month >= 10_000 * 12:
            assert add_months(ms, months) == LATEST
            return
        assert end.year * 12 + end.month - 1 == month
        assert end.day == min(start.day, monthrange(end.year, end.month)[1])
        assert end.astimezone(UTC).time() == start.time()

    @given(st.integers(0, LATEST), st.integers(0, 40 * DAY), st.integers(0, 24))
    def test_who_starts_later_never_ends_earlier(self, ms: int, more: int, months: int) -> None:
        """But for the days that February has not: the time of day decides among those that meet there."""
        later = min(ms + more, LATEST)
        assert add_months(later, months) // DAY >= add_months(ms, months) // DAY
