"""`patauth completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .options import Command

_INSTALL = {
    "bash": "patauth completion bash > ~/.local/share/bash-completion/completions/patauth",
    "zsh": 'patauth completion zsh > "${fpath[1]}/_patauth"',
    "fish": "patauth completion fish > ~/.config/fish/completions/patauth.fish",
}


@click.command(cls=Command, short_help="Print a completion script for your shell.")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def completion(shell: str) -> None:
    """Print a script with which your shell completes patauth's commands and options.

    The last line of the script says how to install it. It works in every shell that you open afterwards.

    \b
    Examples:
      patauth completion bash > ~/.local/share/bash-completion/completions/patauth
      eval "$(patauth completion zsh)"
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    program = click.get_current_context().find_root().command
    # The name is fixed, because shells do not complete `python -m patauth`.
    source = kind(program, {}, "patauth", "_PATAUTH_COMPLETE").source()
    click.echo(f"{source.rstrip()}\n\n# To install it: {_INSTALL[shell]}")
