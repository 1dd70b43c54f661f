"""The rules of the gate: whether a path is public, optional, protected (and by which scopes), or odd.

This module is pure: it knows no environ and no answers. `protect` names the paths that need credentials,
`public` and `optional` the exceptions, and `require` the scopes that paths demand.

- A pattern is an exact path or ends in `*` (any rest, `/` included). Case counts; so does a last slash.
- `protect` and `require` apply if SCRIPT_NAME + PATH_INFO or PATH_INFO alone matches; the exceptions apply
  only if SCRIPT_NAME + PATH_INFO matches. `optional` wins over `public`.
- A key of `require` is `METHOD path`, or `path` for all methods; a list demands all of its scopes. All
  matching rules hold. A GET rule covers HEAD. A path with rules but none for the method is refused (403). A
  path with a rule is protected, even if it is `public` or `optional`.
- A path is odd if it has a segment `.` or `..`, `//`, `;`, a backslash, a control character, `?`, `#`, or `%`
  before `2e 2f 5c 3b 25 00 3f 23` in any case. If all its readings get the same verdict, that is the verdict.
  If they differ, or would cost more than a small budget, it is refused (400). So is every path with a
  control character that is not public.

A reading is what some app may make of the path: decoded once more, backslash as `/`, `;…`, `?…` or `#…` cut,
slashes merged, dot segments removed, in every order, as long as this yields something new (see `_further`). A
path that is not odd may have several readings too (`/%61dmin`); it obeys the rules of all of them.

Paths come as in PEP 3333: the server decoded them once, and spells their bytes as latin-1. Patterns are text.
They are compared as the latin-1 spelling of their UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from ..errors import ConfigurationError, InvalidScope
from ..model.scopes import check

Requirement = str | Iterable[str]

# A path without these, `//`, `/.` and a missing root has one reading.
_UNUSUAL = re.compile(r"[^ -\"$&-:<->@-\[\]-~]")
# Only the hexadecimal digits ignore case. With re.I, \xc2 would match \xe2 too, the first byte of much UTF-8.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]")  # C0, DEL, and C1 in UTF-8
_ODD = re.compile(rf"//|(?:\A|/)\.\.?(?:/|\Z)|[;\\?#]|{_CONTROL.pattern}|%(?:2[eEfF]|5[cC]|3[bBfF]|23|25|00)")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_PARAMETERS = re.compile(r";[^/]*")
_ORIGIN = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/]*)?")  # RFC 3986 §3.1, §3.2
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")

_REMEMBERED = 1024  # verdicts; about 1 MiB, because longer requests than _SHORT are not kept
_SHORT = 256  # characters

# A stranger may send any path, so the work on one is bounded. A step is about 40 ns: what one character
# costs in all of `_further`.
_STEPS = 7_000
_STEPS_OF_READING = 200
_STEPS_OF_ESCAPE = 8
_STEPS_OF_RULE = 8


class Kind(Enum):
    """Says what happens to a request.

    PUBLIC goes to the app. OPTIONAL does too, unless it has bad credentials. PROTECTED needs credentials. ODD
    is always 400.
    """

    PUBLIC = "public"
    OPTIONAL = "optional"
    PROTECTED = "protected"
    ODD = "odd"


class Verdict(msgspec.Struct, frozen=True):
    """Says how the gate judges a request. If it is PROTECTED, it needs all `scopes`; None means 403."""

    kind: Kind
    scopes: frozenset[str] | None = frozenset()


_PUBLIC, _OPTIONAL = Verdict(Kind.PUBLIC), Verdict(Kind.OPTIONAL)
_PROTECTED, _ODD_PATH = Verdict(Kind.PROTECTED), Verdict(Kind.ODD)


class Gate:
    """Judges requests by the four settings.

    With `unknown_rules` a callable decides on scopes, and is not asked about readings. So each path with
    several readings is odd then, unless it is public. The gate changes only a bounded memory of verdicts, and
    threads may share it. Raise `ConfigurationError` for a setting that cannot do what its author means.
    """

    def __init__(
        self,
        protect: Iterable[str] = ("/*",),
        public: Iterable[str] = (),
        require: Mapping[str, Requirement] = {},
        optional: Iterable[str] = (),
        *,
        unknown_rules: bool = False,
    ) -> None:
        self._protect = _Paths(_patterns("protect", protect))
        self._public = _Paths(_patterns("public", public))
        self._optional = _Paths(_patterns("optional", optional))
        self._rules = _rules(require)
        self._ruled = _Paths(rule.pattern for rule in self._rules)
        self._unknown_rules = unknown_rules
        self._remembered: dict[tuple[str, str, str], Verdict] = {}

    def decide(self, method: str, script_name: str, path_info: str) -> Verdict:
        """Return the verdict on a request, by SCRIPT_NAME and PATH_INFO of the environ. Case counts."""
        request = method, script_name, path_info
        verdict = self._remembered.get(request)
        if verdict is None:
            verdict = self._decide(*request)
            if len(method) + len(script_name) + len(path_info) <= _SHORT:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()  # endless new paths cost other requests a moment, but no memory
                self._remembered[request] = verdict
        return verdict

    def _decide(self, method: str, script: str, info: str) -> Verdict:
        if _is_plain(script, info):
            return self._judge(method, _names(script, info))
        if not _is_wsgi(script, info):
            return _ODD_PATH
        verdict = self._same_for_all()
        if verdict is None:
            try:
                verdict = self._of_readings(method, script, info)
            except _TooMany:
                return _ODD_PATH
        odd = verdict.kind is not Kind.PUBLIC and _CONTROL.search(script + info)
        return _ODD_PATH if odd else verdict

    def _same_for_all(self) -> Verdict | None:
        """Return the verdict on all paths, if there is only one. It needs no readings."""
        if self._rules or self._unknown_rules or self._optional:
            return None
        if not self._protect or "/" in self._public.prefixes:
            return _PUBLIC
        return _PROTECTED if not self._public and "/" in self._protect.prefixes else None

    def _of_readings(self, method: str, script: str, info: str) -> Verdict:
        """Return the verdict on a path that may have several readings. Raise `_TooMany`."""
        readings = _Readings(_STEPS, _STEPS_OF_READING + _STEPS_OF_RULE * len(self._rules))
        judged = {names: self._judge(method, names) for names in readings.of(script, info)}
        verdicts = set(judged.values())
        if self._unknown_rules and len(judged) > 1:
            return _PUBLIC if verdicts == {_PUBLIC} else _ODD_PATH
        if len(verdicts) == 1:
            return verdicts.pop()
        rooted = info if info.startswith("/") else "/" + info
        odd = _ODD.search(script + info) or _ODD.search(script + rooted)
        return _ODD_PATH if odd else _strictest(verdicts)

    def _judge(self, method: str, names: tuple[str, ...]) -> Verdict:
        """Return the verdict on one reading: SCRIPT_NAME + PATH_INFO, then the other names of the path."""
        if any(name in self._ruled for name in names):
            held = [rule.scopes for rule in self._rules if rule.names(names) and rule.covers(method)]
            return Verdict(Kind.PROTECTED, frozenset[str]().union(*held) if held else None)
        if names[0] in self._optional:
            return _OPTIONAL
        if names[0] not in self._public and any(name in self._protect for name in names):
            return _PROTECTED
        return _PUBLIC


def _strictest(verdicts: Iterable[Verdict]) -> Verdict:
    scopes = [verdict.scopes for verdict in verdicts if verdict.kind is Kind.PROTECTED]
    if not scopes:
        return _OPTIONAL if _OPTIONAL in verdicts else _PUBLIC
    demanded = [some for some in scopes if some is not None]
    return Verdict(Kind.PROTECTED, frozenset().union(*demanded) if len(demanded) == len(scopes) else None)


def _is_plain(script: str, info: str) -> bool:
    """Return whether a path has one reading, like nearly all paths."""
    whole = script + info
    rooted = (not script or script[0] == "/") and (not info or info[0] == "/")
    return rooted and _UNUSUAL.search(whole) is None and "//" not in whole and "/." not in whole


def _is_wsgi(script: str, info: str) -> bool:
    """Return whether this is a path of PEP 3333: bytes spelled as latin-1, and an absolute mount."""
    try:
        (script + info).encode("latin-1")
    except UnicodeEncodeError:
        return False
    return script[:1] in ("", "/")


def _names(script: str, info: str) -> tuple[str, ...]:
    """Return the names of a path as it is. An empty PATH_INFO is the app's root, which routers call `/`."""
    if info:
        return (script + info, info)
    return (script or "/", script.removesuffix("/") + "/", "/")


