"""Signed access tokens, issued, read and ended by an Authority."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import ECKey, RSAKey

import patauth
from patauth import (
    Authority,
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    IssuedPat,
    Owner,
    PatAuthMiddleware,
    RateLimited,
    StoreUnavailable,
)
from patauth.jwt import signature
from patauth.jwt.key_files import SigningKeys
from patauth.jwt.signature import Key
from patauth.logs import RedactingFormatter
from patauth.model.pat_id import PatId
from patauth.operations.introspect import INACTIVE
from patauth.store.record import TokenRecord
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import ALICE, Make, basic_of, issue
from tests.support.clocks import DAY, NOW, Clock
from tests.support.internals import signed_of, store_of
from tests.support.servers import Server, one_engine, shared_engines
from tests.support.signing import EXPIRED, ISSUER, JWT_MODE, PLAIN, access_of, parts_of, verifier
from tests.support.tables import each
from tests.support.tenants import record_of
from tests.support.wsgi import Echo, request


class TestIssue:
    @one_engine
    def test_it_has_the_header_and_claims_of_rfc_9068(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed)
        clock.advance(123)
        access = signed.exchange(issued.pat.id, issued.secret)
        header, claims = parts_of(access.value)
        (key,) = signed.jwks()["keys"]
        assert header == {"typ": "at+jwt", "alg": "ES256", "kid": key["kid"]}
        jti = claims.pop("jti")
        assert claims == {
            "iss": ISSUER,
            "sub": "alice",
            "aud": ISSUER,
            "client_id": issued.pat.id,
            "exp": NOW // 1000 + 900,
            "iat": NOW // 1000,
            "scope": "reports:read reports:write",
        }
        assert len(jti) == 32, "192 random bits"
        assert (access.expires_in, access.token_type) == (900, "Bearer")
        assert parts_of(access_of(signed, issued))[1]["jti"] != jti

    @one_engine
    def test_the_principal_is_that_of_an_opaque_token(
        self, signed: Authority, make: Make, clock: Clock
    ) -> None:
        issued = issue(signed)
        found = signed.verify_bearer(access_of(signed, issued, scope="reports:read"))
        assert (found.subject, found.scopes, found.pat_id) == (ALICE, {"reports:read"}, issued.pat.id)
        assert (found.method, found.tenant, found.expires_ms) == (
            "access_token",
            "default",
            clock.now + 900_000,
        )

    @one_engine
    def test_it_never_outlives_its_pat(self, signed: Authority, clock: Clock) -> None:
        """O16. In whole seconds, and never past the PAT's millisecond."""
        issued = issue(signed, expires_in=timedelta(seconds=7, milliseconds=500))
        access = signed.exchange(issued.pat.id, issued.secret)
        claims = parts_of(access.value)[1]
        assert (access.expires_in, claims["exp"] - claims["iat"]) == (7, 7)
        clock.advance(7_500)
        with pytest.raises(InvalidToken, match=EXPIRED):
            signed.verify_bearer(access.value)

    @one_engine
    def test_its_lifetime_is_the_pats(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed, access_token_ttl=43_200)
        claims = parts_of(access_of(signed, issued))[1]
        assert claims["exp"] - claims["iat"] == 43_200
        clock.advance(43_199_999)
        assert signed.verify_bearer(issued.token)

    @one_engine
    def test_the_audience_is_one_text_or_a_list(self, signing: Make, clock: Clock) -> None:
        """O13."""
        one = signing(clock=clock, audience="https://api.example")
        assert parts_of(access_of(one, issue(one)))[1]["aud"] == "https://api.example"
        several = signing(clock=clock, audience="https://api.example reports")
        token = access_of(several, issue(several, "other"))
        assert parts_of(token)[1]["aud"] == ["https://api.example", "reports"]
        for audience in ("reports", ["x", "https://api.example"]):
            assert verifier(several, clock, audience=audience).verify(token).subject.id == "alice"
        for audience in ("report", ISSUER, None, ["x"]):
            with pytest.raises(InvalidToken):
                verifier(several, clock, audience=audience).verify(token)

    @shared_engines
    def test_one_for_others_is_refused_although_its_record_is_there(
        self, signing: Make, clock: Clock
    ) -> None:
        other, here = signing(clock=clock, audience="other"), signing(clock=clock, audience="here")
        elsewhere = signing(clock=clock, issuer="https://else.example", audience="other")
        token = access_of(other, issue(other))
        assert other.verify_bearer(token)
        for authority in (here, elsewhere):
            with pytest.raises(InvalidToken, match=PLAIN):
                authority.verify_bearer(token)
            assert authority.introspect(token) == INACTIVE

    @one_engine
    def test_scopes_that_would_make_it_too_long_are_refused(self, signed: Authority) -> None:
        many = [f"{number:03}{'x' * 120}" for number in range(100)]
        issued = issue(signed, scope=many)
        with pytest.raises(InvalidRequest, match="ask for fewer"):
            signed.exchange(issued.pat.id, issued.secret)
        fewer = access_of(signed, issued, scope=many[:30])
        assert signed.verify_bearer(fewer).scopes == set(many[:30])

    @one_engine
    def test_another_tenant_stands_in_it(self, signing: Make, clock: Clock) -> None:
        """Two tenants may have an owner of one id, and one issuer."""
        acme, plain = signing(clock=clock, tenant="acme"), signing(clock=clock)
        token = access_of(acme, issue(acme))
        assert parts_of(token)[1]["tenant"] == "acme"
        assert acme.verify_bearer(token).tenant == "acme"
        assert verifier(acme, clock, tenant="acme").verify(token).tenant == "acme"
        for refuse in (plain.verify_bearer, verifier(acme, clock).verify):
            with pytest.raises(InvalidToken, match=PLAIN):
                refuse(token)

    @one_engine
    def test_an_exchange_in_jwt_mode_is_refused_as_ever(self, signed: Authority) -> None:
        issued = issue(signed)
        with pytest.raises(InvalidRequest):
            signed.exchange(issued.pat.id, issued.secret, scope="admin")
        signed.disable_owner("alice")
        with pytest.raises(patauth.InvalidCredentials, match="is disabled"):
            signed.exchange(issued.pat.id, issued.secret)


