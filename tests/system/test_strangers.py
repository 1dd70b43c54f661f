"""E7: what another user of the machine owns, can write or has put there is refused by name.

Where the tests do not run as root they fail, since one user cannot play two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth import Authority, ConfigurationError, InvalidCredentials, Settings, StoreUnavailable
from patauth.cli import program
from patauth.jwt.key_files import SigningKeys
from patauth.jwt.signature import Key
from patauth.store.local import engine as engine_module
from patauth.store.local import supervisor
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import issue, patient
from tests.support.children import need_root
from tests.support.internals import transport_of
from tests.support.private import write_private
from tests.support.servers import binaries, until
from tests.support.signing import JWT_MODE, access_of, parts_of
from tests.support.strangers import (
    GROUP,
    STRANGER,
    as_stranger,
    lend,
    open_place,
    strangers_server,
    told_by_stranger,
)
from tests.support.tables import each

KEY = "0a" * 32


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of root's that every user can enter."""
    need_root()
    monkeypatch.delenv("PATAUTH_ENGINE", raising=False)
    with open_place() as folder:
        yield folder
        folder.chmod(0o755)  # a test may have opened it; then nothing below is believed, nor stopped
        for lock in folder.rglob("supervisor.lock"):
            if lock.stat().st_uid == 0:
                LocalEngine(lock.parent).stop()


def engine_of(directory: Path) -> list[int]:
    """The processes that work in a folder: the engine and its supervisor."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd") == str(directory) and (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


# -- `local:` ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["idle connections", "engine", "engine and supervisor"])
@pytest.mark.parametrize("way", ["by descriptor", "by path"])
def test_a_stranger_who_swaps_the_folder_is_neither_asked_nor_believed(
    place: Path, end: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: the stranger even has an older copy of the store, with a PAT in it that was deleted since."""
    if way == "by path":
        monkeypatch.setattr(engine_module._Descriptor, "path", lambda _: None)  # a system without /proc
    directory = place / "data"
    with patient(f"local:{directory}") as authority:
        kept, gone = issue(authority, "kept"), issue(authority, "gone")
        authority.authenticate(f"Bearer {gone.token}")
        older = place / "older"
        shutil.copytree(directory / "appendonlydir", older / "appendonlydir")
        as_owner(older, STRANGER)
        authority.delete(gone.pat.id)
        place.chmod(0o777)  # only now: at a start, this is refused
        swapped = as_stranger("sh", "-c", f"mv {directory} {place}/mine && mv {older} {directory}")
        assert swapped.returncode == 0, swapped.stderr
        with strangers_server(directory, place) as strangers:
            before = set(strangers.info("commandstats"))
            transport_of(authority).close()
            if end != "idle connections":
                for pid in engine_of(place / "mine"):
                    if end != "engine" or b"engine.sock" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                for issued in (gone, kept):
                    try:
                        authority.authenticate(f"Bearer {issued.token}")
                        assert issued is kept, "a deleted PAT was accepted"
                    except InvalidCredentials:
                        assert issued is gone
                    except StoreUnavailable:
                        pass
                transport_of(authority).close()
                time.sleep(0.1)
            asked = set(strangers.info("commandstats")) - before - {"cmdstat_info"}
            assert asked == set(), "nothing was asked of it, so nothing was told"


def as_owner(path: Path, uid: int) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, uid, uid)


def test_a_strangers_socket_in_our_own_folder_is_refused_and_replaced(place: Path) -> None:
    """The check of the peer alone: the folder is ours, and the socket got there somehow."""
    directory, theirs = place / "data", place / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    with patient(f"local:{directory}") as authority, strangers_server(theirs, place) as strangers:
        issued = issue(authority)
        before = set(strangers.info("commandstats"))
        engine = authority.operations._store._engine
        assert engine is not None
        for pid in engine_of(directory):
            os.kill(pid, signal.SIGKILL)
        until(lambda: engine_of(directory) == [])
        transport_of(authority).close()
        os.rename(theirs / "engine.sock", directory / "engine.sock")
        os.link(directory / "engine.sock", theirs / "engine.sock")
        with pytest.raises(StoreUnavailable) as refused:
            authority.authenticate(f"Bearer {issued.token}")
        assert f"runs as uid {STRANGER}" in (refused.value.detail or "")
        until(lambda: accepts(authority, issued.token), 10)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(theirs / "engine.sock"))
            with pytest.raises(PermissionError, match=f"runs as uid {STRANGER}, and this process as uid 0"):
                engine.admit(connection)
        assert set(strangers.info("commandstats")) - before - {"cmdstat_info"} == set()


