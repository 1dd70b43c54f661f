"""Files of keys and secrets as a careful person makes them: for nobody else to read."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, content: bytes | str) -> None:
    """Write a file with mode 0600, which is also what an older file has afterwards."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content if isinstance(content, bytes) else content.encode())
