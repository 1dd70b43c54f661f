"""Credentials: strict readers of what a caller sends, and makers of what patauth hands out.

    PAT id        32 lower-case hex: 8 of the owner tag, 24 random       Basic user name, OAuth client_id
    PAT secret    pats_ RANDOM CHECK                                     Basic password, OAuth client_secret
    PAT token     pat_  PAT-ID _ RANDOM CHECK                            Bearer: id and secret in one string
    access token  pata_ PAT-ID _ RANDOM CHECK                            Bearer: short-lived
                  or a JWT, which the package `patauth.jwt` reads

    RANDOM = 43 digits of 0-9A-Za-z: 32 random bytes as one big-endian number, left-padded with "0"
    CHECK  =  6 such digits: CRC-32 (zlib) of all ASCII before it, prefix included

The alphabet is in ASCII order, so numbers of equal length compare as their texts do. This module refuses a
wrong shape, checksum or base64 spelling without a store call and without a hash. So each credential has
exactly one accepted spelling, and every key that is made from a credential is made from its decoded value.

The readers raise `InvalidCredentials` and `InvalidRequest`, and nothing else.
"""

from __future__ import annotations

import re
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote_to_bytes
from zlib import crc32

from ..errors import ConfigurationError, InvalidCredentials, InvalidRequest
from .pat_id import PatId

