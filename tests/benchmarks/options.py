"""What the command line says, and the servers that parts run by it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import free_port
from tests.support.sentinels import Member
from tests.support.servers import Server

from .measure import Pinning


@dataclass(frozen=True, slots=True)
class Options:
    """Holds what the command line says."""

    binary: str  # of the engine
    pinning: Pinning
    rounds: int
    calls: int
    smoke: bool
    pats: tuple[int, ...]
    seconds: int
    owners: int

    @contextmanager
    def server(self, *, tcp: bool = False, file: bool = False) -> Iterator[tuple[Server, Path]]:
        """Run a server; yield it and a folder, which parts may use. Remove both afterwards.

        `tcp`: on a port of 127.0.0.1, not on a unix socket. `file`: it writes an append-only file (everysec).
        """
        folder = Path(tempfile.mkdtemp(prefix="patauth-bench-"))
        writes = ("--appendonly", "yes" if file else "no", "--auto-aof-rewrite-percentage", "0")
        try:
            server = (
                Member(self.binary, folder / "member", free_port(), *writes)
                if tcp
                else Server(self.binary, folder, *writes)
            )
            try:
                yield server, folder
            finally:
                server.stop()
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def pinned_server(self, *, tcp: bool = False, file: bool = False) -> Iterator[tuple[Server, Path]]:
        """Run a server like `server`, with client and server pinned to their CPUs."""
        self.pinning.pin_client()
        try:
            with self.server(tcp=tcp, file=file) as (server, folder):
                self.pinning.pin_server(server.process.pid)
                yield server, folder
        finally:
            self.pinning.undo()
