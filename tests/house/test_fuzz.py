"""The targets of `python -m tests.fuzz`: each passes what patauth does, and finds a bug that is put there."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from patauth.jwt import claims
from patauth.model import credentials, filters
from patauth.store import record, scripts
from patauth.wsgi import bodies
from patauth.wsgi.api import structs
from patauth.wsgi.zitadel import framing
from tests.fuzz.__main__ import TARGETS, main
from tests.fuzz.search import TRIES, Report, Target, TooSlow, search, smallest
from tests.support.interventions import standing_in

FEW = {
    "bodies": 60,
    "calls": 200,
    "credentials": 500,
    "claims": 200,
    "filters": 300,
    "records": 500,
    "replies": 200,
}
ENOUGH = 4000  # inputs to find what is planted; most are found by a tenth of it


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with TARGETS[request.param]() as made:
        yield made


def found(name: str) -> Report:
    """What a target finds first."""
    with TARGETS[name]() as target:
        return search(target, 1, lambda so_far: so_far.tried < ENOUGH and not so_far.failures, tries=20)


def test_what_patauth_does_is_right(target: Target) -> None:
    report = search(target, 0, lambda so_far: so_far.tried < FEW[target.name], tries=0)
    assert report.failures == {}
    assert report.tried == report.outcomes.total() == FEW[target.name]
    assert len(report.outcomes) > 2, "neither all are refused, nor are all read"


def test_a_report_is_kept_as_json(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    given = ["--minutes", "0.01", "--target", "records", "--json", str(file)]
    assert CliRunner().invoke(main, given).exit_code == 0
    (kept,) = json.loads(file.read_text("utf-8"))
    assert kept["tried"] == sum(kept["outcomes"].values()) > 0
    assert kept["failures"] == []


def test_a_seed_makes_the_same_inputs_each_time(target: Target) -> None:
    with TARGETS[target.name]() as again:
        for number in range(20):
            assert again.generate(Random(number)) == target.generate(Random(number))


def test_a_body_that_ends_in_a_500_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_check_digits", lambda text: None)
    assert "status=500" in failure(found("bodies"))


def test_a_frame_that_ends_in_a_500_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "HEAD_BYTES", 4)
    assert "status=500" in failure(found("calls"))


def test_a_secret_in_an_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structs, "_PLAIN", re.compile(".*", re.DOTALL))
    assert "a secret is repeated" in failure(found("bodies"))


def test_a_second_spelling_of_a_credential_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(token68: str) -> str | None:
        with suppress(ValueError):
            return base64.b64decode(token68).decode()
        return None

    monkeypatch.setattr(credentials, "_decoded", lenient)
    assert "accepted that is not right" in failure(found("credentials"))


def test_a_second_spelling_of_a_signature_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_decoded", lambda segment: claims.urlsafe_b64decode(segment + "=="))
    assert "nobody has signed this" in failure(found("claims"))


def test_a_filter_that_matches_other_pats_is_found() -> None:
    with standing_in(filters._Id, "matches", lambda real, self, pat: real(self, pat) or self.negated):
        assert "matches other PATs" in failure(found("filters"))


def test_a_record_that_cannot_be_shown_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_check_instant", lambda ms: None)
    assert "Error" in failure(found("records"))


def test_a_reply_of_another_form_that_is_taken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "understood", lambda reply, *kinds: reply)
    assert "Error" in failure(found("replies"))


def failure(report: Report) -> str:
    """The error of the one bug, which counts."""
    (one,) = report.failures.values()
    assert one.number < ENOUGH
    return one.error


def test_an_input_that_takes_too_long_is_a_failure_whatever_catches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(Target):
        name = "endless"

        def generate(self, chance: Random) -> str:
            return "x"

        def judge(self, given: str) -> str:
            while given:
                try:
                    sum(range(1000))
                except Exception:
                    continue
            return "ended"

    monkeypatch.setattr("tests.fuzz.search.MOST_SECONDS", 0.02)
    report = search(Endless(), 0, lambda so_far: so_far.tried < 1)
    ((kind, _),) = report.failures
    assert kind == TooSlow.__name__
    assert next(iter(report.failures.values())).given == "'x'"


def test_what_fails_is_made_as_small_as_it_can_be() -> None:
    def fails(given: object) -> bool:
        return "bad" in repr(given)

    start = ("way", {"first": ["good", "a bad one"], "second": b"bytes"}, 7)
    assert smallest(start, fails, TRIES) == ("", {"first": ["bad"]}, 0)
    assert smallest(start, fails, 0) == start
