"""Programs in tests/npm that use other people's npm packages."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "tests" / "npm"


def run(program: str, *words: str, given: str) -> list[dict[str, Any]]:
    """Run a program with `given` as its standard input; return what each line of its output holds."""
    node = shutil.which("node")
    assert node is not None, "install node, as .ci/run does"
    assert (FOLDER / "node_modules").is_dir(), f"npm ci --prefix {FOLDER} --ignore-scripts"
    done = subprocess.run(
        [node, str(FOLDER / program), *words],
        input=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
