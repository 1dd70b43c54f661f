"""How commands read their options: the global ones, those that several commands share, values and secrets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click
from click.core import ParameterSource

from ..errors import InvalidCredentials, InvalidRequest, PatAuthError
from ..model.dates import parse_ms, to_datetime
from ..settings import parse_duration
from .context import Failure, Options

# Fields of the library whose options have another name.
_OPTIONS_OF = {
    "expiry": ("--expires-in", "--expires-at", "--never-expires"),
    "filters": ("--filter",),
    "sorters": ("--sort",),
    "networks": ("--network",),
}
_LONGEST_LINE = 8192  # bytes read of a credential on standard input; a longer one is refused


# -- commands and their global options ---------------------------------------------------------------------


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if _is_given(ctx, parameter):
        setattr(ctx.ensure_object(Options), parameter.name or "", value)


def _global_options() -> list[click.Parameter]:
    given: dict[str, dict[str, Any]] = {
        "--store": {
            "metavar": "URL",
            "help": "The token store, such as local:./patauth-data or redis://127.0.0.1:6379/0."
            "  [default: PATAUTH_STORE_URL]",
        },
        "--output": {
            "type": click.Choice(["table", "json"]),
            "help": "How to print data.  [default: table]",
        },
        "--quiet": {"is_flag": True, "help": "Print only data and errors, no notes and no warnings."},
    }
    return [
        click.Option([name], callback=_remember, expose_value=False, **more) for name, more in given.items()
    ]


class Command(click.Command):
    """A command that takes the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. An error of the library about a field is reported by the option's name."""
        try:
            return super().invoke(ctx)
        except PatAuthError as error:
            if name := _option_of(ctx, error.field):
                error.args = (f"{name}: {error.problem}",)
            raise


class Group(click.Group):
    """A group that takes the global options, and whose commands take them."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()


def _option_of(ctx: click.Context, field: str | None) -> str | None:
    """Return the option of this command that sets the library's `field`; None if there is none.

    With a place in a list, such as `networks[0]`, it is followed by which one of several was meant, from 1.
    """
    if field is None:
        return None
    field, _, place = field.partition("[")
    names = _OPTIONS_OF.get(field, ("--" + field.replace("_", "-").replace(" ", "-"),))
    found = [parameter for parameter in ctx.command.params if not set(names).isdisjoint(parameter.opts)]
    found.sort(key=lambda parameter: not _is_given(ctx, parameter))  # the one that was given comes first
    if not found:
        return None
    return f"{found[0].opts[0]} {int(place[:-1]) + 1}" if place else found[0].opts[0]


def _is_given(ctx: click.Context, parameter: click.Parameter) -> bool:
    return ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE


# -- values ------------------------------------------------------------------------------------------------


class Value(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """An option's value, read by a function that raises `ValueError` or `InvalidRequest` if it is wrong."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that a text stands for."""
        try:
            return self._read(value)
        except InvalidRequest as error:
            self.fail(error.problem, param, ctx)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        except OverflowError:
            self.fail("this is too far away for a date", param, ctx)


def _read_duration(text: str) -> timedelta:
    if text.strip().isdigit() and text.strip() != "0":  # somebody who writes 30 means days, not seconds
        raise ValueError("give an integer and one of s m h d w, such as 30d or 12h")
    return timedelta(seconds=parse_duration(text))


DURATION = Value("duration", _read_duration)  # a timedelta; the unit is required
SECONDS = Value("duration", parse_duration)  # an int; without a unit, seconds
DATE_TIME = Value("date-time", lambda text: to_datetime(parse_ms(text)))  # RFC 3339


# -- options that several commands share -------------------------------------------------------------------


def expiry_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --expires-in, --expires-at and --never-expires.

    The command gets `expiry`, which holds those that are given as `Authority.create` takes them.
    """

    @click.option(
        "--expires-in",
        type=DURATION,
        help="The time until it expires: an integer and one of s m h d w, such as 30d.",
    )
    @click.option(
        "--expires-at",
        type=DATE_TIME,
        help="The time when it expires, with its offset from UTC, such as 2030-01-31T12:00:00Z.",
    )
    @click.option("--never-expires", is_flag=True, default=None, help="The PAT works until it is revoked.")
    @functools.wraps(command)
    def with_expiry(**given: Any) -> None:
        expiry = {name: given.pop(name) for name in ("expires_in", "expires_at", "never_expires")}
        command(expiry={name: value for name, value in expiry.items() if value is not None}, **given)

    return with_expiry


def description_and_limit_options(*, is_new: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --description, --network, --not-before and --request-quota, for a new PAT or one that is there.

    The command gets `details`, which holds those that are given as `Authority.create` and `update` take them.
    """

    def default(text: str) -> str:
        return f"  [default: {text}]" if is_new else ""

    where = "Where it may be used" if is_new else "All networks where it may be used from now on"

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--description", metavar="TEXT", help="What people should know of it: at most 256 characters."
        )
        @click.option(
            "--network",
            "networks",
            metavar="CIDR",
            multiple=True,
            help=f"{where}, such as 203.0.113.0/24; repeat for several.{default('everywhere')}",
        )
        @click.option(
            "--not-before",
            type=DATE_TIME,
            help=f"The time from which on it may be used, such as 2030-01-31T12:00:00Z.{default('at once')}",
        )
        @click.option(
            "--request-quota",
            metavar="COUNT/SECONDS",
            help=f"How many requests it may make, such as 100/10.{default('the setting')}",
        )
        @functools.wraps(command)
        def with_details(**given: Any) -> None:
            details = {name: given.pop(name) for name in ("description", "not_before", "request_quota")}
            networks = given.pop("networks")
            details["networks"] = (
                [one for one in networks if one] if networks else None
            )  # '' alone: everywhere
            command(details={name: value for name, value in details.items() if value is not None}, **given)

        return with_details

    return add


def field_option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --field, which takes one of these names."""
    return click.option(
        "--field", type=click.Choice(names), help="Print this alone, for a script that stores it."
    )


reason_option = click.option("--reason", metavar="TEXT", help="Why, for people: shown with what was revoked.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask. Required when there is no terminal.")


# -- the terminal and standard input -----------------------------------------------------------------------


def require_yes(yes: bool) -> None:
    """Raise `click.UsageError` if --yes is not given and there is no terminal to ask on."""
    if not yes and not on_terminal():
        raise click.UsageError("this cannot be undone, and there is no terminal to ask on: add --yes")


def confirm(question: str) -> None:
    """Ask on the terminal. Raise `Failure` unless the answer is yes."""
    if not click.confirm(question, err=True):
        raise Failure("nothing was changed")


def on_terminal() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_secret_line(what: str) -> str:
    """Read one line of standard input. A terminal is asked for it and does not show what is typed.

    Secrets are never arguments, because other users can read those in `ps`. Raise `InvalidCredentials` if
    there is no line.
    """
    if on_terminal():
        line: str = click.prompt(what, hide_input=True, err=True)
    else:
        data = b"" if sys.stdin is None else sys.stdin.buffer.readline(_LONGEST_LINE)
        line = data.decode(errors="replace")  # text that is not UTF-8 is refused later
    line = line.rstrip("\r\n")
    if not line:
        raise InvalidCredentials(f"nothing was given: write {what} to standard input, in one line")
    return line
