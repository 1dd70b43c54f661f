"""What `patauth doctor` finds in the folder of a `local:` store: its engine, its owner and its mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import ConfigurationError
from .finding import Finding, ok, problem, warning


def judge_folder(directory: Path) -> Iterator[Finding]:
    """Examine the folder as it is before the store is used, because its use sets the mode to 0700."""
    from ...store.local.binary import find_engine

    try:
        kind, binary = find_engine(directory)
    except ConfigurationError as trouble:
        yield problem("engine", f"{trouble}.", "Install an engine or name one, as described.")
    else:
        yield ok("engine", f"The engine is {kind}: {binary}.")
    try:
        status = directory.stat()
    except FileNotFoundError:
        yield ok("folder", f"{directory} does not exist yet; the first use creates a new, empty store there.")
        return
    except OSError as trouble:
        yield problem("folder", f"{directory}: {trouble.strerror}.", "Name another directory.")
        return
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        yield problem(
            "folder",
            f"{directory} belongs to uid {status.st_uid}, but this is uid {os.geteuid()}.",
            "Run everything that uses the store as the same user.",
        )
    elif mode & 0o077:
        yield warning(
            "folder",
            f"{directory} was open to other users (mode {mode:04o}).",
            "It is 0700 now, because it has been used; find out who changed it.",
        )
    else:
        yield ok("folder", f"{directory} is closed to other users (mode {mode:04o}).")
