"""The command line within this process: options, output, exit codes, help."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import patauth
from patauth import Authority, PatAuthError
from patauth.cli import program
from patauth.cli.output import print_facts, print_table
from patauth.model.dates import format_ms
from patauth.store.local.engine import LocalEngine
from tests.support.cli import DATE, NOBODY, Run, create

PAT_FIELDS = [
    "id",
    "name",
    "scope",
    "owner",
    "created",
    "lastUsed",
    "expirationDate",
    "accessTokenValiditySeconds",
    "state",
]
# -- pat ---------------------------------------------------------------------------------------------------


def test_create_prints_the_pat_its_secret_and_its_token_as_one_json_object(
    run: Run, owner: str, url: str
) -> None:
    result = run(
        "pat", "create", "--owner-id", owner, "--owner-name", "Alice A.", "--owner-type", "IDENTITY",
        "--name", "ci", "--scope", "reports:read", "--scope", "reports:write",
        "--expires-in", "30d", "--access-token-ttl", "900", "--output", "json",
    )  # fmt: skip
    made = json.loads(result.stdout)
    assert list(made) == ["pat", "secret", "token"]
    pat = made["pat"]
    assert list(pat) == PAT_FIELDS
    assert pat["owner"] == {"type": "IDENTITY", "id": owner, "name": "Alice A."}
    assert pat["scope"] == ["reports:read", "reports:write"]
    assert (pat["name"], pat["state"], pat["lastUsed"]) == ("ci", "active", None)
    assert pat["accessTokenValiditySeconds"] == 900
    assert DATE.fullmatch(pat["created"])
    assert DATE.fullmatch(pat["expirationDate"])
    with Authority.from_url(url) as authority:
        assert authority.verify_basic(pat["id"], made["secret"]).subject.id == owner
        assert authority.verify_bearer(made["token"]).scopes == {"reports:read", "reports:write"}


def test_create_says_on_stderr_alone_that_the_secret_is_not_shown_again(run: Run, owner: str) -> None:
    result = run("pat", "create", "--owner-id", owner, "--name", "ci", "--scope", "a:b", "--never-expires")
    assert result.stdout.count("pats_") == 1
    assert result.stdout.count("pat_") == 1
    assert "not shown again" in result.stderr
    assert "not shown again" not in result.stdout
    assert "pats_" not in result.stderr


def test_expiry_can_be_a_duration_an_instant_or_never(run: Run, owner: str) -> None:
    at = create(run, owner, "--expires-at", "2099-01-31T14:00:00.5+02:00", name="at")
    never = create(run, owner, "--never-expires", name="never")
    assert at["pat"]["expirationDate"] == "2099-01-31T12:00:00.500Z"
    assert never["pat"]["expirationDate"] is None
    assert never["pat"]["accessTokenValiditySeconds"] is None


def test_list_and_show_print_what_create_printed_and_no_secret(run: Run, owner: str) -> None:
    made = [create(run, owner, name=name) for name in ("one", "two")]
    listed = run("pat", "list", "--owner-id", owner, "--output", "json")
    assert json.loads(listed.stdout) == {"pats": [each["pat"] for each in made], "total": 2}
    shown = run("pat", "show", made[0]["pat"]["id"], "--output", "json")
    assert json.loads(shown.stdout) == {"pat": made[0]["pat"]}
    tables = run("pat", "list", "--owner-id", owner).stdout + run("pat", "show", made[0]["pat"]["id"]).stdout
    assert all(each["pat"]["id"] in tables for each in made)
    assert "pats_" not in listed.stdout + shown.stdout + tables


def test_a_use_and_an_expiry_show(run: Run, owner: str, url: str) -> None:
    yesterday = time.time_ns() // 1_000_000 - 86_400_000
    with Authority(patauth.Settings.of(store_url=url), _clock=lambda: yesterday) as authority:
        made = authority.create(
            owner=patauth.Owner(owner), name="ci", scope=["a"], expires_in=timedelta(seconds=1)
        )
        authority.verify_basic(made.pat.id, made.secret)
    shown = json.loads(run("pat", "show", made.pat.id, "--output", "json").stdout)["pat"]
    assert (shown["state"], shown["lastUsed"]) == ("expired", format_ms(yesterday))
    listed = run("pat", "list", "--owner-id", owner).stdout
    assert all(text in listed for text in ("expired", shown["lastUsed"], shown["expirationDate"]))


def test_an_owner_without_pats_gets_an_empty_list_and_a_message(run: Run, owner: str) -> None:
    table = run("pat", "list", "--owner-id", owner)
    assert (table.exit_code, table.stdout) == (0, "")
    assert f"{owner} has no PATs" in table.stderr
    listed = run("pat", "list", "--owner-id", owner, "--output", "json")
    assert json.loads(listed.stdout) == {"pats": [], "total": 0}


def names(run: Run, *words: str) -> list[str]:
    """The names that `pat list` has, in order."""
    listed = run("pat", "list", *words, "--output", "json")
    assert listed.exit_code == 0, listed.stderr
    return [pat["name"] for pat in json.loads(listed.stdout)["pats"]]


def test_list_without_an_owner_has_all_of_the_tenant_and_says_whose_they_are(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_TENANT", "whole")
    empty = run("pat", "list")
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "There are no PATs.\n")
    made = [create(run, owner, name=f"of-{owner}")["pat"] for owner in ("alice", "bob")]
    listed = json.loads(run("pat", "list", "--output", "json").stdout)
    assert sorted(listed["pats"], key=lambda pat: pat["name"]) == made
    assert listed["total"] == 2
    heads, *lines = (line.split() for line in run("pat", "list").stdout.splitlines())
    assert heads[:4] == ["ID", "NAME", "OWNER", "STATE"]
    assert sorted(line[1:4] for line in lines) == [
        ["of-alice", "alice", "active"],
        ["of-bob", "bob", "active"],
    ]
    assert "OWNER" not in run("pat", "list", "--owner-id", "alice").stdout
    monkeypatch.setenv("PATAUTH_TENANT", "another")
    assert names(run) == []


@pytest.mark.parametrize("whole", [False, True])
def test_list_filters_sorts_and_pages_and_counts_what_is_on_other_pages(
    run: Run, url: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_TENANT", f"paged-{whole}")
    made = [create(run, "alice", name=name) for name in ("ci-b", "ci-a", "other")]
    with Authority.from_env() as authority:
        authority.verify_bearer(made[1]["token"])
    owner = () if whole else ("--owner-id", "alice")
    assert names(run, *owner, "--sort", "name") == ["ci-a", "ci-b", "other"]
    assert names(run, *owner, "--sort", "-created") == ["other", "ci-a", "ci-b"]
    assert names(run, *owner, "--sort", "-lastUsed,-name") == ["ci-a", "other", "ci-b"]
    assert names(run, *owner, "--filter", "lastUsed isnull", "--sort", "name") == ["ci-b", "other"]
    assert names(run, *owner, "--filter", f'id eq "{made[2]["pat"]["id"]}"') == ["other"]
    words = ("pat", "list", *owner, "--filter", 'name sw "ci-"', "--sort", "name", "--limit", "1")
    first = json.loads(run(*words, "--output", "json").stdout)
    assert ([pat["name"] for pat in first["pats"]], first["total"]) == (["ci-a"], 2)
    second = run(*words, "--offset", "1").stdout
    assert "ci-b" in second
    assert "ci-a" not in second
    assert names(run, *owner, "--limit", "9" * 30) != []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--owner-id", "nobody", "--filter", "lastUsed isnull"), "nobody has no PATs that match.\n"),
        (("--filter", 'name eq "nothing has this name"'), "There are no PATs that match.\n"),
        (("--limit", "0"), "There are no PATs on this page.\n"),
        (("--offset", "9" * 30), "There are no PATs on this page.\n"),
    ],
)
def test_an_empty_list_does_not_say_that_there_are_none_at_all(
    run: Run, words: tuple[str, ...], said: str
) -> None:
    result = run("pat", "list", *words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", said)


def test_revoke_says_what_it_changed_and_another_process_refuses_at_once(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner)
    with Authority.from_url(url) as authority:
        authority.verify_bearer(made["token"])
        revoked = run("pat", "revoke", made["pat"]["id"], "--yes", "--output", "json")
        with pytest.raises(patauth.InvalidCredentials):
            authority.verify_bearer(made["token"])
    assert revoked.stderr == ""
    assert json.loads(revoked.stdout) == {"changed": 1, "ids": [made["pat"]["id"]]}
    assert run("pat", "show", made["pat"]["id"]).exit_code == 3


def test_revoke_without_a_terminal_wants_yes_and_changes_nothing(run: Run, owner: str) -> None:
    made = create(run, owner)
    refused = run("pat", "revoke", made["pat"]["id"], input="y\n")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    assert run("pat", "show", made["pat"]["id"]).exit_code == 0


def test_store_ping_says_that_the_store_answers(run: Run) -> None:
    answer = json.loads(run("store", "ping", "--output", "json").stdout)
    assert answer["reachable"] is True
    assert 0 <= answer["milliseconds"] < 500


# -- global options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_global_options_are_taken_at_any_level(url: str, place: int) -> None:
    words = ["pat", "list", "--owner-id", "nobody"]
    words[place:place] = ["--store", url, "--output", "json", "--quiet"]
    result = CliRunner().invoke(program, words)
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (0, {"pats": [], "total": 0}, "")


def test_the_innermost_global_option_wins(run: Run) -> None:
    result = run("--output", "json", "--store", "nonsense:", "store", "--output", "table",
                 "--store", "memory:", "ping", "--output", "json")  # fmt: skip
    assert json.loads(result.stdout)["reachable"] is True


def test_store_wins_over_the_environment(run: Run) -> None:
    assert run("store", "ping", "--store", "unix:///nonexistent/socket").exit_code == 5


def test_settings_come_from_the_environment(run: Run, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_MAX_PATS_PER_OWNER", "1")
    create(run, owner)
    second = run("pat", "create", "--owner-id", owner, "--name", "2", "--scope", "a", "--never-expires")
    assert second.exit_code == 1
    assert "most that are allowed" in second.stderr


def test_a_misspelt_setting_is_warned_of_unless_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_TENNANT", "x")
    assert "PATAUTH_TENNANT" in run("store", "ping").stderr
    assert run("store", "ping", "--quiet").stderr == ""


def test_quiet_keeps_data_and_errors(run: Run, owner: str) -> None:
    made = run("--quiet", "pat", "create", "--owner-id", owner, "--name", "ci", "--scope", "a",
               "--never-expires")  # fmt: skip
    assert "pats_" in made.stdout
    assert made.stderr == ""
    assert run("--quiet", "pat", "show", NOBODY).stderr.startswith("Error: ")


def test_memory_is_warned_of_plainly() -> None:
    result = CliRunner().invoke(program, ["pat", "list", "--owner-id", "a", "--store", "memory:"])
    assert result.exit_code == 0
    assert "ends with this command" in result.stderr


def test_a_store_that_is_about_to_be_made_is_mentioned(tmp_path: Path, run: Run) -> None:
    directory = tmp_path / "new"
    first = run("store", "ping", "--store", f"local:{directory}")
    second = run("store", "ping", "--store", f"local:{directory}")
    LocalEngine(directory).stop()
    assert "does not exist yet" in first.stderr
    assert second.stderr == ""


# -- exit codes ----------------------------------------------------------------------------------------------

CREATE = ("pat", "create", "--owner-id", "alice", "--name", "ci", "--scope", "a")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pat", "list", "--owner-id", "me"), "--owner-id: 'me' is whoever calls"),
        (("pat", "list", "--owner-id", "a b"), "--owner-id: give"),
        (("pat", "list", "--owner-id", ""), "--owner-id: give"),
        (("pat", "list", "--filter", "lastUsed is"), "--filter: found 'is'"),
        (("pat", "list", "--filter", ""), "--filter: found the end"),
        (("pat", "list", "--sort", "nme"), "--sort: 'nme'"),
        (("pat", "list", "--sort", ""), "--sort: "),
        (("pat", "list", "--limit", "-1"), "--limit: give 0 or more"),
        (("pat", "list", "--limit", "x"), "--limit"),
        (("pat", "list", "--offset", "-1"), "--offset: give 0 or more"),
        (CREATE, "exactly one of"),
        ((*CREATE, "--never-expires", "--expires-in", "1d"), "exactly one of"),
        ((*CREATE, "--expires-in", "1y"), "s m h d w"),
        ((*CREATE, "--expires-in", "1.5h"), "s m h d w"),
        ((*CREATE, "--expires-in", "-1d"), "s m h d w"),
        ((*CREATE, "--expires-in", "0s"), "--expires-in: give an instant in the future"),
        ((*CREATE, "--expires-in", "999999999w"), "further away"),
        ((*CREATE, "--expires-in", "99999999d"), "9999"),
        ((*CREATE, "--expires-at", "2030-01-31"), "RFC 3339"),
        ((*CREATE, "--expires-at", "2030-01-31T12:00:00"), "RFC 3339"),
        ((*CREATE, "--expires-at", "0001-01-01T00:00:00+23:00"), "--expires-at"),
        ((*CREATE, "--expires-at", "2001-01-01T00:00:00Z"), "--expires-at: give an instant in the future"),
        ((*CREATE, "--never-expires", "--access-token-ttl", "14"), "--access-token-ttl: give 15 to 43200"),
        ((*CREATE, "--never-expires", "--access-token-ttl", "1d"), "15 to 43200"),
        ((*CREATE, "--never-expires", "--owner-type", "ROBOT"), "--owner-type: give"),
        ((*CREATE, "--never-expires", "--scope", "two words"), "scope 2"),
        ((*CREATE, "--never-expires", "--name", "\x1b[31m"), "control characters"),
        ((*CREATE, "--never-expires", "--store", "mysql://x"), "store_url"),
        ((*CREATE, "--never-expires", "--store", ""), "no store is named"),
        ((*CREATE, "--never-expires", "--output", "xml"), "--output"),
        (("pat", "revoke", "--yes"), "ID"),
        (("demo", "--port", "65536"), "--port"),
        (("nonsense",), "nonsense"),
    ],
)  # fmt: skip
def test_wrong_arguments_and_values_are_usage_errors(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_no_store_is_a_usage_error_that_says_how_to_name_one() -> None:
    result = CliRunner().invoke(program, ["store", "ping"])
    assert result.exit_code == 2
    assert "--store URL" in result.stderr
    assert "PATAUTH_STORE_URL" in result.stderr
    assert "local:./patauth-data" in result.stderr


def test_a_name_that_is_taken_is_a_failure(run: Run, owner: str) -> None:
    create(run, owner)
    again = run("pat", "create", "--owner-id", owner, "--name", "ci", "--scope", "a", "--never-expires")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: --name: this owner has a PAT of that name already; choose another\n"


@pytest.mark.parametrize("verb", [("show",), ("revoke", "--yes")])
def test_what_is_not_there_is_3_and_a_secret_given_by_mistake_is_not_repeated(
    run: Run, verb: tuple[str, ...]
) -> None:
    for wrong in (NOBODY, "pats_" + "s" * 49, "", "../x"):
        result = run("pat", *verb, wrong)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "sss" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
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
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code_and_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: PatAuthError, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Authority, "get", fail)
    result = run("pat", "show", NOBODY)
    assert (result.exit_code, result.stdout) == (code, "")
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    assert (error.detail or "") in result.stderr


def test_ctrl_c_is_130_without_a_word(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Authority, "get", interrupt)
    result = run("pat", "show", NOBODY)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\n")


@given(texts=st.lists(st.text(max_size=20), min_size=5, max_size=5))
@settings(max_examples=40)
def test_no_text_in_any_option_makes_a_traceback(run: Run, texts: list[str]) -> None:
    owner, name, scope, instant, pat_id = texts
    for words in (
        (f"--owner-id={owner}", f"--name={name}", f"--scope={scope}", "--expires-in=1s"),
        ("--owner-id=x", f"--owner-name={name}", "--name=n", "--scope=s", f"--expires-at={instant}"),
        ("--owner-id=x", "--name=n", "--scope=s", f"--expires-in={instant}", f"--owner-type={owner}"),
    ):
        assert run("pat", "create", *words).exit_code in (0, 1, 2)
    assert run("pat", "show", "--", pat_id).exit_code == 3
    assert run("pat", "list", f"--owner-id={owner}").exit_code in (0, 2)
    assert run("pat", "list", f"--filter={name}", f"--sort={scope}").exit_code in (0, 2)


# -- output --------------------------------------------------------------------------------------------------


def test_tables_escape_what_cannot_be_seen_or_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    print_table(("NAME",), [(hostile,)])
    print_facts([("name", hostile)])
    escaped = r"a\u202eb\u2066c\x1b[2Jd\x9be\nf\u200bg"
    assert capsys.readouterr().out == f"NAME\n{escaped}\nname  {escaped}\n"


def test_columns_stand_below_each_other_for_wide_and_combined_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("NAME", "X"), [("日本語", "1"), ("e\u0301", "2"), ("plain", "3")])
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


# -- help ----------------------------------------------------------------------------------------------------


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group."""
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(program)), ids=" ".join)
def test_help_explains_each_command_with_an_example_and_needs_no_store(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(program, [*path, "--help"])
    assert result.exit_code == 0
    assert re.search(r"(?m)^    patauth (?:.* )?" + re.escape(path[-1] if path else "demo"), result.stdout)
    assert all(option in result.stdout for option in ("--store URL", "--output", "--quiet"))
    assert result.stderr == ""


def test_there_are_the_commands_of_this_version_and_no_stubs() -> None:
    assert [" ".join(path) for path in commands(program)] == [
        "", "demo", "serve", "pat", "pat create", "pat update", "pat rotate", "pat list", "pat show",
        "pat revoke", "pat purge", "owner", "owner disable", "owner enable", "owner revoke", "token",
        "token exchange", "token introspect", "token revoke", "verify",
        "store", "store ping", "store stats", "store stop", "keys", "keys list", "keys rotate",
        "config", "config show", "config check", "doctor", "completion",
    ]  # fmt: skip


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(program, ["--version"]).stdout == f"patauth {patauth.__version__}\n"
