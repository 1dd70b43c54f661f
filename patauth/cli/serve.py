"""`patauth serve`: the token service without an application, on a production WSGI server."""

from __future__ import annotations

import ssl
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import click

from ..authority import Authority
from ..errors import ConfigurationError, StoreUnavailable
from ..settings import Settings
from ..store.factory import open_store
from ..store.url import StoreUrl, masked
from ..wsgi.hooks import check_hooks
from ..wsgi.page import PATH
from ..wsgi.service.logs import log_calls_to_stdout, log_to_stderr
from ..wsgi.service.tls import read_tls
from ..wsgi.surfaces import PAGE, check_page
from .address import Address, AddressType, check_free
from .context import NO_PAGE, Failure, lacks_page, message, named_settings, options, served, source_of
from .options import Command

DEFAULT_STORE = "local:./patauth-data"
_UNREACHABLE = 5


def _note_format(_: click.Context, __: click.Parameter, log_format: str) -> str:
    options().logs_json = log_format == "json"
    return log_format


@click.command(cls=Command, short_help="Serve patauth's own routes on gunicorn.")
@click.option(
    "--bind",
    type=AddressType(paths=True),
    metavar="ADDRESS",
    default="127.0.0.1:8000",
    show_default=True,
    help="The address to listen on: HOST:PORT, [IPV6]:PORT or unix:PATH.",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="How many processes."
)
@click.option(
    "--threads", type=click.IntRange(1, 256), default=4, show_default=True, help="Threads in each process."
)
@click.option(
    "--grpc-bind",
    type=AddressType(),
    metavar="ADDRESS",
    help="Serve gRPC as well, in a process of its own: HOST:PORT or [IPV6]:PORT.",
)
@click.option("--grpc-cert", metavar="FILE", help="The certificate of the gRPC port, with its chain, in PEM.")
@click.option("--grpc-key", metavar="FILE", help="The private key of that certificate, in PEM.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    is_eager=True,  # messages about other options have the form too
    callback=_note_format,
    show_default=True,
    help="Write the log as text, or each line of it as a JSON object.",
)
@click.option(
    "--metrics-bind",
    type=AddressType(),
    metavar="ADDRESS",
    help="Count, and serve metrics for Prometheus in a process of its own: HOST:PORT or [IPV6]:PORT.",
)
@click.option("--only", type=click.Choice(["grpc", "metrics"]), hidden=True)  # what such a process serves
def serve(only: str | None, **given: Any) -> None:
    """Serve patauth's own routes, with /healthz and /readyz, on gunicorn.

    The routes are POST /oauth/token and those of all other surfaces; PATAUTH_SURFACES chooses fewer. The page
    for people is one of them if PATAUTH_IDENTIFY names the function that says who is signed in. On a loopback
    address, clients find them at /.well-known/oauth-authorization-server. On any other address, or behind a
    proxy, set PATAUTH_ISSUER to the URL that clients use.

    The store is local:./patauth-data unless you name one. The service speaks plain HTTP: before other
    machines reach it, put a proxy with TLS in front, and set PATAUTH_TRUSTED_PROXIES to the number of
    proxies.

    The access log goes to stdout; it holds no query strings and no credentials. Messages and the audit trail
    go to stderr; with --quiet, only warnings. With --log-format json, each line is a JSON object that has the
    time, and the id of the request that is being answered.

    SIGTERM stops the service after it has answered the requests in flight. SIGHUP reads secret files
    (PATAUTH_..._FILE) again and replaces the workers without an interruption.

    With --grpc-bind, the methods of ZITADEL's API are served over gRPC too. An address that is not loopback
    needs --grpc-cert and --grpc-key. The client's address is that of the gRPC port's peer, whatever a proxy
    says.

    With --metrics-bind, the setting metrics is on, and GET /metrics on that address answers with what all
    processes have counted together. Nobody is asked for credentials there: let only operators reach it.

    \b
    Examples:
      patauth serve
      patauth serve --metrics-bind 127.0.0.1:9464
      patauth serve --grpc-bind 127.0.0.1:8001
      patauth serve --bind 0.0.0.0:8000 --workers 4 --store redis://127.0.0.1:6379/0
    """
    if find_spec("gunicorn") is None:
        raise Failure("patauth serve needs gunicorn: pip install 'patauth[serve]'", 2)
    service = _Service(**given)
    service.tls()
    if only is None:
        service.run()
    else:
        service.run_port(only)


