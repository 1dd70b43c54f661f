"""Build the wheel and the sdist as they are published, read what is in them, and use both.

    python -m tests.packages [--dist FOLDER]      needs patauth[release]

They have what is committed and nothing else. The wheel that pip makes of the sdist is the wheel that is made
of the tree. On each Python from 3.11 that is found, the wheel is installed alone, then with the extra `demo`,
and `patauth demo --once` runs; on the running Python, with the sdist as well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import click

from tests.support.paths import ROOT
from tests.support.processes import environment
from tests.support.venvs import install, new_venv, pythons

NOT_PUBLISHED = (".ci",)  # of what is committed
DEMOS = ((), ("--page",))
NO_ADDRESS = "https://patauth.example"  # stands in pyproject.toml until the repository has a public address


def run(*words: str | Path, folder: Path = ROOT) -> str:
    """Run a command and return what it prints; raise `click.ClickException` with that if it fails."""
    kept = environment(PYTHONPATH="")  # nothing of the tree is importable but what is installed
    command = list(map(str, words))
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def built(folder: Path, *what: str) -> Path:
    """Build the sdist and of it the wheel, or what is said, into a folder, and return that."""
    run(sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, *what)
    return folder


def committed() -> set[str]:
    """Return the path of each file of the tree that is to be published."""
    names = run("git", "ls-files", "-z").split("\0")[:-1]
    return {name for name in names if PurePosixPath(name).parts[0] not in NOT_PUBLISHED}


def contents(wheel: Path) -> dict[str, bytes]:
    """Return path -> bytes of each file in a wheel."""
    with ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def names(sdist: Path) -> set[str]:
    """Return the path of each file in an sdist, without the folder that all are in."""
    with tarfile.open(sdist) as file:
        return {one.name.partition("/")[2] for one in file if not one.isdir()}


def compare(what: str, found: set[str], wanted: set[str]) -> None:
    """Raise `click.ClickException` unless both are the same."""
    lines = [f"  is not committed: {name}" for name in sorted(found - wanted)]
    lines += [f"  is missing: {name}" for name in sorted(wanted - found)]
    if lines:
        raise click.ClickException("\n".join([f"{what} has not what is committed:", *lines]))


def check_contents(sdist: Path, wheel: Path, of_the_tree: Path) -> None:
    """Compare the files with the tree and with each other."""
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    wanted = committed()
    compare(sdist.name, names(sdist) - {"PKG-INFO"}, wanted)
    files = contents(wheel)
    modules = {name for name in files if ".dist-info/" not in name}
    compare(wheel.name, modules, {name for name in wanted if name.startswith("patauth/")})
    if files != contents(of_the_tree):
        raise click.ClickException("the wheel made of the sdist is not the wheel made of the tree")
    click.echo(
        f"{sdist.name}: {len(wanted)} files; {wheel.name}: {len(modules)} files, the same of the sdist"
    )


def use(package: Path, python: str, folder: Path) -> None:
    """Install a wheel or sdist alone, then with its extra `demo`, and let the demo tell its story."""
    there = new_venv(folder, python)
    programs = there.parent
    install(there, package)
    run(there, "-c", "import patauth; [getattr(patauth, name) for name in patauth.__all__]", folder=folder)
    found = run(programs / "patauth", "--version", folder=folder).split()[-1]
    install(there, f"{package}[demo]")
    for options in DEMOS:
        run(programs / "patauth", "demo", "--once", "--quiet", *options, folder=folder)
    version = run(there, "-c", "import platform; print(platform.python_version())", folder=folder).strip()
    click.echo(f"Python {version}: {package.name} installs, is {found}, and its demo works")


@click.command(help=__doc__.partition("\n")[0])
@click.option("--dist", type=click.Path(path_type=Path, file_okay=False), help="Keep both in this folder.")
def main(dist: Path | None) -> None:
    """Build, compare, install and use them; stop at the first thing that is wrong."""
    if dist and NO_ADDRESS in (ROOT / "pyproject.toml").read_text("utf-8"):
        raise click.ClickException(
            f"pyproject.toml has {NO_ADDRESS}: put the repository's address there, or leave out --dist"
        )
    with tempfile.TemporaryDirectory(prefix="patauth-packages-") as name:
        folder = Path(name)
        both = built(folder / "dist")
        (sdist,), (wheel,) = both.glob("*.tar.gz"), both.glob("*.whl")
        (of_the_tree,) = built(folder / "tree", "--wheel").glob("*.whl")
        check_contents(sdist, wheel, of_the_tree)
        for version, python in pythons().items():
            use(wheel, python, folder / version)
        use(sdist, sys.executable, folder / "sdist")
        if dist:
            dist.mkdir(parents=True, exist_ok=True)
            for file in (sdist, wheel):
                shutil.move(file, dist / file.name)


if __name__ == "__main__":
    main()
