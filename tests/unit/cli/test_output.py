"""Tables and JSON: what cannot be seen is escaped, columns are aligned, and colours are for terminals."""

from __future__ import annotations

import json
import re

import click
import pytest

from patauth.cli.output import print_facts, print_table
from patauth.cli.table import Column
from tests.support.cli import Run, create
from tests.support.processes import Terminal


def test_tables_escape_what_cannot_be_seen_or_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    with click.Context(click.Command("any")):
        print_table({}, [Column("NAME")], [(hostile,)])
        print_facts({}, [("name", hostile)])
    escaped = r"a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    assert capsys.readouterr().out == f"NAME\n{escaped}\nname  {escaped}\n"


def test_columns_are_aligned_for_wide_and_combined_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("any")):
        print_table({}, [Column("NAME"), Column("X")], [("日本語", "1"), ("e\u0301", "2"), ("plain", "3")])
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
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in run(*words, color=True).stdout
    monkeypatch.delenv("TERM")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run(*words, color=True).stdout


def test_a_real_terminal_gets_a_table_that_fits_and_a_pipe_gets_it_whole(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner, name="a-name-that-is-longer-than-there-is-room-for")["pat"]
    words = ("pat", "list", "--owner-id", owner, "--store", url)
    terminal = Terminal(*words, columns=72, TERM="xterm")
    terminal.wait_for("in 60 minutes")
    assert terminal.end()[0] == 0
    heads, row = (re.sub(r"\x1b\[\d*m", "", line) for line in terminal.shown.splitlines())
    assert heads.split() == ["ID", "NAME", "STATE", "EXPIRES"]
    assert row.startswith(made["id"])
    assert len(row) <= 72
    assert "\x1b[32mactive" in terminal.shown
    piped = run(*words).stdout
    assert made["name"] in piped
    assert made["expirationDate"] in piped
    assert "\x1b" not in piped
