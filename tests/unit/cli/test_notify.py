"""`patauth notify`: what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cli import Run, create, local_store
from tests.support.tables import each

Trail = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def empty(run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store of this test's own: a notice is for all PATs of the tenant."""
    with local_store(tmp_path_factory.mktemp("notify") / "data") as store_url:
        monkeypatch.setenv("PATAUTH_STORE_URL", store_url)
        yield


@pytest.mark.usefixtures("empty")
def test_it_prints_how_many_events_were_sent_and_the_pats(run: Run, events: Trail) -> None:
    soon = create(run, "alice", "--expires-in", "5d", name="soon")["pat"]["id"]
    later = create(run, "alice", "--expires-in", "20d", name="later")["pat"]["id"]
    create(run, "bob", "--never-expires")
    events()
    first = run("notify", "--output", "json")
    assert json.loads(first.stdout) == {"changed": 1, "ids": [soon]}
    (line,) = [json.loads(line) for line in first.stderr.splitlines()]
    assert (line["type"], line["patId"], line["within"]) == ("pat.expiring", soon, 604_800)
    assert [event["type"] for event in events()] == ["pat.expiring"]
    assert json.loads(run("notify", "--output", "json").stdout) == {"changed": 0, "ids": []}
    more = run("notify", "--within", "30d", "--within", "7d", "--within", "12h", "--output", "json")
    assert json.loads(more.stdout) == {"changed": 2, "ids": [soon, later]}
    again = run("notify", "--within", "25d", "--quiet")
    assert again.stderr == ""
    assert [line.split() for line in again.stdout.splitlines()] == [["changed", "2"], ["ids", soon, later]]
    assert [line.split() for line in run("notify").stdout.splitlines()] == [["changed", "0"], ["ids", "none"]]


@pytest.mark.usefixtures("empty")
@each("where, quiet", [("none", []), ("none", ["--quiet"]), ("log", ["--quiet"])])
def test_where_nothing_takes_the_events_it_is_a_wrong_setting_and_nothing_is_marked(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str, quiet: list[str]
) -> None:
    create(run, "alice", "--expires-in", "5d", name=f"{where} {len(quiet)}")
    with monkeypatch.context() as patched:
        patched.setenv("PATAUTH_EVENTS", where)
        result = run("notify", *quiet)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the setting events" in result.stderr
    assert json.loads(run("notify", "--output", "json").stdout)["changed"] == 1


@each("within", ["0s", "7", "x", "-1d", "99999d", ""])
def test_a_threshold_is_a_duration(run: Run, within: str) -> None:
    result = run("notify", "--within", within)
    assert (result.exit_code, result.stdout, "--within" in result.stderr) == (2, "", True)
    assert "Traceback" not in result.stderr


def test_a_store_that_is_down_is_5_and_prints_nothing(run: Run) -> None:
    result = run("notify", "--store", "unix:///nonexistent/socket")
    assert (result.exit_code, result.stdout) == (5, "")
