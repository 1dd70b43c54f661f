"""A process next to gunicorn's, for a port of its own: it is started again when it dies, and ends with them.

gunicorn speaks HTTP/1.1 on the service's own address, and forks its workers. So an event loop for gRPC, and a
port for metrics that clients do not reach, have to be programs of their own.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from ...concurrency.forks import hold_over_fork

_log = logging.getLogger("patauth")

PAUSE = 1.0  # s before one that died is started again, and twice as long each time
LONGEST_PAUSE = 60.0  # s; one that lives longer begins with the shortest pause again
_STOP_SECONDS = 15.0  # until it is killed; it stops by itself sooner


class SideProcess:
    """Keeps a command running until `stop()`. The command ends when its standard input does.

    `port` says in the log what it serves. `ended` is called with the id of each process that has ended.
    """

    def __init__(self, command: Sequence[str], *, port: str, ended: Callable[[int], object]) -> None:
        self._command = command
        self._port = port
        self._ended = ended
        self._asked = threading.Event()  # to restart, or to stop; its end is no accident then
        self._over = False
        # A worker that is forked meanwhile would hold the pipe by which `Popen` hears of the start.
        self._starting = threading.Lock()
        hold_over_fork(self._starting)
        self._process = self._start()
        threading.Thread(target=self._keep, daemon=True).start()

    def restart(self) -> None:
        """Start the command again, once it has answered what is in flight; at once if it has died."""
        self._asked.set()
        threading.Thread(target=self._end, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """End the command."""
        self._over = True
        self._asked.set()
        self._end(self._process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning(
                "the process of the %s port did not end in %g s, so it is killed", self._port, _STOP_SECONDS
            )
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._starting:
            # In a session of its own, so that Ctrl-C reaches this process alone, which then stops that one.
            return subprocess.Popen(  # noqa: S603 - this program, with its own arguments
                self._command, stdin=subprocess.PIPE, start_new_session=True
            )

    def _keep(self) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            with self._process:  # closes its standard input
                self._process.wait()
            self._ended(self._process.pid)
            if not self._asked.is_set():
                pause = next_pause(pause, time.monotonic() - began)
                # systemd ends all processes of a service at once. Then the end of this one is soon asked for,
                # and is no error. Its exit code would not tell: gunicorn may have taken it.
                if not self._asked.wait(PAUSE):
                    _log.error(
                        "the process of the %s port has ended; it is started again %g s after its end",
                        self._port,
                        pause,
                    )
                    self._asked.wait(pause - PAUSE)
            if self._over:
                return
            self._asked.clear()
            self._process = self._start()


def next_pause(last: float, lived: float) -> float:
    """Return the pause (s) before a start, from the last one and from how long (s) the command lived."""
    return PAUSE if lived > LONGEST_PAUSE else min(max(2 * last, PAUSE), LONGEST_PAUSE)