@dataclass(frozen=True)
class _Service:
    """Holds what the command was given, and serves it."""

    bind: Address
    workers: int
    threads: int
    grpc_bind: Address | None
    grpc_cert: str | None
    grpc_key: str | None
    metrics_bind: Address | None
    log_format: str

    @property
    def as_json(self) -> bool:
        return self.log_format == "json"

    @property
    def ports(self) -> dict[str, Address]:
        """The addresses that have a process of their own, by what `--only` calls it."""
        ports = {"grpc": self.grpc_bind, "metrics": self.metrics_bind}
        return {name: bind for name, bind in ports.items() if bind is not None}

    def tls(self) -> ssl.SSLContext | None:
        return _tls(self.grpc_bind, self.grpc_cert, self.grpc_key)

    def settings(self) -> Settings:
        """Return the settings of this moment. Raise if they, or files of the gRPC port, cannot be used."""
        self.tls()  # at a reload, the gRPC port is to be opened with them again
        settings = _settings(self.bind)
        return settings if self.metrics_bind is None else replace(settings, metrics=True)

    def start_log(self, settings: Settings) -> None:
        log_to_stderr(settings, quiet=options().quiet, as_json=self.as_json)

    def run(self) -> None:
        """Check what was given, start the processes of the other ports, and run gunicorn."""
        from ..wsgi.service.gunicorn import Server

        check_free([self.bind, *self.ports.values()])
        with self._counts():
            server = Server(
                self.settings,
                bind=self.bind.text,
                workers=self.workers,
                threads=self.threads,
                quiet=options().quiet,
                as_json=self.as_json,
            )
            if server.settings.metrics and find_spec("prometheus_client") is None:
                raise Failure("metrics need prometheus-client: pip install 'patauth[metrics]'", 2)
            if self.grpc_bind is not None:
                _check_grpc(server.settings)
            _start_store(server.settings)
            _introduce(server.settings, self.bind, self.metrics_bind)
            self.start_log(server.settings)
            # This command again, with the interpreter's own options: they say where patauth is looked for.
            again = [sys.executable, *sys.orig_argv[1:], "--only"]
            server.run_with({name: [*again, name] for name in self.ports})

    def run_port(self, name: str) -> None:
        """Serve one of the other ports alone, in this process."""
        bind = self.ports.get(name)
        if bind is None:
            raise click.UsageError(f"--only {name} needs --{name}-bind")
        settings = self.settings()
        self.start_log(settings)
        if name == "grpc":
            log_calls_to_stdout(settings, as_json=self.as_json)
            _serve_grpc(settings, bind, self.threads, self.tls())
        else:
            _serve_metrics(settings, bind)

    def _counts(self) -> AbstractContextManager[None]:
        """Return what makes the folder of shared counts, if there is something to count."""
        from ..wsgi.service.metrics import metrics_folder  # with http.server, which other commands lack

        # Before the settings are read: a hook of theirs may import prometheus_client.
        is_wanted = self.metrics_bind is not None or source_of("metrics")
        return metrics_folder() if is_wanted and find_spec("prometheus_client") else nullcontext()


def _introduce(settings: Settings, bind: Address, metrics_bind: Address | None) -> None:
    """Say what is served, and what is missing."""
    where = f"POST {settings.path_prefix}/oauth/token on {bind.text}"
    message(f"patauth serves {where}; its store is {masked(settings.store_url)}.")
    if PAGE in settings.surfaces:
        message(f"The page for people is at {_page(settings, bind)}.")
    elif lacks_page(settings):
        message(f"Note: {NO_PAGE}")
    if settings.issuer is None and not source_of("issuer"):
        message("Note: to publish /.well-known/..., set PATAUTH_ISSUER to the URL that clients use.")
    if metrics_bind is not None and not metrics_bind.is_loopback:
        message(
            f"Warning: who reaches {metrics_bind.text} can read the metrics; let only operators reach it."
        )
    if settings.metrics and metrics_bind is None:
        message("Note: metrics are counted, but nothing shows them; give --metrics-bind ADDRESS.")


