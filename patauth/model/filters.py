"""The filter and the sorters of a list of PATs, in the language of the management API.

    filters    = all *( "or" all )                         at most 256 bytes of UTF-8
    all        = one *( "and" one )
    one        = *"not" ( comparison / "(" filters ")" )   at most 16 "not" and "(" around anything
    comparison = "created" order date
               / ( "lastUsed" / "expirationDate" ) ( order date / "isnull" )
               / "name" ( "eq" / "sw" / "co" ) text        is, starts with, contains
               / "id" ( "eq" text / "in" "(" text *( "," text ) ")" )
    order      = "lt" / "le" / "gt" / "ge"
    date       = an RFC 3339 §5.6 date-time
    text       = DQUOTE *( <any but DQUOTE and "\\"> / "\\" DQUOTE / "\\\\" ) DQUOTE

    sorters    = sorter *3( "," sorter )
    sorter     = [ "-" ] ( "name" / "created" / "lastUsed" / "expirationDate" )

Words are of exact case. Blanks (U+0020) stand between them, as many as one likes, and none need stand next
to a parenthesis or comma; sorters have none. What the grammar does not have is refused, never ignored.

Logic has two values: a comparison with what is not there is false, so `not lastUsed le X` is true of a PAT
that was never used. Names are compared in Unicode's form NFC and in exact case.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..errors import InvalidRequest
from . import dates
from .pat import PersonalAccessToken

NEVER = 2**48 - 1  # an expirationDate of None, as indexes write it; a lastUsed of None is 0 there

MAX_BYTES = 256  # of a filter
MAX_DEPTH = 16
MAX_SORTERS = 4

# What a field can be where it is there, and what an index writes where it is not (NEVER is past year 9999).
_PRESENT = {"created": (0, NEVER - 1), "lastUsed": (1, NEVER - 1), "expirationDate": (0, NEVER - 1)}
_ABSENT = {"lastUsed": 0, "expirationDate": NEVER}

_ORDER = ("lt", "le", "gt", "ge")
_OPERATORS = {
    "name": ("eq", "sw", "co"),
    "id": ("eq", "in"),
    "created": _ORDER,
    "lastUsed": (*_ORDER, "isnull"),
    "expirationDate": (*_ORDER, "isnull"),
}
SORTABLE = ("name", *_PRESENT)

# Every character but a quote that closes nothing begins one of these; `_tokens` asks for the blanks between.
_TOKEN = re.compile(
    r"(?P<blank>\x20+)|(?P<mark>[(),])|\"(?P<text>(?:[^\"\\]|\\[\"\\])*)\"|(?P<word>[^\x20(),\"]+)"
)
_ESCAPE = re.compile(r"\\(.)")
_SAYABLE = re.compile(r"[!#-&(-\[\]-~]{1,40}")  # fit to stand between quotes in an error


class Bounds(NamedTuple):
    """An inclusive range of index values (ms); empty where `low > high`.

    `exact`: a PAT matches if and only if it lies in the range, so that nothing is left to check.
    """

    low: int
    high: int
    exact: bool


class Filter(ABC):
    """What `parse` read; immutable."""

    __slots__ = ()

    @abstractmethod
    def matches(self, pat: PersonalAccessToken) -> bool:
        """Whether a PAT is one of those asked for."""

    def bounds(self, field: str) -> Bounds | None:
        """The range that every match lies in by `created`, `lastUsed` or `expirationDate`.

        In values of `index_value`: 0 for never used, `NEVER` for never expires. None: no restriction.
        """
        return None

    def ids(self) -> frozenset[str] | None:
        """The ids that a match must have one of; it may have to fulfil more. None: no restriction."""
        return None


# `not` is pushed down to the comparisons as they are read (De Morgan holds with two values), for that leaves
# more ranges exact. Hence no class for it, and `negated` in each comparison.


@dataclass(frozen=True, slots=True)
class _Instant(Filter):
    """Every comparison of an instant is a range of index values, `isnull` too."""

    field: str
    low: int
    high: int
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (self.low <= index_value(pat, self.field) <= self.high) != self.negated

    def bounds(self, field: str) -> Bounds | None:
        if field != self.field:
            return None
        if not self.negated:
            return Bounds(self.low, self.high, True)
        least, most = _PRESENT[field]
        absent = _ABSENT.get(field, least)
        least, most = min(least, absent), max(most, absent)
        if self.low <= least:
            return Bounds(self.high + 1, most, True)
        if self.high >= most:
            return Bounds(least, self.low - 1, True)
        return None  # two ranges, one at either end


@dataclass(frozen=True, slots=True)
class _Name(Filter):
    operator: str
    value: str
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        if self.operator == "eq":
            found = pat.name == self.value
        elif self.operator == "sw":
            found = pat.name.startswith(self.value)
        else:
            found = self.value in pat.name
        return found != self.negated


@dataclass(frozen=True, slots=True)
class _Id(Filter):
    values: frozenset[str]
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (pat.id in self.values) != self.negated

    def ids(self) -> frozenset[str] | None:
        return None if self.negated else self.values


@dataclass(frozen=True, slots=True)
class _Join(Filter):
    """`and` (every part must match) or `or`; two parts or more."""

    every: bool
    parts: tuple[Filter, ...]

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (all if self.every else any)(part.matches(pat) for part in self.parts)

    def bounds(self, field: str) -> Bounds | None:
        all_parts = [part.bounds(field) for part in self.parts]
        parts = [part for part in all_parts if part is not None]
        whole = len(parts) == len(all_parts)
        if not parts or not (whole or self.every):
            return None
        if self.every:
            low, high = max(part.low for part in parts), min(part.high for part in parts)
            # Nothing matches where the range is empty, whatever else is asked.
            return Bounds(low, high, low > high or (whole and all(part.exact for part in parts)))
        parts = sorted(part for part in parts if part.low <= part.high)
        if not parts:
            return Bounds(1, 0, True)
        low, high = parts[0].low, max(part.high for part in parts)
        reached = low - 1  # up to where the exact ones leave no gap
        for part in parts:
            if part.exact and part.low <= reached + 1:
                reached = max(reached, part.high)
        return Bounds(low, high, reached == high)

    def ids(self) -> frozenset[str] | None:
        all_parts = [part.ids() for part in self.parts]
        parts = [part for part in all_parts if part is not None]
        if self.every:
            return frozenset.intersection(*parts) if parts else None
        return frozenset.union(*parts) if len(parts) == len(all_parts) else None


def parse(text: str) -> Filter:
    """Read a filter. `InvalidRequest` for all else, which says what is wrong and what may stand there.

    The error repeats a word only if that is up to 40 visible ASCII characters, and never a text in quotes.
    """
    try:
        # Characters first: what is far too long need not be encoded to be counted.
        if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
            raise _wrong(f"longer than {MAX_BYTES} bytes; give a shorter filter")
    except UnicodeEncodeError:
        raise _wrong("not Unicode: a lone surrogate stands in it") from None
    return _Parser(_tokens(text)).whole()


class _Token(NamedTuple):
    kind: str  # word, text, mark or end
    text: str  # of a text: without quotes and escapes
    place: int  # of its first character, from 1

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        if self.kind == "mark" or (self.kind == "word" and _SAYABLE.fullmatch(self.text)):
            return f"'{self.text}'"
        return f"what stands at character {self.place}"


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at, before = 0, "blank"
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(
                f"the text that the double quote at character {at + 1} begins does not end, or has a"
                " backslash before something else than a double quote or backslash"
            )
        kind = str(match.lastgroup)
        value = match[kind]
        if kind in ("word", "text") and before in ("word", "text"):
            raise _wrong(f"a blank is missing before character {at + 1}")
        if kind == "text":
            value = _ESCAPE.sub(r"\1", value)
        if kind != "blank":
            tokens.append(_Token(kind, value, at + 1))
        at, before = match.end(), kind
    tokens.append(_Token("end", "", len(text) + 1))
    return tokens


class _Parser:
    """Recursive descent; `MAX_DEPTH` bounds the recursion, and so that over what it makes."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def whole(self) -> Filter:
        found = self._any(negated=False, depth=0)
        if not self._take("end"):
            raise self._misplaced("the filter could end", "and, or, or nothing more")
        return found

    def _take(self, kind: str, *texts: str) -> _Token | None:
        token = self._tokens[self._at]
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self._at += 1
        return token

    def _misplaced(self, where: str, give: str) -> InvalidRequest:
        return _wrong(f"found {self._tokens[self._at]} where {where}; give {give}")

    def _any(self, *, negated: bool, depth: int) -> Filter:
        parts = [self._all(negated=negated, depth=depth)]
        while self._take("word", "or"):
            parts.append(self._all(negated=negated, depth=depth))
        return parts[0] if len(parts) == 1 else _Join(negated, tuple(parts))

    def _all(self, *, negated: bool, depth: int) -> Filter:
        parts = [self._one(negated=negated, depth=depth)]
        while self._take("word", "and"):
            parts.append(self._one(negated=negated, depth=depth))
        return parts[0] if len(parts) == 1 else _Join(not negated, tuple(parts))

    def _one(self, *, negated: bool, depth: int) -> Filter:
        while self._take("word", "not"):
            negated, depth = not negated, depth + 1
        opening = self._take("mark", "(")
        depth += opening is not None
        if depth > MAX_DEPTH:
            raise _wrong(f"nested too deep; give at most {MAX_DEPTH} 'not' and '(' around anything")
        if opening is None:
            return self._comparison(negated)
        found = self._any(negated=negated, depth=depth)
        if not self._take("mark", ")"):
            raise self._misplaced(f"the '(' at character {opening.place} is open", "and, or, or ')'")
        return found

    def _comparison(self, negated: bool) -> Filter:
        token = self._take("word", *_OPERATORS)
        if token is None:
            raise self._misplaced("a field belongs", f"{_either(_OPERATORS)}, or before it 'not' or '('")
        field = token.text
        token = self._take("word", *_OPERATORS[field])
        if token is None:
            raise self._misplaced(f"an operator of {field} belongs", _either(_OPERATORS[field]))
        operator = token.text
        where = f"a value of '{field} {operator}' belongs"
        if operator == "isnull":
            return _Instant(field, _ABSENT[field], _ABSENT[field], negated)
        if field in _PRESENT:
            ms = self._date(where)
            low, high = _PRESENT[field]  # an instant that is not there is in no order to any other
            if operator in ("lt", "le"):
                return _Instant(field, low, ms - (operator == "lt"), negated)
            return _Instant(field, max(low, ms + (operator == "gt")), high, negated)
        if field == "name":
            return _Name(operator, unicodedata.normalize("NFC", self._text(where)), negated)
        values = [self._text(where)] if operator == "eq" else self._list(where)
        return _Id(frozenset(values), negated)

    def _date(self, where: str) -> int:
        # A form decoder makes a blank of the + of an offset, and the date ends there.
        advice = "a date has no quotes, and a + in a filter is encoded as %2B"
        token = self._take("word")
        if token is None:
            raise self._misplaced(where, f"an RFC 3339 date-time such as 2030-01-31T12:00:00Z; {advice}")
        try:
            return dates.parse_ms(token.text)
        except InvalidRequest as error:
            raise _wrong(f"found {token} where {where}; {error.problem}; {advice}") from None

    def _text(self, where: str) -> str:
        token = self._take("text")
        if token is None:
            raise self._misplaced(where, "a text in double quotes")
        return token.text

    def _list(self, where: str) -> list[str]:
        if not self._take("mark", "("):
            raise self._misplaced(where, "'(', texts in double quotes with ',' between them, and ')'")
        values = [self._text(where)]
        while self._take("mark", ","):
            values.append(self._text(where))
        if not self._take("mark", ")"):
            raise self._misplaced("the list of 'id in' goes on or ends", "',' or ')'")
        return values


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _wrong(problem: str) -> InvalidRequest:
    return InvalidRequest(problem, field="filters")


