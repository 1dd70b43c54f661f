"""Words of messages."""

from __future__ import annotations

from patauth.model.words import counted, either


def test_one_is_singular_and_none_and_many_are_plural() -> None:
    assert [counted(count, "event") for count in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
    assert [counted(count, "is", "are") for count in (0, 1, 2)] == ["0 are", "1 is", "2 are"]


def test_a_choice_ends_in_or() -> None:
    assert [either("a"), either("ab"), either("abc")] == ["a", "a or b", "a, b or c"]
