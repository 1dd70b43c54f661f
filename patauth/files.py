"""Check who owns a file or folder, and who else can reach it: the rules for keys, secrets and `local:`.

Owner: this process's user, or root. In a user namespace (a container without root) also a user outside of it,
whom the namespace cannot name.

Who can write: only the owner. In a folder also others if it has the sticky bit, as /tmp and some volumes of
Kubernetes: there nobody can rename or delete the files of another user.

A group that has only the user with the same name counts as that user, since many systems let such a group
write (umask 0002). An access list counts by its mask, which takes the place of the group's bits.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import warnings
from pathlib import Path

from .errors import ConfigurationError

_ALL_IDS = ["0", "0", "4294967295"]  # of /proc/self/uid_map where there is no user namespace


def why_untrusted(
    path: str | Path, status: os.stat_result, *, owner: int | None = None, of_code: bool = False
) -> str:
    """Return what is wrong if somebody else owns a file or folder, or can write to it, and what to do.

    The text is empty if nothing is wrong. `status` is that of `path`, from an open descriptor where its
    content matters. `owner` is one more uid that may own it. `of_code`: a folder from which code is taken, to
    which others may not even add a file.
    """
    if status.st_uid != owner and not _is_trusted(status.st_uid):
        return (
            f"{path} belongs to uid {status.st_uid}, and this process runs as uid {os.geteuid()}: run it as"
            " that user, or give it to this one or to root (chown)"
        )
    is_folder = stat.S_ISDIR(status.st_mode)
    may_add = is_folder and not of_code
    if may_add and status.st_mode & stat.S_ISVTX:
        return ""
    writers = _others(status) & 0o022
    if not writers:
        return ""
    remedy = f"chmod {_letters(writers)}-w {path}" + (" (or chmod +t)" if may_add else "")
    return f"{path} (mode {mode_of(status)}) can be changed by {_whom(writers)}: {remedy}"


def check_parents(path: str | Path) -> None:
    """Check all folders above an absolute path that exist, up to the root.

    A user who can rename one of them can put another in its place. Raise `ConfigurationError`.
    """
    for folder in reversed(Path(path).parents):
        try:
            status = os.stat(folder)
        except OSError:  # it is missing, or what uses the path will say what is wrong
            return
        if why := why_untrusted(folder, status):
            raise ConfigurationError(f"{path} can be replaced by others, since {why}; or name another place")


def readers_of_key(status: os.stat_result) -> str:
    """Return who else can read the file of a private key, or an empty text.

    A group may read a file that root owns: Kubernetes and Docker give a key to another user in this way.
    """
    readers = _others(status) & 0o044
    return _whom(readers if status.st_uid else readers & 0o004)


def readers_of_secret(status: os.stat_result) -> str:
    """Return "every user" if all can read a file, or an empty text."""
    return _whom(_others(status) & 0o004)


def mode_of(status: os.stat_result) -> str:
    """Return the mode as chmod takes it, such as 0640."""
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _is_trusted(uid: int) -> bool:
    if uid in (0, os.geteuid()):
        return True
    try:
        nobody = Path("/proc/sys/kernel/overflowuid").read_text(
            "ascii"
        )  # stands for all users who have no number here
        return uid == int(nobody) and Path("/proc/self/uid_map").read_text("ascii").split() != _ALL_IDS
    except (OSError, ValueError):
        return False


def _others(status: os.stat_result) -> int:
    """Return the bits of the mode for group and others, but none of the group if it has only one user."""
    bits = stat.S_IMODE(status.st_mode) & 0o077
    return bits & 0o007 if bits & 0o070 and _is_one_users(status.st_gid) else bits


def _is_one_users(gid: int) -> bool:
    """Return whether a group has the name of this user or of root, and no other member."""
    try:
        group = grp.getgrgid(gid)
        user = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    return user.pw_gid == gid and user.pw_uid in (0, os.geteuid()) and set(group.gr_mem) <= {user.pw_name}


def _letters(bits: int) -> str:
    return ("g" if bits & 0o070 else "") + ("o" if bits & 0o007 else "")


def _whom(bits: int) -> str:
    return "every user" if bits & 0o007 else "its group" if bits & 0o070 else ""


def content_of_secret(variable: str, path: str) -> str:
    """Return the text in the file of a secret, which `variable` names. Warn if everybody can read the file.

    Raise `ConfigurationError` if the file cannot be read, or if others can change it.
    """
    try:
        with open(path, "rb") as file:
            status, data = os.fstat(file.fileno()), file.read()
        text = data.decode()
    except OSError as problem:
        raise ConfigurationError(f"{variable}: cannot read it: {problem.strerror}") from None
    except ValueError:  # not UTF-8, or NUL in the path
        raise ConfigurationError(f"{variable}: give the path of a file that holds text") from None
    if why := why_untrusted(path, status):
        raise ConfigurationError(f"{variable}: {why}")
    if readers_of_secret(status):
        warnings.warn(
            f"{variable}: {path} (mode {mode_of(status)}) can be read by every user: chmod o-r {path}",
            stacklevel=3,
        )
    return text.strip()
