"""The metrics of `patauth serve`: a folder in which its processes count, and a port that shows the sums."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler

from ...authority import Authority
from ...errors import ConfigurationError
from ...files import check_parents, why_untrusted
from ...observe.shared import FOLDER, folder_of_environment
from ...settings import Settings
from ..metrics import open_registry

_log = logging.getLogger("patauth")

_PREFIX = "patauth-metrics-"
_YOUNG = 60.0  # s in which a folder may have no lock yet
_SILENCE = 10.0  # s for which a client may send nothing


@contextmanager
def metrics_folder() -> Iterator[None]:
    """Have a folder in the environment in which processes share their counts, and remove it at the end.

    One that the environment names already is used and stays. Enter this before prometheus-client is imported.
    Raise `ConfigurationError`.
    """
    named = folder_of_environment()
    if named is not None:
        _check(named)
        _clean(named)
        _import_client()
        yield
        return
    _remove_forgotten()
    made, process = mkdtemp(prefix=_PREFIX), os.getpid()  # 0700
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # so systemd-tmpfiles does not take it for forgotten (tmpfiles.d)
    os.environ[FOLDER] = made
    try:
        _import_client()
        yield
    finally:
        if os.getpid() == process:  # a worker ends here too
            del os.environ[FOLDER]
            shutil.rmtree(made, ignore_errors=True)
            os.close(lock)


def _import_client() -> None:
    """Import what `forget_process` needs: it runs in a thread.

    A worker that is forked while that thread imports would wait for the import for ever.
    """
    import prometheus_client.multiprocess  # noqa: F401


def _check(folder: Path) -> None:
    """Raise `ConfigurationError` if others can add counts to the folder, or can replace it."""
    problem = why_untrusted(folder, folder.stat(), of_code=True)
    if problem:
        raise ConfigurationError(f"{FOLDER}: {problem}")
    check_parents(folder.resolve())


def _clean(folder: Path) -> None:
    """Remove files that are empty, which break each scrape, and the state of processes that were killed."""
    for file in folder.glob("*.db"):
        *kind, pid = file.stem.split("_")
        is_left = kind[:1] == ["gauge"] and kind[-1].startswith("live") and not _is_alive(pid)
        if is_left or file.stat().st_size == 0:
            file.unlink(missing_ok=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def _remove_forgotten() -> None:
    """Remove the folders of services that were killed: nobody holds their lock."""
    for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or a service that runs holds its lock
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(lock)
                if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _YOUNG:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def forget_process(pid: int) -> None:
    """Take the state of a process that has ended out of the sums, such as its connections.

    What it has counted stays in them.
    """
    from prometheus_client.multiprocess import mark_process_dead

    folder = os.environ.get(FOLDER)
    if folder is not None:  # else the service has ended
        with suppress(FileNotFoundError):
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def open_authority(settings: Settings) -> Authority:
    """Return an Authority. One that cannot count, such as without the folder, serves without metrics."""
    try:
        return Authority(settings)
    except ConfigurationError as problem:
        if not settings.metrics:
            raise
        authority = Authority(replace(settings, metrics=False))
        _log.error("metrics: this process counts nothing: %s", problem)
        return authority


def forget_worker(server: Any, worker: Any) -> None:
    """Forget a worker of gunicorn, which calls this at its end."""
    forget_process(worker.pid)


class _Handler(WSGIRequestHandler):
    """Answers a scrape. It logs nothing, and hangs up on a client that is silent."""

    timeout = _SILENCE

    def handle(self) -> None:
        with suppress(TimeoutError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


def serve(authority: Authority, *, host: str, port: int, started: Callable[[], None]) -> None:
    """Serve the metrics until SIGTERM, SIGINT, or the end of standard input; call `started` first."""
    from prometheus_client import start_http_server

    def stop(*_: object) -> NoReturn:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server, _ = start_http_server(port, host, open_registry(authority))
    server.RequestHandlerClass = _Handler
    started()
    sys.stdin.buffer.read()  # nothing is sent to it, so what can be read is its end
