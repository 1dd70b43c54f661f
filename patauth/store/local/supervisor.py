"""Run and watch the engine of one `local:` directory: a detached process, one for each directory.

    python -I -S -B supervisor.py DIR KIND BINARY          (started by local.py with DIR as working directory)

A script of its own that needs the standard library alone: it starts in some 20 ms, carries none of the
application's memory, secrets or descriptors, and outlives whoever started it.

What is in DIR, and who holds it:

    users.lock         flock: shared by every process that uses the engine; probed here
    supervisor.lock    flock: exclusive, for the life of this process. Its text: our pid, then why the engine
                       does not start, if it does not
    engine.json        {"kind": "valkey" | "redis", "version": "9.1.2"} that wrote the files
    engine.pid .sock .log   of the engine; appendonlydir/ is its data

The kernel gives a lock back however its holder ends, so no death, SIGKILL included, leaves one behind.
The exit status is 0 or 1: gunicorn's arbiter inherits us where it is process 1, and would take 3 or 4
for one of its workers that cannot boot.
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

POLL = 0.5  # s between two looks at users.lock; a death wakes us at once
STARTING_POLL = 0.02  # s between two looks at an engine that does not answer yet
UNUSED = 3.0  # s without a user until the engine is stopped; bridges one command after another
STOP_GRACE = 4.0  # s from SIGTERM to SIGKILL; UNUSED + POLL + STOP_GRACE is below the promised 10 s
FAILURES = 4  # failed starts in a row until users are told; the pause grows from 0 to LONGEST_PAUSE
LONGEST_PAUSE = 1.0  # s
LOG_LIMIT = 1 << 20  # bytes of engine.log, looked at when an engine starts; one older file is kept

PR_SET_PDEATHSIG = 1


def options(directory: str) -> list[str]:
    """The engine's command line behind the binary; valid for Redis 7.0 and later and for Valkey."""
    settings = {
        "port": "0",
        "unixsocket": SOCKET,  # relative: an absolute one may be longer than a socket address
        "unixsocketperm": "700",
        "dir": directory,
        "daemonize": "no",
        "logfile": LOG,
        "set-proc-title": "no",  # `ps` shows DIR, and an engine is known again by its command line
        "appendonly": "yes",
        "appendfsync": "everysec",
        "hz": "100",  # WAITAOF is answered at the next tick: 6 ms in place of 80
        "aof-load-truncated": "yes",  # a torn last write after SIGKILL was never acknowledged
        "save": "",
        "maxmemory-policy": "noeviction",
        "shutdown-on-sigterm": "force",  # a running rewrite must not keep the engine from ending
    }
    # No pidfile: the engine would remove its own before it ends, and be taken for gone while it still
    # has the socket to unlink, which could by then be its successor's.
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def take_lock(path: str, operation: int) -> int | None:
    """Open `path`, made if missing, and flock it (LOCK_SH or LOCK_EX); None if a holder is in the way."""
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
    """Whether `pid` is alive, works in `directory` and has `word` in its command line.

    A pid file alone proves nothing: the number may belong to someone else by now.
    """
    try:
        if pid <= 1:
            return False
        os.kill(pid, 0)
        if os.path.isdir("/proc/self"):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()  # empty for a zombie
            return word.encode() in command and os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:  # gone, or not ours to look at and so none of ours
        return False
    import subprocess

    command = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, check=False
    ).stdout
    return not command.startswith(b"Z") and word.encode() in command and os.fsencode(directory) in command


def read_pid(path: str) -> int:
    """The number in the first line of `path`; 0 if there is none."""
    try:
        with open(path, "rb") as file:
            return int(file.readline(32))
    except (OSError, ValueError):
        return 0


def write_over(fd: int, text: str) -> None:
    """Make `text` what the file holds, without giving its block back first: a full disk may not return it."""
    data = text.encode(errors="replace")
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Look every 10 ms; False if `done` did not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