def between(field: str, low: int, high: int) -> Filter:
    """Those whose `index_value` of an instant lies from `low` to `high`; never is later than every date."""
    return _Instant(field, low, high, negated=False)


def with_id(pat_id: str) -> Filter:
    """The one of this id, if it is there."""
    return _Id(frozenset([pat_id]), negated=False)


def every(parts: Sequence[Filter]) -> Filter | None:
    """What all of these let through; None of none: there is nothing to filter."""
    return _Join(True, tuple(parts)) if len(parts) > 1 else next(iter(parts), None)


class Sorter(NamedTuple):
    """A field to sort by: `name`, `created`, `lastUsed`, `expirationDate`; in code, `id` and `owner` too."""

    field: str
    descending: bool


def parse_sorters(text: str) -> tuple[Sorter, ...]:
    """Read 1 to 4 sorters, the most important first: `name,-created`. `InvalidRequest` for all else."""
    words = text.split(",", MAX_SORTERS)  # the rest of a long text stays in one piece
    if len(words) > MAX_SORTERS:
        raise InvalidRequest(f"more than {MAX_SORTERS} sorters", field="sorters")
    found: dict[str, Sorter] = {}
    for place, word in enumerate(words, 1):
        field = word.removeprefix("-")
        shown = f"'{word}'" if _SAYABLE.fullmatch(word) else f"sorter {place}"
        if field not in SORTABLE:
            raise InvalidRequest(
                f"{shown} is no field to sort by; give {_either(SORTABLE)}, with '-' before it to descend,"
                " and commas without blanks between them",
                field="sorters",
            )
        if field in found:
            raise InvalidRequest(f"{field} stands there twice; give each field once", field="sorters")
        found[field] = Sorter(field, word != field)
    return tuple(found.values())


