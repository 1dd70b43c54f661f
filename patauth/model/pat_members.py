"""The members of a PAT that only patauth has, as the management API and the command line show them."""

from __future__ import annotations

from typing import Any

from . import dates
from .pat import PersonalAccessToken, Requester


def patauth_members(pat: PersonalAccessToken) -> dict[str, Any]:
    """Return the members that only patauth has, by their names in the management API."""
    members = {
        "description": pat.description,
        "networks": list(pat.networks),
        "notBefore": None if pat.not_before_ms is None else dates.format_ms(pat.not_before_ms),
        "requestQuota": None if pat.request_quota is None else str(pat.request_quota),
        "state": pat.state,
        "lastUsedFrom": pat.last_used_from,
        "madeBy": _requester(pat.made_by),
    }
    if pat.revoked_ms is not None:
        members["revokedAt"] = dates.format_ms(pat.revoked_ms)
        members["revokedBy"] = _requester(pat.revoked_by)
        members["revokedReason"] = pat.revoked_reason
    return members


def _requester(who: Requester | None) -> dict[str, str | None] | None:
    if who is None:
        return None
    shown = {"ownerId": who.owner_id, "patId": who.pat_id}
    return shown if who.tenant is None else {**shown, "tenant": who.tenant}