class _TooMany(Exception):
    """The readings of the path cost more than the gate spends."""


class _Readings:
    """Finds what apps may make of a path, in at most `steps`. One reading costs `each` and its characters."""

    def __init__(self, steps: int, each: int) -> None:
        self._left = steps
        self._each = each

    def of(self, script: str, info: str) -> Iterator[tuple[str, ...]]:
        """Yield every reading as the names of the path. Raise `_TooMany`.

        Some apps normalise the joined path (`/app/../x` leaves the mount), others PATH_INFO alone (it stays).
        """
        yield _names(script, info)
        rooted = info if info.startswith("/") else "/" + info
        for whole in self._closure(script + info, script + rooted):
            yield _names(script, whole.removeprefix(script)) if whole.startswith(script) else (whole,)
        if script:
            scripts = {mount.rstrip("/") for mount in self._closure(script)} | {script}
            for one in self._closure(info, rooted):
                for mount in scripts:
                    self._spend(mount + one)
                    yield mount + one, one

    def _closure(self, *paths: str) -> Iterator[str]:
        """Yield the paths and all that `_further` makes of them."""
        waiting = list(dict.fromkeys(paths))
        seen = set(waiting)
        for path in waiting:  # the loop appends to it
            self._spend(path)
            yield path
            for other in _further(path):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)

    def _spend(self, path: str) -> None:
        self._left -= self._each + len(path) + _STEPS_OF_ESCAPE * path.count("%")
        if self._left < 0:
            raise _TooMany


