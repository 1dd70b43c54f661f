from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from patauth.events.counts import Counts, by_client, by_pat
from tests.support.tables import each


def refusal(address: str | None, at: int = 0, **facts: Any) -> dict[str, Any]:
    event = {
        "time": f"2026-01-01T00:00:{at:02d}.000Z",
        "id": f"{at:032x}",
        "type": "credentials.refused",
        "outcome": "refused",
        "reason": "invalid",
        "address": address,
        **facts,
    }
    return {name: fact for name, fact in event.items() if fact is not None}


def test_refusals_of_one_client_are_the_first_of_them_with_their_number():
    counts = Counts(10, by_client)
    for at in range(5):
        assert not counts.add(refusal("203.0.113.9", at, patId=f"{at}"))
    assert counts.take() == [
        refusal("203.0.113.9", 0, patId="0") | {"count": 5, "until": "2026-01-01T00:00:04.000Z"}
    ]
    assert counts.take() == []


@each(
    "one, other, are_one",
    [
        (refusal("203.0.113.9"), refusal("203.0.113.9:5000"), True),
        (refusal("203.0.113.9"), refusal("::ffff:203.0.113.9"), True),
        (refusal("203.0.113.9"), refusal("203.0.113.10"), False),
        (refusal("2001:db8::1"), refusal("2001:db8::2"), True),
        (refusal("2001:db8::1"), refusal("2001:db8:0:1::1"), False),
        (refusal(None), refusal("no address"), True),
        (refusal("203.0.113.9"), refusal("203.0.113.9", reason="expired"), False),
        (refusal("203.0.113.9"), refusal("203.0.113.9", type="scope.refused"), False),
        (
            refusal("203.0.113.9", type="quota.exceeded", quota="requests"),
            refusal("203.0.113.9", type="quota.exceeded", quota="failures"),
            False,
        ),
    ],
)
def test_what_is_one_kind_of_refusal(one: Any, other: Any, are_one: bool):
    assert (by_client(one) == by_client(other)) == are_one


@given(st.lists(st.integers(0, 30), max_size=100), st.integers(1, 8))
def test_nothing_is_lost_but_details_and_the_memory_is_bounded(hosts: list[int], most: int):
    counts = Counts(most, by_client)
    for at, host in enumerate(hosts):
        counts.add(refusal(f"203.0.113.{host}", at))
    taken = counts.take()
    assert sum(one["count"] for one in taken) == len(hosts)
    assert len(taken) <= most + 1
    apart = {one["address"]: one["count"] for one in taken if "address" in one}
    first = list(dict.fromkeys(hosts))[:most]
    assert apart == {f"203.0.113.{host}": Counter(hosts)[host] for host in first}


def test_what_finds_no_room_names_nobody():
    counts = Counts(1, by_client)
    counts.add(refusal("203.0.113.1"))
    counts.add(refusal("203.0.113.2", 1, patId="p", ownerId="o", requestId="r", scope=["s"]))
    (_, rest) = counts.take()
    assert set(rest) == {"time", "id", "type", "outcome", "reason", "count", "until"}


def test_the_first_use_of_each_pats_rotated_secret_is_delivered_and_the_others_are_counted():
    counts = Counts(2, by_pat, first_apart=True)

    def reused(pat_id: str, at: int) -> bool:
        return counts.add(refusal("203.0.113.9", at, type="secret.reused", reason=None, patId=pat_id))

    assert [reused("a", 0), reused("a", 1), reused("b", 2), reused("a", 3)] == [True, False, True, False]
    assert not reused("c", 4), "there is no room, so it is counted"
    told = [(one.get("patId"), one["count"], one["id"]) for one in counts.take()]
    assert told == [("a", 2, f"{1:032x}"), (None, 1, f"{4:032x}")]
    assert reused("a", 5)
