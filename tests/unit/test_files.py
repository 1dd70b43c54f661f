"""Whose files and folders are taken: by made-up owners, groups and modes, so that anybody can run this."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patauth import ConfigurationError
from patauth.files import check_parents, readers_of_key, readers_of_secret, why_untrusted
from tests.support.tables import each

ME, OTHER = 1000, 1001
PRIVATE, STAFF = 1000, 50  # groups: mine alone, and one with several users


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a user `me`, and with a group of that name and one of several users."""
    groups = {0: ("root", []), PRIVATE: ("me", []), STAFF: ("staff", ["me", "other"]), 7: ("other", [])}
    users = {"root": (0, 0), "me": (ME, PRIVATE), "other": (OTHER, 7)}
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(
        "grp.getgrgid", lambda gid: SimpleNamespace(gr_name=groups[gid][0], gr_mem=groups[gid][1])
    )
    monkeypatch.setattr(
        "pwd.getpwnam",
        lambda name: SimpleNamespace(pw_name=name, pw_uid=users[name][0], pw_gid=users[name][1]),
    )


def status(mode: int, uid: int = ME, gid: int = STAFF) -> Any:
    return SimpleNamespace(st_mode=mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, st_uid=uid, st_gid=gid)


def folder(mode: int, uid: int = ME, gid: int = STAFF) -> Any:
    return status(mode | stat.S_IFDIR, uid, gid)


@each(
    "found",
    [
        status(0o600), status(0o644), status(0o400, 0), status(0o444, 0), status(0o440, 0, 2000),
        status(0o660, gid=PRIVATE), status(0o660, 0, 0), folder(0o700), folder(0o755, 0),
        folder(0o775, gid=PRIVATE), folder(0o775, 0, 0), folder(0o1777, 0), folder(0o3775, 0, 2000),
        folder(0o1777),
    ],
)  # fmt: skip
def test_what_only_this_user_or_root_can_change_is_taken(found: Any) -> None:
    assert why_untrusted("/x", found) == ""


def test_a_folder_of_code_takes_no_file_of_others_however_it_keeps_them_apart() -> None:
    for mode in (0o1777, 0o777):
        said = f"/x (mode {mode:04o}) can be changed by every user: chmod go-w /x"
        assert why_untrusted("/x", folder(mode), of_code=True) == said
    assert why_untrusted("/x", folder(0o1755), of_code=True) == ""


@each(
    ("found", "said"),
    [
        (status(0o666), "/x (mode 0666) can be changed by every user: chmod go-w /x"),
        (status(0o602), "/x (mode 0602) can be changed by every user: chmod o-w /x"),
        (status(0o660), "/x (mode 0660) can be changed by its group: chmod g-w /x"),
        (status(0o660, gid=2000), "/x (mode 0660) can be changed by its group: chmod g-w /x"),
        (status(0o660, gid=7), "/x (mode 0660) can be changed by its group: chmod g-w /x"),
        (status(0o1666), "/x (mode 1666) can be changed by every user: chmod go-w /x"),
        (folder(0o777, 0), "/x (mode 0777) can be changed by every user: chmod go-w /x (or chmod +t)"),
        (folder(0o2775, 0, 2000), "/x (mode 2775) can be changed by its group: chmod g-w /x (or chmod +t)"),
        (status(0o600, OTHER), "/x belongs to uid 1001, and this process runs as uid 1000"),
        (folder(0o1777, OTHER), "/x belongs to uid 1001, and this process runs as uid 1000"),
    ],
)
def test_what_others_own_or_can_change_is_refused_by_name_and_mode(found: Any, said: str) -> None:
    assert why_untrusted("/x", found).startswith(said)


def test_one_more_owner_can_be_allowed() -> None:
    assert why_untrusted("/x", status(0o600, OTHER), owner=OTHER) == ""
    assert why_untrusted("/x", status(0o622, OTHER), owner=OTHER)


@each(
    ("found", "readers"),
    [
        (status(0o600), ""), (status(0o400, 0), ""), (status(0o440, 0, 2000), ""),
        (status(0o640, gid=PRIVATE), ""),
        (status(0o640), "its group"), (status(0o444, 0), "every user"), (status(0o644), "every user"),
    ],
)  # fmt: skip
def test_a_private_key_is_read_by_its_owner_or_by_a_group_of_roots(found: Any, readers: str) -> None:
    assert readers_of_key(found) == readers


@each(
    ("found", "readers"),
    [
        (status(0o600), ""),
        (status(0o440, 0, 2000), ""),
        (status(0o640), ""),
        (status(0o444, 0), "every user"),
    ],
)
def test_a_secret_is_read_by_a_group_at_most(found: Any, readers: str) -> None:
    assert readers_of_secret(found) == readers


def test_an_owner_outside_of_a_user_namespace_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, all users that have no number in the namespace look like the user "nobody"."""
    texts = {"/proc/sys/kernel/overflowuid": "65534\n", "/proc/self/uid_map": "0 0 4294967295\n"}
    monkeypatch.setattr(Path, "read_text", lambda self, _: texts[str(self)])
    assert why_untrusted("/x", folder(0o755, 65534))
    texts["/proc/self/uid_map"] = "         0       1000          1\n"
    assert why_untrusted("/x", folder(0o755, 65534)) == ""
    assert why_untrusted("/x", folder(0o755, OTHER))


def test_each_folder_above_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"/": folder(0o755, 0), "/a": folder(0o777, 0), "/a/b": folder(0o755)}
    monkeypatch.setattr(os, "stat", lambda path: found[str(path)])
    with pytest.raises(
        ConfigurationError, match=r"^/a/b/c can be replaced by others, since /a \(mode 0777\)"
    ):
        check_parents("/a/b/c")
    found["/a"] = folder(0o1777, 0)
    check_parents("/a/b/c")
    found["/a/b"] = folder(0o755, OTHER)
    with pytest.raises(ConfigurationError, match="since /a/b belongs to uid 1001"):
        check_parents("/a/b/c")
