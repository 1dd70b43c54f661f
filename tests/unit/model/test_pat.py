"""What a PAT says of itself, and what its name may be."""

from __future__ import annotations

import copy
import pickle
import re
import time
import unicodedata
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.model.dates import DAY, LATEST
from patauth.model.pat import (
    OWNER_TYPES,
    IssuedPat,
    Owner,
    PersonalAccessToken,
    check_id,
    check_name,
    is_gone,
    use_is_due,
)
from tests.support.tables import each

DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6750 §3.1
NOON = 1_893_499_200_000  # 2030-01-01T12:00:00Z
instants = st.integers(0, LATEST)
ids = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=128
).filter(lambda text: text != "me")
anything = st.none() | st.booleans() | st.integers() | st.binary() | st.text() | st.lists(st.text())


def pat(**known) -> PersonalAccessToken:
    return PersonalAccessToken(
        **{
            "id": "0" * 32,
            "name": "ci",
            "scope": ("a",),
            "owner": Owner("alice"),
            "tenant": "default",
            "created_ms": 0,
            "changed_ms": 0,
            "sequence": 1,
            **known,
        }
    )


class TestIds:
    @given(ids)
    def test_visible_ascii_without_blank_and_slash_is_an_id_and_stays_as_it_is(self, text):
        assert check_id(text, "owner id") == text

    @each(
        "text",
        [
            pytest.param("", id="empty"),
            pytest.param("me", id="me"),
            pytest.param("a" * 129, id="129 characters"),
            pytest.param("a/b", id="slash"),
            pytest.param("a b", id="blank"),
            pytest.param("a\n", id="line feed"),
            pytest.param("a\x7f", id="DEL"),
            pytest.param("é", id="Latin-1"),
            pytest.param("\ud800", id="lone surrogate"),
            pytest.param(b"alice", id="bytes"),
            pytest.param(7, id="a number"),
            pytest.param(None, id="nothing"),
            pytest.param(["alice"], id="a list"),
        ],
    )
    def test_all_else_is_refused_without_being_repeated(self, text):
        with pytest.raises(InvalidRequest, match=r"\Aowner_id: ") as caught:
            check_id(text, "owner_id")
        assert DESCRIPTION.fullmatch(str(caught.value))

    def test_me_is_a_word_and_no_pattern(self):
        for text in ("Me", "ME", "me2", "mee"):
            assert check_id(text, "owner id") == text


class TestNames:
    @each("name", ["ci", " ci ", "Größe", "日本語", "👩‍👩‍👧", "a" * 128, "e\u0301" * 128, "שלום", "%s"])
    def test_names_for_people_are_taken(self, name):
        assert check_name(name) == unicodedata.normalize("NFC", name)

    @each(
        "name",
        [
            pytest.param("", id="empty"),
            pytest.param(" \u00a0\u3000", id="blanks only"),
            pytest.param("a" * 129, id="129 characters"),
            pytest.param("ci\r\nSet-Cookie: a", id="line break"),
            pytest.param("\x1b[31mci", id="ANSI colour"),
            pytest.param("\x9b31mci", id="ANSI colour in one character"),
            pytest.param("a\x00", id="NUL"),
            pytest.param("a\x7f", id="DEL"),
            pytest.param("a\u2028b", id="line separator"),
            pytest.param("a\u2029b", id="paragraph separator"),
            pytest.param("a\u0085b", id="next line"),
            pytest.param("\ud800", id="lone surrogate"),
            pytest.param("\u202egnp.exe", id="right-to-left override"),
            pytest.param("a\u2066b", id="isolate"),
            pytest.param(b"ci", id="bytes"),
            pytest.param(None, id="nothing"),
        ],
    )
    def test_what_forges_a_line_or_cannot_be_written_is_refused(self, name):
        with pytest.raises(InvalidRequest, match=r"\Aname: ") as caught:
            check_name(name)
        assert DESCRIPTION.fullmatch(str(caught.value))

    @given(anything)
    def test_anything_is_a_clean_name_or_refused(self, value):
        try:
            name = check_name(value)
        except InvalidRequest:
            return
        assert 1 <= len(name) <= 128
        assert unicodedata.is_normalized("NFC", name)
        assert name.splitlines() == [name]
        assert name.encode().decode() == name
        assert check_name(name) == name

    def test_one_name_has_one_spelling(self):
        """So that the same name twice is found to be the same."""
        assert check_name("e\u0301") == check_name("\u00e9") == "\u00e9"

    def test_whatever_is_short_in_nfc_is_not_refused_for_being_long_before(self):
        name = "\u03b1\u0313\u0300\u0345" * 128  # the longest that becomes one code point each
        assert len(check_name(name)) == 128

    def test_a_long_text_is_refused_before_it_is_normalised(self):
        """Normalising takes the square of the length of a run of accents: 100 000 of them, half a minute."""
        text = "a" + "\u0301\u0316" * 50_000
        before = time.perf_counter()
        with pytest.raises(InvalidRequest):
            check_name(text)
        assert time.perf_counter() - before < 0.1


