"""Describe the OAuth surface for `/openapi.json`: its endpoints (endpoints.py) and metadata (metadata.py).

The types below serve the description only, because the endpoints read a form name by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...authority import Authority
from ...jwt.claims import Algorithm
from ...model.rights import INTROSPECT
from ...model.scopes import SCOPE_TOKEN
from ..bodies import MAX_FORM, MAX_PARAMETERS, MAX_PARTS
from ..openapi.parts import (
    EXPIRY,
    PAT_ID,
    QUOTA,
    Description,
    Schema,
    answer,
    body,
    operation,
    ref,
    responses,
    schemas,
    words,
)
from . import metadata
from .endpoints import JWKS_AGE

_TAG = "OAuth"
_FORM = "application/x-www-form-urlencoded"
# By Basic, or without it in the form.
_CLIENT: list[dict[str, Any]] = [{"basic": []}, {}]

_ABOUT = words(f"""
    The client credentials grant (RFC 6749 §4.4), introspection (RFC 7662) and revocation (RFC 7009). The
    client is a PAT: `client_id` is its id, `client_secret` its secret, by HTTP Basic or in the form, never
    both. An empty parameter counts as omitted, an unknown one is ignored, and none may be repeated. A form
    is read up to {MAX_FORM} bytes; it may also be multipart/form-data, in at most {MAX_PARTS} parts without
    files. Credentials in the URL are refused.
""")

_PatId = Annotated[str, Meta(description="The PAT's id.", extra_json_schema=PAT_ID)]
# An empty one counts as left out.
_ClientId = Annotated[str, Meta(description="The PAT's id.", pattern="^(?:[0-9a-f]{32})?$")]
_Secret = Annotated[str, Meta(description="The PAT's secret. Left out with HTTP Basic.")]
_SCOPES = f"{SCOPE_TOKEN.pattern}(?: {SCOPE_TOKEN.pattern})*"
_Scope = Annotated[
    str,
    Meta(description="Scopes separated by single spaces (RFC 6749 §3.3).", pattern=f"^{_SCOPES}$"),
]
_Wanted = Annotated[
    str,
    Meta(
        description="Scopes that the PAT holds, separated by single spaces. Left out or empty: all of them.",
        pattern=f"^(?:{_SCOPES})?$",
        extra_json_schema={"format": "scope-tokens"},
    ),
]
_Token = Annotated[str, Meta(description="An access token, or a PAT token.", min_length=1)]


class TokenRequest(msgspec.Struct):
    grant_type: Annotated[Literal["client_credentials"], Meta(description="Compared without case.")]
    client_id: _ClientId | UnsetType = UNSET
    client_secret: _Secret | UnsetType = UNSET
    scope: _Wanted | UnsetType = UNSET


class AboutToken(msgspec.Struct):
    token: _Token
    token_type_hint: Annotated[str, Meta(description="Not needed, and ignored.")] | UnsetType = UNSET
    client_id: _ClientId | UnsetType = UNSET
    client_secret: _Secret | UnsetType = UNSET


class IntrospectionRequest(AboutToken):
    client_address: (
        Annotated[
            str,
            Meta(
                description="Where the token was used: needed for a PAT with networks.",
                extra_json_schema={"format": "ip-address"},
            ),
        ]
        | UnsetType
    ) = UNSET


class TokenAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The answer of the token endpoint (RFC 6749 §5.1)."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Seconds.", ge=0)]
    scope: _Scope


class Introspected(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of a token (RFC 7662 §2.2); a token that is not active has only `active`."""

    active: bool
    scope: _Scope | UnsetType = UNSET
    client_id: _PatId | UnsetType = UNSET
    username: Annotated[str, Meta(description="The owner's name.")] | UnsetType = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET
    sub: Annotated[str, Meta(description="The owner's id.")] | UnsetType = UNSET
    exp: Annotated[int, Meta(description="Seconds since 1970.")] | UnsetType = UNSET
    nbf: Annotated[int, Meta(description="Seconds since 1970.")] | UnsetType = UNSET
    aud: Annotated[str | list[str], Meta(description="Of a signed token.")] | UnsetType = UNSET
    iat: Annotated[int, Meta(description="Of a signed token: seconds since 1970.")] | UnsetType = UNSET
    jti: Annotated[str, Meta(description="Of a signed token.")] | UnsetType = UNSET
    iss: Annotated[str, Meta(extra_json_schema={"format": "uri"})] | UnsetType = UNSET


class Key(msgspec.Struct, forbid_unknown_fields=True):
    """A public key (RFC 7517 §4): `crv`, `x`, and on some curves `y`, or of RSA `n` and `e`."""

    kty: Literal["EC", "OKP", "RSA"]
    kid: str
    use: Literal["sig"]
    alg: Algorithm
    crv: str | UnsetType = UNSET
    x: str | UnsetType = UNSET
    y: str | UnsetType = UNSET
    n: str | UnsetType = UNSET
    e: str | UnsetType = UNSET


