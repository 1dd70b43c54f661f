"""Rights: scopes that let their holder look at PATs, or manage them.

    {idn|sp}:{my|managed|all}-personal-access-tokens:{read|manage}
    sp:scopes:all      reads and deletes its holder's own PATs
    oauth:introspect   looks at every access token of the tenant

A right is a scope like any other; what it is worth is said here, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, cast

EVERYTHING = "sp:scopes:all"  # covers what the catalogue lists, and nothing else
INTROSPECT = "oauth:introspect"  # for resource servers

Reach = Literal["my", "managed", "all"]  # each includes those before it
Verb = Literal["read", "delete", "manage"]

_RIGHT = re.compile(r"(?:idn|sp):(my|managed|all)-personal-access-tokens:(read|manage)")
_WIDTH = {"my": 0, "managed": 1, "all": 2}
_ALLOWED_BY = {"read": ("read",), "manage": ("read", "delete", "manage")}


def allows(held: Collection[str], reach: Reach, verb: Verb, catalogue: Collection[str] = ()) -> bool:
    """Return whether `held` gives the right to `verb` PATs: one's own, of people one manages, or anyone's.

    `idn:` and `sp:` spell the same right; `:manage` includes `:read`; `all` includes `managed` includes `my`.
    `sp:scopes:all` stands for reading and deleting one's own, and for what `catalogue` lists; but never for
    making or changing PATs: that takes a `:manage` right by name.
    """
    for scope in held:
        right = _RIGHT.fullmatch(scope)
        if right and _WIDTH[right[1]] >= _WIDTH[reach] and verb in _ALLOWED_BY[right[2]]:
            return True
    if EVERYTHING not in held:
        return False
    if reach == "my" and verb != "manage":
        return True
    return verb == "read" and allows([scope for scope in catalogue if _is_reading(scope)], reach, "read")


def is_right(scope: str) -> bool:
    """Return whether a scope is a right, which needs no entry in a catalogue."""
    return scope in (EVERYTHING, INTROSPECT) or _RIGHT.fullmatch(scope) is not None


def implies(held: Collection[str], scope: str, catalogue: Collection[str]) -> bool:
    """Return whether the holder of `held` has a scope that is not among them word for word."""
    right = _RIGHT.fullmatch(scope)
    if right is None:
        return EVERYTHING in held and scope in catalogue
    rights = [scope for scope in held if scope != EVERYTHING]
    if EVERYTHING in held:
        rights += [scope for scope in catalogue if _is_reading(scope)]
    return allows(rights, cast(Reach, right[1]), cast(Verb, right[2]))


def _is_reading(scope: str) -> bool:
    right = _RIGHT.fullmatch(scope)
    return right is not None and right[2] == "read"
