"""The process of the gRPC port, next to gunicorn's: it is started again when it dies, and ends with them.

grpcio does not stand a fork, and gunicorn forks its workers. So the port is served by a program of its own,
which this process never imports.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Sequence

from ...concurrency.forks import hold_over_fork

_log = logging.getLogger("patauth")

PAUSE = 1.0  # s before one that died is started again
_STOP_SECONDS = 15.0  # until it is killed; it stops by itself sooner


class GrpcProcess:
    """Keeps a command running until `stop()`. The command ends when its standard input does."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._over = threading.Event()
        self._restarting = False
        # A worker that is forked meanwhile would hold the pipe by which `Popen` hears of the start.
        self._starting = threading.Lock()
        hold_over_fork(self._starting)
        self._process = self._start()
        threading.Thread(target=self._keep, daemon=True).start()

    def restart(self) -> None:
        """Start the command again, once it has answered what is in flight."""
        self._restarting = True
        self._process.terminate()

    def stop(self) -> None:
        """End the command."""
        self._over.set()
        process = self._process
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # gRPC's own log repeats what any client may cause, and is of no use to an operator.
        environ = {"GRPC_VERBOSITY": "NONE", **os.environ}
        with self._starting:
            # In a session of its own, so that Ctrl-C reaches this process alone, which then stops that one.
            return subprocess.Popen(  # noqa: S603 - this program, with its own arguments
                self._command, stdin=subprocess.PIPE, env=environ, start_new_session=True
            )

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if not self._restarting and not self._over.is_set():
                _log.error("the process of the gRPC port has ended; it is started again in %g s", PAUSE)
                self._over.wait(PAUSE)
            if self._over.is_set():
                return
            self._restarting = False
            self._process = self._start()
