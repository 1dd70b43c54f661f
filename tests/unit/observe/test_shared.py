"""The folder in which processes share their counts, and the files that are made in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patauth import ConfigurationError
from patauth.observe.shared import FOLDER, prepare
from tests.support.authorities import Make
from tests.support.paths import ROOT

COUNTS = (
    "import os, sys; from datetime import timedelta; import patauth;"
    "authority = patauth.Authority.from_url('memory:', metrics=True);"
    "made = authority.create(owner=patauth.Owner('o'), name='n', scope=['a'], expires_in=timedelta(days=1));"
    "authority.authenticate('Bearer ' + made.token);"
)


def run(code: str, folder: Path | str, **more: int) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has the folder in its environment."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env={**os.environ, FOLDER: str(folder)},
        capture_output=True, text=True, check=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize("named", ["", "nowhere"])
def test_a_folder_that_is_none_is_an_error_of_the_configuration(
    named: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, named and str(tmp_path / named))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=FOLDER):
            make(metrics=True)


def test_prometheus_client_that_came_before_the_folder_would_share_nothing_and_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prometheus_client  # noqa: F401 - before the variable is set

    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(ConfigurationError, match="imported before it was set"):
        make(metrics=True)


def test_the_files_of_a_process_have_no_holes_before_and_after_it_counts(tmp_path: Path) -> None:
    """A write into a hole ends the process when the disk is full."""
    done = run(COUNTS + "os.fork() or authority.authenticate('Bearer ' + made.token)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    files = [path.stat() for path in tmp_path.iterdir()]
    assert len(files) == 8  # of the process and of its child
    assert all(status.st_blocks * 512 >= status.st_size > 0 for status in files)


def test_where_there_is_no_room_nothing_is_counted_and_requests_go_on(tmp_path: Path) -> None:
    """The limit of a file's size stands for a disk that is full: both refuse room."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
    done = run(limit + COUNTS, tmp_path)
    assert (done.returncode, done.stderr.count("this process counts nothing")) == (0, 1), done.stderr
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size == 0 or path.suffix != ".db"]


def test_a_fork_that_finds_no_room_counts_nothing_and_goes_on(tmp_path: Path) -> None:
    code = COUNTS + (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "child = os.fork();"
        "authority.authenticate('Bearer ' + made.token);"
        "sys.exit(child and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr.count("this process counts nothing")) == (0, 1), done.stderr


def test_there_is_room_for_each_script_that_runs_is_missing_and_fails(tmp_path: Path) -> None:
    """A file that grows would have a hole again. Copies run in the command line, which counts nothing."""
    scripts = (ROOT / "patauth" / "store").rglob("*.lua")
    names = [path.stem for path in scripts if not path.stem.startswith("copy")]
    assert len(names) > 25
    code = COUNTS + (
        "from patauth.observe.metrics import Metrics;"
        "from patauth.store.transport.protocol import ScriptMissing;"
        f"[Metrics().store_operation('EVALSHA', name)(problem) for name in {names}"
        " for problem in (None, ScriptMissing(), ValueError())]"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (histograms,) = tmp_path.glob("histogram_*.db")
    assert histograms.stat().st_size == 1 << 19


def test_a_file_that_exists_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr("prometheus_client.values.ValueClass._multiprocess", True)
    mine = tmp_path / f"counter_{os.getpid()}.db"
    mine.write_bytes(b"counted")
    prepare()
    assert mine.read_bytes().startswith(b"counted\0")


def test_a_fork_while_other_threads_count_counts_too(tmp_path: Path) -> None:
    """All shared counts have one lock, which a child must not find taken."""
    code = (
        COUNTS
        + """
import signal, threading
from patauth.observe.metrics import Metrics
ours, on = Metrics(), True
def count():
    while on:
        ours.store_operation("EVALSHA", "x")(None)
        ours.connections(lambda: (1, id(object()) % 9))
for _ in range(3):
    threading.Thread(target=count, daemon=True).start()
hung = 0
for _ in range(25):
    child = os.fork()
    if not child:
        signal.alarm(5)
        ours.store_operation("EVALSHA", "x")(None)
        ours.connections(lambda: (0, 1))
        os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
    if hung: break
os._exit(hung)
"""
    )
    assert run(code, tmp_path).returncode == 0
