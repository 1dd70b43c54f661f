"""The verbs of management in one tenant: PATs made, looked at, listed, changed, rotated, removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ..crypto.hashing import Hasher
from ..errors import InvalidRequest
from ..model.caller import Caller, Person, Principal
from ..model.pat import IssuedPat, Owner, PersonalAccessToken
from ..model.quota import Quota
from ..settings import Settings
from ..store.store import RedisStore

# The verbs are imported at their first use: an app that only verifies does without them.
if TYPE_CHECKING:
    from ..model.filters import Filter, Sorter
    from .lifecycle import Manager, NewPat
    from .listing import Lister, Listing
    from .permissions import Standing
    from .update import Changer


class Management:
    """What can be done with the PATs of a tenant; `Authority` has this for its own, and verifies too.

    Each verb takes `by`: on whose behalf, a `Principal` or a `Person`. Their rights then decide, and their
    own authority limits what they make. Without it, it is the application itself that asks, and may do
    everything.
    """

    def __init__(
        self, settings: Settings, store: RedisStore, hasher: Hasher, guest: Caller | None = None
    ) -> None:
        self.settings = settings
        self._store = store
        self._hasher = hasher
        self._guest = guest

    @cached_property
    def _manager(self) -> Manager:
        from .lifecycle import Manager

        return Manager(self.settings, self._store, self._hasher)

    @cached_property
    def _changer(self) -> Changer:
        from .update import Changer

        return Changer(self.settings, self._store, self._hasher)

    @cached_property
    def _lister(self) -> Lister:
        from .listing import Lister

        return Lister(self.settings, self._store)

    def create(
        self,
        *,
        owner: Owner | None = None,
        name: str,
        scope: Iterable[str],
        expires_in: timedelta | None = None,
        expires_at: datetime | None = None,
        never_expires: bool = False,
        access_token_ttl: int | None = None,
        request_quota: Quota | str | None = None,
        by: Caller | None = None,
    ) -> IssuedPat:
        """Make a PAT. Its secret is in the answer and nowhere else.

        `owner`: None is `by`'s own. `name` is unique per owner. Exactly one of `expires_in`, `expires_at`
        (with a time zone) and `never_expires=True`. `access_token_ttl`: 15-43200 s. `request_quota`:
        "count/seconds" in place of the setting. Raises `InvalidRequest`, `InvalidScope`, `Conflict` (the
        name, or too many PATs), `Forbidden` (no right to it, or the owner is disabled), `Overloaded`.
        """
        from ..model.expiry import Expiry
        from .lifecycle import NewPat

        if not isinstance(owner, Owner | None):
            raise InvalidRequest("give a patauth.Owner", field="owner")
        if [expires_in is not None, expires_at is not None, never_expires].count(True) != 1:
            raise InvalidRequest(
                "give exactly one of expires_in, expires_at and never_expires=True", field="expiry"
            )
        new = NewPat(
            owner=owner,
            name=name,
            scope=scope,
            expiry=Expiry.read(expires_in if expires_in is not None else expires_at),
            access_token_ttl=access_token_ttl,
            request_quota=request_quota,
            never_acknowledged=never_expires,
        )
        return self.create_pat(new, by=by)

    def create_pat(self, new: NewPat, *, by: Caller | None = None) -> IssuedPat:
        """As `create`, of what a wire format has read."""
        return self._manager.create(self._standing(by), new)

    def get(self, pat_id: str, *, by: Caller | None = None) -> PersonalAccessToken:
        """One PAT, also an expired one within its retention. Raises `NotFound`, `Forbidden`."""
        return self._manager.get(self._standing(by), pat_id)

    def get_presented(self, by: Caller) -> PersonalAccessToken:
        """The PAT by which somebody calls; it needs no right for that. Raises `NotFound` for a `Person`."""
        return self._manager.get_presented(self._standing(by))

    def list(
        self,
        *,
        owner_id: str | None = None,
        filters: str | Filter | None = None,
        sort: str | Sequence[Sorter] | None = None,
        offset: int = 0,
        limit: int | None = None,
        count: bool = False,
        by: Caller | None = None,
    ) -> Listing:
        """PATs of an owner, of `by` ("me"), or with None of the tenant; expired ones within their retention
        too.

        `filters` in the grammar of `patauth.model.filters`; `sort` such as "name" or "-created,name"; without
        it an owner's come by creation, and a tenant's in no particular but steady order. `limit` None: all,
        up to 10 000. With `count`, `.total` of the answer is how many there are in all. Raises
        `InvalidRequest` (also when it would have to read over 10 000 PATs), `Forbidden`.
        """
        return self._lister.list_for(self._standing(by), owner_id, filters, sort, offset, limit, count)

    def patch(
        self,
        pat_id: str,
        operations: object,
        *,
        fields: Collection[str] | None = None,
        by: Caller | None = None,
    ) -> PersonalAccessToken:
        """Change a PAT by a JSON Patch (RFC 6902), all of it or nothing; the PAT as it is then.

        `operations` such as `[{"op": "replace", "path": "/name", "value": "ci"}]`, on the members `name`,
        `scope`, `expirationDate` and `userAwareTokenNeverExpires`; with `fields`, only on these. An expiry of
        null needs `userAwareTokenNeverExpires: true` in the same patch. Access tokens keep their scopes.
        Raises `InvalidRequest`, `InvalidScope`, `Conflict` (the name), `NotFound`, `Forbidden`.
        """
        return self._changer.patch(self._standing(by), pat_id, operations, fields)

    def patch_many(
        self, pat_ids: Sequence[str], operations: object, *, by: Caller | None = None
    ) -> Sequence[PersonalAccessToken]:
        """Change the expiry of 1-25 PATs by one JSON Patch; the PATs in the order of their ids.

        All are checked first; those of one owner then change together or not at all. Raises as `patch`.
        """
        return self._changer.patch_many(self._standing(by), pat_ids, operations)

    def rotate(
        self, pat_id: str, *, overlap: timedelta = timedelta(hours=1), by: Caller | None = None
    ) -> IssuedPat:
        """Give a PAT a new secret, shown here and never again; id, name, scopes and expiry stay.

        The secret until now passes for `overlap` too, at most 7 days and never past the expiry, and the
        access tokens that came from it end with it; `timedelta(0)` ends them at once. Raises `NotFound`,
        `Forbidden` (no right to it, the owner is disabled, or the PAT can do more than `by`),
        `InvalidRequest`, `Overloaded`.
        """
        return self._changer.rotate(self._standing(by), pat_id, overlap)

    def delete(self, pat_id: str, *, by: Caller | None = None) -> None:
        """Revoke a PAT for good: it and its access tokens are refused from the next request on.

        Returns only once that is durable (setting `durability`); else raises `StoreUnavailable`, and is
        safe to repeat. Raises `NotFound`, `Forbidden`.
        """
        self._manager.delete(self._standing(by), pat_id)

    def delete_presented(self, by: Caller) -> None:
        """Revoke the PAT by which somebody calls; it needs no right for that. As `delete`."""
        self._manager.delete_presented(self._standing(by))

    def tenant_sequence(self) -> int:
        """A number that grows with each change to the tenant's PATs."""
        return self._store.tenant.sequence(self._store.deadline())

    def now(self) -> int:
        """The store's clock, in milliseconds since 1970: what expiries and dates of changes go by."""
        return self._store.now(self._store.deadline())

    def _standing(self, by: Caller | None) -> Standing:
        from .permissions import Standing

        if not isinstance(by, Principal | Person | None):
            raise InvalidRequest("give a patauth.Principal or a patauth.Person", field="by")
        return Standing(self.settings, self._store.for_request(), by, self._guest)
