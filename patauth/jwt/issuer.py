"""Signed access tokens: an Authority signs and reads them here, without the store.

A token that this module has read has a correct signature and correct claims. From then on it is an access
token like any other: its record, under the SHA-256 of its jti, says whether it is valid.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, InvalidScope, InvalidToken, StoreUnavailable
from ..model.credentials import MAX_JWT, AccessToken, Claims
from ..model.pat_id import PatId
from ..settings import Settings
from ..store.url import StoreUrl
from . import signature
from .claims import refuse
from .key_files import KeySet, SigningKeys
from .signature import UnknownKey, Verifier

# Characters of a new token. A header line or a form of 8 KiB must have room for more than the token.
_LONGEST = MAX_JWT - 1024


def signing_keys(settings: Settings, *, for_owner: bool = False) -> SigningKeys | None:
    """Return the keys that the settings name, or those in DIR/keys of `local:DIR`; None for another store.

    `for_owner`: root looks after the keys of the directory's owner.
    """
    if settings.keys is not None:
        paths = [Path(path).absolute() for path in settings.keys]
        if len(paths) == 1 and not paths[0].is_file():
            return SigningKeys(paths[0], for_owner=for_owner)
        return SigningKeys(None, paths)
    directory = StoreUrl.read(settings.store_url).directory
    if directory is None:
        return None
    return SigningKeys(directory.resolve() / "keys", makes=settings.signs_tokens)


def open_signed_tokens(settings: Settings) -> SignedTokens | None:
    """Return the signed tokens of these settings; None if the settings allow none.

    Raise `ConfigurationError`.
    """
    issues = settings.signs_tokens
    if issues:
        signature.require_joserfc()
        if settings.issuer is None:
            raise ConfigurationError("issuer: access_token_format 'jwt' needs it; give your own URL")
    keys = signing_keys(settings)
    if issues and keys is None:
        raise ConfigurationError(
            "keys: access_token_format 'jwt' needs them; name a directory, where `patauth keys rotate` makes"
            " one"
        )
    if keys is None or settings.issuer is None:
        return None
    if settings.keys is not None and not keys.keys():
        raise ConfigurationError(f"keys: there is none in {keys.directory}; `patauth keys rotate` makes one")
    return SignedTokens(keys, settings.issuer, settings.audience or (settings.issuer,), settings.tenant)


class SignedTokens:
    """Signs and reads the access tokens of one issuer and tenant. Threads can share it, also after a fork."""

    def __init__(self, keys: SigningKeys, issuer: str, audience: tuple[str, ...], tenant: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._tenant = tenant
        self._verifier: tuple[KeySet, Verifier] | None = None

    def sign(
        self, pat_id: PatId, subject: str, scope: tuple[str, ...], now_ms: int, expires_ms: int
    ) -> tuple[str, bytes]:
        """Sign a new token of a PAT. Return its text, and the digest under which the store keeps it.

        `now_ms` and `expires_ms` become its claims `iat` and `exp`. Raise `InvalidScope` if the scopes make
        it too long, `StoreUnavailable` if the keys cannot be read.
        """
        claims = Claims(
            issuer=self._issuer,
            audience=self._audience,
            subject=subject,
            pat_id=pat_id,
            scope=scope,
            issued=now_ms // 1000,
            expires=expires_ms // 1000,  # never later than the record's expiry
            jti=secrets.token_urlsafe(24),
            tenant=self._tenant,
        )
        text = signature.sign(claims, self._signer())
        if len(text) > _LONGEST:
            raise InvalidScope("the scopes do not fit into one signed token; ask for fewer")
        return text, claims.digest

    def read(self, text: str) -> AccessToken:
        """Verify a token's signature and claims, but not its expiry, and return the access token.

        Raise `InvalidToken`, or `StoreUnavailable` if the keys cannot be read.
        """
        try:
            try:
                verifier = self._current()
                claims = verifier.verify(text)
            except UnknownKey:
                verifier = self._current(at_once=True)
                claims = verifier.verify(text)
        except UnknownKey as problem:
            raise InvalidToken(detail=problem.detail) from None
        if claims.tenant != self._tenant:
            refuse("another tenant")
        return AccessToken(claims.pat_id, claims.digest, claims, verifier.keys_mark)

    def has_same_keys(self, token: AccessToken) -> bool:
        """Return whether the keys that verified a token are still all that there are.

        Raise `StoreUnavailable` if the keys cannot be read.
        """
        if self._verifier is None:
            return False
        known, verifier = self._verifier
        if verifier.keys_mark is not token.keys_mark:
            return False
        keys = self._keys  # each request asks, so this comes before the calls of `_known`
        return keys.were_just_seen(known) or self._known() is known

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517 §5), also those of keys that do not sign yet.

        Raise `StoreUnavailable` if the keys cannot be read.
        """
        self._signer()
        return {"keys": [one.key.jwk() for one in self._known()]}

    def prepare(self) -> None:
        """Read the keys, and make the first one if the settings want that. Raise `ConfigurationError`."""
        self._keys.signer()

    def _signer(self) -> signature.Key:
        try:
            return self._keys.signer()
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None  # it names paths: for the log alone

    def _known(self, *, at_once: bool = False) -> KeySet:
        try:
            known = self._keys.keys(at_once=at_once)
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None
        if not known and self._keys.had_any:  # for example, the directory is not mounted
            raise StoreUnavailable(detail="keys: there are none where there were some before")
        return known

    def _current(self, *, at_once: bool = False) -> Verifier:
        known, made = self._known(at_once=at_once), self._verifier
        if made is None or made[0] is not known:
            verifier = Verifier((one.key for one in known), self._issuer, self._audience)
            self._verifier = made = known, verifier
        return made[1]
