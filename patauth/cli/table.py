"""Tables: how wide text is on a terminal, and columns that fit into it.

Everything here is pure: rows come in, lines go out. `output.py` knows the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

_GAP = "  "
_MORE = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and what happens to it where the terminal is too narrow for all of them.

    First whole columns go, those with the highest `leaves` before others, while the others have less room
    than their `least`. Then cells are cut, the widest ones first, down to `least`, and if that is not enough
    down to one character. A `whole` column is never cut: people copy what it holds.
    """

    head: str
    least: int | None = None  # characters; None: as many as the longest cell has
    leaves: int = 0  # 0: never
    whole: bool = False
    colours: Mapping[str, str] = field(default_factory=dict)  # cell -> its colour


def lines_of(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    *,
    paint: Callable[[str, str], str] = lambda text, colour: text,
) -> list[str]:
    """Return the lines of a table: the heads, and a line for each row.

    `width`: the columns of the terminal; None: nothing is cut or left out. Cells must be printable. `paint`
    gets the text of a head or cell and its colour, or "bold", and returns what shows it.
    """
    heads = [column.head for column in columns]
    table = [heads, *rows]
    wanted = [max(width_of(row[place]) for row in table) for place in range(len(columns))]
    places = list(range(len(columns)))
    if width is None:
        widths = wanted
    else:
        places = _kept(columns, wanted, width)
        widths = _shrunk(columns, wanted, places, width)
    lines = []
    for number, row in enumerate(table):
        cells = []
        for place in places:
            text = cut(row[place], widths[place])
            colour = columns[place].colours.get(row[place], "") if number else "bold"
            blanks = " " * (widths[place] - width_of(text))
            cells.append((paint(text, colour) if colour else text) + blanks)
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _kept(columns: Sequence[Column], wanted: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that stay."""
    places = list(range(len(columns)))
    while _sum(_floor(columns[place], wanted[place]) for place in places) > width:
        goes = max(places, key=lambda place: columns[place].leaves)
        if not columns[goes].leaves:
            break
        places.remove(goes)
    return places


def _shrunk(columns: Sequence[Column], wanted: Sequence[int], places: Sequence[int], width: int) -> list[int]:
    """Return the width of each column, so that those at `places` fit if that is possible."""
    floors = [_floor(column, wish) for column, wish in zip(columns, wanted, strict=True)]
    least = [wish if column.whole else 1 for column, wish in zip(columns, wanted, strict=True)]

    def capped(cap: int, limits: Sequence[int]) -> list[int]:
        return [min(wish, max(cap, limit)) for wish, limit in zip(wanted, limits, strict=True)]

    for limits in (floors, least):
        for cap in range(width, 0, -1):  # nothing wider fits anyway
            widths = capped(cap, limits)
            spare = width - _sum(widths[place] for place in places)
            if spare < 0:
                continue
            for place in places:
                if spare and cap == widths[place] < wanted[place]:
                    widths[place] += 1
                    spare -= 1
            return widths
    return least


def _floor(column: Column, wanted: int) -> int:
    return wanted if column.whole or column.least is None else min(wanted, column.least)


def _sum(widths: Iterable[int]) -> int:
    """Return how wide a line of cells is that are so wide."""
    found = list(widths)
    return sum(found) + len(_GAP) * (len(found) - 1)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    return len(text) if text.isascii() else sum(map(_width_of_char, text))


def cut(text: str, width: int) -> str:
    """Return the text if it is at most `width` (from 1) columns wide, else its begin and an ellipsis."""
    if width_of(text) <= width:
        return text
    left = width - 1
    for place, char in enumerate(text):
        left -= _width_of_char(char)
        if left < 0:
            return text[:place] + _MORE
    return text


def _width_of_char(char: str) -> Literal[0, 1, 2]:
    """Wide characters take two columns (Unicode TR11); marks and the later letters of a Korean one none.

    The package wcwidth knows more of emoji and of Indian scripts, but each command would wait 50 ms for it.
    """
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
