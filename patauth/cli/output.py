"""How data is printed to stdout: tables, JSON and facts, and the progress of long work on stderr.

Text from a store never reaches a terminal unescaped: JSON is ASCII, and tables show an escape for every
character that is invisible, moves the cursor or turns the direction of writing.

On a terminal, tables fit its width and dates are relative. Elsewhere, and with --wide, all is whole.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from ..model.dates import DAY, format_ms
from .context import options, printable
from .table import Column, lines_of

_UNITS = (  # ms
    ("year", 365 * DAY),
    ("month", 30 * DAY),
    ("day", DAY),
    ("hour", DAY // 24),
    ("minute", 60_000),
    ("second", 1000),
)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(content, indent=2))


def print_table(
    content: dict[str, Any],
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    wide: bool = False,
) -> None:
    """Print `content` if JSON is asked for; otherwise rows under the heads of columns.

    On a terminal, the table fits its width. `wide`: nothing is cut or left out there either.
    """
    if options().json:
        print_json(content)
        return
    cells = [[printable(cell) for cell in row] for row in rows]
    for line in lines_of(columns, cells, None if wide else terminal_width(), paint=_paint):
        click.echo(line)


def terminal_width() -> int | None:
    """Return how many columns the terminal has to which data is printed; None: it goes elsewhere.

    The variable COLUMNS wins over what the terminal says of itself.
    """
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def _paint(text: str, colour: str) -> str:
    return click.style(text, bold=True) if colour == "bold" else click.style(text, fg=colour)


def print_facts(
    content: dict[str, Any], facts: Iterable[tuple[str, object]], *, colours: Mapping[str, str] | None = None
) -> None:
    """Print `content` if JSON is asked for; otherwise names and values, one pair on each line.

    `colours`: name -> the colour of its value on a terminal.
    """
    if options().json:
        print_json(content)
        return
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        text = printable(str(value))
        colour = (colours or {}).get(name)
        click.echo(f"{name:{width}}  {_paint(text, colour) if colour else text}")


def print_changed(count: int, ids: Sequence[str]) -> None:
    """Print how many things a command changed, and the ids of the PATs among them."""
    print_facts({"changed": count, "ids": list(ids)}, [("changed", count), ("ids", " ".join(ids) or "none")])


def progress(counts: Iterable[int], label: str) -> Iterator[int]:
    """Yield the counts of long work, and show a bar if stderr is a terminal and --quiet is not given.

    The total is unknown until the end, so the bar moves to and fro and shows what is done so far.
    """
    if options().quiet or not sys.stderr.isatty():
        yield from counts
        return
    done = 0
    with click.progressbar(
        counts, label=label, file=sys.stderr, show_eta=False, item_show_func=lambda _: f"{done}"
    ) as bar:
        for count in bar:
            done += count
            yield count


# -- dates -------------------------------------------------------------------------------------------------


def format_date(ms: int | None) -> str:
    """Return a time, given in milliseconds, for people; "never" for None."""
    return "never" if ms is None else format_ms(ms)


def json_date(ms: int | None) -> str | None:
    """Return a time, given in milliseconds, for JSON."""
    return None if ms is None else format_ms(ms)


def relative_date(ms: int, now: int) -> str:
    """Return a time as people say it at `now` (both ms): "in 3 days", "2 hours ago", "now".

    It is rounded to a unit of which there are at least two, so 47 hours are not two days.
    """
    apart = abs(ms - now)
    for unit, size in _UNITS:
        if apart >= 2 * size:
            count = f"{(apart + size // 2) // size} {unit}s"
            return f"in {count}" if ms > now else f"{count} ago"
    return "now"


def relative_day(ms: int, now: int) -> str:
    """Return the day of a past time as people say it at `now` (both ms): "today", "yesterday", "9 days ago".

    The days are those of UTC. It is for a time of which only the first one of a day is kept.
    """
    days = now // DAY - ms // DAY
    if days <= 1:
        return "today" if days < 1 else "yesterday"
    return relative_date(now - days * DAY, now)
