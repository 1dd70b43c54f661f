"""`patauth config` and the commands of `patauth store` beyond ping."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from patauth import Settings
from patauth.cli import program
from patauth.cli.config import masked_url
from patauth.store.local.engine import LocalEngine
from tests.support.cli import Run
from tests.support.servers import Server

KEY = "5ec7e7" + "0a" * 29


def show(run: Run, *words: str) -> dict:
    result = run("config", "show", "--output", "json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["settings"]


def test_show_lists_every_setting_and_where_it_comes_from(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("PATAUTH_SECRET_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("PATAUTH_REQUEST_QUOTA", "5/1")
    monkeypatch.setenv("PATAUTH_DURABILITY", "replicas:2")
    monkeypatch.setenv("PATAUTH_SCOPES", "a b")
    found = show(run)
    assert list(found) == [field.name for field in fields(Settings)]
    assert found["store_url"] == {"value": url, "from": "PATAUTH_STORE_URL"}
    assert found["secret_key"] == {"value": "***", "from": "PATAUTH_SECRET_KEY_FILE"}
    assert found["request_quota"] == {"value": "5/1", "from": "PATAUTH_REQUEST_QUOTA"}
    assert found["durability"]["value"] == "replicas:2"
    assert found["scopes"]["value"] == {"a": "", "b": ""}
    assert found["exchange_quota"] == {"value": "60/60", "from": "default"}
    assert found["hash_profile"]["value"] == "owasp"
    assert found["credential_prefixes"]["value"] == ["pat,pats,pata"]
    assert show(run, "--store", "local:x")["store_url"] == {"value": "local:x", "from": "--store"}
    table = run("config", "show")
    assert "5ec7e7" not in table.output
    assert "request_quota        5/1" in table.stdout


def test_what_config_show_prints_can_be_given_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in run("config", "show").stdout.splitlines()[1:]:
        name, value = line.split()[0], " ".join(line.split()[1:-1])
        if value != "none":
            monkeypatch.setenv(f"PATAUTH_{name.upper()}", value)
    assert {each["from"] for each in show(run).values()} > {"PATAUTH_REALM", "PATAUTH_HASH_PROFILE"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hush@h:1/0", "redis://user:***@h:1/0"),
        ("rediss://:hush@h", "rediss://:***@h"),
        ("redis://u:hush@hush/hush@h", "redis://u:***@h"),
        ("unix:///s?password=hush&db=1", "unix:///s?password=***&db=1"),
        ("rediss://h?ssl_password=hush", "rediss://h?ssl_password=***"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("local:./a:b@c", "local:./a:b@c"),
        ("memory:", "memory:"),
    ],
)
def test_passwords_in_a_store_url_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4))
def test_no_password_is_shown_whatever_it_is_made_of(password: str) -> None:
    assert masked_url(f"redis://user:{password}@host:1") == "redis://user:***@host:1"


def test_check_says_that_the_settings_can_be_used_without_asking_the_store(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("config", "check", "--output", "json").stdout) == {"valid": True}
    for url in ("unix:///nonexistent", "redis://nowhere.invalid", "memory:", f"local:{tmp_path / 'new'}"):
        checked = run("config", "check", "--store", url)
        assert (checked.exit_code, checked.stdout) == (0, "valid  yes\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE_URL", "mysql://x"),
        ("STORE_URL", "redis://h:port"),
        ("REQUEST_QUOTA", "many"),
        ("SECRET_KEY", "5ec7e7"),
        ("HASH_PROFILE", "testing"),
        ("PEPPER", "1:x"),
        ("ENGINE", "/nonexistent"),
    ],
)
def test_check_refuses_what_cannot_be_used_and_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PATAUTH_{name}", value)
    checked = run("config", "check")
    assert (checked.exit_code, checked.stdout) == (2, "")
    assert name.lower() in checked.stderr.lower()
    assert "5ec7e7" not in checked.stderr


def test_check_warns_of_names_that_are_no_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_TENNANT", "x")
    checked = run("config", "check")
    assert checked.exit_code == 0
    assert "PATAUTH_TENNANT" in checked.stderr


@pytest.mark.parametrize("words", [("config", "show"), ("config", "check"), ("store", "stop")])
def test_without_a_store_it_is_a_usage_error(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(program, words).exit_code == 2


# -- store stats, store stop ------------------------------------------------------------


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


def test_stats_are_null_where_the_server_does_not_tell_this_user(
    run: Run, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_KEY_PREFIX", prefix)
    with server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", "-info", "-config", "-dbsize"
        )
    try:
        result = run("store", "stats", "--output", "json", "--store", f"unix://few:pw@{server.socket}")
    finally:
        with server.client() as client:
            client.execute_command("ACL", "DELUSER", "few")
    found = json.loads(result.stdout)
    assert found.pop("reachable") is True
    assert set(found.values()) == {None}


def test_stats_of_an_unreachable_store_are_5(run: Run) -> None:
    down = run("store", "stats", "--store", "unix:///nonexistent")
    assert (down.exit_code, down.stdout) == (5, "")


def test_stop_ends_the_engine_and_says_whether_one_was_running(tmp_path: Path, run: Run) -> None:
    where = f"local:{tmp_path / 'data'}"
    engine = LocalEngine(tmp_path / "data", start_timeout=20)
    engine.acquire()
    try:
        assert json.loads(run("store", "stop", "--output", "json", "--store", where).stdout) == {
            "stopped": True
        }
        assert not (tmp_path / "data" / "engine.sock").exists()
        assert json.loads(run("store", "stop", "--output", "json", "--store", where).stdout) == {
            "stopped": False
        }
    finally:
        engine.release()


@pytest.mark.parametrize("url", ["memory:", "unix:///nonexistent", "redis://h"])
def test_only_a_local_engine_can_be_stopped(run: Run, url: str) -> None:
    refused = run("store", "stop", "--store", url)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "local:" in refused.stderr


def test_stop_makes_no_store(run: Run, tmp_path: Path) -> None:
    assert run("store", "stop", "--store", f"local:{tmp_path / 'new'}").exit_code == 0
    assert list(tmp_path.iterdir()) == []
