from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from patauth.cli import program
from tests.support.cli import Run, local_store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `local:` store for this module, kept running."""
    with local_store(tmp_path_factory.mktemp("cli") / "data") as store_url:
        yield store_url


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line on the store."""
    monkeypatch.setenv("PATAUTH_STORE_URL", url)
    return lambda *args, **more: CliRunner().invoke(program, args, **more)


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """An owner of this test alone."""
    return re.sub(r"[^!-.0-~]", "_", request.node.name)
