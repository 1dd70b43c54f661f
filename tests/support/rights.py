"""Who may do what, written down a second time: the oracle for tests of rights.

Nothing here is computed as `patauth.model.rights` computes it. What each right is worth is spelled out word
by word, and what each call takes is the table of the management API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from hypothesis import strategies as st

EVERYTHING = "sp:scopes:all"

# What each right is worth, whichever way it is spelled.
WORTH = {
    "my-personal-access-tokens:read": ["read my"],
    "my-personal-access-tokens:manage": ["read my", "delete my", "manage my"],
    "managed-personal-access-tokens:read": ["read my", "read managed"],
    "managed-personal-access-tokens:manage": [
        *["read my", "delete my", "manage my"],
        *["read managed", "delete managed", "manage managed"],
    ],
    "all-personal-access-tokens:read": ["read my", "read managed", "read all"],
    "all-personal-access-tokens:manage": [
        *["read my", "delete my", "manage my"],
        *["read managed", "delete managed", "manage managed"],
        *["read all", "delete all", "manage all"],
    ],
}
RIGHTS = {
    f"{spelling}:{right}": frozenset(worth) for right, worth in WORTH.items() for spelling in ("idn", "sp")
}
READING = {right for right in RIGHTS if right.endswith(":read")}

MY_READ, MY_MANAGE = "idn:my-personal-access-tokens:read", "idn:my-personal-access-tokens:manage"
MANAGED_READ, MANAGED_MANAGE = (
    "idn:managed-personal-access-tokens:read",
    "idn:managed-personal-access-tokens:manage",
)
ALL_READ, ALL_MANAGE = "idn:all-personal-access-tokens:read", "idn:all-personal-access-tokens:manage"

# Scopes that look like rights, and are as good as any other word.
LOOK_ALIKES = [
    "IDN:all-personal-access-tokens:manage",
    "idn:ALL-personal-access-tokens:manage",
    "idn:all-personal-access-tokens:Manage",
    "idn:all-personal-access-tokens:delete",
    "idn:all-personal-access-tokens:*",
    "idn:all-personal-access-tokens:manage:",
    "idn:all-personal-access-tokens",
    "idn:any-personal-access-tokens:manage",
    "idn:-personal-access-tokens:manage",
    "id:all-personal-access-tokens:manage",
    "xidn:all-personal-access-tokens:manage",
    "all-personal-access-tokens:manage",
    "idn:scopes:all",
    "SP:scopes:all",
    "sp:scopes:*",
]


def powers(held: Collection[str], catalogue: Collection[str] = ()) -> frozenset[str]:
    """What the holder of these scopes may do with PATs: such as "read my" and "manage all"."""
    found = {power for scope in held for power in RIGHTS.get(scope, ())}
    if EVERYTHING in held:
        found |= {"read my", "delete my"}
        found |= {power for scope in READING & set(catalogue) for power in RIGHTS[scope]}
    return frozenset(found)


def covered(held: Collection[str], wanted: Iterable[str], catalogue: Collection[str] = ()) -> bool:
    """Whether the holder of `held` may pass on all of `wanted`, or be let in where that is demanded.

    `sp:scopes:all` stands for what the catalogue lists; but of rights, for those to read alone, and for what
    these include.
    """
    named = set(held) - {EVERYTHING}
    listed = set(catalogue) if EVERYTHING in held else set()
    worth = {power for right in (named & set(RIGHTS)) | (listed & READING) for power in RIGHTS[right]}
    return all(
        scope in held or (RIGHTS[scope] <= worth if scope in RIGHTS else scope in listed) for scope in wanted
    )


# What a call takes: a power without which it is refused, and one without which its PAT is not there.
# "own", "other", "managed" (by the caller, says the setting) and "missing" are whose PAT it is.
NEEDS: dict[str, tuple[str, str]] = {
    "list me": ("read my", ""),
    "list own id": ("read all", ""),
    "list other": ("read all", ""),
    "list managed": ("read managed", ""),
    "list all": ("read all", ""),
    "get own": ("read my", "read my"),
    "get other": ("read my", "read all"),
    "get managed": ("read my", "read managed"),
    "get missing": ("read my", "nothing would do"),
    "create": ("manage my", ""),
    "create for self": ("manage all", ""),
    "create for other": ("manage all", ""),
    "create for managed": ("manage all", ""),
    "patch own": ("manage my", "manage my"),
    "patch other": ("manage my", "manage all"),
    "patch managed": ("manage my", "manage all"),
    "patch missing": ("manage my", "nothing would do"),
    "rotate own": ("manage my", "manage my"),
    "rotate other": ("manage my", "manage all"),
    "rotate managed": ("manage my", "manage all"),
    "rotate missing": ("manage my", "nothing would do"),
    "delete own": ("delete my", "delete my"),
    "delete other": ("delete my", "delete all"),
    "delete managed": ("delete my", "delete all"),
    "delete missing": ("delete my", "nothing would do"),
    "bulk own": ("manage all", ""),
    "bulk other": ("manage all", ""),
    "bulk managed": ("manage all", ""),
    "bulk missing": ("manage all", "nothing would do"),
}

Outcome = Literal["done", "forbidden", "missing", "invalid"]


def expected(call: str, may: Collection[str]) -> Outcome:
    """What comes of a call by who may do this. In bulk, an id that is not there is a fault of the request."""
    at_all, this_one = NEEDS[call]
    if at_all not in may:
        return "forbidden"
    if this_one and this_one not in may:
        return "invalid" if call.startswith("bulk") else "missing"
    return "done"


# Sets of rights that tests go through.
HELD: dict[str, list[str]] = {
    "none": [],
    **{right: [right] for right in RIGHTS},
    "all scopes": [EVERYTHING],
    "all scopes, my:read": [EVERYTHING, MY_READ],
    "all scopes, my:manage": [EVERYTHING, MY_MANAGE],
    "all scopes, managed:read": [EVERYTHING, MANAGED_READ],
    "all scopes, all:manage": [EVERYTHING, ALL_MANAGE],
    "my:manage, all:read": [MY_MANAGE, ALL_READ],
    "my:manage, managed:read": [MY_MANAGE, MANAGED_READ],
    "managed:manage, all:read": [MANAGED_MANAGE, ALL_READ],
    "every right but one": sorted(set(RIGHTS) - {ALL_MANAGE, ALL_MANAGE.replace("idn", "sp")}),
    "look-alikes": LOOK_ALIKES,
}


# Scopes, rights among them, as properties draw them.
words = st.one_of(
    st.just(EVERYTHING),
    st.sampled_from(list(RIGHTS)),
    st.sampled_from(["oauth:introspect", "reports:read", "reports:write"]),
    st.sampled_from(LOOK_ALIKES),
)
word_sets = st.frozensets(words, max_size=4)
catalogues = st.frozensets(words, max_size=4)

REACHES, VERBS = ["my", "managed", "all"], ["read", "delete", "manage"]
# Each right alone and together with everything, with each right alone in the catalogue.
FEW = [{*named, *more} for named in [(), *zip(RIGHTS)] for more in [(), (EVERYTHING,)]]
LISTED = [set(), *({right} for right in RIGHTS)]
