"""Run and watch the engine of one `local:` directory. Each directory has one such detached process.

    python -I -S -B supervisor.py DIR KIND BINARY        (engine.py starts this with DIR as working directory)

This is a separate script that needs only the standard library. So it starts in some 20 ms, carries none of
the application's memory, secrets or descriptors, and outlives the process that started it.

DIR holds:

    users.lock         flock: every process that uses the engine shares it; the supervisor only probes it
    supervisor.lock    flock: the supervisor holds it exclusively as long as it runs. Its text is our pid,
                       then the reason if the engine does not start
    engine.json        {"kind": "valkey" | "redis", "version": "9.1.2"}: the engine that wrote the files
    engine.pid .sock .log   of the engine; engine.log.1 is its log before that; appendonlydir/ is its data

The kernel releases a lock however its holder ends, so no lock stays behind even after SIGKILL.
The exit status is 0 or 1. If gunicorn's arbiter is process 1, it inherits this process, and would mistake the
status 3 or 4 for that of a worker that cannot boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

USERS_LOCK = "users.lock"
SUPERVISOR_LOCK = "supervisor.lock"
RECORD = "engine.json"
PID_FILE = "engine.pid"
SOCKET = "engine.sock"
LOG = "engine.log"
DATA = "appendonlydir"

POLL = 0.5  # s between two looks at users.lock; the end of the engine wakes us at once
STARTING_POLL = 0.02  # s between two looks at an engine that does not answer yet
UNUSED = 3.0  # s without a user until the engine is stopped; bridges the gap between two commands
STOP_GRACE = 4.0  # s from SIGTERM to SIGKILL; UNUSED + POLL + STOP_GRACE is below the promised 10 s
FAILURES = 4  # failed starts in a row until users are told; the pause grows from 0 to LONGEST_PAUSE
LONGEST_PAUSE = 1.0  # s
LOG_LIMIT = 5 << 20  # bytes after which engine.log is rotated; one older file is kept, engine.log.1

PR_SET_PDEATHSIG = 1


def options(directory: str) -> list[str]:
    """Return the engine's arguments. They are valid for Redis 7.0 and later, and for Valkey."""
    settings = {
        "port": "0",
        "unixsocket": SOCKET,  # relative, since an absolute path may be too long for a socket address
        "unixsocketperm": "700",
        "dir": directory,
        "daemonize": "no",
        "logfile": LOG,
        "set-proc-title": "no",  # then `ps` shows DIR, and `runs_in` recognizes the command line
        "appendonly": "yes",
        "appendfsync": "everysec",
        "hz": "100",  # WAITAOF answers at the next tick: after 6 ms in place of 80
        "aof-load-truncated": "yes",  # nobody was told that an incomplete last write had succeeded
        "save": "",
        "maxmemory-policy": "noeviction",
        "shutdown-on-sigterm": "force",  # a running rewrite must not keep the engine from ending
    }
    # No pidfile: the engine would delete it before it ends. It would then seem gone while it still has to
    # unlink the socket, which by then could be that of the next engine.
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def take_lock(path: str, operation: int) -> int | None:
    """Open `path`, create it if missing, and flock it (LOCK_SH or LOCK_EX). Return the descriptor.

    Return None if another holder prevents that. Raise `OSError`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def runs_in(directory: str, pid: int, word: str) -> bool:
    """Return whether `pid` is alive, works in `directory` and has `word` in its command line.

    A pid file alone proves nothing: the number may belong to another process by now.
    """
    try:
        if pid <= 1:
            return False
        os.kill(pid, 0)
        if os.path.isdir("/proc/self"):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()  # empty for a zombie
            return word.encode() in command and os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:  # it has ended, or it is not ours since we may not look at it
        return False
    import subprocess

    command = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, check=False
    ).stdout
    return not command.startswith(b"Z") and word.encode() in command and os.fsencode(directory) in command


def read_pid(path: str) -> int:
    """Return the number in the first line of `path`, or 0 if there is none."""
    try:
        with open(path, "rb") as file:
            return int(file.readline(32))
    except (OSError, ValueError):
        return 0


def write_over(fd: int, text: str) -> None:
    """Replace the content of a file by `text`.

    Do not truncate it first: a full disk may not give the block back.
    """
    data = text.encode(errors="replace")
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Call `done` every 10 ms. Return whether it was true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


class Supervisor:
    """Runs the engine as its parent, as long as that has users.

    `lock` is the descriptor of supervisor.lock, which holds the lock.
    """

    def __init__(self, directory: str, kind: str, binary: str, lock: int) -> None:
        self.directory = directory
        self.kind = kind
        self.binary = binary
        self.lock = lock
        self.engine = 0  # the pid of the engine; 0: none runs
        self.bound = False  # whether this engine has made its socket
        self.answered = False  # whether it has loaded its files and answers
        self.failures = 0  # engines in a row that ended before they answered
        self.start_at = 0.0  # monotonic s; no engine starts before
        self.log_offset = 0  # bytes in engine.log when this engine started
        self.unused_since: float | None = None
        self.stopping = False
        self.prctl = _prctl()
        self.wake, self.alarm = os.pipe()

    def run(self) -> None:
        """Keep an engine running until nobody uses it, a signal stops us, or DIR is gone; then end it."""
        self._catch_signals()
        self._tell("")
        self._end_older_engine()
        if not self._recorded():
            self._record("")
        users: int | None = None
        try:
            while not self.stopping and self._directory_is_ours():
                self._reap()
                if self.engine:
                    self._look_after()
                elif not os.access(self.binary, os.X_OK):
                    self._note(f"{self.binary} is gone")  # the next supervisor gets another binary
                    break
                elif time.monotonic() >= self.start_at:
                    self._start()
                users = self._lock_if_unused()
                if users is not None:
                    break
                self._sleep(POLL if self.answered else STARTING_POLL)
        finally:
            self._end_engine()
        # The order matters: the next holder of the users' lock must find no supervisor.
        os.close(self.lock)
        if users is not None:
            os.close(users)

    def _catch_signals(self) -> None:
        # exec passes on blocked and ignored signals: an application may block some or ignore SIGCHLD.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.set_blocking(self.alarm, False)
        signal.set_wakeup_fd(self.alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _sleep(self, seconds: float) -> None:
        """Wait until a signal arrives or `seconds` are over."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 512)

    def _directory_is_ours(self) -> bool:
        """Return whether DIR is our working directory and has the lock file that we hold.

        Somebody may have deleted or moved DIR and made a new one, or put another folder in its place.
        """
        try:
            here = os.path.samefile(self.directory, ".")
            return here and os.path.samestat(os.stat(SUPERVISOR_LOCK), os.fstat(self.lock))
        except OSError:
            return False

    def _lock_if_unused(self) -> int | None:
        """Return the exclusive users' lock once it was free at every look for UNUSED seconds, else None."""
        fd = take_lock(USERS_LOCK, fcntl.LOCK_EX)
        if fd is None:
            self.unused_since = None
            return None
        now = time.monotonic()
        if self.unused_since is None:
            self.unused_since = now
        if now - self.unused_since >= UNUSED:
            return fd
        os.close(fd)
        return None

    # -- the engine's life --------------------------------------------------------------------------------

    def _start(self) -> None:
        self.bound = self.answered = False
        parent = os.getpid()
        try:
            _remove(SOCKET)
            self._open_log()
            self.engine = os.fork()
        except OSError as error:  # a full or read-only disk, or too many processes
            self._failed(str(error))
            return
        if self.engine == 0:
            self._become_engine(parent)

    def _open_log(self) -> None:
        """Make engine.log our standard output and error, and so those of an engine that we start.

        Tracebacks go there too. Rotate the file first if it is too long. A running engine opens it by name
        for each line, so it goes on in the new file.
        """
        if _size(LOG) > LOG_LIMIT:
            os.replace(LOG, LOG + ".1")
        log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.log_offset = os.fstat(log).st_size
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def _become_engine(self, parent: int) -> NoReturn:
        try:
            # Our handlers would swallow the signal that reports our parent's death.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()  # Ctrl-C on a terminal must not reach the engine
            # SIGTERM, not SIGKILL: so the engine writes what it has acknowledged but still buffers.
            self.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
            if os.getppid() != parent:
                os._exit(1)
            # Write the pid before exec, so that the next supervisor can find and end every engine.
            write_over(os.open(PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), f"{os.getpid()}\n")
            os.execv(self.binary, [self.binary, *options(self.directory)])  # noqa: S606
        except BaseException as error:
            os.write(2, f"{self.binary}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(1)

    def _reap(self) -> None:
        if not self.engine:
            return
        pid, status = os.waitpid(self.engine, os.WNOHANG)
        if pid == 0:
            return
        self.engine = 0
        ended = f"the engine ended with status {os.waitstatus_to_exitcode(status)}"
        if self.answered:
            self._note(f"{ended}; it is started again")
        else:
            self._failed(self._last_words() or ended)

    def _failed(self, reason: str) -> None:
        """Set the time of the next start, and tell users the reason after some failures.

        The first failure causes no pause, so that an engine that was killed while it loads is soon back.
        """
        self.failures += 1
        pause = min(0.05 * 2 ** (self.failures - 2), LONGEST_PAUSE) if self.failures > 1 else 0.0
        self.start_at = time.monotonic() + pause
        if self.failures >= FAILURES:
            disk = os.statvfs(".")
            self._tell(("the disk is full: " if disk.f_bavail == 0 else "") + f"{self.binary}: {reason}")

    def _last_words(self) -> str:
        """Return the last line that this engine wrote to its log, without pid and date, or an empty text."""
        try:
            with open(LOG, "rb") as file:
                file.seek(max(self.log_offset, os.path.getsize(LOG) - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        spoken = [line.strip() for line in lines if line.strip()]
        # "4733:M 21 Nov 2026 22:30:00.456 # Fatal error loading …": the mark is * or #
        return spoken[-1].split(" # ", 1)[-1].split(" * ", 1)[-1] if spoken else ""

    def _look_after(self) -> None:
        """Notice when a starting engine answers. Stop an engine whose socket has vanished. Rotate its log."""
        if _size(LOG) > LOG_LIMIT:
            with contextlib.suppress(OSError):
                self._open_log()
        if os.path.lexists(SOCKET):
            self.bound = True
        elif self.bound:  # for example, a cleaner of temporary files has deleted it
            os.kill(self.engine, signal.SIGTERM)
        if self.answered:
            return
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.2)
                connection.connect(SOCKET)
                connection.sendall(b"PING\r\n")
                if not connection.recv(512).startswith(b"+PONG"):  # "-LOADING"; INFO would answer
                    return
                connection.sendall(b"INFO server\r\n")
                reply = connection.recv(16384).decode(errors="replace")
        except OSError:
            return
        self.answered, self.failures = True, 0
        self._tell("")
        facts = dict(line.split(":", 1) for line in reply.split("\r\n") if ":" in line)
        self._record(facts.get(f"{self.kind}_version", ""))

    def _end_engine(self) -> None:
        if self.engine:
            os.kill(self.engine, signal.SIGTERM)
            if not wait_until(lambda: os.waitpid(self.engine, os.WNOHANG)[0] != 0, STOP_GRACE):
                os.kill(self.engine, signal.SIGKILL)
                os.waitpid(self.engine, 0)
        if self._directory_is_ours():
            _remove(SOCKET)
            _remove(PID_FILE)

    def _end_older_engine(self) -> None:
        """End the engine that a killed supervisor left: two engines would ruin one append-only directory."""
        pid = read_pid(PID_FILE)

        def gone() -> bool:
            return not runs_in(self.directory, pid, SOCKET)

        for number in (signal.SIGTERM, signal.SIGKILL):
            if gone():
                return
            os.kill(pid, number)
            if wait_until(gone, STOP_GRACE):
                return
        raise SystemExit(1)  # SIGKILL has no effect either: it hangs in the kernel, on its disk

    # -- files for other processes to read ----------------------------------------------------------------

    def _recorded(self) -> bool:
        """Return whether engine.json names our kind.

        Exit if data of another kind is there: the process that started us chose before these files were made.
        """
        try:
            with open(RECORD, "rb") as file:
                kind = json.load(file)["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if kind != self.kind and os.path.exists(DATA):
            raise SystemExit(1)
        return bool(kind == self.kind)

    def _record(self, version: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end an engine that can still read
            with open(RECORD + ".new", "w", encoding="ascii") as file:
                json.dump({"kind": self.kind, "version": version}, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(RECORD + ".new", RECORD)

    def _tell(self, trouble: str) -> None:
        """Write our pid to supervisor.lock, then the reason if the engine does not start."""
        with contextlib.suppress(OSError):
            write_over(self.lock, f"{os.getpid()}\n{trouble}\n" if trouble else f"{os.getpid()}\n")

    def _note(self, text: str) -> None:
        now = time.strftime("%d %b %Y %H:%M:%S")
        with contextlib.suppress(OSError), open(LOG, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{os.getpid()}:supervisor {now} * {text}\n")


def _size(path: str) -> int:
    return os.stat(path).st_size if os.path.exists(path) else 0


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _prctl() -> Callable[[int, int], Any]:
    """Return the system call prctl, or a function that does nothing without it (macOS) or without ctypes."""
    if sys.platform == "linux":
        try:
            import ctypes

            return ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            pass
    return lambda *_: 0


def main(directory: str, kind: str, binary: str) -> None:
    """Detach, then supervise, unless another supervisor of this DIR is alive."""
    if os.fork():
        os._exit(0)  # the process that started us waits for this one only
    os.umask(0o077)
    while (lock := take_lock(SUPERVISOR_LOCK, fcntl.LOCK_EX)) is None:
        other = take_lock(SUPERVISOR_LOCK, fcntl.LOCK_SH)
        if other is None:
            return  # a supervisor holds it
        os.close(other)
        time.sleep(0.01)  # a user holds it for a moment, to look for a supervisor
    Supervisor(directory, kind, binary, lock).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