def _further(path: str) -> Iterator[str]:
    """Yield what an app may make of `path` in one step."""
    if "%" in path:
        # Not `unquote`, which takes a path apart at each change between ASCII and other characters.
        yield unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    if "\\" in path:
        yield path.replace("\\", "/")
    if ";" in path:
        yield _PARAMETERS.sub("", path)  # in each segment: servlets
        yield path.partition(";")[0]  # to the end of the path
        head, slash, last = path.rpartition("/")
        yield head + slash + last.partition(";")[0]  # in the last segment: urllib.parse.urlparse
    for end in ("?", "#"):  # an app may append the path to a URL, where they end it
        if end in path:
            yield path.partition(end)[0]
    if "//" in path:
        yield re.sub("//+", "/", path)
    if path.startswith("//") or not path.startswith("/"):
        yield "/" + _ORIGIN.sub("", path.lstrip(" ")).lstrip("/")  # `http://host/x`: urllib.parse.urlsplit
    if not path.startswith("/") and "/" in path:
        yield path[path.index("/") :]  # appended to a URL's host: `:80/x`, `@host/x`
    if "/." in path or path.startswith("."):
        yield from _without_dots(path)
    if _CONTROL.search(path):
        yield _CONTROL.sub("", path)  # browsers, str.strip
        yield path.partition("\0")[0]  # C strings
    if not path.isascii():  # bytes that are not UTF-8 are dropped: bottle routes /adm%FFin to /admin
        yield path.encode("latin-1").decode("utf-8", "ignore").encode().decode("latin-1")


def _without_dots(path: str) -> tuple[str, ...]:
    """Return a path without dot segments. A last one leaves a slash by RFC 3986 §5.2.4, none in normpath."""
    root = "/" if path.startswith("/") else ""
    segments = path[len(root) :].split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    result = root + "/".join(kept)
    return (result, result.removesuffix("/") + "/") if segments[-1] in (".", "..") else (result,)


