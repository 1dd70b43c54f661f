"""All keys in Redis.

All keys of one owner's PATs carry the owner tag as their hash tag, so they share a slot and one script can
reach them. A tag only routes: two owners may share one, so it identifies nobody. Only the indexes of a
tenant live in another slot. `P` is the setting `key_prefix`, `T` the owner tag (8 hex digits), `ID` the 16
bytes of a PAT id. A key contains the last 12 of them.

    key                          type    holds                                        life
    P:{T}:p:ID[4:]               string  PAT record (record.py)                       expiry + retention
    P:{T}:t:SHA-256              string  access token record (record.py)              until it expires
    P:{T}:q:ID[4:]               string  tat of the request quota, µs                 until it is full again
    P:{T}:x:ID[4:]               string  tat of the exchange quota, µs                until it is full again
    P:{T}:k:ID[4:]GENERATION     zset    digests of a secret's access tokens, by expiry   until the last one
    P:{T}:d:ID[4:]               string  record of a removed PAT (record.py)          retention
    P:{T}:n:TENANT/OWNER         hash    owner index: name tag -> entry (record.py)   last expiry + retention
    P:{T}:c:TENANT/OWNER         zset    owner index: entries in order of creation    last expiry + retention
    P:{T}:e:TENANT/OWNER         zset    owner index: entries by expiry, ms           last expiry + retention
    P:{T}:o:TENANT/OWNER         string  owner record (record.py)                     while disabled
    P:{T}:h:TENANT/OWNER         zset    ID[4:] of removed PATs, which goes first     last removal + retention
    P:{T}:r:TENANT/OWNER         string  nothing: all PATs are being removed          10 s
    P:{T}:m:TENANT/OWNER         string  tat of the create quota, µs                  until it is full again
    P:{T}:s:TENANT/OWNER         string  tat of the person quota, µs                  until it is full again
    P:{T}:a:ID[4:]EXPIRY,WITHIN  string  who has announced that end: notices.py       a day after it
    P:{T}:w                      string  nothing: a write to wait for                 1 s
    P:{T}:f                      string  nothing: an end that others wait for         0.5 s
    P:{store}:w                  string  nothing: a write to wait for                 1 s
    P:{/TENANT}:created          zset    tenant index: ID by creation, ms             while it has PATs
    P:{/TENANT}:used             zset    tenant index: ID by last use, ms; 0: none    while it has PATs
    P:{/TENANT}:expires          zset    tenant index: ID by expiry, ms; 2^48-1 never while it has PATs
    P:{/TENANT}:marks            zset    ID and the entry to check, by ms             until listed or swept
    P:{/TENANT}:removed          zset    ID of removed PATs, by removal, ms           last removal + retention
    P:{/TENANT}:sequence         string  changes to the tenant's PATs so far          stays
    P:{store}:key                string  the store key, unless `secret_key` is set    stays; store_key.py
    P:{store}:check              string  check value of the store key                 stays
    P:{events}:changes:NAME      stream  events of changes and decisions              capped; event_stream.py
    P:{events}:refusals:NAME     stream  refusals, counted by client and minute       capped
    P:{events}:counts:NAME       hash    numbers of the last events, and of lost ones stays

Keys contain digests and ids as raw bytes, since a million PATs need a million times their length.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import StoreUnavailable
from ..model.pat_id import PatId


class OwnerKeys(NamedTuple):
    """The keys of one owner, all in the slot of the owner's PATs."""

    names: bytes
    created: bytes
    expires: bytes
    record: bytes
    removing: bytes
    creations: bytes
    requests: bytes  # of a person, who has no PAT to charge
    removed: bytes

    @property
    def indexes(self) -> list[bytes]:
        """The keys of the owner index."""
        return [self.names, self.created, self.expires]


class EventKeys(NamedTuple):
    """The keys of a stream of events, all in one slot."""

    changes: bytes
    refusals: bytes
    counts: bytes


_OF_EVENTS = ("changes", "refusals", "counts")  # in the order of `EventKeys`
_OF_OWNER = (b"n", b"c", b"e", b"o", b"r", b"m", b"s", b"h")  # in the order of `OwnerKeys`
# All of a key but its head. An owner's and a tenant's id may look like the rest of a key.
_REST = re.compile(
    rb"[0-9a-f]{8}\}:(?:([pqxd]):.{12}|(k):.{15}|(a):.{22}|(t):.{32}|([nceormsh]):[!-.0-~]+/[!-.0-~]+|([wf]))"
    rb"|/[!-.0-~]+\}:(created|used|expires|marks|removed|sequence)|store\}:(key|check|w)"
    rb"|events\}:(changes|refusals|counts):[A-Za-z0-9._-]+",
    re.DOTALL,
)


