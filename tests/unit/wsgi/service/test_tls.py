"""The files of the gRPC port's certificate and key: who may have written and who can read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from patauth import ConfigurationError
from patauth.wsgi.service.tls import Tls, read_tls
from tests.support.private import write_private
from tests.support.tables import each


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    key, chain = tmp_path / "key", tmp_path / "chain"
    write_private(key, b"of a key")
    write_private(chain, b"the chain")
    chain.chmod(0o644)
    return key, chain


def test_both_are_read(files: tuple[Path, Path]) -> None:
    key, chain = files
    assert read_tls(str(key), str(chain)) == Tls(b"of a key", b"the chain")


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
    assert "of a key" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    key, chain = files
    for words, option in (((f"{key}x", str(chain)), "--grpc-key"), ((str(key), f"{chain}x"), "--grpc-cert")):
        with pytest.raises(ConfigurationError, match=f"{option}: cannot read .*No such file"):
            read_tls(*words)
