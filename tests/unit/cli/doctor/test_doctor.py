"""`patauth doctor`: what it finds on real servers, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from patauth.cli import program
from tests.support.acl import ON_SERVER, logged_in
from tests.support.authorities import patient
from tests.support.cli import Run
from tests.support.servers import Server, binaries


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gunicorn configuration of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("GUNICORN_CMD_ARGS", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, to be configured badly."""
    running = Server(binaries()["valkey"], tmp_path)
    yield running
    running.stop()


def doctor(url: str, *words: str) -> Result:
    return CliRunner().invoke(program, ["doctor", "--store", url, "--output", "json", *words])


def levels(result: Result) -> dict[str, str]:
    """The gravest level of each check."""
    order = ["ok", "warning", "problem"]
    found: dict[str, str] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found[finding["check"]] = max(found.get(finding["check"], "ok"), finding["level"], key=order.index)
    return found


def test_a_local_store_is_healthy_as_it_is_made(url: str) -> None:
    result = doctor(url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(levels(result).values()) == {"ok"}
    assert set(levels(result)) == {
        "engine", "folder", "store", "version", "persistence", "eviction", "memory", "replication", "clock",
        "store key", "settings", "python",
    }  # fmt: skip


def test_the_table_has_a_line_for_each_finding_and_one_for_what_to_do(own: Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    result = CliRunner().invoke(program, ["doctor", "--store", own.url])
    assert result.exit_code == 1
    assert "problem  eviction" in result.stdout
    assert "-> Set `maxmemory-policy noeviction`" in result.stdout
    assert "\x1b[" not in result.stdout


def test_every_finding_that_is_not_ok_says_what_to_do(own: Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.config_set("appendonly", "no")
    found = json.loads(doctor(own.url).stdout)
    assert found["problems"] == 2
    for finding in found["findings"]:
        assert list(finding) == ["level", "check", "finding", "remedy"]
        assert finding["finding"].endswith(".")
        assert (finding["remedy"] is None) == (finding["level"] == "ok")
    assert levels(doctor(own.url))["persistence"] == "problem"


def test_a_server_that_cannot_wait_for_its_disk_is_a_problem_where_it_must(
    own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is examined all the same, although an app gets no answer but 503."""
    monkeypatch.setenv("PATAUTH_DURABILITY", "disk")
    with own.client() as client:
        client.config_set("appendfsync", "always")
        assert levels(doctor(own.url))["durability"] == "ok"
        client.config_set("appendonly", "no")
    result = doctor(own.url)
    found = levels(result)
    assert (result.exit_code, found["durability"], found["store"], found["eviction"]) == (
        1, "problem", "ok", "ok"
    )  # fmt: skip


def test_a_user_who_may_not_ask_is_told_what_cannot_be_known(own: Server) -> None:
    """F25: with the rights that docs/deployment.md gives, and no more."""
    with own.client() as client:
        client.execute_command("ACL", "SETUSER", *ON_SERVER)
    result = doctor(logged_in(own.url))
    found = levels(result)
    assert result.exit_code == 0
    assert {found[check] for check in ("version", "persistence", "eviction", "memory", "replication")} == {
        "warning"
    }
    assert (found["store"], found["clock"]) == ("ok", "ok")
    assert result.stdout.count("may not ask (INFO and CONFIG") == 5
    assert "p%" not in result.output


def test_an_unreachable_store_is_5_and_the_rest_is_still_told() -> None:
    result = doctor("unix:///nonexistent/socket")
    assert result.exit_code == 5
    assert levels(result)["store"] == "problem"
    assert levels(result)["python"] == "ok"


def test_a_store_of_another_key_is_5_and_says_so(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(own.url) as authority:
        authority.ping()
    monkeypatch.setenv("PATAUTH_SECRET_KEY", "0a" * 32)
    result = doctor(own.url)
    assert result.exit_code == 5
    assert "secret_key" in result.stdout
    assert "0a0a" not in result.output


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    result = doctor(f"local:{tmp_path / 'new'}")
    assert result.exit_code == 0
    assert "does not exist yet" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_engine_is_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_ENGINE", "/nonexistent")
    result = doctor(f"local:{tmp_path / 'new'}")
    assert result.exit_code == 5
    assert levels(result)["engine"] == "problem"


def test_a_folder_that_is_open_to_others_is_seen_before_its_use_closes_it(run: Run, url: str) -> None:
    directory = Path(url.removeprefix("local:"))
    directory.chmod(0o750)
    try:
        result = doctor(url)
    finally:
        directory.chmod(0o700)
    assert result.exit_code == 0
    assert levels(result)["folder"] == "warning"
    assert "mode 0750" in result.stdout


def test_memory_is_warned_of() -> None:
    result = doctor("memory:")
    assert (result.exit_code, levels(result)["store"]) == (0, "warning")


def test_a_visible_configuration_is_part_of_the_report(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--forwarded-allow-ips=*")
    result = doctor(url)
    assert (result.exit_code, levels(result)["gunicorn"]) == (1, "problem")