def accepts(authority: Authority, token: str) -> bool:
    try:
        return bool(authority.authenticate(f"Bearer {token}"))
    except StoreUnavailable:
        return False


@each(
    ("path", "mode", "owner", "group", "said"),
    [
        ("a", 0o777, 0, 0, "a (mode 0777) can be changed by every user"),
        ("a", 0o775, 0, GROUP, "a (mode 0775) can be changed by its group"),
        ("a/b", 0o777, 0, 0, "a/b (mode 0777) can be changed by every user"),
        ("a", 0o755, STRANGER, 0, f"a belongs to uid {STRANGER}"),
    ],
)
def test_a_place_in_which_others_can_swap_the_folder_is_refused_at_the_start(
    place: Path, path: str, mode: int, owner: int, group: int, said: str
) -> None:
    (place / "a" / "b").mkdir(parents=True, mode=0o755)
    (place / path).chmod(mode)
    os.chown(place / path, owner, group)
    url = f"local:{place}/a/b/data"
    with Authority.from_url(url) as authority, pytest.raises(ConfigurationError) as refused:
        authority.ping()
    assert f"{place}/{said}" in str(refused.value)
    assert os.listdir(place / "a" / "b") == [], "nothing was made there"
    for words in (("config", "check"), ("doctor",)):
        told = CliRunner().invoke(program, [*words, "--store", url])
        assert told.exit_code != 0
        assert f"{place}/{said}" in told.output
    os.chown(place / path, 0, GROUP)
    (place / path).chmod(0o1777)  # sticky, as /tmp
    with patient(url) as authority:
        authority.ping()
    LocalEngine(place / "a/b/data").stop()
    shutil.rmtree(place / "a")


def test_a_link_as_the_folder_is_refused_and_links_above_it_are_not(place: Path) -> None:
    (place / "data").mkdir(mode=0o700)
    (place / "link").symlink_to(place / "data")
    for name in ("link", "link/"):
        with (
            Authority.from_url(f"local:{place}/{name}") as authority,
            pytest.raises(ConfigurationError, match=f"link is a symbolic link.*{place}/data"),
        ):
            authority.ping()
    assert os.listdir(place / "data") == []
    (place / "above").symlink_to(place)
    with patient(f"local:{place}/above/data") as authority:
        authority.ping()
    assert (place / "data" / "engine.json").exists()


def test_a_store_that_others_could_write_is_not_closed_and_used_as_if_nothing_were(place: Path) -> None:
    directory = place / "data"
    with patient(f"local:{directory}") as authority:
        authority.ping()
    LocalEngine(directory).stop()
    directory.chmod(0o777)
    with (
        patient(f"local:{directory}") as authority,
        pytest.raises(ConfigurationError, match=r"data \(mode 0777\) has a store that others could change"),
    ):
        authority.ping()
    directory.chmod(0o700)


