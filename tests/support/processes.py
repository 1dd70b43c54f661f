"""The command `patauth` in a process of its own, and what runs on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.paths import ROOT


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


PATAUTH = [sys.executable, "-m", "patauth"]


def patauth_on_path(directory: Path) -> Path:
    """Make the command `patauth` in a directory, for a shell's PATH; return the directory."""
    command = directory / "patauth"
    command.write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c \"import sys; sys.argv[0] = 'patauth';"
        ' from patauth.__main__ import main; main()" "$@"\n'
    )
    command.chmod(0o755)
    return directory


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PATAUTH_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def into_a_full_disk(words: list[str]) -> subprocess.CompletedProcess[str]:
    with open("/dev/full", "w") as full:
        return subprocess.run(
            words, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )


def processes(directory: Path) -> list[str]:
    """The command lines of all that works below `directory` or names it."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = os.readlink(entry / "cwd")
                if str(directory) in command or where.startswith(str(directory)):
                    found.append(command)
    return found


class Terminal:
    """A command with a terminal of its own as standard input, and as stderr.

    `columns`: stdout is on the terminal, too, which is so wide. `more`: variables of its environment.
    """

    def __init__(
        self, *words: str, command: Sequence[str] = PATAUTH, columns: int | None = None, **more: str
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, columns or 80))
        self.process = subprocess.Popen(
            [*command, *words], env=environment(**more), stdin=theirs, stderr=theirs,
            stdout=theirs if columns else subprocess.PIPE,
            start_new_session=True, text=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read what is shown until `text` is there."""
        deadline = time.monotonic() + 20
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 4096).decode()
        assert text in self.shown

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, once it waits for the keyboard: on its way there, Python may lose one."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + 20
        while stat.read_text().rpartition(")")[2].split()[0] != "S" and time.monotonic() < deadline:
            time.sleep(0.01)
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str | None]:
        """The exit code and stdout; None: it is among what is `shown`."""
        stdout, _ = self.process.communicate(timeout=20)
        with contextlib.suppress(OSError):  # EIO: nothing more
            while chunk := os.read(self._ours, 4096):
                self.shown += chunk.decode()
        os.close(self._ours)
        return self.process.returncode, stdout
