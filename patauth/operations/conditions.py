"""The conditions under which a PAT, and the access tokens that come from it, may be used.

A new condition belongs here. Every use asks one of these functions: a secret `require_usable`, an access
token, the caller's own PAT and introspection `is_usable`. The store's scripts also check what they can, so
that a PAT that has ended charges no quota: `active` and `current` in store/lua/prelude.lua, and the same
inline in authenticate.lua, which runs on each request. For a record with conditions that no script can read,
authenticate.lua asks for the judgement of `meets_conditions` first, and charges nothing. Of a credential that
was good before, only what may have changed while the record is the same is judged again: `secret_window` and
`is_usable_from`, by admit.py, exchange.py and lua/exchange.lua.
"""

from __future__ import annotations

from ..errors import InvalidCredentials, InvalidRequest, Refusal
from ..model.address import is_within
from ..model.pat import PersonalAccessToken
from ..store.record import NEVER, PatRecord, TokenRecord

_WORDS = {
    "expired": "has expired",
    "disabled": "is disabled",
    "not_yet": "may not be used yet",
    "outside": "may not be used from this address",
}


def is_usable(pat: PersonalAccessToken, now: int, address: str | None) -> bool:
    """Return whether a PAT, or an access token that came from it, may be used at `now` (ms).

    `address` is where the client is known to be; None: not known, which is outside of all networks.
    """
    return pat.state_at(now) == "active" and is_usable_from(pat, address)


def is_usable_from(pat: PersonalAccessToken, address: str | None) -> bool:
    """Return whether a PAT may be used from an address."""
    return is_within(address, pat.networks)


def secret_window(record: PatRecord, generation: int) -> tuple[int, int]:
    """Return from when and until when a secret may be used (ms), as long as its PAT's record stays the same.

    With `is_usable_from`, that is all that `is_usable` says of an enabled PAT.
    """
    ends_ms = secret_expiry(record, generation)
    return record.pat.not_before_ms or 0, NEVER if ends_ms is None else ends_ms


def meets_conditions(pat: PersonalAccessToken, now: int, address: str | None) -> bool:
    """Return whether what no script of the store can judge allows the use of a PAT: not-before, networks."""
    begins_ms = pat.not_before_ms
    return (begins_ms is None or now >= begins_ms) and is_usable_from(pat, address)


def require_usable(pat: PersonalAccessToken, now: int, address: str | None) -> None:
    """Raise `InvalidCredentials` unless a PAT may be used at `now` (ms) from an address.

    The error says why, so it is only for a caller who has shown the PAT's secret.
    """
    state = pat.state_at(now)
    if state == "active" and is_usable_from(pat, address):
        return
    if state == "revoked":  # it gets the answer for an unknown PAT
        raise InvalidCredentials
    why: Refusal = "outside" if state == "active" else state
    raise InvalidCredentials(f"the personal access token {_WORDS[why]}", state=why)


def require_changeable(pat: PersonalAccessToken, now: int) -> None:
    """Raise `InvalidRequest` for a PAT that has expired at `now` (ms): it can only be read or deleted."""
    if pat.has_expired(now):
        raise InvalidRequest("this personal access token has expired; it can only be read or deleted")


def is_token_usable(record: PatRecord, token: TokenRecord, now: int, address: str | None) -> bool:
    """Return whether an access token may be used at `now` (ms) from an address.

    The token, its PAT and the secret that it came from must all be valid.
    """
    return (
        token.pat_id == record.pat.id
        and now < token.expires_ms
        and is_usable(record.pat, now, address)
        and record.passes(token.generation, now)
    )


def secret_expiry(record: PatRecord, generation: int) -> int | None:
    """Return when a secret expires (ms; None: never): with the PAT, the previous one with its overlap too."""
    pat_end = record.pat.expires_ms
    if generation == record.secrets[0].generation:
        return pat_end
    return record.overlap_end_ms if pat_end is None else min(record.overlap_end_ms, pat_end)


def token_expiry(record: PatRecord, token: TokenRecord) -> int:
    """Return when an access token expires (ms): never after its secret, whose expiry may have moved since."""
    secret_end = secret_expiry(record, token.generation)
    return token.expires_ms if secret_end is None else min(token.expires_ms, secret_end)
