"""`patauth config`: what it shows, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from patauth import Settings
from patauth.model.credentials import Format, mint_secret
from patauth.wsgi import surfaces
from tests.support.cli import Run
from tests.support.private import write_private

KEY = "5ec7e7" + "0a" * 29


def show(run: Run, *words: str) -> dict:
    result = run("config", "show", "--output", "json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["settings"]


def test_show_lists_every_setting_and_where_it_comes_from(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    write_private(tmp_path / "key", KEY)
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
    monkeypatch.setenv("PATAUTH_DURABILITY", "disk")
    assert show(run)["durability"]["value"] == "disk"
    table = run("config", "show")
    assert "5ec7e7" not in table.output
    assert re.search(r"^request_quota +5/1 ", table.stdout, re.M)


def test_a_folder_is_shown_by_its_path(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATAUTH_PAGE_FOLDER", str(tmp_path))
    assert show(run)["page_folder"]["value"] == str(tmp_path)
    assert str(tmp_path) in run("config", "show").stdout


def test_what_was_put_into_a_wrong_setting_is_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Format().secret_text(mint_secret())
    for name in ("TENANT", "KEY_PREFIX", "AUDIENCE", "REALM", "SCOPES", "OWNER_TYPES"):
        for value in (secret, "redis://u:5ec7e7@h"):
            monkeypatch.setenv(f"PATAUTH_{name}", value)
            for output in ("table", "json"):
                shown = run("config", "show", "--output", output)
                assert secret[5:] not in shown.output, name
                assert "5ec7e7" not in shown.output, name
        monkeypatch.delenv(f"PATAUTH_{name}")


def test_no_spelling_of_a_store_url_shows_a_password(run: Run) -> None:
    for url in (
        "redis://5ec7e7@h",
        "rediss://u:5ec7e7@h",
        "unix://5ec7e7@/s?db=1",
        "unix:///s?password=5ec7e7",
    ):
        shown = run("config", "show", "--store", url)
        assert shown.exit_code == 0
        assert "5ec7e7" not in shown.output, url


def test_what_config_show_prints_can_be_given_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in run("config", "show").stdout.splitlines()[1:]:
        name, value = line.split()[0], " ".join(line.split()[1:-1])
        if value != "none":
            monkeypatch.setenv(f"PATAUTH_{name.upper()}", value)
    assert {each["from"] for each in show(run).values()} > {"PATAUTH_REALM", "PATAUTH_HASH_PROFILE"}


def test_check_says_that_the_settings_can_be_used_without_asking_the_store(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("config", "check", "--output", "json").stdout) == {"valid": True}
    for url in ("unix:///nonexistent", "redis://nowhere.invalid", "memory:", f"local:{tmp_path / 'new'}"):
        checked = run("config", "check", "--store", url)
        assert (checked.exit_code, checked.stdout) == (0, "valid  yes\n"), url
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_what_cannot_be_used_and_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("STORE_URL", "mysql://x"),
        ("STORE_URL", "redis://h:port"),
        ("REQUEST_QUOTA", "many"),
        ("SECRET_KEY", "5ec7e7"),
        ("HASH_PROFILE", "testing"),
        ("PEPPER", "1:x"),
        ("ENGINE", "/nonexistent"),
        ("IDENTIFY", "nowhere_at_all:who"),
        ("REAUTHENTICATE", "os:no_such_function"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(f"PATAUTH_{name}", value)
            checked = run("config", "check")
        assert (checked.exit_code, checked.stdout) == (2, ""), name
        assert name.lower() in checked.stderr.lower(), name
        assert "5ec7e7" not in checked.stderr


def test_check_says_that_no_address_is_known_behind_proxies_of_anywhere(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_TRUSTED_PROXIES", "1")
    said = run("config", "check", "--output", "json")
    assert (said.exit_code, json.loads(said.stdout)) == (0, {"valid": True})
    assert "If a PAT has networks, it is refused" in said.stderr
    monkeypatch.setenv("PATAUTH_PROXY_NETWORKS", "10.0.0.0/8 unix")
    assert run("config", "check").stderr == ""
    monkeypatch.setenv("PATAUTH_TRUSTED_PROXIES", "0")
    refused = run("config", "check")
    assert refused.exit_code == 2
    assert "proxy_networks: it needs trusted_proxies" in refused.stderr


def test_check_says_that_only_an_apps_code_can_serve_a_page_without_identify(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth page")
    said = run("config", "check", "--output", "json")
    assert (said.exit_code, json.loads(said.stdout)) == (0, {"valid": True})
    assert "identify is not set here" in said.stderr
    monkeypatch.setenv("PATAUTH_IDENTIFY", "os:getcwd")
    assert run("config", "check").stderr == ""
    monkeypatch.setattr(surfaces, "find_spec", lambda name: None)
    refused = run("config", "check")
    assert refused.exit_code == 2
    assert "patauth[page]" in refused.stderr
    monkeypatch.delenv("PATAUTH_SURFACES")
    said = run("config", "check")
    assert (said.exit_code, "patauth serve has no page without jinja2" in said.stderr) == (0, True)


def test_check_judges_the_surfaces_that_serve_would_have(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "base.html").write_text('{% extends "patauth/bse.html" %}')
    monkeypatch.setenv("PATAUTH_PAGE_FOLDER", str(tmp_path))
    monkeypatch.setenv("PATAUTH_IDENTIFY", "os:getcwd")
    refused = run("config", "check")
    assert (refused.exit_code, "patauth/bse.html" in refused.stderr) == (2, True)
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth")
    assert run("config", "check").exit_code == 0
