"""`patauth owner`: what is done to all PATs of an owner at once."""

from __future__ import annotations

import json

import pytest

from patauth import InvalidCredentials, InvalidToken
from tests.support.authorities import patient
from tests.support.cli import Run, create


def test_disable_refuses_all_at_once_and_enable_lets_them_pass_again(run: Run, owner: str, url: str) -> None:
    made = [create(run, owner, name=name) for name in ("one", "two")]
    ids = [each["pat"]["id"] for each in made]
    with patient(url) as authority:
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
    disabled = run("owner", "disable", owner, "--output", "json")
    assert json.loads(disabled.stdout) == {"changed": 0, "ids": []}
    assert disabled.stderr == (
        f"{owner} has no PATs. They are disabled all the same: no PAT can be created for them until"
        f" patauth owner enable {owner}\n"
    )
    refused = run("pat", "create", "--owner-id", owner, "--name", "x", "--scope", "a", "--never-expires")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "disabled" in refused.stderr
    enabled = run("owner", "enable", owner)
    assert enabled.stderr == f"{owner} has no PATs. They are not disabled: PATs can be created for them.\n"
    create(run, owner)


def test_revoke_removes_all_of_one_owner_and_nobody_elses(run: Run, owner: str) -> None:
    ids = [create(run, owner, name=name)["pat"]["id"] for name in ("one", "two")]
    other = create(run, owner + "2")["pat"]["id"]
    revoked = run("owner", "revoke", owner, "--yes", "--output", "json")
    assert json.loads(revoked.stdout) == {"changed": 2, "ids": ids}
    assert run("pat", "rotate", ids[0]).exit_code == 3
    assert run("pat", "show", other).exit_code == 0
    again = run("owner", "revoke", owner, "--yes")
    assert (again.exit_code, again.stdout) == (0, "changed  0\nids      none\n")
    assert "has no PATs" in again.stderr


def test_what_is_no_owner_id_is_a_usage_error(run: Run) -> None:
    for words in (("disable",), ("enable",), ("revoke", "--yes")):
        for wrong in ("me", "a b", "a/b", ""):
            assert run("owner", *words, wrong).exit_code == 2, (*words, wrong)


@pytest.mark.usefixtures("terminal")
def test_revoke_asks_on_a_terminal_how_many_pats_are_meant(run: Run, owner: str) -> None:
    for count, pats in ((1, "the PAT"), (2, "all 2 PATs")):
        create(run, owner, name=f"{count}")
        asked = run("owner", "revoke", owner, input="n\n")
        assert f"Revoke {pats} of {owner}, for good? [y/N]" in asked.stderr
        assert (asked.exit_code, asked.stdout) == (1, "")
    assert "nothing was changed" in asked.stderr
    agreed = run("owner", "revoke", owner, "--output", "json", input="y\n")
    assert json.loads(agreed.stdout)["changed"] == 2
