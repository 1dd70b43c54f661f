"""`local:` on a full disk: it refuses at once what it cannot keep, and serves again when there is room."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import hiredis
import pytest
import redis

from patauth import Authority, InvalidCredentials, IssuedPat, NotFound, StoreUnavailable
from patauth.crypto.profiles import PROFILES
from patauth.store.local.engine import LocalEngine
from patauth.store.local.supervisor import DATA, PID_FILE, SOCKET, read_pid
from patauth.store.scripts import NotDurable
from tests.support.authorities import basic_of, issue, patient
from tests.support.children import mount_small_disk, need_root, told_by_child
from tests.support.internals import store_of
from tests.support.servers import binaries, refused_in, until

BLOCK = 4096  # bytes of tmpfs


@pytest.mark.parametrize("kind", list(binaries()))
def test_a_full_disk_refuses_at_once_and_loses_nothing_that_was_acknowledged(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused removal held its thread for 2 s: it waited for the disk behind a script that had failed."""
    need_root()
    monkeypatch.setenv("PATAUTH_ENGINE", binaries()[kind])

    def use() -> str:
        mount_small_disk(tmp_path, "4m")
        try:
            use_up(tmp_path)
        finally:
            LocalEngine(tmp_path / "data").stop()
        return "all is well"

    told = told_by_child(use)
    if told != "all is well":
        pytest.fail(told)


def use_up(disk: Path) -> None:
    directory = disk / "data"
    with patient(
        f"local:{directory}", hash_profile=PROFILES["testing"], request_quota="1000000/1"
    ) as authority:
        kept, other, first = (issue(authority, name) for name in ("kept", "other", "first"))
        fill(disk / "others")
        fill_last_block(directory)
        if knows_waitaof(authority):
            began = time.monotonic()
            with pytest.raises(NotDurable):  # the engine has answered, and then could not write
                authority.delete(first.pat.id)
            assert time.monotonic() - began < 6, "the disk has 2 s to confirm"
        else:
            authority.delete(first.pat.id)
        ways = {
            "removing": lambda: authority.delete(kept.pat.id),
            "disabling": lambda: authority.disable_owner("alice"),
            "making": lambda: issue(authority, "one more"),
            "exchanging": lambda: authority.exchange(kept.pat.id, kept.secret),
            "verifying": lambda: authority.authenticate(basic_of(kept)),
        }
        for way, call in ways.items():
            waits = [refused_in(call) for _ in range(20)]
            assert median(waits) < 0.6, f"{way}: {waits}"  # a busy machine may hold one or the other up
        (disk / "others").unlink()
        until(lambda: serves(authority, kept))
        os.kill(read_pid(str(directory / PID_FILE)), signal.SIGKILL)
        until(lambda: serves(authority, kept))
        assert not passes(authority, first), "what was done is done, and the repeat says so"
        with pytest.raises(NotFound):
            authority.delete(first.pat.id)
        assert passes(authority, other)
        issue(authority, "one more")
        authority.delete(kept.pat.id)
        assert not passes(authority, kept)
        assert authority.disable_owner("alice") == 2
        assert not passes(authority, other)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with suppress(OSError), open(path, "wb", buffering=0) as file:
        while file.write(bytes(BLOCK)):
            pass


def fill_last_block(directory: Path) -> None:
    """Have the engine write what the last block of its file has room for, and not a byte more."""
    (file,) = (directory / DATA).glob("*.incr.aof")
    with redis.Redis(unix_socket_path=str(directory / SOCKET), protocol=2) as client:
        while left := -file.stat().st_size % BLOCK:
            around = len(hiredis.pack_command(("SET", "padding", "x" * left))) - left
            client.set("padding", "x" * ((left - around) % BLOCK))


def knows_waitaof(authority: Authority) -> bool:
    return store_of(authority)._scripts.wait.command is not None


def passes(authority: Authority, one: IssuedPat) -> bool:
    try:
        return bool(authority.authenticate(basic_of(one)))
    except InvalidCredentials:
        return False


def serves(authority: Authority, one: IssuedPat) -> bool:
    try:
        return passes(authority, one)
    except StoreUnavailable:
        return False
