"""Show people their own PATs, and what they can do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..model.filters import Filter
from ..model.pat import PersonalAccessToken
from ..model.scopes import known_of
from ..model.sorters import Sorter
from .disable import can_enable
from .listing import Lister, Listing, Query, own_owner_id
from .permissions import Actor

_MOST_SOON = 5  # PATs that are named as ending soon
_NO_PAGE = Query(None, (), 0, 0, count=False)
_LOOKED_AT = 25  # PATs that expire next, some of which may not be usable


class OwnPats(NamedTuple):
    """A page of the caller's own PATs, and what is true of all of them."""

    pats: Listing  # with the total
    used: int  # how many have not expired, of `max_pats_per_owner`
    soon: list[PersonalAccessToken]  # usable ones that expire within `expiry_warning`, at most 5 of the next
    is_disabled: bool  # the owner is
    now: int  # ms, the store's clock


def own_pats(
    actor: Actor,
    *,
    filters: Filter | None = None,
    sort: Sequence[Sorter] = (Sorter("created", True),),
    offset: int = 0,
    limit: int = 50,
) -> OwnPats:
    """Return a page of the PATs of the owner that the caller acts for.

    In order of creation and without a filter, it takes two round trips, however many PATs there are. Else all
    are read, with a deadline for each piece. Raise `InvalidRequest`, `TooMany` (to be read), `Forbidden`.
    """
    owner_id, settings = own_owner_id(actor), actor.settings
    query = Query.of(filters, sort, offset, limit, count=True)
    store = actor.store if query.is_page_by_creation else actor.store.without_deadline()
    living = Lister(settings, store, is_of_removed=False)
    soon = (1000 * settings.expiry_warning, _LOOKED_AT if settings.expiry_warning else 0)
    if query.is_page_by_creation:
        found = living.page_of_owner(owner_id, query, soon)
        pats = Listing(found.pats, found.of_all.total)
    else:
        pats = Lister(settings, store, query.is_of_removed).of_owner(owner_id, query)
        found = living.page_of_owner(owner_id, _NO_PAGE, soon)
    usable = [pat for pat in found.soon if pat.state == "active"]
    of_all = found.of_all
    return OwnPats(pats, of_all.unexpired, usable[:_MOST_SOON], of_all.is_disabled, of_all.now)


def grantable(actor: Actor) -> tuple[str, ...]:
    """Return the scopes that the caller can give a PAT of their own, in alphabetical order.

    These are the scopes of the catalogue that they cover, and those of their own that a creation accepts.
    """
    judged = actor.judged()
    held, catalogue = judged.limit.own, actor.settings.scopes
    covered = (scope for scope in catalogue or () if judged.limit.covers((scope,)))
    return tuple(sorted({*known_of(held, catalogue), *covered}))


def actions(actor: Actor, pat: PersonalAccessToken, *, is_disabled: bool = False) -> list[str]:
    """Return what the caller can do now with a PAT of their own: edit, rotate, disable or enable, revoke.

    `is_disabled`: the owner is, so no PAT gets a new secret, and none works.
    """
    if pat.revoked_ms is not None:
        return []
    if not actor.may_own("manage") or pat.has_expired(pat.read_ms):
        return ["revoke"] if actor.may_own("delete") else []
    if is_disabled:
        return ["edit", "revoke"]
    if pat.disabled and not can_enable(actor, pat):
        return ["edit", "rotate", "revoke"]
    return ["edit", "rotate", "enable" if pat.disabled else "disable", "revoke"]


def lifetime_left(actor: Actor, pat: PersonalAccessToken | None, now: int) -> int | None:
    """Return how many seconds from `now` (s) a PAT may live by `max_lifetime`; None: there is no limit.

    `pat` None: a new one.
    """
    longest = actor.settings.max_lifetime
    return longest if longest is None or pat is None else longest - (now - pat.created_ms // 1000)
