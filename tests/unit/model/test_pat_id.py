"""Ids of PATs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patauth.model.pat_id import PatId


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_32_hex_digits_of_which_8_are_the_owner_tag(raw: bytes) -> None:
    pat_id = PatId.read(raw.hex())
    assert pat_id is not None
    assert (pat_id, pat_id.tag, pat_id.raw) == (raw.hex(), raw.hex()[:8], raw)


def test_what_has_another_form_is_no_id() -> None:
    for text in (
        "",
        "zz" * 16,
        "0" * 31,
        "0" * 33,
        "A" * 32,
        "0" * 31 + " ",
        "0" * 31 + "\n",
        "é" * 32,
        None,
        7,
        b"0" * 32,
    ):
        assert PatId.read(text) is None, text


def test_new_ids_differ_under_one_tag() -> None:
    ids = {PatId.mint("0123abcd") for _ in range(1000)}
    assert len(ids) == 1000
    assert {pat_id.tag for pat_id in ids} == {"0123abcd"}
    assert all(PatId.read(pat_id) == pat_id for pat_id in ids)
