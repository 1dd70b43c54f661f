"""Personal access tokens (PATs), their owners, and the rules for names and ids.

Instants are whole milliseconds since 1970 (see `patauth.model.dates`). An expiry of None means never.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntFlag
from typing import Literal

from ..errors import InvalidRequest
from . import dates
from .owner_types import DEFAULT_OWNER_TYPE, OWNER_TYPES
from .quota import Quota

State = Literal["active", "not_yet", "expired", "disabled", "revoked"]

ID = re.compile(r"[!-.0-~]{1,128}")  # visible ASCII without blank and "/"
MAX_NAME = 128  # code points
MAX_DESCRIPTION = 256  # code points; of a reason, too
_LONGEST_SHRINK = 4  # NFC joins at most this many code points: alpha, breathing, accent, iota subscript
# Control characters; the line and paragraph separators, which also end a line; lone surrogates, which have no
# UTF-8; embeddings, overrides and isolates of writing direction, which rearrange the text around the name.
NOT_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def check_id(text: object, what: str) -> str:
    """Return an owner or tenant id: 1-128 visible ASCII characters without blank or `/`, and not `me`.

    `what` is the field of the `InvalidRequest` that other values raise.
    """
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise InvalidRequest("give 1 to 128 visible ASCII characters without blank or '/'", field=what)
    if text == "me":
        raise InvalidRequest("'me' is reserved for the caller; give another id", field=what)
    return str.__str__(text)  # not a subclass, which a record cannot hold


def check_name(text: object, what: str = "name") -> str:
    """Return a name for people in Unicode's form NFC: 1-128 code points without control characters.

    `what` is the field of the `InvalidRequest` that other values raise.
    """
    return _check_text(text, what, MAX_NAME)


def check_description(text: object, what: str = "description") -> str:
    """Return a description or a reason in Unicode's form NFC: 1-256 code points without control characters.

    `what` is the field of the `InvalidRequest` that other values raise.
    """
    return _check_text(text, what, MAX_DESCRIPTION)


def _check_text(text: object, what: str, most: int) -> str:
    if not isinstance(text, str):
        raise InvalidRequest("give a text", field=what)
    text = str.__str__(text)  # not a subclass, which a record cannot hold
    if NOT_IN_NAME.search(text):
        raise InvalidRequest(
            "control characters, line breaks, overrides of writing direction and lone surrogates"
            " are not allowed",
            field=what,
        )
    # The time to normalise grows with the square of a run of accents, so a long text is not normalised.
    found = unicodedata.normalize("NFC", text) if len(text) <= _LONGEST_SHRINK * most else ""
    if not 1 <= len(found) <= most or not found.strip():
        raise InvalidRequest(f"give 1 to {most} characters, not only blanks", field=what)
    return found


@dataclass(frozen=True, slots=True, init=False)
class Owner:
    """The owner of a PAT: the person or the service account that it acts for.

    `id`: 1-128 visible ASCII characters without blank or `/`, and not `me`. `name`: 1-128 code points, for
    people to read; without one, it is the id. `type`: one of `OWNER_TYPES`. Raise `InvalidRequest`.
    """

    id: str
    name: str
    type: str

    def __init__(self, id: str, name: str | None = None, type: str = DEFAULT_OWNER_TYPE) -> None:  # noqa: A002
        if not isinstance(type, str) or type not in OWNER_TYPES:
            raise InvalidRequest("give IDENTITY or another type of the management API", field="owner type")
        object.__setattr__(self, "id", check_id(id, "owner id"))
        object.__setattr__(self, "name", self.id if name is None else check_name(name, "owner name"))
        object.__setattr__(self, "type", str.__str__(type))

    @classmethod
    def stored(cls, id: str, name: str | None, type: str | None) -> Owner:  # noqa: A002
        """Return an owner from a record. It was checked by the rules of the day when it was written."""
        owner = object.__new__(cls)
        object.__setattr__(owner, "id", id)
        object.__setattr__(owner, "name", id if name is None else name)
        object.__setattr__(owner, "type", DEFAULT_OWNER_TYPE if type is None else type)
        return owner


class Disabled(IntFlag):
    """Why a PAT is disabled. The marks are independent: enabling clears one mark and leaves the others."""

    OWNER = 1  # its owner is disabled
    BY_OWNER = 2  # its owner has disabled it, or a caller who may change the owner's PATs alone
    BY_OPERATOR = 4  # the application has, or a caller who may change all PATs; only such enable it


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked for a change: an owner, by one of their PATs or as a signed-in person."""

    owner_id: str
    pat_id: str | None = None  # None: a person
    tenant: str | None = None  # None: that of the PAT; another one for a guest


