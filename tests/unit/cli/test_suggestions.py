"""What a shell is offered: ids, names, owners and scopes of the store, quickly and harmlessly, or nothing."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from patauth.cli import program
from patauth.cli.pat_output import COLUMN_NAMES
from tests.support.cli import Run, create, observe
from tests.support.processes import Terminal, patauth_on_path


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A completion switches logging off for the rest of its process, which here goes on with other tests."""
    before = logging.root.manager.disable
    yield
    logging.disable(before)


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    *before, incomplete = words
    found = ShellComplete(program, {}, "patauth", "_PATAUTH_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found]


def test_ids_are_offered_and_names_of_the_owner_that_is_named(run: Run, owner: str) -> None:
    ids = [create(run, owner, name=name)["pat"]["id"] for name in ("ci", "nightly")]
    other = create(run, owner + "2")["pat"]["id"]
    for command in ("show", "update", "rotate", "revoke", "disable", "enable", "purge"):
        assert set(offered("pat", command, ids[0][:8])) == set(ids), "an owner's ids begin alike"
    assert other in offered("pat", "show", "")
    assert offered("pat", "show", "--owner-id", owner, "") == ["nightly", "ci", *reversed(ids)]
    assert offered("pat", "revoke", "--owner-id", owner, "ni") == ["nightly"]
    assert offered("pat", "show", ids[0], "") == [], "there is one argument"


def test_owners_are_offered_where_one_is_named(run: Run, owner: str) -> None:
    create(run, owner)
    for words in (("pat", "list", "--owner-id"), ("pat", "create", "--owner-id"), ("owner", "disable")):
        assert offered(*words, owner[:-2]) == [owner], words


def test_scopes_are_those_of_pats_and_with_a_catalogue_those_alone(
    run: Run, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, owner)
    for words in (("pat", "create"), ("pat", "update"), ("token", "exchange")):
        assert "a:b" in offered(*words, "--scope", "a:"), words
    monkeypatch.setenv("PATAUTH_SCOPES", "a:read a:write b")
    assert offered("pat", "create", "--scope", "a:") == ["a:read", "a:write"]


def test_what_a_shell_could_run_is_not_offered(run: Run, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = ("$(id)", "a;b", "a b", "`id`", "-rf", "a'b", 'a"b', "*", "a,b", "a\\b", "~", "a|b", "a\u00a0b")
    monkeypatch.setenv("PATAUTH_MAX_PATS_PER_OWNER", "20")
    for name in (*hostile, "harmless"):
        create(run, owner, name=name)
    create(run, owner, "--scope", "x;y", "--scope", "a:b@c/d%2F", "--never-expires")
    found = offered("pat", "show", "--owner-id", owner, "")
    assert [value for value in found if len(value) != 32] == ["ci", "harmless"]
    assert offered("pat", "update", "--owner-id", owner, "--scope", "") == ["a:b", "a:b@c/d%2F"]


def test_where_no_store_is_nothing_is_offered_said_or_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        port = silent.getsockname()[1]
        down = ("redis://127.0.0.1:1", f"redis://127.0.0.1:{port}")
        for store in (*down, f"local:{tmp_path}/none", "memory:", "nonsense"):
            began = time.monotonic()
            assert offered("--store", store, "pat", "show", "") == [], store
            assert time.monotonic() - began < 3, store
    assert offered("pat", "create", "--store", "redis://127.0.0.1:1", "--scope", "") == []
    monkeypatch.delenv("PATAUTH_STORE_URL")
    monkeypatch.setenv("PATAUTH_NONSENSE", "1")
    assert offered("pat", "show", "") == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_columns_are_offered_one_after_another() -> None:
    assert offered("pat", "list", "--columns", "na") == ["name"]
    assert offered("pat", "list", "--columns", "id,name,") == [
        f"id,name,{column}" for column in COLUMN_NAMES if column not in ("id", "name")
    ]
    assert offered("pat", "list", "--columns", "nonsense") == []


def test_memory_is_not_warned_of(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setenv("PATAUTH_STORE_URL", "memory:")
    assert offered("pat", "show", "") == []
    assert [str(warning.message) for warning in recwarn] == []


def test_a_completion_is_neither_counted_nor_traced(
    run: Run, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    observe(monkeypatch)
    assert offered("pat", "show", "--owner-id", owner, "") == ["ci", pat_id]


def test_bash_completes_names_and_scopes_with_colons_as_they_are_typed(
    run: Run, owner: str, url: str, tmp_path: Path
) -> None:
    """In an interactive bash, which cuts words at colons. What it completes is then run."""
    create(run, owner, "--scope", "x-reports:read", "--scope", "x-reports:write", "--never-expires")
    create(run, owner, name="nightly")
    bash = Terminal(
        "--norc", "-i", command=["bash"], columns=200, PATAUTH_STORE_URL=url, TERM="dumb",
        PATH=f"{patauth_on_path(tmp_path)}:{os.environ['PATH']}",
    )  # fmt: skip
    scopes = "--scope x-reports:re\t --scope=x-reports:w\t"
    bash.type('eval "$(patauth completion bash)"; echo rea""dy\n')
    bash.wait_for("ready")
    bash.type(f"patauth pat update --owner-id {owner} ni\t {scopes} --output json; exit\n")
    assert bash.end()[0] == 0
    assert '"name": "nightly"' in bash.shown
    assert [text in bash.shown for text in ('"x-reports:read"', '"x-reports:write"')] == [True, True]
