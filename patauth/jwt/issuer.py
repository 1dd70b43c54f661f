"""Signed access tokens, as an Authority issues and reads them: claims, keys, and nothing of the store.

What is read here has a right signature and right claims, and is an access token like any other from then on:
its record, under the SHA-256 of its jti, says whether it is good.
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

_LONGEST = MAX_JWT - 1024  # of one that is issued: header lines and forms of 8 KiB hold more than the token


def signing_keys(settings: Settings) -> SigningKeys | None:
    """The keys that the settings name, or DIR/keys of `local:DIR`; None where there is no place for any."""
    if settings.keys is not None:
        paths = [Path(path).absolute() for path in settings.keys]
        if len(paths) == 1 and not paths[0].is_file():
            return SigningKeys(paths[0])
        return SigningKeys(None, paths)
    directory = StoreUrl.read(settings.store_url).directory
    if directory is None:
        return None
    return SigningKeys(directory.resolve() / "keys", makes=settings.signs_tokens)


def open_signed_tokens(settings: Settings) -> SignedTokens | None:
    """Signed tokens under these settings; None where none can be read. Raises `ConfigurationError`."""
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
    """Signs and reads the access tokens of one issuer and tenant; safe for many threads and after a fork."""

    def __init__(self, keys: SigningKeys, issuer: str, audience: tuple[str, ...], tenant: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._tenant = tenant
        self._verifier: tuple[KeySet, Verifier] | None = None

    def sign(
        self, pat_id: PatId, subject: str, scope: tuple[str, ...], now_ms: int, expires_ms: int
    ) -> tuple[str, bytes]:
        """A new token of a PAT: its text, and the digest that is its key. Raises `InvalidScope`."""
        claims = Claims(
            issuer=self._issuer,
            audience=self._audience,
            subject=subject,
            pat_id=pat_id,
            scope=scope,
            issued=now_ms // 1000,
            expires=expires_ms // 1000,  # never past the record's expiry
            jti=secrets.token_urlsafe(24),
            tenant=self._tenant,
        )
        text = signature.sign(claims, self._signer())
        if len(text) > _LONGEST:
            raise InvalidScope("the scopes do not fit into one signed token; ask for fewer")
        return text, claims.digest

    def read(self, text: str) -> AccessToken:
        """What a well-signed token is, whether it has expired or not. Raises `InvalidToken`."""
        try:
            try:
                claims = self._current().verify(text)
            except UnknownKey:
                claims = self._current(at_once=True).verify(text)
        except UnknownKey as problem:
            raise InvalidToken(detail=problem.detail) from None
        if claims.tenant != self._tenant:
            refuse("another tenant")
        return AccessToken(claims.pat_id, claims.digest, claims)

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK Set (RFC 7517 §5), also of keys that are yet to sign."""
        self._signer()
        return {"keys": [one.key.jwk() for one in self._known()]}

    def prepare(self) -> None:
        """Read the keys, and make the first one where that is wanted. Raises `ConfigurationError`."""
        self._keys.signer()

    def _signer(self) -> signature.Key:
        try:
            return self._keys.signer()
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None  # of paths: no caller's business

    def _known(self, *, at_once: bool = False) -> KeySet:
        try:
            known = self._keys.keys(at_once=at_once)
        except ConfigurationError as problem:
            raise StoreUnavailable(detail=str(problem)) from None
        if (
            not known and self._keys.are_missing
        ):  # a directory that is not mounted, say: no verdict on any token
            raise StoreUnavailable(detail="keys: there are none where there should be")
        return known

    def _current(self, *, at_once: bool = False) -> Verifier:
        known, made = self._known(at_once=at_once), self._verifier
        if made is None or made[0] is not known:
            verifier = Verifier((one.key for one in known), self._issuer, self._audience)
            self._verifier = made = known, verifier
        return made[1]
