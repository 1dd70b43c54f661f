"""The keys of the store: which values share one, and which never do."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from redis.crc import key_slot

from patauth import StoreUnavailable
from patauth.model.pat_id import PatId
from patauth.store.keys import Keys

ids = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=128
)
hostile = (
    ids
    | st.text(alphabet="{}:%o\\*?[]\"'", min_size=1, max_size=20)
    | st.sampled_from(
        [
            "store",
            "store}:key",
            "}",
            "{}",
            "}:created",
            "{/default}:created",
            "0" * 8,
            "%7D",
            "default",
            "..",
            "\\r\\n",
        ]
    )
)
tags = st.binary(min_size=4, max_size=4).map(bytes.hex)
pat_ids = st.binary(min_size=16, max_size=16).map(lambda raw: PatId(raw.hex()))
digests = st.binary(min_size=32, max_size=32)
prefixes = st.from_regex(r"\A[A-Za-z0-9_.:-]{1,64}\Z")


def of_pat(keys: Keys, pat_id: PatId, digest: bytes) -> list[bytes]:
    return [
        keys.pat(pat_id),
        keys.requests(pat_id),
        keys.exchanges(pat_id),
        keys.access_token(pat_id, digest),
        keys.tokens_of(pat_id, 1),
        keys.notice(pat_id, 1, 2),
        keys.removed(pat_id),
    ]


def of_owner(keys: Keys, tag: str, owner_id: str) -> list[bytes]:
    return [*keys.owner(tag, owner_id), keys.barrier(tag), keys.ends(tag)]


def of_tenant(keys: Keys) -> list[bytes]:
    return [
        keys.tenant_created,
        keys.tenant_used,
        keys.tenant_expires,
        keys.tenant_marks,
        keys.tenant_removed,
        keys.tenant_sequence,
    ]


def of_store(keys: Keys) -> list[bytes]:
    return [keys.store_key, keys.store_check]


def test_keys_are_spelt_as_the_head_of_the_module_says():
    keys, pat_id = Keys("P", "acme"), PatId("0123abcd" + "00ff" * 6)
    assert keys.pat(pat_id) == b"P:{0123abcd}:p:" + b"\x00\xff" * 6
    assert keys.requests(pat_id) == b"P:{0123abcd}:q:" + b"\x00\xff" * 6
    assert keys.exchanges(pat_id) == b"P:{0123abcd}:x:" + b"\x00\xff" * 6
    assert keys.access_token(pat_id, b"d" * 32) == b"P:{0123abcd}:t:" + b"d" * 32
    assert keys.tokens_of(pat_id, 0x010203) == b"P:{0123abcd}:k:" + b"\x00\xff" * 6 + b"\1\2\3"
    assert keys.notice(pat_id, 0x010203, 7) == (
        b"P:{0123abcd}:a:" + b"\x00\xff" * 6 + b"\0\0\0\1\2\3" + b"\0\0\0\7"
    )
    assert keys.all_of(pat_id) == [keys.pat(pat_id), keys.requests(pat_id), keys.exchanges(pat_id)]
    owner = keys.owner("0123abcd", "al}ice")
    assert owner.names == b"P:{0123abcd}:n:acme/al}ice"
    assert owner.created == b"P:{0123abcd}:c:acme/al}ice"
    assert owner.expires == b"P:{0123abcd}:e:acme/al}ice"
    assert owner.record == b"P:{0123abcd}:o:acme/al}ice"
    assert owner.removing == b"P:{0123abcd}:r:acme/al}ice"
    assert owner.creations == b"P:{0123abcd}:m:acme/al}ice"
    assert owner.requests == b"P:{0123abcd}:s:acme/al}ice"
    assert owner.removed == b"P:{0123abcd}:h:acme/al}ice"
    assert keys.removed(pat_id) == b"P:{0123abcd}:d:" + b"\x00\xff" * 6
    assert keys.barrier("0123abcd") == b"P:{0123abcd}:w"
    assert keys.ends("0123abcd") == b"P:{0123abcd}:f"
    names = ["created", "used", "expires", "marks", "removed", "sequence"]
    assert of_tenant(keys) == [f"P:{{/acme}}:{name}".encode() for name in names]
    assert of_tenant(Keys("P", "other").for_tenant("acme")) == of_tenant(keys)
    assert (keys.store_key, keys.store_check) == (b"P:{store}:key", b"P:{store}:check")


@given(prefixes, hostile, hostile, pat_ids, digests)
def test_all_keys_of_an_owner_are_in_the_slot_of_the_owner_tag(prefix, tenant, owner, pat_id, digest):
    keys, tag = Keys(prefix, tenant), pat_id[:8]
    slots = {key_slot(key) for key in of_pat(keys, pat_id, digest) + of_owner(keys, tag, owner)}
    assert slots == {key_slot(tag.encode())}


@given(prefixes, hostile)
def test_the_keys_of_a_tenant_share_a_slot_and_so_do_those_of_the_store(prefix, tenant):
    keys = Keys(prefix, tenant)
    assert len({key_slot(key) for key in of_tenant(keys)}) == 1
    assert {key_slot(key) for key in of_store(keys)} == {key_slot(b"store")}


@given(prefixes, hostile, hostile, pat_ids, digests)
def test_no_two_kinds_of_key_meet(prefix, tenant, owner, pat_id, digest):
    keys = Keys(prefix, tenant)
    every = [
        *of_pat(keys, pat_id, digest),
        *of_owner(keys, pat_id.tag, owner),
        *of_tenant(keys),
        *of_store(keys),
    ]
    assert len(set(every)) == len(every) == 25


@given(prefixes, st.tuples(hostile, tags, hostile), st.tuples(hostile, tags, hostile))
def test_other_owners_and_tenants_have_other_keys_even_under_one_tag(prefix, one, other):
    assume((one[0], one[2]) != (other[0], other[2]))
    for tag in (one[1], other[1]):
        first = of_owner(Keys(prefix, one[0]), one[1], one[2])[:8]
        second = of_owner(Keys(prefix, other[0]), tag, other[2])[:8]
        assert not set(first) & set(second)


@given(prefixes, hostile, hostile)
def test_other_tenants_have_other_indexes(prefix, one, other):
    assume(one != other)
    assert not set(of_tenant(Keys(prefix, one))) & set(of_tenant(Keys(prefix, other)))


@given(prefixes, pat_ids, pat_ids, digests, digests)
def test_other_pats_and_tokens_have_other_keys(prefix, one, other, first, second):
    assume(one != other and first != second)
    keys = Keys(prefix, "default")
    assert not set(of_pat(keys, one, first)) & set(of_pat(keys, other, second))
    assert keys.access_token(one, first) != keys.access_token(one, second)


@given(prefixes, prefixes, hostile, hostile, pat_ids, digests)
def test_environments_share_nothing(one, other, tenant, owner, pat_id, digest):
    """A prefix has no brace, so where it ends is always plain, whatever follows."""
    assume(one != other)

    def every(prefix: str) -> set[bytes]:
        keys = Keys(prefix, tenant)
        return {
            *of_pat(keys, pat_id, digest),
            *of_owner(keys, pat_id.tag, owner),
            *of_tenant(keys),
            *of_store(keys),
        }

    assert not every(one) & every(other)


@given(prefixes, hostile, hostile, pat_ids)
def test_the_key_of_an_owner_index_tells_whose_it_is(prefix, tenant, owner, pat_id):
    keys = Keys(prefix, tenant)
    of_owner = keys.owner(pat_id.tag, owner)
    assert keys.owner_in(of_owner.created) == keys.owner_in(of_owner.removed) == (pat_id.tag, owner)


@given(hostile, pat_ids, st.sampled_from([b"", b"\xff", b"patauth:{", b"patauth:{0a1b2c3d}:c:default/"]))
def test_another_key_is_no_owners(owner, pat_id, key):
    """Such as one that another program has written, or one of another tenant."""
    keys = Keys("patauth", "default")
    elsewhere = Keys("patauth", "elsewhere").owner(pat_id.tag, owner)
    mine = keys.owner(pat_id.tag, owner)
    for name in (
        key,
        mine.created + b"\xff",
        mine.created + b" ",
        mine.names,
        mine.record,
        elsewhere.created,
        elsewhere.removed,
    ):
        with pytest.raises(StoreUnavailable):
            keys.owner_in(name)


@given(prefixes, hostile, hostile, pat_ids, digests)
def test_each_key_tells_its_kind_whatever_the_tenant(prefix, tenant, owner, pat_id, digest):
    assume("/" not in tenant + owner)  # no id has it
    keys, other = Keys(prefix, tenant), Keys(prefix, "other")
    named = dict(
        zip(
            [
                *"pqxtkad",
                *"nceormsh",
                "w",
                "f",
                "created",
                "used",
                "expires",
                "marks",
                "removed",
                "sequence",
                "key",
                "check",
            ],
            [
                *of_pat(keys, pat_id, digest),
                *of_owner(keys, pat_id.tag, owner),
                *of_tenant(keys),
                *of_store(keys),
            ],
            strict=True,
        )
    )
    assert {kind: other.kind_of(key) for kind, key in named.items()} == {kind: kind for kind in named}


@pytest.mark.parametrize(
    "name",
    [
        b"P:{0123abcd}:z:acme/alice",
        b"P:{0123abcd}:p:short",
        b"P:{0123abcd}:n:alice",
        b"P:{/acme}:later",
        b"P:{store}:later",
        b"P:{store}:keyx",
        b"Q:{store}:key",
        b"P:later",
    ],
)
def test_a_key_that_this_version_does_not_know_is_refused(name):
    with pytest.raises(StoreUnavailable):
        Keys("P", "acme").kind_of(name)
