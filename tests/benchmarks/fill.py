"""A store filled as it would be by a year of use: PAT by PAT, through `Authority.create` and `verify_basic`.

Only two things are not as in production: argon2 has the costs of the profile `testing`, since its time is
not what is asked here, nor a record longer by it; and the clock is one that moves through the year before
today.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from datetime import timedelta
from typing import NamedTuple

import click

from patauth import Authority, Owner, Settings
from patauth.crypto.profiles import PROFILES

from .calls import SCOPE
from .cases import MUCH

EACH = 10  # PATs of an owner: as many as one may have by default
LEAST = 200  # PATs in all: so that each page that is asked for is full
YEAR, DAY, HOUR = 365 * 86_400_000, 86_400_000, 3_600_000  # ms
LIFE = timedelta(days=2 * 365)  # a record that expires takes more than one that does not

_OWNERS = 5  # that a process makes the PATs of in one go


class Known(NamedTuple):
    """A PAT that was made, with its secret."""

    pat_id: str
    secret: str
    owner_id: str


class _Filler:
    """What each process has: an Authority, and its clock.

    `start`: when the first of all PATs is made, ms; `step`: ms until the next.
    """

    def __init__(self, url: str, start: int, step: float) -> None:
        self.start, self.step = start, step
        self.now = start
        settings = Settings.of(
            store_url=url,
            hash_profile=PROFILES["testing"],
            request_quota=MUCH,
            connect_timeout=5,
            command_timeout=0.4,
        )
        self.authority = Authority(settings, _clock=lambda: self.now)

    def make(self, first: int) -> list[Known]:
        """The PATs of some owners, four of five used within a month."""
        known = []
        for number in range(first, first + _OWNERS * EACH):
            made = self.start + round(number * self.step)
            self.now = made
            owner = Owner(f"00u{number // EACH:017d}", name=f"Person {number // EACH}")
            name = f"deploy {number % EACH}"
            issued = self.authority.create(owner=owner, name=name, scope=[SCOPE], expires_in=LIFE)
            if number % 5:
                self.now = made + number * 7919 % 30 * DAY + HOUR
                self.authority.verify_basic(issued.pat.id, issued.secret)
            known.append(Known(issued.pat.id, issued.secret, owner.id))
        return known


_filler: _Filler  # of this process


def _start(url: str, start: int, step: float) -> None:
    global _filler
    _filler = _Filler(url, start, step)


def _make(first: int) -> list[Known]:
    return _filler.make(first)


def fill(url: str, pats: int) -> list[Known]:
    """Make so many PATs (a multiple of 50) in the store at `url`, and return them with their secrets."""
    if pats < LEAST or pats % (_OWNERS * EACH):
        raise SystemExit(f"--pats: give multiples of {_OWNERS * EACH}, from {LEAST} on")
    year_ago = time.time_ns() // 1_000_000 - YEAR
    step = (YEAR - 31 * DAY) / pats  # uses come up to 30 days later
    with Authority.from_url(url) as authority:
        authority.ping()  # the store has its key before several ask for it
    firsts = range(0, pats, _OWNERS * EACH)
    processes = len(os.sched_getaffinity(0))
    known: list[Known] = []
    with (
        multiprocessing.get_context("fork").Pool(processes, _start, (url, year_ago, step)) as pool,
        click.progressbar(length=pats, label=f"{pats} PATs", file=sys.stderr) as bar,
    ):
        for some in pool.imap_unordered(_make, firsts):
            known += some
            bar.update(_OWNERS * EACH)
    return known
