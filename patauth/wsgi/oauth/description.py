"""What `/openapi.json` says of the OAuth surface: its endpoints (oauth.py) and metadata (discovery.py).

Forms are read name by name, so their types stand here, and for this alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...model.rights import INTROSPECT
from ...model.scopes import SCOPE_TOKEN
from ...settings import Settings
from ..bodies import MAX_FORM, MAX_PARAMETERS, MAX_PARTS
from ..openapi.parts import PAT_ID, QUOTA, Description, answer, body, ref, responses, schemas, words
from . import metadata
from .endpoints import JWKS_AGE

_TAG = "OAuth"
_FORMS = {"application/x-www-form-urlencoded": MAX_PARAMETERS, "multipart/form-data": MAX_PARTS}
# By Basic, or without: in the form.
_CLIENT: list[dict[str, Any]] = [{"basic": []}, {}]

_ABOUT = words(f"""
    The client credentials grant (RFC 6749 §4.4), introspection (RFC 7662) and revocation (RFC 7009). The
    client is a PAT: `client_id` is its id, `client_secret` its secret, by HTTP Basic or in the form, never
    both. An empty parameter counts as omitted, an unknown one is ignored, and none may be repeated. A form
    is read up to {MAX_FORM} bytes. Credentials in the URL are refused.
""")

_PatId = Annotated[str, Meta(description="The PAT's id.", extra_json_schema=PAT_ID)]
_ClientId = Annotated[
    str, Meta(description="The PAT's id.", pattern="^(?:[0-9a-f]{32})?$")
]  # empty: left out
_Secret = Annotated[str, Meta(description="The PAT's secret. Left out with HTTP Basic.")]
_SCOPES = f"{SCOPE_TOKEN.pattern}(?: {SCOPE_TOKEN.pattern})*"
_Scope = Annotated[
    str,
    Meta(description="Scopes with single spaces between (RFC 6749 §3.3).", pattern=f"^{_SCOPES}$"),
]
_Wanted = Annotated[
    str,
    Meta(
        description="Scopes that the PAT holds, with single spaces between. Left out or empty: all of them.",
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


class TokenAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Seconds.", ge=0)]
    scope: _Scope


class Introspected(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 7662 §2.2; of a token that is not active, `active` alone."""

    active: bool
    scope: _Scope | UnsetType = UNSET
    client_id: _PatId | UnsetType = UNSET
    username: Annotated[str, Meta(description="The owner's name.")] | UnsetType = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET
    sub: Annotated[str, Meta(description="The owner's id.")] | UnsetType = UNSET
    exp: Annotated[int, Meta(description="Seconds since 1970.")] | UnsetType = UNSET
    aud: Annotated[str | list[str], Meta(description="Of a signed token.")] | UnsetType = UNSET
    iss: Annotated[str, Meta(extra_json_schema={"format": "uri"})] | UnsetType = UNSET


class Key(msgspec.Struct, forbid_unknown_fields=True):
    """A public key (RFC 7517 §4): of an elliptic curve, whose points have a `y` or not."""

    kty: str
    crv: str
    x: str
    kid: str
    use: Literal["sig"]
    alg: str
    y: str | UnsetType = UNSET


class KeySet(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 7517 §5."""

    keys: list[Key]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An empty object."""


class OAuthError(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 6749 §5.2."""

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
        "The request is malformed, its grant is another one, or a scope is not held.", ref("OAuthError")
    ),
    "OAuth401": answer("The client is refused.", ref("OAuthError"), always=["WWW-Authenticate"]),
    "OAuth413": answer("The form is too large, or holds a file.", ref("OAuthError")),
    "OAuth415": answer("The body is no form.", ref("OAuthError")),
    "OAuth503": answer(
        "The store or a hash slot was not to be had in time.", ref("OAuthError"), always=["Retry-After"]
    ),
}
_REFUSALS = ("OAuth400", "OAuth401", "OAuth413", "OAuth415", "Limited429", "OAuth503")


def describe(settings: Settings, publishes_keys: bool) -> Description:
    """The surface under these settings: the metadata only where there is an issuer."""
    types = [TokenRequest, AboutToken, TokenAnswer, Introspected, Nothing, OAuthError]
    if publishes_keys:
        types += [Key, KeySet]
    found = schemas({kind.__name__: kind for kind in types})
    for form in ("TokenRequest", "AboutToken"):
        found[form]["additionalProperties"] = {"type": "string"}  # what is not known here is ignored
    prefix = settings.path_prefix
    paths = {
        f"{prefix}/oauth/token": _post(
            "getAccessToken",
            "Exchange a PAT for an access token",
            "What is asked for beyond the PAT's own scopes is refused, and never just left out.",
            "TokenRequest",
            answer("An access token.", ref("TokenAnswer"), always=QUOTA),
            _CLIENT,
        ),
        f"{prefix}/oauth/introspect": _post(
            "introspectToken",
            "Tell what a token is worth",
            f"Of the owner's own tokens; with the scope `{INTROSPECT}`, of any access token of the tenant."
            " All others are not active.",
            "AboutToken",
            answer("What it is worth.", ref("Introspected"), always=QUOTA),
            [*_CLIENT, {"bearer": []}],
        ),
        f"{prefix}/oauth/revoke": _post(
            "revokeToken",
            "End a token",
            "Of the owner's own tokens; for all others nothing happens. A PAT token ends its PAT.",
            "AboutToken",
            answer("It is worth nothing, from now on or since before.", ref("Nothing"), always=QUOTA),
            [*_CLIENT, {"bearer": []}],
        ),
    }
    if publishes_keys:
        paths[f"{prefix}/oauth/jwks"] = _get(
            "getKeys",
            "Get the keys that verify signed access tokens",
            "Also those that are yet to sign.",
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
    operation: str, summary: str, about: str, form: str, done: dict[str, Any], security: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": about,
            "tags": [_TAG],
            "security": security,
            "requestBody": body(
                {kind: {**ref(form), "maxProperties": most} for kind, most in _FORMS.items()}
            ),
            "responses": {"200": done, **responses(*_REFUSALS)},
        }
    }


def _get(operation: str, summary: str, about: str, done: dict[str, Any], **refusals: Any) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "description": about,
            "tags": [_TAG],
            "security": [],
            "responses": {"200": done, **refusals},
        }
    }


def _metadata_schema(known: dict[str, Any]) -> dict[str, Any]:
    """It is the same at every request, so it can be told to the letter."""
    members = {name: {"const": value} for name, value in known.items()}
    return {"type": "object", "properties": members, "required": list(known), "additionalProperties": False}
