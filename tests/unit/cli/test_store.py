"""`patauth store`: ping, stats, sweep, copy and stop."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from patauth import Authority, Owner, Settings
from patauth.model.dates import DAY
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import patient
from tests.support.cli import Run, create, local_store
from tests.support.clocks import NOW
from tests.support.servers import Server
from tests.support.tables import each
from tests.support.tenants import forge, lose


def test_ping_says_that_the_store_answers(run: Run) -> None:
    answer = json.loads(run("store", "ping", "--output", "json").stdout)
    assert answer["reachable"] is True
    assert 0 <= answer["milliseconds"] < 500


def test_stats_say_what_the_server_says_of_itself(run: Run) -> None:
    found = json.loads(run("store", "stats", "--output", "json").stdout)
    assert (found["reachable"], found["kind"], found["role"]) == (True, "valkey", "master")
    assert found["version"].split(".")[0].isdecimal()
    assert (found["appendOnlyFile"], found["appendFsync"]) == (True, "everysec")
    assert (found["evictionPolicy"], found["memoryLimitBytes"]) == ("noeviction", None)
    assert found["keys"] >= 2
    assert found["memoryBytes"] > 100_000
    assert found["clients"] >= 1
    table = run("store", "stats").stdout
    assert "append only file  yes" in table
    assert "snapshots         none" in table
    assert "memory limit" not in table


def test_stats_count_the_pats_of_the_tenant_by_what_the_indexes_know(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_TENANT", "counted")

    def counts() -> dict[str, int]:
        found = json.loads(run("store", "stats", "--output", "json").stdout)
        return {name: count for name, count in found.items() if name.startswith("pats")}

    assert set(counts().values()) == {0}
    create(run, "alice", "--expires-in", "8d", name="a")
    create(run, "alice", "--never-expires", name="b")
    soon = create(run, "bob", "--expires-in", "6d")
    gone = create(run, "bob", "--never-expires", name="gone")
    run("pat", "revoke", gone["pat"]["id"], "--yes")
    before = time.time_ns() // 1_000_000 - DAY
    with Authority(Settings.of(store_url=url, tenant="counted"), _clock=lambda: before) as authority:
        authority.create(owner=Owner("carol"), name="x", scope=["a"], expires_in=timedelta(hours=1))
    with patient(url, tenant="counted") as authority:
        authority.verify_bearer(soon["token"])
    assert counts() == {
        "pats": 4, "patsExpiring": 1, "patsExpired": 1, "patsNeverUsed": 3, "patsRevoked": 1
    }  # fmt: skip
    monkeypatch.setenv("PATAUTH_EXPIRY_WARNING", "10d")
    monkeypatch.setenv("PATAUTH_RETENTION", "12h")
    assert (counts()["pats"], counts()["patsExpiring"], counts()["patsExpired"]) == (3, 2, 0)
    assert "pats expiring     2\n" in run("store", "stats").stdout


def test_stats_are_null_where_the_server_does_not_tell_this_user(
    run: Run, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rights that docs/deployment.md gives, and no more. Which commands are missing is said."""
    monkeypatch.setenv("PATAUTH_KEY_PREFIX", prefix)
    result = run("store", "stats", "--output", "json", "--store", server.url)
    found = json.loads(result.stdout)
    assert found.pop("reachable") is True
    assert {found.pop(name) for name in list(found) if name.startswith("pats")} == {0}
    assert set(found.values()) == {None}
    assert "may not ask INFO, CONFIG, DBSIZE" in result.stderr
    assert "p%" not in result.output


