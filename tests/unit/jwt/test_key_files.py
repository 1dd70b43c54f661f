"""The private keys: files that are read, and files that are made."""

from __future__ import annotations

import json
import multiprocessing
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

import patauth
from patauth import Authority, ConfigurationError, StoreUnavailable
from patauth.jwt.claims import ALGORITHMS, Algorithm
from patauth.jwt.key_files import SigningKeys
from patauth.jwt.signature import Key
from tests.support.authorities import ALICE, Make, issue
from tests.support.private import write_private
from tests.support.servers import Server
from tests.support.signing import ISSUER, JWT_MODE, access_of, parts_of, verifier
from tests.support.tables import each


def new_key(alg: Algorithm) -> ECKey | OKPKey | RSAKey:
    """A key as another program makes it."""
    match alg:
        case "ES256":
            return ECKey.generate_key("P-256")
        case "EdDSA":
            return OKPKey.generate_key("Ed25519")
        case "RS256":
            return RSAKey.generate_key(2048)


def jwk_with(kind: Algorithm = "ES256", /, **members: Any) -> bytes:
    """A private key that says something more of itself."""
    return json.dumps({**new_key(kind).as_dict(private=True), **members}).encode()


def short_rsa() -> bytes:
    return rsa.generate_private_key(65537, 1024).private_bytes(
        ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()
    )