ENDS: dict[str, Callable[[Authority, Clock, IssuedPat, str], object]] = {
    "revoked": lambda a, clock, p, t: a.revoke(t),
    "of a deleted PAT": lambda a, clock, p, t: a.delete(p.pat.id),
    "of a disabled owner": lambda a, clock, p, t: a.disable_owner("alice"),
    "of a revoked owner": lambda a, clock, p, t: a.revoke_owner("alice"),
    "of a secret that was rotated away": lambda a, clock, p, t: a.rotate(p.pat.id, overlap=timedelta(0)),
    "of a purged store": lambda a, clock, p, t: a.purge_access_tokens(),
    "of a PAT whose expiry was moved to before now": lambda a, clock, p, t: (
        a.patch(p.pat.id, [{"op": "replace", "path": "/expirationDate", "value": "2030-01-01T00:00:10Z"}]),
        clock.advance(10_000),
    ),
}


class TestEnds:
    """J4: the record decides, for every reader."""

    @each("end", ENDS)
    def test_it_ends_at_once(self, fresh: Make, keys: Path, clock: Clock, end: str) -> None:
        signed = fresh(**JWT_MODE, keys=str(keys))
        issued = issue(signed)
        token = access_of(signed, issued)
        assert signed.verify_bearer(token)
        ENDS[end](signed, clock, issued, token)
        with pytest.raises(InvalidToken, match=PLAIN):
            signed.verify_bearer(token)
        assert signed.introspect(token) == INACTIVE

    @shared_engines
    @each("end", ENDS)
    def test_on_another_process_too_that_has_seen_it(
        self, fresh: Make, keys: Path, clock: Clock, end: str
    ) -> None:
        here = fresh(**JWT_MODE, keys=str(keys))
        there = fresh(**JWT_MODE, keys=str(keys), key_prefix=here.settings.key_prefix)
        issued = issue(here)
        token = access_of(here, issued)
        assert there.verify_bearer(token).subject == ALICE
        ENDS[end](here, clock, issued, token)
        with pytest.raises(InvalidToken, match=PLAIN):
            there.verify_bearer(token)

    def test_it_expires_by_the_stores_clock_and_says_so(self, signed: Authority, clock: Clock) -> None:
        token = access_of(signed, issue(signed))
        clock.advance(899_999)
        assert signed.verify_bearer(token)
        clock.advance(1)
        with pytest.raises(InvalidToken) as refused:
            signed.verify_bearer(token)
        assert str(refused.value) == EXPIRED
        assert signed.introspect(token) == INACTIVE

    def test_a_revoked_one_says_nothing_until_it_has_expired_too(
        self, signed: Authority, clock: Clock
    ) -> None:
        token = access_of(signed, issue(signed))
        signed.revoke(token)
        for ms, text in ((0, PLAIN), (899_999, PLAIN), (1, EXPIRED), (DAY, EXPIRED)):
            clock.advance(ms)
            with pytest.raises(InvalidToken) as refused:
                signed.verify_bearer(token)
            assert str(refused.value) == text

    @one_engine
    def test_tob_pypi26_1_no_leeway_outlives_the_record(self, signed: Authority, clock: Clock) -> None:
        """A revoked token is refused for want of a record, not by a list that ends before a leeway does."""
        token = access_of(signed, issue(signed))
        signed.revoke(token)
        for ms in (0, 899_000, 1_000, 29_999, 1, 60_000):
            clock.advance(ms)
            with pytest.raises(InvalidToken):
                signed.verify_bearer(token)

    @one_engine
    def test_an_expired_forgery_is_not_told_that_it_has_expired(
        self, signed: Authority, clock: Clock
    ) -> None:
        token = access_of(signed, issue(signed))
        clock.advance(DAY)
        head, _, signature = token.rpartition(".")
        forged = f"{head}.{signature[:40]}{'A' if signature[40] != 'A' else 'B'}{signature[41:]}"
        with pytest.raises(InvalidToken, match=PLAIN):
            signed.verify_bearer(forged)

    def test_an_overlap_keeps_it_until_its_end(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed)
        token = access_of(signed, issued)
        signed.rotate(issued.pat.id, overlap=timedelta(seconds=60))
        clock.advance(59_999)
        assert signed.verify_bearer(token)
        clock.advance(1)
        with pytest.raises(InvalidToken):
            signed.verify_bearer(token)

    @one_engine
    def test_later_patches_do_not_change_its_scopes(self, signed: Authority) -> None:
        issued = issue(signed)
        token = access_of(signed, issued)
        signed.patch(issued.pat.id, [{"op": "replace", "path": "/scope", "value": ["reports:read"]}])
        assert signed.verify_bearer(token).scopes == {"reports:read", "reports:write"}


