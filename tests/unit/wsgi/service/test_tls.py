"""The files of the gRPC port's certificate and key: who may have written and who can read them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from patauth import ConfigurationError
from patauth.wsgi.service.tls import read_tls
from tests.support.private import write_private
from tests.support.tables import each
from tests.support.tls import certificate


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    chain.chmod(0o644)
    return key, chain


def test_both_are_read_and_old_tls_is_not_spoken(files: tuple[Path, Path]) -> None:
    context = read_tls(*map(str, files))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509"] == 0, "clients need no certificate"


def test_a_key_that_is_not_that_of_the_certificate_is_refused_and_not_shown(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    """One with a password, too: nobody is there to be asked for it."""
    key, chain = files
    of_another = certificate(tmp_path, "other.example")[1].read_bytes()
    locked = ECKey.import_key(key.read_bytes()).as_pem(private=True, password="hunter2")
    for content in (of_another, locked, chain.read_bytes(), b"hunter2", b""):
        write_private(key, content)
        with pytest.raises(ConfigurationError, match=f"--grpc-key: {key} .* {chain}") as caught:
            read_tls(str(key), str(chain))
        said = str(caught.value)
        assert "hunter2" not in said
        assert not [line for line in content.decode().splitlines() if len(line) > 30 and line in said]


@each(
    ("which", "mode", "says"),
    [
        (0, 0o604, "--grpc-key: .*can be read by every user: chmod 600"),
        (0, 0o602, "--grpc-key: .*can be changed by every user"),
        (1, 0o646, "--grpc-cert: .*can be changed by every user"),
    ],
)
def test_what_others_can_change_and_a_key_that_they_can_read_are_refused(
    files: tuple[Path, Path], which: int, mode: int, says: str
) -> None:
    before = files[which].stat().st_mode
    files[which].chmod(mode)
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_tls(*map(str, files))
    files[which].chmod(before)
    assert files[0].read_text().splitlines()[1] not in str(caught.value)


def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    key, chain = files
    for words, option in (((f"{key}x", str(chain)), "--grpc-key"), ((str(key), f"{chain}x"), "--grpc-cert")):
        with pytest.raises(ConfigurationError, match=f"{option}: cannot read .*No such file"):
            read_tls(*words)
