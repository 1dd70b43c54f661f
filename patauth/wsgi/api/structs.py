"""JSON values as msgspec Structs, read strictly; an error names the field and speaks in the words of JSON."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from ...errors import InvalidRequest

S = TypeVar("S", bound=msgspec.Struct)

_MISSING = re.compile(r"Object missing required field `(.*?)`(?: - at `\$(.*?)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*?)`)?", re.DOTALL)
_WRONG = re.compile(r"(.*?)(?: - at `\$(.*?)`)?", re.DOTALL)
_TYPE = re.compile(r"`(.*?)`")
_WORDS = {"str": "string", "int": "whole number", "float": "other number", "bool": "true or false"}
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]-]{1,48}")  # too short for a secret


def as_struct(content: Any, kind: type[S]) -> S:
    """Return a value that was read from JSON as a `kind`. Nothing is coerced.

    Raise `InvalidRequest`, which names the field by its path, such as `owner.id` or `scope[1]`, or `body` for
    the whole value.
    """
    try:
        return msgspec.convert(content, kind, strict=True)
    except msgspec.ValidationError as problem:
        raise _refusal(str(problem)) from None


def unknown(kind: str, name: str) -> InvalidRequest:
    """Return the error about a field or parameter that does not exist.

    The client chose its name. The text repeats only a short and plain one, and the error has no `field`,
    because a dialect would replace a name that patauth uses itself.
    """
    known = f" {name}" if _PLAIN.fullmatch(name) else " of that name"
    return InvalidRequest(f"there is no {kind}{known} here")


def _refusal(message: str) -> InvalidRequest:
    """Return the error for a message of msgspec, such as "Expected `str`, got `int` - at `$.name`"."""
    if match := _MISSING.fullmatch(message):
        return InvalidRequest("is missing; give it a value", field=_path(match[2], match[1]))
    if match := _UNKNOWN.fullmatch(message):
        return unknown("field", _path(match[2], match[1]))
    match = _WRONG.fullmatch(message)
    text, above = (match[1], match[2]) if match else (message, None)
    text = _TYPE.sub(lambda found: _in_words(found[1]), text).replace("Expected", "give", 1)
    return InvalidRequest(text, field=_path(above) or "body")


def _path(above: str | None, name: str = "") -> str:
    return ".".join(part for part in ((above or "").removeprefix("."), name) if part)


def _in_words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))
