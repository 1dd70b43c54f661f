"""The tree of commands: help, exit codes, and that no text makes a traceback."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import patauth
from patauth import Authority
from patauth.cli import program
from patauth.model.credentials import Format, Prefixes, mint_secret
from tests.support.cli import NOBODY, Run
from tests.support.tables import each


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group."""
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


def test_there_are_the_commands_of_this_version_and_no_stubs() -> None:
    assert [" ".join(path) for path in commands(program)] == [
        "", "demo", "serve", "pat", "pat create", "pat update", "pat rotate", "pat list", "pat show",
        "pat disable", "pat enable", "pat revoke", "pat purge", "owner", "owner disable", "owner enable",
        "owner revoke", "token", "token exchange", "token introspect", "token revoke", "verify", "notify",
        "store", "store ping", "store stats", "store sweep", "store copy", "store stop",
        "events", "events deliver",
        "keys", "keys list", "keys rotate", "config", "config show", "config check", "doctor", "completion",
    ]  # fmt: skip


def test_help_explains_each_command_with_an_example_and_needs_no_store() -> None:
    for path in commands(program):
        result = CliRunner().invoke(program, [*path, "--help"])
        assert (result.exit_code, result.stderr) == (0, ""), path
        example = r"(?m)^    patauth (?:.* )?" + re.escape(path[-1] if path else "demo")
        assert re.search(example, result.stdout), path
        for option in ("--store URL", "--output", "--quiet"):
            assert option in result.stdout, path


def test_every_help_has_its_parts_in_one_order() -> None:
    """Usage, what it does, examples, the options of the command, the global ones, commands of a group."""
    for path in list(commands(program))[1:]:
        text = CliRunner().invoke(program, [*path, "--help"]).stdout
        parts = re.findall(r"^ *(Usage|Examples?|Options|Commands):", text, re.M)
        shown, _, options = text.partition("  Example")[2].partition("\nOptions:\n")
        examples = re.findall(r"^    .*\bpatauth ", shown, re.M)
        said = "Example" if len(examples) == 1 else "Examples"
        assert parts in (["Usage", said, "Options"], ["Usage", said, "Options", "Commands"]), path
        listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", options, re.M)
        assert listed[-4:] == ["--store", "--output", "--quiet", "--help"], path


def test_the_list_of_commands_has_a_whole_sentence_for_each() -> None:
    for path in commands(program):
        listed = CliRunner().invoke(program, [*path, "--help"]).stdout.partition("\nCommands:\n")[2]
        assert [line for line in listed.splitlines() if line.endswith("...")] == [], path


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(program, ["--version"]).stdout == f"patauth {patauth.__version__}\n"


def test_each_error_has_its_exit_code_and_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in (
        (patauth.PatAuthError(), 1),
        (patauth.Conflict(), 1),
        (patauth.RateLimited(3), 1),
        (patauth.Overloaded(), 1),
        (patauth.InvalidRequest(), 2),
        (patauth.InvalidScope(), 2),
        (patauth.ConfigurationError(), 2),
        (patauth.NotFound(), 3),
        (patauth.InvalidCredentials(), 4),
        (patauth.InvalidToken(), 4),
        (patauth.Forbidden(), 4),
        (patauth.InsufficientScope(["a"]), 4),
        (patauth.StoreUnavailable(detail="why"), 5),
    ):

        def fail(*_: object, removed: bool, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Authority, "get", fail)
        result = run("pat", "show", NOBODY)
        assert (result.exit_code, result.stdout) == (code, ""), error
        assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), error
        assert (error.detail or "") in result.stderr, error


# Where people type a credential by mistake, and what is wrong there: a command, an option, a value, a word.
MISPLACED = (
    "{}", "Bearer {}", "pat {}", "token {}", "-{}", "--{}", "--token={}", "--output {} pat", "--output={}",
    "pat show --{}", "pat show -{}", "pat show --secret {}", "pat show --owner-id X ci {}", "pat show {} {}",
    "pat show {}", "pat show --owner-id X {}", "pat revoke --yes {}", "pat list --columns {}",
    "pat list --sort {}", "pat list --filter {}", "pat list --output {}", "pat list --quiet={}",
    "pat create --owner-id X --name ci --scope a --expires-in {}",
    "pat create --owner-id X --name ci --scope a --expires-at {}",
    "pat create --owner-id X --name ci --scope a --never-expires --request-quota {}",
    "pat create --owner-id X --name ci --scope a --never-expires --network {}", "owner revoke {} {}",
    "verify {}", "verify --client-id {}", "token exchange {}", "token revoke {}", "serve {}",
    "serve --workers {}", "serve --bind {}", "completion {}", "pat list --store {}",
)  # fmt: skip


def misplaced(prefixes: Prefixes) -> list[str]:
    """One credential of each kind."""
    form, random = Format([prefixes]), mint_secret()
    pair = f"{NOBODY}:{form.secret_text(random)}"
    return [
        form.token_text(NOBODY, random),
        form.secret_text(random),
        form.mint_access_token(NOBODY)[0],
        b64encode(pair.encode()).decode(),
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    ]


