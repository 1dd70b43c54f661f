"""How commands read their options: the global ones, those that several commands share, values and secrets."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click
from click.core import ParameterSource

from ..errors import InvalidCredentials, InvalidRequest, PatAuthError
from ..model.dates import parse_ms, to_datetime
from ..model.words import either
from ..settings import parse_duration
from .context import Failure, Options, options, source_of

# Fields of the library whose options have another name.
_OPTIONS_OF = {
    "expiry": ("--expires-in", "--expires-at", "--never-expires"),
    "filters": ("--filter",),
    "sorters": ("--sort",),
    "networks": ("--network",),
}
# What commands are called elsewhere.
_SYNONYMS = {
    **dict.fromkeys(("add", "issue", "make", "new"), "create"),
    **dict.fromkeys(("delete", "del", "remove", "rm"), "revoke"),
    **dict.fromkeys(("describe", "get", "info", "view"), "show"),
    **dict.fromkeys(("change", "edit", "patch", "set"), "update"),
    **dict.fromkeys(("regenerate", "renew"), "rotate"),
    **dict.fromkeys(("run", "start"), "serve"),
    "help": "--help",
    "ls": "list",
    "status": "stats",
}
_LONGEST_LINE = 8192  # bytes read of a credential on standard input; a longer one is refused


# -- commands and their global options ---------------------------------------------------------------------


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if _is_given(ctx, parameter):
        setattr(ctx.find_root().ensure_object(Options), parameter.name or "", value)


def _global_options() -> list[click.Parameter]:
    given: dict[str, dict[str, Any]] = {
        "--store": {
            "metavar": "URL",
            "help": "The token store, such as local:./patauth-data or redis://127.0.0.1:6379/0."
            "  [default: PATAUTH_STORE_URL]",
        },
        "--output -o": {
            "type": click.Choice(["table", "json"]),
            "help": "How to print data.  [default: table]",
        },
        "--quiet -q": {"is_flag": True, "help": "Print only data and errors, no notes and no warnings."},
    }
    return [
        click.Option(names.split(), callback=_remember, expose_value=False, **more)
        for names, more in given.items()
    ]


class Command(click.Command):
    """A command that takes the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. Of a wrong option, those that begin like it are suggested, if there are any."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            begun = [name for name in error.possibilities or () if name.startswith(error.option_name)]
            if not begun:
                raise
            raise click.NoSuchOption(error.option_name, possibilities=begun, ctx=error.ctx) from None

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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant: it has another name here, or is in a group."""
        name = args[0]
        if name not in self.commands and not ctx.resilient_parsing and (meant := self._meant(name)):
            raise click.UsageError(f"No such command {name!r}. Did you mean {either(map(repr, meant))}?", ctx)
        return super().resolve_command(ctx, args)

    def _meant(self, name: str) -> list[str]:
        known = _SYNONYMS.get(name, name)
        if known in self.commands or known.startswith("--"):
            return [known]
        groups = {inner: group for inner, group in self.commands.items() if isinstance(group, click.Group)}
        return [f"{inner} {known}" for inner, group in groups.items() if known in group.commands]


def _option_of(ctx: click.Context, field: str | None) -> str | None:
    """Return the option of this command that sets the library's `field`; None if there is none.

    With a place in a list, such as `networks[0]`, it is followed by which one of several was meant, from 1.
    """
    if field is None:
        return None
    if field == "store_url":  # it may come from elsewhere
        return "--store" if options().store is not None else source_of(field)
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


def _read_date_time(text: str) -> datetime:
    try:
        return to_datetime(parse_ms(text))
    except InvalidRequest:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise ValueError(f"give the time of day, too, as RFC 3339 has it: {text}T00:00:00Z") from None
        raise


def _read_scope(text: str) -> str:
    if " " in text.strip():
        raise ValueError(
            "a scope has no blanks; repeat the option for each scope:"
            " --scope reports:read --scope reports:write"
        )
    return text


DURATION = Value("duration", _read_duration)  # a timedelta; the unit is required
SECONDS = Value("duration", parse_duration)  # an int; without a unit, seconds
DATE_TIME = Value("date-time", _read_date_time)
SCOPE = Value("text", _read_scope)


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
wide_option = click.option(
    "--wide", is_flag=True, help="Print all columns, whole and with absolute dates, on a terminal, too."
)
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
    """Read one line of standard input: `what` with its article, if it has one.

    A terminal is asked for it and does not show what is typed.

    Secrets are never arguments, because other users can read those in `ps`. Raise `InvalidCredentials` if
    there is no line.
    """
    if on_terminal():
        line: str = click.prompt(what[0].upper() + what[1:], hide_input=True, err=True)
    else:
        data = b"" if sys.stdin is None else sys.stdin.buffer.readline(_LONGEST_LINE)
        line = data.decode(errors="replace")  # text that is not UTF-8 is refused later
    line = line.rstrip("\r\n")
    if not line:
        raise InvalidCredentials(f"nothing was given: write {what} to standard input, in one line")
    return line
