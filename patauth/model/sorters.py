"""The sorters of a list of PATs, in the language of the management API.

    sorters    = sorter *3( "," sorter )
    sorter     = [ "-" ] ( "name" / "created" / "lastUsed" / "expirationDate" / "revokedAt" )

Sorters contain no blanks. What is not in the grammar is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ..errors import InvalidRequest
from .filters import QUOTABLE
from .instants import INDEXED, index_value
from .pat import PersonalAccessToken
from .words import either

MAX_SORTERS = 4
SORTABLE = ("name", *INDEXED)


class Sorter(NamedTuple):
    """A field to sort by: one of `SORTABLE`, or from Python `id` or `owner`."""

    field: str
    descending: bool


def parse_sorters(text: str) -> tuple[Sorter, ...]:
    """Read 1 to 4 sorters, the most important one first: `name,-created`. Raise `InvalidRequest`."""
    words = text.split(",", MAX_SORTERS)  # at most one too many, however long the text is
    if len(words) > MAX_SORTERS:
        raise InvalidRequest(f"more than {MAX_SORTERS} sorters", field="sorters")
    found: dict[str, Sorter] = {}
    for place, word in enumerate(words, 1):
        field = word.removeprefix("-")
        shown = f"'{word}'" if QUOTABLE.fullmatch(word) else f"sorter {place}"
        if field not in SORTABLE:
            raise InvalidRequest(
                f"{shown} is not a field to sort by; give {either(SORTABLE)}, with '-' before it to descend,"
                " and commas without blanks between them",
                field="sorters",
            )
        if field in found:
            raise InvalidRequest(f"{field} is there twice; give each field once", field="sorters")
        found[field] = Sorter(field, word != field)
    return tuple(found.values())


def sort_pats(pats: list[PersonalAccessToken], sorters: Sequence[Sorter]) -> None:
    """Sort PATs in place; the first sorter is the most important one. Names are compared by code point.

    A PAT that was never used sorts as the earliest use, and one that never expires as the latest expiry. One
    that was not removed sorts as the latest removal. PATs that are equal by all sorters are sorted by id, as
    in an index: descending where the last sorter descends.
    """
    pats.sort(key=lambda pat: pat.id, reverse=bool(sorters) and sorters[-1].descending)
    # The least important sorter comes first: each pass keeps the order of equal PATs, `reverse` or not.
    for field, descending in reversed(sorters):
        pats.sort(key=partial(_sort_value, field=field), reverse=descending)


def _sort_value(pat: PersonalAccessToken, field: str) -> tuple[int, str]:
    texts = {"name": pat.name, "id": pat.id, "owner": pat.owner.id}
    return (0, texts[field]) if field in texts else (index_value(pat, field), "")