def index_value(pat: PersonalAccessToken, field: str) -> int:
    """`created`, `lastUsed` or `expirationDate` as an index has it: ms, 0 for never used, `NEVER`.

    `ValueError` for another field.
    """
    if field == "created":
        return pat.created_ms
    if field == "lastUsed":
        return 0 if pat.last_used_ms is None else pat.last_used_ms
    if field == "expirationDate":
        return NEVER if pat.expires_ms is None else pat.expires_ms
    raise ValueError(f"{field} is not an indexed instant")


def sort_pats(pats: list[PersonalAccessToken], sorters: Sequence[Sorter]) -> None:
    """Sort in place, by the first sorter first; names by code point.

    Never used counts as the earliest use, never expires as the latest expiry. Those equal in all of it stand
    by id, upwards even where a sorter descends.
    """
    pats.sort(key=lambda pat: pat.id)
    # From the least important: each pass keeps the order of what it finds equal, `reverse` or not.
    for field, descending in reversed(sorters):
        pats.sort(key=partial(_sort_value, field=field), reverse=descending)


def _sort_value(pat: PersonalAccessToken, field: str) -> tuple[int, str]:
    texts = {"name": pat.name, "id": pat.id, "owner": pat.owner.id}
    return (0, texts[field]) if field in texts else (index_value(pat, field), "")
