"""The command line as a process: what only a real one can show."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest

from patauth import Authority, NotFound, Owner
from tests.support.processes import PATAUTH, Terminal, environment, into_a_full_disk, processes


def patauth(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PATAUTH, *words], env=environment(**more), capture_output=True, text=True, timeout=30, check=False
    )


def make(url: str, name: str) -> str:
    with Authority.from_url(url) as authority:
        return authority.create(owner=Owner("alice"), name=name, scope=["a"], never_expires=True).pat.id


def test_the_exit_codes_are_the_processes(url: str) -> None:
    codes = {
        0: ("store", "ping", "--store", url),
        2: ("store", "ping"),
        3: ("pat", "show", "0" * 32, "--store", url),
        5: ("store", "ping", "--store", "unix:///nonexistent/socket"),
    }
    for code, words in codes.items():
        done = patauth(*words)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert (done.stdout == "") == (code != 0)


def test_stdout_holds_data_and_nothing_else(url: str) -> None:
    made = patauth("pat", "create", "--owner-id", "bob", "--name", "ci", "--scope", "a", "--expires-in", "1d",
                   "--output", "json", PATAUTH_STORE_URL=url, PATAUTH_MISSPELT="1")  # fmt: skip
    assert list(json.loads(made.stdout)) == ["pat", "secret", "token"]
    assert "PATAUTH_MISSPELT" in made.stderr


def test_a_secret_that_cannot_be_shown_is_not_lost_in_silence(url: str) -> None:
    """A full disk: the PAT is named, so that it can be revoked. Nothing to write to: none is made."""
    words = [
        *PATAUTH,
        "pat",
        "create",
        "--owner-id",
        "carol",
        "--scope",
        "a",
        "--expires-in",
        "1d",
        "--store",
        url,
    ]
    done = into_a_full_disk([*words, "--name", "full"])
    with Authority.from_url(url) as authority:
        (made,) = authority.list(owner_id="carol")
    assert done.returncode == 1
    assert f"patauth pat revoke {made.id} --yes" in done.stderr
    assert "Traceback" not in done.stderr
    shell = " ".join(map(shlex.quote, [*words, "--name", "closed"])) + " >&-"
    closed = subprocess.run(
        shell, shell=True, env=environment(), stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert (closed.returncode, "nothing was made" in closed.stderr) == (1, True)
    with Authority.from_url(url) as authority:
        assert authority.list(owner_id="carol") == [made]


def test_output_that_cannot_be_written_is_one_line_and_1(url: str) -> None:
    make(url, "listed")
    for words in (["--help"], ["pat", "list", "--owner-id", "alice", "--store", url]):
        done = into_a_full_disk([*PATAUTH, *words])
        assert done.returncode == 1
        assert done.stderr.startswith("Error: cannot write the output")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1:99999", "127.0.0.1:", ":x"])
def test_an_address_that_is_none_is_refused_before_anything_starts(bind: str) -> None:
    done = patauth("serve", "--bind", bind)
    assert (done.returncode, done.stdout) == (2, "")
    assert "HOST:PORT" in done.stderr


def test_an_address_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = patauth("serve", "--bind", f"127.0.0.1:{busy.getsockname()[1]}")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_lacks_the_letters_gets_escapes(url: str) -> None:
    make(url, "日")
    listed = patauth("pat", "list", "--owner-id", "alice", "--store", url, PYTHONIOENCODING="latin-1")
    assert listed.returncode == 0, listed.stderr
    assert r"\u65e5" in listed.stdout


def test_a_reader_that_goes_away_leaves_no_traceback(url: str) -> None:
    process = subprocess.Popen(
        [*PATAUTH, "pat", "list", "--owner-id", "alice", "--output", "json", "--store", url],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_the_engine_ends_after_the_command_that_started_it(tmp_path: Path) -> None:
    assert patauth("store", "ping", "--store", f"local:{tmp_path}/data").returncode == 0
    deadline = time.monotonic() + 10
    while (left := processes(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_revoke_asks_on_a_terminal_and_obeys_the_answer(url: str) -> None:
    pat_id = make(url, "asked")
    terminal = Terminal("pat", "revoke", pat_id, "--store", url)
    terminal.wait_for("Revoke the PAT 'asked' of alice")
    terminal.type("n\n")
    assert terminal.end() == (1, "")
    assert "nothing was changed" in terminal.shown
    with Authority.from_url(url) as authority:
        authority.get(pat_id)

    terminal = Terminal("pat", "revoke", pat_id, "--store", url, "--output", "json")
    terminal.wait_for("[y/N]")
    terminal.type("y\n")
    code, stdout = terminal.end()
    assert (code, json.loads(stdout)) == (0, {"changed": 1, "ids": [pat_id]})
    with Authority.from_url(url) as authority, pytest.raises(NotFound):
        authority.get(pat_id)


def test_ctrl_c_at_the_question_is_130_and_changes_nothing(url: str) -> None:
    pat_id = make(url, "kept")
    terminal = Terminal("pat", "revoke", pat_id, "--store", url)
    terminal.wait_for("[y/N]")
    terminal.interrupt()
    assert terminal.end() == (130, "")
    assert "Traceback" not in terminal.shown
    assert "Aborted" not in terminal.shown
    with Authority.from_url(url) as authority:
        authority.get(pat_id)


def test_what_is_not_there_is_not_asked_about(url: str) -> None:
    terminal = Terminal("pat", "revoke", "0" * 32, "--store", url)
    assert terminal.end() == (3, "")
    assert "[y/N]" not in terminal.shown
