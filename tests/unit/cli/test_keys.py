"""`patauth keys`: what it lists, adds and removes, and nothing private of it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from patauth import Owner
from patauth.jwt.key_files import SigningKeys
from tests.support.authorities import patient
from tests.support.cli import DATE, Run
from tests.support.private import write_private
from tests.support.signing import ISSUER, JWT_MODE, parts_of


@pytest.fixture(name="place")
def key_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATAUTH_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


def listed(run: Run) -> list[dict[str, Any]]:
    result = run("keys", "list", "--output", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["keys"]


def rotated(run: Run, *more: str) -> dict[str, Any]:
    result = run("keys", "rotate", "--output", "json", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_where_there_are_none_the_list_is_empty_and_nothing_is_made(run: Run, place: Path) -> None:
    assert listed(run) == []
    assert run("keys", "list").stdout.split() == ["KID", "ALGORITHM", "STATE", "SIGNS", "FROM", "FILE"]
    assert not place.exists()


def test_rotate_makes_the_first_key_and_then_others(run: Run, place: Path) -> None:
    first = rotated(run)
    assert list(first) == ["key", "removed"]
    assert list(first["key"]) == ["kid", "algorithm", "state", "signsFrom", "file"]
    assert (first["key"]["algorithm"], first["key"]["state"], first["removed"]) == ("ES256", "signing", [])
    assert DATE.fullmatch(first["key"]["signsFrom"])
    second = rotated(run, "--algorithm", "EdDSA")
    third = rotated(run, "--delay", "15m")
    fourth = rotated(run, "--algorithm", "RS256", "--delay", "20m")
    assert [(one["kid"], one["algorithm"], one["state"]) for one in listed(run)] == [
        (first["key"]["kid"], "ES256", "verifying"),
        (second["key"]["kid"], "EdDSA", "signing"),
        (third["key"]["kid"], "EdDSA", "next"),
        (fourth["key"]["kid"], "RS256", "next"),
    ]
    assert third["key"]["state"] == "next"
    for path in place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_running_authority_takes_the_new_key_up(run: Run, place: Path, url: str) -> None:
    rotated(run)
    with patient(url, keys=str(place), **JWT_MODE) as authority:
        issued = authority.create(owner=Owner("rotation"), name="ci", scope=["a"], never_expires=True)
        old = authority.exchange(issued.pat.id, issued.secret).value
        made = rotated(run)
        new = authority.exchange(issued.pat.id, issued.secret).value
        assert parts_of(new)[0]["kid"] == made["key"]["kid"] != parts_of(old)[0]["kid"]
        assert authority.verify_bearer(old)
        assert authority.verify_bearer(new)


def test_under_a_local_store_they_are_in_its_directory(run: Run, tmp_path: Path) -> None:
    store = ("--store", f"local:{tmp_path / 'data'}")
    made = json.loads(run("keys", "rotate", "--output", "json", *store).stdout)
    assert Path(made["key"]["file"]).parent == tmp_path / "data" / "keys"
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert os.listdir(tmp_path / "data") == ["keys"], "no engine was started"
    with patient(f"local:{tmp_path / 'data'}", **JWT_MODE) as authority:
        assert [one["kid"] for one in authority.jwks()["keys"]] == [made["key"]["kid"]]


def test_retire_removes_all_others_and_asks(run: Run, place: Path, url: str) -> None:
    old = [rotated(run)["key"]["kid"] for _ in range(2)]
    assert run("keys", "rotate", "--retire").exit_code == 2
    assert len(listed(run)) == 2
    made = rotated(run, "--retire", "--yes")
    assert made["removed"] == old
    assert [one["kid"] for one in listed(run)] == [made["key"]["kid"]]
    table = run("keys", "rotate", "--retire", "--yes")
    assert f"Removed: {made['key']['kid']}" in table.stderr
    assert made["key"]["kid"] not in table.stdout


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_asked_before_keys_are_removed(run: Run, place: Path) -> None:
    for which in ("the key", "all 2 keys"):
        rotated(run)
        before = listed(run)
        refused = run("keys", "rotate", "--retire", input="n\n")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"Remove {which}, and end all signed tokens? [y/N]" in refused.stderr
        assert listed(run) == before
    assert run("keys", "rotate", "--retire", input="y\n").exit_code == 0
    assert len(listed(run)) == 1


def test_no_part_of_a_private_key_is_shown(run: Run, place: Path) -> None:
    outputs = [
        run(*words) for words in (("keys", "rotate"), ("keys", "list"), ("keys", "list", "--output", "json"))
    ]
    (path,) = place.iterdir()
    secret = ECKey.import_key(path.read_bytes()).as_dict(private=True)["d"]
    assert isinstance(secret, str)
    for result in outputs:
        assert result.exit_code == 0
        assert secret not in result.output
        assert not [line for line in path.read_text().splitlines()[1:-1] if line in result.output]


def test_what_makes_no_sense_is_2_and_makes_nothing(run: Run, place: Path) -> None:
    for words, said in (
        (("--delay", "soon"), "--delay"),
        (("--delay", "31d"), "30 days"),
        (("--algorithm", "HS256"), "--algorithm"),
        (("--retire", "--yes", "--delay", "1h"), "leave out --delay"),
        (("more",), "more"),
    ):
        refused = run("keys", "rotate", *words)
        assert (refused.exit_code, refused.stdout) == (2, ""), words
        assert said in refused.stderr, words
    assert not place.exists()


def test_single_files_are_listed_and_not_rotated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [SigningKeys(tmp_path / name).rotate()[0] for name in "ab"]
    named = []
    for one in made:
        named.append(tmp_path / f"{one.key.kid}.pem")
        one.path.rename(named[-1])
    monkeypatch.setenv("PATAUTH_KEYS", " ".join(map(str, named)))
    assert [(one["kid"], one["state"], one["signsFrom"]) for one in listed(run)] == [
        (made[0].key.kid, "verifying", None),
        (made[1].key.kid, "signing", None),
    ]
    assert "any time" in run("keys", "list").stdout
    refused = run("keys", "rotate")
    assert refused.exit_code == 2
    assert "keys: the setting keys names single files" in refused.stderr


def test_where_no_place_is_known_it_says_what_to_set(run: Run) -> None:
    for command in ("list", "rotate"):
        refused = run("keys", command, "--store", "redis://127.0.0.1:1/0")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "PATAUTH_KEYS" in refused.stderr


def test_the_store_is_not_asked(run: Run, place: Path) -> None:
    assert run("keys", "rotate", "--store", "unix:///nonexistent/socket").exit_code == 0
    assert run("keys", "list", "--store", "unix:///nonexistent/socket").exit_code == 0


def test_a_place_that_cannot_be_written_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATAUTH_KEYS", str(tmp_path / "file" / "keys"))
    assert "Not a directory" in run("keys", "rotate").stderr


def test_a_file_that_is_no_key_is_2_and_named(run: Run, place: Path) -> None:
    place.mkdir()
    write_private(place / "x.pem", "hunter2")
    refused = run("keys", "list")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "x.pem" in refused.stderr
    assert "hunter2" not in refused.output


def test_config_check_and_serve_refuse_what_cannot_sign(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_ACCESS_TOKEN_FORMAT", "jwt")
    refused = run("config", "check")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "issuer" in refused.stderr
    monkeypatch.setenv("PATAUTH_ISSUER", "https://a.example")
    for words in (("config", "check"), ("serve", "--bind", "127.0.0.1:0x"), ("pat", "list")):
        assert run(*words).exit_code == 2
    assert "`patauth keys rotate`" in run("pat", "list").stderr
    rotated(run)
    assert run("config", "check").exit_code == 0
    shown = json.loads(run("config", "show", "--output", "json").stdout)["settings"]
    assert shown["keys"] == {"value": [str(place)], "from": "PATAUTH_KEYS"}


def test_tokens_of_the_command_line_are_signed_too(
    run: Run, place: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated(run)
    for name, value in JWT_MODE.items():
        monkeypatch.setenv(f"PATAUTH_{name.upper()}", value)
    with patient(url) as authority:
        made = authority.create(owner=Owner("signer"), name="ci", scope=["a"], never_expires=True)
    answer = json.loads(
        run("token", "exchange", "--output", "json", input=f"{made.pat.id}:{made.secret}").stdout
    )
    token = answer["access_token"]
    assert parts_of(token)[1]["client_id"] == made.pat.id
    principal = json.loads(run("verify", "--output", "json", input=f"Bearer {token}").stdout)["principal"]
    assert (principal["method"], principal["subject"]["id"]) == ("access_token", "signer")
    found = json.loads(run("token", "introspect", "--output", "json", input=token).stdout)
    assert (found["active"], found["aud"]) == (True, ISSUER)
    assert json.loads(run("token", "revoke", "--output", "json", input=token).stdout)["changed"] == 1
    assert run("verify", input=f"Bearer {token}").exit_code == 4
