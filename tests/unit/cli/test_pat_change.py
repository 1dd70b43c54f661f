"""`patauth pat update` and `pat rotate`."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patauth import Authority, InvalidCredentials, InvalidToken, Owner, PersonalAccessToken
from tests.support.cli import DATE, NOBODY, Run, create
from tests.support.processes import PATAUTH, environment, into_a_full_disk

DAY = timedelta(days=1)


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
    with Authority.from_url(url) as authority:
        assert authority.get(pat_id).never_acknowledged
    ends = instant(update(run, pat_id, "--expires-in", "30d")["expirationDate"])
    assert timedelta(0) <= datetime.now(UTC) + 30 * DAY - ends < timedelta(minutes=1)


def test_expires_in_counts_by_the_clock_of_the_store(
    run: Run, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    get: Callable[..., PersonalAccessToken] = Authority.get

    def read_tomorrow(authority: Authority, pat_id: str) -> PersonalAccessToken:
        found = get(authority, pat_id)
        return replace(found, read_ms=found.read_ms + 86_400_000)

    monkeypatch.setattr(Authority, "get", read_tomorrow)
    changed = json.loads(run("pat", "update", pat_id, "--expires-in", "2d", "--output", "json").stdout)
    ends = instant(changed["pat"]["expirationDate"])
    assert timedelta(0) <= datetime.now(UTC) + 3 * DAY - ends < timedelta(minutes=1)


def test_the_secret_stays_through_an_update_and_new_scopes_hold_at_once(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner)
    with Authority.from_url(url) as authority:
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


UPDATE = ("pat", "update", NOBODY)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (UPDATE, "nothing to change: give --name, --scope, or one of"),
        ((*UPDATE, "--never-expires", "--expires-in", "1d"), "give only one of"),
        ((*UPDATE, "--expires-in", "1d", "--expires-at", "2099-01-01T00:00:00Z"), "give only one of"),
        ((*UPDATE, "--expires-in", "30"), "s m h d w"),
        ((*UPDATE, "--expires-in", "999999999w"), "further away"),
        ((*UPDATE, "--expires-at", "2030-01-31"), "RFC 3339"),
        (("pat", "update", "--name", "x"), "ID"),
        (("pat", "rotate"), "ID"),
        (("pat", "rotate", NOBODY, "--overlap", "8d"), "--overlap: give 0 seconds to 7 days"),
        (("pat", "rotate", NOBODY, "--overlap", "604801s"), "--overlap: give 0 seconds to 7 days"),
        (("pat", "rotate", NOBODY, "--overlap", "60"), "s m h d w"),
        (("pat", "rotate", NOBODY, "--overlap", "-1h"), "s m h d w"),
        (("pat", "rotate", NOBODY, "--overlap", "\u00b2"), "s m h d w"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_usage_errors(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", ""), "--name: give 1 to 128 characters"),
        (("--name", "\udcff"), "--name: control characters"),
        (("--scope", "ok", "--scope", "two words"), "scope 2 has a blank"),
        (("--expires-in", "0"), "--expires-in: give an instant in the future"),
        (("--expires-in", "99999999d"), "--expires-in: the year 9999"),
        (("--expires-at", "2001-01-01T00:00:00Z"), "--expires-at: give an instant in the future"),
        (("--expires-in", "61d"), "--expires-in: PATs must expire within"),
        (("--expires-at", "2099-01-01T00:00:00Z"), "--expires-at: PATs must expire within"),
        (("--never-expires", "--name", "x"), "--never-expires: PATs must expire within"),
    ],
)
def test_a_refused_value_is_named_by_its_option(
    run: Run, owner: str, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = create(run, owner)["pat"]
    monkeypatch.setenv("PATAUTH_MAX_LIFETIME", "60d")
    result = run("pat", "update", before["id"], *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert json.loads(run("pat", "show", before["id"], "--output", "json").stdout)["pat"] == before


@pytest.mark.parametrize(
    "words", [("update", "--name", "x"), ("update", "--expires-in", "1d"), ("rotate",)], ids=" ".join
)
def test_what_is_not_there_is_3_and_a_secret_given_by_mistake_is_not_repeated(
    run: Run, words: tuple[str, ...]
) -> None:
    for wrong in (NOBODY, "pats_" + "s" * 49, "", "../x"):
        result = run("pat", *words, wrong)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "sss" not in result.stderr


@pytest.mark.parametrize("words", [("update", "--name", "x"), ("update", "--expires-in", "1d"), ("rotate",)])
def test_an_expired_pat_is_not_brought_back(run: Run, owner: str, url: str, words: tuple[str, ...]) -> None:
    long_ago = int(datetime.now(UTC).timestamp() * 1000) - 86_400_000
    with Authority.from_url(url) as authority:
        config = authority.settings
    with Authority(config, _clock=lambda: long_ago) as authority:
        made = authority.create(owner=Owner(owner), name="ci", scope=["a"], expires_in=timedelta(seconds=1))
    result = run("pat", *words, made.pat.id)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "expired" in result.stderr


@given(texts=st.lists(st.text(max_size=20), min_size=4, max_size=4))
@settings(max_examples=30)
def test_no_text_in_any_option_makes_a_traceback(run: Run, texts: list[str]) -> None:
    with Authority.from_env() as authority:
        there = authority.list(owner_id="fuzzed") or [
            authority.create(owner=Owner("fuzzed"), name="x", scope=["a"], never_expires=True).pat
        ]
    name, scope, duration, at = texts
    for words in (
        (f"--name={name}", f"--scope={scope}"),
        (f"--expires-in={duration}",),
        (f"--expires-at={at}",),
    ):
        assert run("pat", "update", there[0].id, *words).exit_code in (0, 2)
    assert run("pat", "rotate", there[0].id, f"--overlap={duration}").exit_code in (0, 2)


# -- rotate ------------------------------------------------------------------------------------------------


def test_rotate_prints_as_create_and_the_old_secret_passes_for_an_hour(
    run: Run, owner: str, url: str
) -> None:
    made = create(run, owner, "--expires-in", "30d")
    new, said = rotate(run, made["pat"]["id"])
    assert list(new) == ["pat", "secret", "token"]
    assert new["pat"] == made["pat"]
    assert new["secret"] != made["secret"]
    with Authority.from_url(url) as authority:
        for token in (made["token"], new["token"]):
            assert authority.verify_bearer(token).pat_id == made["pat"]["id"]
    assert "not shown again" in said
    assert "The old secret passes until" in said
    end = DATE.search(said)
    assert end
    assert abs(instant(end[0]) - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert not any(secret in said for secret in (new["secret"], new["token"]))


def test_the_end_that_is_told_is_the_one_that_holds(run: Run, owner: str, url: str) -> None:
    made = create(run, owner, "--expires-in", "1d")
    end = DATE.search(rotate(run, made["pat"]["id"], "--overlap", "2h")[1])
    assert end
    end_ms = int(instant(end[0]).timestamp() * 1000)
    with Authority.from_url(url) as authority:
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
    assert f"The old secret passes until {made['pat']['expirationDate']}." in said


@pytest.mark.parametrize("zero", ["0s", "0"])
def test_without_an_overlap_the_old_secret_and_its_access_tokens_end_at_once(
    run: Run, owner: str, url: str, zero: str
) -> None:
    made = create(run, owner)
    with Authority.from_url(url) as authority:
        access = authority.exchange(made["pat"]["id"], made["secret"])
        new, said = rotate(run, made["pat"]["id"], "--overlap", zero)
        assert "The old secret passes no more." in said
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
    assert "passes until" not in table.stdout
    quiet = run("--quiet", "pat", "rotate", pat_id)
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "pats_" in quiet.stdout


def test_a_pat_of_a_disabled_owner_is_not_rotated(run: Run, owner: str) -> None:
    pat_id = create(run, owner)["pat"]["id"]
    run("owner", "disable", owner)
    refused = run("pat", "rotate", pat_id)
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "disabled" in refused.stderr


def test_a_new_secret_that_cannot_be_shown_is_not_lost_in_silence(run: Run, owner: str, url: str) -> None:
    """A full disk: it says until when the old one passes, and what to do. Nothing to write to: no change."""
    made = create(run, owner)
    pat_id = made["pat"]["id"]
    words = [*PATAUTH, "pat", "rotate", pat_id, "--store", url]
    closed = subprocess.run(
        f"{shlex.join(words)} >&-", shell=True, env=environment(), stderr=subprocess.PIPE, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert closed.returncode == 1
    assert "nothing was changed" in closed.stderr
    with Authority.from_url(url) as authority:
        assert authority.get(pat_id).sequence == 1
        full = into_a_full_disk(words)
        assert full.returncode == 1
        assert f"the PAT {pat_id} was rotated, but its secret could not be written" in full.stderr
        assert f"the old one passes until {made['pat']['expirationDate']}" in full.stderr
        assert f"rotate again by 'patauth pat rotate {pat_id} --overlap 0s'" in full.stderr
        assert "Traceback" not in full.stderr
        assert authority.get(pat_id).sequence == 2
        authority.verify_bearer(made["token"])
        ended = into_a_full_disk([*words, "--overlap", "0s"])
        assert "the old one passes no more" in ended.stderr
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(made["token"])
