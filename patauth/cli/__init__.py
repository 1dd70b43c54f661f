"""The command line: the tree of commands, and what their failures are worth.

    0 done    1 failure    2 usage (no store named included)    3 not found
    4 authentication or rights    5 store unreachable            130 Ctrl-C

Data goes to stdout, everything else to stderr. What is heavy is imported by the command that needs it.
"""

from __future__ import annotations

import os
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
from .demo.command import demo
from .doctor.command import doctor
from .keys import keys
from .options import Failure, Group
from .output import printable
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
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Program(Group):
    """The root: errors of patauth become messages and exit codes here, and nowhere else."""

    group_class = Group

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        if os.environ.get("NO_COLOR"):  # https://no-color.org: whatever its value, unless empty
            ctx.color = False
        try:
            return super().invoke(ctx)
        except Failure as failure:
            _end(str(failure), failure.exit_code)
        except PatAuthError as error:
            code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)
            _end(f"{error} ({error.detail})" if error.detail else str(error), code)
        except KeyboardInterrupt:
            _end(None, _INTERRUPTED)
        except click.Abort as abort:  # what click's prompts make of Ctrl-C and of the end of input
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            _end(None, _INTERRUPTED)


def _end(text: str | None, code: int) -> NoReturn:
    # Without a text: the line after the terminal's ^C.
    click.echo("" if text is None else f"Error: {printable(text)}", err=True)
    raise click.exceptions.Exit(code) from None


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="patauth %(version)s")
def program() -> None:
    """Personal access tokens (PATs) for WSGI apps: verified, exchanged, limited and revoked.

    A store holds them: --store URL, or PATAUTH_STORE_URL in the environment. `local:./patauth-data` is a real
    server in that directory, which patauth starts and stops by itself; `redis://…`, `rediss://…` and
    `unix://…` name a Redis or Valkey of yours. Other settings come from PATAUTH_<NAME> in the environment.

    \b
    See it at work first:
      patauth demo
    Then make a token of your own:
      export PATAUTH_STORE_URL=local:./patauth-data
      patauth pat create --owner-id alice --name ci --scope reports:read --expires-in 30d
    """


program.add_command(demo)
program.add_command(serve)
program.add_command(pat)
program.add_command(owner)
program.add_command(token)
program.add_command(verify)
program.add_command(store)
program.add_command(keys)
program.add_command(config)
program.add_command(doctor)
program.add_command(completion)
