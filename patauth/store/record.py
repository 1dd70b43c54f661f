"""Records: PATs and access tokens as the bytes that Redis holds. This module does no I/O and reads no clock.

PAT record, schema 2. All numbers are big-endian. The scripts read the fixed part at the same offsets, which
lua/layout.lua names; a test compares the two.

    at  bytes
     0  1   schema "2"
     1  1   state: "a" is active; the marks of `Disabled` are added to it, and `_CONDITIONAL`
     2  1   how many secret slots follow: "1" or "2"
     3  6   expiry, ms; all ones: never
     9  6   last use, ms; 0: none
    15  3   generation of the current secret
    18  6   end of the overlap, ms: until then the previous secret is valid too; 0: none
    24  3   request quota: count; 0: the setting's
    27  3   request quota: seconds
    30  16  PAT id: readers compare it with the id that they asked for
    46  8   version: random bytes; each write draws new ones, except that of a last use
    54  1   marks: bit 0: the PAT may change PATs of others, or once might
    55  6   creation, ms
    61  8   name tag: start of the SHA-256 of the name
    69  77  current secret; from 146 on, a slot of the same form for the previous secret, if any
            3 generation, 16 secret tag, 16 salt, 32 argon2id digest, 4 memory KiB, 1 time cost,
            1 parallelism, 4 pepper (start of SHA-256 of its id; 0: none)
     …  …   MessagePack array of the fields that scripts do not read: `_Rest`

Record of a removed PAT: 69 the head of its record as it was, but with the state "r" and "0" slots; 6 when it
was removed, ms; 2 length of a MessagePack array of who removed it and why: `_Note`; that array; `_Rest`.
Access token record: 1 schema "2", 3 generation, 6 expiry, 16 PAT id, then its scopes, space-separated.
Owner index entry: 6 creation, 12 rest of the PAT id, 8 name tag.
Owner record: 1 schema "2", 1 state: "d" disabled, "a" enabled, 8 epoch: random bytes that each change draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from hashlib import sha256
from typing import Any, ParamSpec, TypeVar

import msgspec

from ..crypto.hashing import Digest
from ..errors import StoreUnavailable
from ..model.dates import LATEST
from ..model.owner_types import DEFAULT_OWNER_TYPE
from ..model.pat import Disabled, Owner, PersonalAccessToken, Requester
from ..model.pat_id import PatId
from ..model.quota import Quota
from ..model.rights import allows

SCHEMA = b"2"
OF_ANOTHER_VERSION = "its schema is that of another version of patauth"
NEVER = 2**48 - 1

ID_AT, TOKEN_ID_AT = 30, 10
VERSION_BYTES, LAST_USE_BYTES = 8, 6
_LAST_USE_AT = 9
_VERSION_AT, _MARKS_AT, _CREATED_AT, _NAME_AT, _SLOTS_AT = 46, 54, 55, 61, 69
_NOTE_AT = _SLOTS_AT + 6 + 2  # in the record of a removed PAT, after the instant and its own length
_ENTRY, _NAME_TAG = 26, 8  # bytes of an owner index entry, and of the name tag at its end
_SLOT = 77
_TOKEN_HEAD = 26
SMALL = 2048  # bytes; a usual record has about 200
_ACTIVE = ord("a")
_REMOVED = SCHEMA + b"r0"  # how the record of a removed PAT begins, which no reader of PAT records takes
_CONDITIONAL = 8  # the operations have more to judge than the scripts: networks, not-before
_DISABLED = {_ACTIVE + marks: Disabled(marks & 7) for marks in range(16)}

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SecretSlot:
    """What the store keeps of one secret."""

    generation: int
    tag: bytes = field(repr=False)  # 16 bytes of HMAC-SHA256
    digest: Digest = field(repr=False)


@dataclass(frozen=True, slots=True)
class PatRecord:
    """A PAT and its secret slots, the current one first.

    `packed` holds the bytes that were read. A write compares them with what the store has then.
    """

    pat: PersonalAccessToken
    secrets: tuple[SecretSlot, ...]
    overlap_end_ms: int = 0
    reached_others: bool = False  # whether it may change PATs of others, or once might
    packed: bytes = field(default=b"", compare=False, repr=False)

    @property
    def pat_id(self) -> PatId:
        """The id of the PAT."""
        return PatId(self.pat.id)

    @property
    def version(self) -> bytes:
        """The version of the bytes that were read."""
        return self.packed[_VERSION_AT:_MARKS_AT]

    @property
    def last_use(self) -> bytes:
        """The last use in the bytes that were read: all that may change while the version stays."""
        return self.packed[_LAST_USE_AT : _LAST_USE_AT + LAST_USE_BYTES]

    def as_read_at(self, now: int) -> PatRecord:
        """Return this record with `now` (ms, the store's clock) as its read time."""
        return replace(self, pat=replace(self.pat, read_ms=now))

    def slot_of(self, tag: bytes, now: int) -> SecretSlot | None:
        """Return the slot with this secret tag: the current one, or during the overlap the previous one."""
        current, *previous = self.secrets
        if current.tag == tag:
            return current
        for slot in previous:
            if slot.tag == tag and now < self.overlap_end_ms:
                return slot
        return None

    def is_rotated_away(self, tag: bytes, now: int) -> bool:
        """Return whether this is the tag of the previous secret, and its overlap is over.

        lua/authenticate.lua says the same. The secrets before that one are not known any more.
        """
        return self.slot_of(tag, now) is None and any(slot.tag == tag for slot in self.secrets)

    def passes(self, generation: int, now: int) -> bool:
        """Return whether access tokens of a generation are valid.

        The current generation is, and during the overlap the previous one.
        """
        current, *previous = self.secrets
        if generation == current.generation:
            return True
        return now < self.overlap_end_ms and any(slot.generation == generation for slot in previous)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An access token: its PAT, its expiry and its scopes."""

    pat_id: PatId
    generation: int
    expires_ms: int
    scopes: tuple[str, ...]


class _Who(msgspec.Struct, array_like=True, frozen=True):
    owner_id: str
    pat_id: str | None
    tenant: str | None


class _Rest(msgspec.Struct, array_like=True, frozen=True):
    # A new field goes to the end and has a default, so that old records stay readable. Those at the end that
    # have their defaults are left out.
    tenant: str
    owner_id: str
    owner_name: str | None  # None: the id
    owner_type: str | None  # None: DEFAULT_OWNER_TYPE
    name: str
    scope: tuple[str, ...]
    changed: int  # ms after the creation
    sequence: int
    ttl: int | None  # seconds
    never_acknowledged: bool = False  # userAwareTokenNeverExpires of the management API
    used_from: str | None = None
    address_replaced: bool = False
    made_by: _Who | None = None
    description: str | None = None
    networks: tuple[str, ...] = ()
    not_before: int | None = None  # ms


class _Note(msgspec.Struct, array_like=True, frozen=True):
    by: _Who | None
    reason: str | None


_DEFAULTS = msgspec.structs.astuple(_Rest("", "", None, None, "", (), 0, 0, None))
_REQUIRED = 9  # fields that are never left out
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Rest).decode
_decode_note = msgspec.msgpack.Decoder(_Note).decode


def pack(record: PatRecord, version: bytes) -> bytes:
    """Return the bytes of a PAT record. `version`: 8 random bytes that no other write has."""
    pat = record.pat
    quota = pat.request_quota
    owner = pat.owner
    head = b"".join(
        (
            SCHEMA,
            (_ACTIVE + pat.disabled + (_CONDITIONAL if pat.is_conditional else 0)).to_bytes(1),
            str(len(record.secrets)).encode(),
            pack_expiry(pat.expires_ms),
            (pat.last_used_ms or 0).to_bytes(6),
            record.secrets[0].generation.to_bytes(3),
            record.overlap_end_ms.to_bytes(6),
            (quota.count if quota else 0).to_bytes(3),
            (quota.seconds if quota else 0).to_bytes(3),
            record.pat_id.raw,
            version,
            b"\1" if record.reached_others or allows(pat.scope, "all", "manage") else b"\0",
            pat.created_ms.to_bytes(6),
            name_tag(pat.name),
        )
    )
    rest = _Rest(
        pat.tenant,
        owner.id,
        None if owner.name == owner.id else owner.name,
        None if owner.type == DEFAULT_OWNER_TYPE else owner.type,
        pat.name,
        pat.scope,
        pat.changed_ms - pat.created_ms,
        pat.sequence,
        pat.access_token_ttl,
        pat.never_acknowledged,
        pat.last_used_from,
        pat.address_replaced,
        _who(pat.made_by),
        pat.description,
        pat.networks,
        pat.not_before_ms,
    )
    return b"".join((head, *map(pack_slot, record.secrets), _encode(_trimmed(rest))))


def _who(by: Requester | None) -> _Who | None:
    return None if by is None else _Who(by.owner_id, by.pat_id, by.tenant)


def _requester(who: _Who | None) -> Requester | None:
    return None if who is None else Requester(who.owner_id, who.pat_id, who.tenant)


def _trimmed(rest: _Rest) -> list[object]:
    """Return the fields without the defaults at the end."""
    values = list(msgspec.structs.astuple(rest))
    while len(values) > _REQUIRED and values[-1] == _DEFAULTS[len(values) - 1]:
        values.pop()
    return values


def _remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Cache the results of `read`, a function of a record: a record seldom changes.

    Results for large records are not cached, so that the memory is bounded.
    """
    cached = lru_cache(maxsize=4096)(read)

    @wraps(read)
    def get(data: bytes) -> T:
        return cached(data) if len(data) <= SMALL else read(data)

    return get


@_remembered
def unpack(data: bytes) -> PatRecord:
    """Read a PAT record. `read_ms` of its PAT is 0.

    Raise `StoreUnavailable` for bytes that are not a record: they decide nothing.
    """
    try:
        if data[:1] != SCHEMA:
            raise ValueError(OF_ANOTHER_VERSION)
        if data[2] not in b"12":
            raise ValueError("slots")
        end = _SLOTS_AT + _SLOT * (data[2] - 48)
        pat = _unpack_pat(data, _DISABLED[data[1]], data[end:])
        slots = tuple(_unpack_slot(data[at : at + _SLOT]) for at in range(_SLOTS_AT, end, _SLOT))
        return PatRecord(pat, slots, int.from_bytes(data[18:24]), bool(data[_MARKS_AT] & 1), data)
    except Exception as problem:
        raise not_understood("PAT record", problem) from None


def _unpack_pat(data: bytes, disabled: Disabled, rest_of_it: bytes) -> PersonalAccessToken:
    rest = _decode(rest_of_it)
    count, seconds = int.from_bytes(data[24:27]), int.from_bytes(data[27:30])
    created_ms = int.from_bytes(data[_CREATED_AT:_NAME_AT])
    pat = PersonalAccessToken(
        id=data[30:46].hex(),
        name=rest.name,
        scope=rest.scope,
        owner=Owner.stored(rest.owner_id, rest.owner_name, rest.owner_type),
        tenant=rest.tenant,
        created_ms=created_ms,
        changed_ms=created_ms + rest.changed,
        sequence=rest.sequence,
        expires_ms=unpack_expiry(data[3:9]),
        last_used_ms=int.from_bytes(data[9:15]) or None,
        access_token_ttl=rest.ttl,
        request_quota=Quota(count, seconds) if count else None,
        disabled=disabled,
        never_acknowledged=rest.never_acknowledged,
        description=rest.description,
        networks=rest.networks,
        not_before_ms=rest.not_before,
        last_used_from=rest.used_from,
        address_replaced=rest.address_replaced,
        made_by=_requester(rest.made_by),
    )
    for ms in (pat.created_ms, pat.changed_ms, pat.expires_ms, pat.last_used_ms, pat.not_before_ms):
        _check_instant(ms or 0)
    return pat


def pack_note(by: Requester | None, reason: str | None) -> bytes:
    """Return what a removal says of itself, with its length, as lua/removed.lua writes it."""
    note = _encode(_Note(_who(by), reason))
    return len(note).to_bytes(2) + note


def unpack_removed(data: bytes) -> PatRecord:
    """Read the record of a removed PAT. It has no secrets, and `read_ms` of its PAT is 0.

    Raise `StoreUnavailable` for bytes that are not one.
    """
    try:
        if data[:3] != _REMOVED:
            raise ValueError(OF_ANOTHER_VERSION)
        end = _NOTE_AT + int.from_bytes(data[_NOTE_AT - 2 : _NOTE_AT])
        note = _decode_note(data[_NOTE_AT:end])
        revoked_ms = int.from_bytes(data[_SLOTS_AT : _NOTE_AT - 2])
        _check_instant(revoked_ms)
        pat = replace(
            _unpack_pat(data, Disabled(0), data[end:]),
            revoked_ms=revoked_ms,
            revoked_by=_requester(note.by),
            revoked_reason=note.reason,
        )
        return PatRecord(pat, (), packed=data)
    except Exception as problem:
        raise not_understood("record of a removed PAT", problem) from None


def pack_slot(slot: SecretSlot) -> bytes:
    """Return the 77 bytes of a secret slot."""
    digest = slot.digest
    return b"".join(
        (
            slot.generation.to_bytes(3),
            slot.tag,
            digest.salt,
            digest.digest,
            digest.memory_kib.to_bytes(4),
            digest.time_cost.to_bytes(1),
            digest.parallelism.to_bytes(1),
            digest.pepper,
        )
    )


def _unpack_slot(data: bytes) -> SecretSlot:
    digest = Digest(
        salt=data[19:35],
        digest=data[35:67],
        memory_kib=int.from_bytes(data[67:71]),
        time_cost=data[71],
        parallelism=data[72],
        pepper=data[73:77],
    )
    return SecretSlot(int.from_bytes(data[0:3]), data[3:19], digest)


def name_tag(name: str) -> bytes:
    """Return the 8 bytes by which scripts compare names."""
    return sha256(name.encode()).digest()[:_NAME_TAG]


def pack_entry(pat: PersonalAccessToken) -> bytes:
    """Return the 26 bytes of an owner index entry."""
    return pat.created_ms.to_bytes(6) + PatId(pat.id).raw[4:] + name_tag(pat.name)


def id_in_entry(entry: Any, tag: str) -> PatId:
    """Return the PAT id in an owner index entry under an owner tag. Raise `StoreUnavailable`."""
    if not isinstance(entry, bytes) or len(entry) != _ENTRY:
        raise not_understood("owner index", f"an entry is not {_ENTRY} bytes")
    return PatId(tag + entry[6:18].hex())


def last_entry_of_pat(entry: bytes) -> bytes:
    """Return the last entry, in order, that the PAT of an owner index entry can have under any name."""
    return entry[:-_NAME_TAG] + b"\xff" * _NAME_TAG


def pack_expiry(expires_ms: int | None) -> bytes:
    """Return the six bytes of an expiry (ms; None: never)."""
    return (NEVER if expires_ms is None else expires_ms).to_bytes(6)


def unpack_expiry(data: bytes) -> int | None:
    """Return the expiry (ms; None: never) of six bytes."""
    expires_ms = int.from_bytes(data)
    return None if expires_ms == NEVER else expires_ms


def pack_token(token: TokenRecord) -> bytes:
    """Return the bytes of an access token record."""
    head = SCHEMA + token.generation.to_bytes(3) + token.expires_ms.to_bytes(6)
    return head + token.pat_id.raw + " ".join(token.scopes).encode()


@_remembered
def unpack_token(data: bytes) -> TokenRecord:
    """Read an access token record. Raise `StoreUnavailable` for bytes that are not one."""
    try:
        if data[:1] != SCHEMA:
            raise ValueError(OF_ANOTHER_VERSION)
        if len(data) < _TOKEN_HEAD:
            raise ValueError("too short")
        scopes = tuple(data[_TOKEN_HEAD:].decode().split())
        expires_ms = int.from_bytes(data[4:10])
        _check_instant(expires_ms)
        return TokenRecord(PatId(data[10:26].hex()), int.from_bytes(data[1:4]), expires_ms, scopes)
    except ValueError as problem:
        raise not_understood("access token record", problem) from None


def check_id_of(data: Any, pat_id: PatId, at: int = ID_AT) -> None:
    """Raise `StoreUnavailable` unless `data` is None or has this PAT id at `at`.

    This is a second safeguard: a reply to another caller must never give its identity to this one.
    """
    if data is not None and not (isinstance(data, bytes) and data[at : at + 16] == pat_id.raw):
        raise not_understood("record", "it belongs to another PAT, or has another form")


def _check_instant(ms: int) -> None:
    if not 0 <= ms <= LATEST:  # `datetime` would fail later, where nobody expects it
        raise ValueError("an instant is out of range")


def not_understood(what: str, problem: object) -> StoreUnavailable:
    """Return the error for data in the store that this version cannot read.

    `problem` says why: a text or an error.
    """
    return StoreUnavailable(detail=f"{what} not understood: {problem!r}")
