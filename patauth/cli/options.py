"""What all commands share: the global options, at any level, and the Authority that they lead to."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click
from click.core import ParameterSource

from ..errors import PatAuthError
from .output import message

if TYPE_CHECKING:
    from ..authority import Authority
    from ..settings import Settings

MEMORY = ("memory:", "memory://")
# What the library calls by another name than the options do.
_OPTIONS_OF = {
    "expiry": ("--expires-in", "--expires-at", "--never-expires"),
    "filters": ("--filter",),
    "sorters": ("--sort",),
}
_LONGEST_LINE = 8192  # bytes of a credential on standard input; what is longer is refused


@dataclass
class Options:
    """The global options, as given; a later one wins."""

    store: str | None = None
    output: str = "table"
    quiet: bool = False

    @property
    def json(self) -> bool:
        """Whether data is wanted as JSON."""
        return self.output == "json"


class Failure(Exception):
    """Ends the program with a message on stderr and an exit code; `Program.invoke` sees to it."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def options() -> Options:
    """The global options of the command that runs."""
    return click.get_current_context().ensure_object(Options)


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    given = ctx.ensure_object(Options)
    assert parameter.name is not None
    if _is_given(ctx, parameter):
        setattr(given, parameter.name, value)


def _global_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--store"],
            metavar="URL",
            callback=_remember,
            expose_value=False,
            help="The token store, such as local:./patauth-data or redis://127.0.0.1:6379/0; else"
            " PATAUTH_STORE_URL.",
        ),
        click.Option(
            ["--output"],
            type=click.Choice(["table", "json"]),
            callback=_remember,
            expose_value=False,
            help="How data is printed; table unless json is asked for.",
        ),
        click.Option(
            ["--quiet"],
            is_flag=True,
            callback=_remember,
            expose_value=False,
            help="Data and errors only: no notes, no warnings.",
        ),
    ]


class Command(click.Command):
    """A command that takes the global options, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. What an error of the library is about, it calls by the option's name."""
        try:
            return super().invoke(ctx)
        except PatAuthError as error:
            if name := _option_of(ctx, error.field):
                error.args = (f"{name}: {error.problem}",)
            raise


def _option_of(ctx: click.Context, field: str | None) -> str | None:
    """The option of this command that gives what the library calls `field`; None if there is none."""
    if field is None:
        return None
    names = _OPTIONS_OF.get(field, ("--" + field.replace("_", "-").replace(" ", "-"),))
    there = [parameter for parameter in ctx.command.params if not set(names).isdisjoint(parameter.opts)]
    there.sort(key=lambda parameter: not _is_given(ctx, parameter))  # it is one of those that were given
    return there[0].opts[0] if there else None


def _is_given(ctx: click.Context, parameter: click.Parameter) -> bool:
    return ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE


class Group(click.Group):
    """A group that takes the global options, and whose commands do."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()


def named_settings(default_store: str | None = None, **given: Any) -> Settings:
    """The settings of the environment, with the store that was named, or else the default one.

    A usage error where there is none. `given` wins over the environment.
    """
    from ..settings import Settings

    url = options().store
    named = any(os.environ.get(f"PATAUTH_STORE_URL{suffix}") for suffix in ("", "_FILE"))
    if url is None and not named:
        url = default_store
    if url == "" or (url is None and not named):
        raise click.UsageError(
            "no store is named: give --store URL or set PATAUTH_STORE_URL,"
            " for example --store local:./patauth-data"
        )
    with warnings_as_messages():
        return Settings.from_env(**given) if url is None else Settings.from_env(store_url=url, **given)


@contextmanager
def open_authority() -> Iterator[Authority]:
    """The Authority over the store that was named, with the settings of the environment."""
    from ..authority import Authority

    settings = named_settings()
    with warnings_as_messages():
        if settings.store_url in MEMORY:
            message(
                "Warning: a memory: store begins empty and ends with this command, so nothing can be found in"
                " it or lasts. Name another, for example --store local:./patauth-data"
            )
        elif is_new_directory(settings.store_url):
            message(f"Note: {settings.store_url} does not exist yet; a new, empty store is made there.")
        authority = Authority(settings)
    with authority:
        yield authority


def local_directory(store_url: str) -> Path | None:
    """The directory of a `local:` store; None for other stores."""
    return Path(unquote(store_url.removeprefix("local:"))) if store_url.startswith("local:") else None


def is_new_directory(store_url: str) -> bool:
    """Whether a `local:` store is about to be made: often meant, now and then a slip of the pen."""
    directory = local_directory(store_url)
    return directory is not None and not directory.exists()


@contextmanager
def warnings_as_messages() -> Iterator[None]:
    """What the library warns of, said in one line each; of memory: each command speaks in its own words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if warning.category is UserWarning and "'memory:'" not in str(warning.message):
                    message(f"Warning: {warning.message}")


def require_yes_without_terminal(yes: bool) -> None:
    """For what cannot be undone: a usage error where it was not said, and there is nobody to ask."""
    if not yes and not on_terminal():
        raise click.UsageError("this cannot be undone, and there is no terminal to ask: add --yes")


def confirm(question: str) -> None:
    """Ask on the terminal, and end with exit code 1 unless the answer is yes."""
    if not click.confirm(question, err=True):
        raise Failure("nothing was changed")


def on_terminal() -> bool:
    """Whether there is someone to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_secret_line(what: str) -> str:
    """One line of standard input, which is no argument because others could read it in `ps`.

    A terminal is asked, and shows nothing of what is typed. Raises `InvalidCredentials` where there is none.
    """
    from ..errors import InvalidCredentials

    if on_terminal():
        line: str = click.prompt(what, hide_input=True, err=True)
    else:
        data = b"" if sys.stdin is None else sys.stdin.buffer.readline(_LONGEST_LINE)
        line = data.decode(errors="replace")  # what is not UTF-8 is refused by whoever reads it
    line = line.rstrip("\r\n")
    if not line:
        raise InvalidCredentials(f"nothing was given: write {what} on standard input, in one line")
    return line
