"""The command line within this process: how tests call it, and what they look for in its answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from patauth.store.local.engine import LocalEngine

Run = Callable[..., Result]

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "0" * 32


@contextmanager
def local_store(directory: Path) -> Iterator[str]:
    """Run a `local:` store in a directory; yield its URL."""
    keeper = LocalEngine(directory)
    keeper.acquire()
    yield f"local:{directory}"
    keeper.stop()
    keeper.release()


def observe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the settings of metrics and traces, and let whatever begins to count or to trace fail."""
    for name in ("metrics", "traces"):
        monkeypatch.setenv(f"PATAUTH_{name.upper()}", "true")
        monkeypatch.setitem(sys.modules, f"patauth.observe.{name}", None)


def create(run: Run, owner: str, *more: str, name: str = "ci") -> dict:
    """Make a PAT by the command; return the JSON that it prints."""
    result = run("pat", "create", "--owner-id", owner, "--name", name, "--scope", "a:b", "--output", "json",
                 *(more or ("--expires-in", "1h")))  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