@one_engine
class TestTheRecordHasTheLastWord:
    """Who has the private key can sign what they like; without a record that agrees it is nothing."""

    @pytest.fixture
    def forge(self, signed: Authority, clock: Clock) -> Callable[..., str]:
        issued = issue(signed)

        def make_one(**claims: Any) -> str:
            """A token whose record is there, and who says something else."""
            values = {
                "subject": "alice",
                "scope": ("reports:read",),
                "expires_ms": clock.now + 900_000,
                **claims,
            }
            pat_id = claims.pop("pat_id", issued.pat.id)
            values.pop("pat_id", None)
            text, digest = signed_of(signed).sign(PatId(pat_id), now_ms=clock.now, **values)
            seen = record_of(signed, issued.pat.id)
            generation = seen.secrets[0].generation
            record = TokenRecord(seen.pat_id, generation, clock.now + 900_000, ("reports:read",))
            assert store_of(signed).tokens.issue(seen, digest, record, None) == "issued"
            return text

        return make_one

    def test_what_agrees_passes(self, signed: Authority, forge: Callable[..., str]) -> None:
        assert signed.verify_bearer(forge()).scopes == {"reports:read"}

    @each(
        "claims",
        [
            {"scope": ("reports:read", "admin")},
            {"scope": ()},
            {"scope": ("reports:write",)},
            {"subject": "bob"},
            {"expires_ms": NOW + 901_000},
            {"expires_ms": NOW + 899_000},
            {"expires_ms": NOW + 43_200_000},
        ],
    )
    def test_what_claims_otherwise_is_refused(
        self, signed: Authority, forge: Callable[..., str], claims: dict[str, Any]
    ) -> None:
        token = forge(**claims)
        with pytest.raises(InvalidToken, match=PLAIN):
            signed.verify_bearer(token)
        assert signed.introspect(token) == INACTIVE
        assert not signed.revoke(token)

    def test_another_pats_id_is_refused(self, signed: Authority, forge: Callable[..., str]) -> None:
        other = issue(signed, "other", scope=["admin"])
        with pytest.raises((InvalidToken, StoreUnavailable)):
            signed.verify_bearer(forge(pat_id=other.pat.id))

    def test_no_record_no_access(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed)
        text, _ = signed_of(signed).sign(
            issued.pat.id, "alice", ("reports:read",), clock.now, clock.now + 900_000
        )
        with pytest.raises(InvalidToken, match=PLAIN):
            signed.verify_bearer(text)


