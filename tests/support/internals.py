"""Parts of an Authority that only tests look at."""

from __future__ import annotations

from typing import Any

from patauth import Authority
from patauth.crypto.hashing import Hasher
from patauth.crypto.proof_cache import ProofCache
from patauth.jwt.issuer import SignedTokens
from patauth.operations.memo import Memo
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


def memo_of(authority: Authority) -> Memo[Any]:
    """Return what it remembers of credentials that were good."""
    return authority.operations._admitter._memo


def kept_in(memo: Memo[Any]) -> dict[bytes, Any]:
    """Return all that a memo keeps, by its names."""
    return {**memo._old, **memo._young}


def empty(memo: Memo[Any]) -> None:
    """Have a memo forget everything."""
    for name in kept_in(memo):
        memo.forget(name)


def forget_credentials(authority: Authority) -> None:
    """Have it remember no credential, and no PAT whose conditions were met."""
    empty(memo_of(authority))
    authority.operations._admitter._judge._met.clear()


def proofs_of(authority: Authority) -> ProofCache:
    """Return what it remembers of secrets that were hashed."""
    return authority.operations._authenticator.proofs
