"""patauth as pip leaves it, for programs that a test starts elsewhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.support.paths import ROOT


def installed(folder: Path) -> str:
    """Return a folder for PYTHONPATH in which Python finds patauth alone, and pytest its entry point."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    metadata = folder / "site" / "patauth_of_the_test-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata.parent / "patauth").symlink_to(ROOT / "patauth")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: patauth-of-the-test\nVersion: 0\n")
    lines = ["[pytest11]", *(f"{name} = {module}" for name, module in points["pytest11"].items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return str(metadata.parent)
