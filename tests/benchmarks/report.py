"""What a run has to say: Markdown for people, JSON for machines, and the machine that it was measured on."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.servers import Server

NOT_MEASURED = (
    "Not measured: a network between client and server, TLS, a cluster and replicas (but for `engines`),"
    " caches that are cold, many clients at once (but for `throughput`), and what another machine would say."
)

_PACKAGES = (
    "redis", "hiredis", "werkzeug", "argon2-cffi", "flask", "gunicorn", "limits", "flask-limiter",
    "flask-httpauth", "authlib", "flask-jwt-extended", "django", "django-rest-knox", "djangorestframework",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a heading for each column, and rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        cells = [[_text(cell) for cell in row] for row in (self.heads, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        numeric = [
            all(isinstance(row[at], int | float | None) for row in self.rows) for at in range(len(widths))
        ]
        rule = [
            "-" * (width - 1) + ":" if is_number else "-" * width
            for width, is_number in zip(widths, numeric, strict=True)
        ]
        aligned = [
            [
                cell.rjust(width) if is_number else cell.ljust(width)
                for cell, width, is_number in zip(row, widths, numeric, strict=True)
            ]
            for row in cells
        ]
        lines = [f"| {' | '.join(row)} |" for row in (aligned[0], rule, *aligned[1:])]
        return "\n".join([f"### {self.title}", "", *lines])


@dataclass(frozen=True, slots=True)
class Part:
    """What one part found: tables for people, and figures for machines."""

    name: str
    method: str
    tables: Sequence[Table]
    figures: dict[str, Any]

    def __str__(self) -> str:
        return "\n\n".join([f"## {self.name}", self.method, *map(str, self.tables)])


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return significant(cell)
    return str(cell)


def significant(number: float) -> str:
    """Three significant digits, in plain notation."""
    if number == 0 or not math.isfinite(number):
        return str(number)
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{digits}f}"


def machine() -> dict[str, str]:
    """What it was measured on, and with what."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "patauth": f"{version('patauth')} ({_commit()})",
        "CPU": _cpu(),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def header(facts: dict[str, str]) -> str:
    """The head of a report."""
    listed = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"# patauth, measured\n\n{listed}\n\n{NOT_MEASURED}"


def engine_of(server: Server) -> str:
    """The name and version of a running server, and whether it writes a file."""
    with server.client() as client:
        info: dict[str, Any] = client.info()
    name = (
        f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    )
    return f"{name}, append-only file {'on (everysec)' if info['aof_enabled'] else 'off'}"


def write_json(path: Path, facts: dict[str, str], parts: Iterable[Part]) -> None:
    """All figures of a run."""
    found = {part.name: {"method": part.method, **part.figures} for part in parts}
    path.write_text(json.dumps({"machine": facts, "parts": found}, indent=2) + "\n", "utf-8")


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = " with changes" if git("status", "--porcelain", "--", "patauth") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "no git checkout"


def _cpu() -> str:
    if sys.platform != "linux":
        return platform.processor()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()
