"""`patauth pat revoke --from-file`: those of ours end, each is named, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, Owner, StoreUnavailable
from patauth.model.credentials import Format, mint_secret
from patauth.model.pat_id import PatId
from patauth.operations import leaks
from patauth.operations.leaks import LeakReport
from tests.support.authorities import basic_of, bearer, patient, wrong_secret
from tests.support.cli import NOBODY, Run


@pytest.fixture
def authority(url: str) -> Iterator[Authority]:
    with patient(url, max_pats_per_owner=1000) as found:
        yield found


@pytest.fixture
def make(authority: Authority, owner: str) -> list[IssuedPat]:
    """Five PATs of this test's owner."""
    return [
        authority.create(owner=Owner(owner), name=f"p{number}", scope=["a"], expires_in=timedelta(hours=1))
        for number in range(5)
    ]


def revoke(run: Run, text: str | bytes, *words: str, code: int = 0) -> tuple[dict, list[str]]:
    """What the command printed as JSON, and the lines that it wrote."""
    given = text if isinstance(text, bytes) else text.encode()
    words = ("pat", "revoke", "--from-file", "-", "--yes", "--output", "json", *words)
    result = run(*words, input=given)
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout), result.stderr.splitlines()


def lives(authority: Authority, issued: IssuedPat) -> bool:
    try:
        authority.authenticate(basic_of(issued))
    except InvalidCredentials:
        return False
    return True


def test_a_token_a_secret_an_id_and_an_access_token_each_end_what_they_are(
    run: Run, authority: Authority, make: list[IssuedPat]
) -> None:
    by_token, by_secret, by_id, by_access, _untouched = make
    access = authority.exchange(by_access.pat.id, by_access.secret).value
    other_access = authority.exchange(by_access.pat.id, by_access.secret).value
    text = f"{by_token.token}\nx {by_secret.secret} y\n\n{by_id.pat.id}\n{access}\n"
    printed, lines = revoke(run, text)
    ended = [one.pat.id for one in (by_token, by_id, by_secret)]
    assert printed == {"changed": 4, "ids": ended}
    assert [line for line in lines if line.startswith("line")] == [
        f"line 1: PAT token {by_token.pat.id}: ended",
        f"line 4: PAT id {by_id.pat.id}: ended",
        f"line 5: access token {by_access.pat.id}: ended",
        f"line 2: PAT secret {by_secret.pat.id}: ended",
    ]
    assert [lives(authority, one) for one in make] == [False, False, False, True, True]
    with pytest.raises(InvalidCredentials):
        authority.authenticate(bearer(access))
    assert authority.authenticate(bearer(other_access)).pat_id == by_access.pat.id
    again, lines = revoke(run, text)
    assert again == {"changed": 0, "ids": []}
    assert [line for line in lines if line.startswith("line")] == [
        f"line 1: PAT token {by_token.pat.id}: ended before",
        f"line 4: PAT id {by_id.pat.id}: ended before",
        f"line 5: access token {by_access.pat.id}: not ours",  # nothing is kept of an access token
        "line 2: PAT secret -: not ours",  # nor of a secret
    ]


def test_ten_thousand_lines_with_fifty_of_ours(run: Run, authority: Authority, owner: str) -> None:
    rng = random.Random(7)
    ours = [
        authority.create(owner=Owner(owner), name=f"n{n}", scope=["a"], expires_in=timedelta(hours=1))
        for n in range(60)
    ]
    form, lines = Format(), []
    for number in range(9_950):
        foreign = PatId(rng.randbytes(16).hex())
        lines.append(
            rng.choice(
                [
                    f"GET /x?{number} 200",
                    form.token_text(foreign, mint_secret()),
                    form.mint_access_token(foreign)[0],
                    f"commit {hashlib.sha1(rng.randbytes(9)).hexdigest()}",
                    f"etag {rng.randbytes(16).hex()}",
                    f"{form.token_text(foreign, mint_secret())[:-1]}!",
                ]
            )
        )
    # A right id with another secret is not ours.
    lines += [form.token_text(one.pat.id, mint_secret()) for one in ours[50:]]
    accesses = [authority.exchange(one.pat.id, one.secret).value for one in ours[40:50]]
    named = [one.token for one in ours[:30]] + [f"{one.pat.id}:{one.secret}" for one in ours[30:40]]
    lines += named + accesses
    rng.shuffle(lines)
    before = authority.list(owner_id=owner)
    result = run("pat", "revoke", "--from-file", "-", "--yes", input="\n".join(lines))
    assert result.exit_code == 0, result.stderr
    left = {pat.id for pat in authority.list(owner_id=owner)}
    assert left == {one.pat.id for one in ours[40:]}
    assert len(before) - len(left) == 40
    said = re.findall(r"^line \d+: (?:PAT token|PAT id|access token) (\w+): ended$", result.stdout, re.M)
    assert set(said) == {one.pat.id for one in ours[:50]}
    *_, changed, ids = result.stdout.splitlines()
    assert changed.split() == ["changed", "50"]
    assert set(ids.split()[1:]) == {one.pat.id for one in ours[:40]}
    for access in accesses:
        with pytest.raises(InvalidCredentials):
            authority.authenticate(bearer(access))
    assert all(lives(authority, one) for one in ours[40:])
    for text in [*named, *accesses, *(one.secret for one in ours)]:
        assert text[-40:] not in result.output


