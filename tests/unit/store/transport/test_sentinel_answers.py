"""What is read from the answers of Sentinels, which configuration counts, and whom to ask."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from patauth import StoreUnavailable
from patauth.store.transport.sentinel_answers import (
    FOLLOWED,
    Answer,
    newest_of,
    read_answer,
    read_replicas,
    to_follow,
    total_of,
)
from tests.support.tables import each

A, B = "10.0.0.1:6379", "10.0.0.2:6379"


def says(sentinel: str, address: str = A, epoch: int = 1, total: int = 3, age: float = 0.0) -> Answer:
    return Answer(sentinel, address, epoch, age, {}, total)


OTHER = [b"name", b"x", b"ip", b"10.1.0.2", b"port", b"26379", b"runid", b"second"]
MASTER = [
    b"ip", b"10.0.0.1", b"port", b"6379", b"last-ok-ping-reply", b"1250", b"num-other-sentinels", b"2",
    b"config-epoch", b"7",
]  # fmt: skip


def test_an_answer_has_the_address_the_epoch_and_the_others() -> None:
    assert read_answer([b"me", MASTER, [b"10.0.0.1", b"6379"], [OTHER]]) == Answer(
        "me", A, 7, 1.25, {"10.1.0.2:26379": "second"}, 3
    )
    changing = read_answer([b"me", MASTER, [b"::1", b"6379"], []])
    assert (changing.address, changing.age) == ("[::1]:6379", 0.0), "the age is that of the old primary"
    assert read_answer([b"me", MASTER, [b"db.example", b"1"], []]).address == "db.example:1"


@each(
    "replies",
    [
        [b"me", MASTER, None, []],
        [b"me", MASTER, [b"10.0.0.1"], []],
        [b"me", MASTER, [b"a@b", b"1"], []],
        [b"me", MASTER, [b"h", b"0"], []],
        [b"me", MASTER, [b"h", b"x"], []],
        [b"me", MASTER[:-1], [b"h", b"1"], []],
        [b"me", MASTER[2:], [b"h", b"1"], []],
        [b"me", MASTER[:8], [b"h", b"1"], []],
        [b"me", [*MASTER[:5], b"x", *MASTER[6:]], [b"10.0.0.1", b"6379"], []],
        [b"me", MASTER, [b"h", b"1"], [OTHER[:4]]],
        [1, MASTER, [b"h", b"1"], []],
        [b"me", 1, [b"h", b"1"], []],
        [b"me", MASTER, [b"h", b"1"]],
    ],
)
def test_an_answer_of_another_form_is_none(replies: list[Any]) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        read_answer(replies)
    assert "not understood" in (refused.value.detail or "")


def test_a_sentinel_names_the_replicas_and_those_that_are_never_promoted() -> None:
    never = [b"ip", b"::1", b"port", b"6379", b"slave-priority", b"0"]
    assert read_replicas([OTHER, never]) == {"10.1.0.2:26379": True, "[::1]:6379": False}
    for wrong in (None, [OTHER[:3]], [OTHER[:2]], [[b"ip", b"u@h", b"port", b"1"]], [1]):
        with pytest.raises(StoreUnavailable):
            read_replicas(wrong)


@each(
    ("answers", "address", "age"),
    [
        pytest.param([says("1")], A, inf, id="one of three"),
        pytest.param([says("1", total=1)], A, 0.0, id="the only one"),
        pytest.param([says("1"), says("2")], A, 0.0, id="two of three"),
        pytest.param([says("1", total=4), says("2", total=4)], A, inf, id="half"),
        pytest.param([says("1"), says("2", total=5)], A, inf, id="one knows of more"),
        pytest.param([says("1"), says("2"), says("3", B, 2)], B, 0.0, id="one knows of a failover"),
        pytest.param([says("1", B, 2), says("2")], B, 0.0, id="one of two knows of it"),
        pytest.param([says("1", B, 2)], B, inf, id="it alone"),
        pytest.param([says("1"), says("2", B), says("3", B)], B, 0.0, id="one differs in the same epoch"),
        pytest.param([says("1"), says("2", B)], A, inf, id="they differ in the same epoch"),
        pytest.param([says("1", age=9), says("2", age=1), says("3", age=2)], A, 2, id="the second of three"),
        pytest.param([says("1", age=9), says("2", age=1)], A, 9, id="two of three are both needed"),
        pytest.param([says("1", B, 2, age=1), says("2", age=9)], B, 1, id="heard from the old one"),
        pytest.param([says("1", B, 2, age=1), says("2", B, 1, age=9)], B, 9, id="the same address"),
    ],
)
def test_the_newest_configuration_counts_if_a_majority_does_not_contradict(
    answers: list[Answer], address: str, age: float
) -> None:
    newest, found = newest_of(answers)
    assert (newest.address, found) == (address, age)
    newest, found = newest_of(answers[::-1])
    assert found == age
    if age < inf:
        assert newest.address == address


@each(
    ("answers", "age"),
    [
        pytest.param([says("1", B, 2), says("2"), says("3")], inf, id="one alone"),
        pytest.param([says("1", B, 2), says("2", B, 2), says("3")], 0.0, id="two of three"),
        pytest.param(
            [says("1", B, 2), says("2", B, age=2), says("3")], 2.0, id="the same address, but older"
        ),
    ],
)
def test_an_older_configuration_contradicts_one_that_is_no_longer_new(
    answers: list[Answer], age: float
) -> None:
    newest, found = newest_of(answers, is_new=False)
    assert (newest.address, found) == (B, age)


def test_one_that_has_forgotten_the_others_is_no_majority_of_those_in_the_url() -> None:
    reset = [says("1", total=1)]
    assert (total_of(reset, 1), newest_of(reset, 1)[1]) == (1, 0.0)
    assert (total_of(reset, 3), newest_of(reset, 3)[1]) == (3, inf)
    assert total_of([says("1", total=5)], 3) == 5
    assert total_of([], 3) == 3


def test_an_answer_grows_old() -> None:
    """Also where it only does not contradict: an old one may have been overtaken."""
    late = [says("1", B, 2).later(1), says("2").later(2.5)]
    assert newest_of(late)[1] == 2.5
    assert says("1", age=1).later(2).age == 3


S1, S2, S3 = "10.1.0.1:26379", "10.1.0.2:26379", "10.1.0.3:26379"


def names(sentinel: str, **others: str) -> Answer:
    known = {"S1": S1, "S2": S2, "S3": S3}
    return says(sentinel)._replace(others={known[place]: name for place, name in others.items()})


@each(
    ("seeds", "answers", "followed"),
    [
        pytest.param([S1, S2], {}, [S1, S2], id="nobody has answered"),
        pytest.param([S1], {S1: names("1", S2="2", S3="3")}, [S1, S2, S3], id="those that it names"),
        pytest.param([S1], {S2: names("2", S3="3")}, [S1, S3], id="nobody names the second any more"),
        pytest.param(
            ["name:1", "name:2"],
            {"name:1": names("1", S2="2"), "name:2": names("2", S1="1")},
            ["name:1", "name:2"],
            id="each seed answers at another address, too",
        ),
        pytest.param(
            ["name:1", "name:2"],
            {"name:1": names("1", S2="2")},
            ["name:1", "name:2", S2],
            id="a name that leads nowhere, and its address",
        ),
        pytest.param(
            [S1], {S1: names("1", S3="3"), S2: names("2", S3="3", S1="1")}, [S1, S3], id="once each"
        ),
    ],
)
def test_seeds_are_asked_and_those_that_others_name(
    seeds: list[str], answers: dict[str, Answer], followed: list[str]
) -> None:
    assert to_follow(seeds, answers) == followed


def test_of_too_many_names_those_are_asked_that_most_give() -> None:
    mad = says("1")._replace(others={f"h{number}:1": str(number) for number in range(10_000)})
    followed = to_follow([S1, S2], {S1: mad, S2: names("2", S3="x"), S3: names("x", S3="x")})
    assert followed[:3] == [S1, S2, S3]
    assert len(followed) == FOLLOWED
    assert len(to_follow([f"s{number}:1" for number in range(40)], {S1: mad})) == 40