class TestOneWay:
    @shared_engines
    def test_a_request_is_one_round_trip(
        self, signing: Make, clock: Clock, servers: dict[str, Server], engine: str
    ) -> None:
        authority = signing(clock=clock)
        token = access_of(authority, issue(authority))
        authority.verify_bearer(token)
        before = servers[engine].calls()
        for _ in range(30):
            authority.verify_bearer(token)
        used = {name: count - before.get(name, 0) for name, count in servers[engine].calls().items()}
        inside = {"mget": 30, "set": 30}
        own = {"info", "client|setinfo", "config|get"}  # of the client that asks for these figures
        assert {name: count for name, count in used.items() if count and name not in own} == {
            "evalsha": 30,
            **inside,
        }

    @one_engine
    def test_it_shares_the_request_quota_of_its_pat(self, signed: Authority) -> None:
        issued = issue(signed, request_quota="3/60")
        first, second = access_of(signed, issued), access_of(signed, issued)
        for token in (first, second, first):
            signed.verify_bearer(token)
        with pytest.raises(RateLimited) as limited:
            signed.verify_bearer(second)
        assert (limited.value.quota, limited.value.count) == ("requests", 3)

    def test_it_is_no_use_of_its_pat(self, signed: Authority, clock: Clock) -> None:
        issued = issue(signed)
        token = access_of(signed, issued)
        used = signed.get(issued.pat.id).last_used
        clock.advance(1000)
        signed.verify_bearer(token)
        assert signed.get(issued.pat.id).last_used == used

    def test_a_store_that_is_down_is_never_a_yes(
        self, signed: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = access_of(signed, issue(signed))
        signed.verify_bearer(token)

        def down(*_: object, **__: object) -> None:
            raise StoreUnavailable(detail="down")

        for name in ("of_token", "again"):  # for one that is new, and for one that was good before
            monkeypatch.setattr(signed.operations._authenticator._verdicts, name, down)
        with pytest.raises(StoreUnavailable):
            signed.verify_bearer(token)

    @one_engine
    def test_the_signature_is_checked_once_and_the_record_each_time(
        self, signed: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checks = []
        verify = Key.verify
        monkeypatch.setattr(Key, "verify", lambda *given: checks.append(1) or verify(*given))
        issued = issue(signed, request_quota="100/1")
        token = access_of(signed, issued)
        for _ in range(5):
            signed.verify_bearer(token)
        assert len(checks) == 1
        signed.revoke(token)
        with pytest.raises(InvalidToken):
            signed.verify_bearer(token)

    @one_engine
    def test_what_is_remembered_is_bounded_and_holds_no_token(self, signed: Authority) -> None:
        for _ in range(2 * signature._REMEMBERED + 10):
            text, _ = signed_of(signed).sign("0" * 32, "alice", (), NOW, NOW)
            signed.operations.format.bearer(text)
        memory = signed_of(signed)._current()
        assert len(memory._young) + len(memory._old) <= 2 * signature._REMEMBERED
        assert text not in repr(vars(memory))

    @one_engine
    def test_refusals_are_in_the_audit_trail_and_no_token_is(
        self, signed: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        token = access_of(signed, issue(signed))
        head = token.rpartition(".")[0]
        with caplog.at_level(logging.INFO):
            for text in (token[:-1], f"{head}.{'A' * 86}"):
                with pytest.raises(InvalidToken):
                    signed.authenticate(f"Bearer {text}", address="203.0.113.9")
            signed.revoke(token)
            with pytest.raises(InvalidToken):
                signed.authenticate(f"Bearer {token}")
        refusals = [line for line in caplog.messages if "credentials.refused" in line]
        assert len(refusals) == 3
        assert all('"access_token"' in line for line in refusals)
        assert not [line for line in caplog.messages for part in token.split(".") if part in line]

    @one_engine
    def test_the_services_log_hides_it(self, signed: Authority) -> None:
        token = access_of(signed, issue(signed))
        shown = RedactingFormatter(logging.Formatter("%(message)s"))
        for text in (
            f"token {token} refused",
            f"Authorization: Bearer {token}",
            f"'{token}'",
            f"x={token}&y",
        ):
            line = shown.format(logging.makeLogRecord({"msg": text}))
            assert "[hidden]" in line
            assert not [part for part in token.split(".") if part in line]

    @one_engine
    def test_it_works_in_a_forked_child(self, signing: Make) -> None:
        """`preload_app`: made and used in the parent, used in both."""
        authority = signing()
        if authority.settings.store_url == "memory:":
            return
        issued = issue(authority)
        token = access_of(authority, issued)
        authority.verify_bearer(token)

        def child() -> None:
            authority.verify_bearer(token)
            authority.verify_bearer(access_of(authority, issued))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(20)
        assert process.exitcode == 0

    @one_engine
    def test_no_repr_shows_it(self, signed: Authority) -> None:
        token = access_of(signed, issue(signed))
        read = signed.operations.format.bearer(token)
        jti = parts_of(token)[1]["jti"]
        for shown in (
            repr(read),
            repr(signed_of(signed)),
            repr(signed.operations.format),
            repr(signed.exchange),
        ):
            assert jti not in shown
            assert token.split(".")[2] not in shown


class TestFormats:
    """Tokens that are out live on when the format changes."""

    @one_engine
    def test_both_pass_while_either_is_issued(
        self, make: Make, signing: Make, clock: Clock, keys: Path
    ) -> None:
        signed = signing(clock=clock)
        if signed.settings.store_url == "memory:":  # a store of its own for each
            return
        opaque = make(clock=clock, issuer=ISSUER, keys=str(keys))
        issued = issue(signed)
        tokens = [access_of(authority, issued) for authority in (signed, opaque)]
        assert [token.count(".") for token in tokens] == [2, 0]
        for authority in (signed, opaque):
            for token in tokens:
                assert authority.verify_bearer(token).subject == ALICE
                assert authority.introspect(token).active
        for token in tokens:
            assert opaque.revoke(token)
            with pytest.raises(InvalidToken):
                signed.verify_bearer(token)

    @shared_engines
    @pytest.mark.parametrize("without", ["keys", "issuer"])
    def test_where_no_keys_or_issuer_are_known_a_jwt_is_refused(
        self, make: Make, signing: Make, clock: Clock, keys: Path, without: str
    ) -> None:
        signed = signing(clock=clock)
        token = access_of(signed, issue(signed))
        given = {"issuer": ISSUER, "keys": str(keys)}
        del given[without]
        plain = make(clock=clock, **given)
        with pytest.raises(patauth.InvalidCredentials):
            plain.verify_bearer(token)
        assert plain.introspect(token) == INACTIVE
        assert not plain.revoke(token)
        app = PatAuthMiddleware(Echo(), plain)
        assert request(app, "/x", authorization=f"Bearer {token}").status_code == 401

    @each(
        ("given", "message"),
        [
            ({"issuer": None}, r"\Aissuer: "),
            ({"keys": None}, r"\Akeys: "),
            (
                {"keys": "/nonexistent/keys"},
                r"\Akeys: there is none in /nonexistent/keys; `patauth keys rotate`",
            ),
            (
                {"keys": "/nonexistent/a.pem /nonexistent/b.pem"},
                r"\Akeys: there is no file /nonexistent/a.pem",
            ),
            ({"keys": "/etc/hostname /dev/null"}, r"\Akeys: /etc/hostname: it holds no private key"),
            ({"access_token_format": "JWT"}, r"\Aaccess_token_format: give opaque or jwt"),
            ({"audience": ""}, r"\Aaudience: "),
            ({"audience": ["a", "a"]}, r"\Aaudience: "),
        ],
    )
    def test_what_is_missing_shows_when_the_authority_is_made(
        self, make_at: Make, keys: Path, given: dict[str, Any], message: str
    ) -> None:
        values = {"access_token_format": "jwt", "issuer": ISSUER, "keys": str(keys), **given}
        with pytest.raises(ConfigurationError, match=message):
            make_at(**values)

    def test_without_joserfc_that_shows_too(
        self, make_at: Make, keys: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "joserfc.jwk", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'patauth\[jwt\]'"):
            make_at(access_token_format="jwt", issuer=ISSUER, keys=str(keys))
        assert make_at(issuer=ISSUER).settings.signs_tokens is False

    def test_importing_patauth_imports_no_joserfc(self) -> None:
        found = "import sys, patauth; print({'joserfc', 'cryptography.hazmat'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"


class TestHTTP:
    @pytest.fixture
    def authority(self, make_at: Make, clock: Clock, keys: Path) -> Authority:
        return make_at(
            clock=clock, access_token_format="jwt", issuer=ISSUER, keys=str(keys), path_prefix="/auth",
            surfaces=["oauth", "isc", "zitadel"],
        )  # fmt: skip

    @pytest.fixture
    def app(self, authority: Authority) -> Any:
        return PatAuthMiddleware(Echo(), authority)

    def test_the_token_endpoint_answers_it_and_the_gate_takes_it(
        self, app: Any, authority: Authority
    ) -> None:
        issued = issue(authority)
        answer = request(app, "/auth/oauth/token", method="POST", authorization=basic_of(issued),
                         data={"grant_type": "client_credentials", "scope": "reports:read"})  # fmt: skip
        assert (answer.status_code, answer.json["expires_in"], answer.json["scope"]) == (
            200,
            900,
            "reports:read",
        )
        assert answer.headers["Cache-Control"] == "no-store"
        token = answer.json["access_token"]
        assert request(app, "/x", authorization=f"Bearer {token}").json["who"] == "alice"
        assert request(app, "/x", authorization=f"bearer {token}").status_code == 200

    def test_an_expired_one_answers_the_exact_text(
        self, app: Any, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority, scope=["idn:all-personal-access-tokens:read"])
        token = access_of(authority, issued)
        isc = "/auth/personal-access-tokens/v1"
        assert request(app, isc, authorization=f"Bearer {token}").status_code == 200
        clock.advance(900_000)
        answer = request(app, isc, authorization=f"Bearer {token}")
        assert (answer.status_code, answer.json) == (401, {"error": "JWT validation failed: JWT is expired"})
        gate = request(app, "/x", authorization=f"Bearer {token}")
        assert gate.json == {"error": "invalid_token", "error_description": EXPIRED}
        assert gate.status_code == 401
        assert (
            f'error="invalid_token", error_description="{EXPIRED}"'
            in gate.headers.getlist("WWW-Authenticate")[1]
        )

    def test_all_other_refusals_have_one_text(self, app: Any, authority: Authority, clock: Clock) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        authority.revoke(token)
        opaque = authority.operations.format.mint_access_token(issued.pat.id)[0]
        head, _, signature = access_of(authority, issued).rpartition(".")
        refused = [token, opaque, f"{head}.{signature[::-1]}", "a.b.c", "x", "a.b.c.d.e"]
        answers = {
            request(app, "/auth/personal-access-tokens/v1", authorization=f"Bearer {one}").data
            for one in refused
        }
        assert answers == {b'{"error": "the credentials are not valid"}'}

    def test_the_jwk_set_is_public_and_cached_and_holds_no_private_part(
        self, app: Any, authority: Authority
    ) -> None:
        answer = request(app, "/auth/oauth/jwks")
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert "Pragma" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        (key,) = answer.json["keys"]
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
        assert ECKey.import_key(key).thumbprint() == key["kid"]
        head = request(app, "/auth/oauth/jwks", method="HEAD")
        assert (head.status_code, head.data, head.headers["Content-Length"]) == (
            200,
            b"",
            str(len(answer.data)),
        )
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            other = request(app, "/auth/oauth/jwks", method=method)
            assert (other.status_code, other.headers["Allow"]) == (405, "GET, HEAD")

    def test_a_key_of_rsa_stands_in_it_and_signs(self, app: Any, authority: Authority, keys: Path) -> None:
        old = access_of(authority, issue(authority))
        SigningKeys(keys).rotate(algorithm="RS256")
        _, added = request(app, "/auth/oauth/jwks").json["keys"]
        assert set(added) == {"kty", "n", "e", "kid", "use", "alg"}
        assert (added["kty"], added["use"], added["alg"]) == ("RSA", "sig", "RS256")
        assert RSAKey.import_key(added).thumbprint() == added["kid"]
        assert RSAKey.import_key(added).raw_value.key_size == 3072
        new = access_of(authority, issue(authority, "new"))
        assert parts_of(new)[0] == {"typ": "at+jwt", "alg": "RS256", "kid": added["kid"]}
        for token in (old, new):
            assert request(app, "/x", authorization=f"Bearer {token}").status_code == 200

    def test_the_metadata_names_it_where_it_is(self, app: Any, make_at: Make, keys: Path) -> None:
        found = request(app, "/auth/.well-known/oauth-authorization-server").json
        assert found["jwks_uri"] == f"{ISSUER}/auth/oauth/jwks"
        assert request(app, urlsplit(found["jwks_uri"]).path).status_code == 200
        for given, there in (({"keys": str(keys)}, True), ({}, False)):
            opaque = Standalone(make_at(issuer=ISSUER, surfaces=["oauth"], **given))
            assert "jwks_uri" not in request(opaque, "/.well-known/oauth-authorization-server").json
            status = request(opaque, "/oauth/jwks").status_code
            assert status == (200 if there else 404), "tokens that are out may still be verified elsewhere"

    def test_introspection_and_revocation_know_it(self, app: Any, authority: Authority, clock: Clock) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)

        def ask(endpoint: str, asked: str, **given: Any) -> Any:
            given.setdefault("authorization", basic_of(issued))
            return request(app, f"/auth/oauth/{endpoint}", method="POST", data={"token": asked}, **given)

        assert ask("introspect", token).json == {
            "active": True,
            "scope": "reports:read reports:write",
            "client_id": issued.pat.id,
            "username": "Alice",
            "token_type": "Bearer",
            "sub": "alice",
            "exp": clock.now // 1000 + 900,
            "iss": ISSUER,
            "aud": ISSUER,
            "iat": clock.now // 1000,
            "jti": parts_of(token)[1]["jti"],
        }
        own = ask("introspect", token, authorization=f"Bearer {token}")
        assert own.json["active"] is True
        mallory = issue(authority, owner=Owner("mallory"))
        assert ask("introspect", token, authorization=basic_of(mallory)).json == {"active": False}
        assert ask("revoke", token, authorization=basic_of(mallory)).json == {}
        assert authority.verify_bearer(token)
        assert ask("revoke", token).json == {}
        assert ask("introspect", token).json == {"active": False}
        with pytest.raises(InvalidToken):
            authority.verify_bearer(token)

    def test_a_client_id_beside_it_must_be_its_own(self, app: Any, authority: Authority) -> None:
        issued = issue(authority)
        token = access_of(authority, issued)
        for client_id, status in ((issued.pat.id, 200), ("0" * 32, 400)):
            form = {"token": "x", "client_id": client_id}
            answer = request(
                app, "/auth/oauth/introspect", method="POST", data=form, authorization=f"Bearer {token}"
            )
            assert answer.status_code == status

    def test_forward_auth_takes_it(self, make_at: Make, keys: Path) -> None:
        authority = make_at(access_token_format="jwt", issuer=ISSUER, keys=str(keys))
        token = access_of(authority, issue(authority))
        answer = request(Standalone(authority), "/verify?scope=reports:read", authorization=f"Bearer {token}")
        assert (answer.status_code, answer.headers["X-Auth-Subject"]) == (200, "alice")
        assert answer.headers["X-Auth-Method"] == "access_token"


@one_engine
def test_the_token_of_a_pat_with_networks_is_not_signed_and_means_nothing_without_the_store(
    signed: Authority, clock: Clock
) -> None:
    inside, outside = "203.0.113.9", "198.51.100.9"
    issued = issue(signed, networks=["203.0.113.0/24"])
    access = signed.exchange(issued.pat.id, issued.secret, address=inside)
    assert access.value.startswith("pata_")
    assert signed.verify_bearer(access.value, address=inside).method == "access_token"
    with pytest.raises(InvalidToken):
        signed.verify_bearer(access.value, address=outside)
    with pytest.raises(InvalidToken):
        verifier(signed, clock).verify(access.value)
    signed.update(issued.pat.id, networks=[])
    before = signed.exchange(issued.pat.id, issued.secret)
    assert verifier(signed, clock).verify(before.value).pat_id == issued.pat.id
    signed.update(issued.pat.id, networks=["203.0.113.0/24"])
    assert signed.verify_bearer(before.value, address=inside)
    with pytest.raises(InvalidToken):
        signed.verify_bearer(before.value, address=outside)
