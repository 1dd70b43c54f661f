"""What is wrong with options and values, and the questions that commands ask."""

from __future__ import annotations

from tests.support.cli import NOBODY, Run, create

CREATE = ("pat", "create", "--owner-id", "alice", "--name", "ci", "--scope", "a")
UPDATE = ("pat", "update", NOBODY)
ROTATE = ("pat", "rotate", NOBODY, "--overlap")

# What is given, and what the message says.
WRONG = (
    (("pat", "list", "--owner-id", "me"), "--owner-id: 'me' is "),
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
    ((*CREATE, "--expires-in", "999999999w"), "too far away"),
    ((*CREATE, "--expires-in", "99999999d"), "9999"),
    ((*CREATE, "--expires-at", "2030-01-31"), "RFC 3339 has it: 2030-01-31T00:00:00Z"),
    ((*CREATE, "--expires-at", "2030-02-31"), "RFC 3339"),
    ((*CREATE, "--expires-at", "2030-01-31T12:00:00"), "RFC 3339"),
    ((*CREATE, "--expires-at", "0001-01-01T00:00:00+23:00"), "--expires-at"),
    ((*CREATE, "--expires-at", "2001-01-01T00:00:00Z"), "--expires-at: give an instant in the future"),
    ((*CREATE, "--never-expires", "--access-token-ttl", "14"), "--access-token-ttl: give 15 to 43200"),
    ((*CREATE, "--never-expires", "--access-token-ttl", "1d"), "15 to 43200"),
    ((*CREATE, "--never-expires", "--owner-type", "ROBOT"), "'ROBOT' is not one of 'ACCESS_PROFILE'"),
    ((*CREATE, "--never-expires", "--scope", "two words"), "repeat the option for each scope"),
    ((*CREATE, "--never-expires", "--name", "\x1b[31m"), "control characters"),
    ((*CREATE, "--never-expires", "--store", "mysql://x"), "--store: give memory:"),
    (("--store", "mysql://x", "pat", "list"), "--store: give memory:"),
    (("store", "copy", "mysql://x", "local:x"), "FROM: give memory:"),
    ((*CREATE, "--never-expires", "--output", "xml"), "--output"),
    ((*CREATE, "--never-expires", "--network", "foo"), "--network 1: give a network such as"),
    ((*UPDATE, "--network", "::/0", "--network", "10.0.0.1/8"), "--network 2: it has bits behind"),
    (("notify", "--within", "5000d"), "--within: give 1 second to 3660 days"),
    (UPDATE, "nothing to change: give --name, --scope, --description, --network,"),
    ((*UPDATE, "--never-expires", "--expires-in", "1d"), "give only one of"),
    ((*UPDATE, "--expires-in", "1d", "--expires-at", "2099-01-01T00:00:00Z"), "give only one of"),
    ((*UPDATE, "--expires-in", "30"), "s m h d w"),
    ((*UPDATE, "--expires-in", "999999999w"), "too far away"),
    ((*UPDATE, "--expires-at", "2030-01-31"), "RFC 3339"),
    (("pat", "update", "--name", "x"), "ID"),
    (("pat", "rotate"), "ID"),
    ((*ROTATE, "8d"), "--overlap: give 0 seconds to 7 days"),
    ((*ROTATE, "604801s"), "--overlap: give 0 seconds to 7 days"),
    ((*ROTATE, "60"), "s m h d w"),
    ((*ROTATE, "-1h"), "s m h d w"),
    ((*ROTATE, "\u00b2"), "s m h d w"),
    (("pat", "revoke", "--yes"), "ID"),
    (("pat", "revoke", "--owner-id", "alice", "--yes"), "the name of a PAT, which is missing"),
    (("pat", "list", "--columns", "id,nme"), "no column 'nme'; choose from id, name, owner, state"),
    (("pat", "list", "--columns", ""), "the name of a column is missing; choose from id"),
    (("pat", "list", "--columns", "id", "--output", "json"), "--columns is for tables"),
    (("doctor", "--store", "mysql://x"), "--store: give memory:"),
    (("demo", "--port", "65536"), "--port"),
    (("completion", "tcsh"), "tcsh"),
    (("nonsense",), "No such command 'nonsense'.\n"),
    (("pta", "list"), "Did you mean 'pat'?"),
    (("pat", "lst"), "Did you mean 'list'?"),
    (("pat", "delete"), "Did you mean 'revoke'?"),
    (("pat", "get"), "Did you mean 'show'?"),
    (("list",), "Did you mean 'pat list' or 'keys list'?"),
    (("rm",), "Did you mean 'pat revoke', 'owner revoke' or 'token revoke'?"),
    (("status",), "Did you mean 'store stats'?"),
    (("help",), "Did you mean '--help'?"),
    (("pat", "list", "--ownerid", "alice"), "'--owner-id'"),
    (("pat", "list", "--owner", "alice"), "No such option '--owner'. Did you mean '--owner-id'?\n"),
)


def test_wrong_arguments_and_values_are_usage_errors(run: Run) -> None:
    for words, said in WRONG:
        result = run(*words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert said in result.stderr, words


def test_what_cannot_be_undone_wants_yes_without_a_terminal_and_changes_nothing(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    for words in (
        ("pat", "revoke", pat_id), ("pat", "purge"), ("pat", "purge", pat_id), ("owner", "revoke", owner),
        ("keys", "rotate", "--retire"),
    ):  # fmt: skip
        refused = run(*words, input="y\n")
        assert (refused.exit_code, refused.stdout) == (2, ""), words
        assert "add --yes" in refused.stderr, words
    assert run("pat", "show", pat_id).exit_code == 0


def test_credentials_are_not_taken_as_arguments(run: Run) -> None:
    for words in (("verify",), ("token", "exchange"), ("token", "exchange", "--scope", "a:b")):
        assert run(*words, "Bearer x").exit_code == 2, words
