"""Signatures of access tokens, with joserfc.

    ES256   ECDSA on P-256                                         RFC 7518 §3.4
    EdDSA   Ed25519                                                RFC 8037 §3.1
    RS256   RSASSA-PKCS1-v1_5 with a key of 2048 to 4096 bits      RFC 7518 §3.3

The first use of a key imports joserfc. It holds the keys and does the arithmetic. claims.py reads the form
and the claims of a token, and is stricter than a library for all issuers can be.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, InvalidToken
from ..model.credentials import Claims
from . import claims
from .claims import Algorithm, Jws, refuse

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

_CURVES: dict[str, Algorithm] = {"P-256": "ES256", "Ed25519": "EdDSA"}
_RSA_BITS = range(2048, 4097)  # RFC 7518 §3.3 has the least; a longer key makes longer tokens
_NEW_RSA_BITS = 3072  # as strong as the curves: SP 800-57 part 1, §5.6.1
# The order of P-256: SP 800-186 §3.2.1.3.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Of a public key as a JWK: RFC 7518 §6.2.1 and §6.3.1, RFC 8037 §2.
_MEMBERS = ("kty", "crv", "x", "y", "n", "e")
_PROBE = b"patauth"  # what a private key of RSA signs when it is read
_REMEMBERED = 2048  # most tokens in each half of the memory
_SHORT = 2048  # most characters of a token that is remembered; a usual one has 600 to 1000


class Key:
    """A key, and the one algorithm that it is for. Raise `ValueError` for keys of other kinds."""

    __slots__ = ("_algorithm", "_key", "alg", "kid")

    def __init__(self, key: ECKey | OKPKey | RSAKey, kid: str | None = None) -> None:
        from joserfc.jws import JWSRegistry

        self._key = key
        self.alg = _algorithm_of(key)
        self.kid = kid or key.thumbprint()  # RFC 7638
        # The key chooses the algorithm, never a token. A look-up by the registry's method would warn each
        # time that RFC 9864 has another name for EdDSA.
        self._algorithm = JWSRegistry.algorithms[self.alg]

    def __repr__(self) -> str:
        return f"<Key {self.alg} {self.kid}>"

    @classmethod
    def generate(cls, alg: Algorithm) -> Key:
        """Make a new private key. Raise `ConfigurationError` without joserfc."""
        ec, okp, rsa = require_joserfc()
        match alg:
            case "ES256":
                return cls(ec.generate_key("P-256"))
            case "EdDSA":
                return cls(okp.generate_key("Ed25519"))
            case "RS256":
                return cls(rsa.generate_key(_NEW_RSA_BITS))

    @classmethod
    def private(cls, data: bytes) -> Key:
        """Read a private key from the content of a file: PEM (PKCS #8, RFC 5958) or a JWK (RFC 7517).

        Raise `ValueError`, which repeats nothing of the content, and `ConfigurationError` without joserfc.
        """
        for kind in require_joserfc():
            key = None
            try:
                said = json.loads(data) if data.lstrip()[:1] == b"{" else {}
                key = kind.import_key(_rsa_of(said) if said.get("kty") == "RSA" else said or _of_pem(data))
                # Use the private half alone, and compute the public one and the kid from it.
                found = cls(kind.import_key(key.raw_value))  # type: ignore[arg-type]
                unchecked = key.is_private and found.alg == "RS256"
                agrees = not unchecked or found.verify(_PROBE, found.sign(_PROBE))
            except Exception:  # noqa: S112 - any error; its text may hold a part of the key
                continue
            if not key.is_private:
                raise ValueError("it holds a public key; give the private one")
            if not agrees:
                raise ValueError("its public half is not that of its private one")
            if not _is_for("sign", said, found.alg):
                raise ValueError(f"its own members say that it is not for signing with {found.alg}")
            return found
        raise ValueError(
            "it holds no private key on P-256 or Ed25519, or of RSA with 2048 to 4096 bits, as PEM (PKCS #8)"
            " or JWK, unencrypted"
        )

    @classmethod
    def public(cls, jwk: object) -> Key | None:
        """Read a public key of a JWK Set (RFC 7517 §5). Return None if it does not verify our tokens.

        Raise `ConfigurationError` without joserfc.
        """
        if not isinstance(jwk, Mapping) or not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
            return None
        members = {name: jwk[name] for name in _MEMBERS if name in jwk}
        for kind in require_joserfc():
            if members.get("kty") == kind.key_type:
                try:
                    found = cls(kind.import_key(members), jwk["kid"])  # without "d", so it is always public
                except Exception:
                    return None
                return found if _is_for("verify", jwk, found.alg) else None
        return None

    def pem(self) -> bytes:
        """Return the private key as PEM (PKCS #8)."""
        return self._key.as_pem(private=True)

    def jwk(self) -> dict[str, str]:
        """Return the public key as an entry of a JWK Set."""
        found = self._key.as_dict(private=False)
        members = {name: str(found[name]) for name in _MEMBERS if name in found}
        return {**members, "kid": self.kid, "use": "sig", "alg": self.alg}

    def sign(self, message: bytes) -> bytes:
        """Return a signature: 64 bytes, or with RSA as many as the key has."""
        signature: bytes = self._algorithm.sign(message, self._key)
        if self.alg == "ES256":
            s = int.from_bytes(signature[32:])
            signature = signature[:32] + min(s, _ORDER - s).to_bytes(32)
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether this key made a signature.

        ECDSA allows (r, s) and (r, -s): accept the lower one only.
        """
        if self.alg == "ES256" and int.from_bytes(signature[32:]) > _ORDER // 2:
            return False
        return bool(self._algorithm.verify(message, signature, self._key))


class UnknownKey(InvalidToken):
    """A well-formed token names an unknown key, which may be a new one."""


class Verifier:
    """Verifies that one of these keys has signed a token of one issuer, and reads its claims.

    It remembers verified tokens by the SHA-256 of their text. That says nothing about expiry or revocation.
    Nothing else changes, so threads can share a verifier without a lock, also after a fork.
    """

    def __init__(self, keys: Iterable[Key], issuer: str, audience: Collection[str]) -> None:
        self._keys = {key.kid: key for key in reversed(list(keys))}  # of two keys with one kid, the first
        self._issuer = issuer
        self._audience = frozenset(audience)
        # Two generations: when the young one is full, it becomes the old one, and the old one goes. Each step
        # is one operation on a dict. At worst, two threads at the same time forget a token.
        self._young: dict[bytes, Claims] = {}
        self._old: dict[bytes, Claims] = {}
        self.keys_mark = object()  # stands for the keys in what may outlive them

    def verify(self, text: str) -> Claims:
        """Return the claims of a token. Raise `InvalidToken`, or its subclass `UnknownKey`."""
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
            raise UnknownKey(detail="JWT: an unknown key")
        if token.alg != key.alg:
            refuse("alg is not that of the key")
        if not key.verify(token.signed, token.signature):
            refuse("the signature is wrong")
        return token.payload


def sign(found: Claims, key: Key) -> str:
    """Return the text of a token with these claims, signed with `key`."""
    signed = claims.write(found, key.alg, key.kid)
    return f"{signed.decode()}.{claims.encoded(key.sign(signed))}"


def _algorithm_of(key: ECKey | OKPKey | RSAKey) -> Algorithm:
    """Return the algorithm that a key is for. Raise `ValueError` if it is for none of patauth's."""
    from joserfc.jwk import RSAKey

    if isinstance(key, RSAKey):
        if key.raw_value.key_size in _RSA_BITS:
            return "RS256"
    elif key.curve_name in _CURVES:
        return _CURVES[key.curve_name]
    raise ValueError("patauth has no algorithm for such a key")


def _is_for(operation: str, jwk: Mapping[str, Any], alg: Algorithm) -> bool:
    """Return whether a JWK allows an operation with an algorithm (RFC 7517 §4.2 to §4.4)."""
    operations = jwk.get("key_ops", [operation])
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", alg) == alg
        and isinstance(operations, list | tuple)
        and operation in operations
    )


# OpenSSL would test whether the factors of an RSA key are prime. That takes a quarter of a second, and a new
# key is read in the midst of a request. So `Key.private` has the key sign something instead.


def _of_pem(data: bytes) -> Any:
    """Return the private key of a PEM file, and anything else as it is."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if b"PRIVATE KEY-----" not in data or b"OPENSSH" in data:
        return data
    return load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)


def _rsa_of(jwk: Mapping[str, str]) -> Any:
    """Return the private key of RSA of a JWK with all its numbers (RFC 7518 §6.3.2), or its public key."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
    from joserfc.util import base64_to_int

    public = RSAPublicNumbers(base64_to_int(jwk["e"]), base64_to_int(jwk["n"]))
    if "d" not in jwk:
        return public.public_key()
    p, q, d, dp, dq, qi = (base64_to_int(jwk[name]) for name in ("p", "q", "d", "dp", "dq", "qi"))
    numbers = RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def require_joserfc() -> tuple[type[ECKey], type[OKPKey], type[RSAKey]]:
    """Return joserfc's kinds of key. Raise `ConfigurationError` if joserfc is not installed."""
    try:
        from joserfc.jwk import ECKey, OKPKey, RSAKey
    except ImportError:
        raise ConfigurationError("signed tokens need joserfc: pip install 'patauth[jwt]'") from None
    return ECKey, OKPKey, RSAKey
