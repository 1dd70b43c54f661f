"""JSON as Structs: what msgspec says of a wrong value, in words of the API and by field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patauth import InvalidRequest
from patauth.wsgi.api.structs import as_struct, unknown
from tests.support.tables import each


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    tags: list[str] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    life_time: int | None = None
    sure: bool | None = None
    inner: Inner | None = None
    many: list[Inner] = []


def test_a_right_value_is_read_as_it_is() -> None:
    content = {"name": "x", "lifeTime": 5, "sure": True, "inner": {"id": "a", "tags": ["b"]}, "many": []}
    assert as_struct(content, Outer) == Outer("x", 5, True, Inner("a", ["b"]))
    assert as_struct({"name": "x", "lifeTime": None}, Outer) == Outer("x")


@each(
    ("content", "message"),
    [
        ({}, "name: is missing; give it a value"),
        ({"name": "x", "inner": {}}, "inner.id: is missing; give it a value"),
        ({"name": "x", "many": [{"id": "a"}, {}]}, "many[1].id: is missing; give it a value"),
        ({"name": 1}, "name: give string, got whole number"),
        ({"name": None}, "name: give string, got null"),
        ({"name": "x", "lifeTime": "5"}, "lifeTime: give whole number or null, got string"),
        ({"name": "x", "lifeTime": 5.5}, "lifeTime: give whole number or null, got other number"),
        ({"name": "x", "lifeTime": True}, "lifeTime: give whole number or null, got true or false"),
        ({"name": "x", "sure": 1}, "sure: give true or false or null, got whole number"),
        ({"name": "x", "inner": []}, "inner: give object or null, got array"),
        (
            {"name": "x", "inner": {"id": "a", "tags": ["b", 1]}},
            "inner.tags[1]: give string, got whole number",
        ),
        ({"name": "x", "life_time": 5}, "there is no field life_time here"),
        ({"name": "x", "inner": {"id": "a", "z": 1}}, "there is no field inner.z here"),
        ({"name": "x", "a` - at `$.b": 1}, "there is no field b.a here"),
        ({"name": "x", "a\n[31m": 1}, "there is no field of that name here"),
        ({"name": "x", "": 1}, "there is no field of that name here"),
        ([], "body: give object, got array"),
        (None, "body: give object, got null"),
        ("x", "body: give object, got string"),
    ],
)
def test_what_is_wrong_is_said_of_a_field(content: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        as_struct(content, Outer)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_a_name_that_is_long_or_not_plain_is_not_repeated() -> None:
    assert str(unknown("parameter", "owner_id")) == "there is no parameter owner_id here"
    for name in ("x" * 65, "a b", "a\r\nb", "\u202e", "<b>", '"', ""):
        assert str(unknown("parameter", name)) == "there is no parameter of that name here"
