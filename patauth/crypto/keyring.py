"""Read a key as people write it, and derive one key for each purpose from the store key."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

from ..model.pat_id import PatId


class Keyring:
    """Makes owner tags, secret tags and ids with a store key, and holds its check value and the CSRF key.

    It does not keep the store key, and nobody can compute that key from what it keeps.
    """

    __slots__ = (
        "_once_key", "_owner_tag_key", "_secret_tag_inner", "_secret_tag_outer", "check_value", "csrf_key",
    )  # fmt: skip

    def __init__(self, store_key: bytes) -> None:
        self._owner_tag_key = _derive(store_key, "owner tag")
        # HMAC with both blocks of the key hashed in advance (RFC 2104 §4): each request with a secret needs a
        # tag, and the `hmac` module takes three times as long.
        key = _derive(store_key, "secret tag").ljust(64, b"\0")
        self._secret_tag_inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._secret_tag_outer = sha256(bytes(byte ^ 0x5C for byte in key))
        self._once_key = _derive(store_key, "once")
        self.csrf_key = _derive(store_key, "csrf")  # signs what browsers send back (wsgi/api/csrf.py)
        self.check_value = _derive(store_key, "check")[:16]  # tells two keys apart, and reveals neither

    def __repr__(self) -> str:
        return f"<Keyring check={self.check_value.hex()}>"

    def owner_tag(self, tenant: str, owner_id: str) -> str:
        """Return 8 hex digits that route an owner's keys to one slot.

        They identify nobody, since two owners may share a tag.
        """
        return hmac.digest(self._owner_tag_key, _joined(tenant, owner_id), "sha256")[:4].hex()

    def once_id(self, owner_tag: str, *parts: str) -> PatId:
        """Return the id of the PAT that is made at most once for these texts, under an owner tag.

        Without the store key, nobody can tell it from a random one.
        """
        return PatId(owner_tag + hmac.digest(self._once_key, _joined(*parts), "sha256")[:12].hex())

    def secret_tag(self, pat_id: PatId, secret: bytes) -> bytes:
        """Return 16 bytes by which the store refuses a wrong secret without a hash."""
        inner, outer = self._secret_tag_inner.copy(), self._secret_tag_outer.copy()
        inner.update(pat_id.raw + secret)
        outer.update(inner.digest())
        return outer.digest()[:16]


def _joined(*parts: str) -> bytes:
    """Return texts as bytes, each after its length in two bytes: different texts never give the same."""
    return b"".join(len(part).to_bytes(2) + part for part in map(str.encode, parts))


def _derive(store_key: bytes, purpose: str) -> bytes:
    return hmac.digest(store_key, f"patauth {purpose} 1".encode(), "sha256")


def read_key(value: Any) -> bytes:
    """Read a key of 32 bytes, given as bytes, as 64 hex digits or as base64url.

    Raise `ValueError` otherwise.
    """
    if isinstance(value, bytes) and len(value) == 32:
        return value
    # A mistyped key must not pass as another key, so drop no character and ignore no spare bit.
    if isinstance(value, str):
        if re.fullmatch(r"[0-9A-Fa-f]{64}", value):
            return bytes.fromhex(value)
        if re.fullmatch(r"[0-9A-Za-z_-]{43}=?", value):
            key = urlsafe_b64decode(value[:43] + "=")
            if urlsafe_b64encode(key)[:43] == value[:43].encode():
                return key
    raise ValueError("give 32 bytes as 64 hex digits or as base64url")
