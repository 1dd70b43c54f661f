"""`patauth completion`: the scripts, and what a shell gets by them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth import Owner
from patauth.cli import program
from tests.support.authorities import patient
from tests.support.paths import ROOT
from tests.support.processes import Terminal, patauth_on_path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_for_its_shell_and_says_how_to_install_it(shell: str) -> None:
    result = CliRunner().invoke(program, ["completion", shell], prog_name="python -m patauth")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "_PATAUTH_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert re.match(rf"# To install it: (mkdir -p \S+ && )?patauth completion {shell} > ", last)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


def test_another_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(program, ["completion", "tcsh"]).exit_code == 2


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    environment = {
        **os.environ, "PATH": f"{patauth_on_path(tmp_path)}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)
    }  # fmt: skip
    script = """
        eval "$(patauth completion bash)"
        for words in "patauth ow" "patauth owner re" "patauth pat create --ow" "patauth pat u" \\
            "patauth pat list --f" "patauth pat list --columns id,na"; do
            COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            _patauth_completion patauth
            echo "${COMPREPLY[@]}"
        done
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == [
        "owner",
        "revoke",
        "--owner-id --owner-name --owner-type",
        "update",
        "--filter",
        "id,name",
    ]


@pytest.mark.parametrize(
    ("shell", "install"),
    [
        (["bash", "--norc", "-i"], 'eval "$(patauth completion bash)"'),
        (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(patauth completion zsh)"'),
        (["fish", "--no-config", "-i"], "patauth completion fish | source"),
    ],
)
def test_each_shell_completes_ids_names_owners_and_scopes_from_the_store(
    shell: list[str], install: str, url: str, tmp_path: Path
) -> None:
    """In the real, interactive shell. What it has completed is then run, so it is what was meant."""
    with patient(url) as authority:
        owner = Owner(f"{shell[0]}@shells.example")
        for name in ("nightly", "deploy"):
            made = authority.create(
                owner=owner, name=name, scope=["a:read", "a:write", "b"], never_expires=True
            )
    terminal = Terminal(
        command=shell, columns=300, PATAUTH_STORE_URL=url, TERM="xterm", HOME=str(tmp_path),
        PATH=f"{patauth_on_path(tmp_path)}:{os.environ['PATH']}",
    )  # fmt: skip
    terminal.type(f'{install}; echo rea""dy\n')
    terminal.wait_for("ready\r\n")
    for typed, completed in (
        (f"patauth pat update --owner-id {shell[0]}@sh", owner.id),
        (" ni", "nightly"),
        (" --scope=a:r", "--scope=a:read"),
        (" --scope a:w", "a:write"),
    ):
        terminal.type(f"{typed}\t")
        terminal.wait_for(completed[-4:])
    terminal.type(f" --output json; patauth pat show {made.pat.id[:20]}\t --output json")
    terminal.type("; patauth pat list --columns name,sta\t | cat; echo do''ne\n")
    terminal.wait_for("done\r\n")
    terminal.type("exit\n")
    assert terminal.end()[0] == 0
    lines = terminal.shown.replace("\r", "")
    changed, shown = re.findall(r'^ *"name": "(.*)",$', lines, re.M)
    assert (changed, shown) == ("nightly", "deploy")
    assert re.search(r"^NAME +STATE$", lines, re.M), "what follows a comma is completed, too"
    assert re.search(r'"scope": \[\s*"a:read",\s*"a:write"\s*\]', lines)
