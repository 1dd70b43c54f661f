"""`patauth notify` as cron runs it: several processes at the same time, and one that is killed."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta

from patauth import Owner
from patauth.crypto.profiles import PROFILES
from tests.support.authorities import patient
from tests.support.processes import PATAUTH, environment
from tests.support.servers import until

PATS = 240
PIECE = 50  # events whose marks are set together


def make(url: str, owner: str) -> set[str]:
    given = {"hash_profile": PROFILES["testing"], "max_pats_per_owner": PATS, "create_quota": f"{PATS}/1"}
    with patient(url, **given) as authority:
        return {
            authority.create(
                owner=Owner(owner), name=f"p{number}", scope=["a"], expires_in=timedelta(days=1 + number % 20)
            ).pat.id
            for number in range(PATS)
        }


def start(url: str, *words: str) -> subprocess.Popen[str]:
    command = [*PATAUTH, "notify", "--output", "json", "--store", url, *words]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def events_of(stderr: str) -> list[tuple[str, str, int]]:
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return [(line["type"], line["patId"], line["within"]) for line in lines]


def test_several_at_once_send_one_event_for_each_pat_and_threshold(url: str) -> None:
    ids = make(url, "at-once")
    running = [start(url, "--within", "30d", "--within", "10d") for _ in range(4)]
    ended = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 4, ended
    sent = [event for _, stderr in ended for event in events_of(stderr)]
    changed = [json.loads(stdout)["changed"] for stdout, _ in ended]
    assert sum(changed) == len(sent) == len(set(sent)) == PATS + PATS // 2
    assert {pat_id for _, pat_id, _ in sent} == ids
    late = start(url, "--within", "30d", "--within", "10d").communicate(timeout=60)
    assert json.loads(late[0])["changed"] == 0


def test_what_a_killed_process_has_not_sent_the_next_one_sends(url: str) -> None:
    make(url, "killed")
    with start(url, "--within", "60d") as killed:
        assert killed.stderr is not None
        first = killed.stderr.readline()
        killed.kill()
        until(lambda: killed.poll() is not None)
        seen = events_of(first + killed.stderr.read())
    stdout, stderr = start(url, "--within", "60d").communicate(timeout=120)
    rest = events_of(stderr)
    assert len(rest) == json.loads(stdout)["changed"]
    assert not set(seen) & set(rest)
    lost = len(set(make_ids(url))) - len(seen) - len(rest)
    assert 0 <= lost <= PIECE, "the piece whose marks were set, and whose events were not sent"


def make_ids(url: str) -> list[str]:
    with patient(url) as authority:
        return [pat.id for pat in authority.list()]
