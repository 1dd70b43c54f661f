"""Filters and sorters of lists: texts of the grammar, and such texts mutated.

A naive second reading says what a text means: it leaves `and`, `or`, `not` and parentheses to Python.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cmp_to_key
from itertools import product
from random import Random
from typing import Any

from patauth import InvalidRequest, Owner, PersonalAccessToken
from patauth.model import dates
from patauth.model.dates import LATEST, format_ms
from patauth.model.filters import MAX_BYTES, MAX_DEPTH, parse
from patauth.model.instants import index_value
from patauth.model.sorters import MAX_SORTERS, SORTABLE, parse_sorters, sort_pats
from tests.fuzz.search import Target
from tests.fuzz.spoil import ODD_TEXTS, spoiled
from tests.support.filters import INSTANTS, STATES, quoted, words

OWNER = Owner("alice")
POOL = [
    PersonalAccessToken(
        pat_id, name, ("read",), OWNER, "t", created, created, 1, expires_ms=expires, last_used_ms=used
    )
    for pat_id, name, (created, used, expires) in product(
        ["a", "b"],
        ["a", "\u00e9", 'x"\\'],
        [(1, None, None), (3, 1, 0), (5, 3, 3), (3, 5, LATEST), (1, LATEST, None)],
    )
]
POOL += [replace(pat, revoked_ms=ms) for pat, ms in zip(POOL[::4], [1, 3, 5, LATEST] * 2, strict=True)]
ONE_BY_ONE = [replace(pat, id=f"{number:02}") for number, pat in enumerate(POOL)]  # a list has no id twice
TEXTS = ["", "a", "b", "\u00e9", "e\u0301", '"', "\\", "x", "and", ") or ("]
ORDERS: dict[str, Callable[[int, int], bool]] = {
    "lt": lambda one, two: one < two,
    "le": lambda one, two: one <= two,
    "gt": lambda one, two: one > two,
    "ge": lambda one, two: one >= two,
}
DATES = [-1, 0, 1, 2, 3, 5, 6, LATEST]
ODD_DATES = ["1970-01-01t00:00:00.003z", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-01-01", "3"]

Matches = Callable[[PersonalAccessToken], bool]
Given = tuple[str, str]


class Filters(Target):
    """Reads filters and sorters, and applies them to a few PATs."""

    name = "filters"

    def generate(self, chance: Random) -> Given:
        if chance.random() < 0.2:
            fields = [
                chance.choice(("", "-")) + chance.choice((*SORTABLE, "id"))
                for _ in range(chance.randint(1, 5))
            ]
            text = ",".join(fields)
            return "sorters", spoiled(chance, text) if chance.random() < 0.4 else text
        return "filter", self.filter(chance)

    def filter(self, chance: Random) -> str:
        """Return the text of a filter: half of them are right, and the others have wrong words or edits."""
        pieces = words(tree(chance, 3))
        luck = chance.random()
        if luck < 0.2:
            at = chance.randrange(len(pieces) + 1)
            pieces[at : at + chance.randrange(3)] = chance.choices(WORDS, k=chance.randrange(3))
        text, before = "", "("
        for piece in pieces:
            apart = piece in "()," or before in "(),"
            text += " " * chance.choice((0, 0, 1) if apart else (1, 1, 2)) + piece
            before = piece
        return spoiled(chance, text) if luck > 0.7 else text

    def judge(self, given: Given) -> str:
        kind, text = given
        read = {"filter": self.filtered, "sorters": self.sorted}[kind]
        try:
            read(text)
        except InvalidRequest as refusal:
            assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", str(refusal)), "no error_description"
            return f"{kind} refused"
        return f"{kind} read"

    def filtered(self, text: str) -> None:
        try:
            found = parse(text)
        except InvalidRequest:
            # The naive reading does not know the bounds.
            assert is_beyond_bounds(text) or naive_filter(text) is None, "a right filter is refused"
            raise
        naive = naive_filter(text)
        assert naive is not None, "a wrong filter is read"
        matching = [pat for pat in POOL if found.matches(pat)]
        assert matching == [pat for pat in POOL if naive(pat)], "it matches other PATs"
        try:
            assert not found.is_of_removed or all(pat.state == "revoked" for pat in matching)
        except InvalidRequest:
            assert "revoked" in text
        ids = found.ids()
        assert ids is None or all(pat.id in ids for pat in matching)
        for field in INSTANTS:
            bounds = found.bounds(field)
            if bounds is not None:
                within = [pat for pat in POOL if bounds.low <= index_value(pat, field) <= bounds.high]
                assert all(pat in within for pat in matching)
                assert not bounds.exact or within == matching

    def sorted(self, text: str) -> None:
        fields = [(word.removeprefix("-"), word.startswith("-")) for word in text.split(",")]
        names = [name for name, _ in fields]
        right = set(names) <= set(SORTABLE) and len(set(names)) == len(names) <= MAX_SORTERS
        try:
            found = parse_sorters(text)
        except InvalidRequest:
            assert not right, "right sorters are refused"
            raise
        assert right, "wrong sorters are read"
        pats = ONE_BY_ONE[::-1]
        sort_pats(pats, found)
        assert pats == sorted(ONE_BY_ONE, key=cmp_to_key(lambda one, two: compared(one, two, fields)))


def tree(chance: Random, depth: int) -> Any:
    """Return a filter as a tree, as tests/support/filters.py has it."""
    match chance.randrange(10 if depth else 5):
        case 9:
            states = chance.choices(STATES, k=chance.randint(1, 3))
            return chance.choice([("state", "eq", states[0]), ("state", "in", states)])
        case 0:
            return chance.choice(("lastUsed", "expirationDate")), "isnull", None
        case 1:
            return "name", chance.choice(("eq", "sw", "co")), chance.choice(TEXTS)
        case 2:
            return "id", "eq", chance.choice(TEXTS)
        case 3:
            return "id", "in", chance.choices(TEXTS, k=chance.randint(1, 3))
        case 5 | 6:
            return chance.choice(("and", "or")), [
                tree(chance, depth - 1) for _ in range(chance.randint(2, 3))
            ]
        case 7:
            return "not", tree(chance, depth - 1)
        case 8:
            return "()", tree(chance, depth - 1)
    return chance.choice(INSTANTS), chance.choice(list(ORDERS)), chance.choice(DATES)


WORDS = [
    *("and", "or", "not", "(", ")", ",", "in", "eq", "isnull", "lt", "name", "id", *INSTANTS, "state", "And"),
    *map(quoted, STATES),
    *map(quoted, TEXTS),
    *map(format_ms, DATES),
    *ODD_DATES,
    *ODD_TEXTS,
]

# -- the naive reading ---------------------------------------------------------------------------------------

_TEXT = r'"((?:[^"\\]|\\["\\])*)"'
_WORD = r'([^ (),"]+)'
_END = r"(?=[ (),]|\Z)"
_COMPARISONS: list[tuple[re.Pattern[str], Callable[..., Matches]]] = []


def comparison(pattern: str) -> Callable[[Callable[..., Matches]], Callable[..., Matches]]:
    """Register what a comparison of this form means."""

    def register(meaning: Callable[..., Matches]) -> Callable[..., Matches]:
        _COMPARISONS.append((re.compile(pattern, re.DOTALL), meaning))
        return meaning

    return register


@comparison(rf"(created|lastUsed|expirationDate|revokedAt) +(lt|le|gt|ge) +{_WORD}")
def _instant(field: str, order: str, date: str) -> Matches:
    ms = dates.parse_ms(date)
    value = {
        "created": "created_ms",
        "lastUsed": "last_used_ms",
        "expirationDate": "expires_ms",
        "revokedAt": "revoked_ms",
    }[field]

    def matches(pat: PersonalAccessToken) -> bool:
        found = getattr(pat, value)
        return found is not None and ORDERS[order](found, ms)

    return matches


@comparison(rf"(lastUsed|expirationDate) +isnull{_END}")
def _absent(field: str) -> Matches:
    return lambda pat: (pat.last_used_ms if field == "lastUsed" else pat.expires_ms) is None


@comparison(rf"name +(eq|sw|co) +{_TEXT}{_END}")
def _name(operator: str, text: str) -> Matches:
    value = unicodedata.normalize("NFC", plain(text))
    return lambda pat: {
        "eq": pat.name == value,
        "sw": pat.name[: len(value)] == value,
        "co": value in pat.name,
    }[operator]


@comparison(rf"id +eq +{_TEXT}{_END}")
def _id(text: str) -> Matches:
    return lambda pat: pat.id == plain(text)


@comparison(rf"id +in *\(( *{_TEXT} *(?:, *{_TEXT} *)*)\)")
def _ids(texts: str, *_: str) -> Matches:
    values = [plain(found) for found in re.findall(_TEXT, texts, re.DOTALL)]
    return lambda pat: pat.id in values


_STATE = f'"({"|".join(STATES)})"'


@comparison(rf"state +eq +{_STATE}{_END}")
def _state(state: str) -> Matches:
    return lambda pat: pat.state == state


@comparison(rf"state +in *\(( *{_STATE} *(?:, *{_STATE} *)*)\)")
def _states(states: str, *_: str) -> Matches:
    return lambda pat: pat.state in re.findall(_STATE, states)


def plain(text: str) -> str:
    """Return a text without its escapes."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def naive_filter(text: str) -> Matches | None:
    """Return what a filter means; None for a text that is none."""
    meanings: list[Matches] = []
    code, at, before = "", 0, "("
    while at < len(text):
        if text[at] == " ":
            code, at = code + " ", at + 1
            continue
        found = next(filter(None, (pattern.match(text, at) for pattern, _ in _COMPARISONS)), None)
        if found is not None and before in ("(", "and", "or", "not"):
            meaning = dict(_COMPARISONS)[found.re]
            try:
                meanings.append(meaning(*found.groups()))
            except InvalidRequest:
                return None
            code, before, at = f"{code} m[{len(meanings) - 1}](pat) ", "comparison", found.end()
            continue
        found = re.compile(rf"[()]|(?:and|or|not){_END}").match(text, at)
        opens = found is not None and found[0] in ("(", "not")
        if found is None or opens != (before in ("(", "and", "or", "not")):
            return None
        code, before, at = f"{code}{found[0]}", found[0], found.end()
    try:
        compiled = compile(code.strip(), "a filter", "eval")
    except SyntaxError:
        return None
    return lambda pat: bool(eval(compiled, {"m": meanings, "pat": pat}))


def is_beyond_bounds(text: str) -> bool:
    """Return whether a filter may be refused for its size, its depth, or half of a surrogate pair."""
    size = len(text.encode("utf-8", "replace"))
    return (
        size > MAX_BYTES
        or len(re.findall(r"\(|not", text)) > MAX_DEPTH
        or bool(re.search("[\ud800-\udfff]", text))
    )


def compared(one: PersonalAccessToken, two: PersonalAccessToken, fields: Sequence[tuple[str, bool]]) -> int:
    """Return which of two PATs comes first: -1 or 1, or 0 for equal ones."""
    values = {
        "name": lambda pat: pat.name,
        "created": lambda pat: pat.created_ms,
        "lastUsed": lambda pat: -1 if pat.last_used_ms is None else pat.last_used_ms,
        "expirationDate": lambda pat: LATEST + 1 if pat.expires_ms is None else pat.expires_ms,
        "revokedAt": lambda pat: LATEST + 1 if pat.revoked_ms is None else pat.revoked_ms,
        "id": lambda pat: pat.id,
    }
    for name, descends in [*fields, ("id", fields[-1][1])]:
        first, second = values[name](one), values[name](two)
        if first != second:
            return -1 if (first < second) != descends else 1
    return 0
