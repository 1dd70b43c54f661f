"""Parts of an Authority that only tests look at."""

from __future__ import annotations

from typing import Any

from patauth import Authority
from patauth.crypto.hashing import Hasher
from patauth.jwt.issuer import SignedTokens
from patauth.store.store import Store

VERSION = b"version!"  # of records that tests write


def store_of(authority: Authority) -> Store:
    return authority.operations._store


def transport_of(authority: Authority) -> Any:
    """Return what carries the commands of its store."""
    return store_of(authority)._transport


def hasher_of(authority: Authority) -> Hasher:
    return authority.operations._hasher


def signed_of(authority: Authority) -> SignedTokens:
    """Return what signs and reads its JWTs, which the settings must ask for."""
    signed = authority.operations._signed
    assert signed is not None
    return signed