def test_the_documented_rights_are_enough_to_sweep(
    run: Run, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_KEY_PREFIX", prefix)
    result = run("store", "sweep", "--output", "json", "--store", server.url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(json.loads(result.stdout).values()) == {0}


def test_stats_of_an_unreachable_store_are_5(run: Run) -> None:
    down = run("store", "stats", "--store", "unix:///nonexistent")
    assert (down.exit_code, down.stdout) == (5, "")


def test_sweep_says_what_it_removed_and_removes_no_more_the_next_time(run: Run, owner: str, url: str) -> None:
    kept, gone = create(run, owner, name="kept"), create(run, owner, name="gone")
    run("store", "sweep")  # what other tests have left
    with patient(url) as authority:
        lose(authority, gone["pat"]["id"])
        forge(authority, NOW - 10**12, 1)  # decades ago
    swept = run("store", "sweep", "--output", "json")
    assert (swept.exit_code, swept.stderr) == (0, "")
    assert json.loads(swept.stdout) == {
        "tenantEntries": 3,
        "marks": 0,
        "ownerEntries": 1,
        "removedEntries": 0,
    }
    assert [line.split()[-1] for line in run("store", "sweep").stdout.splitlines()] == ["0"] * 4
    assert run("pat", "show", kept["pat"]["id"]).exit_code == 0


def test_sweep_of_an_unreachable_store_is_5(run: Run) -> None:
    down = run("store", "sweep", "--store", "unix:///nonexistent")
    assert (down.exit_code, down.stdout) == (5, "")


def test_stop_ends_the_engine_and_says_whether_one_was_running(tmp_path: Path, run: Run) -> None:
    where = f"local:{tmp_path / 'data'}"
    engine = LocalEngine(tmp_path / "data")
    engine.acquire()
    try:
        for stopped in (True, False):
            result = run("store", "stop", "--output", "json", "--store", where)
            assert json.loads(result.stdout) == {"stopped": stopped}
            assert not (tmp_path / "data" / "engine.sock").exists()
    finally:
        engine.release()


def test_only_a_local_engine_can_be_stopped(run: Run) -> None:
    for url in ("memory:", "unix:///nonexistent", "redis://h"):
        refused = run("store", "stop", "--store", url)
        assert (refused.exit_code, refused.stdout) == (2, ""), url
        assert "local:" in refused.stderr, url


def test_stop_creates_no_store(run: Run, tmp_path: Path) -> None:
    assert run("store", "stop", "--store", f"local:{tmp_path / 'new'}").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_copy_says_what_there_is_and_leaves_a_copy_that_works(
    run: Run, owner: str, url: str, tmp_path: Path
) -> None:
    """The URLs may be in files. The last run finds nothing to write, and none comes after the first use."""
    made, target = create(run, owner), f"local:{tmp_path / 'to'}"
    for name, text in (("from", url), ("target", target)):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    words = ("store", "copy", f"file:{tmp_path / 'from'}", f"file:{tmp_path / 'target'}")
    with local_store(tmp_path / "to"):
        first = run(*words, "--output", "json")
        assert first.exit_code == 0, first.stderr
        found = json.loads(first.stdout)
        assert found["pats"] >= 1
        assert found["indexEntries"] >= 6 * found["pats"]
        assert (found["accessTokens"], found["differing"]) == (0, 0)
        second = run(*words, "--final")
        assert (second.exit_code, "writes         0" in second.stdout) == (0, True)
        shown = run("pat", "show", made["pat"]["id"], "--store", target, "--output", "json")
        assert json.loads(shown.stdout)["pat"] == made["pat"]
        for refused in (run(*words), run("store", "copy", target, url)):
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "TO is in use" in refused.stderr


@each(
    ("source", "target", "code", "said"),
    [
        ("memory:", "local:to", 2, "FROM: a memory: store"),
        ("local:nonexistent", "memory:", 2, "TO: a memory: store"),
        ("local:nonexistent", "local:to", 1, "FROM: there is no store in"),
        ("local:.", "local:to", 1, "FROM: there is no store in"),
        ("http://h", "local:to", 2, "FROM: give memory:"),
        ("file:nonexistent", "local:to", 2, "FROM: cannot read it"),
        ("unix:///nonexistent", "local:to", 5, ""),
        ("redis://:p4ss@127.0.0.1:1", "redis://:w0rd@127.0.0.1:1", 5, "file:PATH"),
    ],
)
def test_copy_refuses_what_it_cannot_copy_and_prints_no_password(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("store", "copy", source, target)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert said in refused.stderr
    assert "p4ss" not in refused.stderr
    assert "w0rd" not in refused.stderr
    assert list(tmp_path.iterdir()) == []
