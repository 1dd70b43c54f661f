"""What nodes say of the cluster's slots, shards and replicas, and what is no such answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from patauth import StoreUnavailable
from patauth.store.transport.cluster_map import read_replicas, read_shards, read_slots, slot_of
from patauth.store.transport.wire import Elsewhere
from tests.support.tables import each

A, B = "10.0.0.1:6379", "10.0.0.2:6379"


@given(st.text("0123456789abcdef/store", min_size=1, max_size=20))
def test_a_tag_has_the_slot_that_the_server_says(tag: str) -> None:
    assert slot_of(tag.encode()) == key_slot(f"p:{{{tag}}}:x".encode())


def test_a_map_names_the_primary_of_each_slot() -> None:
    reply = [
        [0, 8191, [b"10.0.0.1", 6379, b"id", []], [b"10.0.0.9", 6379, b"replica", []]],
        [8192, 16382, [b"fd00::2", 6380, b"id"]],
    ]
    found = read_slots(reply, "asked")
    assert found[0] == found[8191] == A
    assert found[8192] == found[16382] == "[fd00::2]:6380"
    assert found[16383] is None, "a slot that nobody has"
    assert read_slots([[0, 1, [b"", 1, b"id"]]], "asked")[:2] == ["asked:1"] * 2
    assert read_slots([[0, 1, [None, 1, b"id"]]], "[::1]")[0] == "[::1]:1"
    assert read_slots([[0, 0, [b"?", 1]], [1, 1, [b"h", 2]]], "asked")[:2] == [None, "h:2"]


def test_a_map_names_each_replica_with_its_primary() -> None:
    reply = [
        [0, 1, [b"10.0.0.1", 6379, b"id"], [b"10.0.0.2", 6379, b"id"], [b"", 1, b"id"], [b"?", 2, b"id"]],
        [2, 3, [b"?", 6379, b"id"], [b"10.0.0.3", 6379, b"id"]],
        [4, 5, [b"10.0.0.1", 6379, b"id"], [b"10.0.0.2", 6379, b"id"]],
        [6, 7, [b"10.0.0.3", 6379, b"id"]],
    ]
    assert read_replicas(reply, "asked") == {B: A, "asked:1": A}
    for wrong in ([[0, 1, [b"h", 1], [b"h"]]], [[0, 1, [b"h", 1], [b"u@h", 1]]], [[0]], None):
        with pytest.raises(StoreUnavailable):
            read_replicas(wrong, "asked")


def test_the_nodes_of_each_shard_are_named() -> None:
    one = [b"port", 6379, b"tls-port", 6380, b"endpoint", b"10.0.0.1", b"role", b"master"]
    own, unknown = [b"endpoint", b"", b"port", 1], [b"endpoint", b"?", b"port", 2]
    reply = [[b"slots", [0, 1], b"nodes", [one, own, unknown]], [b"nodes", []]]
    assert read_shards(reply, "asked", tls=False) == [[A, "asked:1"], []]
    assert read_shards([[b"nodes", [one]]], "asked", tls=True) == [["10.0.0.1:6380"]]
    for wrong in (None, [[b"slots", []]], [[b"nodes", [[b"port", 1]]]], [[b"nodes", [own[:3]]]], [1]):
        with pytest.raises(StoreUnavailable):
            read_shards(wrong, "asked", tls=False)
    with pytest.raises(StoreUnavailable):
        read_shards([[b"nodes", [own]]], "asked", tls=True)


@each(
    "reply",
    [
        [],
        None,
        b"OK",
        [[0]],
        [[0, 1]],
        [[0, 1, b"host"]],
        [[0, 1, [b"h"]]],
        [[0, 16384, [b"h", 1]]],
        [[2, 1, [b"h", 1]]],
        [[-1, 1, [b"h", 1]]],
        [[0, 1, [b"h", 0]]],
        [[0, 1, [b"h", "1"]]],
        [[0, 1, [b"h", 65536]]],
        [[0, 1, [b"h/1?x", 1]]],
        [[0, 1, [b"u@h", 1]]],
        [[0, 1, [b"\xc3\xa9", 1]]],
        [[0, 1, [b"\xff", 1]]],
        [[0, 1, [b"?", 1]]],
        Elsewhere("CLUSTERDOWN x"),
    ],
)
def test_a_map_that_is_none_is_unavailable(reply: Any) -> None:
    with pytest.raises(StoreUnavailable):
        read_slots(reply, "asked")


# -- nodes of the tests' own --------------------------------------------------------------------------
