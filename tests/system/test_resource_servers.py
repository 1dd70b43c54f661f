"""Resource servers of other people's making, unmodified, before which a token service signs with each key.

They know its metadata and its keys, and nothing else of patauth. docs/jwt.md has a table of who takes what.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jwt
import pytest
import requests
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import JWKRegistry, KeySet

from patauth.jwt.claims import ALGORITHMS, encoded
from patauth.jwt.key_files import SigningKeys
from tests.support.authorities import issue, patient
from tests.support.npm import running
from tests.support.paths import DOCS
from tests.support.service import serving
from tests.support.signing import JWT_MODE, access_of, parts_of
from tests.support.tables import each

AUDIENCE = "https://api.example.com"
CLAIMS = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]  # RFC 9068 section 2.2
Take = Callable[[str], str]  # the subject of a token; raises for one that is refused


class World(NamedTuple):
    """The token service's metadata and keys, its tokens by algorithm, and the resource servers by name."""

    metadata: dict[str, Any]
    keys: dict[str, dict[str, Any]]
    tokens: dict[str, str]
    for_others: dict[str, str]  # tokens with another audience
    of_networks: dict[str, str]  # tokens of a PAT with networks
    servers: dict[str, Take]

    def takes(self, server: str, token: str) -> bool:
        try:
            return self.servers[server](token) == "alice"
        except Exception:
            return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("resource")
    store, keys = f"local:{folder}/patauth-data", SigningKeys(folder / "keys")
    keys.rotate()
    more = {"PATAUTH_ACCESS_TOKEN_FORMAT": "jwt", "PATAUTH_AUDIENCE": AUDIENCE, "PATAUTH_KEYS": "keys"}
    tokens, for_others, of_networks = {}, {}, {}
    with serving(folder, **more) as service:
        metadata = requests.get(service.url + "/.well-known/oauth-authorization-server", timeout=10).json()
        signs = {**JWT_MODE, "issuer": metadata["issuer"], "keys": str(folder / "keys")}
        with patient(store, **signs, audience=["https://other.example.com"]) as other:
            issued = issue(other, never_expires=True)
            bound = issue(other, "bound", never_expires=True, networks=["127.0.0.1"])
            for alg in ALGORITHMS:
                keys.rotate(algorithm=alg, retire=not tokens)
                tokens[alg] = service.exchange(issued).json()["access_token"]
                for_others[alg] = access_of(other, issued)
                of_networks[alg] = service.exchange(bound).json()["access_token"]
        found = requests.get(metadata["jwks_uri"], timeout=10).json()["keys"]
        words = (metadata["issuer"], AUDIENCE, metadata["jwks_uri"])
        with running("resource_servers.mjs", *words) as ports:
            servers = {**in_python(metadata), **{name: over_http(port) for name, port in ports.items()}}
            by_alg = {key["alg"]: key for key in found}
            yield World(metadata, by_alg, tokens, for_others, of_networks, servers)


def in_python(metadata: dict[str, Any]) -> dict[str, Take]:
    """Libraries for resource servers, each as its documentation has it."""
    issuer, algorithms = metadata["issuer"], list(ALGORITHMS)
    source = jwt.PyJWKClient(metadata["jwks_uri"])
    key_set = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())
    rules = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": AUDIENCE},
        **{name: {"essential": True} for name in ("exp", "sub", "client_id", "iat", "jti")},
    )

    class Validator(JWTBearerTokenValidator):  # type: ignore[misc, name-defined]
        def get_jwks(self) -> Any:
            return key_set

    authlib = Validator(issuer=issuer, resource_server=AUDIENCE)

    def by_pyjwt(token: str) -> str:
        key, required = source.get_signing_key_from_jwt(token), {"require": CLAIMS}
        found = jwt.decode(token, key, algorithms, audience=AUDIENCE, issuer=issuer, options=required)
        return str(found["sub"])

    def by_authlib(token: str) -> str:
        found = authlib.authenticate_token(token)
        authlib.validate_token(found, ["reports:read"], None)
        return str(found["sub"])

    def by_joserfc(token: str) -> str:
        found = joserfc_jwt.decode(token, key_set, algorithms=algorithms)
        rules.validate(found.claims)
        return str(found.claims["sub"])

    return {"PyJWT": by_pyjwt, "Authlib, RFC 9068": by_authlib, "joserfc": by_joserfc}


def over_http(port: int) -> Take:
    def take(token: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.text

    return take


def documented() -> dict[str, dict[str, str]]:
    """The table of docs/jwt.md: by resource server and algorithm, `yes` or `no`."""
    text = (DOCS / "jwt.md").read_text("utf-8")
    table = re.search(r"^\| resource server .*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    head, _, *rows = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table[0].splitlines())
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def forged(token: str, alg: str, **claims: Any) -> str:
    """Header and claims of a token, with another algorithm and other claims."""
    header, content = parts_of(token)
    parts = ({**header, "alg": alg}, {**content, **claims})
    return ".".join(encoded(json.dumps(part).encode()) for part in parts)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_each_takes_the_algorithms_that_the_documents_say(world: World) -> None:
    """The service signs with one key after the other, and its set has all three."""
    assert [parts_of(token)[0]["alg"] for token in world.tokens.values()] == list(ALGORITHMS)
    assert set(world.keys) == set(ALGORITHMS)
    measured = {
        name: {alg: "yes" if world.takes(name, token) else "no" for alg, token in world.tokens.items()}
        for name in world.servers
    }
    assert measured == documented()
    assert all("yes" in row.values() for row in measured.values()), "what takes nothing refuses nothing"


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@each("alg", ALGORITHMS)
def test_none_takes_what_is_for_others_or_what_nobody_has_signed(world: World, alg: str) -> None:
    token, key = world.tokens[alg], JWKRegistry.import_key(world.keys[alg])
    confused = forged(token, "HS256", sub="alice")
    mac = encoded(hmac.new(key.as_pem(private=False), confused.encode(), hashlib.sha256).digest())
    for why, hostile in {
        "another audience": world.for_others[alg],
        "other scopes under the old signature": f"{forged(token, alg, scope='admin')}.{token.split('.')[2]}",
        "alg none": f"{forged(token, 'none')}.",
        "HS256 with the public key": f"{confused}.{mac}",
        "the key of another algorithm": forged(token, next(one for one in ALGORITHMS if one != alg))
        + f".{token.split('.')[2]}",
    }.items():
        for name in world.servers:
            assert not world.takes(name, hostile), f"{name}: {why}"


def test_the_claims_and_the_header_are_those_that_rfc_9068_requires(world: World) -> None:
    for token in world.tokens.values():
        header, claims = parts_of(token)
        assert (header["typ"], claims["iss"], claims["aud"]) == (
            "at+jwt",
            world.metadata["issuer"],
            AUDIENCE,
        )
        assert set(CLAIMS) <= claims.keys()


def test_the_issuer_is_the_url_of_the_service_although_nobody_has_set_one(world: World) -> None:
    """`patauth serve` on a loopback address."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", world.metadata["issuer"])
    assert world.metadata["jwks_uri"] == world.metadata["issuer"] + "/oauth/jwks"


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_none_takes_the_token_of_a_pat_with_networks(world: World) -> None:
    """None knows where it may be used."""
    for token, name in itertools.product(world.of_networks.values(), world.servers):
        assert not world.takes(name, token), name
