"""The keys that are derived from the store key, each for one use."""

from __future__ import annotations

import hmac
import re

from hypothesis import assume, given
from hypothesis import strategies as st

from patauth.crypto.keyring import Keyring, _derive
from patauth.model.pat_id import PatId

KEY = bytes(range(32))
RING = Keyring(KEY)
ids = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=128
)
pat_ids = st.binary(min_size=16, max_size=16).map(lambda raw: PatId(raw.hex()))
secrets = st.binary(min_size=32, max_size=32)


@given(ids, ids)
def test_an_owner_tag_is_8_hex_and_always_the_same(tenant, owner):
    assert re.fullmatch(r"[0-9a-f]{8}", RING.owner_tag(tenant, owner))
    assert RING.owner_tag(tenant, owner) == Keyring(KEY).owner_tag(tenant, owner)


def test_texts_that_are_fixed_because_pats_live_for_years():
    """What changes here makes all PATs of all stores unknown."""
    assert RING.owner_tag("default", "alice") == "fde1d69b"
    assert RING.secret_tag(PatId("0" * 32), bytes(32)).hex() == "1d4529e88d51a7b4ec026df3cf1577b0"
    assert RING.check_value.hex() == "7e9fdd470f845edd3217d6e77987a525"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4), st.data())
def test_an_id_that_is_made_once_depends_on_each_of_its_texts_and_on_where_each_ends(parts, data):
    others = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
    one = RING.once_id("0123abcd", *parts)
    assert (PatId.read(one), one.tag) == (one, "0123abcd")
    assert (RING.once_id("0123abcd", *others) == one) is (others == parts)
    assert Keyring(bytes(32)).once_id("0123abcd", *parts) != one
    if parts and len(parts[-1]) > 1:
        moved = [*parts[:-1], parts[-1][:1], parts[-1][1:]]
        assert RING.once_id("0123abcd", *moved) != one


@given(ids, ids)
def test_tenant_and_owner_are_told_apart_by_their_lengths(tenant, owner):
    """Joined without lengths, a/bc and ab/c would be one owner."""
    assume(len(tenant) > 1)
    assert RING.owner_tag(tenant, owner) != RING.owner_tag(tenant[:-1], tenant[-1] + owner)


@given(pat_ids, secrets, pat_ids, secrets)
def test_a_secret_tag_depends_on_id_and_secret(one_id, one, other_id, other):
    assume((one_id, one) != (other_id, other))
    assert RING.secret_tag(one_id, one) != RING.secret_tag(other_id, other)
    assert len(RING.secret_tag(one_id, one)) == 16


@given(secrets, secrets)
def test_another_store_key_makes_everything_else_another(one, other):
    assume(one != other)
    first, second = Keyring(one), Keyring(other)
    assert first.secret_tag(PatId("0" * 32), KEY) != second.secret_tag(PatId("0" * 32), KEY)
    assert first.check_value != second.check_value


@given(secrets)
def test_each_purpose_has_a_key_of_its_own_and_none_is_the_store_key(key):
    ring = Keyring(key)
    purposes = ("owner tag", "secret tag", "csrf", "check", "once")
    derived = {key, *(_derive(key, purpose) for purpose in purposes)}
    assert len(derived) == 6
    assert (ring._owner_tag_key, ring.csrf_key) == (_derive(key, "owner tag"), _derive(key, "csrf"))
    assert ring._once_key == _derive(key, "once")
    assert {len(one) for one in derived} == {32}


@given(secrets, st.binary(max_size=200))
def test_a_secret_tag_is_hmac_sha256_of_id_and_secret(key, secret):
    """By the standard library's HMAC, whose way of keying once is written out in the product."""
    expected = hmac.digest(hmac.digest(key, b"patauth secret tag 1", "sha256"), bytes(16) + secret, "sha256")
    assert Keyring(key).secret_tag(PatId("0" * 32), secret) == expected[:16]


def test_the_check_value_is_only_half_of_a_key_that_nothing_else_uses():
    assert len(RING.check_value) == 16
    assert RING.check_value == hmac.digest(KEY, b"patauth check 1", "sha256")[:16]


@given(secrets)
def test_a_keyring_does_not_hold_the_store_key(key):
    held = [getattr(Keyring(key), name) for name in Keyring.__slots__]
    assert key not in held
    assert [one for one in held if isinstance(one, bytes)], "other keys are there to be compared"


def test_no_repr_shows_a_key():
    for key in (KEY, RING._owner_tag_key, _derive(KEY, "secret tag"), RING.csrf_key):
        assert key.hex() not in repr(RING)
        assert repr(key)[2:-1] not in repr(RING)
