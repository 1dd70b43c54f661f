"""`patauth pat`: what each command prints and changes."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

import patauth
from patauth import Authority, InvalidCredentials, InvalidToken, Owner
from patauth.model.dates import format_ms
from tests.support.authorities import patient
from tests.support.cli import DATE, NOBODY, Run, create

DAY = timedelta(days=1)
PAT_FIELDS = [
    "id",
    "name",
    "scope",
    "owner",
    "created",
    "lastUsed",
    "expirationDate",
    "accessTokenValiditySeconds",
    "description",
    "networks",
    "notBefore",
    "requestQuota",
    "state",
    "lastUsedFrom",
    "madeBy",
]


def update(run: Run, pat_id: str, *words: str) -> dict:
    result = run("pat", "update", pat_id, *words, "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert list(printed) == ["pat"]
    assert printed == json.loads(run("pat", "show", pat_id, "--output", "json").stdout)
    return printed["pat"]


def rotate(run: Run, pat_id: str, *words: str) -> tuple[dict, str]:
    result = run("pat", "rotate", pat_id, *words, "--output", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- create ------------------------------------------------------------------------------------------------


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
    with patient(url) as authority:
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


def test_a_name_that_is_taken_is_a_failure(run: Run, owner: str) -> None:
    create(run, owner)
    again = run("pat", "create", "--owner-id", owner, "--name", "ci", "--scope", "a", "--never-expires")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: --name: this owner has a PAT of that name already; choose another\n"


# -- list and show -----------------------------------------------------------------------------------------


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


def test_list_filters_sorts_and_pages_and_counts_what_is_on_other_pages(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_TENANT", "paged")
    made = [create(run, "alice", name=name) for name in ("ci-b", "ci-a", "other")]
    with Authority.from_env() as authority:
        authority.verify_bearer(made[1]["token"])
    for whose in ((), ("--owner-id", "alice")):
        for words, found in (
            (("--sort", "name"), ["ci-a", "ci-b", "other"]),
            (("--sort", "-created"), ["other", "ci-a", "ci-b"]),
            (("--sort", "-lastUsed,-name"), ["ci-a", "other", "ci-b"]),
            (("--filter", "lastUsed isnull", "--sort", "name"), ["ci-b", "other"]),
            (("--filter", f'id eq "{made[2]["pat"]["id"]}"'), ["other"]),
        ):
            assert names(run, *whose, *words) == found, (*whose, *words)
        words = ("pat", "list", *whose, "--filter", 'name sw "ci-"', "--sort", "name", "--limit", "1")
        first = json.loads(run(*words, "--output", "json").stdout)
        assert ([pat["name"] for pat in first["pats"]], first["total"]) == (["ci-a"], 2)
        second = run(*words, "--offset", "1").stdout
        assert "ci-b" in second
        assert "ci-a" not in second
        assert len(names(run, *whose, "--limit", "9" * 30)) == 3


def test_an_empty_list_does_not_say_that_there_are_none_at_all(run: Run) -> None:
    for words, said in (
        (("--owner-id", "nobody", "--filter", "lastUsed isnull"), "nobody has no PATs that match.\n"),
        (("--filter", 'name eq "nothing has this name"'), "There are no PATs that match.\n"),
        (("--limit", "0"), "There are no PATs on this page.\n"),
        (("--offset", "9" * 30), "There are no PATs on this page.\n"),
    ):
        result = run("pat", "list", *words)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", said), words


def test_what_is_not_there_is_3_and_a_secret_given_by_mistake_is_not_repeated(run: Run) -> None:
    for words in (
        ("show",), ("revoke", "--yes"), ("update", "--name", "x"), ("update", "--expires-in", "1d"),
        ("rotate",),
    ):  # fmt: skip
        for wrong in (NOBODY, "pats_" + "s" * 49, "", "../x"):
            result = run("pat", *words, wrong)
            assert (result.exit_code, result.stdout) == (3, ""), (*words, wrong)
            assert "sss" not in result.stderr


# -- update ------------------------------------------------------------------------------------------------


def test_update_changes_what_is_given_and_prints_the_pat_as_it_is_then(run: Run, owner: str) -> None:
    before = create(run, owner)["pat"]
    after = update(run, before["id"], "--name", "nightly", "--scope", "c", "--scope", "d",
                   "--expires-at", "2099-01-31T14:00:00.5+02:00")  # fmt: skip
    changed = {"name": "nightly", "scope": ["c", "d"], "expirationDate": "2099-01-31T12:00:00.500Z"}
    assert after == {**before, **changed}
    assert update(run, before["id"], "--name", "weekly") == {**after, "name": "weekly"}
    table = run("pat", "update", before["id"], "--name", "daily")
    assert table.stdout == run("pat", "show", before["id"]).stdout
    assert table.stderr == ""


def test_a_pat_can_be_made_to_last_forever_and_to_end_after_all(run: Run, owner: str, url: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    assert update(run, pat_id, "--never-expires")["expirationDate"] is None
    with patient(url) as authority:
        assert authority.get(pat_id).never_acknowledged
    ends = instant(update(run, pat_id, "--expires-in", "30d")["expirationDate"])
    assert timedelta(0) <= datetime.now(UTC) + 30 * DAY - ends < timedelta(minutes=1)


def test_what_only_patauth_has_is_given_changed_and_taken_away(run: Run, owner: str) -> None:
    words = ("--description", "for CI", "--network", "2001:db8::/32", "--network", "203.0.113.9")
    made = create(run, owner, *words, "--not-before", "2099-01-01T00:00:00Z", "--never-expires")["pat"]
    assert (made["description"], made["state"]) == ("for CI", "not_yet")
    assert made["networks"] == ["203.0.113.9/32", "2001:db8::/32"]
    assert (made["notBefore"], made["madeBy"]) == ("2099-01-01T00:00:00.000Z", None)
    shown = run("pat", "show", made["id"]).stdout
    assert all(text in shown for text in ("for CI", "203.0.113.9/32 2001:db8::/32", "2099-01-01"))
    changed = update(run, made["id"], "--network", "10.0.0.0/8", "--request-quota", "7/3")
    assert (changed["networks"], changed["requestQuota"]) == (["10.0.0.0/8"], "7/3")
    assert changed["description"] == "for CI"
    empty = (
        "--description",
        "",
        "--network",
        "",
        "--request-quota",
        "",
        "--not-before",
        "2020-01-01T00:00:00Z",
    )
    bare = update(run, made["id"], *empty)
    assert (bare["description"], bare["networks"], bare["requestQuota"]) == (None, [], None)
    assert (bare["notBefore"], bare["state"]) == (None, "active")
    assert "networks" not in run("pat", "show", made["id"]).stdout
    for given, said in (
        (("--network", "10.0.0.1/8"), "it has bits behind its prefix"),
        (("--description", "\n"), "--description: control characters"),
        (("--request-quota", "100"), "--request-quota: a quota is written"),
        (("--not-before", "soon"), "--not-before"),
    ):
        refused = run("pat", "update", made["id"], *given)
        assert (refused.exit_code, refused.stdout) == (2, ""), given
        assert said in refused.stderr, given


@pytest.mark.parametrize("field", ["id", "secret", "token"])
def test_one_field_of_a_new_pat_is_printed_alone(run: Run, owner: str, url: str, field: str) -> None:
    words = ("--owner-id", owner, "--name", "x", "--scope", "a", "--never-expires", "--field", field)
    result = run("pat", "create", *words)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    with patient(url) as authority:
        (pat,) = authority.list(owner_id=owner)
        if field == "id":
            assert line == pat.id
            assert result.stderr == (
                "Note: the secret was not shown and is not stored;"
                f" 'patauth pat rotate {pat.id}' gives another one.\n"
            )
            return
        assert result.stderr == f"Store the {field} now, in a safe place: it is not shown again.\n"
        verify = authority.verify_bearer if field == "token" else partial(authority.verify_basic, pat.id)
        assert verify(line).pat_id == pat.id
        again = run("pat", "rotate", pat.id, "--field", field).stdout.strip()
        assert verify(again).pat_id == pat.id
        assert again != line


def test_a_rotation_does_not_print_the_id_alone_since_both_secrets_would_be_lost(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner)
    refused = run("pat", "rotate", made["pat"]["id"], "--field", "id")
    assert (refused.exit_code, refused.stdout, "--field" in refused.stderr) == (2, "", True)
    with patient(url) as authority:
        assert authority.verify_bearer(made["token"]).pat_id == made["pat"]["id"]


def test_the_help_says_what_an_option_means_for_a_new_pat_and_for_one_that_is_there(run: Run) -> None:
    """Of an update, nothing is the default but what the PAT has, and its networks are replaced."""
    of_new, of_old = (" ".join(run("pat", name, "--help").stdout.split()) for name in ("create", "update"))
    assert "repeat for several. [default: everywhere]" in of_new
    assert set(re.findall("default: ([^]]+)", of_old)) == {"PATAUTH_STORE_URL", "table"}
    assert "--network CIDR All networks where it may be used from now on" in of_old


def test_the_secret_stays_through_an_update_and_new_scopes_hold_at_once(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner)
    with patient(url) as authority:
        assert authority.verify_bearer(made["token"]).scopes == {"a:b"}
        update(run, made["pat"]["id"], "--scope", "c")
        assert authority.verify_bearer(made["token"]).scopes == {"c"}


def test_an_update_is_all_or_nothing(run: Run, owner: str) -> None:
    create(run, owner, name="taken")
    before = create(run, owner)["pat"]
    words = ("pat", "update", before["id"], "--scope", "c", "--never-expires", "--name", "taken")
    refused = run(*words)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: --name: this owner has a PAT of that name already; choose another\n"
    assert json.loads(run("pat", "show", before["id"], "--output", "json").stdout)["pat"] == before


def test_a_refused_value_is_named_by_its_option(
    run: Run, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = create(run, owner)["pat"]
    monkeypatch.setenv("PATAUTH_MAX_LIFETIME", "60d")
    for words, said in (
        (("--name", ""), "--name: give 1 to 128 characters"),
        (("--name", "\udcff"), "--name: control characters"),
        (("--scope", "ok", "--scope", "two\nlines"), "scope 2 has a blank"),
        (("--expires-in", "0"), "--expires-in: give an instant in the future"),
        (("--expires-in", "99999999d"), "--expires-in: the year 9999"),
        (("--expires-at", "2001-01-01T00:00:00Z"), "--expires-at: give an instant in the future"),
        (("--expires-in", "61d"), "--expires-in: PATs must expire within"),
        (("--expires-at", "2099-01-01T00:00:00Z"), "--expires-at: PATs must expire within"),
        (("--never-expires", "--name", "x"), "--never-expires: PATs must expire within"),
    ):
        result = run("pat", "update", before["id"], *words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert said in result.stderr, words
    assert json.loads(run("pat", "show", before["id"], "--output", "json").stdout)["pat"] == before


def test_an_expired_pat_is_not_brought_back(run: Run, owner: str, url: str) -> None:
    long_ago = time.time_ns() // 1_000_000 - 86_400_000
    with Authority(patauth.Settings.of(store_url=url), _clock=lambda: long_ago) as authority:
        made = authority.create(owner=Owner(owner), name="ci", scope=["a"], expires_in=timedelta(seconds=1))
    for words in (("update", "--name", "x"), ("update", "--expires-in", "1d"), ("rotate",)):
        result = run("pat", *words, made.pat.id)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert "expired" in result.stderr, words


# -- rotate ------------------------------------------------------------------------------------------------


def test_rotate_prints_as_create_and_the_old_secret_passes_for_an_hour(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner, "--expires-in", "30d")
    new, said = rotate(run, made["pat"]["id"])
    assert list(new) == ["pat", "secret", "token"]
    assert new["pat"] == made["pat"]
    assert new["secret"] != made["secret"]
    with patient(url) as authority:
        for token in (made["token"], new["token"]):
            assert authority.verify_bearer(token).pat_id == made["pat"]["id"]
    assert "not shown again" in said
    assert "The old secret works until" in said
    end = DATE.search(said)
    assert end
    assert abs(instant(end[0]) - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert not any(secret in said for secret in (new["secret"], new["token"]))


def test_the_end_that_is_told_is_the_one_that_holds(run: Run, owner: str, url: str) -> None:
    made = create(run, owner, "--expires-in", "1d")
    end = DATE.search(rotate(run, made["pat"]["id"], "--overlap", "2h")[1])
    assert end
    end_ms = int(instant(end[0]).timestamp() * 1000)
    with patient(url) as authority:
        config = authority.settings
    for ms, passes in ((end_ms - 1, True), (end_ms, False)):
        with Authority(config, _clock=lambda at=ms: at) as authority:
            if passes:
                authority.verify_bearer(made["token"])
            else:
                with pytest.raises(InvalidCredentials):
                    authority.verify_bearer(made["token"])


def test_the_old_secret_never_passes_beyond_the_expiry_and_that_is_told(run: Run, owner: str) -> None:
    made = create(run, owner, "--expires-in", "1d")
    _, said = rotate(run, made["pat"]["id"], "--overlap", "7d")
    assert f"The old secret works until {made['pat']['expirationDate']}." in said


def test_without_an_overlap_the_old_secret_and_its_access_tokens_end_at_once(
    run: Run, owner: str, url: str
) -> None:
    for zero in ("0s", "0"):
        made = create(run, owner, name=f"overlap {zero}")
        with patient(url) as authority:
            access = authority.exchange(made["pat"]["id"], made["secret"])
            new, said = rotate(run, made["pat"]["id"], "--overlap", zero)
            assert "The old secret no longer works." in said
            with pytest.raises(InvalidCredentials):
                authority.verify_bearer(made["token"])
            with pytest.raises(InvalidToken):
                authority.verify_bearer(access.value)
            authority.verify_bearer(new["token"])


def test_the_new_secret_is_on_stdout_alone_and_quiet_is_quiet(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    table = run("pat", "rotate", pat_id)
    assert (table.stdout.count("pats_"), table.stdout.count("pat_")) == (1, 1)
    assert "pats_" not in table.stderr
    assert "works until" not in table.stdout
    quiet = run("--quiet", "pat", "rotate", pat_id)
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "pats_" in quiet.stdout


def test_a_pat_of_a_disabled_owner_is_not_rotated(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    run("owner", "disable", owner)
    refused = run("pat", "rotate", pat_id)
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "disabled" in refused.stderr


# -- revoke and purge --------------------------------------------------------------------------------------


def test_revoke_says_what_it_changed_and_another_process_refuses_at_once(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner)
    with patient(url) as authority:
        authority.verify_bearer(made["token"])
        revoked = run("pat", "revoke", made["pat"]["id"], "--yes", "--output", "json")
        with pytest.raises(patauth.InvalidCredentials):
            authority.verify_bearer(made["token"])
    assert revoked.stderr == ""
    assert json.loads(revoked.stdout) == {"changed": 1, "ids": [made["pat"]["id"]]}
    assert run("pat", "rotate", made["pat"]["id"]).exit_code == 3


def test_what_was_revoked_is_shown_and_listed_on_demand(run: Run, owner: str) -> None:
    ids = [create(run, owner, name=name)["pat"]["id"] for name in ("one", "two")]
    assert run("pat", "revoke", ids[0], "--reason", "in a public repository", "--yes").exit_code == 0
    assert run("owner", "revoke", owner, "--reason", "left us", "--yes").exit_code == 0
    asks = ("--filter", 'state eq "revoked"', "--sort", "revokedAt")
    listed = json.loads(run("pat", "list", "--owner-id", owner, *asks, "--output", "json").stdout)
    assert listed["total"] == 2
    assert [(pat["id"], pat["state"], pat["revokedReason"]) for pat in listed["pats"]] == [
        (ids[0], "revoked", "in a public repository"),
        (ids[1], "revoked", "left us"),
    ]
    table = run("pat", "list", "--owner-id", owner, *asks)
    heads, *rows = (re.split(r"  +", line) for line in table.stdout.splitlines())
    assert heads == ["ID", "NAME", "CREATED", "REVOKED", "BY", "REASON"]
    assert [(row[0], row[4], row[5]) for row in rows] == [
        (ids[0], "the application", "in a public repository"),
        (ids[1], "the application", "left us"),
    ]
    assert [row[3] for row in rows] == [pat["revokedAt"] for pat in listed["pats"]]
    shown = json.loads(run("pat", "show", ids[0], "--output", "json").stdout)["pat"]
    assert shown == listed["pats"][0]
    assert shown["revokedBy"] is None
    table = run("pat", "show", ids[1]).stdout
    for line in (
        r"state +revoked",
        r"revoked +2\d{3}-\S+Z",
        r"revoked by +the application",
        r"reason +left us",
    ):
        assert re.search(f"^{line}$", table, re.MULTILINE), line
    assert json.loads(run("pat", "list", "--owner-id", owner, "--output", "json").stdout)["total"] == 0
    long = run("pat", "revoke", ids[0], "--reason", "x" * 257, "--yes")
    assert (long.exit_code, "--reason" in long.stderr) == (2, True)


@pytest.mark.usefixtures("terminal")
def test_revoke_and_purge_ask_on_a_terminal_and_obey_the_answer(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    for words, question in (
        (("revoke", pat_id), f"Revoke the PAT 'ci' of {owner}, for good? [y/N]"),
        (("purge",), "Remove all access tokens, for good? [y/N]"),
        (("purge", pat_id, NOBODY), "Remove all access tokens and 2 PATs, for good? [y/N]"),
        (("purge", pat_id), "Remove all access tokens and the PAT, for good? [y/N]"),
    ):
        asked = run("pat", *words, input="n\n")
        assert (asked.exit_code, asked.stdout) == (1, ""), words
        assert question in asked.stderr, words
        assert "nothing was changed" in asked.stderr, words
    assert run("pat", "show", pat_id).exit_code == 0
    assert run("pat", "revoke", pat_id, input="y\n").exit_code == 0
    assert run("pat", "revoke", pat_id, input="").exit_code == 3, "nobody is asked about one that is gone"


def test_purge_removes_every_access_token_and_the_pats_that_are_named(run: Run, owner: str, url: str) -> None:
    kept, gone = create(run, owner, name="kept"), create(run, owner, name="gone")
    run("pat", "purge", "--yes")  # what other tests have left
    with patient(url) as authority:
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
