"""Scopes: reading them, and the one rule that says which scopes cover which.

    scope       = scope-token *( SP scope-token )          RFC 6749 §3.3
    scope-token = 1*( %x21 / %x23-5B / %x5D-7E )           visible ASCII without `"` and `\\`

A scope set is unordered by the standard; order is kept here only because people like to see their own.
Scopes are kept as granted, unexpanded: `sp:scopes:all` is a word like any other until `covers` is asked,
so a catalogue that grows or shrinks takes effect at once on tokens that are out already.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from ..errors import InvalidScope
from .rights import implies, is_right

# What OpenID Connect clients and ZITADEL's SDKs ask for as a matter of protocol, whatever they want to do.
DEFAULT_IGNORED = ("openid", "profile", "offline_access", "urn:zitadel:*")

MAX_SCOPES = 256
MAX_LENGTH = 128  # characters of one scope
_MAX_TEXT = MAX_SCOPES * (MAX_LENGTH + 1) - 1  # the longest list that can be right
SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_SHOWN = 48  # characters of a scope that an error repeats: a secret that was taken for one is longer
_NAMED = 3  # how many missing scopes an error spells out


def parse(text: str) -> tuple[str, ...]:
    """Read the `scope` of a request (RFC 6749 §3.3): its scopes in order, doubles dropped.

    The empty text is `()`, because an empty parameter counts as omitted (§3.1). Raises `InvalidScope` for
    any other separator than one space, other characters, over 256 scopes or over 128 characters in one.
    """
    if not text:
        return ()
    if len(text) > _MAX_TEXT:
        raise _too_many()
    return check(text.split(" "))


def check(scopes: Iterable[str]) -> tuple[str, ...]:
    """Hold a list that Python or JSON gave to the same rules: its scopes in order, doubles dropped.

    Raises `InvalidScope`, also for a plain text: that is a list of letters to Python, and never meant.
    """
    if isinstance(scopes, str | bytes | Mapping) or not isinstance(scopes, Iterable):
        raise InvalidScope("scope: give a list of texts, such as ['reports:read', 'reports:write']")
    kept: dict[str, None] = {}
    # The message gives the place and never the scope itself, which may hold anything (RFC 6750 §3.1).
    for place, scope in enumerate(scopes, 1):
        if place > MAX_SCOPES:
            raise _too_many()
        if not isinstance(scope, str):
            raise InvalidScope(f"scope {place} is not a text")
        if not scope:
            raise InvalidScope(f"scope {place} is empty; scopes are separated by exactly one space")
        if len(scope) > MAX_LENGTH:
            raise InvalidScope(f"scope {place} is longer than {MAX_LENGTH} characters")
        if not SCOPE_TOKEN.fullmatch(scope):
            raise InvalidScope(f"scope {place} has a blank, quote, backslash, control or non-ASCII character")
        kept[scope] = None
    return tuple(kept)


def check_known(scopes: Iterable[str], catalogue: Collection[str] | None) -> None:
    """Raise `InvalidScope` unless the catalogue has them all, rights apart; None: there is no catalogue."""
    for place, scope in enumerate(scopes, 1):
        if not known_of([scope], catalogue):
            shown = scope if len(scope) <= _SHOWN else f"number {place}"
            raise InvalidScope(f"{shown} is not in the catalogue (setting scopes)", field="scope")


def known_of(scopes: Iterable[str], catalogue: Collection[str] | None) -> tuple[str, ...]:
    """Those that `check_known` lets pass."""
    return tuple(scope for scope in scopes if catalogue is None or scope in catalogue or is_right(scope))


def covers(held: Collection[str], wanted: Iterable[str], catalogue: Collection[str] = ()) -> bool:
    """Whether who holds `held` has all of `wanted`; nothing wanted is always covered.

    The one rule for gate, exchange, creation and `require_scope`. `sp:scopes:all` stands for what `catalogue`
    lists, `:manage` rights excepted; wanted, it is covered only by itself. A right covers what `allows` says.
    Sets or short tuples are quickest. `TypeError` for a plain text: `"read" in "reports:read"` is true of
    texts, and nothing is wanted by "".
    """
    if type(held) is type(wanted) is frozenset and wanted <= held:  # as on nearly all requests
        return True
    if isinstance(held, str) or isinstance(wanted, str) or isinstance(catalogue, str):
        raise TypeError("covers() takes collections of scopes, not a text")
    # A loop and not all(...): the generator alone would take longer, on every request.
    for scope in wanted:
        if scope in held or implies(held, scope, catalogue):
            continue
        return False
    return True


def narrow(
    requested: Iterable[str], held: tuple[str, ...], catalogue: Collection[str], ignored: tuple[str, ...]
) -> tuple[str, ...]:
    """The scopes of an access token, out of those its PAT holds (RFC 6749 §3.3; never more than asked).

    Entries of `ignored` are a scope or a beginning followed by `*`; what they match is dropped first. Nothing
    left: all of `held`. Else exactly what is left, in the order asked. Raises `InvalidScope` if a scope is
    malformed or not covered; the text names up to three that are not, which are safe to repeat by then:
    a scope-token has only characters that an `error_description` may have (RFC 6750 §3.1).
    """
    exact, beginnings = _matcher(ignored)
    asked = tuple(
        scope for scope in check(requested) if scope not in exact and not scope.startswith(beginnings)
    )
    if not asked:
        return held
    if covers(held, asked, catalogue):
        return asked
    missing = [
        scope if len(scope) <= _SHOWN else f"({len(scope)} characters)"
        for scope in asked
        if not covers(held, (scope,), catalogue)
    ]
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise InvalidScope(f"not held by this personal access token: {' '.join(missing[:_NAMED])}{more}")


@lru_cache(maxsize=16)
def _matcher(ignored: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Split an ignore list into whole scopes and beginnings, for `in` and `str.startswith`."""
    return (
        frozenset(entry for entry in ignored if not entry.endswith("*")),
        tuple(entry[:-1] for entry in ignored if entry.endswith("*")),
    )


def _too_many() -> InvalidScope:
    return InvalidScope(f"more than {MAX_SCOPES} scopes")
