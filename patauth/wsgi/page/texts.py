"""The words of the page: one TOML file for each language.

    ?lang=de            the language that a person has chosen
    Accept-Language     otherwise                                RFC 9110 §12.5.4

An application may have a folder of its own, with more languages and with other words for single texts. What a
language lacks is English.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

from ...errors import ConfigurationError
from ..languages import choose

DEFAULT = "en"
TAG = re.compile(  # RFC 5646 §2.1, as far as browsers know it: their Intl raises for another
    "[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?"  # language, script, region
    "(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(-x(-[a-z0-9]{1,8})+)?",  # variants, private use
    re.ASCII | re.IGNORECASE,
)
_FROM_THE_RIGHT = frozenset({"ar", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})  # languages so written


class Texts:
    """Holds the words of one language. `locale` is its tag of RFC 5646."""

    def __init__(self, locale: str, words: Mapping[str, str]) -> None:
        self.locale = locale
        self._words = words

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with these values put in. Raise `KeyError` for a text that there is not."""
        return self._words[key].format(**values)

    def raw(self, key: str) -> str:
        """Return a text as it is written, with braces where values belong."""
        return self._words[key]

    @property
    def direction(self) -> str:
        """The direction of writing: `ltr` or `rtl`."""
        return "rtl" if self.locale.partition("-")[0].lower() in _FROM_THE_RIGHT else "ltr"


class Languages:
    """All languages of the page, from folders of TOML files whose names are their tags, such as `pt-BR`.

    The first folder is patauth's, and an application's add to it. Raise `ConfigurationError` for a text of
    an application that the page could not use.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        ours, *others = folders
        self._words = words = {file.stem: read(file) for file in sorted(ours.glob("*.toml"))}
        english = dict(words[DEFAULT])
        for folder in others:
            for file in sorted(folder.glob("*.toml")):
                _check_tag(file, words)
                words.setdefault(file.stem, {}).update(_checked(file, english))

    @cached_property
    def locales(self) -> tuple[str, ...]:
        """The tags of all languages, English first."""
        return (DEFAULT, *(locale for locale in self._words if locale != DEFAULT))

    def of(self, wanted: str, accept_language: str | None) -> Texts:
        """Return the words in the language `wanted`, or else in one that a request accepts."""
        found = {locale.lower(): locale for locale in self._words}
        locale = found.get(wanted.lower()) or choose(accept_language, self.locales)[0]
        return Texts(locale, {**self._words[DEFAULT], **self._words[locale]})

    def own_names(self) -> Mapping[str, str]:
        """Return what each language calls itself, by its tag."""
        return {locale: self._words[locale].get("own_name", locale) for locale in self.locales}


def read(file: Path) -> dict[str, str]:
    """Return the texts of one file by their keys, such as `list.new`."""
    return dict(_flat("", tomllib.loads(file.read_text("utf-8"))))


def _check_tag(file: Path, known: Iterable[str]) -> None:
    """Raise `ConfigurationError` unless a file has the tag of a language as its name, spelled as before."""
    tag = file.stem
    if not TAG.fullmatch(tag):
        raise ConfigurationError(
            f"page_folder: {file}: {tag} is no tag of a language; name the file as nl.toml or pt-BR.toml"
        )
    for other in known:
        if other != tag and other.lower() == tag.lower():
            raise ConfigurationError(f"page_folder: {file}: the language is {other}; name it {other}.toml")


def _checked(file: Path, english: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of an application's file. Raise `ConfigurationError`."""
    try:
        texts = read(file)
    except (OSError, ValueError) as problem:  # ValueError: TOML or UTF-8
        raise ConfigurationError(f"page_folder: {file} cannot be read: {problem}") from None
    for key, text in texts.items():
        if key not in english:
            raise ConfigurationError(f"page_folder: {file}: the page has no text {key}")
        places, known = _places(text), _places(english[key]) or set()
        if places != known:
            values = " ".join(f"{{{place}}}" for place in sorted(known)) or "nothing"
            raise ConfigurationError(
                f"page_folder: {file}: in {key}, the page puts in {values}; give it a place, and nothing else"
            )
    return texts


def _places(text: object) -> set[str] | None:
    """Return what is to be put into a text. None: it is no text, or its braces cannot be read."""
    try:
        parts = list(Formatter().parse(text)) if isinstance(text, str) else None
    except ValueError:
        return None
    if parts is None or any(spec or conversion for _, _, spec, conversion in parts):
        return None
    return {name for _, name, _, _ in parts if name is not None}


def _flat(start: str, table: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{start}{key}.", value)
        else:
            yield start + key, value