DEFAULT_TENANT = "default"
MAX_JWT = 8192  # characters; checked before anything is decoded
MAX_AUTHORIZATION = 1024  # characters of an Authorization value without a JWT; the longest is under 150

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]  # two digits at a time: half the steps
_BYTE_PAIRS = [pair.encode() for pair in _PAIRS]
_BASE2 = len(_PAIRS)
_VALUES = bytes.maketrans(_ALPHABET.encode(), bytes(range(62)))

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_COMBINED = re.compile(r",[ \t]*(?:basic|bearer)[ \t]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a signed access token. Instants are whole seconds since 1970."""

    issuer: str
    audience: tuple[str, ...]
    subject: str  # the owner's id
    pat_id: PatId
    scope: tuple[str, ...]
    issued: int
    expires: int
    jti: str = field(repr=False)
    tenant: str = DEFAULT_TENANT

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the jti, which is the key of the token's record."""
        return sha256(self.jti.encode()).digest()


@dataclass(slots=True)
class PatCredentials:
    """A PAT id and the 32 bytes of a secret, sent by Basic or as a PAT token.

    Their shape and checksum are right. Whether the secret is the PAT's is not known yet.
    """

    pat_id: PatId
    secret: bytes = field(repr=False)
    method: Literal["basic", "pat"]


@dataclass(slots=True)
class AccessToken:
    """An access token: the PAT that it names, and the digest that is the key of its record.

    The digest is the SHA-256 of an opaque token's text, or of a JWT's jti. A JWT also has `claims`: its
    signature is right, and its record decides whether it is accepted. `keys_mark` stands for the keys that
    verified it.
    """

    pat_id: PatId
    digest: bytes = field(repr=False)
    claims: Claims | None = None
    keys_mark: object = field(default=None, repr=False, compare=False)


class Prefixes(NamedTuple):
    """The three prefixes of one brand of credentials (setting `credential_prefixes`)."""

    pat: str = "pat"
    secret: str = "pats"  # noqa: S105 - the prefix, not a secret
    access: str = "pata"


class Format:
    """Reads and writes credentials under one or more triples of prefixes, newest first.

    New credentials get the first triple. Credentials with any of the triples are accepted, so a brand can
    change while old PATs live on. `jwt` reads a token that looks like a JWT, and raises `InvalidToken`;
    without it, every JWT is refused. Raise `ConfigurationError` for prefixes that cannot be used.
    """

    def __init__(
        self,
        prefixes: Iterable[Prefixes] = (Prefixes(),),
        *,
        jwt: Callable[[str], AccessToken] | None = None,
    ) -> None:
        self._jwt = jwt
        self._prefixes = triples = tuple(prefixes)
        names = [name for triple in triples for name in triple]
        if not triples or not all(re.fullmatch(r"[a-z][a-z0-9]{0,15}", name) for name in names):
            raise ConfigurationError(
                "give three prefixes 'pat,secret,access', each of 1 to 16 letters a-z and digits,"
                " starting with a letter"
            )
        if len(set(names)) != len(names):
            raise ConfigurationError("each prefix of credentials must differ from all others")
        self.issued = triples[0]
        self._pat_prefixes = frozenset(triple.pat for triple in triples)
        secret_names = "|".join(triple.secret for triple in triples)
        bearer_names = "|".join(name for triple in triples for name in (triple.pat, triple.access))
        secret = rf"(?:{secret_names})_[0-9A-Za-z]{{49}}"
        self._secret = re.compile(secret)
        self._pair = re.compile(rf"([0-9a-f]{{32}}):({secret})")
        bearer = rf"(({bearer_names})_([0-9a-f]{{32}})_[0-9A-Za-z]{{49}})"
        self._bearer = re.compile(bearer)
        self._authorization = re.compile(rf"(?i:bearer) {bearer}")

    def patterns(self) -> dict[str, str]:
        """Return a regular expression for each kind of secret, for secret scanners and log filters.

        The expressions match all prefixes that are accepted. They have no word boundaries: in a log, a secret
        may follow `%3A` or `\\n`, which end in word characters.
        """
        pat, secret, access = (f"(?:{'|'.join(names)})" for names in zip(*self._prefixes, strict=True))
        return {
            "secret": rf"{secret}_[0-9A-Za-z]{{49}}",
            "token": rf"{pat}_[0-9a-f]{{32}}_[0-9A-Za-z]{{49}}",
            "access_token": rf"{access}_[0-9a-f]{{32}}_[0-9A-Za-z]{{49}}",
        }

    # -- reading --------------------------------------------------------------------------------------

    def parse(self, value: str, *, form_encoded: bool = False) -> PatCredentials | AccessToken:
        """Read an Authorization value, `Basic …` or `Bearer …` (RFC 7617 §2, RFC 6750 §2.1).

        A PAT token may also be the password of Basic; the user name then does not count.
        `form_encoded` also accepts the form-urlencoded spelling of id and secret (RFC 6749 §2.3.1). Raise
        `InvalidRequest` for several values that were joined into one (RFC 9110 §5.3), and
        `InvalidCredentials` for every other value that is not a well-formed credential.
        """
        if not isinstance(value, str):
            raise InvalidCredentials
        # The usual spellings match a pattern. Everything else takes the slower way, which explains refusals.
        match = self._authorization.fullmatch(value)
        if match is not None:
            return self._of_bearer(match)
        if value.startswith("Basic ") and len(value) <= MAX_AUTHORIZATION:
            match = self._pair.fullmatch(_decoded(value[6:]) or "")
            if match is not None:
                return _of_pair(match)
        if len(value) > MAX_AUTHORIZATION and (self._jwt is None or len(value) > MAX_JWT + len("Bearer ")):
            raise InvalidCredentials("the Authorization value is too long")
        scheme, _, rest = value.partition(" ")
        scheme = scheme.lower()
        try:
            if scheme == "bearer":
                return self.bearer(rest.lstrip(" "))
            if scheme == "basic":
                user, password = split_basic(rest.lstrip(" "))
                if form_encoded and ("%" in user or "%" in password):
                    user, password = _form_decoded(user), _form_decoded(password)
                match = self._bearer.fullmatch(password)
                if match is not None and match[2] in self._pat_prefixes:
                    return self._of_password(user, match)
                return self.basic(user, password)
        except InvalidCredentials:
            _refuse_combined(value, scheme)
            raise
        _refuse_combined(value, scheme)
        raise InvalidCredentials("the Authorization value must be 'Basic …' or 'Bearer …'")

    def basic(self, pat_id: str, secret: str) -> PatCredentials:
        """Read a PAT id and a PAT secret. Raise `InvalidCredentials`."""
        known = PatId.read(pat_id)
        # A request library may pass None for what the client left out.
        if known is None or not isinstance(secret, str) or self._secret.fullmatch(secret) is None:
            raise InvalidCredentials
        return PatCredentials(known, _random_bytes(secret.encode()), "basic")

    def pair(self, text: str) -> PatCredentials:
        """Read a PAT id and a PAT secret with a colon between them. Raise `InvalidCredentials`."""
        match = self._pair.fullmatch(text)
        if match is None:
            raise InvalidCredentials
        return _of_pair(match)

    def _of_password(self, user: str, token: re.Match[str]) -> PatCredentials | AccessToken:
        """Read a PAT token that was sent as the password of Basic, as git and pip do it.

        The user name may be anything but the id of another PAT.
        """
        if user != token[3] and PatId.read(user) is not None:
            raise InvalidCredentials("the user name is the id of another PAT than the token in the password")
        return self._of_bearer(token)

    def bearer(self, token: str) -> PatCredentials | AccessToken:
        """Read a PAT token or an access token; check the signature and the claims of a JWT.

        Raise `InvalidCredentials`, and for a JWT `InvalidToken`.
        """
        if not isinstance(token, str):
            raise InvalidCredentials
        match = self._bearer.fullmatch(token)
        if match is None:
            if self._jwt is not None and len(token) <= MAX_JWT and token.count(".") == 2:
                return self._jwt(token)
            raise InvalidCredentials
        return self._of_bearer(match)

    def _of_bearer(self, match: re.Match[str]) -> PatCredentials | AccessToken:
        token, prefix, pat_id = match.groups()
        text = token.encode()
        if prefix in self._pat_prefixes:
            return PatCredentials(PatId(pat_id), _random_bytes(text), "pat")
        if not _is_checked(text):
            raise InvalidCredentials
        return AccessToken(PatId(pat_id), sha256(text).digest())

    # -- minting --------------------------------------------------------------------------------------

    def secret_text(self, secret: bytes) -> str:
        """Return the PAT secret for 32 secret bytes."""
        return _with_check(f"{self.issued.secret}_{_digits(int.from_bytes(secret), 43)}")

    def token_text(self, pat_id: str, secret: bytes) -> str:
        """Return the PAT token (id and secret in one string) for 32 secret bytes."""
        return _with_check(f"{self.issued.pat}_{pat_id}_{_digits(int.from_bytes(secret), 43)}")

    def mint_access_token(self, pat_id: str) -> tuple[str, bytes]:
        """Return a new access token of a PAT: its text, and the SHA-256 that is the key of its record."""
        text = _with_check(f"{self.issued.access}_{pat_id}_{_random_digits()}")
        return text, sha256(text.encode()).digest()


def read_prefixes(value: Any) -> tuple[Prefixes, ...]:
    """Return the prefixes in a text or a list, newest first. Raise `ValueError` or `ConfigurationError`."""
    triples = [part.split(",") for part in value.split()] if isinstance(value, str) else list(value)
    if not all(isinstance(triple, tuple | list) and len(triple) == 3 for triple in triples):
        raise ValueError("give triples 'pat,pats,pata', newest first, separated by blanks")
    prefixes = tuple(Prefixes(*triple) for triple in triples)
    Format(prefixes)
    return prefixes


def _of_pair(match: re.Match[str]) -> PatCredentials:
    pat_id, secret = match.groups()
    return PatCredentials(PatId(pat_id), _random_bytes(secret.encode()), "basic")


def mint_secret() -> bytes:
    """Return 32 new secret bytes."""
    return secrets.token_bytes(32)


def split_basic(token68: str) -> tuple[str, str]:
    """Return the user name and password of a Basic credential (RFC 7617 §2), split at the first colon.

    Raise `InvalidCredentials` for control characters, bytes that are not UTF-8, and base64 that is not
    canonical (with the padding and trailing bits that an encoder writes).
    """
    user, colon, password = (_decoded(token68) or "").partition(":")
    if not colon or _CONTROLS.search(user + password):
        raise InvalidCredentials
    return user, password


def _decoded(token68: str) -> str | None:
    # This returns None and raises nothing: an exception would hold the text that could not be decoded.
    try:
        decoded = a2b_base64(token68, strict_mode=True)
        # Without padding there are no trailing bits, and only one spelling.
        if token68[-1:] == "=" and b2a_base64(decoded, newline=False).decode() != token68:
            return None
        return decoded.decode()
    except (Base64Error, ValueError):  # ValueError: text that is not ASCII, bytes that are not UTF-8
        return None


def _refuse_combined(value: str, scheme: str) -> None:
    # Servers join repeated header lines with a comma. Basic and Bearer credentials contain no comma. Other
    # schemes do, so for them only a following Basic or Bearer shows that there were several values.
    if (scheme in ("basic", "bearer") and "," in value) or _COMBINED.search(value):
        raise InvalidRequest("more than one Authorization value was sent; send exactly one")


def _form_decoded(text: str) -> str:
    with suppress(UnicodeDecodeError):
        return unquote_to_bytes(text.replace("+", " ")).decode()
    raise InvalidCredentials


# -- base 62 ----------------------------------------------------------------------------------------------


def _digits(value: int, width: int) -> str:
    pairs = []
    for _ in range(width // 2):
        value, rest = divmod(value, _BASE2)
        pairs.append(_PAIRS[rest])
    if width % 2:
        pairs.append(_ALPHABET[value])
    pairs.reverse()
    return "".join(pairs)


_MAX_RANDOM = _digits(2**256 - 1, 43).encode()
_OF_BYTES = (_ALPHABET * 4).encode().ljust(256, b"0")  # a digit for each byte, and each digit for four
_UNEVEN = bytes(range(4 * 62, 256))  # bytes that have no digit


def _random_digits() -> str:
    """Return the 43 digits of 32 random bytes: each number below 2^256 is as likely as any other.

    This draws digits, and draws again if the number is too large. A division would take ten times as long.
    """
    while True:
        digits = secrets.token_bytes(64).translate(_OF_BYTES, _UNEVEN)[:43]
        if len(digits) == 43 and digits <= _MAX_RANDOM:
            return digits.decode()


def _check_of(text: bytes) -> bytes:
    rest, last = divmod(crc32(text), _BASE2)  # `_digits`, unrolled: nearly each request comes here
    first, middle = divmod(rest, _BASE2)
    return _BYTE_PAIRS[first] + _BYTE_PAIRS[middle] + _BYTE_PAIRS[last]


def _with_check(text: str) -> str:
    return text + _check_of(text.encode()).decode()


def _is_checked(text: bytes) -> bool:
    """Return whether the checksum at the end is right, and the 43 digits before it fit into 32 bytes."""
    return text[-6:] == _check_of(text[:-6]) and text[-49:-6] <= _MAX_RANDOM


def _steps() -> Iterator[tuple[int, int, int]]:
    # Before the first step, each digit has 8 bits of its own. Each step joins two neighbours into twice as
    # many bits.
    for step in range(6):
        bits = 8 << step
        lanes = sum(((1 << bits) - 1) << at for at in range(0, 512, 2 * bits))
        yield bits, lanes, (1 << bits) - 62 ** (1 << step)


_STEPS = tuple(_steps())


def _random_bytes(text: bytes) -> bytes:
    """Return the 32 bytes that a credential's digits spell. Raise `InvalidCredentials` if it is mistyped.

    Each of the six steps joins all neighbours at once: high * 2^bits + low becomes high * 62^digits + low. A
    loop over the digits takes twice as long.
    """
    if not _is_checked(text):
        raise InvalidCredentials
    value = int.from_bytes(text[-49:-6].translate(_VALUES))
    for bits, lanes, excess in _STEPS:
        value -= (value >> bits & lanes) * excess
    return value.to_bytes(32)
