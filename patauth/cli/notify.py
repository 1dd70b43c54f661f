"""`patauth notify`: events for PATs that expire soon or have expired."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from ..operations.notify import notify as notices
from .context import open_authority, options
from .options import DURATION, Command
from .output import print_changed, progress


@click.command(cls=Command, short_help="Send events for PATs that expire soon.")
@click.option(
    "--within",
    "thresholds",
    type=DURATION,
    multiple=True,
    default=["7d"],
    help="How long before the expiry, such as 12h; repeat for several.  [default: 7d]",
)
def notify(thresholds: tuple[timedelta, ...]) -> None:
    """Send events for PATs that expire soon, and for those that have expired.

    Run this from cron, each hour or each day. A PAT has one event pat.expiring for each --within, and one
    event pat.expired, however often and on however many machines this runs. They go where the setting events
    says; the audit trail is written to stderr. With --quiet it is not, so another sink has to be set then. A
    PAT with a new expiry has them again. The first run also reports all expired PATs that are still listed.

    `changed` counts events; `ids` are the PATs, each one once.

    \b
    Examples:
      patauth notify
      patauth notify --within 30d --within 7d --within 1d
    """
    found: dict[str, None] = {}
    total = 0
    with _audit_trail_on_stderr(), open_authority() as authority:
        pieces = notices(authority.operations.actor(None), [int(one.total_seconds()) for one in thresholds])

        def counts() -> Iterator[int]:
            for ids in pieces:
                found.update(dict.fromkeys(ids))
                yield len(ids)

        for count in progress(counts(), "Sending events"):
            total += count
    print_changed(total, list(found))


@contextmanager
def _audit_trail_on_stderr() -> Iterator[None]:
    """Let the events be seen that are sent to the log alone, unless --quiet is given."""
    if options().quiet:
        yield
        return
    trail, handler = logging.getLogger("patauth.audit"), logging.StreamHandler(sys.stderr)
    level = trail.level
    trail.setLevel(logging.INFO)
    trail.addHandler(handler)
    try:
        yield
    finally:
        trail.removeHandler(handler)
        trail.setLevel(level)