def wrong_exponent() -> tuple[bytes, bytes]:
    """An RSA key whose private exponents are not those of its public one, as PEM and as a JWK."""
    one = rsa.generate_private_key(65537, 2048).private_numbers()
    mixed = rsa.RSAPrivateNumbers(
        one.p, one.q, one.d + 2, one.dmp1 + 2, one.dmq1, one.iqmp, one.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    key = RSAKey.import_key(mixed)
    return key.as_pem(private=True), json.dumps(key.as_dict(private=True)).encode()


def refuse_as_key(tmp_path: Path, data: bytes) -> str:
    write_private(tmp_path / "bad.pem", data)
    with pytest.raises(ConfigurationError) as refused:
        SigningKeys(None, [tmp_path / "bad.pem"]).keys()
    return str(refused.value)


class TestKeyFiles:
    @each("alg", ALGORITHMS)
    @each("form", ["pem", "jwk", "jwk with more", "traditional"])
    def test_pem_and_jwk_are_read(self, signing: Make, tmp_path: Path, alg: Algorithm, form: str) -> None:
        key = new_key(alg)
        path = tmp_path / "mine"
        if form == "traditional":  # SEC 1 and PKCS #1
            if alg == "EdDSA":
                return
            write_private(
                path,
                key.private_key.private_bytes(
                    ser.Encoding.PEM, ser.PrivateFormat.TraditionalOpenSSL, ser.NoEncryption()
                ),
            )
        elif form == "pem":
            write_private(path, key.as_pem(private=True))
        else:
            more = {"kid": "my own", "use": "sig", "alg": alg, "key_ops": ["sign"]} if "more" in form else {}
            write_private(path, json.dumps({**key.as_dict(private=True), **more}))
        authority = signing(keys=str(path), max_pats_per_owner=12)
        token = access_of(authority, issue(authority, f"{alg} as {form}"))
        assert parts_of(token)[0] == {"typ": "at+jwt", "alg": alg, "kid": key.thumbprint()}
        assert authority.verify_bearer(token)
        assert verifier(authority).verify(token)

    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # patauth refuses short keys
    @each(
        "data",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"hunter2", id="a word"),
            pytest.param(b"{}", id="an empty object"),
            pytest.param(b'{"kty":"oct","k":"aHVudGVyMg"}', id="symmetric"),
            pytest.param(
                b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n", id="a broken PEM"
            ),
            pytest.param(ECKey.generate_key("P-384").as_pem(private=True), id="P-384"),
            pytest.param(ECKey.generate_key("secp256k1").as_pem(private=True), id="secp256k1"),
            pytest.param(OKPKey.generate_key("Ed448").as_pem(private=True), id="Ed448"),
            pytest.param(OKPKey.generate_key("X25519").as_pem(private=True), id="X25519"),
            pytest.param(ECKey.generate_key("P-256").as_pem(private=False), id="public"),
            pytest.param(
                ECKey.generate_key("P-256").as_pem(private=True, password="hunter2"), id="encrypted"
            ),
            pytest.param(jwk_with(use="enc"), id="for encryption"),
            pytest.param(jwk_with(alg="ES384"), id="for another algorithm"),
            pytest.param(jwk_with(key_ops=["deriveKey"]), id="for another operation"),
            *(
                pytest.param(jwk_with(kind, key_ops=value), id=f"no list of operations: {value}, {kind}")
                for kind in ALGORITHMS
                for value in (None, 1, "sign")
            ),
            pytest.param(
                jwk_with(d=ECKey.generate_key("P-256").as_dict(private=True)["d"]), id="halves of two"
            ),
            pytest.param(short_rsa(), id="RSA of 1024 bits"),
            *(pytest.param(data, id="RSA with a wrong exponent") for data in wrong_exponent()),
            pytest.param(RSAKey.generate_key(2048).as_pem(private=False), id="public of RSA"),
            pytest.param(b"\xff" * 100_000, id="anything"),
        ],
    )
    def test_what_is_no_private_key_for_signing_is_said_and_not_shown(
        self, tmp_path: Path, data: bytes
    ) -> None:
        said = refuse_as_key(tmp_path, data)
        assert said.startswith(f"keys: {tmp_path}/bad.pem: ")
        assert "hunter2" not in said
        assert not [line for line in data.decode("latin-1").splitlines() if len(line) > 30 and line in said]

    @each(
        ("mode", "folder_mode", "said"),
        [
            (0o602, 0o700, "one.pem (mode 0602) can be changed by every user"),
            (0o604, 0o700, "one.pem (mode 0604) can be read by every user: chmod 600"),
            (0o600, 0o707, "(mode 0707) can be changed by every user"),
        ],
    )
    def test_what_others_can_change_or_read_is_refused_and_a_key_known_before_stays(
        self, tmp_path: Path, mode: int, folder_mode: int, said: str
    ) -> None:
        place = tmp_path / "keys"
        place.mkdir(exist_ok=True)
        place.chmod(0o700)
        write_private(place / "one.pem", Key.generate("ES256").pem())
        known = SigningKeys(place)
        kids = [one.key.kid for one in known.keys(at_once=True)]
        (place / "one.pem").chmod(mode)
        place.chmod(folder_mode)
        with pytest.raises(ConfigurationError) as refused:
            SigningKeys(place).keys()
        assert str(refused.value).startswith(f"keys: {place}")
        assert said in str(refused.value)
        if folder_mode != 0o700:
            with pytest.raises(ConfigurationError):
                SigningKeys(place).rotate()
        (place / "two.pem").write_bytes(b"")
        assert [one.key.kid for one in known.keys(at_once=True)] == kids
        (place / "two.pem").unlink()

    def test_they_are_used_in_the_order_in_which_they_are_named(self, signing: Make, tmp_path: Path) -> None:
        pairs = [ECKey.generate_key("P-256") for _ in range(3)]
        for number, key in enumerate(pairs):
            write_private(tmp_path / f"{number}", key.as_pem(private=True))
        for order in ((0, 1, 2), (2, 1, 0), (1, 0)):
            authority = signing(keys=" ".join(str(tmp_path / f"{number}") for number in order))
            token = access_of(authority, issue(authority, f"{order}"))
            assert parts_of(token)[0]["kid"] == pairs[order[-1]].thumbprint()
            assert [one["kid"] for one in authority.jwks()["keys"]] == [
                pairs[one].thumbprint() for one in order
            ]

    def test_names_of_ones_own_come_first_and_hidden_or_other_files_are_left_alone(
        self, tmp_path: Path
    ) -> None:
        place = tmp_path / "keys"
        made, _ = SigningKeys(place).rotate()
        own = ECKey.generate_key("P-256")
        write_private(place / "zzz.pem", own.as_pem(private=True))
        for name in (".draft.pem", "README", "key.pem.bak"):
            write_private(place / name, "hunter2")
        known = SigningKeys(place).keys()
        assert [one.key.kid for one in known] == [own.thumbprint(), made.key.kid]
        assert known.states(SigningKeys(place).now_ms()) == ["verifying", "signing"]

    def test_no_private_key_is_in_the_store(
        self, make_at: Make, server: Server, keys: Path, prefix: str
    ) -> None:
        authority = make_at(access_token_format="jwt", issuer=ISSUER, keys=str(keys))
        access_of(authority, issue(authority))
        (path,) = keys.iterdir()
        secret = ECKey.import_key(path.read_bytes()).as_dict(private=True)["d"]
        assert isinstance(secret, str)
        with server.client() as client:
            for name in client.scan_iter(f"{prefix}:*"):
                data = client.dump(name)
                assert isinstance(data, bytes)
                assert secret.encode() not in data
                assert secret not in repr(data)