@dataclass(frozen=True, slots=True)
class PersonalAccessToken:
    """A PAT as it was when it was read: everything about it but its secret.

    Attributes that end in `_ms` are milliseconds since 1970; the properties return datetimes.
    """

    id: str  # 32 lower-case hex digits
    name: str
    scope: tuple[str, ...]  # as granted, unexpanded
    owner: Owner
    tenant: str
    created_ms: int
    changed_ms: int
    sequence: int  # 1 for a new PAT; each change adds 1
    expires_ms: int | None = None  # None: never
    last_used_ms: int | None = None  # None: not used yet
    access_token_ttl: int | None = None  # seconds; None: the setting
    request_quota: Quota | None = None  # None: the setting
    disabled: Disabled = Disabled(0)
    never_acknowledged: bool = False  # the maker has confirmed that it may never expire
    description: str | None = None
    networks: tuple[str, ...] = ()  # where it may be used (`patauth.model.address`); none: everywhere
    not_before_ms: int | None = None  # it may be used from then on; None: at once
    last_used_from: str | None = None  # address or network of the last use; None: not known
    address_replaced: bool = False  # whether that replaced another one on the UTC day of the last use
    made_by: Requester | None = None  # None: the application
    revoked_ms: int | None = None  # it was removed then, and is listed until its retention is over
    revoked_by: Requester | None = None  # None: the application
    revoked_reason: str | None = None
    read_ms: int = field(default=0, compare=False)  # when it was read, by the store's clock

    @property
    def state(self) -> State:
        """The state when the PAT was read. The first of these counts: revoked, disabled, expired, not_yet."""
        return self.state_at(self.read_ms)

    def state_at(self, now: int) -> State:
        """Return the state at `now` (ms). It changes in the millisecond of the expiry or of not-before."""
        if self.revoked_ms is not None:
            return "revoked"
        if self.disabled:
            return "disabled"
        if self.expires_ms is not None and now >= self.expires_ms:  # as `has_expired`, without its call
            return "expired"
        return "active" if self.not_before_ms is None or now >= self.not_before_ms else "not_yet"

    def has_expired(self, now: int) -> bool:
        """Return whether its expiry has come at `now` (ms), even if it is disabled."""
        return self.expires_ms is not None and now >= self.expires_ms

    @property
    def is_conditional(self) -> bool:
        """Whether its use depends on conditions that the scripts of the store cannot read."""
        return bool(self.networks) or self.not_before_ms is not None

    @property
    def created(self) -> datetime:
        """When the PAT was made (UTC)."""
        return dates.to_datetime(self.created_ms)

    @property
    def last_used(self) -> datetime | None:
        """The last use of the secret (UTC; it moves at most once a UTC day); None: not used yet."""
        return None if self.last_used_ms is None else dates.to_datetime(self.last_used_ms)

    @property
    def expires_at(self) -> datetime | None:
        """When the PAT expires (UTC); None: never."""
        return None if self.expires_ms is None else dates.to_datetime(self.expires_ms)

    @property
    def not_before(self) -> datetime | None:
        """From when on the PAT may be used (UTC); None: at once."""
        return None if self.not_before_ms is None else dates.to_datetime(self.not_before_ms)

    @property
    def revoked_at(self) -> datetime | None:
        """When the PAT was removed (UTC); None: it was not."""
        return None if self.revoked_ms is None else dates.to_datetime(self.revoked_ms)


@dataclass(frozen=True, slots=True)
class IssuedPat:
    """A new PAT with its secret, which nobody can read again later.

    `secret` is for HTTP Basic and OAuth (`client_secret`). `token` is a bearer token, ready to use.
    """

    pat: PersonalAccessToken
    secret: str = field(repr=False)
    token: str = field(repr=False)


def used(pat: PersonalAccessToken, now: int, used_from: str | None) -> PersonalAccessToken:
    """Return a PAT after a use at `now` (ms), or `pat` itself if nothing needs to be written.

    `used_from` is the address or network of the use; None: not known. It is written with the first use of a
    UTC day, when it is the first known address of that day, and once a day when it replaces another one.
    """
    if use_is_due(pat.last_used_ms, now):
        return replace(pat, last_used_ms=now, last_used_from=used_from, address_replaced=False)
    if used_from != pat.last_used_from and not pat.address_replaced:
        return replace(pat, last_used_from=used_from, address_replaced=pat.last_used_from is not None)
    return pat


def use_is_due(last_used_ms: int | None, now: int) -> bool:
    """Return whether a use at `now` must be written: it is the first one on this UTC day.

    A last use that is more than a day ahead was written by a clock that was wrong, so it does not count.
    """
    begins_ms, ends_ms = use_window(last_used_ms)
    return not begins_ms <= now < ends_ms


def use_window(last_used_ms: int | None) -> tuple[int, int]:
    """Return from when and until when (ms) no other use is due: `use_is_due`."""
    if last_used_ms is None:
        return 0, 0
    return last_used_ms - dates.DAY, (last_used_ms // dates.DAY + 1) * dates.DAY


def is_gone(expires_ms: int | None, now: int, retention_ms: int) -> bool:
    """Return whether a PAT is past its retention: it is no longer listed, and its name is free again."""
    return expires_ms is not None and now >= expires_ms + retention_ms