class KeySet(msgspec.Struct, forbid_unknown_fields=True):
    """A JWK Set (RFC 7517 §5)."""

    keys: list[Key]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An empty object."""


class OAuthError(msgspec.Struct, forbid_unknown_fields=True):
    """An error of the token endpoint (RFC 6749 §5.2)."""

    error: Literal[
        "invalid_request",
        "invalid_client",
        "invalid_scope",
        "unsupported_grant_type",
        "temporarily_unavailable",
    ]
    error_description: str


_RESPONSES = {
    "OAuth400": answer(
        "The request is malformed, its grant is not offered, or the PAT does not hold a scope.",
        ref("OAuthError"),
    ),
    "OAuth401": answer("The client is refused.", ref("OAuthError"), always=["WWW-Authenticate"]),
    "OAuth413": answer("The form is too large, or holds a file.", ref("OAuthError")),
    "OAuth415": answer("The body is no form.", ref("OAuthError")),
    "OAuth503": answer(
        "The store did not answer in time, or no hash slot was free.",
        ref("OAuthError"),
        always=["Retry-After"],
    ),
}
_REFUSALS = ("OAuth400", "OAuth401", "OAuth413", "OAuth415", "Limited429", "OAuth503")


def describe(authority: Authority) -> Description:
    """Return the description of this surface; it has metadata only where there is an issuer."""
    settings = authority.settings
    types = [TokenRequest, AboutToken, IntrospectionRequest, TokenAnswer, Introspected, Nothing, OAuthError]
    if authority.operations.publishes_keys:
        types += [Key, KeySet]
    found = schemas({kind.__name__: kind for kind in types})
    for form in ("TokenRequest", "AboutToken", "IntrospectionRequest"):
        found[form]["additionalProperties"] = {"type": "string"}  # unknown parameters are ignored
    prefix = settings.path_prefix
    paths = {
        f"{prefix}/oauth/token": _post(
            "getAccessToken",
            "Exchange a PAT for an access token",
            "A scope that the PAT does not hold is refused, and never just left out.",
            "TokenRequest",
            answer("An access token.", ref("TokenAnswer"), always=QUOTA, maybe=EXPIRY),
            _CLIENT,
        ),
        f"{prefix}/oauth/introspect": _post(
            "introspectToken",
            "Tell whether a token is active",
            f"The owner's own tokens, or with the scope `{INTROSPECT}` any token of the tenant. All others"
            " count as not active, and those of a PAT with networks unless `client_address` is in them.",
            "IntrospectionRequest",
            answer("Whether it is active, and for what.", ref("Introspected"), always=QUOTA, maybe=EXPIRY),
            [*_CLIENT, {"bearer": []}],
        ),
        f"{prefix}/oauth/revoke": _post(
            "revokeToken",
            "End a token",
            "One of the owner's own tokens; for all others nothing happens. A PAT token ends its PAT.",
            "AboutToken",
            answer(
                "The token is not active, now or already before.", ref("Nothing"), always=QUOTA, maybe=EXPIRY
            ),
            [*_CLIENT, {"bearer": []}],
        ),
    }
    if authority.operations.publishes_keys:
        paths[f"{prefix}/oauth/jwks"] = _get(
            "getKeys",
            "Get the keys that verify signed access tokens",
            "Among them are keys that do not sign yet.",
            answer("The keys.", ref("KeySet"), cached=f"public, max-age={JWKS_AGE}"),
            **responses("OAuth503"),
        )
    known = metadata.metadata(settings)
    if known is not None:
        found["ServerMetadata"] = _metadata_schema(known)
        for number, path in enumerate(metadata.routes(settings), 1):
            paths[path] = _get(
                f"getServerMetadata{number}",
                "Describe the token endpoints",
                "Authorization server metadata (RFC 8414), the same at each of its places.",
                answer("The metadata.", ref("ServerMetadata")),
            )
    return Description({"name": _TAG, "description": _ABOUT}, paths, found, _RESPONSES)


def _post(
    name: str, summary: str, about: str, form: str, done: dict[str, Any], security: list[dict[str, Any]]
) -> dict[str, Any]:
    answers = {"200": done, **responses(*_REFUSALS)}
    # Generators of clients cannot make one of an operation that takes the same in two media types.
    forms = body({_FORM: {**ref(form), "maxProperties": MAX_PARAMETERS}})
    return {"post": operation(name, summary, _TAG, answers, about, security=security, requestBody=forms)}


def _get(name: str, summary: str, about: str, done: dict[str, Any], **refusals: Any) -> dict[str, Any]:
    answers = {"200": done, **responses("Get405"), **refusals}
    return {"get": operation(name, summary, _TAG, answers, about, security=[])}


def _metadata_schema(known: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata as constants: it is the same at every request."""
    members = {name: _constant(value) for name, value in known.items()}
    return {"type": "object", "properties": members, "required": list(known), "additionalProperties": False}


def _constant(value: str | list[str]) -> Schema:
    """Return the schema of a text or a list of texts. Generators of clients read no list as a constant."""
    if isinstance(value, str):
        return {"type": "string", "const": value}
    items = {"type": "string", **({"enum": value} if value else {})}
    return {
        "type": "array",
        "items": items,
        "minItems": len(value),
        "maxItems": len(value),
        "uniqueItems": True,
    }
