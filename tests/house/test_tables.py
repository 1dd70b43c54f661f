"""A table of rows is one test: it has them all, and its failure names the row."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.support.tables import each


def test_each_row_is_run_once_and_in_its_order() -> None:
    seen = []

    @each("first", "ab")
    @each(("second", "third"), [(1, 2), pytest.param(3, 4, id="named")])
    def claim(first: str, second: int, third: int) -> None:
        seen.append((first, second, third))

    claim()
    assert seen == [("a", 1, 2), ("a", 3, 4), ("b", 1, 2), ("b", 3, 4)]


def test_a_failure_names_its_row() -> None:
    @each("value, wanted", [(1, 1), (2, 3), pytest.param(4, 5, id="named")])
    def claim(value: int, wanted: int) -> None:
        assert value == wanted

    with pytest.raises(AssertionError) as failed:
        claim()
    assert failed.value.__notes__ == ["in the row value=2, wanted=3"]


def test_what_is_no_column_is_a_fixture() -> None:
    @each("value", [1])
    def claim(tmp_path: Path, value: int) -> None:
        raise NotImplementedError

    assert list(inspect.signature(claim).parameters) == ["tmp_path"]


def test_a_claim_about_nothing_or_about_what_it_does_not_take_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="no rows"):
        each("value", [])
    with pytest.raises(ValueError, match="zip"):
        each("value, wanted", [(1, 2, 3)])
    with pytest.raises(TypeError, match="does not take other"):
        each("other", [1])(lambda value: None)
