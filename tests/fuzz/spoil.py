"""Ways to spoil what is right: bytes, texts and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

T = TypeVar("T", str, bytes)

ODD_TEXTS = [
    *("", " ", "\t", "\n", "\r\n", "\0", "\x7f", ",", ";", "=", "&", "+", '"', "'", "\\"),
    *("%", "%00", "%zz", "%ff"),
    *("/", ".", ":", "-", "_", "~", "{", "}", "[", "]", "(", ")", "null", "true", "NaN", "Infinity", "1e999"),
    *("\u00e9", "\u0301", "\u200b", "\u2028", "\u202e", "\ufeff", "\ud800", "\udfff", "\U0001f469", "\u212a"),
    *("9" * 20, "-1", "0x1", "1.0", "me", "a" * 300),
]
ODD_BYTES = [
    *(text.encode("utf-8", "surrogatepass") for text in ODD_TEXTS),
    *(b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
]


def spoiled(chance: Random, whole: T, others: Sequence[T] = ()) -> T:
    """Return a text or bytes with one to three edits; `others` may be joined to a part of it."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        whole = _edited(chance, whole, others)
    return whole


def _edited(chance: Random, whole: T, others: Sequence[T]) -> T:
    start, end = sorted(chance.randint(0, len(whole)) for _ in range(2))
    short = whole[start : start + chance.choice((1, 1, 1, 2, 4, 16))]
    after = whole[start + len(short) :]
    odd: Any = chance.choice(ODD_TEXTS if isinstance(whole, str) else ODD_BYTES)
    match chance.randrange(9):
        case 0:
            return whole[:start] + _turned(chance, short) + after
        case 1:
            return whole[:start] + odd + after
        case 2:
            return whole[:start] + odd + whole[start:]
        case 3:
            return whole[:start] + after
        case 4:
            return whole[:start] + short * chance.choice((2, 2, 3, 50)) + after
        case 5:
            return whole[:start]
        case 6:
            return whole[start:]
        case 7:
            return whole[:start] + whole[end:] + whole[start:end]
        case _:
            return whole[:start] + chance.choice(others or [short + whole])[start:]


def _turned(chance: Random, part: T) -> T:
    """Return a part with one bit of its first character changed."""
    if not part:
        return part
    if isinstance(part, bytes):
        return bytes([part[0] ^ 1 << chance.randrange(8)]) + part[1:]
    return chr(ord(part[0]) ^ 1 << chance.randrange(7)) + part[1:]


# -- JSON ----------------------------------------------------------------------------------------------------


class Raw(str):
    """A piece of JSON that is written as it stands."""


_NUMBERS = [0, 1, -1, 15, 900, 43_200, 2**31, 2**53, 2**63, 2**64, 10**70, 0.5, 900.0, -0.0, 1e300]
_RAW = [  # with more levels than Python 3.13 can parse: 10 000
    *("NaN", "Infinity", "-Infinity", "1e400", "-", "01", "1.", "+1", "0x10", "tru", "'a'", "undefined", ""),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"a\nb"', "9" * 5_000, "1" + "0" * 400 + ".0"),
    *("[" * 40 + "]" * 40, '{"a":' * 17 + "1" + "}" * 17, "[" * 15_000, "/* */1", "[1,]", '{"a":1,}'),
]


def any_json(chance: Random, depth: int = 3) -> Any:
    """Return a value that JSON can hold, or a piece of what only looks like JSON."""
    kind = chance.randrange(10 if depth else 6)
    if kind < 2:
        return chance.choice(ODD_TEXTS)
    if kind == 2:
        return chance.choice(_NUMBERS)
    if kind == 3:
        return chance.choice((None, True, False))
    if kind == 4:
        return Raw(chance.choice(_RAW))
    if kind == 5:
        return chance.choice(ODD_TEXTS) * chance.choice((1, 3, 40))
    if kind < 8:
        return [any_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(ODD_TEXTS): any_json(chance, depth - 1) for _ in range(chance.randrange(4))}


def changed_json(chance: Random, value: Any, names: Sequence[str]) -> Any:
    """Return a JSON value with one place in it changed; `names` are words that may stand anywhere."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        match chance.randrange(6):
            case 0:
                return {other: one for other, one in value.items() if other != name}
            case 1:
                return {**value, chance.choice([*names, *ODD_TEXTS]): any_json(chance)}
            case 2:
                return {chance.choice(names) if other == name else other: one for other, one in value.items()}
            case _:
                return {**value, name: changed_json(chance, value[name], names)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        match chance.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, *value[at:]] * chance.choice((1, 1, 30 if len(value) < 5 else 1))
            case _:
                return [*value[:at], changed_json(chance, value[at], names), *value[at + 1 :]]
    if isinstance(value, str) and chance.random() < 0.4:
        return spoiled(chance, value)
    return any_json(chance) if chance.random() < 0.9 else chance.choice(names)


def written(chance: Random, value: Any) -> str:
    """Return JSON text of a value: at times with blanks, escapes, or a member twice."""
    match value:
        case Raw():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=chance.random() < 0.5)
        case list():
            return "[" + ",".join(written(chance, one) for one in value) + "]"
        case dict():
            pairs = [f"{written(chance, name)}:{written(chance, one)}" for name, one in value.items()]
            if pairs and chance.random() < 0.03:
                pairs.append(chance.choice(pairs))
            return "{" + chance.choice((",", ", ", ",\n")).join(pairs) + "}"
    return json.dumps(value)


def in_bytes(chance: Random, text: str) -> bytes:
    """Return a text in UTF-8; at times in another encoding, behind a byte order mark, or spoiled."""
    if chance.random() < 0.05:
        return text.encode(
            chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1")), "replace"
        )
    data = text.encode("utf-8", "surrogatepass")
    return spoiled(chance, data) if chance.random() < 0.2 else data
