"""Programs of tests/node, which use other people's packages for Node.js as `npm ci` has installed them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.paths import ROOT

NODE = ROOT / "tests" / "node"


@contextmanager
def running(script: str, *words: str) -> Iterator[Any]:
    """A program of tests/node until the end of the block, and what it says in its first line, as JSON."""
    assert (NODE / "node_modules").exists(), "run `npm ci` in tests/node first"
    with subprocess.Popen(["node", script, *words], cwd=NODE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()
