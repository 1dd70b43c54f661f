"""Forked processes that become something this process cannot go back from, and tell what they saw."""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

_CLONE_NEWNS = 0x00020000  # Linux, sched.h: a mount namespace of its own


def need_root() -> None:
    """Fail where the test cannot be made. A test that is left out would say that all is well."""
    if os.geteuid() != 0:
        pytest.fail("this test plays a second user, or mounts a disk: run it as root, as in a container")


def told_by_child(function: Callable[[], str]) -> str:
    """Return what a function says in a forked process, or the traceback of its exception."""
    reply, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = function()
        except BaseException:
            text = traceback.format_exc()
        with open(answer, "w") as file:
            file.write(text)
        os._exit(0)
    os.close(answer)
    with open(reply) as file:
        told = file.read()
    os.waitpid(child, 0)
    return told


def mount_small_disk(folder: Path, size: str) -> None:
    """Make `folder` a disk of its own, of `size` ("4m"), for this process and those that it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "small", folder], check=True)
