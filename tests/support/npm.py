"""Programs in tests/npm that use other people's npm packages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "tests" / "npm"


def run(program: str, *words: str, given: str = "", **more: str) -> list[dict[str, Any]]:
    """Run a program with `given` as its standard input; return what each line of its output holds.

    `more` is what its environment has in addition.
    """
    said = command("node", program, *words, given=given, **more)
    return [json.loads(line) for line in said.splitlines()]


def command(*words: str, given: str = "", **more: str) -> str:
    """Run `node` or a command of an installed package in tests/npm; return what it prints."""
    done = subprocess.run(
        words, **_place(more), input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(program: str, *words: str) -> Iterator[Any]:
    """Run a program until the end of the block; yield what its first line holds."""
    with subprocess.Popen(["node", program, *words], **_place({}), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def _place(more: dict[str, str]) -> dict[str, Any]:
    assert (FOLDER / "node_modules").is_dir(), f"npm ci --prefix {FOLDER} --ignore-scripts"
    path = f"{FOLDER}/node_modules/.bin:{os.environ['PATH']}"
    return {"cwd": FOLDER, "env": {**os.environ, "PATH": path, "CI": "true", **more}}
