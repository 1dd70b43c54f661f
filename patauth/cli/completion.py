"""`patauth completion`: the script with which a shell completes commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

from .options import Command

_BASH_FOLDER = "~/.local/share/bash-completion/completions"
_FISH_FOLDER = "~/.config/fish/completions"
_INSTALL = {
    "bash": f"mkdir -p {_BASH_FOLDER} && patauth completion bash > {_BASH_FOLDER}/patauth",
    "zsh": 'patauth completion zsh > "${fpath[1]}/_patauth"',
    "fish": f"mkdir -p {_FISH_FOLDER} && patauth completion fish > {_FISH_FOLDER}/patauth.fish",
}

# Bash cuts words at ":", "=" and "@", which scopes, owners' ids and store URLs have. Here they are joined
# again, and of a value only that part is given back which takes the place of bash's last word. An "@" is a
# word of its own, and yet belongs to what is replaced.
_BASH = """\
%(complete_func)s() {
    local IFS=$' \\t\\n' word last before option="" type value
    local -a words=()
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 1 && ($word == [:=@]* || ${words[-1]} == *[:=@]) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    word=${words[-1]} last=${COMP_WORDS[COMP_CWORD]}
    [[ $last == [:=] ]] && last=""
    [[ ${COMP_WORDS[COMP_CWORD - 1]} == @ ]] && last=@$last
    before=${word%%"$last"}
    [[ $word == --*=* ]] && option=${word%%%%=*}=
    while IFS=, read -r type value; do
        value=$option$value
        case $type in
            plain) COMPREPLY+=("${value#"$before"}") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class _Bash(BashComplete):
    source_template = _BASH


class _WholeWords(ShellComplete):
    """For shells that replace all of the word that was typed, which may be `--option=value`."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("--"):
            for item in found:
                item.value = f"{option}={item.value}"
        return found


@add_completion_class
class _Zsh(_WholeWords, ZshComplete):
    pass


@add_completion_class
class _Fish(_WholeWords, FishComplete):
    # Values may have commas.
    source_template = FishComplete.source_template.replace('split ","', 'split --max 1 ","')


@click.command(cls=Command, short_help="Print a completion script for your shell.")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def completion(shell: str) -> None:
    """Print a script with which your shell completes what you type after patauth.

    It completes commands and options. It asks the store for ids of PATs, names of an owner's PATs after
    --owner-id, owners and scopes: of the 200 newest PATs, and scopes of the setting scopes if it is set. If
    the store is down, or none is named by --store or PATAUTH_STORE_URL, these are missing.

    The last line of the script says how to install it. It works in every shell that you open afterwards. Bash
    must be 4.4 or newer; the one of macOS is 3.2.

    \b
    Examples:
      mkdir -p ~/.local/share/bash-completion/completions
      patauth completion bash > ~/.local/share/bash-completion/completions/patauth
      eval "$(patauth completion zsh)"
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    program = click.get_current_context().find_root().command
    # The name is fixed, because shells do not complete `python -m patauth`.
    source = kind(program, {}, "patauth", "_PATAUTH_COMPLETE").source()
    click.echo(f"{source.rstrip()}\n\n# To install it: {_INSTALL[shell]}")