def _serve_grpc(settings: Settings, bind: Address, threads: int, tls: ssl.SSLContext | None) -> None:
    from ..wsgi.service.grpc import serve as serve_grpc
    from ..wsgi.service.metrics import open_authority

    started = partial(message, f"patauth serves gRPC on {bind.text}{' with TLS' if tls else ''}.")
    with open_authority(settings) as authority, bind.listen() as listening:
        serve_grpc(authority, listening=listening, threads=threads, tls=tls, started=started)


def _serve_metrics(settings: Settings, bind: Address) -> None:
    from ..wsgi.service.metrics import serve as serve_metrics

    started = partial(message, f"patauth serves metrics on {bind.url}/metrics.")
    with Authority(settings) as authority:
        try:
            serve_metrics(authority, host=bind.host, port=bind.port, started=started)
        except OSError as problem:
            raise bind.not_listening(problem) from None


def _check_grpc(settings: Settings) -> None:
    """Raise unless gRPC can be served."""
    if find_spec("h2") is None:
        raise Failure("patauth serve --grpc-bind needs h2: pip install 'patauth[grpc]'", 2)
    if "zitadel" not in settings.surfaces:
        raise click.UsageError("--grpc-bind serves the surface zitadel; name it in PATAUTH_SURFACES too")


def _tls(bind: Address | None, cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return the certificate of the gRPC port, None without one, which only a loopback address may be."""
    if (cert is None) != (key is None):
        raise click.UsageError("give --grpc-cert and --grpc-key together")
    if cert is not None and key is not None:
        if bind is None:
            raise click.UsageError("--grpc-cert and --grpc-key are for --grpc-bind")
        return read_tls(key, cert)
    if bind is not None and not bind.is_loopback:
        raise click.BadParameter(
            "give --grpc-cert and --grpc-key for an address that is not loopback", param_hint="'--grpc-bind'"
        )
    return None


def _own_url(bind: Address) -> str | None:
    """Return the URL by which clients on this machine reach the address; None if it is not loopback."""
    return bind.url if bind.is_loopback else None


def _page(settings: Settings, bind: Address) -> str:
    """Return where the page is: its URL, or its path where a proxy or the address decides the rest."""
    own_url = None if settings.trusted_proxies else _own_url(bind)
    return f"{own_url or ''}{settings.path_prefix}{PATH}"


def _settings(bind: Address) -> Settings:
    """Return the settings to serve with. Raise `ConfigurationError`; the store is not contacted."""
    from ..jwt.issuer import open_signed_tokens

    settings = served(named_settings(DEFAULT_STORE))
    check_hooks(settings)
    check_page(settings.surfaces, settings.identify, settings.page_folder)
    if StoreUrl.read(settings.store_url).engine == "memory":
        raise ConfigurationError(
            "store_url: with memory:, each worker has a store of its own; name one that they share,"
            f" such as {DEFAULT_STORE}"
        )
    open_store(settings).close()
    own_url = _own_url(bind)
    # Behind a proxy, clients use another URL.
    if not source_of("issuer") and own_url is not None and settings.trusted_proxies == 0:
        settings = replace(settings, issuer=own_url + settings.path_prefix)
    open_signed_tokens(settings)  # raises if tokens are to be signed and cannot be
    return settings


def _start_store(settings: Settings) -> None:
    """Start a `local:` engine before the workers do, so that an error is reported once and ends the program.

    Another server may start later; until then, /readyz answers 503. Raise `ConfigurationError` for one that
    cannot do what the settings demand.
    """
    from ..store.local.binary import find_engine

    directory = StoreUrl.read(settings.store_url).directory
    if directory is not None:
        try:
            find_engine(directory)
        except ConfigurationError as problem:
            raise Failure(str(problem), _UNREACHABLE) from problem
    with Authority(replace(settings, metrics=False)) as authority:
        try:
            authority.ping()
        except StoreUnavailable:
            if directory is not None:
                raise
