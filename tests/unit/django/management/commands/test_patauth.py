"""`manage.py patauth`: the whole command line, with the store of Django's settings."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import ManagementUtility, call_command

from patauth import Authority
from tests.support.authorities import issue
from tests.support.django_site import site
from tests.support.servers import Server
from tests.support.tables import each


def manage(*words: str) -> int:
    """The exit code of `manage.py` with these words."""
    try:
        ManagementUtility(["manage.py", *words]).execute()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def settings(server: Server, prefix: str) -> dict[str, Any]:
    return {"store_url": server.url, "key_prefix": prefix}


def test_a_pat_is_made_listed_and_revoked(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with site(None, **settings):
        words = "--owner-id alice --name ci --scope a --expires-in 1d --output json".split()
        assert manage("patauth", "pat", "create", *words) == 0
        made = json.loads(capsys.readouterr().out)["pat"]
        out = io.StringIO()
        call_command("patauth", "pat", "list", "--output", "json", stdout=out)
        assert [pat["id"] for pat in json.loads(out.getvalue())["pats"]] == [made["id"]]
        assert manage("patauth", "pat", "revoke", made["id"], "--yes") == 0


@each(
    "code, words",
    [
        (0, "patauth --help"),
        (0, "help patauth"),
        (0, "patauth pat create --help"),
        (2, "patauth nosuch"),
        (2, "patauth pat create --name x"),
        (3, "patauth pat show 00000000000000000000000000000000"),
        (4, "patauth verify"),
        (5, "patauth --store unix:///nonexistent/socket pat list"),
    ],
)
def test_exit_codes_are_those_of_the_program(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Bearer wrong\n")))
    with site(None, **settings):
        assert manage(*words.split()) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    if "--help" in words or "help" in words:
        assert "Usage: manage.py patauth" in shown.out


def test_call_command_fails_as_the_program_does(settings: dict[str, Any]) -> None:
    errors = io.StringIO()
    with site(None, **settings), pytest.raises(SystemExit) as end:
        call_command("patauth", "pat", "show", "0" * 32, stderr=errors)
    assert end.value.code == 3
    assert errors.getvalue().startswith("Error: ")


def test_the_settings_shown_are_djangos(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with site(None, **settings, realm="mine"):
        assert manage("patauth", "config", "show", "--output", "json") == 0
    shown = json.loads(capsys.readouterr().out)["settings"]
    assert shown["realm"] == {"value": "mine", "from": "the application"}
    assert shown["issuer"]["from"] == "default"


def test_an_authority_of_ones_own_is_used(real: Authority) -> None:
    issued, out = issue(real), io.StringIO()
    with site(real):
        call_command("patauth", "pat", "list", "--output", "json", stdout=out)
    assert [pat["id"] for pat in json.loads(out.getvalue())["pats"]] == [issued.pat.id]
