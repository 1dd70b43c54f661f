"""Every key in Redis, in one place.

All keys of one owner's PATs carry the owner tag as their hash tag, so they share a slot and one script can
reach them; a tag routes and identifies nobody (two owners may share one). Only the indexes of a tenant live
in another slot. `P` is the setting `key_prefix`, `T` the owner tag (8 hex), `ID` the 16 bytes of a PAT id,
of which the last 12 stand in a key.

    key                          type    holds                                        life
    P:{T}:p:ID[4:]               string  PAT record (record.py)                       expiry + retention
    P:{T}:t:SHA-256              string  access token record (record.py)              until it expires
    P:{T}:q:ID[4:]               string  tat of the request quota, µs                 until it is full again
    P:{T}:x:ID[4:]               string  tat of the exchange quota, µs                until it is full again
    P:{T}:o:TENANT/OWNER         hash    owner record: schema, disabled, sequence     stays
    P:{T}:n:TENANT/OWNER         hash    owner index: name -> ID, expiry              while the owner has PATs
    P:{T}:w                      string  written to have something to wait for        1 s
    P:{store}:w                  string  the same                                     1 s
    P:{/TENANT}:created          zset    tenant index: ID by creation, ms             while it has PATs
    P:{/TENANT}:used             zset    tenant index: ID by last use, ms; 0: none    while it has PATs
    P:{/TENANT}:expires          zset    tenant index: ID by expiry, ms; 2^48-1 never while it has PATs
    P:{/TENANT}:marks            zset    ID and what of it may be out of step, by ms  until a listing mends it
    P:{/TENANT}:sequence         string  changes to the tenant's PATs so far          stays
    P:{store}:key                string  the store key, unless `secret_key` is set    stays
    P:{store}:check              string  check value of the store key                 stays

Digests and ids stand as raw bytes: a million PATs are a million times these lengths.
"""

from __future__ import annotations

from ..model.pat_id import PatId


class Keys:
    """The keys under one `key_prefix`, for one tenant."""

    def __init__(self, prefix: str, tenant: str) -> None:
        self._prefix = prefix
        self._head = head = f"{prefix}:{{".encode()
        self._tenant = tenant
        self.store_key = head + b"store}:key"
        self.store_check = head + b"store}:check"
        # With gaps for the owner tag and the rest of the PAT id, or the digest; no prefix holds a "%".
        self.pat_form = head + b"%b}:p:%b"
        self.requests_form = head + b"%b}:q:%b"
        self.exchanges_form = head + b"%b}:x:%b"
        self.access_token_form = head + b"%b}:t:%b"
        # A pattern for SCAN, exact to the byte: an owner's id may look like the rest of a key. No prefix
        # holds a special character of it.
        self.access_tokens = head + b"[0-9a-f]" * 8 + b"}:t:" + b"?" * 32
        # A tenant named "store" must not meet the keys above, nor one of 8 hex an owner tag: hence "/",
        # which no tenant holds.
        self.tenant_created = head + f"/{tenant}}}:created".encode()
        self.tenant_used = head + f"/{tenant}}}:used".encode()
        self.tenant_expires = head + f"/{tenant}}}:expires".encode()
        self.tenant_sequence = head + f"/{tenant}}}:sequence".encode()
        self.tenant_marks = head + f"/{tenant}}}:marks".encode()

    def for_tenant(self, tenant: str) -> Keys:
        """Those of another tenant under the same prefix."""
        return Keys(self._prefix, tenant)

    def pat(self, pat_id: PatId) -> bytes:
        """The PAT record."""
        return self.pat_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def requests(self, pat_id: PatId) -> bytes:
        """The request quota of a PAT and its access tokens."""
        return self.requests_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def exchanges(self, pat_id: PatId) -> bytes:
        """The exchange quota of a PAT."""
        return self.exchanges_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def access_token(self, pat_id: PatId, digest: bytes) -> bytes:
        """The record of an access token, by the SHA-256 of its text."""
        return self.access_token_form % (pat_id.tag.encode(), digest)

    def owner(self, tag: str, owner_id: str) -> bytes:
        """The owner record."""
        return b"%b%b}:o:%b" % (self._head, tag.encode(), f"{self._tenant}/{owner_id}".encode())

    def owner_index(self, tag: str, owner_id: str) -> bytes:
        """The names of an owner's PATs."""
        return b"%b%b}:n:%b" % (self._head, tag.encode(), f"{self._tenant}/{owner_id}".encode())

    def barrier(self, tag: str) -> bytes:
        """A key that only exists to be written, so that WAIT and WAITAOF have something to wait for."""
        return b"%b%b}:w" % (self._head, tag.encode())
