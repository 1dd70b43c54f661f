"""Read which tokens a link asks for, in which order, and which page.

?show=expiring&q=build&sort=name&page=2        each may be left out; what is not known counts as left out
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...model import dates, filters
from ...model.filters import Filter
from ...model.sorters import Sorter

SIZE = 50  # tokens on a page
_MAX_SEARCH = 128  # characters

# What can be shown; `{soon}` is the end of the time in which a token counts as expiring.
SHOWN = {
    "all": "",
    "active": 'state eq "active"',
    "expiring": 'state in ("active", "not_yet") and expirationDate lt {soon}',
    "expired": 'state eq "expired"',
    "disabled": 'state eq "disabled"',
    "revoked": 'state eq "revoked"',
    "unused": "lastUsed isnull",
}
SORTED = {
    "newest": Sorter("created", True),
    "name": Sorter("name", False),
    "expiry": Sorter("expirationDate", False),
    "used": Sorter("lastUsed", True),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants to see."""

    show: str  # one of SHOWN
    sort: str  # one of SORTED
    search: str  # empty: everything
    page: int  # from 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """Read the query of a link."""
        show, sort, page = query.get("show", ""), query.get("sort", ""), query.get("page", "")
        return cls(
            show if show in SHOWN else "all",
            sort if sort in SORTED else "newest",
            query.get("q", "")[:_MAX_SEARCH].strip(),
            int(page) if re.fullmatch("[1-9][0-9]{0,5}", page) else 1,
        )

    def last_of(self, total: int) -> Wanted:
        """Return the last page of so many tokens."""
        return replace(self, page=max(1, -(-total // SIZE)))

    @property
    def offset(self) -> int:
        """How many tokens come before the page."""
        return (self.page - 1) * SIZE

    @property
    def query(self) -> dict[str, str]:
        """The query of a link to the same list, without its page and without what can be left out."""
        given = {"show": self.show, "sort": self.sort, "q": self.search}
        return {name: value for name, value in given.items() if value not in ("", "all", "newest")}

    def filter(self, soon_ms: int) -> Filter | None:
        """Return the filter for it. `soon_ms`: what expires before it is expiring."""
        text = SHOWN[self.show].format(soon=dates.format_ms(soon_ms))
        parts = [filters.parse(text)] if text else []
        if self.search:
            parts.append(filters.containing(self.search))
        return filters.every(parts)
