"""Virtual environments for packages under test, and the Pythons of this machine to make them with.

uv resolves, downloads and installs; it is part of the extra `release`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from tests.support.paths import ROOT


def uv(*words: str | Path) -> str:
    """Run uv in the tree and return what it prints; its messages go to stderr."""
    command = [find_uv_bin(), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def pythons() -> dict[str, str]:
    """Return "3.N" -> interpreter, the running Python first, of each version that patauth is made for.

    They are looked for on PATH and among pyenv's.
    """
    running = ".".join(map(str, sys.version_info[:2]))
    found = {running: sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    folders = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob("*/bin"))]
    for binary in (path for folder in folders for path in sorted(folder.glob("python3.*"))):
        named = re.fullmatch(r"python3\.(\d+)", binary.name)
        if named and int(named[1]) >= 11 and _is_there(binary):
            found.setdefault(f"3.{named[1]}", str(binary))
    return found


def _is_there(binary: Path) -> bool:
    """Say whether it can make virtual environments: pyenv has shims for versions that are not switched on."""
    words = [str(binary), "-c", "import venv, sys; print(sys.version_info[:2])"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def new_venv(folder: Path, python: str) -> Path:
    """Make an empty virtual environment and return its interpreter."""
    uv("venv", "--quiet", "--python", python, folder)
    return folder / "bin" / "python"


def install(python: Path, *words: str | Path) -> None:
    """Install into the environment of `python`, and check that nothing there contradicts another."""
    uv("pip", "install", "--quiet", "--python", python, *words)
    uv("pip", "check", "--quiet", "--python", python)
