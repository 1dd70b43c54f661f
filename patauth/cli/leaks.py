"""`patauth pat revoke --from-file`: what is ended, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import BinaryIO

import click

from ..model.leaks import Leak, LeakReader
from ..model.words import counted
from ..operations.leaks import MOST_SECRETS, Ending, Finding, LeakReport
from .context import Failure, message, open_authority, options, printable
from .options import confirm
from .output import print_changed, progress

_PIECE = 65_536  # bytes read at a time


def revoke_leaked(file: BinaryIO, *, yes: bool, with_ids: bool, reason: str | None) -> None:
    """End what a file names, and print a line for each thing that looks like a credential of ours.

    Ask first, unless `yes`. `with_ids`: a PAT id alone ends its PAT, too. `reason` is kept with the PATs.
    """
    with open_authority() as authority:
        operations = authority.operations
        report = LeakReport(operations.actor(None), reason or "leak report")
        reader = LeakReader(operations.format, with_jwts=operations.reads_jwts)
        found = []
        for finding in report.look_up(reader.read(_pieces(file))):
            if finding.state != "found":
                _say(finding, finding.state)
            elif with_ids or finding.leak.kind != "PAT id":
                found.append(finding)
            else:
                _say(finding, "left alone: only its id is there")
        found += _said_unless_found(report.of_secrets())
        if not yes and (found or report.secrets):
            confirm(_question(found, report.secrets))
        ending = Ending(report)
        try:
            _end(ending, found)
            if report.secrets:
                _end_by_secrets(report, ending)
        finally:
            print_changed(len(ending.pats) + ending.tokens, list(ending.pats))
        if ending.problem is not None:
            raise ending.problem
        if report.left_out:
            raise Failure(
                f"{counted(report.left_out, 'PAT secret')} without an id not looked at: {MOST_SECRETS} of a"
                " report are compared with all PATs; put the others into a report of their own"
            )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _said_unless_found(findings: Iterable[Finding]) -> Iterator[Finding]:
    for finding in findings:
        if finding.state == "found":
            yield finding
        else:
            _say(finding, finding.state)


def _end(ending: Ending, findings: Iterable[Finding]) -> None:
    for finding, outcome in ending.end(findings):
        _say(finding, f"FAILED: {ending.problem}" if outcome == "failed" else outcome)


def _end_by_secrets(report: LeakReport, ending: Ending) -> None:
    message("Looking for PAT secrets without an id: all PATs are compared with them.")
    pieces = iter(report.in_tenant())
    found: list[Finding] = []

    def counts() -> Iterator[int]:
        for some in pieces:
            found.extend(some)
            yield len(some)

    for _ in progress(counts(), "Comparing PATs"):
        _end(ending, _said_unless_found(found))
        found.clear()
    for leak in report.secrets.values():
        _say_of(leak, None, "not ours")


def _question(found: list[Finding], secrets: Sized) -> str:
    pats = len({finding.pat_id for finding in found if finding.leak.token is None})
    tokens = sum(finding.leak.token is not None for finding in found)
    named = [counted(count, what) for count, what in ((pats, "PAT"), (tokens, "access token")) if count]
    if secrets:
        named.append(f"the PATs of {counted(len(secrets), 'secret')}, if there are any")
    *most, last = named
    return f"End {', '.join(most)}{', and ' if most else ''}{last}, for good?"


def _say(finding: Finding, done: str) -> None:
    _say_of(finding.leak, finding.pat_id, done)


def _say_of(leak: Leak, pat_id: str | None, done: str) -> None:
    """Print a line about one thing that was found. It is no note, so --quiet does not leave it out."""
    named = pat_id or leak.pat_id or "-"
    click.echo(printable(f"line {leak.line}: {leak.kind} {named}: {done}"), err=options().json)
