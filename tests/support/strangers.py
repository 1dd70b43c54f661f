"""A second user of the machine. Only root can play two users, so these tests need root, as in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.children import told_by_child
from tests.support.servers import binaries, until

STRANGER = 65534
GROUP = 2000  # a group that stands in no list, such as a volume's in Kubernetes


def as_stranger(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the other user."""
    return subprocess.run(
        words, user=STRANGER, group=STRANGER, extra_groups=[], capture_output=True, text=True
    )


def told_by_stranger(function: Callable[[], str], group: int = STRANGER) -> str:
    """Return what a function says in a forked process that has become the other user, or its traceback.

    The function imports nothing that this process has not imported: the other user may not reach the files.
    """

    def become_stranger() -> str:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(STRANGER, STRANGER, STRANGER)
        if not os.access(sys.executable, os.X_OK):  # a supervisor needs an interpreter, whichever it is
            sys.executable = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or ""
        return function()

    return told_by_child(become_stranger)


@contextmanager
def open_place() -> Iterator[Path]:
    """Make a folder that every user can enter, which pytest's own are not, nor need those of $TMPDIR be."""
    place = Path(tempfile.mkdtemp(prefix="strangers-", dir="/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def lend(path: str, place: Path) -> str:
    """Copy a file to where the other user can read and run it, and return its path there.

    The checkout and the virtual environment may lie in a folder that only root can enter.
    """
    copy = place / Path(path).name
    if not copy.exists():
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
    return str(copy)


@contextmanager
def strangers_server(folder: Path, place: Path) -> Iterator[redis.Redis]:
    """Run a server as the other user, whose socket `engine.sock` in `folder` is open to all."""
    server = lend(binaries()["valkey"], place)
    command: Sequence[str] = (
        *(server, "--port", "0", "--unixsocket", "engine.sock", "--unixsocketperm", "777"),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes"),
    )
    process = subprocess.Popen(
        command, user=STRANGER, group=STRANGER, extra_groups=[], cwd=folder, stdout=subprocess.DEVNULL
    )
    client = redis.Redis(unix_socket_path=str(folder / "engine.sock"), protocol=2)
    try:
        until((folder / "engine.sock").exists)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()
