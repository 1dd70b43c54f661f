"""`patauth serve`: the token service alone, on a production WSGI server."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .config import masked_url
from .options import MEMORY, Command, Failure, local_directory, named_settings, options
from .output import message

if TYPE_CHECKING:
    from ..settings import Settings

DEFAULT_STORE = "local:./patauth-data"
_UNREACHABLE = 5


@click.command(cls=Command, short_help="Serve patauth's own routes alone, on gunicorn.")
@click.option(
    "--bind",
    metavar="ADDRESS",
    default="127.0.0.1:8000",
    show_default=True,
    help="HOST:PORT, [IPV6]:PORT or unix:PATH to listen on.",
)
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1, 256), default=4, show_default=True, help="Of each process.")
def serve(bind: str, workers: int, threads: int) -> None:
    """Serve patauth's own routes alone, /healthz and /readyz, on gunicorn.

    The routes are POST /oauth/token and those of all other surfaces, unless PATAUTH_SURFACES says otherwise.
    On a loopback address, /.well-known/oauth-authorization-server tells clients of them; elsewhere, or behind
    a proxy, set PATAUTH_ISSUER to the URL that clients use.

    The store is local:./patauth-data unless one is named. It speaks plain HTTP: before other machines reach
    it, put a proxy with TLS in front, and set PATAUTH_TRUSTED_PROXIES to the number of proxies.

    The access log goes to stdout and holds no query and no credentials; messages and the audit trail go to
    stderr. --quiet leaves warnings only. SIGTERM ends it when requests in flight are answered; SIGHUP reads
    the environment's files (PATAUTH_..._FILE) again and replaces the workers without a gap.

    \b
    Examples:
      patauth serve
      patauth serve --bind 0.0.0.0:8000 --workers 4 --store redis://127.0.0.1:6379/0
    """
    try:
        from ..wsgi.service.gunicorn import Server, log_to_stderr
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] != "gunicorn":
            raise
        raise Failure("patauth serve needs gunicorn: pip install 'patauth[serve]'", 2) from None

    quiet = options().quiet
    _check_bind(bind)
    server = Server(partial(_settings, bind), bind=bind, workers=workers, threads=threads, quiet=quiet)
    settings = server.settings
    _start_engine(settings)
    log_to_stderr(settings, quiet=quiet)
    where = f"POST {settings.path_prefix}/oauth/token on {bind}"
    message(f"patauth serves {where}; its store is {masked_url(settings.store_url)}.")
    if settings.issuer is None and "PATAUTH_ISSUER" not in os.environ:
        message("Note: for /.well-known/... set PATAUTH_ISSUER to the URL that clients use.")
    server.run()


def _check_bind(bind: str) -> None:
    """Whether one can listen there: gunicorn would try for five seconds, and end in a traceback."""
    if bind.startswith("unix:"):
        return
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65_536:
        raise click.BadParameter(
            "give HOST:PORT (port 1 to 65535), [IPV6]:PORT or unix:PATH", param_hint="--bind"
        )
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, int(port)), family=family):
            pass
    except OSError as problem:
        why = f"cannot listen on {bind} ({os.strerror(problem.errno or 0)}); give another address by --bind"
        raise Failure(why, 1) from None


def _own_url(bind: str) -> str | None:
    """The URL that clients of this machine reach it by; None where others do, or nobody by a URL."""
    from ..settings import is_loopback

    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    if bind.startswith("unix:") or not is_loopback(host):
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _settings(bind: str) -> Settings:
    """The settings to serve with, which can be used as far as that shows without the store."""
    from ..errors import ConfigurationError
    from ..jwt.issuer import open_signed_tokens
    from ..settings import SURFACES
    from ..store.factory import open_store

    given = {} if "PATAUTH_SURFACES" in os.environ else {"surfaces": SURFACES}
    settings = named_settings(DEFAULT_STORE, **given)
    if settings.store_url in MEMORY:
        raise ConfigurationError(
            "store_url: memory: is another store in each worker; name one that they share,"
            f" such as {DEFAULT_STORE}"
        )
    open_store(settings).close()
    own_url = _own_url(bind)
    # Behind a proxy, clients use another URL than this one. What stands in signed tokens must be known to all
    # who read them, such as other commands.
    derived = settings.trusted_proxies == 0 and not settings.signs_tokens
    if "PATAUTH_ISSUER" not in os.environ and own_url is not None and derived:
        settings = replace(settings, issuer=own_url + settings.path_prefix)
    open_signed_tokens(settings)  # raises, where they are asked for and cannot be had
    return settings


def _start_engine(settings: Settings) -> None:
    """Start a `local:` engine before the workers do: what is wrong with it is said once, and ends this.

    A server of one's own may come later: /readyz says 503 until then.
    """
    from ..authority import Authority
    from ..errors import ConfigurationError
    from ..store.local.binary import find_engine

    directory = local_directory(settings.store_url)
    if directory is None:
        return
    try:
        find_engine(Path(directory))
    except ConfigurationError as problem:
        raise Failure(str(problem), _UNREACHABLE) from problem
    with Authority(settings) as authority:
        authority.ping()
