"""Choose the language in which a request is answered.

    Accept-Language: pt-PT, de;q=0.8      ->  pt-BR, chosen by the request       RFC 9110 §12.5.4

A language range is cut from its end until one of `LOCALES` is left (RFC 4647 §3.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Origin = Literal["REQUEST", "DEFAULT"]  # whether the request chose the language

DEFAULT = "en-US"
LOCALES = (DEFAULT, "de", "fr", "es", "pt-BR", "ja")

_LONGEST = 1024  # characters of a field that are read
_PART = re.compile(
    r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)"  # language-range, RFC 4647 §2.1; `*` is skipped
    r"(?:[ \t]*;[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"  # weight, RFC 9110 §12.4.2
)


def choose(accept_language: str | None, locales: Sequence[str] = LOCALES) -> tuple[str, Origin]:
    """Return the locale to answer in, one of `locales`, and whether the request chose it.

    Without a choice it is the first one.

    The range with the greatest weight that finds a locale wins, and among equals the first. A weight of 0
    excludes. `*` names no language, so it means the default, like a missing field. Malformed parts are
    skipped.
    """
    ranges = _ranges(accept_language or "")
    for tag, weight in sorted(ranges.items(), key=lambda item: -item[1]):  # stable: ties go by their order
        locale = _lookup(tag, locales)
        if weight and locale is not None and not _excluded(locale, ranges):
            return locale, "REQUEST"
    return locales[0], "DEFAULT"


def _ranges(field: str) -> dict[str, float]:
    """Return weights by range, in lower case and in the order sent. Of equal ranges the first counts."""
    if len(field) > _LONGEST:
        field = field[:_LONGEST].rpartition(",")[0]  # without the part that was cut
    found: dict[str, float] = {}
    for part in field.split(","):
        match = _PART.fullmatch(part.strip(" \t"))
        if match:
            found.setdefault(match[1].lower(), float(match[2] or 1))
    return found


def _lookup(tag: str, locales: Sequence[str]) -> str | None:
    # A lookup cuts ranges and never extends them, so `en` and `en-GB` would miss `en-US`, and `pt-PT` would
    # miss `pt-BR`. They serve people who ask for another one of the language better than a foreign language.
    known = {locale.lower(): locale for locale in reversed(locales)}
    known = {**{locale.partition("-")[0]: locale for locale in known.values()}, **known}
    subtags = tag.split("-")
    while subtags:
        found = known.get("-".join(subtags))
        if found:
            return found
        subtags.pop()
        if subtags and len(subtags[-1]) == 1:  # a singleton means nothing without what follows it
            subtags.pop()
    return None


def _excluded(locale: str, ranges: Mapping[str, float]) -> bool:
    """Return whether the closest range that covers a locale has weight 0. `pt;q=0` covers `pt-BR`."""
    tag = locale.lower()
    covering = [one for one in ranges if tag == one or tag.startswith(one + "-")]
    return bool(covering) and ranges[max(covering, key=len)] == 0
