"""The folder in which processes share their counts, which `PROMETHEUS_MULTIPROC_DIR` names.

prometheus-client keeps a few files there for each process. It maps them into memory, and makes them with
holes: on a full disk, the first write into a hole would end the process with SIGBUS. So the files are made
here before, without holes. A disk that is full then is an ordinary error.
"""

from __future__ import annotations

import os
from inspect import getclosurevars
from pathlib import Path

from ..concurrency.forks import hold_over_fork
from ..errors import ConfigurationError

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# What prometheus-client calls our files, and their bytes. A pair of operation and outcome takes 3.8 KB of the
# histograms, and there is room for 130; a service uses about 30, and 90 when the store has been away.
_FILES = {"counter": 1 << 16, "histogram": 1 << 19, "gauge_livesum": 1 << 14, "gauge_livemax": 1 << 14}


def folder_of_environment() -> Path | None:
    """Return the folder that the environment names, or None. Raise `ConfigurationError` if it is none."""
    named = os.environ.get(FOLDER)
    if named is None:
        return None
    if not named:
        raise ConfigurationError(f"{FOLDER}: it is empty; name a folder, or unset it")
    folder = Path(named)
    if not folder.is_dir():
        raise ConfigurationError(f"{FOLDER}: there is no folder {folder}; make it, with mode 0700")
    return folder


def prepare() -> None:
    """Make the files of this process, before prometheus-client writes to them.

    Raise `ConfigurationError`, and `OSError` if there is no room for them.
    """
    folder = folder_of_environment()
    if folder is None:
        return
    if not is_shared():
        raise ConfigurationError(
            f"{FOLDER}: prometheus_client was imported before it was set, so nothing would be shared; set it"
            " before the process starts"
        )
    for name, size in _FILES.items():
        _fill(folder / f"{name}_{os.getpid()}.db", size)


def is_shared() -> bool:
    """Return whether prometheus-client counts into the folder; it decides that when it is imported."""
    from prometheus_client.values import ValueClass

    return getattr(ValueClass, "_multiprocess", True)


def hold_lock_over_fork() -> None:
    """Hold the one lock of all shared counts over each fork: a child would wait for it for ever."""
    from prometheus_client.values import ValueClass

    lock = getclosurevars(ValueClass.get).nonlocals.get("lock")
    if lock is not None:
        hold_over_fork(lock)


def _fill(file: Path, size: int) -> None:
    """Make a file of `size` bytes without holes, or fill those of one that exists."""
    is_new = not file.exists()
    # Under another name at first: a file that is empty yet would break a scrape.
    path = file.with_suffix(".new") if is_new else file
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):  # macOS lacks it
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, max(size, os.fstat(descriptor).st_size))
        if is_new:
            path.rename(file)
    except OSError:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
