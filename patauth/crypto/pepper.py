"""The pepper: keys from outside of the store; with one of them a secret is keyed before argon2 sees it. Pure.

    what argon2 hashes = HMAC-SHA256(key of the newest pepper, 32 bytes of the secret)

So a copy of the store checks no guess, and would not if secrets were short. A digest says by a mark which
pepper was used, and all that are listed verify.

The PAT id is no part of the message. Each secret is 256 random bits made for one PAT, and each digest has its
own salt, so there is nothing that an id would tell apart. Nor would it stop a digest from being moved into
another PAT's record: the secret tag does, which is compared first, and covers the id with a key that is not
in the store either, since `pepper` needs `secret_key`.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .keyring import read_key

MARK_BYTES = 4
NO_PEPPER = bytes(MARK_BYTES)  # the mark of a digest that was made without


@dataclass(frozen=True, slots=True)
class Pepper:
    """A key by its id. `repr` shows only the id."""

    id: str  # 1-32 of A-Z a-z 0-9 _ . -
    key: bytes = field(repr=False)  # 32 bytes

    @property
    def mark(self) -> bytes:
        """4 bytes that say in a record which pepper it was: the id, and nothing about the key."""
        return sha256(self.id.encode()).digest()[:MARK_BYTES]

    def mix(self, secret: bytes) -> bytes:
        """32 bytes for argon2 to hash in place of the secret."""
        return hmac.digest(self.key, secret, "sha256")


Peppers = tuple[Pepper | None, ...]  # oldest to newest; None, in the last place only: hash without


def read_peppers(value: Any) -> Peppers:
    """Peppers from a text "ID:KEY ID:KEY", or from pairs of an id and a key; the newest last.

    The word `none`, or None, in the last place: those before it are known, and new hashes are made without.
    Raises `ValueError`, which repeats nothing of the value.
    """
    if isinstance(value, str):
        items: list[Any] = [None if word == "none" else word.split(":", 1) for word in value.split()] or [()]
    elif value is None or isinstance(value, tuple | list):
        items = list(value or ())
    else:
        items = [()]
    last = [None] if items and items[-1] is None else []
    peppers = [_read(item) for item in items[: len(items) - len(last)]]
    # A mark that is also "none", or two that are alike, would be read as another pepper's.
    if len({NO_PEPPER, *(pepper.mark for pepper in peppers)}) != len(peppers) + 1:
        raise ValueError("two have one id, or ids that records cannot tell apart; choose another id")
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
