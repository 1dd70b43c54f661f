"""`patauth owner` and `patauth pat purge`: what is done to many credentials at once."""

from __future__ import annotations

import json

import pytest

from patauth import Authority, InvalidCredentials, InvalidToken, Owner
from tests.support.cli import NOBODY, Run, create
from tests.support.processes import Terminal


def test_disable_refuses_all_at_once_and_enable_lets_them_pass_again(run: Run, owner: str, url: str) -> None:
    made = [create(run, owner, name=name) for name in ("one", "two")]
    ids = [each["pat"]["id"] for each in made]
    with Authority.from_url(url) as authority:
        access = authority.exchange(ids[0], made[0]["secret"])
        disabled = run("owner", "disable", owner, "--output", "json")
        assert json.loads(disabled.stdout) == {"changed": 2, "ids": ids}
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(made[1]["token"])
        with pytest.raises(InvalidToken):
            authority.verify_bearer(access.value)
        assert run("pat", "show", ids[0]).stdout.count("disabled") == 1
        enabled = run("owner", "enable", owner, "--output", "json")
        assert json.loads(enabled.stdout) == {"changed": 2, "ids": ids}
        assert authority.verify_bearer(made[1]["token"]).pat_id == ids[1]
        assert authority.verify_bearer(access.value).pat_id == ids[0]


def test_a_disabled_owner_without_pats_gets_none(run: Run, owner: str) -> None:
    assert json.loads(run("owner", "disable", owner, "--output", "json").stdout) == {"changed": 0, "ids": []}
    refused = run("pat", "create", "--owner-id", owner, "--name", "x", "--scope", "a", "--never-expires")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "disabled" in refused.stderr
    run("owner", "enable", owner)
    create(run, owner)


def test_revoke_removes_all_of_one_owner_and_nobody_elses(run: Run, owner: str) -> None:
    ids = [create(run, owner, name=name)["pat"]["id"] for name in ("one", "two")]
    other = create(run, owner + "2")["pat"]["id"]
    revoked = run("owner", "revoke", owner, "--yes", "--output", "json")
    assert json.loads(revoked.stdout) == {"changed": 2, "ids": ids}
    assert run("pat", "show", ids[0]).exit_code == 3
    assert run("pat", "show", other).exit_code == 0
    again = run("owner", "revoke", owner, "--yes")
    assert (again.exit_code, again.stdout) == (0, "changed  0\nids      none\n")
    assert "has no PATs" in again.stderr


@pytest.mark.parametrize("words", [("owner", "revoke", "alice"), ("pat", "purge"), ("pat", "purge", NOBODY)])
def test_what_cannot_be_undone_wants_yes_without_a_terminal(run: Run, words: tuple[str, ...]) -> None:
    refused = run(*words, input="y\n")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr


@pytest.mark.parametrize("verb", ["disable", "enable", "revoke"])
def test_what_is_no_owner_id_is_a_usage_error(run: Run, verb: str) -> None:
    words = ("--yes",) if verb == "revoke" else ()
    for wrong in ("me", "a b", "a/b", ""):
        assert run("owner", verb, wrong, *words).exit_code == 2


def test_revoke_asks_on_a_terminal_how_many_pats_are_meant(url: str, owner: str) -> None:
    with Authority.from_url(url) as authority:
        for name in ("one", "two"):
            authority.create(owner=Owner(owner), name=name, scope=["a"], never_expires=True)
        terminal = Terminal("owner", "revoke", owner, "--store", url)
        terminal.wait_for(f"Revoke all 2 PATs of {owner}, for good? [y/N]")
        terminal.type("n\n")
        assert terminal.end() == (1, "")
        assert len(authority.list(owner_id=owner)) == 2


# -- purge, after an old copy of the store was restored ---------------------------------------------------


def test_purge_removes_every_access_token_and_the_pats_that_are_named(run: Run, owner: str, url: str) -> None:
    kept, gone = create(run, owner, name="kept"), create(run, owner, name="gone")
    run("pat", "purge", "--yes")  # what other tests have left
    with Authority.from_url(url) as authority:
        tokens = [authority.exchange(one["pat"]["id"], one["secret"]).value for one in (kept, gone, kept)]
        purged = run("pat", "purge", gone["pat"]["id"], NOBODY, "--yes", "--output", "json")
        assert json.loads(purged.stdout) == {"changed": 4, "ids": [gone["pat"]["id"]]}
        assert NOBODY in purged.stderr
        for token in tokens:
            with pytest.raises(InvalidToken):
                authority.verify_bearer(token)
        assert authority.verify_bearer(kept["token"]).pat_id == kept["pat"]["id"]
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(gone["token"])
    again = run("pat", "purge", gone["pat"]["id"], "--yes", "--output", "json")
    assert json.loads(again.stdout) == {"changed": 0, "ids": []}


def test_purge_with_an_argument_that_is_no_id_changes_nothing_and_does_not_repeat_it(
    run: Run, owner: str
) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    refused = run("pat", "purge", pat_id, "pats_" + "s" * 49, "--yes")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "argument 2" in refused.stderr
    assert "sss" not in refused.stderr
    assert run("pat", "show", pat_id).exit_code == 0


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