class Supervisor:
    """The parent of the engine while that has users. `lock` is the descriptor of supervisor.lock, held."""

    def __init__(self, directory: str, kind: str, binary: str, lock: int) -> None:
        self.directory = directory
        self.kind = kind
        self.binary = binary
        self.lock = lock
        self.engine = 0  # its pid, 0 when there is none
        self.bound = False  # this engine has made its socket
        self.answered = False  # it has loaded its files and answers
        self.failures = 0  # engines in a row that ended before they answered
        self.start_at = 0.0  # monotonic s; not before
        self.log_offset = 0  # bytes in engine.log when this engine was started
        self.unused_since: float | None = None
        self.stopping = False
        self.prctl = _prctl()
        self.wake, self.alarm = os.pipe()

    def run(self) -> None:
        """Keep an engine running until nobody uses it, someone stops us, or DIR is gone; then end it."""
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
                    self._note(f"{self.binary} is gone")  # whoever looks for an engine next finds another
                    break
                elif time.monotonic() >= self.start_at:
                    self._start()
                users = self._lock_if_unused()
                if users is not None:
                    break
                self._sleep(POLL if self.answered else STARTING_POLL)
        finally:
            self._end_engine()
        # In this order: who gets the users' lock next must find no supervisor.
        os.close(self.lock)
        if users is not None:
            os.close(users)

    def _catch_signals(self) -> None:
        # Both are inherited through exec: an application may ignore SIGCHLD or block signals in its threads.
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
        """Until a signal arrives or `seconds` are over."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 512)

    def _directory_is_ours(self) -> bool:
        """Whether DIR, which may have been removed and made anew, still holds the lock that we hold."""
        try:
            return os.path.samestat(os.stat(SUPERVISOR_LOCK), os.fstat(self.lock))
        except OSError:
            return False

    def _lock_if_unused(self) -> int | None:
        """The exclusive users' lock, once it could be had at every look for UNUSED seconds."""
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
        except OSError as error:  # a full or read-only disk, or no process to be had
            self._failed(str(error))
            return
        if self.engine == 0:
            self._become_engine(parent)

    def _open_log(self) -> None:
        """Make engine.log our standard output and error, and so the engine's: it takes tracebacks too."""
        if os.path.exists(LOG) and os.path.getsize(LOG) > LOG_LIMIT:
            os.replace(LOG, LOG + ".1")
        log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.log_offset = os.fstat(log).st_size
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def _become_engine(self, parent: int) -> NoReturn:
        try:
            # A handler of ours would swallow the signal that stands for our parent's death.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()  # Ctrl-C on a terminal is not for the engine
            # SIGTERM, not SIGKILL: what is acknowledged but still in the engine's buffer gets written.
            self.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
            if os.getppid() != parent:
                os._exit(1)
            # Before exec, so that no engine is ever without: our successor finds and ends it.
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
        """The first failure is tried again at once, so that an engine killed while it loads is back soon."""
        self.failures += 1
        pause = min(0.05 * 2 ** (self.failures - 2), LONGEST_PAUSE) if self.failures > 1 else 0.0
        self.start_at = time.monotonic() + pause
        if self.failures >= FAILURES:
            disk = os.statvfs(".")
            self._tell(("the disk is full: " if disk.f_bavail == 0 else "") + f"{self.binary}: {reason}")

    def _last_words(self) -> str:
        """The last line that this engine wrote to its log, without pid and date; empty if it wrote none."""
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
        """See that a starting engine comes to answer, and that its socket stays."""
        if os.path.lexists(SOCKET):
            self.bound = True
        elif self.bound:  # a cleaner of temporary files, say
            os.kill(self.engine, signal.SIGTERM)
        if self.answered:
            return
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.2)
                connection.connect(SOCKET)
                connection.sendall(b"PING\r\n")
                if not connection.recv(512).startswith(b"+PONG"):  # "-LOADING"; INFO is answered meanwhile
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

            def gone() -> bool:
                return os.waitpid(self.engine, os.WNOHANG)[0] != 0

            if not wait_until(gone, STOP_GRACE):
                os.kill(self.engine, signal.SIGKILL)
                os.waitpid(self.engine, 0)
        if self._directory_is_ours():
            _remove(SOCKET)
            _remove(PID_FILE)

    def _end_older_engine(self) -> None:
        """Two engines on one append-only directory would ruin it: end what a killed supervisor left."""
        pid = read_pid(PID_FILE)

        def gone() -> bool:
            return not runs_in(self.directory, pid, SOCKET)

        for number in (signal.SIGTERM, signal.SIGKILL):
            if gone():
                return
            os.kill(pid, number)
            if wait_until(gone, STOP_GRACE):
                return
        raise SystemExit(1)  # not even SIGKILL: it hangs in the kernel, on its disk

    # -- what we leave for others to read -----------------------------------------------------------------

    def _recorded(self) -> bool:
        """Whether engine.json names our kind. If another: our starter chose before these files were made."""
        try:
            with open(RECORD, "rb") as file:
                kind = json.load(file)["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if kind != self.kind and os.path.exists(DATA):
            raise SystemExit(1)
        return bool(kind == self.kind)

    def _record(self, version: str) -> None:
        with contextlib.suppress(OSError):  # a full disk shall not end an engine that can still read
            with open(RECORD + ".new", "w", encoding="ascii") as file:
                json.dump({"kind": self.kind, "version": version}, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(RECORD + ".new", RECORD)

    def _tell(self, trouble: str) -> None:
        """Our pid, and for users that wait in vain why the engine does not start."""
        with contextlib.suppress(OSError):
            write_over(self.lock, f"{os.getpid()}\n{trouble}\n" if trouble else f"{os.getpid()}\n")

    def _note(self, text: str) -> None:
        now = time.strftime("%d %b %Y %H:%M:%S")
        with contextlib.suppress(OSError), open(LOG, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{os.getpid()}:supervisor {now} * {text}\n")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _prctl() -> Callable[[int, int], Any]:
    """The system call of that name; does nothing where there is none (macOS) or Python has no ctypes."""
    if sys.platform == "linux":
        try:
            import ctypes

            return ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            pass
    return lambda *_: 0


def main(directory: str, kind: str, binary: str) -> None:
    """Detach, then supervise, unless another supervisor of this DIR lives."""
    if os.fork():
        os._exit(0)  # our starter waits for this one and is rid of us
    os.umask(0o077)
    while (lock := take_lock(SUPERVISOR_LOCK, fcntl.LOCK_EX)) is None:
        other = take_lock(SUPERVISOR_LOCK, fcntl.LOCK_SH)
        if other is None:
            return  # a supervisor holds it
        os.close(other)
        time.sleep(0.01)  # only users did, which look for a supervisor
    Supervisor(directory, kind, binary, lock).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
