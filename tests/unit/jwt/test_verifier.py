"""Signed access tokens, verified by others: `JWTVerifier`, and libraries that know nothing of patauth."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from patauth import Authority, ConfigurationError, InvalidToken, JWTVerifier, Overloaded, Owner, Principal
from patauth.jwt import signature
from patauth.jwt.claims import ALGORITHMS, encoded
from patauth.jwt.key_files import SigningKeys
from patauth.jwt.signature import Key
from patauth.model.credentials import Claims
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, issue
from tests.support.clocks import NOW, Clock
from tests.support.servers import until
from tests.support.signing import EXPIRED, ISSUER, PLAIN, access_of
from tests.support.tables import each
from tests.support.threads import all_at_once, in_threads
from tests.support.wsgi import request

P256 = ECKey.generate_key("P-256").as_dict(private=False)
RSA = {"kid": "a", **RSAKey.generate_key(2048).as_dict(private=False)}


def modulus(bits: int) -> str:
    """A number of so many bits, as a JWK has one; nobody has to have its factors."""
    return encoded(((1 << bits) - 1).to_bytes((bits + 7) // 8))


class World:
    """A token service, and a verifier that fetches its keys."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority, self.clock = authority, clock
        self.issued = issue(authority)
        self.seconds, self.fetches = 1000.0, 0
        self.problem: Exception | None = None
        self.hanging: threading.Event | None = None  # while it is there, a fetch waits for it
        self.check = JWTVerifier(
            self.fetch, issuer=ISSUER, clock=lambda: clock.now / 1000, timer=lambda: self.seconds
        )

    def fetch(self) -> dict[str, Any]:
        self.fetches += 1
        if self.problem is not None:
            raise self.problem
        if self.hanging is not None:
            assert self.hanging.wait(10)
        return self.authority.jwks()

    def verify(self) -> None:
        assert self.check.verify(access_of(self.authority, self.issued)).subject.id == "alice"

    def stranger(self) -> str:
        """A token of this issuer's form by a key of somebody's own."""
        now = self.clock.now // 1000
        claims = Claims(ISSUER, (ISSUER,), "alice", "0" * 32, ("a",), now, now + 900, "j" * 32)
        return signature.sign(claims, Key.generate("ES256"))

    def seconds_pass_and_verify(self) -> None:
        self.seconds += 10
        try:
            self.check.verify(self.stranger())
        except InvalidToken:
            sys.exit(0)
        sys.exit(1)


