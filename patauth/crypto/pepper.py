"""The pepper: keys that are not in the store. One of them goes into each secret before argon2 hashes it.

    what argon2 hashes = HMAC-SHA256(key of the newest pepper, 32 bytes of the secret)

So nobody can check a guess with a copy of the store alone, even if secrets were short. The mark in a digest
says which pepper was used. Digests with any of the listed peppers verify.

The message does not contain the PAT id. Each secret is 256 random bits for one PAT, and each digest has its
own salt, so the id would not make anything more distinct. Nor would it stop an attacker who moves a digest
into the record of another PAT. The secret tag stops that: it is compared first, and covers the id with a
key that is not in the store either, since the setting `pepper` requires `secret_key`.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .keyring import read_key

MARK_BYTES = 4
NO_PEPPER = bytes(MARK_BYTES)  # the mark of a digest without a pepper


@dataclass(frozen=True, slots=True)
class Pepper:
    """A pepper: a key with an id. `repr` shows only the id."""

    id: str  # 1-32 characters of A-Z a-z 0-9 _ . -
    key: bytes = field(repr=False)  # 32 bytes

    @property
    def mark(self) -> bytes:
        """4 bytes that name the pepper in a record. They come from the id, and say nothing about the key."""
        return sha256(self.id.encode()).digest()[:MARK_BYTES]

    def mix(self, secret: bytes) -> bytes:
        """Return the 32 bytes that argon2 hashes in place of the secret."""
        return hmac.digest(self.key, secret, "sha256")


Peppers = tuple[Pepper | None, ...]  # oldest to newest; None, only as the last one: new hashes use none


def read_peppers(value: Any) -> Peppers:
    """Read peppers from a text "ID:KEY ID:KEY", or from pairs of an id and a key. The newest is the last.

    If the last one is the word `none`, or None, the others still verify, and new hashes use no pepper. Raise
    `ValueError`, which repeats nothing of the value.
    """
    if isinstance(value, str):
        items: list[Any] = [None if word == "none" else word.split(":", 1) for word in value.split()] or [()]
    elif value is None or isinstance(value, tuple | list):
        items = list(value or ())
    else:
        items = [()]
    last = [None] if items and items[-1] is None else []
    peppers = [_read(item) for item in items[: len(items) - len(last)]]
    # A mark equal to NO_PEPPER, or two equal marks, would name the wrong pepper.
    if len({NO_PEPPER, *(pepper.mark for pepper in peppers)}) != len(peppers) + 1:
        raise ValueError("two have the same id, or ids that records cannot tell apart; choose another id")
    if len({pepper.key for pepper in peppers}) != len(peppers):
        raise ValueError("two have the same key; make a new one for each")
    return (*peppers, *last) if peppers else ()


def _read(item: Any) -> Pepper:
    pair = (item.id, item.key) if isinstance(item, Pepper) else item
    if isinstance(pair, tuple | list) and len(pair) == 2:
        name, key = pair
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name):
            return Pepper(name, read_key(key))
    raise ValueError("give ID:KEY, the newest last; an id is 1 to 32 letters, digits and _ . -")
