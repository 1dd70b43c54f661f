"""What a copy writes where two stores differ, as pure functions."""

from __future__ import annotations

import pytest

from patauth import StoreUnavailable
from patauth.store.copy import _HASH, _SORTED_SET, Text, end_change, lasts, text_change
from patauth.store.transport.wire import Command
from tests.support.tables import each

FOREVER, GONE = -1, -2
NONE = Text(None, GONE)


@each(
    ("source", "target", "command"),
    [
        (Text(b"a", FOREVER), Text(b"a", FOREVER), None),
        (Text(b"a", 5000), Text(b"a", 5000), None),
        (NONE, NONE, None),
        (Text(b"a", FOREVER), NONE, ("SET", b"k", b"a")),
        (Text(b"a", 5000), NONE, ("SET", b"k", b"a", "PXAT", 5000)),
        (Text(b"a", 5000), Text(b"b", 5000), ("SET", b"k", b"a", "PXAT", 5000)),
        (Text(b"a", 5000), Text(b"a", 6000), ("SET", b"k", b"a", "PXAT", 5000)),
        (Text(b"a", 5000), Text(b"a", FOREVER), ("SET", b"k", b"a", "PXAT", 5000)),
        (Text(b"a", FOREVER), Text(b"a", 5000), ("SET", b"k", b"a")),
        (Text(b"", FOREVER), Text(b"a", FOREVER), ("SET", b"k", b"")),
        (NONE, Text(b"a", 5000), ("DEL", b"k")),
    ],
)
def test_a_text_becomes_that_of_the_source_with_its_end(
    source: Text, target: Text, command: Command | None
) -> None:
    assert text_change(b"k", source, target) == command


@each(
    ("source", "target", "command"),
    [
        (FOREVER, FOREVER, None),
        (FOREVER, GONE, ("PERSIST", b"k")),
        (5000, 5000, None),
        (GONE, 5000, None),  # its members are removed, and it goes with the last one
        (FOREVER, 5000, ("PERSIST", b"k")),
        (5000, FOREVER, ("PEXPIREAT", b"k", 5000)),
        (5000, 6000, ("PEXPIREAT", b"k", 5000)),
        (5000, GONE, ("PEXPIREAT", b"k", 5000)),
    ],
)
def test_a_key_with_members_ends_when_that_of_the_source_does(
    source: int, target: int, command: Command | None
) -> None:
    assert end_change(b"k", source, target) == command


@each(
    ("ends", "does"),
    [
        ((GONE, 3000), False),
        ((3000, GONE), False),
        ((GONE, 900), False),
        ((GONE, GONE), False),
        ((GONE, 3001), True),
        ((3001, GONE), True),
        ((GONE, FOREVER), True),
        ((FOREVER, GONE), True),
        ((3000, 3000), True),  # both have it, so its content differs
        ((900, FOREVER), True),
    ],
)
def test_what_is_about_to_go_from_one_store_alone_is_no_difference(ends: tuple[int, int], does: bool) -> None:
    """Two seconds before its end and later, at 1000 ms of the target's clock."""
    assert lasts(ends, now=1000) == does


def test_scores_are_compared_as_numbers_and_values_as_bytes() -> None:
    """Engines write the same score in two ways."""
    assert _SORTED_SET.equal(b"1700000000000", b"1.7e+12")
    assert not _SORTED_SET.equal(b"1700000000000", b"1700000000001")
    assert not _SORTED_SET.equal(b"0", None)
    assert not _HASH.equal(b"10", b"1e1")
    assert _HASH.equal(b"\x00", b"\x00")
    with pytest.raises(StoreUnavailable):
        _SORTED_SET.equal(b"1", b"one")


def test_members_are_added_in_the_order_that_each_command_wants() -> None:
    assert _SORTED_SET.adding(b"k", {b"a": b"1", b"b": b"2"}) == ("ZADD", b"k", b"1", b"a", b"2", b"b")
    assert _HASH.adding(b"k", {b"a": b"1"}) == ("HSET", b"k", b"a", b"1")
