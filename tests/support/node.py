"""Programs of tests/node, which use other people's packages for Node.js as `npm ci` has installed them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.paths import ROOT

NODE = ROOT / "tests" / "node"


def run(*words: str, **more: str) -> str:
    """Run a command of an installed package, or `node`, in tests/node; return what it prints.

    `more` is what its environment has in addition.
    """
    done = subprocess.run(words, **_place(**more), stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def running(*words: str) -> Iterator[Any]:
    """Run such a command until the end of the block; yield what it says in its first line, as JSON."""
    with subprocess.Popen(words, **_place(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def _place(**more: str) -> dict[str, Any]:
    commands = NODE / "node_modules" / ".bin"
    assert commands.exists(), "run `npm ci` in tests/node first"
    path = f"{commands}:{os.environ['PATH']}"
    return {"cwd": NODE, "env": {**os.environ, "PATH": path, "CI": "true", **more}}