class TestOwner:
    def test_the_name_is_the_id_where_none_is_given(self):
        assert Owner("alice") == Owner("alice", "alice", "IDENTITY")
        assert Owner("alice", name="Alice").name == "Alice"

    @given(anything, anything, anything | st.sampled_from(sorted(OWNER_TYPES)))
    def test_anything_is_an_owner_or_refused(self, owner_id, name, kind):
        try:
            owner = Owner(owner_id, name, kind)
        except InvalidRequest:
            return
        assert (owner.id, owner.type) == (owner_id, kind)

    @each("kind", ["identity", "", "ROBOT", None, [], {}, 1])
    def test_a_type_is_one_of_the_list(self, kind):
        with pytest.raises(InvalidRequest, match="owner type"):
            Owner("alice", type=kind)

    def test_it_is_a_value(self):
        owner = Owner("alice", "Alice", "SOURCE")
        assert {owner: 1}[Owner("alice", "Alice", "SOURCE")] == 1
        assert copy.deepcopy(owner) == pickle.loads(pickle.dumps(owner)) == owner
        assert replace(owner, name="A") == Owner("alice", "A", "SOURCE")
        with pytest.raises(FrozenInstanceError):
            owner.id = "bob"

    def test_replacing_a_part_checks_it(self):
        with pytest.raises(InvalidRequest):
            replace(Owner("alice"), id="me")


def test_a_text_of_a_subclass_becomes_a_plain_one():
    """Such as Django's SafeString, or a StrEnum."""

    class Text(str):
        pass

    owner = Owner(Text("alice"), Text("Alice"), Text("APPLICATION"))
    for text in (owner.id, owner.name, owner.type, Owner(Text("x")).name, check_name(Text("ci"))):
        assert type(text) is str


class TestState:
    @given(instants, instants)
    def test_it_expires_and_begins_at_the_very_millisecond(self, begin, expiry):
        """`<` in place of `<=`: django-rest-knox #389."""
        one = pat(not_before_ms=begin, expires_ms=expiry)
        assert one.state_at(expiry) == one.state_at(expiry + 1) == "expired"
        if expiry > begin:
            assert one.state_at(begin - 1) == "not_yet"
            assert one.state_at(begin) == one.state_at(expiry - 1) == "active"

    @given(instants, st.booleans(), st.booleans(), st.none() | instants, st.none() | instants)
    def test_the_first_that_holds_counts(self, now, revoked, disabled, begin, expiry):
        one = pat(
            revoked_ms=now if revoked else None, disabled=disabled, not_before_ms=begin, expires_ms=expiry
        )
        holds = {
            "revoked": revoked,
            "disabled": disabled,
            "expired": expiry is not None and now >= expiry,
            "not_yet": begin is not None and now < begin,
            "active": True,
        }
        assert one.state_at(now) == next(state for state, does in holds.items() if does)

    @given(instants)
    def test_without_an_expiry_it_never_expires(self, now):
        assert pat().state_at(now) == "active"
        assert pat(disabled=True).state_at(now) == "disabled"

    def test_its_state_is_what_it_was_when_it_was_read(self):
        assert pat(expires_ms=5, read_ms=4).state == "active"
        assert pat(expires_ms=5, read_ms=5).state == "expired"

    def test_when_it_was_read_is_no_part_of_what_it_is(self):
        assert pat(read_ms=1) == pat(read_ms=2)

    def test_times_are_aware_datetimes_or_none(self):
        one = pat(created_ms=1, expires_ms=LATEST, last_used_ms=NOON)
        assert one.created == datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)
        assert one.last_used == datetime(2030, 1, 1, 12, tzinfo=UTC)
        assert one.expires_at == datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
        assert (pat().expires_at, pat().last_used) == (None, None)


class TestLastUsed:
    def test_the_first_use_is_due(self):
        assert use_is_due(None, NOON)

    @given(instants, instants)
    def test_a_use_is_due_when_the_stored_day_is_before_today_in_utc(self, last, now):
        def day(ms: int):
            return datetime.fromtimestamp(ms // 1000, UTC).date()

        assert use_is_due(last, now) == (day(last) < day(now) or last > now + DAY)

    def test_midnight_in_utc_is_the_border(self):
        midnight = NOON - NOON % DAY + DAY
        assert not use_is_due(NOON, midnight - 1)
        assert use_is_due(NOON, midnight)
        assert use_is_due(midnight - 1, midnight)
        assert not use_is_due(midnight, midnight - 1)

    @pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu", "UTC"])
    def test_the_zone_of_the_machine_does_not_matter(self, zone, monkeypatch):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            midnight = NOON - NOON % DAY
            assert use_is_due(midnight - 1, midnight)
            assert not use_is_due(midnight, midnight + DAY - 1)
            assert pat(created_ms=NOON).created.isoformat() == "2030-01-01T12:00:00+00:00"
        finally:
            monkeypatch.undo()
            time.tzset()


class TestRetention:
    @given(instants, st.integers(0, 10**12))
    def test_it_is_gone_at_the_end_of_its_retention(self, expiry, retention):
        assert not is_gone(expiry, expiry + retention - 1, retention)
        assert is_gone(expiry, expiry + retention, retention)

    def test_what_never_expires_is_never_gone(self):
        assert not is_gone(None, LATEST, 0)


def test_an_issued_pat_shows_neither_secret_nor_token():
    issued = IssuedPat(pat(), "pats_hunter2", "pat_hunter3")
    assert (issued.secret, issued.token) == ("pats_hunter2", "pat_hunter3")
    assert "hunter" not in repr(issued)
    assert "hunter" not in f"{issued} {[issued]}"
