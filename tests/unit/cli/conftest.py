"""Command lines within this process, on one store that all of these tests share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from patauth import Authority
from patauth.cli import options, program
from patauth.crypto.hashing import Hasher
from patauth.crypto.profiles import PROFILES
from tests.support.authorities import PATIENCE
from tests.support.cli import Run, local_store


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `local:` store that all of these tests share, kept running."""
    with local_store(tmp_path_factory.mktemp("cli") / "data") as store_url:
        yield store_url


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line on the store, with the patience of a busy machine."""
    monkeypatch.setenv("PATAUTH_STORE_URL", url)
    monkeypatch.setenv("PATAUTH_CONNECT_TIMEOUT", str(PATIENCE))
    monkeypatch.setenv("PATAUTH_COMMAND_TIMEOUT", str(PATIENCE))
    monkeypatch.setitem(Authority.__init__.__kwdefaults__, "_request_seconds", PATIENCE)
    return lambda *args, **more: CliRunner().invoke(program, args, **more)


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """An owner of this test alone."""
    return re.sub(r"[^!-.0-~]", "_", request.node.name)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input counts as a terminal, so that a command asks; the answer is the `input` of `run`."""
    monkeypatch.setattr(options, "on_terminal", lambda: True)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with a profile that is too weak to be chosen on the command line, and 100 times as fast."""
    init = Hasher.__init__

    def quick(self: Hasher, profile: object, **given: Any) -> None:
        init(self, PROFILES["testing"], **given)

    monkeypatch.setattr(Hasher, "__init__", quick)
