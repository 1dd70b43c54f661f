"""Read scopes, and decide by one rule which scopes cover which.

    scope       = scope-token *( SP scope-token )          RFC 6749 §3.3
    scope-token = 1*( %x21 / %x23-5B / %x5D-7E )           visible ASCII without `"` and `\\`

In the standard, scopes have no order. patauth keeps the order in which people gave them, for display only.
Scopes are kept as granted, unexpanded: only `covers` interprets `sp:scopes:all`. So a change of the catalogue
takes effect at once, also on tokens that were issued before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from ..errors import InvalidScope
from .rights import implies, is_right

# OpenID Connect clients, ZITADEL's SDKs and Identity Security Cloud's requests for Postman ask for these.
DEFAULT_IGNORED = ("openid", "profile", "offline_access", "urn:zitadel:*", "sp:scopes:default")

MAX_SCOPES = 256
MAX_LENGTH = 128  # characters of one scope
_MAX_TEXT = MAX_SCOPES * (MAX_LENGTH + 1) - 1  # the longest list that can be right
SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_SHOWN = 48  # characters of the longest scope that an error repeats; a secret, sent by mistake, is longer
_NAMED = 3  # how many missing scopes an error spells out


def parse(text: str) -> tuple[str, ...]:
    """Return the scopes of a request's `scope` in order, without duplicates (RFC 6749 §3.3).

    The empty text is `()`, because an empty parameter counts as omitted (§3.1). Raise `InvalidScope` for a
    separator other than one space, other characters, over 256 scopes, or over 128 characters in one.
    """
    if not text:
        return ()
    if len(text) > _MAX_TEXT:
        raise _too_many()
    return check(text.split(" "))


def check(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of a list in order, without duplicates, by the rules of `parse`.

    Raise `InvalidScope`, also for a plain text: Python would read it as a list of letters.
    """
    if isinstance(scopes, str | bytes | Mapping) or not isinstance(scopes, Iterable):
        raise InvalidScope("scope: give a list of texts, such as ['reports:read', 'reports:write']")
    kept: dict[str, None] = {}
    # The message gives the place and never repeats the scope, which may contain anything (RFC 6750 §3.1).
    for place, scope in enumerate(scopes, 1):
        if place > MAX_SCOPES:
            raise _too_many()
        if callable(scope):
            raise InvalidScope(
                f"scope {place} is a function; give a decorator its scopes in parentheses: require_scope('a')"
            )
        if not isinstance(scope, str):
            raise InvalidScope(f"scope {place} is not a text")
        if not scope:
            raise InvalidScope(f"scope {place} is empty; scopes are separated by exactly one space")
        if len(scope) > MAX_LENGTH:
            raise InvalidScope(f"scope {place} is longer than {MAX_LENGTH} characters")
        if not SCOPE_TOKEN.fullmatch(scope):
            raise InvalidScope(f"scope {place} has a blank, quote, backslash, control or non-ASCII character")
        kept[str.__str__(scope)] = None  # not a subclass, which a record cannot hold
    return tuple(kept)


def check_some(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of a PAT by the rules of `check`; there must be at least one."""
    checked = check(scopes)
    if not checked:
        raise InvalidScope("give at least one scope", field="scope")
    return checked


def check_known(scopes: Iterable[str], catalogue: Collection[str] | None) -> None:
    """Raise `InvalidScope` for a scope that is neither in the catalogue nor a right; None: no catalogue."""
    for place, scope in enumerate(scopes, 1):
        if not known_of([scope], catalogue):
            shown = scope if len(scope) <= _SHOWN else f"number {place}"
            raise InvalidScope(f"{shown} is not in the catalogue (setting scopes)", field="scope")


def known_of(scopes: Iterable[str], catalogue: Collection[str] | None) -> tuple[str, ...]:
    """Return the scopes that `check_known` accepts."""
    return tuple(scope for scope in scopes if catalogue is None or scope in catalogue or is_right(scope))


def covers(held: Collection[str], wanted: Iterable[str], catalogue: Collection[str] = ()) -> bool:
    """Return whether `held` covers all of `wanted`. An empty `wanted` is always covered.

    Gate, exchange, creation and `require_scope` use this one rule. `sp:scopes:all` covers the scopes of
    `catalogue` except `:manage` rights; only itself covers it. A right covers what `rights.allows` says. Sets
    or short tuples are fastest. Raise `TypeError` for a plain text, because `"read" in "reports:read"` is
    true, and because "" wants nothing.
    """
    if isinstance(held, str) or isinstance(wanted, str) or isinstance(catalogue, str):
        raise TypeError("covers() takes collections of scopes, not a text")
    # This is a loop and not all(...), because a generator would take longer.
    for scope in wanted:
        if scope in held or implies(held, scope, catalogue):
            continue
        return False
    return True


def narrow(
    requested: Iterable[str], held: tuple[str, ...], catalogue: Collection[str], ignored: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the scopes of an access token, of those that its PAT holds (RFC 6749 §3.3).

    `requested` comes from `parse` or `check`. An entry of `ignored` is a scope, or a beginning followed by
    `*`; requested scopes that match one are dropped. If nothing is left, return all of `held`, else exactly
    the scopes that are left, in their order. Raise `InvalidScope` if one is not covered. The text names up
    to three of them. It may repeat them, because a scope-token has only characters that an
    `error_description` may have (RFC 6750 §3.1).
    """
    exact, beginnings = _matcher(ignored)
    asked = tuple(scope for scope in requested if scope not in exact and not scope.startswith(beginnings))
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
