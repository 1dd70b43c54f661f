"""Management: what can be done with the PATs of one tenant, each call on somebody's behalf.

Both wire dialects, the command line and `Authority` call these operations. Each takes `by`, a `Principal` or
a `Person`: their rights decide, and their own authority limits what they make. None is the application
itself, which may do everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta

from ..crypto.hashing import Hasher
from ..errors import InvalidRequest
from ..events import Events
from ..model.caller import Caller, Person, Principal
from ..model.filters import Filter, Sorter
from ..model.pat import IssuedPat, PersonalAccessToken
from ..settings import Settings
from ..store.store import Store
from . import lifecycle, owners
from .create import NewPat, create
from .listing import Listing, list_pats
from .pat_change import PatChange
from .pat_patch import PatPatch
from .permissions import Actor
from .rotate import rotate
from .update import update, update_many


class Management:
    """The PATs of a tenant. With a `guest`, it serves that caller of another tenant and nobody else."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        hasher: Hasher,
        events: Events,
        guest: Caller | None = None,
    ) -> None:
        self.settings = settings
        self._store = store
        self._hasher = hasher
        self._events = events
        self._guest = guest

    def actor(self, by: Caller | None) -> Actor:
        """Return a caller of one operation, whose store calls have one deadline. Raises `Forbidden`."""
        if not isinstance(by, Principal | Person | None):
            raise InvalidRequest("give a patauth.Principal or a patauth.Person", field="by")
        store = self._store.for_request()
        return Actor(self.settings, store, self._hasher, self._events, by, self._guest)

    def create(self, new: NewPat, *, by: Caller | None) -> IssuedPat:
        """Make a PAT. See `operations.create`."""
        return create(self.actor(by), new)

    def get(self, pat_id: str, *, by: Caller | None) -> PersonalAccessToken:
        """Return one PAT. See `operations.lifecycle`, here and below."""
        return lifecycle.get(self.actor(by), pat_id)

    def get_self(self, by: Caller) -> PersonalAccessToken:
        """Return the PAT that calls."""
        return lifecycle.get_self(self.actor(by))

    def delete(self, pat_id: str, *, by: Caller | None) -> None:
        """Remove a PAT, durably."""
        lifecycle.delete(self.actor(by), pat_id)

    def delete_self(self, by: Caller) -> None:
        """Remove the PAT that calls, durably."""
        lifecycle.delete_self(self.actor(by))

    def list(
        self,
        *,
        owner_id: str | None = None,
        filters: str | Filter | None = None,
        sort: str | Sequence[Sorter] | None = None,
        offset: int = 0,
        limit: int | None = None,
        count: bool = False,
        by: Caller | None,
    ) -> Listing:
        """Return PATs of an owner, of `by` ("me"), or with None of the tenant. See `Authority.list`."""
        return list_pats(self.actor(by), owner_id, filters, sort, offset, limit, count, self._store)

    def update(self, pat_id: str, change: PatChange, *, by: Caller | None) -> PersonalAccessToken:
        """Change a PAT; return it as it is then. See `operations.pat_change`."""
        return update(self.actor(by), pat_id, lambda _: change)

    def patch(
        self, pat_id: str, operations: object, *, fields: Collection[str] | None, by: Caller | None
    ) -> PersonalAccessToken:
        """Change a PAT by a JSON Patch of its members `fields` (None: all). See `Authority.patch`."""
        actor = self.actor(by)
        actor.require_own("manage")
        return update(actor, pat_id, PatPatch(operations, fields).change_of)

    def patch_many(
        self, pat_ids: Sequence[str], operations: object, *, by: Caller | None
    ) -> Sequence[PersonalAccessToken]:
        """Change the expiry of 1-25 PATs by one JSON Patch; return them in the order of their ids."""
        return update_many(self.actor(by), pat_ids, operations)

    def rotate(self, pat_id: str, *, overlap: timedelta, by: Caller | None) -> IssuedPat:
        """Give a PAT a new secret. See `operations.rotate`."""
        return rotate(self.actor(by), pat_id, overlap)

    def set_owner_state(self, owner_id: str, *, disabled: bool) -> int:
        """Disable or enable an owner, durably; return how many PATs there are."""
        return owners.set_owner_state(self.actor(None), owner_id, disabled=disabled)

    def revoke_owner(self, owner_id: str) -> int:
        """Remove all PATs of an owner, durably; return how many."""
        return len(owners.revoke_owner(self.actor(None), owner_id))

    def purge_access_tokens(self) -> Iterator[int]:
        """Remove all access tokens of the store; yield how many were removed with each piece."""
        return owners.purge_access_tokens(self.actor(None), self._store)

    def tenant_sequence(self) -> int:
        """Return a number that grows with each change to the tenant's PATs."""
        return self._store.tenant_index.sequence()

    def now(self) -> int:
        """Return the store's clock, ms since 1970: expiries and dates of changes go by it."""
        return self._store.pats.now()
