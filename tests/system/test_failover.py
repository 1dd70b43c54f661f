"""gunicorn with 2 workers of 4 threads, on Sentinel and on a cluster, while their primaries fail over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.failover.__main__ import running
from tests.failover.history import judge
from tests.failover.worlds import WORLDS
from tests.support.paths import ROOT
from tests.support.servers import binaries


@pytest.mark.parametrize("kind", WORLDS)
def test_an_app_under_gunicorn_answers_200_and_503_alone_and_no_worker_dies(kind: str) -> None:
    """Six clients, through a kill and an ordered failover. 401 is only for credentials that have ended."""
    with running(kind, binaries()["valkey"], None, by_http=True) as run:
        assert run.service is not None
        workers = run.service.workers()
        assert len(workers) == 2
        for number, event in enumerate(["kill", "order"]):
            history = run.play(number, event, seed=0)
            by_clients = Counter(one.outcome for one in history.verifications if one.verifier != "writer")
            print(f"\n{kind}, {event}: {by_clients}")
            assert judge(history).broken(is_safe=True) == []
            assert set(by_clients) <= {"accepted", "refused", "503"}
            assert by_clients["accepted"] > 20
            assert by_clients["503"] > 0 or event == "order"
            assert run.service.workers() == workers


def test_the_command_prints_a_table_and_keeps_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    given = ["sentinel", "--rounds", "1", "--event", "order", "--durability", "engine", "--report", str(file)]
    command = [sys.executable, "-m", "tests.failover", *given]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| order " in run.stdout
    kept = json.loads(file.read_text("utf-8"))
    assert kept["settings"]["durability"] == "engine"
    assert [row["event"] for row in kept["events"]] == ["order", "all"]
    assert kept["rounds"][0]["acknowledged"] > 10
    assert kept["broken"] == []
