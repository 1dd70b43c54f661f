"""What a command runs in: the global options, messages on stderr, and the settings and store they lead to."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import click

from ..authority import Authority
from ..errors import ConfigurationError
from ..logs import JSONFormatter
from ..model.credentials import Prefixes, read_prefixes
from ..model.redaction import Redaction
from ..settings import SURFACE_NAMES, Settings
from ..store.scripts import NoDisk
from ..store.url import StoreUrl, masked_within
from ..wsgi.surfaces import PAGE, is_page_installed

ADDRESSES_UNKNOWN = (
    "trusted_proxies is set without proxy_networks, so no client's address is known for certain. If a PAT has"
    " networks, it is refused everywhere."
)

IDENTIFY_UNKNOWN = (
    "surfaces has the page, but identify is not set here. An app can give it in its own code; patauth serve"
    " does not start without it."
)
NO_PAGE = "identify is set, but patauth serve has no page without jinja2: pip install 'patauth[page]'"


@dataclass
class Options:
    """The global options as given. When one is given twice, the last one counts.

    `host` are the settings of an application whose command this is. They win over the environment.
    """

    store: str | None = None
    output: str = "table"
    quiet: bool = False
    host: Mapping[str, Any] = field(default_factory=dict, repr=False)
    logs_json: bool = False  # what goes to stderr are lines of JSON

    @property
    def json(self) -> bool:
        """Whether data is printed as JSON."""
        return self.output == "json"


def options() -> Options:
    """Return the global options of the command that is running; outside of one, the defaults."""
    context = click.get_current_context(silent=True)
    return Options() if context is None else context.find_root().ensure_object(Options)


class Failure(Exception):
    """Ends the program with a message on stderr and an exit code."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


# -- messages ----------------------------------------------------------------------------------------------


def message(text: str) -> None:
    """Write a line to stderr without credentials, unless --quiet is given."""
    if not options().quiet:
        text = without_credentials(text, options().host)
        click.echo(_record(text, logging.INFO) if options().logs_json else printable(text), err=True)


def last_message(text: str | None) -> None:
    """Write to stderr why the command ends. None: only end the line on which the terminal shows ^C."""
    text = text and without_credentials(text, options().host)
    if not options().logs_json:
        click.echo("" if text is None else f"Error: {printable(text)}", err=True)
    elif text is not None:
        click.echo(_record(text, logging.ERROR), err=True)


def _record(text: str, level: int) -> str:
    """Return a text as a line of the log in JSON."""
    named = {"name": "patauth", "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
    return JSONFormatter().format(logging.makeLogRecord(named))


def without_credentials(text: str, host: Mapping[str, Any]) -> str:
    """Return the text without credentials: people type one where something else belongs.

    `[hidden]` stands for PATs and tokens, and `***` for the login in a URL.
    """
    default: tuple[Prefixes, ...] = (Prefixes(),)
    own = default
    given = host.get("credential_prefixes", os.environ.get("PATAUTH_CREDENTIAL_PREFIXES", default))
    with suppress(ConfigurationError, TypeError, ValueError):  # their message is for another command
        own = read_prefixes(given)
    text = masked_within(text)  # first, since a password may look like a parameter
    for prefixes in (own, default):
        text = Redaction(prefixes).hide(text)
    return text


def printable(text: str) -> str:
    """Return the text with escapes such as \\u202e for characters that are invisible or move the cursor."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@contextmanager
def warnings_as_messages() -> Iterator[None]:
    """Turn warnings of the library into messages, one line each.

    The warning about memory: is dropped, because each command has its own words for it.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if warning.category is UserWarning and "'memory:'" not in str(warning.message):
                    message(f"Warning: {warning.message}")


# -- the settings and the store ----------------------------------------------------------------------------


def named_settings(default_store: str | None = None, **given: Any) -> Settings:
    """Return the settings of the host and the environment, with the store that --store or one of them names.

    `default_store` is used when none names one. `given` wins over both. Raise `click.UsageError` when no
    store is named, and `ConfigurationError` when a setting is wrong.
    """
    url = options().store
    if not is_store_named() and "store_url" not in given:
        url = default_store or ""
    given = {**options().host, **given}
    if url == "":
        raise click.UsageError(
            "no store is named: give --store URL or set PATAUTH_STORE_URL,"
            " for example --store local:./patauth-data"
        )
    if url is not None:
        given["store_url"] = url
    with warnings_as_messages():
        return Settings.from_env(**given)


def is_store_named() -> bool:
    """Return whether --store, the application or the environment names a store."""
    in_environment = any(os.environ.get(f"PATAUTH_STORE_URL{suffix}") for suffix in ("", "_FILE"))
    return options().store is not None or "store_url" in options().host or in_environment


def source_of(name: str) -> str | None:
    """Return where a setting comes from: the application, or a variable; None: nobody has set it."""
    if name in options().host:
        return "the application"
    variables = (f"PATAUTH_{name.upper()}", f"PATAUTH_{name.upper()}_FILE")
    return next((variable for variable in variables if variable in os.environ), None)


def served(settings: Settings) -> Settings:
    """Return the settings of `patauth serve`: it has all surfaces unless a setting names some.

    The page is among them where `identify` is set and the extra `page` is installed.
    """
    if source_of("surfaces"):
        return settings
    has_page = settings.identify is not None and is_page_installed()
    return replace(settings, surfaces=tuple(name for name in SURFACE_NAMES if has_page or name != PAGE))


def lacks_page(settings: Settings) -> bool:
    """Return whether `patauth serve` leaves the page out because what draws it is not installed."""
    return not source_of("surfaces") and settings.identify is not None and not is_page_installed()


@contextmanager
def open_authority() -> Iterator[Authority]:
    """Open an Authority over the store that is named; close it at the end.

    Raise `ConfigurationError` for what is `NoDisk` in the block: a command is no request.
    """
    settings = named_settings()
    with warnings_as_messages():
        store = StoreUrl.read(settings.store_url)
        if store.engine == "memory":
            message(
                "Warning: a memory: store is empty at first and ends with this command: nothing is found in"
                " it and nothing is kept. Name another store, for example --store local:./patauth-data"
            )
        elif store.directory is not None and is_new_directory(settings.store_url):
            message(
                f"Note: {store.directory.absolute()} does not exist yet. This command creates it; an app with"
                " the same store will use it, too. If yours has a store already, you are in another folder."
            )
        authority = unobserved(settings)
    with authority:
        try:
            yield authority
        except NoDisk as problem:
            raise ConfigurationError(problem.detail) from None


def unobserved(settings: Settings, **given: Any) -> Authority:
    """Return an Authority without metrics and traces: nobody could read those of a command.

    `given`: what else an Authority takes. `patauth serve` has its own, which is observed.
    """
    return Authority(replace(settings, metrics=False, traces=False), **given)


def is_new_directory(store_url: str) -> bool:
    """Return whether a `local:` store is about to be created, on purpose or because of a typing error."""
    directory = StoreUrl.read(store_url).directory
    return directory is not None and not os.path.exists(directory)  # Path.exists raises for a long name
