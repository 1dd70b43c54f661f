"""Run tests with the lowest versions that pyproject.toml allows, or with the newest.

    python -m tests.dependencies lowest|newest [--python 3.N] [PYTEST WORDS]      needs patauth[release]

`lowest` takes the floor of each requirement of patauth and its extras, and the newest of what these need in
turn; `newest` the newest that their ceilings let in. They are installed into a virtual environment of their
own and printed, and pytest runs there: the whole default tier, unless its words say what. The exit code is
pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from itertools import chain
from pathlib import Path

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT
from tests.support.venvs import install, new_venv, pythons, uv

RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
# An old release may use what a newer one of another package has deprecated, which is no fault of ours.
OPTIONS = {"lowest": ("-W", "ignore::DeprecationWarning"), "newest": ()}
EXTRA = "test"  # has all others, but for what `tests.mutation` and this need


def resolved(resolution: str, python: str) -> dict[str, str]:
    """Choose versions of all that the tests need: canonical name -> version."""
    lines = uv(
        *("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", python),
        *("--resolution", RESOLUTIONS[resolution], "--extra", EXTRA, "pyproject.toml"),
    ).splitlines()
    pinned = (Requirement(line) for line in lines)
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in pinned}


def requirements() -> list[Requirement]:
    """List what pyproject.toml requires by name, patauth's own extras left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    return [one for one in map(Requirement, sorted(set(lines))) if one.name != project["name"]]


@click.command(help=__doc__.partition("\n")[0], context_settings={"ignore_unknown_options": True})
@click.argument("resolution", type=click.Choice(list(RESOLUTIONS)))
@click.option("--python", "wanted", metavar="3.N", help="Another Python, on PATH or among pyenv's.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(resolution: str, wanted: str | None, arguments: tuple[str, ...]) -> None:
    """Make the environment, print what is in it, and run pytest there."""
    found = pythons()
    if wanted and wanted not in found:
        raise click.ClickException(f"no Python {wanted} on PATH or among pyenv's: give {', '.join(found)}")
    python = found[wanted] if wanted else sys.executable
    versions = resolved(resolution, python)
    for one in requirements():
        if chosen := versions.get(canonicalize_name(one.name)):
            click.echo(f"{one!s:45} {chosen}")
    with tempfile.TemporaryDirectory(prefix=f"patauth-{resolution}-") as folder:
        pins = Path(folder, "requirements.txt")
        pins.write_text("".join(f"{name}=={chosen}\n" for name, chosen in versions.items()))
        there = new_venv(Path(folder, "venv"), python)
        install(there, "-r", pins, "--no-deps", "-e", ROOT)
        paths = os.pathsep.join([str(there.parent), os.environ["PATH"]])
        command = [there, "-m", "pytest", "-p", "no:cacheprovider", *OPTIONS[resolution], *arguments]
        sys.exit(subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": paths}, check=False).returncode)


if __name__ == "__main__":
    main()
