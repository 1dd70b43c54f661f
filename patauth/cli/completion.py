"""`patauth completion`: what a shell needs to complete commands and options; click's own."""

from __future__ import annotations

import click

from .options import Command

_HOW = {
    "bash": "patauth completion bash > ~/.local/share/bash-completion/completions/patauth",
    "zsh": 'patauth completion zsh > "${fpath[1]}/_patauth"',
    "fish": "patauth completion fish > ~/.config/fish/completions/patauth.fish",
}


@click.command(cls=Command, short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> None:
    """Print the script by which a shell completes patauth's commands and options.

    Its last line says where to put it; a new shell then has it.

    \b
    Examples:
      patauth completion bash > ~/.local/share/bash-completion/completions/patauth
      eval "$(patauth completion zsh)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell
    program = click.get_current_context().find_root().command
    # Not the name of `python -m patauth`: no shell completes that.
    source = kind(program, {}, "patauth", "_PATAUTH_COMPLETE").source()
    click.echo(f"{source.rstrip()}\n\n# To install it: {_HOW[shell]}")
