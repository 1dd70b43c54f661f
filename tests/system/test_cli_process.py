"""The command line as a process: what only a real one can show."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from patauth import Authority, InvalidCredentials, NotFound, Owner
from patauth.cli.address import AddressType, check_free
from patauth.model.dates import format_ms
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
    assert (closed.returncode, "no PAT was created" in closed.stderr) == (1, True)
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


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ("unix:{folder}", "there is something else than a socket"),
        ("unix://{folder}", "there is something else than a socket"),
        ("unix:{folder}/none/x", "No such file or directory"),
        ("unix:{folder}/{long}", "AF_UNIX path too long"),
        ("unix:{folder}/served", "Address already in use"),
        ("unix:", "give a path after unix:"),
    ],
)
def test_a_path_at_which_no_socket_can_be_made_is_said_in_one_line(
    bind: str, why: str, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "served"))
        other.listen()
        done = patauth("serve", "--bind", bind.format(folder=tmp_path, long="x" * 150))
        assert done.returncode in (1, 2)
        assert why in done.stderr
        assert "--bind" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_a_socket_that_nobody_serves_any_more_is_no_hindrance(tmp_path: Path) -> None:
    """A service that was killed leaves one behind."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    check_free([AddressType(paths=True).convert(f"unix:{tmp_path}/left", None, None)])


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


def test_a_new_secret_that_cannot_be_shown_is_not_lost_in_silence(url: str) -> None:
    """A full disk: it says until when the old one works, and what to do. Nothing to write to: no change."""
    with Authority.from_url(url) as authority:
        made = authority.create(owner=Owner("dora"), name="ci", scope=["a"], expires_in=timedelta(minutes=30))
        pat_id = made.pat.id
        words = [*PATAUTH, "pat", "rotate", pat_id, "--store", url]
        closed = subprocess.run(
            f"{shlex.join(words)} >&-", shell=True, env=environment(), stderr=subprocess.PIPE, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert closed.returncode == 1
        assert "nothing was changed" in closed.stderr
        assert authority.get(pat_id).sequence == 1
        full = into_a_full_disk(words)
        assert full.returncode == 1
        assert f"the PAT {pat_id} was rotated, but its secret could not be written" in full.stderr
        assert made.pat.expires_ms is not None
        assert f"the old one works until {format_ms(made.pat.expires_ms)}" in full.stderr
        assert f"rotate again with 'patauth pat rotate {pat_id} --overlap 0s'" in full.stderr
        assert "Traceback" not in full.stderr
        assert authority.get(pat_id).sequence == 2
        authority.verify_bearer(made.token)
        ended = into_a_full_disk([*words, "--overlap", "0s"])
        assert "the old one no longer works" in ended.stderr
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(made.token)


def test_a_terminal_does_not_show_the_secret_that_is_typed(url: str) -> None:
    with Authority.from_url(url) as authority:
        made = authority.create(owner=Owner("eve"), name="ci", scope=["a"], never_expires=True)
    terminal = Terminal("token", "exchange", "--store", url, "--output", "json")
    terminal.wait_for("ID:SECRET: ")
    terminal.type(f"{made.pat.id}:{made.secret}\n")
    code, stdout = terminal.end()
    assert (code, json.loads(stdout)["token_type"]) == (0, "Bearer")
    assert "pats_" not in terminal.shown


def test_sweep_shows_a_bar_on_a_terminal_and_only_there(url: str) -> None:
    terminal = Terminal("store", "sweep", "--store", url)
    code, stdout = terminal.end()
    assert (code, len(stdout.splitlines())) == (0, 4)
    assert "Sweeping owners' indexes" in terminal.shown
    quiet = Terminal("store", "sweep", "--quiet", "--store", url)
    assert quiet.end()[0] == 0
    assert quiet.shown == ""


def test_purge_shows_a_bar_on_a_terminal_and_only_there(url: str) -> None:
    with Authority.from_url(url) as authority:
        made = authority.create(owner=Owner("purged"), name="ci", scope=["a"], never_expires=True)
        authority.exchange(made.pat.id, made.secret)
    terminal = Terminal("pat", "purge", "--store", url)
    terminal.wait_for("Remove all access tokens, for good? [y/N]")
    terminal.type("y\n")
    code, stdout = terminal.end()
    assert (code, stdout.splitlines()[1]) == (0, "ids      none")
    assert "Removing access tokens" in terminal.shown
    quiet = Terminal("pat", "purge", "--yes", "--quiet", "--store", url)
    assert quiet.end()[0] == 0
    assert quiet.shown == ""