def test_the_other_user_has_a_store_of_its_own_and_not_ours(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky folder. It is also what gunicorn's worker is that has given up root (`user`): there, /proc
    belongs to root."""
    place.chmod(0o1777)
    monkeypatch.setenv("PATAUTH_ENGINE", lend(binaries()["valkey"], place))
    monkeypatch.setattr(supervisor, "__file__", lend(supervisor.__file__, place))
    with patient(f"local:{place}/mine") as authority:
        authority.ping()
    assert told_by_stranger(lambda: ping(place / "theirs")) == "there"
    said = told_by_stranger(lambda: ping(place / "mine"))
    assert f"mine belongs to uid 0, and this process runs as uid {STRANGER}" in said


def ping(directory: Path) -> str:
    with patient(f"local:{directory}") as authority:
        authority.ping()
    LocalEngine(directory).stop()
    return "there"


# -- keys -------------------------------------------------------------------------------------------------


def made_open(folder: Path, mode: int, owner: int = 0) -> None:
    folder.chmod(mode)
    os.chown(folder, owner, owner)


@each(
    ("what", "mode", "owner", "said"),
    [
        ("folder", 0o777, 0, "keys (mode 0777) can be changed by every user"),
        ("folder", 0o700, STRANGER, f"keys belongs to uid {STRANGER}"),
        ("file", 0o666, 0, ".pem (mode 0666) can be changed by every user"),
        ("file", 0o644, 0, ".pem (mode 0644) can be read by every user"),
        ("file", 0o600, STRANGER, f".pem belongs to uid {STRANGER}"),
    ],
)
def test_keys_that_others_can_change_or_read_are_refused_at_the_start_and_by_the_command_line(
    place: Path, what: str, mode: int, owner: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A11."""
    folder = place / "keys"
    made, _ = SigningKeys(folder).rotate()
    made_open(folder if what == "folder" else made.path, mode, owner)
    with pytest.raises(ConfigurationError) as refused:
        Authority.from_url("redis://nowhere.invalid", **JWT_MODE, keys=str(folder))
    assert said in str(refused.value)
    monkeypatch.setenv("PATAUTH_ISSUER", "https://auth.example.com")
    monkeypatch.setenv("PATAUTH_KEYS", str(folder))
    for words in (("config", "check"), ("doctor",)):
        told = CliRunner().invoke(program, [*words, "--store", f"local:{place}/new"])
        assert told.exit_code != 0
        assert said in told.output, words
    shutil.rmtree(folder)


def test_a_key_that_a_stranger_adds_never_signs(place: Path) -> None:
    directory = place / "data"
    with patient(f"local:{directory}", **JWT_MODE) as authority:
        issued = issue(authority)
        kid = parts_of(access_of(authority, issued))[0]["kid"]
        (made,) = (directory / "keys").iterdir()
        theirs = made.parent / f"20990101T000000000{made.name[-14:]}"
        later = made.parent / f"{int(made.name[0]) + 0}{made.name[1:8]}T235959999{made.name[18:]}"
        for path in (theirs, later):
            write_private(path, Key.generate("ES256").pem())
            os.chown(path, STRANGER, STRANGER)
        assert parts_of(access_of(authority, issued))[0]["kid"] == kid
        assert [one["kid"] for one in authority.jwks()["keys"]] == [kid]


def test_root_changes_the_keys_of_a_services_user(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / "keys"
    folder.mkdir(mode=0o700)
    as_owner(folder, STRANGER)
    monkeypatch.setenv("PATAUTH_KEYS", str(folder))
    for _ in range(2):
        made = CliRunner().invoke(program, ["keys", "rotate", "--store", "redis://nowhere.invalid"])
        assert made.exit_code == 0, made.output
    assert {path.stat().st_uid for path in folder.iterdir()} == {STRANGER}


# -- secrets ----------------------------------------------------------------------------------------------


def read_secret(environ: dict[str, str]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            said = f"read {Settings.from_env(environ).secret_key == bytes.fromhex(KEY)}"
        except ConfigurationError as problem:
            said = str(problem)
    return "\n".join([said, *(f"warning: {one.message}" for one in caught)])


@each(
    ("mode", "owner", "group", "said"),
    [
        (0o400, STRANGER, STRANGER, "read True"),
        (0o440, 0, GROUP, "read True"),  # Kubernetes with fsGroup
        (0o444, 0, 0, "read True\nwarning: {file} (mode 0444) can be read by every user"),  # Docker Swarm
        (0o666, STRANGER, STRANGER, "{file} (mode 0666) can be changed by every user"),
        (0o660, 0, GROUP, "{file} (mode 0660) can be changed by its group"),
        (0o644, 1234, 1234, "{file} belongs to uid 1234, and this process runs as uid 65534"),
    ],
)  # fmt: skip
def test_the_file_of_a_secret_is_judged_by_owner_and_mode(
    place: Path, mode: int, owner: int, group: int, said: str
) -> None:
    """As a process that is not root."""
    path = place / "secret"
    write_private(path, KEY)
    os.chown(path, owner, group)
    path.chmod(mode)
    names = {"PATAUTH_STORE_URL": "redis://h", "PATAUTH_SECRET_KEY_FILE": str(path)}
    told = told_by_stranger(lambda: read_secret(names), GROUP)
    assert told.startswith(said.format(file=f"PATAUTH_SECRET_KEY_FILE: {path}")), told
    assert said != "read True" or told == said, "no warning"
    path.unlink()


@each(("mode", "exit_code", "said"), [(0o666, 2, "changed"), (0o644, 0, "read")])
def test_the_command_line_names_the_file_of_a_secret_and_its_mode(
    place: Path, mode: int, exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "secret"
    write_private(path, KEY)
    path.chmod(mode)
    monkeypatch.setenv("PATAUTH_SECRET_KEY_FILE", str(path))
    monkeypatch.chdir(place)
    for words in (("config", "check"), ("doctor",)):
        told = CliRunner().invoke(program, [*words, "--store", f"local:{place}/new"])
        assert told.exit_code == exit_code, told.output
        assert f"{path} (mode {mode:04o}) can be {said} by every user" in told.output
    if exit_code == 0:
        assert "warning  secrets" in told.stdout
    assert stat.S_IMODE(path.stat().st_mode) == mode
    path.unlink()
