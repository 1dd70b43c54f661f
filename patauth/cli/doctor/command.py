"""`patauth doctor`: examine everything that patauth's promises rest on, and say what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ..context import Failure, named_settings, options, printable
from ..options import Command
from ..output import print_json
from .finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_UNREACHABLE = 5


@click.command(cls=Command, short_help="Look for anything that breaks patauth's promises.")
def doctor() -> None:
    """Look for anything that breaks patauth's promises, and say what to do about it.

    It examines the store (connection, version, persistence, eviction, memory, replication, clock, key) with
    all of its nodes, the folder of a local: store, the files of secrets and signing keys, the settings, the
    functions that they name, and this installation. It also examines gunicorn's configuration if
    gunicorn.conf.py is in the working directory or GUNICORN_CMD_ARGS is set. Facts that the server does not
    tell this user are reported as unknown.

    The exit code is 0 if there are no problems (warnings do not count), 1 if there are, and 5 if the store
    cannot be reached.

    \b
    Examples:
      patauth doctor --store local:./patauth-data
      patauth doctor --output json | jq -r '.findings[] | select(.level != "ok")'
    """
    # Together they take 4 ms, which every command would pay for.
    from .files import judge_files
    from .gunicorn import judge_gunicorn
    from .installation import judge_installation
    from .page import judge_page
    from .settings import judge_settings
    from .store import judge_store

    settings = named_settings()
    store = judge_store(settings)
    findings = [
        *store.findings,
        *judge_settings(settings, store.facts),
        *judge_page(settings),
        *judge_files(settings, os.environ),
        *judge_installation(),
        *judge_gunicorn(os.environ, Path.cwd(), settings.trusted_proxies),
    ]
    _show(findings)
    if not store.reachable:
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
