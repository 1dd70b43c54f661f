"""A PAT by its name and its owner: what is found, and what is said if there is none, or several."""

from __future__ import annotations

import json

from tests.support.cli import NOBODY, Run, create


def test_every_command_for_one_pat_takes_its_name_with_its_owner(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    create(run, owner + "2")
    named = ("ci", "--owner-id", owner)
    for words, state in (
        (("show",), "active"),
        (("disable",), "disabled"),
        (("enable",), "active"),
        (("update", "--description", "x"), "active"),
        (("rotate",), "active"),
    ):
        found = json.loads(run("pat", *words, *named, "--output", "json").stdout)["pat"]
        assert (found["id"], found["state"]) == (pat_id, state), words
    revoked = run("pat", "revoke", *named, "--yes", "--output", "json")
    assert json.loads(revoked.stdout) == {"changed": 1, "ids": [pat_id]}
    assert run("pat", "show", "ci", "--owner-id", owner + "2").exit_code == 0, (
        "another owner's is not touched"
    )


def test_a_name_is_found_in_any_form_of_unicode_and_an_id_of_the_owner_too(run: Run, owner: str) -> None:
    made = create(run, owner, name="Jürgens Café")["pat"]
    for given in ("Ju\u0308rgens Cafe\u0301", made["id"]):
        assert json.loads(run("pat", "show", given, "--owner-id", owner, "--output", "json").stdout) == {
            "pat": made
        }
    elsewhere = run("pat", "show", made["id"], "--owner-id", owner + "2")
    assert (elsewhere.exit_code, elsewhere.stderr) == (
        3,
        f"Error: {owner}2 has no PAT with the id {made['id']}\n",
    )


def test_a_name_that_is_not_there_is_3_and_the_names_that_are_there_are_said(run: Run, owner: str) -> None:
    for name in ("nightly", "deploy\U000e0001"):
        create(run, owner, name=name)
    for given, said in (
        ("nigthly", f"{owner} has no PAT 'nigthly'; did you mean 'nightly'?"),
        ("zzz", f"{owner} has no PAT 'zzz'; its PATs are 'nightly', 'deploy\\U000e0001'"),
        (NOBODY, f"{owner} has no PAT with the id {NOBODY}"),
    ):
        for words in (("show",), ("revoke", "--yes"), ("rotate",), ("update", "--name", "x")):
            result = run("pat", *words, given, "--owner-id", owner)
            assert (result.exit_code, result.stdout) == (3, ""), (words, given)
            assert result.stderr.startswith(f"Error: {said}"), (words, given)
    without = run("pat", "show", "nightly")
    assert (without.exit_code, without.stdout) == (3, "")
    assert "add --owner-id" in without.stderr


def test_a_secret_given_as_a_name_or_an_owner_is_not_repeated(run: Run, owner: str) -> None:
    made = create(run, owner)
    for given in (made["secret"], made["token"]):
        for words in (
            ("pat", "show", given, "--owner-id", owner), ("pat", "show", "ci", "--owner-id", given),
            ("pat", "list", "--owner-id", given), ("owner", "disable", given), ("owner", "enable", given),
            ("owner", "revoke", given, "--yes"),
        ):  # fmt: skip
            result = run(*words)
            assert (result.exit_code, result.stdout) == (2, ""), words
            assert given[10:40] not in result.stderr, words


def test_an_id_never_finds_a_pat_that_has_it_as_its_name(run: Run, owner: str) -> None:
    """A repeated revoke must not end another PAT, nor may an owner show theirs in place of one of others."""
    first, others = (create(run, whose)["pat"]["id"] for whose in (owner, owner + "2"))
    decoys = [create(run, owner, name=name)["pat"]["id"] for name in (first, others)]
    revoked = run("pat", "revoke", first, "--owner-id", owner, "--yes", "--output", "json")
    assert json.loads(revoked.stdout)["ids"] == [first]
    for given in (first, others):
        for words in (("revoke", "--yes"), ("rotate",), ("disable",), ("update", "--description", "x")):
            missed = run("pat", *words, given, "--owner-id", owner)
            assert (missed.exit_code, missed.stdout) == (3, ""), (words, given)
    assert run("pat", "show", others, "--owner-id", owner).exit_code == 3
    shown = run("pat", "show", first, "--owner-id", owner, "--output", "json")
    assert json.loads(shown.stdout)["pat"]["state"] == "revoked"
    listed = json.loads(run("pat", "list", "--owner-id", owner, "--output", "json").stdout)["pats"]
    assert [(pat["id"], pat["state"]) for pat in listed] == [(decoy, "active") for decoy in decoys]


def test_a_revoked_pat_is_shown_by_its_name_unless_several_had_it(run: Run, owner: str) -> None:
    first = create(run, owner)["pat"]["id"]
    named = ("ci", "--owner-id", owner)
    run("pat", "revoke", *named, "--yes")
    assert json.loads(run("pat", "show", *named, "--output", "json").stdout)["pat"]["state"] == "revoked"
    assert run("pat", "revoke", *named, "--yes").exit_code == 3
    assert run("pat", "enable", *named).exit_code == 3
    second = create(run, owner)["pat"]["id"]
    assert json.loads(run("pat", "show", *named, "--output", "json").stdout)["pat"]["id"] == second
    run("pat", "revoke", *named, "--yes")
    several = run("pat", "show", *named)
    assert (several.exit_code, several.stdout) == (2, "")
    assert f"{owner} has 2 revoked PATs of that name: give the id of one: " in several.stderr
    assert first in several.stderr
    assert second in several.stderr
