"""Whose the folder of a `local:` store may be, as far as one user can try; the rest is in a system test."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from patauth import ConfigurationError
from patauth.store.local.folder import admit, check_folder, locate, open_folder
from tests.support.tables import each


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as checked:
        check_folder(path)
    with pytest.raises(ConfigurationError) as opened:
        open_folder(path)
    assert str(opened.value) == str(checked.value)
    return str(checked.value)


@each(
    ("given", "meant"),
    [
        ("data", "/real/data"),
        ("./data/", "/real/data"),
        (".", "/real"),
        ("a/..", "/real"),
        ("/", "/"),
        ("{top}/link/data", "/real/data"),
        ("{top}/link", "/link"),  # DIR itself is not followed: whoever opens it sees that it is a link
        ("{top}/link/", "/link"),
        ("{top}/link/.", "/real"),
    ],
)
def test_links_are_followed_above_the_folder_and_not_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    (tmp_path / "real" / "a").mkdir(parents=True, exist_ok=True)
    if not (tmp_path / "link").is_symlink():
        (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    expected = meant if meant == "/" else f"{os.path.realpath(tmp_path)}{meant}"
    assert locate(given.format(top=tmp_path)) == expected


def test_what_is_missing_is_made_for_this_user_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_folder(tmp_path / "a" / "b" / "data"))
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o755, 0o755)
    assert mode(tmp_path / "a" / "b" / "data") == 0o700


def test_a_folder_above_that_others_can_write_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    open_one = tmp_path / "open"
    open_one.mkdir()
    open_one.chmod(0o777)
    said = refusal(open_one / "a" / "data")
    assert f"{open_one} (mode 0777) can be changed by every user" in said
    assert os.listdir(open_one) == []
    open_one.chmod(0o1777)
    os.close(open_folder(open_one / "a" / "data"))


def test_a_link_a_file_and_a_loop_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert f"name the folder itself, {os.path.realpath(tmp_path)}/real" in refusal(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    assert "is a symbolic link" in refusal(tmp_path / "loop")
    (tmp_path / "file").touch()
    assert "Not a directory" in refusal(tmp_path / "file")


def test_a_server_of_this_user_is_admitted() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        admit(ours)


def test_a_server_of_another_user_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with ours, theirs, pytest.raises(PermissionError, match=f"runs as uid {mine}, .* as uid {mine + 1}"):
        admit(ours)
