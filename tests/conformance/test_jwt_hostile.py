"""tests/data/hostile-jwts.json: tokens that must be refused, and some that must not be; others may use it."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry

from patauth import Authority, InvalidToken, JWTVerifier, PatAuthError, Principal
from patauth.jwt import claims as reading
from patauth.model.credentials import MAX_JWT, AccessToken
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import maker
from tests.support.paths import DATA
from tests.support.private import write_private
from tests.support.signing import EXPIRED
from tests.support.tables import each
from tests.support.wsgi import request

DATA = json.loads((DATA / "hostile-jwts.json").read_text("utf-8"))
GOOD = {one["why"]: one["token"] for one in DATA["good"]}
HOSTILE = {one["why"]: one for one in DATA["hostile"]}
KEYS = {one["kid"]: JWKRegistry.import_key(one) for one in DATA["jwks"]["keys"]}
TOKEN = next(iter(GOOD.values()))
ES256, EDDSA = GOOD["Plain, by the first key, ES256."], GOOD["Plain, by the third key, EdDSA."]
RS256 = GOOD["Plain, by the fourth key, RS256."]

MEMBERS = ["typ", "alg", "kid", "iss", "aud", "sub", "client_id", "exp", "iat", "jti", "scope"]
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def verifier(**given: Any) -> JWTVerifier:
    values = {"issuer": DATA["issuer"], "audience": DATA["audience"], "leeway": DATA["leeway"]}
    return JWTVerifier(DATA["jwks"], **{**values, "clock": lambda: DATA["now"], **given})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """One that has the same keys."""
    files = []
    for number, key in enumerate(DATA["test_private_keys"]):
        files.append(tmp_path_factory.mktemp("keys") / f"{number}.jwk")
        write_private(files[-1], json.dumps({name: key[name] for name in key.keys() - {"kid"}}))
    with maker("memory:", "hostile") as make:
        yield make(
            access_token_format="jwt",
            issuer=DATA["issuer"],
            audience=DATA["audience"],
            keys=list(map(str, files)),
        )


def lenient(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def is_signed(text: str) -> bool:
    """Whether any of the keys has signed it, as a library sees it that looks at nothing else."""
    signed, _, signature = text.rpartition(".")
    return any(
        JWSRegistry.algorithms[key["alg"]].verify(signed.encode(), lenient(signature), key)
        for key in KEYS.values()
    )


class TestTheFile:
    def test_it_holds_what_it_says(self) -> None:
        assert len(HOSTILE) == len(DATA["hostile"]) >= 400, "a sentence for each"
        assert len({one["token"] for one in DATA["hostile"]}) == len(HOSTILE)
        assert len(GOOD) == len(DATA["good"]) >= 10
        assert "never use them" in DATA["about"]
        assert all(set(one) <= {"why", "token", "signed", "needs"} for one in DATA["hostile"])

    def test_what_is_said_to_be_signed_is_and_nothing_else(self) -> None:
        """So those are refused for what their sentence says, and not for a slip of who made the file."""
        told = {why for why, one in HOSTILE.items() if one.get("signed")}
        found = {why for why, one in HOSTILE.items() if re.fullmatch(r"[\w.-]+", one["token"], re.ASCII)
                 and one["token"].count(".") == 2 and is_signed(one["token"])}  # fmt: skip
        others = {
            "The other of the two signatures that ECDSA allows: (r, -s).",
            "Spare bits at the end of the signature are set.",
        }
        signature_over_another_alg = {
            why for why in found if why.startswith(("The signature of the key under", "alg"))
        }
        assert told <= found
        assert found - told <= others | signature_over_another_alg | {
            why for why in found if "kid of the" in why or "over a key and signature of" in why
        }

    def test_the_private_keys_are_those_of_the_set(self) -> None:
        public = [one["kid"] for one in DATA["jwks"]["keys"]]
        assert [one["alg"] for one in DATA["jwks"]["keys"]] == ["ES256", "ES256", "EdDSA", "RS256"]
        assert [JWKRegistry.import_key(one).thumbprint() for one in DATA["test_private_keys"]] == public
        assert [KEYS[kid].thumbprint() for kid in public] == public
        assert KeySet.import_key_set(DATA["jwks"])


@each("why", GOOD)
def test_a_good_one_passes(authority: Authority, why: str) -> None:
    principal = verifier().verify(GOOD[why])
    assert isinstance(principal, Principal)
    assert (principal.subject.id, principal.method, principal.tenant) == ("alice", "access_token", "default")
    assert is_signed(GOOD[why])
    read = authority.operations.format.bearer(GOOD[why])
    assert isinstance(read, AccessToken)
    assert read.pat_id == principal.pat_id


@each("why", HOSTILE)
def test_a_hostile_one_is_refused(authority: Authority, why: str) -> None:
    text, clock = HOSTILE[why]["token"], HOSTILE[why].get("needs") == "clock"
    with pytest.raises(InvalidToken) as refused:
        verifier().verify(text)
    assert (str(refused.value) == EXPIRED) == (clock and "expired" in why)
    assert type(refused.value) is InvalidToken
    shown = f"{refused.value} {refused.value.detail}"
    assert not [part for part in re.split(r"[.\s]", text) if len(part) > 20 and part in shown]
    if clock:
        # The store's clock decides there, and no record says so much as that it was issued.
        with pytest.raises(InvalidToken):
            authority.verify_bearer(text)
        return
    for way in (
        lambda: authority.operations.format.bearer(text),
        # More than one blank behind the scheme is right (RFC 9110 section 11.4), and no part of the token.
        lambda: authority.operations.format.parse(f"Bearer x{text}" if text[:1] == " " else f"Bearer {text}"),
        lambda: authority.verify_bearer(text),
    ):
        with pytest.raises(PatAuthError) as problem:
            way()
        assert problem.value.status in (400, 401)
    assert not authority.introspect(text).active


def test_they_are_401_over_http(authority: Authority) -> None:
    """400 where a comma makes two values of one (RFC 9110 section 5.3)."""
    app = Standalone(authority)
    for why, one in HOSTILE.items():
        if not re.fullmatch(r"[\x21-\x7e]+", one["token"]):
            continue  # no server lets that through
        answer = request(app, "/verify", authorization=f"Bearer {one['token']}")
        assert answer.status_code == (400 if "," in one["token"] else 401), why
        assert one["token"] not in answer.text


class TestMutations:
    """Counted apart from the file: thousands more, made of good ones."""

    @each("text", [ES256, EDDSA, RS256])
    def test_every_truncation(self, authority: Authority, text: str) -> None:
        check = verifier()
        for end in range(len(text)):
            for cut in (text[:end], text[end + 1 :], text[:end] + text[end + 1 :]):
                self.refused(check, authority, cut)

    @each("text", [ES256, EDDSA, RS256])
    def test_every_character_changed_doubled_or_exchanged(self, authority: Authority, text: str) -> None:
        check = verifier()
        check.verify(text)
        for at, char in enumerate(text):
            for other in ("A" if char != "A" else "B", "", char + char, ".", "=", " "):
                if (changed := text[:at] + other + text[at + 1 :]) != text:
                    self.refused(check, authority, changed)
            swapped = text[:at] + text[at + 1 : at + 2] + char + text[at + 2 :]
            if swapped != text:
                self.refused(check, authority, swapped)

    def test_every_bit_of_every_segment(self, authority: Authority) -> None:
        check = verifier()
        for place in range(3):
            parts = ES256.split(".")
            data = lenient(parts[place])
            for bit in range(len(data) * 8):
                turned = bytes(b ^ (1 << bit % 8) if at == bit // 8 else b for at, b in enumerate(data))
                parts[place] = reading.encoded(turned)
                self.refused(check, authority, ".".join(parts))

    @given(st.text(alphabet=st.sampled_from('abcXYZ019-_.=+/ \n"{}'), max_size=200) | st.text(max_size=50))
    @example("a" * 100_000)
    @example("." * 100_000)
    @example("a.b." + "c" * 86)
    @example("\ud800.\ud800.\ud800")
    def test_anything_is_refused_and_never_an_accident(self, text: str) -> None:
        with pytest.raises(InvalidToken):
            verifier().verify(text)

    @given(st.binary(max_size=300), st.binary(max_size=300), st.binary(min_size=64, max_size=64))
    def test_so_are_any_bytes_in_the_segments(self, header: bytes, payload: bytes, signature: bytes) -> None:
        with pytest.raises(InvalidToken):
            verifier().verify(".".join(map(reading.encoded, (header, payload, signature))))

    @given(any_json, st.sampled_from(MEMBERS))
    def test_any_json_in_the_place_of_any_member_is_read_or_refused(self, value: Any, name: str) -> None:
        """Never another error. (Signatures are left out of it: these are the readers alone.)"""
        header, payload, signature = ES256.split(".")
        part = header if name in ("typ", "alg", "kid") else payload
        changed = reading.encoded(json.dumps({**json.loads(lenient(part)), name: value}).encode())
        text = f"{changed}.{payload}.{signature}" if part is header else f"{header}.{changed}.{signature}"
        try:
            found = reading.split(text)
            reading.read(found.payload, DATA["issuer"], [DATA["audience"]])
        except InvalidToken:
            pass

    def refused(self, check: JWTVerifier, authority: Authority, text: str) -> None:
        with pytest.raises(InvalidToken):
            check.verify(text)
        with pytest.raises(PatAuthError):
            authority.operations.format.bearer(text)


class TestSize:
    """J5: what is too long is refused for its length, before anything is decoded, hashed or searched."""

    @pytest.fixture
    def nothing_may_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise AssertionError("looked into it")

        for name in ("urlsafe_b64decode", "json", "_decoded", "_object"):
            monkeypatch.setattr(reading, name, fail)

    @pytest.mark.usefixtures("nothing_may_look")
    @pytest.mark.parametrize("size", [MAX_JWT + 1, 1_000_000])
    def test_it_is_not_decoded(self, authority: Authority, size: int) -> None:
        text = "e" * (size - 200) + "." + "e" * 112 + "." + "e" * 86
        assert len(text) == size
        for way in (verifier().verify, authority.operations.format.bearer, authority.verify_bearer):
            with pytest.raises(PatAuthError):
                way(text)
        with pytest.raises(PatAuthError):
            authority.authenticate(f"Bearer {text}")

    def test_one_of_8192_characters_is_read(self, authority: Authority) -> None:
        """The longest that passes the cap, refused for its signature alone."""
        text = f"{ES256.split('.')[0]}.{'e' * (MAX_JWT - 88 - len(ES256.split('.')[0]))}.{'e' * 86}"
        assert len(text) == MAX_JWT
        with pytest.raises(InvalidToken) as refused:
            authority.operations.format.parse(f"Bearer {text}")
        assert refused.value.detail != "JWT: too long"

    def test_a_signature_is_at_least_that_of_a_curve_and_at_most_that_of_4096_bits(self) -> None:
        """What is shorter or longer is refused before the rest is looked at."""
        signed = RS256.rpartition(".")[0]
        for size, read in ((63, False), (64, True), (512, True), (513, False)):
            text = f"{signed}.{reading.encoded(bytes(size))}"
            if read:
                assert reading.split(text).signature == bytes(size)
                continue
            with pytest.raises(InvalidToken) as refused:
                reading.split(text)
            assert "as long as a signature" in (refused.value.detail or "")

    def test_without_signed_tokens_the_cap_of_all_others_holds(self) -> None:
        with maker("memory:", "plain") as make, pytest.raises(PatAuthError):
            make().authenticate(f"Bearer {ES256}{'e' * 1024}")


def test_neither_recursion_nor_digits_get_further(authority: Authority) -> None:
    """Python's own limits end in the same refusal, also with a low one for recursion."""
    before = sys.getrecursionlimit()
    header, _, signature = ES256.split(".")
    for payload in (b"[" * 5500, b'{"a":' * 1100, b"9" * 5500, b'{"exp":' + b"9" * 5000 + b"}"):
        text = f"{header}.{reading.encoded(payload)}.{signature}"
        with pytest.raises(InvalidToken):
            authority.operations.format.bearer(text)
        with pytest.raises(InvalidToken):
            reading.read(payload, DATA["issuer"], [DATA["audience"]])
    assert sys.getrecursionlimit() == before
