"""What tests of the command line within this process share."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from patauth.cli import program
from patauth.store.local.engine import LocalEngine

Run = Callable[..., Result]

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "0" * 32


@pytest.fixture(scope="module", name="url")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `local:` store for this module, kept running."""
    directory = tmp_path_factory.mktemp("cli") / "data"
    keeper = LocalEngine(directory, start_timeout=20)
    keeper.acquire()
    yield f"local:{directory}"
    keeper.stop()
    keeper.release()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PATAUTH_")] + ["NO_COLOR"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="run")
def runner(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line on the store."""
    monkeypatch.setenv("PATAUTH_STORE_URL", url)
    return lambda *args, **more: CliRunner().invoke(program, args, **more)


@pytest.fixture(name="owner")
def own_owner(request: pytest.FixtureRequest) -> str:
    """An owner of this test alone."""
    return re.sub(r"[^!-.0-~]", "_", request.node.name)


def create(run: Run, owner: str, *more: str, name: str = "ci") -> dict:
    result = run("pat", "create", "--owner-id", owner, "--name", name, "--scope", "a:b", "--output", "json",
                 *(more or ("--expires-in", "1h")))  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
