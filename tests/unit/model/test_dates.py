"""Instants as RFC 3339 texts."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.model.dates import DAY, EARLIEST, LATEST, format_ms, parse_ms, to_datetime, to_ms
from tests.support.tables import each

instants = st.integers(EARLIEST, LATEST)
NEW_YEAR = 1_735_689_600_000  # 2025-01-01T00:00:00Z


class TestParse:
    @each(
        ("text", "ms"),
        [
            # RFC 3339 §5.8, the examples
            pytest.param("1985-04-12T23:20:50.52Z", 482_196_050_520, id="RFC 3339 §5.8, 1"),
            pytest.param("1996-12-19T16:39:57-08:00", 851_042_397_000, id="RFC 3339 §5.8, 2"),
            pytest.param("1990-12-31T23:59:60Z", 662_687_999_999, id="RFC 3339 §5.8, 3: leap second"),
            pytest.param("1990-12-31T15:59:60-08:00", 662_687_999_999, id="RFC 3339 §5.8, 4: leap second"),
            pytest.param(
                "1937-01-01T12:00:27.87+00:20", -1_041_337_172_130, id="RFC 3339 §5.8, 5: Dutch time"
            ),
            pytest.param("2025-01-01t00:00:00z", NEW_YEAR, id="lower case"),
            pytest.param("2025-01-01T00:00:00-00:00", NEW_YEAR, id="unknown local offset, §4.3"),
            pytest.param("2025-01-01T00:00:00.1Z", NEW_YEAR + 100, id="one digit"),
            pytest.param("2025-01-01T00:00:00.1239Z", NEW_YEAR + 123, id="four digits, cut"),
            pytest.param("2025-01-01T00:00:00." + "9" * 5000 + "Z", NEW_YEAR + 999, id="5000 digits"),
            pytest.param("2025-01-01T23:59:00+23:59", NEW_YEAR, id="largest offset"),
            pytest.param("2025-01-01T00:00:60.5Z", NEW_YEAR + 59_999, id="leap second with a fraction"),
            pytest.param("2024-02-29T00:00:00Z", 1_709_164_800_000, id="leap day"),
            pytest.param("0001-01-01T00:00:00Z", EARLIEST, id="the first instant"),
            pytest.param("0001-01-01T01:00:00+01:00", EARLIEST, id="the first instant, elsewhere"),
            pytest.param("3019-12-31T23:59:59.999Z", 33_134_745_599_999, id="year 3019"),
            pytest.param("9999-12-31T23:59:59.999Z", LATEST, id="the last instant"),
            pytest.param("9999-12-31T23:59:60Z", LATEST, id="the last leap second"),
            pytest.param("9999-12-31T22:59:59.999-01:00", LATEST, id="the last instant, elsewhere"),
        ],
    )
    def test_an_rfc_3339_date_time_is_read(self, text, ms):
        assert parse_ms(text) == ms

    @each(
        "text",
        [
            # what datetime.fromisoformat takes, and what its arithmetic then cannot hold
            pytest.param("2025-W01-1", id="week date"),
            pytest.param("2025-W01-1T00:00:00Z", id="week date with time"),
            pytest.param("2025-01-01", id="date alone"),
            pytest.param("20250101T000000Z", id="basic form"),
            pytest.param("2025-01-01X00:00:00Z", id="another letter for T"),
            pytest.param("2025-01-01 00:00:00Z", id="blank for T"),
            pytest.param("2025-01-01T00:00:00,5Z", id="comma"),
            pytest.param("2025-01-01T00:00:00", id="no offset"),
            pytest.param("2025-01-01T00:00:00+05:30:15", id="seconds in the offset"),
            pytest.param("2025-01-01T00:00:00+0530", id="offset without colon"),
            pytest.param("2025-01-01T00:00:00+05", id="offset without minutes"),
            pytest.param("2025-01-01T00:00Z", id="no seconds"),
            pytest.param("2025-01-01T00Z", id="hour alone"),
            pytest.param("2025-01-01T24:00:00Z", id="hour 24, which Python 3.14 takes"),
            pytest.param("2025-01-01T24:00:00+00:00", id="hour 24 with an offset"),
            pytest.param("2025-01-01T00:60:00Z", id="minute 60"),
            pytest.param("2025-01-01T00:00:61Z", id="second 61"),
            pytest.param("2025-01-01T00:00:00+24:00", id="offset of 24 hours"),
            pytest.param("2025-01-01T00:00:00+00:60", id="offset of 60 minutes"),
            pytest.param("2025-01-01T00:00:00.Z", id="point without digits"),
            pytest.param("2025-13-01T00:00:00Z", id="month 13"),
            pytest.param("2025-00-01T00:00:00Z", id="month 0"),
            pytest.param("2025-02-29T00:00:00Z", id="no leap day"),
            pytest.param("0000-01-01T00:00:00Z", id="year 0"),
            pytest.param("0001-01-01T00:00:00+00:01", id="before the year 1 in UTC"),
            pytest.param("10000-01-01T00:00:00Z", id="year 10000"),
            pytest.param("+9999-01-01T00:00:00Z", id="sign before the year"),
            pytest.param("9999-12-31T23:59:59-01:00", id="after 9999 in UTC"),
            pytest.param("9999-12-31T23:59:60-00:01", id="leap second after 9999 in UTC"),
            pytest.param("٢٠٢٥-01-01T00:00:00Z", id="Arabic digits"),
            pytest.param("2025-01-01T00:00:00Z\n", id="line feed after it"),
            pytest.param(" 2025-01-01T00:00:00Z", id="blank before it"),
            pytest.param("2025-01-01T00:00:00\u2212" + "08:00", id="minus sign that is no hyphen"),
            pytest.param("2025-01-01T00:00:00Z\x00", id="NUL"),
            pytest.param("", id="empty"),
            pytest.param("now", id="word"),
        ],
    )
    def test_all_else_is_refused_and_the_error_names_the_field_and_not_the_text(self, text):
        with pytest.raises(InvalidRequest, match=r"\AexpirationDate: ") as caught:
            parse_ms(text, "expirationDate")
        assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", str(caught.value))

    @given(
        st.text()
        | st.from_regex(
            r"\A\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([.,]\d{1,9})?([Zz]|[+-]\d\d:\d\d)?\Z", fullmatch=True
        )
    )
    def test_any_text_is_an_instant_that_can_be_written_or_refused(self, text):
        try:
            ms = parse_ms(text)
        except InvalidRequest:
            return
        assert parse_ms(format_ms(ms)) == ms

    @given(instants, st.integers(-23 * 60 - 59, 23 * 60 + 59))
    def test_an_instant_is_the_same_in_every_zone(self, ms, minutes):
        try:
            there = to_datetime(ms).astimezone(timezone(timedelta(minutes=minutes)))
        except OverflowError:  # beyond the years that datetime has
            return
        assert parse_ms(there.isoformat(timespec="milliseconds")) == ms


class TestFormat:
    @given(instants)
    def test_three_fraction_digits_always_and_read_back_the_same(self, ms):
        """Year 1 to 9999; the platform's %Y does not pad years before 1000."""
        text = format_ms(ms)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        assert parse_ms(text) == ms

    @each("year", range(1, 10_000, 83))
    def test_every_year_is_written_with_four_digits(self, year):
        ms = (datetime(year, 6, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            milliseconds=1
        )
        assert format_ms(ms) == f"{year:04d}-06-01T00:00:00.000Z"

    @given(instants, instants)
    def test_texts_sort_as_instants_do(self, one, other):
        assert (format_ms(one) < format_ms(other)) == (one < other)


class TestDatetime:
    @given(instants)
    def test_there_and_back(self, ms):
        assert to_ms(to_datetime(ms)) == ms
        assert to_datetime(ms).tzinfo is UTC

    def test_the_ends_are_those_of_datetime(self):
        assert to_datetime(EARLIEST) == datetime.min.replace(tzinfo=UTC)
        assert to_datetime(LATEST) == datetime.max.replace(microsecond=999_000, tzinfo=UTC)

    def test_microseconds_are_cut_never_rounded_up(self):
        assert to_ms(datetime(1970, 1, 1, 0, 0, 0, 1999, tzinfo=UTC)) == 1
        assert to_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1

    @each(
        "moment",
        [
            pytest.param(datetime(2030, 1, 1), id="naive"),
            pytest.param(date(2030, 1, 1), id="a date"),
            pytest.param("2030-01-01T00:00:00Z", id="a text"),
            pytest.param(1_893_456_000, id="a number"),
            pytest.param(None, id="nothing"),
        ],
    )
    def test_what_is_no_instant_is_refused_in_words(self, moment):
        with pytest.raises(InvalidRequest, match="expires_at: give a time zone"):
            to_ms(moment, "expires_at")

    @each("moment", [datetime.min, datetime.max])
    @each("hours", [-23, 0, 23])
    def test_the_ends_of_datetime_overflow_nowhere(self, moment, hours):
        assert isinstance(to_ms(moment.replace(tzinfo=timezone(timedelta(hours=hours)))), int)


def test_a_day_is_a_utc_day():
    assert to_datetime(DAY) == datetime(1970, 1, 2, tzinfo=UTC)
