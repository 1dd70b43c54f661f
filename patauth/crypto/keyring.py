"""Keys: how they are spelt, and those that are derived from the store key, one for each purpose. Pure."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

from ..model.pat_id import PatId


class Keyring:
    """What a store key makes: owner tags, secret tags, the check value, the key of CSRF tokens."""

    __slots__ = (
        "_owner_tag_key", "_secret_tag_inner", "_secret_tag_outer", "check_value", "csrf_key", "store_key",
    )  # fmt: skip

    def __init__(self, store_key: bytes) -> None:
        self.store_key = store_key
        self._owner_tag_key = self._derive("owner tag")
        # HMAC with its key taken in once (RFC 2104 §4): a tag is made on each request with a secret, and the
        # `hmac` module takes three times as long.
        key = self._derive("secret tag").ljust(64, b"\0")
        self._secret_tag_inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._secret_tag_outer = sha256(bytes(byte ^ 0x5C for byte in key))
        self.csrf_key = self._derive("csrf")  # signs what people's browsers send back (wsgi/api/csrf.py)
        self.check_value = self._derive("check")[:16]  # tells keys apart, and nothing about them

    def __repr__(self) -> str:
        return f"<Keyring check={self.check_value.hex()}>"

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.store_key, f"patauth {purpose} 1".encode(), "sha256")

    def owner_tag(self, tenant: str, owner_id: str) -> str:
        """8 hex that route an owner's keys to one slot. They identify nobody; two owners may share one."""
        message = b"".join(len(part).to_bytes(2) + part for part in (tenant.encode(), owner_id.encode()))
        return hmac.digest(self._owner_tag_key, message, "sha256")[:4].hex()

    def secret_tag(self, pat_id: PatId, secret: bytes) -> bytes:
        """16 bytes that let the store refuse a wrong secret without a hash."""
        inner, outer = self._secret_tag_inner.copy(), self._secret_tag_outer.copy()
        inner.update(pat_id.raw + secret)
        outer.update(inner.digest())
        return outer.digest()[:16]


def read_key(value: Any) -> bytes:
    """A key of 32 bytes, given as such, as 64 hex digits or as base64url. Raises `ValueError` without it."""
    if isinstance(value, bytes) and len(value) == 32:
        return value
    # A mistyped key must not be read as another one: no character is dropped, no spare bit ignored.
    if isinstance(value, str):
        if re.fullmatch(r"[0-9A-Fa-f]{64}", value):
            return bytes.fromhex(value)
        if re.fullmatch(r"[0-9A-Za-z_-]{43}=?", value):
            key = urlsafe_b64decode(value[:43] + "=")
            if urlsafe_b64encode(key)[:43] == value[:43].encode():
                return key
    raise ValueError("give 32 bytes as 64 hex digits or as base64url")
