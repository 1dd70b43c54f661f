"""The keys that are derived from the store key, one HMAC-SHA256 key for each purpose. Pure."""

from __future__ import annotations

import hmac


class Keyring:
    """What a store key makes: owner tags, secret tags, the check value, the key of CSRF tokens."""

    __slots__ = ("_owner_tag_key", "_secret_tag_key", "check_value", "csrf_key", "store_key")

    def __init__(self, store_key: bytes) -> None:
        self.store_key = store_key
        self._owner_tag_key = self._derive("owner tag")
        self._secret_tag_key = self._derive("secret tag")
        self.csrf_key = self._derive("csrf")  # signs what people's browsers send back (wsgi/caller.py)
        self.check_value = self._derive("check")[:16]  # tells keys apart, and nothing about them

    def __repr__(self) -> str:
        return f"<Keyring check={self.check_value.hex()}>"

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.store_key, f"patauth {purpose} 1".encode(), "sha256")

    def owner_tag(self, tenant: str, owner_id: str) -> str:
        """8 hex that route an owner's keys to one slot. They identify nobody; two owners may share one."""
        message = b"".join(len(part).to_bytes(2) + part for part in (tenant.encode(), owner_id.encode()))
        return hmac.digest(self._owner_tag_key, message, "sha256")[:4].hex()

    def secret_tag(self, pat_id: str, secret: bytes) -> bytes:
        """16 bytes that let the store refuse a wrong secret without a hash."""
        return hmac.digest(self._secret_tag_key, bytes.fromhex(pat_id) + secret, "sha256")[:16]