def test_no_secret_is_printed(run: Run, authority: Authority, make: list[IssuedPat]) -> None:
    unknown = wrong_secret(authority)
    hidden = [make[0].token, make[1].secret, unknown, Format().token_text(NOBODY, mint_secret())]
    for output in ("json", "table"):
        result = run(
            "pat", "revoke", "--from-file", "-", "--yes", "--output", output, input="\n".join(hidden)
        )
        assert result.exit_code == 0
        assert "not ours" in result.output
        assert not [text for text in hidden if text[-49:] in result.output or text[-49:-6] in result.output]


def test_a_secret_without_its_id_is_compared_with_all_pats(
    run: Run, authority: Authority, make: list[IssuedPat]
) -> None:
    rotated = authority.rotate(make[1].pat.id, overlap=timedelta(hours=1))
    gone = authority.rotate(make[2].pat.id, overlap=timedelta(0))
    text = f"{make[0].secret}\n{make[1].secret}\n{make[2].secret}\n{wrong_secret(authority)}"
    printed, lines = revoke(run, text)
    assert sorted(printed["ids"]) == sorted([make[0].pat.id, make[1].pat.id])
    said = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines if line.startswith("line")}
    assert said == {
        "line 1": f"PAT secret {make[0].pat.id}: ended",
        "line 2": f"PAT secret {make[1].pat.id}: ended",  # in its overlap
        "line 3": f"PAT secret {make[2].pat.id}: rotated away",
        "line 4": "PAT secret -: not ours",
    }
    assert [lives(authority, one) for one in (rotated, gone, *make[3:])] == [False, True, True, True]


def test_a_secret_whose_pat_is_named_elsewhere_needs_no_such_look(
    run: Run, authority: Authority, make: list[IssuedPat], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LeakReport, "in_tenant", lambda self: pytest.fail("all PATs are looked at"))
    first, second = make[:2]
    printed, _ = revoke(
        run, f"{first.secret} {first.pat.id} {second.pat.id}:{second.secret}", "--without-ids"
    )
    assert printed == {"changed": 2, "ids": [first.pat.id, second.pat.id]}


def test_what_was_found_is_said_with_json_and_quiet_too(
    run: Run, authority: Authority, make: list[IssuedPat]
) -> None:
    """It is what the command was asked for, and no note."""
    _, lines = revoke(run, make[0].token, "--quiet")
    assert lines == [f"line 1: PAT token {make[0].pat.id}: ended"]


def test_an_id_alone_can_be_left_alone(run: Run, authority: Authority, make: list[IssuedPat]) -> None:
    printed, lines = revoke(run, f"{make[0].pat.id}\n{make[1].token}\n{NOBODY}", "--without-ids")
    assert printed == {"changed": 1, "ids": [make[1].pat.id]}
    assert lines[0] == f"line 1: PAT id {make[0].pat.id}: left alone: only its id is there"
    assert lives(authority, make[0])


def test_one_that_is_there_many_times_ends_once(
    run: Run, authority: Authority, make: list[IssuedPat]
) -> None:
    issued = make[0]
    access = authority.exchange(issued.pat.id, issued.secret).value
    printed, lines = revoke(run, f"{access}\n{issued.pat.id}:{issued.secret}\n{issued.token}\n" * 50)
    assert printed == {"changed": 1, "ids": [issued.pat.id]}
    assert [line for line in lines if line.startswith("line")] == [
        f"line 2: PAT id {issued.pat.id}: ended",
        f"line 3: PAT token {issued.pat.id}: ended",
        f"line 2: PAT secret {issued.pat.id}: ended",
        f"line 1: access token {issued.pat.id}: ended with its PAT",
    ]


def test_disabled_and_foreign_ones(run: Run, url: str, authority: Authority, make: list[IssuedPat]) -> None:
    """A disabled PAT ends, since it may be enabled again. One of another tenant is not ours."""
    authority.disable(make[0].pat.id)
    with patient(url, tenant="other") as elsewhere:
        theirs = elsewhere.create(
            owner=make[0].pat.owner, name="ci", scope=["a"], expires_in=timedelta(hours=1)
        )
        access = elsewhere.exchange(theirs.pat.id, theirs.secret).value
        text = f"{make[0].token} {theirs.token} {theirs.pat.id} {theirs.secret} {access}"
        assert revoke(run, text)[0] == {"changed": 1, "ids": [make[0].pat.id]}
        assert elsewhere.authenticate(bearer(access)).pat_id == theirs.pat.id


