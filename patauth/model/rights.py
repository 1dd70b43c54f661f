"""Rights: scopes that let their holder read or manage PATs.

    {idn|sp}:{my|managed|all}-personal-access-tokens:{read|manage}
    sp:scopes:all      reads and deletes its holder's own PATs
    oauth:introspect   introspects every access token of the tenant
    self:rotate        the PAT gives itself a new secret

A right is kept and granted like any other scope. This module alone knows what a right allows.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

EVERYTHING = "sp:scopes:all"  # covers the scopes of the catalogue, and nothing else
INTROSPECT = "oauth:introspect"  # for resource servers
ROTATE_SELF = "self:rotate"

Reach = Literal["my", "managed", "all"]  # each one includes those before it
Verb = Literal["read", "delete", "manage"]

_RIGHT = re.compile(r"(?:idn|sp):(my|managed|all)-personal-access-tokens:(read|manage)")
_WIDTH = {"my": 0, "managed": 1, "all": 2}
_ALLOWED_BY = {"read": ("read",), "manage": ("read", "delete", "manage")}


def allows(held: Collection[str], reach: Reach, verb: Verb, catalogue: Collection[str] = ()) -> bool:
    """Return whether `held` gives the right to `verb` PATs: the holder's own, of people they manage, or all.

    `idn:` and `sp:` spell the same right. `:manage` includes `:read`; `all` includes `managed`, and `managed`
    includes `my`. `sp:scopes:all` includes reading and deleting the holder's own PATs, and the `:read` rights
    in `catalogue`. It never includes making or changing PATs: that needs a `:manage` right by name.
    """
    if EVERYTHING in held and reach == "my" and verb != "manage":
        return True
    return _grants(held, reach, verb, catalogue)


def is_right(scope: str) -> bool:
    """Return whether a scope is a right, which needs no entry in a catalogue."""
    return scope in (EVERYTHING, INTROSPECT, ROTATE_SELF) or _RIGHT.fullmatch(scope) is not None


def implies(held: Collection[str], scope: str, catalogue: Collection[str]) -> bool:
    """Return whether `held` includes a scope that is not listed there word for word."""
    right = _RIGHT.fullmatch(scope)
    if right is None:
        return EVERYTHING in held and scope in catalogue
    return _grants(held, right[1], right[2], catalogue)


def _grants(held: Collection[str], reach: str, verb: str, catalogue: Collection[str]) -> bool:
    """Return whether a right in `held` gives this; `sp:scopes:all` adds the `:read` rights of `catalogue`."""
    candidates = [*held]
    if EVERYTHING in held:
        candidates += [scope for scope in catalogue if scope.endswith(":read")]
    for scope in candidates:
        right = _RIGHT.fullmatch(scope)
        if right and _WIDTH[right[1]] >= _WIDTH[reach] and verb in _ALLOWED_BY[right[2]]:
            return True
    return False
