"""What tests under traffic have in common."""

from __future__ import annotations

from collections.abc import Callable

from patauth import InvalidCredentials, StoreUnavailable


def outcome(call: Callable[[], object]) -> str:
    """What a call came to: "accepted", "refused" or "503"."""
    try:
        call()
    except InvalidCredentials:
        return "refused"
    except StoreUnavailable:
        return "503"
    return "accepted"
