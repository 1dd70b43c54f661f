"""What tests of signed access tokens share."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

from patauth import Authority, IssuedPat, JWTVerifier
from tests.support.clocks import Clock

ISSUER = "https://pats.example"
PLAIN, EXPIRED = "the access token is not valid", "the access token has expired"
JWT_MODE: dict[str, Any] = {"access_token_format": "jwt", "issuer": ISSUER}


def access_of(authority: Authority, issued: IssuedPat, **given: Any) -> str:
    return authority.exchange(issued.pat.id, issued.secret, **given).value


def parts_of(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims."""
    header, payload, _ = text.split(".")
    found = [json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (header, payload)]
    return found[0], found[1]


def verifier(authority: Authority, clock: Clock | None = None, **given: Any) -> JWTVerifier:
    """One that asks an Authority for the keys."""
    ticking: dict[str, Callable[[], float]] = {} if clock is None else {"clock": lambda: clock.now / 1000}
    return JWTVerifier(authority.jwks, **{"issuer": ISSUER, **ticking, **given})