@each("place", MISPLACED)
@each("prefixes", [Prefixes(), Prefixes("acme", "acmes", "acmea")])
def test_a_credential_in_a_wrong_place_is_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: str, prefixes: Prefixes
) -> None:
    monkeypatch.setenv("PATAUTH_CREDENTIAL_PREFIXES", ",".join(prefixes))
    monkeypatch.setenv("COLUMNS", "80")
    for credential in misplaced(prefixes):
        words = [word.format(credential) for word in place.split()]
        words = [" ".join(words)] if place.startswith("Bearer") else words
        result = run(*words)
        assert result.exit_code in ((2, 3) if place.startswith("pat") else (2,)), result.output
        assert credential[10:30] not in result.output, place


@each("place", [*MISPLACED, "--store{}", "-o {} pat list", "pat {} list"])
@each("store", ["redis://u:5ec7@7@h:1/0", "rediss://5ec7@7:@h", "redis+sentinel://:5ec7@7@h/s"])
def test_the_password_of_a_store_in_a_wrong_place_is_not_repeated(run: Run, place: str, store: str) -> None:
    if place != "pat list --store {}":
        result = run(*(word.format(store) for word in place.split()))
        assert result.exit_code in (2, 3), result.output
        assert "5ec7" not in result.output, place


def test_a_setting_with_the_password_of_a_store_is_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_SURFACES", "redis://u:5ec7@h:1")
    result = run("config", "check")
    assert result.exit_code == 2
    assert "redis://***@h:1" in result.stderr


def test_a_credential_of_the_default_prefixes_is_hidden_when_others_are_set(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prefixes in ("acme,acmes,acmea", "acme,pats,acmea", "pat,pats,pata acme,acmes,acmea"):
        monkeypatch.setenv("PATAUTH_CREDENTIAL_PREFIXES", prefixes)
        result = run("pat", f"pats_{'Z' * 30}")
        assert "No such command '[hidden]'" in result.stderr, prefixes


@each("option", ["--owner-id", "--owner-name", "--name", "--scope", "--description"])
def test_no_pat_is_made_with_a_credential_in_a_text(run: Run, option: str) -> None:
    given = {"--owner-id": "misplaced", "--name": "ci", "--scope": "a"}
    for credential in misplaced(Prefixes())[:3]:
        words = [word for pair in {**given, option: credential}.items() for word in pair]
        result = run("pat", "create", "--never-expires", *words)
        assert (result.exit_code, result.stdout) == (2, ""), option
        assert f"Error: {option}: this has a token or a secret in it" in result.stderr
        assert credential[10:30] not in result.stderr


def test_notes_hide_what_errors_hide(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Format([Prefixes()]).secret_text(mint_secret())
    (tmp_path / "file").touch()
    result = run("--store", f"local:{tmp_path}/file/{secret}", "pat", "list")
    assert "Note: " in result.stderr
    assert secret[5:30] not in result.output


def test_a_folder_with_too_long_a_name_is_one_message(run: Run, tmp_path: Path) -> None:
    store = f"local:{tmp_path}/{'a' * 300}"
    for words in (("pat", "list"), ("config", "check"), ("doctor",), ("serve",)):
        result = run("--store", store, *words)
        assert result.exit_code in (1, 2, 5), words
        assert "cannot hold the token store: File name too long" in result.output, words


def test_where_the_log_is_json_a_usage_error_is_too(run: Run) -> None:
    result = run("serve", "--log-format", "json", "--bind", "bad")
    line = json.loads(result.stderr)
    assert (result.exit_code, line["level"]) == (2, "ERROR")
    assert "'--bind'" in line["message"]


def test_a_word_that_is_no_credential_is_repeated(run: Run) -> None:
    assert "No such command 'shwo'" in run("pat", "shwo").stderr
    assert "(pat_ci)" in run("verify", "pat_ci").stderr


def test_ctrl_c_is_130_without_a_word(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, removed: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Authority, "get", interrupt)
    result = run("pat", "show", NOBODY)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\n")


@given(texts=st.lists(st.text(max_size=20), min_size=5, max_size=5))
@settings(max_examples=30)
def test_no_text_in_any_option_makes_a_traceback(run: Run, texts: list[str]) -> None:
    with Authority.from_env() as authority:
        there = authority.list(owner_id="fuzzed") or [
            authority.create(owner=patauth.Owner("fuzzed"), name="x", scope=["a"], never_expires=True).pat
        ]
    owner, name, scope, instant, pat_id = texts
    for words, codes in (
        (("create", f"--owner-id={owner}", f"--name={name}", f"--scope={scope}", "--expires-in=1s"),
         (0, 1, 2)),
        (("create", "--owner-id=x", f"--owner-name={name}", "--name=n", "--scope=s",
          f"--expires-at={instant}"), (0, 1, 2)),
        (("create", "--owner-id=x", "--name=n", "--scope=s", f"--expires-in={instant}",
          f"--owner-type={owner}"), (0, 1, 2)),
        (("update", there[0].id, f"--name={name}", f"--scope={scope}"), (0, 2)),
        (("update", there[0].id, f"--expires-in={instant}"), (0, 2)),
        (("update", there[0].id, f"--expires-at={instant}"), (0, 2)),
        (("rotate", there[0].id, f"--overlap={instant}"), (0, 2)),
        (("list", f"--owner-id={owner}"), (0, 2)),
        (("list", f"--filter={name}", f"--sort={scope}"), (0, 2)),
        (("show", "--", pat_id), (3,)),
    ):  # fmt: skip
        assert run("pat", *words).exit_code in codes, words
