"""Records as bytes, in Python and in Lua."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa.lua51 import LuaRuntime

from patauth.crypto.hashing import Digest
from patauth.errors import InvalidRequest, StoreUnavailable
from patauth.model.dates import LATEST
from patauth.model.pat import OWNER_TYPES, Disabled, Owner, PersonalAccessToken, Requester, check_name
from patauth.model.pat_id import PatId
from patauth.model.quota import MAX_COUNT, MAX_SECONDS, Quota
from patauth.store import asking
from patauth.store.record import (
    _ACTIVE,
    _CONDITIONAL,
    _DEFAULTS,
    NEVER,
    PatRecord,
    SecretSlot,
    TokenRecord,
    id_in_entry,
    pack,
    pack_entry,
    pack_expiry,
    pack_note,
    pack_token,
    unpack,
    unpack_expiry,
    unpack_removed,
    unpack_token,
)
from tests.support.tables import each

ids = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=128
).filter(lambda text: text != "me")
scopes = st.lists(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'),
        min_size=1,
        max_size=128,
    ),
    max_size=8,
).map(tuple)
instants = st.integers(0, LATEST)
NOW = 1_893_456_000_000  # 2030-01-01T00:00:00Z
until_2255 = st.integers(0, 2**53 // 1000)  # ms whose µs Lua's doubles hold exactly
generations = st.integers(0, 2**24 - 1)
pat_ids = st.binary(min_size=16, max_size=16).map(lambda raw: PatId(raw.hex()))


@st.composite
def names(draw) -> str:
    text = draw(st.text(min_size=1, max_size=128))
    try:
        return check_name(text)
    except InvalidRequest:
        return "ci"


owners = st.builds(Owner, ids, st.none() | names(), st.sampled_from(sorted(OWNER_TYPES)))
digests = st.builds(
    Digest,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=4, max_size=4),
)
slots = st.builds(SecretSlot, generations, st.binary(min_size=16, max_size=16), digests)

requesters = st.none() | st.builds(Requester, ids, st.none() | pat_ids.map(str), st.none() | ids)


@st.composite
def records(draw) -> PatRecord:
    pat = PersonalAccessToken(
        id=str(draw(pat_ids)),
        name=draw(names()),
        scope=draw(scopes),
        owner=draw(owners),
        tenant=draw(ids),
        created_ms=draw(instants),
        changed_ms=draw(instants),
        sequence=draw(st.integers(1, 2**31)),
        expires_ms=draw(st.none() | instants),
        last_used_ms=draw(st.none() | st.integers(1, LATEST)),
        access_token_ttl=draw(st.none() | st.integers(15, 43_200)),
        request_quota=draw(
            st.none() | st.builds(Quota, st.integers(1, MAX_COUNT), st.integers(1, MAX_SECONDS))
        ),
        disabled=draw(st.sampled_from([Disabled(marks) for marks in range(8)])),
        never_acknowledged=draw(st.booleans()),
        description=draw(st.none() | names()),
        networks=draw(st.sampled_from([(), ("203.0.113.0/24",), ("10.0.0.0/8", "2001:db8::/32")])),
        not_before_ms=draw(st.none() | instants),
        last_used_from=draw(st.none() | st.sampled_from(["203.0.113.9", "2001:db8::/48"])),
        address_replaced=draw(st.booleans()),
        made_by=draw(requesters),
    )
    return PatRecord(pat, tuple(draw(st.lists(slots, min_size=1, max_size=2))), draw(st.integers(0, LATEST)))


def slot(generation: int, fill: bytes = b"t") -> SecretSlot:
    return SecretSlot(generation, fill * 16, Digest(b"s" * 16, b"d" * 32, 19_456, 2, 1))


EXAMPLE = PatRecord(
    PersonalAccessToken(
        id="00112233445566778899aabbccddeeff",
        name="ci",
        scope=("a", "b"),
        owner=Owner("alice", "Alice"),
        tenant="default",
        created_ms=0x010203040506,
        changed_ms=0x010203040506,
        sequence=1,
        expires_ms=0x0B0C0D0E0F10,
        last_used_ms=0x111213141516,
        request_quota=Quota(0x0A0B0C, 0x0131),
    ),
    (slot(0x171819, b"1"), slot(0x1A1B1C, b"2")),
    0x1D1E1F202122,
)
VERSION = b"version!"
PACKED = pack(EXAMPLE, VERSION)
TOKEN = TokenRecord(PatId("00112233445566778899aabbccddeeff"), 0x171819, 0x0B0C0D0E0F10, ("a", "b"))


class TestPat:
    @given(records())
    def test_every_record_comes_back_as_it_was(self, record):
        assert unpack(pack(record, VERSION)) == record

    @each(
        "change",
        [
            pytest.param({"expires_ms": 0}, id="expired at once"),
            pytest.param({"expires_ms": LATEST}, id="expires at the last instant"),
            pytest.param({"expires_ms": None}, id="never expires"),
            pytest.param({"last_used_ms": None}, id="never used"),
            pytest.param({"last_used_ms": LATEST}, id="used at the last instant"),
            pytest.param({"changed_ms": 0}, id="changed before it was made: a clock was set back"),
            pytest.param({"scope": ()}, id="no scope"),
            pytest.param(
                {"scope": tuple("x" * 125 + f"{n:03}" for n in range(256))}, id="most and longest scopes"
            ),
            pytest.param({"name": "👩" * 128}, id="longest name"),
            pytest.param({"request_quota": Quota(MAX_COUNT, MAX_SECONDS)}, id="largest quota"),
            pytest.param({"request_quota": Quota(1, 1)}, id="smallest quota"),
            pytest.param({"request_quota": None}, id="no quota of its own"),
            pytest.param({"sequence": 2**63}, id="changed very often"),
            pytest.param({"id": "0" * 32}, id="id of zeros"),
            pytest.param({"id": "f" * 32}, id="id of ones"),
            pytest.param({"disabled": Disabled(7)}, id="disabled in every way"),
        ],
    )
    def test_extreme_values_come_back_as_they_were(self, change):
        record = replace(EXAMPLE, pat=replace(EXAMPLE.pat, **change))
        assert unpack(pack(record, VERSION)) == record

    def test_the_fixed_part_stands_where_the_head_of_the_module_says(self):
        assert PACKED[0:3] == b"2a2"
        assert PACKED[3:9] == bytes.fromhex("0b0c0d0e0f10")
        assert PACKED[9:15] == bytes.fromhex("111213141516")
        assert PACKED[15:18] == bytes.fromhex("171819")
        assert PACKED[18:24] == bytes.fromhex("1d1e1f202122")
        assert PACKED[24:30] == bytes.fromhex("0a0b0c 000131")
        assert PACKED[30:46] == bytes.fromhex(EXAMPLE.pat.id)
        assert PACKED[46:54] == VERSION
        assert PACKED[54:55] == b"\0"
        assert PACKED[55:61] == bytes.fromhex("010203040506")
        assert PACKED[61:69] == sha256(b"ci").digest()[:8]
        assert PACKED[69:72] == bytes.fromhex("171819")
        assert PACKED[72:88] == b"1" * 16
        assert PACKED[88:146] == b"s" * 16 + b"d" * 32 + bytes.fromhex("00004c00 02 01 00000000")
        assert PACKED[146:165] == bytes.fromhex("1a1b1c") + b"2" * 16

    def test_the_marks_of_what_disabled_it_are_one_byte(self):
        states = {
            marks: pack(replace(EXAMPLE, pat=replace(EXAMPLE.pat, disabled=marks)), VERSION)[1:2]
            for marks in (Disabled(0), Disabled.OWNER, Disabled.BY_OWNER, Disabled.BY_OPERATOR, Disabled(7))
        }
        assert list(states.values()) == [b"a", b"b", b"c", b"e", b"h"]

    def test_an_entry_of_the_owner_index_is_made_of_bytes_that_stand_in_the_record(self):
        entry = pack_entry(EXAMPLE.pat)
        assert entry == PACKED[55:61] + PACKED[34:46] + PACKED[61:69]
        assert id_in_entry(entry, EXAMPLE.pat.id[:8]) == EXAMPLE.pat.id
        for wrong in (entry[:-1], entry + b"x", None, 5):
            with pytest.raises(StoreUnavailable):
                id_in_entry(wrong, "00112233")

    def test_what_may_change_pats_of_others_is_marked_and_stays_so(self):
        manager = replace(EXAMPLE.pat, scope=("sp:all-personal-access-tokens:manage",))
        marked = unpack(pack(replace(EXAMPLE, pat=manager), VERSION))
        assert marked.reached_others
        narrowed = unpack(pack(replace(marked, pat=EXAMPLE.pat), b"12345678"))
        assert (narrowed.reached_others, narrowed.version) == (True, b"12345678")

    def test_a_record_of_today_is_readable_for_years(self):
        """Bytes as they stood in a store; a change that cannot read them needs another schema number."""
        stored = bytes.fromhex(
            "326131" + "f" * 12 + "0" * 12 + "000001" + "0" * 24 + "00112233445566778899aabbccddeeff"
            "76657273696f6e21" + "00" + "000000000005" + "1b158839f8aa339e"
            "000001" + "74" * 16 + "73" * 16 + "64" * 32 + "00004c00"
            "02"
            "01"
            "00000000"
        ) + msgspec.msgpack.encode(["default", "alice", None, None, "ci", ["a"], 0, 1, None])
        pat = PersonalAccessToken(
            "00112233445566778899aabbccddeeff", "ci", ("a",), Owner("alice"), "default", 5, 5, 1
        )
        assert unpack(stored) == PatRecord(pat, (slot(1),))

    def test_the_last_four_bytes_of_a_slot_say_which_pepper_and_nothing_else_does(self):
        first, second = EXAMPLE.secrets
        peppered = replace(first, digest=replace(first.digest, pepper=b"\xfemP\x01"))
        packed = pack(replace(EXAMPLE, secrets=(peppered, second)), VERSION)
        assert packed == PACKED[: 69 + 73] + b"\xfemP\x01" + PACKED[69 + 77 :]
        assert [slot.digest.pepper for slot in unpack(packed).secrets] == [b"\xfemP\x01", bytes(4)]

    def test_fields_of_a_later_version_are_passed_over_and_a_change_drops_them(self):
        """So a field whose loss would let a PAT do more needs another schema number."""
        end = 69 + 2 * 77
        rest = msgspec.msgpack.decode(PACKED[end:])
        later = unpack(
            PACKED[:end] + msgspec.msgpack.encode([*rest, *_DEFAULTS[len(rest) :], "new", {"more": 1}])
        )
        assert later == EXAMPLE
        assert pack(later, VERSION) == PACKED

    @given(st.binary(max_size=600))
    def test_arbitrary_bytes_raise_only_store_unavailable(self, data):
        for stored in (data, b"1a1" + data, PACKED[:200] + data):
            with pytest.raises(StoreUnavailable):
                unpack(stored)

    def test_a_record_cut_anywhere_or_continued_is_not_understood(self):
        for end in range(len(PACKED)):
            with pytest.raises(StoreUnavailable):
                unpack(PACKED[:end])
        for more in (b"\x00", b"\xc0", PACKED):
            with pytest.raises(StoreUnavailable):
                unpack(PACKED + more)

    @given(st.integers(0, len(PACKED) - 1), st.integers(0, 255))
    def test_a_changed_byte_gives_a_record_that_can_be_shown_or_store_unavailable(self, at, byte):
        """Nothing that a corrupt record says may fail later, where it would be a 500."""
        try:
            record = unpack(PACKED[:at] + bytes([byte]) + PACKED[at + 1 :])
        except StoreUnavailable:
            return
        pat = record.pat
        assert [pat.created, pat.expires_at, pat.last_used, pat.state, repr(record)]
        assert isinstance(pat.name, str)

    @each(
        "rest",
        [
            pytest.param([], id="nothing"),
            pytest.param({}, id="a map"),
            pytest.param([1, "alice", None, None, "ci", [], 0, 1, None], id="tenant is a number"),
            pytest.param(["default", "alice", None, None, "ci", "ab", 0, 1, None], id="scope is a text"),
            pytest.param(["default", "alice", None, None, "ci", [1], 0, 1, None], id="scope of numbers"),
            pytest.param(["default", "alice", None, None, "ci", [], 2**62, 1, None], id="changed after 9999"),
            pytest.param(["default", "alice", None, None, "ci", [], 0.5, 1, None], id="half a millisecond"),
        ],
    )
    def test_a_rest_of_another_kind_is_not_understood(self, rest):
        with pytest.raises(StoreUnavailable):
            unpack(PACKED[: 69 + 2 * 77] + msgspec.msgpack.encode(rest))

    def test_a_pat_made_after_the_year_9999_is_not_understood(self):
        with pytest.raises(StoreUnavailable):
            unpack(PACKED[:55] + b"\xff" * 6 + PACKED[61:])

    @each("bomb", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\x9a\xdb\xff\xff\xff\xff"])
    def test_a_messagepack_bomb_is_not_understood(self, bomb):
        with pytest.raises(StoreUnavailable):
            unpack(PACKED[: 69 + 2 * 77] + bomb)

    def test_neither_repr_nor_error_shows_tag_salt_or_digest(self):
        with pytest.raises(StoreUnavailable) as caught:
            unpack(PACKED[:-1])
        for shown in (repr(EXAMPLE), repr(caught.value), caught.value.detail or ""):
            assert not re.search(r"1111|2222|ssss|dddd|(?:31){4}|(?:73){4}|(?:64){4}", shown)


def removed(packed: bytes, at: int, by: Requester | None, reason: str | None) -> bytes:
    """What lua/removed.lua makes of a record; tests/contract/test_removed.py compares the two."""
    end = 69 + 77 * (packed[2] - ord("0"))
    return packed[:1] + b"r0" + packed[3:69] + at.to_bytes(6) + pack_note(by, reason) + packed[end:]


REMOVED = removed(PACKED, 0x232425262728, Requester("bob", "0" * 32), "why")


class TestRemoved:
    @given(records(), instants, requesters, st.none() | names())
    def test_every_record_comes_back_without_its_secrets(self, record, at, by, reason):
        found = unpack_removed(removed(pack(record, VERSION), at, by, reason))
        expected = replace(
            record.pat, disabled=Disabled(0), revoked_ms=at, revoked_by=by, revoked_reason=reason
        )
        assert (found.pat, found.secrets) == (expected, ())
        assert found.pat.state_at(at) == "revoked"

    def test_it_stands_where_the_head_of_the_module_says(self):
        assert REMOVED[:3] == b"2r0"
        assert REMOVED[3:69] == PACKED[3:69]
        assert REMOVED[69:75] == bytes.fromhex("232425262728")
        note = msgspec.msgpack.encode([["bob", "0" * 32, None], "why"])
        assert REMOVED[75:] == len(note).to_bytes(2) + note + PACKED[69 + 2 * 77 :]

    def test_neither_kind_of_record_is_read_as_the_other(self):
        with pytest.raises(StoreUnavailable):
            unpack(REMOVED)
        with pytest.raises(StoreUnavailable):
            unpack_removed(PACKED)

    def test_a_record_cut_anywhere_or_continued_is_not_understood(self):
        for end in range(len(REMOVED)):
            with pytest.raises(StoreUnavailable):
                unpack_removed(REMOVED[:end])
        for more in (b"\x00", b"\xc0", REMOVED):
            with pytest.raises(StoreUnavailable):
                unpack_removed(REMOVED + more)

    @given(st.integers(0, len(REMOVED) - 1), st.integers(0, 255))
    def test_a_changed_byte_gives_a_record_that_can_be_shown_or_store_unavailable(self, at, byte):
        try:
            pat = unpack_removed(REMOVED[:at] + bytes([byte]) + REMOVED[at + 1 :]).pat
        except StoreUnavailable:
            return
        assert [pat.created, pat.expires_at, pat.last_used, pat.revoked_at, pat.state, repr(pat)]


class TestSlots:
    def test_the_previous_secret_passes_only_in_its_overlap(self):
        end = EXAMPLE.overlap_end_ms
        current, previous = EXAMPLE.secrets
        assert EXAMPLE.slot_of(current.tag, end - 1) is EXAMPLE.slot_of(current.tag, end) is current
        assert EXAMPLE.slot_of(previous.tag, end - 1) is previous
        assert EXAMPLE.slot_of(previous.tag, end) is None

    def test_another_tag_opens_nothing(self):
        for tag in (b"", b"3" * 16, b"1" * 15, b"1" * 17):
            assert EXAMPLE.slot_of(tag, 0) is None


class TestToken:
    @given(pat_ids, generations, instants, scopes)
    def test_every_token_record_comes_back_as_it_was(self, pat_id, generation, expires_ms, scope):
        token = TokenRecord(pat_id, generation, expires_ms, scope)
        assert unpack_token(pack_token(token)) == token

    def test_the_fixed_part_stands_where_the_head_of_the_module_says(self):
        packed = pack_token(TOKEN)
        assert packed[:10] == b"2" + bytes.fromhex("171819 0b0c0d0e0f10")
        assert packed[10:26] == bytes.fromhex(TOKEN.pat_id)
        assert packed[26:] == b"a b"

    @given(st.binary(max_size=100))
    def test_arbitrary_bytes_are_a_token_that_can_be_shown_or_store_unavailable(self, data):
        for stored in (data, b"1" + data, b"1" + bytes(25) + data):
            try:
                token = unpack_token(stored)
            except StoreUnavailable:
                continue
            assert 0 <= token.expires_ms <= LATEST
            assert all(isinstance(scope, str) for scope in token.scopes)

    def test_a_head_that_is_cut_is_not_understood(self):
        for end in range(26):
            with pytest.raises(StoreUnavailable):
                unpack_token(pack_token(TOKEN)[:end])

    def test_a_token_never_lives_for_ever(self):
        with pytest.raises(StoreUnavailable):
            unpack_token(b"1" + bytes(3) + b"\xff" * 6 + bytes(16))


class TestExpiry:
    @given(st.none() | instants)
    def test_there_and_back(self, expires_ms):
        assert unpack_expiry(pack_expiry(expires_ms)) == expires_ms
        assert len(pack_expiry(expires_ms)) == 6

    def test_never_is_later_than_all_that_can_be_given(self):
        assert NEVER > LATEST
        assert pack_expiry(None) > pack_expiry(LATEST)


class TestPrelude:
    """The scripts read the fixed part themselves; both sides must mean the same bytes."""

    folder = files("patauth.store") / "lua"
    text = (folder / "layout.lua").read_text("utf-8") + (folder / "prelude.lua").read_text("utf-8")

    @pytest.fixture(scope="class")
    @staticmethod
    def lua():
        """layout.lua and prelude.lua as a function of `now` and the record; results: what they define."""
        lua = LuaRuntime(encoding=None)
        body = TestPrelude.text.encode() + b"return {now, now_us, u48, current, byte, sub}"
        run = lua.eval(b"function(ARGV, redis) " + body + b" end")

        def prelude(now: int | str = 0):
            argv = lua.table(str(now).encode())
            clock = lua.eval(b"{call = function() return {'1893456000', '999999'} end}")
            return list(run(argv, clock).values())

        return prelude

    def offsets(self) -> dict[str, int]:
        found = {}
        for names, values in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", self.text, re.M):
            found |= dict(zip(names.split(", "), map(int, values.split(", ")), strict=True))
        return found

    def test_its_offsets_are_those_of_the_record_counted_from_1(self):
        assert self.offsets() == {
            "SCHEMA": ord("2"),
            "STATE": 1 + 1,
            "SLOTS": 1 + 2,
            "EXPIRY": 1 + 3,
            "LAST_USE": 1 + 9,
            "GENERATION": 1 + 15,
            "OVERLAP": 1 + 18,
            "QUOTA": 1 + 24,
            "VERSION": 1 + 46,
            "MARKS": 1 + 54,
            "CREATED": 1 + 55,
            "NAME": 1 + 61,
            "SLOT": 1 + 69,
            "ID": 1 + 30,
            "ENTRY_NAME": 1 + 18,
            "NEVER": NEVER,
            "SLOT_SIZE": 77,
            "TAG": 3,
            "ACTIVE": _ACTIVE,
            "CONDITIONAL": _CONDITIONAL,
            "IN_FLIGHT": asking.IN_FLIGHT,
            "OWNER_STATE": 1 + 1,  # in an owner record
            "OWNER_UNREAD": 1 + 10,
            "OWNER_LAST": 1 + 11,
        }

    @given(record=records())
    def test_at_its_offsets_lua_finds_what_python_packed(self, lua, record):
        at, packed = self.offsets(), pack(record, VERSION)
        _, _, u48, _, byte, sub = lua()
        pat = record.pat
        assert byte(packed, 1) == at["SCHEMA"]
        assert byte(packed, at["STATE"]) == ord("a") + pat.disabled + 8 * pat.is_conditional
        assert byte(packed, at["SLOTS"]) == ord(str(len(record.secrets)))
        assert u48(packed, at["EXPIRY"]) == (NEVER if pat.expires_ms is None else pat.expires_ms)
        assert u48(packed, at["LAST_USE"]) == (pat.last_used_ms or 0)
        assert u48(packed, at["OVERLAP"]) == record.overlap_end_ms
        created, own = at["CREATED"], at["ID"] + 4
        entry = sub(packed, created, created + 5) + sub(packed, own, own + 11)
        name = sub(packed, at["NAME"], at["NAME"] + 7)
        assert entry + name == pack_entry(pat)
        assert sub(pack_entry(pat), at["ENTRY_NAME"], 99) == name
        quota = pat.request_quota
        packed_quota = quota.count.to_bytes(3) + quota.seconds.to_bytes(3) if quota else bytes(6)
        assert sub(packed, at["QUOTA"], at["QUOTA"] + 5) == packed_quota
        for number, one in enumerate(record.secrets):
            start = at["SLOT"] + number * at["SLOT_SIZE"]
            assert sub(packed, start, start + 2) == one.generation.to_bytes(3)
            assert sub(packed, start + at["TAG"], start + at["TAG"] + 15) == one.tag

    @given(record=records(), now=until_2255, generation=generations)
    def test_lua_and_python_agree_on_which_secret_is_current(self, lua, record, now, generation):
        current = lua(now)[3]
        packed = pack(record, VERSION)
        first, *previous = (one.generation for one in record.secrets)
        for asked in (generation, first, *previous):
            passes = asked == first or (asked in previous and now < record.overlap_end_ms)
            assert bool(current(packed, asked.to_bytes(3))) == passes

    def test_in_lua_too_the_overlap_ends_at_its_very_millisecond(self, lua):
        end = NOW + 1
        packed = pack(replace(EXAMPLE, overlap_end_ms=end), VERSION)
        current, previous = (one.generation.to_bytes(3) for one in EXAMPLE.secrets)
        assert lua(end - 1)[3](packed, previous)
        assert not lua(end)[3](packed, previous)
        assert lua(end)[3](packed, current)

    @given(now=until_2255)
    def test_now_is_exact(self, lua, now):
        assert lua(now)[:2] == [now, now * 1000]

    def test_without_now_it_is_the_clock_of_the_server(self, lua):
        assert lua("")[:2] == [1_893_456_000_999, 1_893_456_000_999_999]
