"""What a run has to say: Markdown for people, JSON for machines, and the machine that it was measured on."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
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
    "pyjwt", "throttled-py",
)  # fmt: skip

_PLACE = re.compile(r"(?m)(^#+ (.*)\n(?:[^#|\n].*\n|\n)*)(?:\|.*\n)+")  # a heading, its text and a table


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a heading for each column, and rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        return f"### {self.title}\n\n{self.lines}"

    @property
    def lines(self) -> str:
        """The heads and rows."""
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
        return "\n".join(f"| {' | '.join(row)} |" for row in (aligned[0], rule, *aligned[1:]))


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and the bound that it must keep: at most, or with `at_least`, at least."""

    name: str
    what: str
    figure: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Part:
    """What one part found: tables for people, figures for machines, and goals for both.

    `details` are tables that are printed, and that no page has.
    """

    name: str
    method: str
    tables: Sequence[Table]
    figures: dict[str, Any]
    goals: Sequence[Goal] = ()
    details: Sequence[Table] = ()

    def __str__(self) -> str:
        return "\n\n".join([f"## {self.name}", self.method, *map(str, (*self.tables, *self.details))])

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return {"method": self.method, **self.figures, "goals": [goal.as_json() for goal in self.goals]}


def goals_table(parts: Iterable[Part]) -> Table:
    """Each goal of a run in a line."""
    goals = sorted((goal for part in parts for goal in part.goals), key=lambda goal: goal.name)
    rows = [
        (
            goal.name,
            goal.what,
            significant(goal.figure),
            f"{'>=' if goal.at_least else '<='} {significant(goal.bound)}",
            "met" if goal.met else "NOT MET",
        )
        for goal in goals
    ]
    return Table("Goals", ("goal", "what", "figure", "bound", ""), rows)


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
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "patauth": f"{version('patauth')} ({_commit()})",
        "CPU": _cpu(),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{package} {_version(package)}" for package in _PACKAGES),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


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
    found = {part.name: part.as_json() for part in parts}
    path.write_text(json.dumps({"machine": facts, "parts": found}, indent=2) + "\n", "utf-8")


def write_page(path: Path, facts: dict[str, str], parts: Sequence[Part]) -> None:
    """Put the tables of a run into a page: each in place of the one below the heading that is its title.

    Raise `ValueError` and write nothing if one of the page or of the run has no partner: what is old would
    stay beside what is new, or what is new would be lost.
    """
    page = path.read_text("utf-8")
    of_machine = Table("Machine", ("what", "which"), [*facts.items()])
    found = [of_machine, *(table for part in parts for table in part.tables), goals_table(parts)]
    lines = {table.title: table.lines for table in found}
    alone = lines.keys() ^ titles_of(page)
    if alone:
        raise ValueError(
            f"{path} is unchanged, because these are in it or in the run alone: {', '.join(sorted(alone))}."
            " Give it a heading with a table below for each table of the run, and for no other"
        )
    path.write_text(_PLACE.sub(lambda place: f"{place[1]}{lines[place[2]]}\n", page), "utf-8")


def titles_of(page: str) -> set[str]:
    """Return the headings of a page that have a table."""
    return {place[2] for place in _PLACE.finditer(page)}


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