def test_the_events_are_those_of_removals(
    run: Run, authority: Authority, make: list[IssuedPat], events: object
) -> None:
    access = authority.exchange(make[1].pat.id, make[1].secret).value
    assert callable(events)
    events()
    revoke(run, f"{make[0].token} {access} {Format().token_text(make[2].pat.id, mint_secret())}")
    assert [(event["type"], event["patId"]) for event in events()] == [
        ("pat.revoked", make[0].pat.id),
        ("token.revoked", make[1].pat.id),
    ]


def test_the_reason_is_kept(run: Run, authority: Authority, make: list[IssuedPat]) -> None:
    by_token, by_id, by_secret, other = make[:4]
    revoke(run, f"{by_token.token} {by_id.pat.id} {by_secret.secret}")
    revoke(run, other.token, "--reason", "found by a scanner")
    kept = [authority.get(one.pat.id, removed=True) for one in (by_token, by_id, by_secret, other)]
    assert [one.revoked_reason for one in kept] == [*["leak report"] * 3, "found by a scanner"]
    result = run("pat", "revoke", "--from-file", "-", "--yes", "--reason", "a\nb", input=make[4].token)
    assert (result.exit_code, lives(authority, make[4])) == (2, True)


def test_it_asks_on_a_terminal_and_wants_yes_without_one(
    run: Run, authority: Authority, make: list[IssuedPat], terminal: None, tmp_path: Path
) -> None:
    path = tmp_path / "report"
    path.write_text(f"{make[0].token}\n{make[1].pat.id}\n{wrong_secret(authority)}")
    refused = run("pat", "revoke", "--from-file", str(path), input="n\n")
    assert refused.exit_code == 1
    assert "End 2 PATs, and the PATs of 1 secret, if there are any, for good?" in refused.stderr
    assert lives(authority, make[0])
    done = run("pat", "revoke", "--from-file", str(path), "--output", "json", input="y\n")
    assert json.loads(done.stdout)["changed"] == 2


def test_without_a_terminal_and_yes_nothing_is_read(run: Run) -> None:
    result = run("pat", "revoke", "--from-file", "-", input="x")
    assert (result.exit_code, "add --yes" in result.stderr) == (2, True)


def test_an_id_or_a_file(run: Run, tmp_path: Path) -> None:
    for words in (
        (), (NOBODY, "--from-file", "-"), (NOBODY, "--without-ids"), ("--from-file", str(tmp_path / "none")),
        ("--from-file", str(tmp_path)),
    ):  # fmt: skip
        assert run("pat", "revoke", "--yes", *words, input="").exit_code == 2, words
    assert revoke(run, "")[0] == revoke(run, b"\xff\xfe\x00")[0] == {"changed": 0, "ids": []}


def test_a_failure_stops_nothing_and_is_said_in_the_end(
    run: Run, authority: Authority, make: list[IssuedPat], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = LeakReport.end

    def failing(self: LeakReport, finding: object) -> bool:
        if finding.pat_id == make[1].pat.id:  # type: ignore[attr-defined]
            raise StoreUnavailable(detail="for this test")
        return end(self, finding)  # type: ignore[arg-type]

    monkeypatch.setattr(LeakReport, "end", failing)
    text = "\n".join(one.token for one in make[:3])
    printed, lines = revoke(run, text, code=5)
    assert printed == {"changed": 2, "ids": [make[0].pat.id, make[2].pat.id]}
    (failed,) = [line for line in lines if "FAILED" in line]
    assert failed.startswith(f"line 2: PAT token {make[1].pat.id}")
    assert [lives(authority, one) for one in make] == [False, True, False, True, True]
    monkeypatch.undo()


def test_a_store_that_is_gone_is_not_asked_for_each(
    run: Run, make: list[IssuedPat], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def failing(self: LeakReport, finding: object) -> bool:
        asked.append(finding)
        raise StoreUnavailable(detail="for this test")

    monkeypatch.setattr(LeakReport, "end", failing)
    printed, _ = revoke(run, "\n".join(one.token for one in make), code=5)
    assert (printed, len(asked)) == ({"changed": 0, "ids": []}, 3)


def test_more_secrets_than_are_compared_keep_nothing_else_alive(
    run: Run, authority: Authority, make: list[IssuedPat], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can make up secrets of the right shape, and put them into a paste."""
    monkeypatch.setattr(leaks, "MOST_SECRETS", 2)
    text = "\n".join([*(wrong_secret(authority) for _ in range(4)), make[0].token])
    printed, lines = revoke(run, text, code=1)
    assert printed == {"changed": 1, "ids": [make[0].pat.id]}
    assert "2 PAT secrets without an id" in lines[-1]
    assert not lives(authority, make[0])
