"""Signatures of access tokens: ES256 (RFC 7518 §3.4) and EdDSA with Ed25519 (RFC 8037), by joserfc.

joserfc is imported where a key is first needed. It holds the keys and does the arithmetic; what a token looks
like and claims is read in claims.py, which is stricter than a library for any issuer can be.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigurationError, InvalidToken
from ..model.credentials import Claims
from . import claims
from .claims import Jws, refuse

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey

Algorithm = Literal["ES256", "EdDSA"]

_CURVES: dict[tuple[str, str], Algorithm] = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256: SP 800-186 §3.2.1.3
_REMEMBERED = 2048  # tokens in each half of the memory
_SHORT = 2048  # characters of a token that is remembered; a usual one has 600


class Key:
    """One key with one algorithm, as its curve has it. Raises `ValueError` for keys of other kinds."""

    __slots__ = ("_algorithm", "_key", "alg", "kid")

    def __init__(self, key: ECKey | OKPKey, kid: str | None = None) -> None:
        from joserfc.jws import JWSRegistry

        alg = _CURVES.get((key.key_type, key.curve_name))
        if alg is None:
            raise ValueError("give a key on P-256 (ES256) or Ed25519 (EdDSA)")
        self._key = key
        self.alg: Algorithm = alg
        self.kid = kid or key.thumbprint()  # RFC 7638
        # Taken by the key's own name for it, never by a token's. Asked through the registry, EdDSA would warn
        # each time that RFC 9864 has another word for it.
        self._algorithm = JWSRegistry.algorithms[alg]

    def __repr__(self) -> str:
        return f"<Key {self.alg} {self.kid}>"

    @classmethod
    def generate(cls, alg: Algorithm) -> Key:
        """A new private key. Raises `ConfigurationError` without joserfc."""
        ec, okp = _joserfc()
        return cls(ec.generate_key("P-256") if alg == "ES256" else okp.generate_key("Ed25519"))

    @classmethod
    def private(cls, data: bytes) -> Key:
        """A private key from a file: PEM (PKCS #8, RFC 5958) or a JWK (RFC 7517).

        Raises `ValueError`, which repeats nothing of it, and `ConfigurationError` without joserfc.
        """
        for kind in _joserfc():
            key = None
            try:
                key = kind.import_key(json.loads(data) if data.lstrip()[:1] == b"{" else data)
                said = key.dict_value
                # Of the number alone: the public half and the kid are computed, whatever a JWK says of them.
                found = cls(kind.import_key(key.raw_value))  # type: ignore[arg-type]
            except Exception:  # noqa: S112 - of whatever kind; its text may hold a part of the key
                continue
            if not key.is_private:
                raise ValueError("it holds a public key; give the private one")
            if (
                said.get("use", "sig") != "sig"
                or said.get("alg", found.alg) != found.alg
                or "sign" not in said.get("key_ops", ["sign"])
            ):
                raise ValueError(f"it says of itself that it is not for signing by {found.alg}")
            return found
        raise ValueError("it holds no private key on P-256 or Ed25519 as PEM (PKCS #8) or JWK, unencrypted")

    @classmethod
    def public(cls, jwk: object) -> Key | None:
        """A public key from a JWK Set; None for one that is not for tokens of ours (RFC 7517 §5)."""
        if not isinstance(jwk, Mapping) or not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
            return None
        members = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk}
        for kind in _joserfc():
            if members.get("kty") == kind.key_type:
                try:
                    found = cls(kind.import_key(members), jwk["kid"])  # without "d": never more than public
                except Exception:
                    return None
                if jwk.get("use", "sig") == "sig" and jwk.get("alg", found.alg) == found.alg:
                    return found
        return None

    def pem(self) -> bytes:
        """The private key as PEM (PKCS #8)."""
        return self._key.as_pem(private=True)

    def jwk(self) -> dict[str, str]:
        """The public key, as a JWK Set has it."""
        members = {name: str(value) for name, value in self._key.as_dict(private=False).items()}
        members = {name: members[name] for name in ("kty", "crv", "x", "y") if name in members}
        return {**members, "kid": self.kid, "use": "sig", "alg": self.alg}

    def sign(self, message: bytes) -> bytes:
        """64 bytes of signature."""
        signature: bytes = self._algorithm.sign(message, self._key)
        if self.alg == "ES256":
            s = int.from_bytes(signature[32:])
            signature = signature[:32] + min(s, _ORDER - s).to_bytes(32)
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether it is this key's. Of the two that ECDSA allows, (r, s) and (r, -s), the lower passes."""
        if self.alg == "ES256" and int.from_bytes(signature[32:]) > _ORDER // 2:
            return False
        return bool(self._algorithm.verify(message, signature, self._key))


class UnknownKey(InvalidToken):
    """Well formed, and by a key that is not known; it may be a new one."""

    def __init__(self, kid: str) -> None:
        super().__init__(detail="JWT: an unknown key")
        self.kid = kid


class Verifier:
    """What tokens of one issuer claim, once it is known that one of these keys has signed them.

    What was found right is remembered by the SHA-256 of the text; it says nothing about expiry or revocation.
    Immutable but for that; safe among threads and after a fork, without a lock.
    """

    def __init__(self, keys: Iterable[Key], issuer: str, audience: Collection[str]) -> None:
        self._keys = {key.kid: key for key in reversed(list(keys))}  # of two with one name, the first
        self._issuer = issuer
        self._audience = frozenset(audience)
        # Two generations: when the young one is full, it becomes the old one, and the old one goes. Each step
        # is one operation on a dict; two threads at once lose a memory at worst.
        self._young: dict[bytes, Claims] = {}
        self._old: dict[bytes, Claims] = {}

    def verify(self, text: str) -> Claims:
        """The claims of a token. Raises `InvalidToken`, of which `UnknownKey` is one."""
        short = len(text) <= _SHORT and text.isascii()
        name = sha256(text.encode()).digest() if short else b""
        known = self._young.get(name) or self._old.get(name)
        if known is not None:
            return known
        found = claims.read(self._payload(claims.split(text)), self._issuer, self._audience)
        if short:
            if len(self._young) >= _REMEMBERED:
                self._old, self._young = self._young, {}
            self._young[name] = found
        return found

    def _payload(self, token: Jws) -> bytes:
        key = self._keys.get(token.kid)
        if key is None:
            raise UnknownKey(token.kid)
        if token.alg != key.alg:
            refuse("another algorithm than the key's")
        if not key.verify(token.signed, token.signature):
            refuse("another signature")
        return token.payload


def sign(found: Claims, key: Key) -> str:
    """A token that claims this."""
    signed = claims.write(found, key.alg, key.kid)
    return f"{signed.decode()}.{claims.encoded(key.sign(signed))}"


def require_joserfc() -> None:
    """Raise `ConfigurationError` where signed tokens cannot be had."""
    _joserfc()


def _joserfc() -> tuple[type[ECKey], type[OKPKey]]:
    try:
        from joserfc.jwk import ECKey, OKPKey
    except ImportError:
        raise ConfigurationError("signed tokens need joserfc: pip install 'patauth[jwt]'") from None
    return ECKey, OKPKey
