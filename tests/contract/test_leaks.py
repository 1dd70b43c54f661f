"""A leak report on each engine: what is ours is found, whatever slot it is in, and ends durably."""

from __future__ import annotations

import pytest

from patauth import Authority, InvalidCredentials, Owner
from patauth.model.leaks import LeakReader
from patauth.operations import leaks
from patauth.operations.leaks import Finding, LeakReport
from tests.support.authorities import Make, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import Clock


def report_of(authority: Authority, text: str) -> tuple[LeakReport, list[Finding]]:
    operations = authority.operations
    report = LeakReport(operations.actor(None), "leak report")
    found = list(report.look_up(LeakReader(operations.format).read([text.encode()])))
    return report, found


def test_what_many_owners_have_lost_ends(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    pats = [issue(authority, owner=Owner(f"owner{number}")) for number in range(20)]
    accesses = [authority.exchange(one.pat.id, one.secret).value for one in pats[15:]]
    texts = [one.token for one in pats[:5]] + [one.pat.id for one in pats[5:10]]
    texts += [one.secret for one in pats[10:15]] + accesses + [wrong_secret(authority)]
    report, found = report_of(authority, "\n".join(texts))
    found += [finding for some in report.in_tenant() for finding in some]
    assert [finding.state for finding in found] == ["found"] * 20
    assert len(report.secrets) == 1
    assert all(report.end(finding) for finding in found)
    assert not any(report.end(finding) for finding in found)
    for one in pats[:15]:
        with pytest.raises(InvalidCredentials):
            authority.authenticate(basic_of(one))
    for access in accesses:
        with pytest.raises(InvalidCredentials):
            authority.authenticate(bearer(access))
    assert {pat.id for pat in authority.list()} == {one.pat.id for one in pats[15:]}


def test_of_what_has_ended_before_it_is_said_as_long_as_it_is_kept(make: Make, clock: Clock) -> None:
    """What ends nothing more is not taken for other people's, until all have forgotten it."""
    authority = make(clock=clock, retention="30d")
    by_id, by_token, by_access = (issue(authority, owner=Owner(f"owner{number}")) for number in range(3))
    access = authority.exchange(by_access.pat.id, by_access.secret).value
    other = make(clock=clock, tenant="other")
    elsewhere = issue(other)
    for one in (by_id, by_token, by_access):
        authority.delete(one.pat.id)
    other.delete(elsewhere.pat.id)
    text = " ".join([by_id.pat.id, by_token.token, access, elsewhere.pat.id, elsewhere.token])
    report, found = report_of(authority, text)
    ids = [one.pat.id for one in (by_id, by_token, by_access, elsewhere)]
    assert [(one.leak.kind, one.pat_id or one.leak.pat_id, one.state) for one in found] == [
        ("PAT id", ids[0], "ended before"),
        ("PAT token", ids[1], "ended before"),
        ("access token", ids[2], "ended before"),
        ("PAT token", ids[3], "not ours"),
    ]
    assert report.secrets == {}
    clock.advance(31 * 86_400_000)
    assert [(one.leak.kind, one.state) for one in report_of(authority, text)[1]] == [
        ("PAT token", "not ours"), ("access token", "not ours"), ("PAT token", "not ours"),
    ]  # fmt: skip


def test_a_secret_that_is_rotated_away_meanwhile_ends_nothing(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    issued = issue(authority)
    report, (finding,) = report_of(authority, issued.token)
    new = authority.rotate(issued.pat.id)
    clock.advance(10 * 86_400_000)
    assert report.end(finding) is False
    assert authority.authenticate(basic_of(new)).pat_id == issued.pat.id
    assert [one.state for one in report_of(authority, issued.token)[1]] == ["rotated away"]


def test_secrets_are_bounded_and_so_is_what_is_remembered(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(clock=clock)
    issued = issue(authority)
    monkeypatch.setattr(leaks, "MOST_SECRETS", 3)
    monkeypatch.setattr(leaks, "_MOST_KNOWN", 2)
    secrets = [wrong_secret(authority) for _ in range(4)]
    report, found = report_of(authority, " ".join([*secrets, issued.token]))
    assert (len(report.secrets), report.left_out) == (3, 1)
    assert [one.state for one in found] == ["found"], "made-up secrets keep nothing else alive"
    text = " ".join([issued.token, secrets[0], secrets[1], issued.token, issued.token])
    assert [one.state for one in report_of(authority, text)[1]] == ["found", "found"]
