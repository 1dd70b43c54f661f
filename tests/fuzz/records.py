"""Records of PATs, removed ones too, and of access tokens: bytes mutated from real ones.

Such bytes are `StoreUnavailable`, or a record that can be shown and packs to bytes that say the same.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import msgspec

from patauth import Owner, PersonalAccessToken, Quota, StoreUnavailable
from patauth.crypto.hashing import Digest
from patauth.model.dates import LATEST
from patauth.model.pat import Disabled, Requester
from patauth.model.pat_id import PatId
from patauth.model.rights import allows
from patauth.store.record import (
    PatRecord,
    SecretSlot,
    TokenRecord,
    pack,
    pack_note,
    pack_token,
    unpack,
    unpack_removed,
    unpack_token,
)
from tests.fuzz.search import Target
from tests.fuzz.spoil import ODD_BYTES, any_json, spoiled
from tests.support.clocks import NOW
from tests.support.rights import ALL_MANAGE

FIXED, SLOT = 69, 77  # bytes before the slots, and of one
VERSION = b"version!"
SLOTS = tuple(
    SecretSlot(number, bytes([number]) * 16, Digest(b"s" * 16, b"d" * 32, 19_456, 2, 1)) for number in (2, 1)
)
PLAIN = PersonalAccessToken(
    "00112233445566778899aabbccddeeff", "ci", ("a", "b"), Owner("alice", "Alice"), "default", NOW, NOW, 1
)
FULL = replace(
    PLAIN,
    scope=(ALL_MANAGE, "a"),
    changed_ms=NOW + 5,
    expires_ms=NOW + 9,
    last_used_ms=NOW + 1,
    access_token_ttl=60,
    request_quota=Quota(7, 3),
    disabled=Disabled.OWNER | Disabled.BY_OPERATOR,
    never_acknowledged=True,
)
PATS = [pack(PatRecord(PLAIN, SLOTS[:1]), VERSION), pack(PatRecord(FULL, SLOTS, NOW + 9), VERSION)]
REMOVED = [
    packed[:1] + b"r0" + packed[3:FIXED] + NOW.to_bytes(6) + pack_note(by, reason) + packed[head:]
    for packed, head, by, reason in (
        (PATS[0], FIXED + SLOT, None, None),
        (PATS[1], FIXED + 2 * SLOT, Requester("bob", PLAIN.id), "caf\u00e9"),
    )
]
TOKENS = [
    pack_token(TokenRecord(PatId(PLAIN.id), 1, NOW, scopes))
    for scopes in ((), ("a", "b"), ("x" * 128,) * 256)
]

Given = tuple[str, bytes]


class Records(Target):
    """Reads records of all kinds."""

    name = "records"

    def generate(self, chance: Random) -> Given:
        if chance.random() < 0.3:
            return "token", spoiled(chance, chance.choice(TOKENS), TOKENS)
        if chance.random() < 0.2:
            return "removed PAT", spoiled(chance, chance.choice(REMOVED), REMOVED + PATS)
        record = chance.choice(PATS)
        if chance.random() < 0.5:
            return "PAT", spoiled(chance, record, PATS)
        head = FIXED + SLOT * (record[2] - ord("0"))
        rest = msgspec.msgpack.decode(record[head:])
        for _ in range(chance.choice((0, 1, 1, 2))):
            at = chance.randrange(len(rest))
            rest[at : at + 1] = chance.choice(
                ([chance.choice(VALUES)], [storable(any_json(chance))], [], [rest[at]] * 2, rest[:at])
            )
            rest = rest or [None]
        packed = record[:head] + msgspec.msgpack.encode(rest)
        if chance.random() < 0.3:
            packed = spoiled(chance, packed)
        return "PAT", chance.choice((packed, packed, packed, packed + chance.choice(ODD_BYTES)))

    def judge(self, given: Given) -> str:
        kind, data = given
        try:
            found = {"PAT": unpack, "token": unpack_token, "removed PAT": unpack_removed}[kind](data)
        except StoreUnavailable as problem:
            assert problem.detail
            return f"{kind} not understood"
        assert repr(found)
        if isinstance(found, TokenRecord):
            assert 0 <= found.expires_ms <= LATEST
            assert unpack_token(pack_token(found)) == found
            return "token read"
        pat = found.pat
        assert repr((pat.created, pat.expires_at, pat.last_used, pat.revoked_at, pat.state))
        if kind == "removed PAT":
            assert (pat.state, found.secrets) == ("revoked", ())
            return "removed PAT read"
        reached = found.reached_others or allows(pat.scope, "all", "manage")
        assert unpack(pack(found, found.version)) == replace(found, reached_others=reached)
        return "PAT read"


VALUES = [
    0,
    1,
    -1,
    2**31,
    2**63,
    2**64 - 1,
    -(2**63),
    LATEST,
    LATEST + 1,
    0.5,
    None,
    True,
    "",
    "a",
    "\u0301",
    [],
    {},
]


def storable(value: object) -> object:
    """Return a value of JSON as MessagePack can hold it."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case int() if not -(2**63) <= value < 2**64:
            return 0
        case list():
            return [storable(one) for one in value]
        case dict():
            return {storable(name): storable(one) for name, one in value.items()}
    return value
