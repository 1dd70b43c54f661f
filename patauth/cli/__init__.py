"""The command line: the tree of commands, and the exit codes of their errors.

    0 done    1 failure    2 wrong usage, or no store named    3 not found
    4 authentication or rights    5 store unreachable           130 Ctrl-C

Data goes to stdout and everything else to stderr. A command imports slow modules only when it runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from .._version import __version__
from ..errors import (
    ConfigurationError,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    PatAuthError,
    StoreUnavailable,
)
from .completion import completion
from .config import config
from .context import Failure, Options, last_message, without_credentials
from .context import options as global_options
from .demo.command import demo
from .doctor.command import doctor
from .events import events
from .keys import keys
from .notify import notify
from .options import Group
from .owner import owner
from .pat import pat
from .serve import serve
from .store import store
from .token import token, verify

_EXIT_CODES: tuple[tuple[type[PatAuthError], int], ...] = (
    (InvalidRequest, 2),
    (ConfigurationError, 2),
    (NotFound, 3),
    (InvalidCredentials, 4),
    (Forbidden, 4),
    (StoreUnavailable, 5),
)
_INTERRUPTED = 130  # 128 + SIGINT, as in shells


class Program(Group):
    """The root of the commands, and the only place where errors become messages and exit codes."""

    group_class = Group

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the options before the name of the command."""
        with _credentials_hidden(more.get("obj") or Options()):
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for."""
        # https://no-color.org: any value except the empty one
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            ctx.color = False
        try:
            with _credentials_hidden(global_options()):
                return super().invoke(ctx)
        except Failure as failure:
            _end(str(failure), failure.exit_code)
        except PatAuthError as error:
            code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)
            _end(f"{error} ({error.detail})" if error.detail else str(error), code)
        except click.UsageError as error:
            if not global_options().logs_json:
                raise
            _end(error.format_message(), error.exit_code)
        except KeyboardInterrupt:
            _end(None, _INTERRUPTED)
        except click.Abort as abort:  # click's prompts raise it for Ctrl-C and for the end of input
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            _end(None, _INTERRUPTED)


@contextmanager
def _credentials_hidden(given: Options) -> Iterator[None]:
    """Take credentials out of click's messages, which repeat what was typed."""
    try:
        yield
    except click.UsageError as error:
        text = error.format_message()
        if (shown := without_credentials(text, given.host)) == text:
            raise
        raise click.UsageError(shown, error.ctx) from None


def _end(text: str | None, code: int) -> NoReturn:
    """Exit with a code. Without a text, only end the line on which the terminal shows ^C."""
    last_message(text)
    raise click.exceptions.Exit(code) from None


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="patauth %(version)s")
def program() -> None:
    """Create, verify, exchange, limit and revoke personal access tokens (PATs) for WSGI and ASGI apps.

    PATs are kept in a store. Name it with --store URL, or with PATAUTH_STORE_URL in the environment.
    `local:./patauth-data` is a real server in that directory, which patauth starts and stops for you.
    `redis://…`, `rediss://…` and `unix://…` name a Redis or Valkey server of your own. All other settings
    come from PATAUTH_<NAME> in the environment.

    \b
    See it at work first:
      patauth demo
    Then create a PAT of your own:
      export PATAUTH_STORE_URL=local:./patauth-data
      patauth pat create --owner-id alice --name ci --scope reports:read --expires-in 30d
    """


for command in (
    demo, serve, pat, owner, token, verify, notify, store, events, keys, config, doctor, completion,
):  # fmt: skip
    program.add_command(command)
