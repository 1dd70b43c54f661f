"""What tests of signed access tokens share."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, IssuedPat, JWTVerifier
from patauth.jwt.key_files import SigningKeys

from .conftest import Clock, Make

ISSUER = "https://pats.example"
PLAIN = "the access token is not valid"
JWT_MODE: dict[str, Any] = {"access_token_format": "jwt", "issuer": ISSUER}


@pytest.fixture(name="keys")
def key_directory(tmp_path: Path) -> Path:
    """A directory with one key."""
    SigningKeys(tmp_path / "keys").rotate()
    return tmp_path / "keys"


@pytest.fixture(name="signing")
def signing_maker(make: Make, keys: Path) -> Make:
    """Makes Authorities that sign access tokens."""
    return lambda **given: make(**{**JWT_MODE, "keys": str(keys), **given})


@pytest.fixture(name="signed")
def signing_authority(signing: Make, clock: Clock) -> Authority:
    """An Authority that signs, on the test's clock."""
    return signing(clock=clock)


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
