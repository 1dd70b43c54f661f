"""Signed access tokens: mutated headers, claims, signatures and segments.

What was issued passes while it stands unchanged. Who has the private key can sign other claims: these pass
the verifier, which has nothing but the signature, and pass the store only if they say what was issued.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from patauth import InvalidCredentials, InvalidRequest, InvalidToken, JWTVerifier, StoreUnavailable
from patauth.jwt.claims import encoded
from tests.fuzz.search import Target
from tests.fuzz.spoil import ODD_TEXTS, changed_json, in_bytes, spoiled, written
from tests.fuzz.worlds import authority_of, same_secrets
from tests.support.authorities import ALICE, issue
from tests.support.clocks import Clock
from tests.support.paths import DATA
from tests.support.private import write_private
from tests.support.signing import parts_of

KNOWN = json.loads((DATA / "hostile-jwts.json").read_text("utf-8"))
NAMES = "typ alg kid iss aud sub client_id exp iat jti scope tenant nbf cnf crit jwk b64 zip".split()
ALGORITHMS = ["none", "HS256", "ES384", "eddsa", "EdDSA", "ES256", "RS256", "Ed25519"]
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve P-256


class Claims(Target):
    """Sends signed tokens to a verifier, and to the Authority that has issued one of them."""

    name = "claims"

    def __init__(self) -> None:
        super().__init__()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="patauth-fuzz-")))
        signing = next(one for one in KNOWN["test_private_keys"] if one["kty"] == "OKP")
        self.kid = signing["kid"]
        self.key = OKPKey.import_key(signing)  # its signatures are the same each time
        write_private(folder / "key", json.dumps({name: signing[name] for name in signing.keys() - {"kid"}}))
        with same_secrets():
            self.authority = authority_of(
                self.stack,
                clock=Clock(KNOWN["now"] * 1000),
                secret_key=bytes(32),
                access_token_format="jwt",
                issuer=KNOWN["issuer"],
                audience=KNOWN["audience"],
                keys=[str(folder / "key")],
            )
            pat = issue(self.authority, owner=ALICE, never_expires=True)
            self.pat_id = pat.pat.id
            self.issued = self.authority.exchange(pat.pat.id, pat.secret).value
        self.good = {*(one["token"] for one in KNOWN["good"]), self.issued}
        self.texts = sorted(self.good)
        self.verifier = JWTVerifier(
            KNOWN["jwks"],
            issuer=KNOWN["issuer"],
            audience=KNOWN["audience"],
            leeway=KNOWN["leeway"],
            clock=lambda: KNOWN["now"],
        )

    # -- making inputs --------------------------------------------------------------------------------

    def generate(self, chance: Random) -> str:
        text = self.issued if chance.random() < 0.5 else chance.choice(self.texts)
        match chance.randrange(8):
            case 0:
                return text
            case 1:
                return spoiled(chance, text, self.texts)
            case 2:
                parts = text.split(".")
                at = chance.randrange(3)
                parts[at] = spoiled(chance, parts[at], [*parts, *chance.choice(self.texts).split(".")])
                return ".".join(parts)
            case 3:
                return self.other_signature(chance, text)
            case 4:
                return ".".join(chance.choice((text, *self.texts)).split(".")[at] for at in range(3))
        header, claims = parts_of(text)
        if chance.random() < 0.3:
            header = self.changed(chance, header)
        if chance.random() < 0.8:
            claims = self.changed(chance, claims)
        signed = ".".join(encoded(in_bytes(chance, written(chance, one))) for one in (header, claims))
        if chance.random() < 0.7:
            return self.signed(signed)
        return f"{signed}.{text.rpartition('.')[2]}"

    def changed(self, chance: Random, part: dict[str, Any]) -> Any:
        """Return a header or claims with some members changed."""
        if "alg" in part and chance.random() < 0.6:
            part = {
                **part,
                "alg": chance.choice(ALGORITHMS),
                "kid": chance.choice((part["kid"], self.kid, *ODD_TEXTS)),
            }
        elif "iat" in part and chance.random() < 0.5:
            name = chance.choice(("iat", "exp"))
            part = {**part, name: part[name] + chance.choice((-1, 1, -31, 31, -901, 901, 43_200, 10**9, 0.5))}
        elif "sub" in part and chance.random() < 0.4:
            name = chance.choice(("sub", "scope", "client_id", "jti", "tenant"))
            part = {**part, name: spoiled(chance, str(part.get(name, "default")))}
        while chance.random() < 0.5:
            part = changed_json(chance, part, NAMES)
        return part

    def signed(self, text: str) -> str:
        """Return header and claims with the signature of the private key."""
        signature = JWSRegistry.algorithms["EdDSA"].sign(text.encode(), self.key)
        return f"{text}.{encoded(signature)}"

    def other_signature(self, chance: Random, text: str) -> str:
        """Return a token with a signature that its first reader may take for the same."""
        signed, _, signature = text.rpartition(".")
        data = bytearray(decoded(signature))
        match chance.randrange(4):
            case 0:
                data[32:] = ((_ORDER - int.from_bytes(data[32:])) % _ORDER).to_bytes(32)
            case 1:
                data[:] = chance.choice((bytes(64), b"\xff" * 64, data[32:] + data[:32]))
            case 2:
                return f"{signed}.{signature}{chance.choice(('=', '==', 'A', ' ', '.'))}"
            case _:
                return f"{signed}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}"
        return f"{signed}.{encoded(bytes(data))}"

    # -- judging --------------------------------------------------------------------------------------

    def judge(self, given: str) -> str:
        return f"{self.by_the_verifier(given)}, {self.by_the_store(given)} by the store"

    def by_the_store(self, given: str) -> str:
        try:
            principal = self.authority.verify_bearer(given)
        except (InvalidCredentials, InvalidRequest):
            assert given != self.issued, "what was issued is refused"
            try:
                assert not self.authority.introspect(given).active
            except StoreUnavailable:  # of a jti that is another PAT's; nobody else can name one
                assert given == self.signed(given.rpartition(".")[0])
            return "refused"
        assert (principal.subject, principal.pat_id) == (ALICE, self.pat_id)
        assert self.authority.introspect(given).active
        if given != self.issued:
            assert given == self.signed(given.rpartition(".")[0]), "nobody has signed this"
            said, issued = parts_of(given)[1], parts_of(self.issued)[1]
            for name in ("sub", "client_id", "scope", "exp", "jti", "tenant"):
                assert said.get(name, "default") == issued.get(name, "default"), "not what was issued"
        return "passed"

    def by_the_verifier(self, given: str) -> str:
        try:
            principal = self.verifier.verify(given)
        except InvalidToken:
            assert given not in self.good, "what is good is refused"
            return "refused"
        if given in self.good:
            return "good"
        assert given == self.signed(given.rpartition(".")[0]), "nobody has signed this"
        header, claims = parts_of(given)
        assert (header["alg"], header["kid"], claims["iss"]) == ("EdDSA", self.kid, KNOWN["issuer"])
        assert KNOWN["audience"] in claims["aud"]
        assert claims["iat"] - KNOWN["leeway"] <= KNOWN["now"] < claims["exp"] + KNOWN["leeway"]
        assert (principal.subject.id, principal.pat_id) == (claims["sub"], claims["client_id"])
        assert principal.scopes == frozenset(claims["scope"].split())
        assert principal.tenant == claims.get("tenant", "default") == "default"
        return "signed"


def decoded(segment: str) -> bytes:
    """Return the bytes of a segment of base64url."""
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