def first_use(directory: str, barrier: Any, kids: Any) -> None:
    given = JWT_MODE
    with Authority.from_url(f"local:{directory}", **given) as authority:
        barrier.wait()
        kids.put([one["kid"] for one in authority.jwks()["keys"]])


class TestMadeUnderLocal:
    def test_a_key_is_made_once_with_modes_for_nobody_else(self, tmp_path: Path) -> None:
        given = JWT_MODE
        directory = tmp_path / "data"
        with Authority.from_url(f"local:{directory}", **given) as authority:
            assert not directory.exists(), "nothing is made before it is needed"
            token = access_of(authority, issue(authority))
            assert authority.verify_bearer(token)
        (path,) = (directory / "keys").iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((directory / "keys").stat().st_mode) == 0o700
        with Authority.from_url(f"local:{directory}", **given) as again:
            assert again.verify_bearer(token).subject == ALICE
        assert list((directory / "keys").iterdir()) == [path]
        with Authority.from_url(f"local:{directory}", issuer=ISSUER) as opaque:
            assert opaque.verify_bearer(token).subject == ALICE, "the format was switched back"

    def test_opaque_makes_none(self, tmp_path: Path) -> None:
        with Authority.from_url(f"local:{tmp_path / 'data'}", issuer=ISSUER) as authority:
            access_of(authority, issue(authority))
            with pytest.raises(patauth.InvalidCredentials):
                authority.verify_bearer("a.b." + "c" * 86)
            assert authority.jwks() == {"keys": []}
        assert not (tmp_path / "data" / "keys").exists()

    def test_ping_makes_it_so_that_a_server_starts_with_one(self, tmp_path: Path) -> None:
        given = JWT_MODE
        with Authority.from_url(f"local:{tmp_path / 'data'}", **given) as authority:
            authority.ping()
            assert len(list((tmp_path / "data" / "keys").iterdir())) == 1

    def test_processes_that_start_at_the_same_moment_make_one(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("fork")
        with Authority.from_url(f"local:{tmp_path / 'data'}") as keeper:
            keeper.ping()
            kids, barrier = context.SimpleQueue(), context.Barrier(6)
            several = [
                context.Process(target=first_use, args=(str(tmp_path / "data"), barrier, kids))
                for _ in range(6)
            ]
            for one in several:
                one.start()
            found = [kids.get() for _ in several]
            for one in several:
                one.join()
                assert one.exitcode == 0
        assert len(found[0]) == 1
        assert found == [found[0]] * 6
        assert len(list((tmp_path / "data" / "keys").iterdir())) == 1

    def test_threads_that_start_at_the_same_moment_make_one(self, tmp_path: Path) -> None:
        barrier = threading.Barrier(16)
        found = []

        def work() -> None:
            place = SigningKeys(tmp_path / "keys", makes=True)
            barrier.wait()
            found.append(place.signer().kid)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(set(found)) == 1
        assert len(found) == 16

    def test_a_place_that_cannot_be_written_is_503_to_a_request(
        self, signing: Make, keys: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority = signing()
        issued = issue(authority)

        def fail(self: SigningKeys) -> Key:
            raise ConfigurationError("keys: cannot write into /secret/place")

        monkeypatch.setattr(SigningKeys, "signer", fail)
        with pytest.raises(StoreUnavailable) as refused:
            authority.exchange(issued.pat.id, issued.secret)
        assert "/secret/place" not in str(refused.value)
