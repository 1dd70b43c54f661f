"""The folder of a `local:` store: it is ours alone, it was opened once, and every look into it goes that way.

A folder that somebody else puts in its place later is not looked into. `admit` refuses a server that does not
run as this process's user, no matter who put its socket there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...errors import ConfigurationError, StoreUnavailable
from ...files import check_parents, mode_of
from .supervisor import DATA, RECORD, USERS_LOCK

_PEER = struct.Struct("=iII")  # Linux, struct ucred: pid, uid, gid
_XUCRED = 76  # bytes of macOS's and FreeBSD's struct xucred: version and uid (32 bits each), groups
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS and FreeBSD, sys/un.h


def locate(directory: str | os.PathLike[str]) -> str:
    """Return the absolute path of DIR without links above it. If DIR itself is a link, that stays."""
    above, name = os.path.split(os.fspath(directory).rstrip("/") or "/")
    if name in ("", ".", ".."):
        return os.path.realpath(directory)
    return os.path.join(os.path.realpath(above or "."), name)


def check_folder(directory: str | os.PathLike[str]) -> None:
    """Look at DIR and the folders above it, and touch nothing. DIR need not exist.

    Raise `ConfigurationError` if others could change DIR, or put another in its place.
    """
    path = locate(directory)
    with said_clearly(path):
        check_parents(path)
        with contextlib.suppress(FileNotFoundError):
            _check(path, os.lstat(path))


def has_store(directory: str | os.PathLike[str]) -> bool:
    """Return whether DIR has a store, by what an engine leaves there."""
    with said_clearly(locate(directory)), contextlib.suppress(FileNotFoundError):
        return _is_of_store(os.listdir(directory))
    return False


def open_folder(directory: str | os.PathLike[str]) -> int:
    """Return a descriptor of DIR. Create DIR if it is missing, and see that only this user can use it.

    Raise `ConfigurationError` as `check_folder` does, and if DIR is open to others and has files that are not
    patauth's, or that others may have put there. Raise `StoreUnavailable` if there is no room.
    """
    path = locate(directory)
    check_folder(path)
    with said_clearly(path):
        for above in reversed(Path(path).parents):
            with contextlib.suppress(FileExistsError):
                if not above.exists():
                    above.mkdir(mode=0o755)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode=0o700)
        check_folder(path)  # it may have been made by somebody else just now
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            _check(path, status)
            if status.st_mode & 0o077:
                _make_private(path, folder, status)
            effective = os.access in os.supports_effective_ids
            if not os.access(path, os.W_OK | os.X_OK, effective_ids=effective):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        except BaseException:
            os.close(folder)
            raise
    return folder


def _check(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(
            f"{path} is a symbolic link, which can come to lead elsewhere: name the folder itself,"
            f" {os.path.realpath(path)}"
        )
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to uid {status.st_uid}, and this process runs as uid {os.geteuid()}: "
            "run it as that user, or name another directory"
        )


def _is_of_store(names: Iterable[str]) -> bool:
    return not {USERS_LOCK, RECORD, DATA}.isdisjoint(names)


def _make_private(path: str, folder: int, status: os.stat_result) -> None:
    names = os.listdir(folder)
    # Otherwise `local:/tmp`, used by root, would close /tmp to everyone.
    if names and not _is_of_store(names):
        raise ConfigurationError(
            f"{path} is open to others and holds files that are not patauth's: name a directory of its own,"
            " which need not exist"
        )
    if names and status.st_mode & 0o022:
        raise ConfigurationError(
            f"{path} (mode {mode_of(status)}) has a store that others could change: restore a copy that only"
            f" this user could reach, or chmod 700 {path} if you know who had access"
        )
    os.fchmod(folder, 0o700)


@contextlib.contextmanager
def said_clearly(directory: str) -> Iterator[None]:
    """Replace an `OSError` by an error of ours.

    A lack of space, memory or descriptors may end, so it is `StoreUnavailable`. Any other error means a
    wrong DIR, so it is `ConfigurationError`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
            raise StoreUnavailable(detail=f"{directory}: {error.strerror}") from error
        raise ConfigurationError(
            f"{directory} cannot hold the token store: {error.strerror}; name a directory that this user "
            "(uid %d) can create or write" % os.geteuid()
        ) from error


def admit(connected: socket.socket) -> None:
    """Refuse the server at the other end of a unix socket unless it runs as this process's user.

    Raise `PermissionError`. Systems other than Linux, macOS and FreeBSD do not tell who that is.
    """
    if sys.platform == "linux":
        uid = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    elif sys.platform.startswith(("darwin", "freebsd")):
        uid = struct.unpack_from("=II", connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED))[1]
    else:
        return
    if uid != os.geteuid():
        raise PermissionError(
            f"the server there runs as uid {uid}, and this process as uid {os.geteuid()}: find out who can"
            " write to the folders above it"
        )
