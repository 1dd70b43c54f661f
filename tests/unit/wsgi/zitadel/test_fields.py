"""How ZITADEL's API spells values, in requests and answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import InvalidRequest
from patauth.model import dates
from patauth.wsgi.zitadel import v1, v2
from patauth.wsgi.zitadel.fields import (
    MAX_UINT64,
    NEVER_MS,
    Page,
    _in_camel,
    filled,
    instant,
    page_of,
    request_of,
)
from tests.support.tables import each

STRUCTS = [
    kind
    for module in (v1, v2)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]


@each(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (120, "1970-01-01T00:00:00.120Z"),
        (NEVER_MS, "9999-12-31T23:59:59Z"),
    ],
)
def test_an_instant_has_three_fraction_digits_or_none(ms: int, text: str) -> None:
    assert instant(ms) == text
    assert dates.parse_ms(text) == ms


@given(st.integers(0, MAX_UINT64))
def test_a_uint64_comes_as_a_number_or_as_its_text(number: int) -> None:
    assert page_of(Page(offset=number), "query", 5, 5) == (number, 5)
    assert page_of(Page(offset=str(number)), "query", 5, 5) == (number, 5)


@given(st.integers() | st.text())
def test_anything_else_is_refused_by_name(value: int | str) -> None:
    try:
        offset, _ = page_of(Page(offset=value), "query", 5, 5)
    except InvalidRequest as error:
        assert error.field == "query.offset"
    else:
        assert str(offset) == str(value)
        assert 0 <= offset <= MAX_UINT64


@each("kind", STRUCTS)
def test_names_may_be_spelt_as_in_the_proto_file(kind: type[msgspec.Struct]) -> None:
    wire = dict.fromkeys(kind.__struct_encode_fields__, 1)
    assert _in_camel([dict.fromkeys(kind.__struct_fields__, 1)]) == [wire]
    assert _in_camel(wire) == wire


def test_a_message_may_repeat_the_ids_of_its_path_and_name_no_others() -> None:
    ids = {"userId": "alice"}
    for content in ({}, {"userId": "alice"}, {"user_id": "alice"}, {"userId": None}):
        assert request_of(content, v2.Add, ids) == v2.Add(user_id="alice")
    for content in ({"userId": "bob"}, {"user_id": ""}, {"userId": "alice", "user_id": "alice"}):
        with pytest.raises(InvalidRequest) as caught:
            request_of(content, v2.Add, ids)
        assert caught.value.field == "userId", content
    for content in ([], "x", 1, None):
        with pytest.raises(InvalidRequest):
            request_of(content, v2.Add, ids)


def test_a_message_has_no_zero_values() -> None:
    assert filled({"a": "", "b": "0", "c": [], "d": False, "e": {}, "f": "00", "g": [0]}) == {
        "e": {},
        "f": "00",
        "g": [0],
    }


@each("kind", STRUCTS)
def test_each_request_is_described_in_full_by_its_struct(kind: type[msgspec.Struct]) -> None:
    """The OpenAPI description is made of them."""
    schema: dict[str, Any] = msgspec.json.schema(kind)
    json.dumps(schema)
    described = schema["$defs"][kind.__name__]
    assert described["additionalProperties"] is False
    assert set(described["properties"]) == set(kind.__struct_encode_fields__)
