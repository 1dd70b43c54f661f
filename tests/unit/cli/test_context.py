"""The global options, and the settings and store that they lead to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth.cli import program
from patauth.store.local.engine import LocalEngine
from tests.support.cli import NOBODY, Run, create, observe


def test_global_options_are_taken_at_any_level(url: str) -> None:
    for place in (0, 1, 2, 4):
        words = ["pat", "list", "--owner-id", "nobody"]
        words[place:place] = ["--store", url, "--output", "json", "--quiet"]
        result = CliRunner().invoke(program, words)
        assert (result.exit_code, result.stderr) == (0, ""), words
        assert json.loads(result.stdout) == {"pats": [], "total": 0}, words


def test_the_innermost_global_option_wins(run: Run) -> None:
    result = run("--output", "json", "--store", "nonsense:", "store", "--output", "table",
                 "--store", "memory:", "ping", "--output", "json")  # fmt: skip
    assert json.loads(result.stdout)["reachable"] is True


def test_output_and_quiet_have_short_names(url: str) -> None:
    result = CliRunner().invoke(program, ["pat", "list", "-q", "-o", "json", "--store", url])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "pats" in json.loads(result.stdout)


def test_store_wins_over_the_environment(run: Run) -> None:
    assert run("store", "ping", "--store", "unix:///nonexistent/socket").exit_code == 5


def test_without_a_store_it_is_a_usage_error_that_says_how_to_name_one() -> None:
    for words in (
        ("store", "ping"), ("store", "stop"), ("config", "show"), ("config", "check"), ("doctor",),
        ("pat", "list"), ("pat", "list", "--store", ""),
    ):  # fmt: skip
        result = CliRunner().invoke(program, words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        for said in ("no store is named", "--store URL", "PATAUTH_STORE_URL", "local:./patauth-data"):
            assert said in result.stderr, words


def test_settings_come_from_the_environment(run: Run, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_MAX_PATS_PER_OWNER", "1")
    create(run, owner)
    second = run("pat", "create", "--owner-id", owner, "--name", "2", "--scope", "a", "--never-expires")
    assert second.exit_code == 1
    assert "most that are allowed" in second.stderr


def test_a_misspelt_setting_is_warned_of_unless_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_TENNANT", "x")
    for words in (("store", "ping"), ("config", "check")):
        warned = run(*words)
        assert warned.exit_code == 0, words
        assert "PATAUTH_TENNANT" in warned.stderr, words
    assert run("store", "ping", "--quiet").stderr == ""


def test_quiet_keeps_data_and_errors(run: Run, owner: str) -> None:
    made = run("--quiet", "pat", "create", "--owner-id", owner, "--name", "ci", "--scope", "a",
               "--never-expires")  # fmt: skip
    assert "pats_" in made.stdout
    assert made.stderr == ""
    assert run("--quiet", "pat", "show", NOBODY).stderr.startswith("Error: ")


def test_what_a_command_does_is_neither_counted_nor_traced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(monkeypatch)
    for words in (("pat", "list"), ("store", "stats"), ("doctor",), ("notify",)):
        assert run(*words).exit_code == 0, words


def test_memory_is_warned_of_plainly() -> None:
    result = CliRunner().invoke(program, ["pat", "list", "--owner-id", "a", "--store", "memory:"])
    assert result.exit_code == 0
    assert "ends with this command" in result.stderr


def test_a_store_that_is_about_to_be_created_is_mentioned(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its whole path: in another folder than the app's, `local:./new` is another store."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "new"
    first = run("store", "ping", "--store", "local:./new")
    second = run("store", "ping", "--store", "local:./new")
    LocalEngine(directory).stop()
    assert f"{directory} does not exist yet" in first.stderr
    assert second.stderr == ""
