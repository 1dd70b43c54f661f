"""The instants of a PAT by which indexes and listings order it, as the numbers that an index stores."""

from __future__ import annotations

from .pat import PersonalAccessToken

NEVER = 2**48 - 1  # the index value of an expirationDate of None; that of a lastUsed of None is 0

# The index values that a field can have, and the one that stands for None (NEVER is past the year 9999).
PRESENT = {
    "created": (0, NEVER - 1),
    "lastUsed": (1, NEVER - 1),
    "expirationDate": (0, NEVER - 1),
    "revokedAt": (0, NEVER - 1),
}
ABSENT = {"lastUsed": 0, "expirationDate": NEVER, "revokedAt": NEVER}
INDEXED = tuple(PRESENT)


def index_value(pat: PersonalAccessToken, field: str) -> int:
    """Return the value of `created`, `lastUsed`, `expirationDate` or `revokedAt` that an index stores.

    It is in ms; 0 stands for never used, and `NEVER` for never expires and not removed. Raise `ValueError`
    for other fields.
    """
    if field == "created":
        return pat.created_ms
    if field == "lastUsed":
        return 0 if pat.last_used_ms is None else pat.last_used_ms
    if field == "expirationDate":
        return NEVER if pat.expires_ms is None else pat.expires_ms
    if field == "revokedAt":
        return NEVER if pat.revoked_ms is None else pat.revoked_ms
    raise ValueError(f"{field} is not an indexed instant")
