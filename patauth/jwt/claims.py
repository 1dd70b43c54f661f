"""The text of a signed access token (RFC 9068): read it strictly, and write it.

    BASE64URL(header) . BASE64URL(claims) . BASE64URL(signature)          RFC 7515 §7.1

    header   typ "at+jwt", alg "ES256", "EdDSA" or "RS256", kid; nothing else: no crit, jwk, jku, x5u, x5c,
             b64, zip
    claims   iss, sub (the owner's id), aud, client_id (the PAT's id), exp, iat, jti, scope; all required.
             tenant, if it is not "default"

patauth reads only its own JWTs, so it refuses everything that it would never write: each token has exactly
one spelling. It ignores unknown claims (RFC 7519 §4), so that later versions can add some.

Claims are worth nothing before the signature is checked (signature.py). All errors are `InvalidToken` with
the same text. `detail` says what is wrong, and repeats nothing of the token.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from typing import Any, Literal, NamedTuple, NoReturn, get_args

from ..errors import InvalidScope, InvalidToken
from ..model import scopes
from ..model.credentials import DEFAULT_TENANT, MAX_JWT, Claims
from ..model.pat import ID
from ..model.pat_id import PatId

LONGEST_LIFE = 43_200  # s; no access token lives longer
Algorithm = Literal["ES256", "EdDSA", "RS256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

_TYPES = ("at+jwt", "application/at+jwt")  # RFC 9068 §4; media types ignore case
_HEADER = {"typ", "alg", "kid"}
# A signature has 64 bytes, or with RS256 as many as the key: up to 512.
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86,683})", re.ASCII)
_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_JTI = re.compile(r"[A-Za-z0-9_-]{22,128}")  # at least 128 bits
_LATEST = 253_402_300_799  # s since 1970; the end of the year 9999
# Both restrict a token in ways that this module does not check: RFC 7519 §4.1.5, RFC 7800 §3.
_NOT_OURS = ("nbf", "cnf")


class Jws(NamedTuple):
    """The parts of a JWT. None of them is verified yet."""

    alg: str
    kid: str
    payload: bytes
    signed: bytes  # the bytes that the signature covers
    signature: bytes


def split(text: str) -> Jws:
    """Split a JWT into its parts.

    Raise `InvalidToken`, before decoding if it is too long or has another shape.
    """
    if len(text) > MAX_JWT:
        refuse("too long")
    match = _SHAPE.fullmatch(text)
    if match is None:
        refuse("not three segments of base64url, the last as long as a signature")
    header, payload, signature = match.groups()
    found = _object(_decoded(header), "header")
    if found.keys() != _HEADER:
        refuse("the header has other members than typ, alg and kid")
    kind, alg, kid = (found[name] for name in ("typ", "alg", "kid"))
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        refuse("typ is not at+jwt")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        refuse("alg is not on the list")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        refuse("kid is not one of ours")
    return Jws(alg, kid, _decoded(payload), f"{header}.{payload}".encode(), _decoded(signature))


def read(payload: bytes, issuer: str, audience: Collection[str]) -> Claims:
    """Return the claims of a payload. Raise `InvalidToken` if one is missing, of another type, or not for us.

    The token must come from `issuer` and be for one of `audience`. The caller must check its expiry.
    """
    found = _object(payload, "claims")
    for name in _NOT_OURS:
        if name in found:
            refuse(f"{name} is not ours")
    if _text(found, "iss") != issuer:
        refuse("another issuer")
    aud = found.get("aud")
    meant = (aud,) if isinstance(aud, str) else tuple(aud) if isinstance(aud, list) else ()
    if not meant or not all(isinstance(one, str) for one in meant) or len(set(meant)) != len(meant):
        refuse("aud is neither a text nor a list of texts")
    if not any(one in audience for one in meant):
        refuse("another audience")
    subject, jti = _text(found, "sub"), _text(found, "jti")
    pat_id = PatId.read(_text(found, "client_id"))
    if pat_id is None:
        refuse("client_id is not one of ours")
    tenant = _text(found, "tenant") if "tenant" in found else DEFAULT_TENANT
    for name, value, pattern in (
        ("sub", subject, ID),
        ("jti", jti, _JTI),
        ("tenant", tenant, ID),
    ):
        if not pattern.fullmatch(value):
            refuse(f"{name} is not one of ours")
    issued, expires = _seconds(found, "iat"), _seconds(found, "exp")
    if not 0 <= expires - issued <= LONGEST_LIFE:
        refuse("exp is before iat, or too long after it")
    return Claims(issuer, meant, subject, pat_id, _scope(found), issued, expires, jti, tenant)


def write(claims: Claims, alg: str, kid: str) -> bytes:
    """Return header and claims as the bytes to sign."""
    header = {"typ": "at+jwt", "alg": alg, "kid": kid}
    content: dict[str, Any] = {
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.audience[0] if len(claims.audience) == 1 else list(claims.audience),
        "client_id": claims.pat_id,
        "exp": claims.expires,
        "iat": claims.issued,
        "jti": claims.jti,
        "scope": " ".join(claims.scope),
    }
    if claims.tenant != DEFAULT_TENANT:
        content["tenant"] = claims.tenant
    parts = (json.dumps(part, separators=(",", ":")).encode() for part in (header, content))
    return ".".join(map(encoded, parts)).encode()


def encoded(data: bytes) -> str:
    """Return the base64url form without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def refuse(detail: str) -> NoReturn:
    """Raise `InvalidToken` with the same text for all tokens. `detail` is for the log."""
    raise InvalidToken(detail=f"JWT: {detail}")


# -- strict base64url and JSON -----------------------------------------------------------------------------


def _decoded(segment: str) -> bytes:
    data = None
    if len(segment) % 4 != 1:
        data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if data is None or encoded(data) != segment:  # an encoder leaves spare bits at zero
        refuse("not base64url as an encoder writes it")
    return data


def _object(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object by RFC 8259, without Python's extensions, and with each name only once."""
    found = None
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, a name twice, thousands of digits or levels
        pass
    if not isinstance(found, dict):
        refuse(f"the {what} part is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("JSON has no NaN or Infinity")


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        refuse(f"{name} is missing or not a text")
    return value


def _seconds(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 < value <= _LATEST:  # True is an int, too
        refuse(f"{name} is missing or not an instant in whole seconds")
    return value


def _scope(found: dict[str, Any]) -> tuple[str, ...]:
    text = _text(found, "scope")
    read: tuple[str, ...] | None = None
    try:
        read = scopes.parse(text)
    except InvalidScope:
        pass
    if read is None or " ".join(read) != text:
        refuse("scope is not a list of scopes with single spaces between them")
    return read
