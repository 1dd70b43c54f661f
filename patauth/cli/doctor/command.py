"""`patauth doctor`: examine everything that patauth's promises rest on, and say what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click

from ..context import Failure, is_store_named, named_settings, options, printable
from ..options import Command
from ..output import print_json
from .finding import Finding, warning

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_UNREACHABLE = 5
_NOT_EXAMINED = warning(
    "store",
    "No store is named, so it was not examined.",
    "Give --store URL or set PATAUTH_STORE_URL, as the app has it.",
)


def _checked_url(_: click.Context, __: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as problem:
        raise click.BadParameter(f"{problem}.") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[^!-~]", url):
        raise click.BadParameter("Give one such as https://app.example/protected.")
    if "@" in parts.netloc or parts.fragment:
        raise click.BadParameter("Leave out user, password and fragment.")
    return url


@click.command(cls=Command, short_help="Look for anything that breaks patauth's promises.")
@click.option("--url", metavar="URL", callback=_checked_url, help="Ask this URL of the running app, too.")
@click.option(
    "--server-config",
    "configurations",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Read this file of Apache, nginx or uWSGI, too. May be repeated.",
)
def doctor(url: str | None, configurations: tuple[Path, ...]) -> None:
    """Look for anything that breaks patauth's promises, and say what to do about it.

    It examines the store (connection, version, persistence, eviction, memory, replication, clock, key) with
    all of its nodes, the folder of a local: store, the files of secrets and signing keys, the settings, the
    functions that they name, and this installation. It also examines the configuration of web servers that
    --server-config names, or that is in the working directory as gunicorn.conf.py, apache.conf, nginx.conf or
    uwsgi.ini, or in GUNICORN_CMD_ARGS and UWSGI_*. Facts that the server does not tell this user are reported
    as unknown.

    --url names a path of the app that needs credentials. It is asked with a token that nobody has: the answer
    shows whether the Authorization header arrives. Redirects are not followed. With --url or --server-config
    no store needs to be named; then none is examined.

    The exit code is 0 if there are no problems (warnings do not count), 1 if there are, and 5 if the store
    cannot be reached.

    \b
    Examples:
      patauth doctor --store local:./patauth-data
      patauth doctor --url https://app.example/reports --server-config /etc/apache2/sites-enabled/app.conf
      patauth doctor --output json | jq -r '.findings[] | select(.level != "ok")'
    """
    # Together they take 4 ms, which every command would pay for.
    from .deployed import judge_deployed
    from .files import judge_files
    from .installation import judge_installation
    from .page import judge_page
    from .settings import judge_settings
    from .store import StoreReport, judge_store
    from .web_servers import judge_web_servers

    if (url or configurations) and not is_store_named():
        settings = named_settings("memory:")
        store = StoreReport([_NOT_EXAMINED], None, True)
    else:
        settings = named_settings()
        store = judge_store(settings)
    findings = [
        *store.findings,
        *judge_settings(settings, store.facts),
        *judge_page(settings),
        *judge_files(settings, os.environ),
        *judge_installation(),
        *judge_web_servers(os.environ, Path.cwd(), configurations, settings),
        *(judge_deployed(url, settings) if url else ()),
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