class TestOthersVerifyIt:
    """With nothing of patauth's: what is issued is a JWT access token to anybody."""

    @pytest.fixture(params=ALGORITHMS)
    def alg(self, request: pytest.FixtureRequest, keys: Path) -> str:
        alg = str(request.param)
        SigningKeys(keys).rotate(algorithm=alg, retire=True)  # type: ignore[arg-type]
        return alg

    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
    def test_joserfc(self, alg: str, make_at: Make, keys: Path) -> None:
        authority = make_at(access_token_format="jwt", issuer=ISSUER, keys=str(keys))
        issued = issue(authority)
        app = Standalone(authority)
        found = KeySet.import_key_set(request(app, "/oauth/jwks").json)
        token = joserfc_jwt.decode(access_of(authority, issued), found, algorithms=[alg])
        assert token.header["typ"] == "at+jwt"
        rules = joserfc_jwt.JWTClaimsRegistry(
            leeway=0,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": ISSUER},
            sub={"essential": True, "value": "alice"},
            client_id={"essential": True, "value": issued.pat.id},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        rules.validate(token.claims)
        with pytest.raises(JoseError):
            joserfc_jwt.decode(access_of(authority, issued)[:-4] + "AAAA", found, algorithms=[alg])

    def test_authlib(self, make_at: Make, keys: Path) -> None:
        authority = make_at(access_token_format="jwt", issuer=ISSUER, keys=str(keys))
        found = KeySet.import_key_set(authority.jwks())

        class Validator(JWTBearerTokenValidator):  # type: ignore[misc, name-defined]
            def get_jwks(self) -> Any:
                return found

        check = Validator(issuer=ISSUER, resource_server=ISSUER)
        token = access_of(authority, issue(authority))
        claims = check.authenticate_token(token)
        assert claims is not None
        check.validate_token(claims, ["reports:read"], None)
        with pytest.raises(Exception, match="insufficient_scope"):
            check.validate_token(claims, ["admin"], None)
        other = Validator(issuer=ISSUER, resource_server="https://other.example")
        with pytest.raises(Exception, match="invalid"):
            other.validate_token(other.authenticate_token(token), ["reports:read"], None)


class TestVerifier:
    def test_it_needs_no_store_and_knows_no_revocation(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed)
        token = access_of(signed, issued, scope="reports:read")
        check = JWTVerifier(signed.jwks(), issuer=ISSUER, clock=lambda: clock.now / 1000)
        found = check.verify(token)
        assert (found.subject, found.scopes) == (Owner("alice"), {"reports:read"})
        assert (found.pat_id, found.tenant, found.method) == (issued.pat.id, "default", "access_token")
        assert found.expires_ms == clock.now + 900_000
        signed.delete(issued.pat.id)
        assert check.verify(token) == found, "its documentation says so"
        assert "revoked" in (JWTVerifier.__doc__ or "")

    def test_it_expires_with_a_leeway(self, signed: Authority, clock: Clock) -> None:
        token = access_of(signed, issue(signed))
        for leeway in (0, 30):
            ticking = Clock(NOW + 900_000 + leeway * 1000 - 1)
            check = JWTVerifier(
                signed.jwks(), issuer=ISSUER, leeway=leeway, clock=lambda t=ticking: t.now / 1000
            )
            assert check.verify(token)
            ticking.advance(1)
            with pytest.raises(InvalidToken) as refused:
                check.verify(token)
            assert str(refused.value) == EXPIRED, "though it was verified before"

    def test_it_is_not_good_before_it_is_issued(self, signed: Authority, clock: Clock) -> None:
        token = access_of(signed, issue(signed))
        for early, good in ((30, True), (31, False)):
            check = JWTVerifier(
                signed.jwks(), issuer=ISSUER, clock=lambda early=early: clock.now / 1000 - early
            )
            if good:
                assert check.verify(token)
            else:
                with pytest.raises(InvalidToken, match=PLAIN):
                    check.verify(token)

    @each(
        "given",
        [
            {"issuer": ""},
            {"issuer": None},
            {"audience": []},
            {"audience": [""]},
            {"audience": [1]},
            {"leeway": -1},
            {"leeway": True},
            {"leeway": "30"},
            {"interval": float("nan")},
            {"tenant": "a b"},
        ],
    )
    def test_what_it_cannot_work_with_is_a_configuration_error(
        self, signed: Authority, given: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigurationError):
            JWTVerifier(signed.jwks(), **{"issuer": ISSUER, **given})

    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # patauth refuses short keys
    @each(
        "jwks",
        [
            {},
            {"keys": []},
            {"keys": {}},
            [],
            {"keys": [None, 1, "x", {}]},
            {"keys": [{"kty": "oct", "kid": "a", "k": "aaaa"}]},
            {"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}]},
            {"keys": [P256]},
            {"keys": [{**ECKey.generate_key("P-384").as_dict(private=False), "kid": "a"}]},
            {"keys": [{**P256, "kid": "a", "use": "enc"}]},
            {"keys": [{**P256, "kid": "a", "alg": "HS256"}]},
            {"keys": [{**P256, "kid": "a", "key_ops": ["sign"]}]},
            {"keys": [{**P256, "kid": "a", "key_ops": 1}]},
            {"keys": [{**P256, "kid": 1}]},
            {"keys": [{**RSA, "alg": "RS512"}]},
            {"keys": [{**RSA, "alg": "PS256"}]},
            {"keys": [{**RSA, "alg": "ES256"}]},
            {"keys": [{**RSA, "use": "enc"}]},
            {"keys": [{**RSA, "key_ops": ["encrypt", "wrapKey"]}]},
            {"keys": [{**RSA, "e": "AQ"}]},
            {"keys": [{**RSA, "n": modulus(2047)}]},
            {"keys": [{**RSA, "n": modulus(4097)}]},
        ],
    )
    def test_a_set_without_a_key_for_this_is_a_configuration_error(self, jwks: Any) -> None:
        with pytest.raises(ConfigurationError, match="jwks: "):
            JWTVerifier(jwks, issuer=ISSUER)
        with pytest.raises(Overloaded):
            JWTVerifier(lambda: jwks, issuer=ISSUER).verify(f"{'e' * 9}.{'e' * 9}.{'e' * 86}")

    def test_keys_of_other_kinds_in_the_set_are_passed_over(self, signed: Authority, clock: Clock) -> None:
        token = access_of(signed, issue(signed))
        (key,) = signed.jwks()["keys"]
        others = [
            {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
            {"kty": "oct", "kid": key["kid"], "k": "aaaa"},
            "x",
        ]
        check = JWTVerifier({"keys": [*others, key, *others]}, issuer=ISSUER, clock=lambda: clock.now / 1000)
        assert check.verify(token)

    def test_a_private_part_in_the_set_is_not_taken_over(self) -> None:
        key = ECKey.generate_key("P-256").as_dict(private=True)
        found = Key.public({**key, "kid": "a"})
        assert found is not None
        assert "d" not in found.jwk()
        with pytest.raises(Exception, match=r"private|sign"):
            found.sign(b"x")

    @each("token", [None, b"a.b.c", 1, ["a"]])
    def test_what_is_no_text_is_refused(self, signed: Authority, token: Any) -> None:
        with pytest.raises(InvalidToken):
            JWTVerifier(signed.jwks(), issuer=ISSUER).verify(token)


class TestFetching:
    """A callable for the keys: asked when it helps, and not more often."""

    @pytest.fixture
    def world(self, signed: Authority, clock: Clock) -> World:
        return World(signed, clock)

    def test_nothing_is_fetched_before_the_first_use_and_then_once(self, world: World) -> None:
        assert world.fetches == 0
        for _ in range(5):
            world.verify()
        assert world.fetches == 1

    def test_an_unknown_key_is_asked_for_at_most_every_interval(self, world: World) -> None:
        world.verify()
        stranger = world.stranger()
        for seconds, fetches in ((0, 1), (9.9, 1), (0.1, 2), (0, 2), (5, 2), (5, 3)):
            world.seconds += seconds
            with pytest.raises(InvalidToken, match=PLAIN) as refused:
                world.check.verify(stranger)
            assert type(refused.value) is InvalidToken
            assert world.fetches == fetches

    def test_a_new_key_is_taken_up_without_waiting_for_anything(self, world: World, keys: Path) -> None:
        world.verify()
        SigningKeys(keys).rotate()
        world.seconds += 10
        world.verify()
        assert world.fetches == 2

    def test_they_are_fetched_again_when_they_have_aged(self, world: World, keys: Path) -> None:
        """So a key that was retired stops verifying, though no token asks for another one, nor any came."""
        old = access_of(world.authority, world.issued)
        world.check.verify(old)
        SigningKeys(keys).rotate(retire=True)
        world.seconds += 149
        assert world.check.verify(old)
        assert world.fetches == 1
        world.seconds += 151
        with pytest.raises(InvalidToken):
            world.check.verify(old)

    def test_good_tokens_go_on_while_another_thread_fetches_again(self, world: World, keys: Path) -> None:
        """Half way to the age at which they would have to wait."""
        old = access_of(world.authority, world.issued)
        world.check.verify(old)
        SigningKeys(keys).rotate(retire=True)
        world.hanging = threading.Event()
        world.seconds += 150
        for _ in range(8):
            assert world.check.verify(old)
        until(lambda: world.fetches == 2)
        world.hanging.set()
        until(lambda: not world.check._fetching.held)
        with pytest.raises(InvalidToken):
            world.check.verify(old)
        assert world.fetches == 2

    def test_that_no_more_threads_can_be_started_is_no_good_tokens_fault(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        world.verify()
        world.seconds += 150
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            world.verify()
        world.verify()
        until(lambda: world.fetches == 2)

    def test_while_it_fails_the_keys_known_stay(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.verify()
        world.problem = OSError("https://user:hunter2@host/")
        world.seconds += 301
        world.verify()
        assert world.fetches == 2
        world.verify()
        assert world.fetches == 2, "it is not asked again at once"
        assert "OSError" in caplog.text
        assert "hunter2" not in caplog.text
        world.problem = None
        world.seconds += 301
        world.verify()
        assert world.fetches == 3

    def test_of_tokens_with_unknown_keys_one_waits_and_good_ones_do_not(self, world: World) -> None:
        """Each of them is unsigned: with a service that hangs, they must not hold up all threads."""
        good, junk = access_of(world.authority, world.issued), world.stranger()
        world.check.verify(good)
        world.seconds += 10
        world.hanging = threading.Event()
        first, refused = in_threads(lambda: world.check.verify(junk), 1)
        until(lambda: world.fetches == 2)
        for _ in range(8):
            with pytest.raises(Overloaded):  # it may be good by the keys that are on their way
                world.check.verify(junk)
            assert world.check.verify(good)
        world.hanging.set()
        first[0].join()
        assert [type(one) for one in refused] == [InvalidToken]
        with pytest.raises(InvalidToken):
            world.check.verify(junk)
        assert world.fetches == 2, "and after a slow answer there is a pause"

    def test_before_the_first_keys_are_there_one_waits_and_others_are_told_to_come_back(
        self, world: World
    ) -> None:
        token = access_of(world.authority, world.issued)
        world.hanging = threading.Event()
        first, found = in_threads(lambda: world.check.verify(token), 1)
        until(lambda: world.fetches == 1)
        with pytest.raises(Overloaded):
            world.check.verify(token)
        world.hanging.set()
        first[0].join()
        assert found == [world.check.verify(token)]
        assert world.fetches == 1

    def test_a_fetch_that_is_stopped_from_outside_leaves_the_next_one_to_others(self, world: World) -> None:
        world.verify()
        world.seconds += 10
        world.problem = KeyboardInterrupt()  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            world.check.verify(world.stranger())
        world.problem = None
        world.seconds += 10
        with pytest.raises(InvalidToken):
            world.check.verify(world.stranger())
        assert world.fetches == 3

    def test_where_none_were_ever_fetched_it_is_overloaded_and_never_a_yes(self, world: World) -> None:
        world.problem = TimeoutError()
        token = access_of(world.authority, world.issued)
        for _ in range(3):
            with pytest.raises(Overloaded) as refused:
                world.check.verify(token)
        assert world.fetches == 1
        assert refused.value.status == 503
        world.problem = None
        world.seconds += 10
        assert world.check.verify(token)

    def test_many_threads_with_one_unknown_key_fetch_once(self, world: World, keys: Path) -> None:
        world.verify()
        SigningKeys(keys).rotate()
        world.seconds += 10
        token = access_of(world.authority, world.issued)
        found = all_at_once([lambda: world.check.verify(token)] * 16)
        assert {type(one) for one in found} <= {Principal, Overloaded}
        assert Principal in {type(one) for one in found}
        assert world.check.verify(token)
        assert world.fetches == 2

    def test_a_forked_child_does_not_wait_for_a_thread_that_is_not_there(self, world: World) -> None:
        world.verify()
        slot = world.check._fetching.take(0)
        assert slot is not None
        context = multiprocessing.get_context("fork")
        child = context.Process(target=lambda: world.seconds_pass_and_verify())
        child.start()
        child.join(10)
        assert child.exitcode == 0
