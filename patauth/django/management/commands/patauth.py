"""`manage.py patauth …`: the command line of patauth, with the store and settings of Django's settings."""

from __future__ import annotations

import sys
from argparse import REMAINDER
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, handle_default_options

from ....cli import program
from ....cli.context import Options
from ...configuration import keywords


class Command(BaseCommand):
    """Hands all words to the program `patauth`, and keeps its exit codes."""

    help = "Create, verify, exchange, limit and revoke personal access tokens."
    requires_system_checks: tuple[str, ...] = ()  # `doctor` and `config check` tell more

    def add_arguments(self, parser: CommandParser) -> None:
        """Take all words as they are."""
        parser.add_argument("words", nargs=REMAINDER)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the program and exit. Of Django's own options it takes --settings and --pythonpath."""
        parser = CommandParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        given, words = parser.parse_known_args(argv[2:])
        handle_default_options(given)
        _run(words, f"{argv[0]} {argv[1]}")

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the program's help."""
        _run(["--help"], f"{prog_name} {subcommand}")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the program for `call_command`. Raise `SystemExit` if it fails."""
        stdout, stderr = options.get("stdout") or sys.stdout, options.get("stderr") or sys.stderr
        with redirect_stdout(stdout), redirect_stderr(stderr):
            _run(options["words"], "patauth")


def _run(words: list[str], name: str) -> None:
    try:
        program.main(words, prog_name=name, obj=Options(host=keywords()))
    except SystemExit as end:
        if end.code:
            raise
