"""How long it takes to import patauth, in fresh processes that take turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory

from .measure import Timing, show_progress
from .report import ROOT, Goal, Part, Table

OURS = "from patauth import Authority, PatAuthMiddleware"
FLOOR = "import werkzeug, redis, argon2"
OPENED = (
    "import patauth; authority = patauth.Authority.from_url('redis://127.0.0.1/0');"
    " patauth.PatAuthMiddleware(lambda environ, start: [], authority)"
)
NOTHING = "nothing"
BOUND = 1.0

_TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure_imports(rounds: int) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """By statement: µs inside the process, its start left out; and µs of the whole process.

    What is compiled is kept, as an installation keeps it, whatever the environment here says of that.
    """
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return _measure(rounds, environment)


def _measure(rounds: int, environment: Mapping[str, str]) -> tuple[dict[str, Timing], dict[str, Timing]]:
    statements = {NOTHING: "pass", FLOOR: FLOOR, OURS: OURS, "import patauth; open a store; wrap": OPENED}
    inside = {name: Timing(name) for name in statements}
    whole = {name: Timing(name) for name in statements}
    for number in range(-1, rounds):
        for name, statement in statements.items():
            show_progress(f"round {number + 1} of {rounds}: {name}")
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _TIMED.format(statement)],
                cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            if number >= 0:  # the first round compiles, and brings the files into memory
                whole[name].rounds.append(1e6 * (time.perf_counter() - start))
                inside[name].rounds.append(1e6 * float(done.stdout))
    show_progress("")
    return inside, whole


def import_goal(inside: dict[str, Timing]) -> Goal:
    """The start of the process is left out, which is the stricter reading."""
    return Goal("G7", f"{OURS} / {FLOOR}", inside[OURS].median / inside[FLOOR].median, BOUND)


def run(rounds: int) -> Part:
    """The part `imports`."""
    inside, whole = measure_imports(rounds)
    goal = import_goal(inside)
    rows = [
        (name, inside[name].median / 1000, inside[name].spread, whole[name].median / 1000) for name in inside
    ]
    table = Table("Imports", ("statement", "ms", "spread %", "ms, whole process"), rows)
    method = (
        f"Medians of {rounds} fresh processes of each kind, which take turns; with .pyc files and a warm file"
        " cache. The goal leaves out the start of the process."
    )
    figures = {
        "cases": {
            name: {"ms": inside[name].median / 1000, "process_ms": whole[name].median / 1000}
            for name in inside
        },
        "whole_process_ratio": whole[OURS].median / whole[FLOOR].median,
    }
    return Part("imports", method, [table], figures, [goal])
