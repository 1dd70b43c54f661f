"""Tables and JSON: what cannot be seen is escaped, columns are aligned, and colours are for terminals."""

from __future__ import annotations

import json

import click
import pytest

from patauth.cli.output import print_facts, print_table
from tests.support.cli import Run, create


def test_tables_escape_what_cannot_be_seen_or_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    with click.Context(click.Command("any")):
        print_table({}, ("NAME",), [(hostile,)])
        print_facts({}, [("name", hostile)])
    escaped = r"a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    assert capsys.readouterr().out == f"NAME\n{escaped}\nname  {escaped}\n"


def test_columns_are_aligned_for_wide_and_combined_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("any")):
        print_table({}, ("NAME", "X"), [("日本語", "1"), ("e\u0301", "2"), ("plain", "3")])
    assert capsys.readouterr().out == "NAME    X\n日本語  1\ne\u0301       2\nplain   3\n"


def test_names_of_people_are_kept_in_tables_and_json_is_ascii(run: Run, owner: str) -> None:
    create(run, owner, name="Jürgens 日本")
    assert "Jürgens 日本" in run("pat", "list", "--owner-id", owner).stdout
    as_json = run("pat", "list", "--owner-id", owner, "--output", "json").stdout
    assert as_json.isascii()
    assert json.loads(as_json)["pats"][0]["name"] == "Jürgens 日本"


def test_colours_are_for_terminals_and_no_color_is_honoured(
    run: Run, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, owner)
    words = ("pat", "list", "--owner-id", owner)
    assert "\x1b[" not in run(*words).stdout
    assert "\x1b[" in run(*words, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run(*words, color=True).stdout