class Keys:
    """Builds the keys under one `key_prefix`, for one tenant."""

    def __init__(self, prefix: str, tenant: str) -> None:
        self._prefix = prefix
        self._head = head = f"{prefix}:{{".encode()
        self.tenant = tenant
        self.store_key = head + b"store}:key"
        self.store_check = head + b"store}:check"
        # The gaps are for the owner tag and the rest of the PAT id, or the digest. No prefix holds a "%".
        self.pat_form = head + b"%b}:p:%b"
        self.requests_form = head + b"%b}:q:%b"
        self.exchanges_form = head + b"%b}:x:%b"
        self.access_token_form = head + b"%b}:t:%b"
        self.tokens_form = head + b"%b}:k:%b"
        self._notice_form = head + b"%b}:a:%b"
        self._removed_form = head + b"%b}:d:%b"
        # Patterns for SCAN. They state every byte, since an owner's id may look like the rest of a key. No
        # prefix holds a character that is special in a pattern.
        self.access_tokens = head + b"[0-9a-f]" * 8 + b"}:t:" + b"?" * 32
        self.token_indexes = head + b"[0-9a-f]" * 8 + b"}:k:" + b"?" * 15
        # The "/", which no tenant's name holds, keeps a tenant named "store" apart from the keys above, and
        # one named like 8 hex digits apart from an owner tag.
        self.tenant_created = head + f"/{tenant}}}:created".encode()
        self.tenant_used = head + f"/{tenant}}}:used".encode()
        self.tenant_expires = head + f"/{tenant}}}:expires".encode()
        self.tenant_sequence = head + f"/{tenant}}}:sequence".encode()
        self.tenant_marks = head + f"/{tenant}}}:marks".encode()
        self.tenant_removed = head + f"/{tenant}}}:removed".encode()

    @property
    def of_store(self) -> tuple[bytes, bytes]:
        """The keys of the store key and of its check value."""
        return self.store_key, self.store_check

    def for_tenant(self, tenant: str) -> Keys:
        """Return the keys of another tenant under the same prefix."""
        return Keys(self._prefix, tenant)

    def pat(self, pat_id: PatId) -> bytes:
        """Return the key of a PAT record."""
        return self.pat_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def requests(self, pat_id: PatId) -> bytes:
        """Return the key of the request quota of a PAT and its access tokens."""
        return self.requests_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def exchanges(self, pat_id: PatId) -> bytes:
        """Return the key of the exchange quota of a PAT."""
        return self.exchanges_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def all_of(self, pat_id: PatId) -> list[bytes]:
        """Return the keys of all that a PAT has but its access tokens: its record and its quotas."""
        return [self.pat(pat_id), self.requests(pat_id), self.exchanges(pat_id)]

    def removed(self, pat_id: PatId) -> bytes:
        """Return the key of the record that is kept of a removed PAT."""
        return self._removed_form % (pat_id.tag.encode(), pat_id.raw[4:])

    def access_token(self, pat_id: PatId, digest: bytes) -> bytes:
        """Return the key of an access token record. `digest` is the SHA-256 of the token's text."""
        return self.access_token_form % (pat_id.tag.encode(), digest)

    def tokens_of(self, pat_id: PatId, generation: int) -> bytes:
        """Return the key of the index of the access tokens that came from one secret of a PAT."""
        return self.tokens_form % (pat_id.tag.encode(), pat_id.raw[4:] + generation.to_bytes(3))

    def notice(self, pat_id: PatId, expires_ms: int, within: int) -> bytes:
        """Return the key of the mark that an end of a PAT was announced. `Notice` describes the arguments."""
        rest = pat_id.raw[4:] + expires_ms.to_bytes(6) + within.to_bytes(4)
        return self._notice_form % (pat_id.tag.encode(), rest)

    def owner(self, tag: str, owner_id: str) -> OwnerKeys:
        """Return the keys of an owner. `tag` is the owner tag."""
        of = f"{self.tenant}/{owner_id}".encode()
        return OwnerKeys(*[b"%b%b}:%b:%b" % (self._head, tag.encode(), kind, of) for kind in _OF_OWNER])

    def events(self, name: str) -> EventKeys:
        """Return the keys of the stream of events of this name."""
        return EventKeys(*(self._head + f"events}}:{of}:{name}".encode() for of in _OF_EVENTS))

    @property
    def owner_indexes(self) -> bytes:
        """A pattern for SCAN: the keys of all owners' indexes by creation."""
        return self._of_owners("c")

    @property
    def removed_indexes(self) -> bytes:
        """A pattern for SCAN: the keys of all owners' indexes of removed PATs."""
        return self._of_owners("h")

    def _of_owners(self, kind: str) -> bytes:
        tenant = re.sub(r"[*?[\]\\]", r"\\\g<0>", self.tenant)
        return self._head + b"[0-9a-f]" * 8 + f"}}:{kind}:{tenant}/*".encode()

    def owner_in(self, name: bytes) -> tuple[str, str]:
        """Return the tag and the id of the owner whose index by creation, or of removed PATs, has this key.

        Raise `StoreUnavailable` for another key.
        """
        start, end = re.escape(self._head), re.escape(f":{self.tenant}/".encode())
        found = re.fullmatch(start + b"([0-9a-f]{8})}:[ch]" + end + b"([!-~]+)", name)
        if found is None:
            raise StoreUnavailable(detail=f"not the key of an owner index: {name!r}")
        return found[1].decode(), found[2].decode()

    @property
    def all(self) -> bytes:
        """A pattern for SCAN: all keys under the prefix, of all tenants."""
        return self._head + b"*"

    def kind_of(self, name: bytes) -> str:
        """Return what a key under the prefix holds, of any tenant: the letter or word that names it above.

        Raise `StoreUnavailable` for a key that this version does not know.
        """
        found = _REST.fullmatch(name, len(self._head)) if name.startswith(self._head) else None
        if found is None:
            raise StoreUnavailable(detail=f"a key that this version of patauth does not know: {name!r}")
        return found[found.lastindex or 0].decode()

    def ends(self, tag: str) -> bytes:
        """Return a key without content. While it lives, an end under the tag may not hold in all slots."""
        return b"%b%b}:f" % (self._head, tag.encode())

    def barrier(self, tag: str) -> bytes:
        """Return a key without content. It is written so that WAIT and WAITAOF have a write to wait for."""
        return b"%b%b}:w" % (self._head, tag.encode())
