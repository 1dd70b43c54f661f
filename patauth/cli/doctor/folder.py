"""What `patauth doctor` finds in the folder of a `local:` store: its engine, its owner and its mode."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import ConfigurationError
from .finding import Finding, ok, problem, warning


def judge_folder(directory: Path) -> Iterator[Finding]:
    """Examine the folder as it is before the store is used, because its use sets the mode to 0700."""
    from ...store.local.binary import find_engine
    from ...store.local.folder import check_folder

    try:
        kind, binary = find_engine(directory)
    except ConfigurationError as trouble:
        yield problem("engine", f"{trouble}.", "Install an engine or name one, as described.")
    else:
        yield ok("engine", f"The engine is {kind}: {binary}.")
    try:
        check_folder(directory)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except ConfigurationError as trouble:
        yield problem("folder", f"{trouble}.", "Correct it as described, or name another directory.")
        return
    except FileNotFoundError:
        yield ok("folder", f"{directory} does not exist yet; the first use creates a new, empty store there.")
        return
    if mode & 0o077:
        yield warning(
            "folder",
            f"{directory} was open to other users (mode {mode:04o}).",
            "It is 0700 now, because it has been used; find out who changed it.",
        )
    else:
        yield ok("folder", f"{directory} is closed to other users (mode {mode:04o}).")
