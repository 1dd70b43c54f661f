"""`patauth completion`: the scripts, and what a shell gets by them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth.cli import program
from tests.support.paths import ROOT


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_for_its_shell_and_says_how_to_install_it(shell: str) -> None:
    result = CliRunner().invoke(program, ["completion", shell], prog_name="python -m patauth")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "_PATAUTH_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"# To install it: patauth completion {shell} > ")
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


def test_another_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(program, ["completion", "tcsh"]).exit_code == 2


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    patauth = tmp_path / "patauth"
    patauth.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.argv[0] = \'patauth\';'
                       ' from patauth.__main__ import main; main()" "$@"\n')  # fmt: skip
    patauth.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = """
        eval "$(patauth completion bash)"
        for words in "patauth ow" "patauth owner re" "patauth pat create --ow" "patauth pat u" \\
            "patauth pat list --f"; do
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
    ]
