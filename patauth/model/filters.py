"""The filter of a list of PATs, in the language of the management API.

    filters    = all *( "or" all )                         at most 256 bytes of UTF-8
    all        = one *( "and" one )
    one        = *"not" ( comparison / "(" filters ")" )   at most 16 "not" and "(" around anything
    comparison = ( "created" / "revokedAt" ) order date
               / ( "lastUsed" / "expirationDate" ) ( order date / "isnull" )
               / "name" ( "eq" / "sw" / "co" ) text        is, starts with, contains
                / "description" "co" text
               / ( "id" / "state" ) ( "eq" text / "in" "(" text *( "," text ) ")" )
    order      = "lt" / "le" / "gt" / "ge"
    date       = an RFC 3339 §5.6 date-time
    text       = DQUOTE *( <any but DQUOTE and "\\"> / "\\" DQUOTE / "\\\\" ) DQUOTE

The case of words counts. Any number of blanks (U+0020) separates words; next to a parenthesis or a comma,
blanks are optional. What is not in the grammar is refused, never ignored.

Logic has two values: a comparison with what a PAT does not have is false, so `not lastUsed le X`
is true of a PAT that was never used. Texts are compared in Unicode's form NFC; their case counts. A state is
one of `active`, `not_yet`, `expired`, `disabled` and `revoked`, in quotes.

Removed PATs are listed alone, and only if a filter asks for them: by `state eq "revoked"` or `revokedAt`, not
negated. Then nothing else may match, so `state in ("revoked", "active")` is refused.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import contains, eq
from typing import NamedTuple, get_args

from ..errors import InvalidRequest
from . import dates
from .instants import ABSENT, NEVER, PRESENT, index_value
from .pat import MAX_DESCRIPTION, PersonalAccessToken, State
from .words import either

MAX_BYTES = 256  # of a filter
MAX_DEPTH = 16

_STATES = frozenset(get_args(State))

_ORDER = ("lt", "le", "gt", "ge")
_NAME_OPERATORS: dict[str, Callable[[str, str], bool]] = {"eq": eq, "sw": str.startswith, "co": contains}
_OPERATORS = {
    "name": tuple(_NAME_OPERATORS),
    "description": ("co",),
    "id": ("eq", "in"),
    "state": ("eq", "in"),
    "created": _ORDER,
    "revokedAt": _ORDER,
    "lastUsed": (*_ORDER, "isnull"),
    "expirationDate": (*_ORDER, "isnull"),
}

# Every character but an unpaired quote begins one of these. `_tokens` checks the blanks between them.
_TOKEN = re.compile(
    r"(?P<blank>\x20+)|(?P<mark>[(),])|\"(?P<text>(?:[^\"\\]|\\[\"\\])*)\"|(?P<word>[^\x20(),\"]+)"
)
_ESCAPE = re.compile(r"\\(.)")
QUOTABLE = re.compile(r"[!#-&(-\[\]-~]{1,40}")  # words that an error may repeat between quotes


class Bounds(NamedTuple):
    """An inclusive range of index values (ms); it is empty where `low > high`.

    `exact`: a PAT matches if and only if it lies in the range, so no record needs a further check.
    """

    low: int
    high: int
    exact: bool


class Filter(ABC):
    """A condition on PATs, immutable; `parse` reads one from a text."""

    __slots__ = ()

    @abstractmethod
    def matches(self, pat: PersonalAccessToken) -> bool:
        """Return whether a PAT fulfils the condition."""

    def bounds(self, field: str) -> Bounds | None:
        """Return the range of `index_value` that holds every match, by the field of one index.

        `field`: `created`, `lastUsed`, `expirationDate` or `revokedAt`. None: there is no restriction.
        """
        return None

    def ids(self) -> frozenset[str] | None:
        """Return the ids of which a match has one, if it fulfils the rest too. None: no restriction."""
        return None

    @property
    def is_of_removed(self) -> bool:
        """Whether it asks for removed PATs. Raise `InvalidRequest` if others could match, too."""
        if not self._names_removed():
            return False
        bounds = self.bounds("revokedAt")
        if bounds is None or bounds.high == NEVER:
            raise _wrong("removed PATs are listed alone; join all else by 'and' to what asks for them")
        return True

    def _names_removed(self) -> bool:
        return False


# The parser moves each `not` into the comparisons (De Morgan's laws hold with two values): this leaves more
# ranges exact. So there is no class for `not`, and each comparison has `negated`.


@dataclass(frozen=True, slots=True)
class _Instant(Filter):
    """Compares an instant. Each operator is a range of index values, `isnull` too."""

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
        least, most = PRESENT[field]
        absent = ABSENT.get(field, least)
        least, most = min(least, absent), max(most, absent)
        if self.low <= least:
            return Bounds(self.high + 1, most, True)
        if self.high >= most:
            return Bounds(least, self.low - 1, True)
        return None  # there are two ranges, one at each end

    def _names_removed(self) -> bool:
        return self.field == "revokedAt" and not self.negated


@dataclass(frozen=True, slots=True)
class _Name(Filter):
    operator: str
    value: str
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return _NAME_OPERATORS[self.operator](pat.name, self.value) != self.negated


@dataclass(frozen=True, slots=True)
class _Description(Filter):
    value: str
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (pat.description is not None and self.value in pat.description) != self.negated


@dataclass(frozen=True, slots=True)
class _Text(Filter):
    """Finds a text, in the form of `_folded`, in a name or a description; the grammar has no such word."""

    value: str

    def matches(self, pat: PersonalAccessToken) -> bool:
        return self.value in _folded(pat.name) or self.value in _folded(pat.description or "")


@dataclass(frozen=True, slots=True)
class _Id(Filter):
    values: frozenset[str]
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (pat.id in self.values) != self.negated

    def ids(self) -> frozenset[str] | None:
        return None if self.negated else self.values


@dataclass(frozen=True, slots=True)
class _State(Filter):
    values: frozenset[str]
    negated: bool

    def matches(self, pat: PersonalAccessToken) -> bool:
        return (pat.state in self.values) != self.negated

    def bounds(self, field: str) -> Bounds | None:
        if field != "revokedAt":
            return None
        low, high = PRESENT[field]
        states = _STATES - self.values if self.negated else self.values
        if "revoked" not in states:
            return Bounds(NEVER, NEVER, len(states) == len(_STATES) - 1)
        return Bounds(low, high, True) if len(states) == 1 else None

    def _names_removed(self) -> bool:
        return "revoked" in self.values and not self.negated


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
            # An empty range is exact: nothing matches, whatever the other parts ask.
            return Bounds(low, high, low > high or (whole and all(part.exact for part in parts)))
        parts = sorted(part for part in parts if part.low <= part.high)
        if not parts:
            return Bounds(1, 0, True)
        low, high = parts[0].low, max(part.high for part in parts)
        reached = low - 1  # the exact parts cover everything from `low` to here
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

    def _names_removed(self) -> bool:
        return any(part._names_removed() for part in self.parts)


def parse(text: str) -> Filter:
    """Read a filter. Raise `InvalidRequest`, which says what is wrong and what is allowed in that place.

    The error repeats a word only if it has at most 40 visible ASCII characters. It never repeats a text in
    quotes.
    """
    try:
        # Characters are counted first, so that a text that is far too long is not encoded.
        if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
            raise _wrong(f"longer than {MAX_BYTES} bytes; give a shorter filter")
    except UnicodeEncodeError:
        raise _wrong("not valid Unicode: it has a lone surrogate") from None
    return _Parser(_tokens(text)).whole()


class _Token(NamedTuple):
    kind: str  # word, text, mark or end
    text: str  # a text in quotes is here without quotes and escapes
    place: int  # the position of its first character, from 1

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        if self.kind == "mark" or (self.kind == "word" and QUOTABLE.fullmatch(self.text)):
            return f"'{self.text}'"
        return f"the text at character {self.place}"


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at, before = 0, "blank"
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(
                f"the text that starts with the double quote at character {at + 1} does not end, or has a"
                " backslash that is not before a double quote or a backslash"
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
    """Reads tokens by recursive descent; `MAX_DEPTH` bounds its recursion and that over the result."""

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
            raise self._misplaced("a field belongs", f"{either(_OPERATORS)}, or before it 'not' or '('")
        field = token.text
        token = self._take("word", *_OPERATORS[field])
        if token is None:
            raise self._misplaced(f"an operator of {field} belongs", either(_OPERATORS[field]))
        operator = token.text
        where = f"a value of '{field} {operator}' belongs"
        if operator == "isnull":
            return _Instant(field, ABSENT[field], ABSENT[field], negated)
        if field in PRESENT:
            ms = self._date(where)
            low, high = PRESENT[field]  # a PAT without this instant fulfils no comparison of it
            if operator in ("lt", "le"):
                return _Instant(field, low, ms - (operator == "lt"), negated)
            return _Instant(field, max(low, ms + (operator == "gt")), high, negated)
        if field == "name":
            return _Name(operator, unicodedata.normalize("NFC", self._text(where)), negated)
        if field == "description":
            return _Description(unicodedata.normalize("NFC", self._text(where)), negated)
        read = self._text if field == "id" else self._state
        values = [read(where)] if operator == "eq" else self._list(field, where, read)
        return (_Id if field == "id" else _State)(frozenset(values), negated)

    def _date(self, where: str) -> int:
        # A form decoder turns the + of an offset into a blank, and the date would end there.
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

    def _state(self, where: str) -> str:
        token = self._take("text", *_STATES)
        if token is None:
            raise self._misplaced(where, f"{either(get_args(State))}, in double quotes")
        return token.text

    def _list(self, field: str, where: str, read: Callable[[str], str]) -> list[str]:
        if not self._take("mark", "("):
            raise self._misplaced(where, "'(', texts in double quotes with ',' between them, and ')'")
        values = [read(where)]
        while self._take("mark", ","):
            values.append(read(where))
        if not self._take("mark", ")"):
            raise self._misplaced(f"the list of '{field} in' goes on or ends", "',' or ')'")
        return values


def _wrong(problem: str) -> InvalidRequest:
    return InvalidRequest(problem, field="filters")


def between(field: str, low: int, high: int) -> Filter:
    """Return the filter for PATs whose `index_value` of a field is from `low` to `high`."""
    return _Instant(field, low, high, negated=False)


def containing(text: str) -> Filter:
    """Return the filter for PATs whose name or description contains a text; its case does not count.

    Raise `InvalidRequest` for a text that is longer than a description.
    """
    if len(text) > MAX_DESCRIPTION:
        raise _wrong(f"give a text of at most {MAX_DESCRIPTION} characters")
    return _Text(_folded(text))


def with_id(pat_id: str) -> Filter:
    """Return the filter for the PAT of this id."""
    return _Id(frozenset([pat_id]), negated=False)


def every(parts: Sequence[Filter]) -> Filter | None:
    """Return the filter for PATs that match all parts; None where there are no parts."""
    return _Join(True, tuple(parts)) if len(parts) > 1 else next(iter(parts), None)


def _folded(text: str) -> str:
    """Return a text in a form that is the same for all cases and spellings of its letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