class _Paths:
    """Holds patterns, so that `path in paths` is one look-up and one comparison of prefixes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        every = tuple(patterns)
        self._exact = frozenset(pattern for pattern in every if not pattern.endswith("*"))
        self.prefixes = tuple({pattern[:-1] for pattern in every if pattern.endswith("*")})

    def __bool__(self) -> bool:
        return bool(self._exact or self.prefixes)

    def __contains__(self, path: str) -> bool:
        return path in self._exact or path.startswith(self.prefixes)


class _Rule(NamedTuple):
    """Holds one entry of `require`. The method None stands for all."""

    method: str | None
    pattern: str
    scopes: frozenset[str]

    def names(self, names: tuple[str, ...]) -> bool:
        if self.pattern.endswith("*"):
            return any(name.startswith(self.pattern[:-1]) for name in names)
        return self.pattern in names

    def covers(self, method: str) -> bool:
        return self.method in (None, method) or (self.method == "GET" and method == "HEAD")


def _rules(require: object) -> list[_Rule]:
    if not isinstance(require, Mapping):
        raise ConfigurationError(f"require: map 'METHOD /path' or '/path' to scopes; this is {require!r}")
    rules = []
    for key, requirement in require.items():
        method, blank, path = str(key).partition(" ")
        if str(key).startswith("/"):
            rules.append(_Rule(None, _pattern("require", key), _scopes(key, requirement)))
        elif blank and _METHOD.fullmatch(method):
            rules.append(_Rule(method, _pattern("require", path), _scopes(key, requirement)))
        else:
            raise ConfigurationError(
                f"require: {key!r} is neither 'METHOD /path' (methods are upper-case: 'GET /x') nor '/path'"
            )
    return rules


def _scopes(key: object, requirement: object) -> frozenset[str]:
    """Return the scopes of an entry; a request needs all. An empty list demands credentials and no scope."""
    scopes = (requirement,) if isinstance(requirement, str) else requirement
    if not isinstance(scopes, Iterable) or isinstance(scopes, Mapping):
        raise ConfigurationError(f"require[{key!r}]: give a scope or a list of scopes, not {requirement!r}")
    found = list(scopes)
    for scope in found:
        try:
            check([scope])
        except InvalidScope as problem:
            raise ConfigurationError(
                f"require[{key!r}]: {scope!r} is not a scope: {problem} (several scopes are a list)"
            ) from None
    return frozenset(found)


def _patterns(setting: str, patterns: object) -> list[str]:
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise ConfigurationError(f"{setting}: give a list of patterns, as in ['/x/*'], not {patterns!r}")
    return [_pattern(setting, pattern) for pattern in patterns]


def _pattern(setting: str, pattern: object) -> str:
    """Return the pattern as paths are spelled. Raise `ConfigurationError` for one that can never match."""
    if not isinstance(pattern, str):
        raise ConfigurationError(f"{setting}: give each pattern as a string, not {pattern!r}")
    try:
        spelled = pattern.encode().decode("latin-1")
    except UnicodeEncodeError:
        raise ConfigurationError(f"{setting}: {pattern!r} is not text") from None
    if not pattern.startswith("/"):
        problem = "does not start with '/'"
    elif "*" in pattern[:-1]:
        problem = "has a '*' before its end; only a last '*' stands for any rest"
    elif "?" in pattern:
        problem = "has a '?'; a pattern names a path, without a query, and '?' is no wildcard"
    elif pattern != pattern.strip():
        problem = "ends in white space"
    elif _ESCAPE.search(pattern):
        problem = "is percent-encoded; paths are compared decoded, so write it as plain text"
    elif _ODD.search(spelled):
        problem = "is odd: write it without '.', '..', '//', ';', backslash and control characters"
    else:
        return spelled
    raise ConfigurationError(f"{setting}: {pattern!r} {problem}")
