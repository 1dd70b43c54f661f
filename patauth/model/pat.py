"""Personal access tokens and their owners: what is true of them at an instant.

Times are whole milliseconds since 1970 (see `patauth.model.dates`); `None` as an expiry means never.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..errors import InvalidRequest
from . import dates
from .owner_types import OWNER_TYPES
from .quota import Quota

State = Literal["active", "expired", "disabled"]

ID = re.compile(r"[!-.0-~]{1,128}")  # visible ASCII without blank and "/"
MAX_NAME = 128  # code points
_LONGEST_SHRINK = 4  # code points that NFC makes one at most: alpha, breathing, accent, iota subscript
# Controls; line and paragraph separator, which end a line too; lone surrogates, which have no UTF-8; and
# embeddings, overrides and isolates of writing direction, which rearrange what stands around the name.
NOT_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def check_id(text: object, what: str) -> str:
    """An owner or tenant id: 1-128 of visible ASCII without blank or `/`, and not `me`."""
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise InvalidRequest("give 1 to 128 visible ASCII characters without blank or '/'", field=what)
    if text == "me":
        raise InvalidRequest("'me' is reserved for the caller; give another id", field=what)
    return text


def check_name(text: object, what: str = "name") -> str:
    """A name for people: 1-128 code points without controls, in Unicode's form NFC."""
    if not isinstance(text, str):
        raise InvalidRequest("give a text", field=what)
    if NOT_IN_NAME.search(text):
        raise InvalidRequest(
            "control characters, line breaks, overrides of writing direction and lone surrogates"
            " are not allowed",
            field=what,
        )
    # Normalising takes the square of the length of a run of accents, so a long text does not get that far.
    name = unicodedata.normalize("NFC", text) if len(text) <= _LONGEST_SHRINK * MAX_NAME else ""
    if not 1 <= len(name) <= MAX_NAME or not name.strip():
        raise InvalidRequest(f"give 1 to {MAX_NAME} characters, not only blanks", field=what)
    return name


@dataclass(frozen=True, slots=True, init=False)
class Owner:
    """Who a PAT acts for: a person or a service account.

    `id`: 1-128 visible ASCII characters without blank or `/`, not `me`. `name`: for people, up to 128 code
    points; the id where it is not given. `type`: one of `OWNER_TYPES`. Raises `InvalidRequest`.
    """

    id: str
    name: str
    type: str

    def __init__(self, id: str, name: str | None = None, type: str = "IDENTITY") -> None:  # noqa: A002
        if not isinstance(type, str) or type not in OWNER_TYPES:
            raise InvalidRequest("give IDENTITY or another type of the management API", field="owner type")
        object.__setattr__(self, "id", check_id(id, "owner id"))
        object.__setattr__(self, "name", self.id if name is None else check_name(name, "owner name"))
        object.__setattr__(self, "type", type)

    @classmethod
    def stored(cls, id: str, name: str | None, type: str | None) -> Owner:  # noqa: A002
        """An owner as a record has it: checked when it was made, by the rules of that day."""
        owner = object.__new__(cls)
        object.__setattr__(owner, "id", id)
        object.__setattr__(owner, "name", id if name is None else name)
        object.__setattr__(owner, "type", "IDENTITY" if type is None else type)
        return owner


@dataclass(frozen=True, slots=True)
class PersonalAccessToken:
    """A PAT as it was read: everything about it but its secret.

    Instants ending in `_ms` are milliseconds since 1970; the properties give datetimes.
    """

    id: str  # 32 lower-case hex
    name: str
    scope: tuple[str, ...]  # as granted, unexpanded
    owner: Owner
    tenant: str
    created_ms: int
    changed_ms: int
    sequence: int  # of changes to this PAT, from 1
    expires_ms: int | None = None  # None: never
    last_used_ms: int | None = None  # None: not used yet
    access_token_ttl: int | None = None  # seconds; None: the setting
    request_quota: Quota | None = None  # None: the setting
    disabled: bool = False
    never_acknowledged: bool = False  # that its maker knows it never expires
    read_ms: int = field(default=0, compare=False)  # when it was read, by the store's clock

    @property
    def state(self) -> State:
        """What it was when it was read: an expired one is not spoken of as disabled."""
        return self.state_at(self.read_ms)

    def state_at(self, now: int) -> State:
        """Expired from the very millisecond of its expiry on."""
        if self.expires_ms is not None and now >= self.expires_ms:
            return "expired"
        return "disabled" if self.disabled else "active"

    @property
    def created(self) -> datetime:
        """When it was made (UTC)."""
        return dates.to_datetime(self.created_ms)

    @property
    def last_used(self) -> datetime | None:
        """Its last use with the secret (UTC, moves at most once a UTC day), or None."""
        return None if self.last_used_ms is None else dates.to_datetime(self.last_used_ms)

    @property
    def expires_at(self) -> datetime | None:
        """When it expires (UTC), or None for never."""
        return None if self.expires_ms is None else dates.to_datetime(self.expires_ms)


@dataclass(frozen=True, slots=True)
class IssuedPat:
    """A new PAT with its secret, shown here and never again.

    `secret` for HTTP Basic and OAuth (`client_secret`), `token` as a ready-to-use bearer.
    """

    pat: PersonalAccessToken
    secret: str = field(repr=False)
    token: str = field(repr=False)


def use_is_due(last_used_ms: int | None, now: int) -> bool:
    """Whether a use at `now` is to be written: not yet used on this UTC day."""
    return last_used_ms is None or now // dates.DAY > last_used_ms // dates.DAY


def is_gone(expires_ms: int | None, now: int, retention_ms: int) -> bool:
    """Whether an expired PAT is past its retention: no longer listed, its name free again."""
    return expires_ms is not None and now >= expires_ms + retention_ms
