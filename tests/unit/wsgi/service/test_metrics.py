"""The folder in which the processes of `patauth serve` count."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import make_server

import pytest

from patauth import ConfigurationError
from patauth.observe.shared import FOLDER
from patauth.settings import Settings
from patauth.wsgi.service import metrics
from patauth.wsgi.service.metrics import forget_process, metrics_folder, open_authority
from tests.support.tables import each


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_folder_is_this_users_alone_and_goes_at_the_end() -> None:
    with metrics_folder():
        made = Path(os.environ[FOLDER])
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        (made / "counter_1.db").touch()
    assert not made.exists()
    assert FOLDER not in os.environ


def test_a_worker_that_ends_takes_nothing_away() -> None:
    """gunicorn's workers are forks, and leave by the same way."""
    with metrics_folder():
        made = Path(os.environ[FOLDER])
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert made.is_dir()
    if not child:
        os._exit(0)
    assert not made.exists()


@each("is_named", [False, True])
def test_what_a_thread_will_need_is_imported_before_workers_are_forked(
    tmp_path: Path, is_named: bool
) -> None:
    """A worker that is forked while a thread imports prometheus-client waits for that import for ever."""
    program = (
        "import sys; from patauth.wsgi.service.metrics import forget_process, metrics_folder\n"
        "with metrics_folder():\n"
        "    before = set(sys.modules)\n"
        "    forget_process(1)\n"
        "    sys.exit(str(set(sys.modules) - before) if set(sys.modules) - before else 0)"
    )
    named = {FOLDER: str(tmp_path)} if is_named else {}
    tmp_path.chmod(0o700)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_folder_that_the_environment_names_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    monkeypatch.setenv(FOLDER, str(mine))
    with metrics_folder():
        assert os.environ[FOLDER] == str(mine)
    assert mine.is_dir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=f"{FOLDER}: there is no folder"), metrics_folder():
        pass


def test_a_folder_that_others_can_change_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o777)
    monkeypatch.setenv(FOLDER, str(mine))
    with pytest.raises(ConfigurationError, match=FOLDER), metrics_folder():
        pass


def test_of_a_process_that_ended_only_its_state_is_forgotten() -> None:
    with metrics_folder():
        made = Path(os.environ[FOLDER])
        kept, gone = made / "counter_7.db", made / "gauge_livesum_7.db"
        kept.touch()
        gone.touch()
        forget_process(7)
        assert [path.name for path in made.iterdir()] == [kept.name]
    forget_process(7)  # after the end of the service


def test_a_worker_without_its_folder_serves_and_says_that_it_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as after something has cleaned the directory for temporary files."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "removed"))
    settings = Settings.of(store_url=f"local:{tmp_path / 'store'}", metrics=True)
    with open_authority(settings) as authority:
        assert not authority.settings.metrics
    (said,) = (one for one in caplog.messages if one.startswith("metrics:"))
    assert said.startswith(f"metrics: this process counts nothing: {FOLDER}: there is no folder")
    with pytest.raises(ConfigurationError, match="events"):  # no matter of metrics
        open_authority(replace(settings, events=("nowhere",)))


def test_a_folder_to_which_others_can_add_counts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    monkeypatch.setenv(FOLDER, str(sticky))
    with pytest.raises(ConfigurationError, match="can be changed by every user"), metrics_folder():
        pass
    below = sticky / "mine"
    below.mkdir(mode=0o700)
    sticky.chmod(0o777)
    monkeypatch.setenv(FOLDER, str(below))
    with pytest.raises(ConfigurationError, match="can be replaced by others"), metrics_folder():
        pass


def test_a_folder_of_ones_own_loses_what_was_left_and_keeps_what_was_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is empty would break each scrape, and a process that was killed has no connections."""
    ended = os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])
    os.waitpid(ended, 0)
    kept = {f"counter_{ended}.db", f"gauge_all_{ended}.db", f"gauge_livesum_{os.getpid()}.db"}
    for name in {*kept, f"gauge_livesum_{ended}.db", f"gauge_livemax_{ended}.db"}:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "counter_1.db").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with metrics_folder():
        assert {path.name for path in tmp_path.iterdir()} == kept


def test_the_folder_of_a_service_that_was_killed_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left, young, other = (tmp_path / f"patauth-metrics-{name}" for name in "abc")
    for folder in (left, young, other):
        folder.mkdir()
    for folder in (left, other):
        os.utime(folder, (0, 0))
    lock = os.open(other, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        with metrics_folder():
            assert (left.exists(), young.exists(), other.exists()) == (False, True, True)
    finally:
        os.close(lock)


def test_a_client_that_sends_half_a_request_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics._Handler, "timeout", 0.1)
    server = make_server("127.0.0.1", 0, lambda *_: [], handler_class=metrics._Handler)
    thread = Thread(target=server.handle_request)
    thread.start()
    with server, socket.create_connection(server.server_address, timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert client.recv(100) == b""
        thread.join()
    assert capfd.readouterr() == ("", "")
