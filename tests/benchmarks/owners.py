"""The part `owners`: whether an owner who has or had many PATs costs the server more than one of few.

What is compared is the server's own time for a call: the sum over all scripts and commands of the call in its
SLOWLOG, which has the commands in scripts too. So neither Python nor the socket is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any

import click

from patauth import Authority, IssuedPat, Owner, Settings
from patauth.crypto.profiles import PROFILES
from tests.support.servers import Server

from .calls import SCOPE
from .cases import MUCH, basic
from .measure import show_progress
from .report import Goal, Part, Table, engine_of

FEW = 10  # and as many on a page
MOST_US = 5_000  # of one script or command
_SOON, _LATER = timedelta(seconds=1), timedelta(days=30)
_COMMANDS = 100_000  # most commands that SLOWLOG keeps: more than any call here sends


@dataclass(frozen=True, slots=True)
class Had:
    """What the server took for a call, in µs."""

    total: int
    longest: int  # of its scripts and commands; a machine that does other things makes it longer


class Store:
    """A server that tells its own times, and an Authority on a clock that goes on when it is told to."""

    def __init__(self, server: Server, most: int) -> None:
        self.now = 1_800_000_000_000  # ms
        settings = Settings.of(
            store_url=server.url,
            hash_profile=PROFILES["testing"],
            request_quota=MUCH,
            max_pats_per_owner=2 * most,
            max_kept_per_owner=2 * most,
            connect_timeout=5,
            command_timeout=0.4,
        )
        self.authority = Authority(settings, _clock=lambda: self.now)
        self._client = server.client()
        self._client.config_set("slowlog-max-len", _COMMANDS)

    def close(self) -> None:
        """Give back all connections."""
        self.authority.close()
        self._client.close()

    def make(self, owner: str, name: str, life: timedelta = _LATER) -> IssuedPat:
        """Make a PAT of an owner."""
        self.now += 1
        return self.authority.create(owner=Owner(owner), name=name, scope=[SCOPE], expires_in=life)

    def timed(self, call: Callable[[], object]) -> Had:
        """Make a call, and ask the server for its times."""
        self._client.slowlog_reset()
        for _ in range(100):  # the memory of a long log is given back during the next scripts
            self._client.eval("return redis.call('TIME')", 0)
        self._client.config_set("slowlog-log-slower-than", 0)
        call()
        self._client.config_set("slowlog-log-slower-than", -1)
        found: Any = self._client.slowlog_get(_COMMANDS)
        own = (b"CONFIG", b"SLOWLOG")  # commands of this measurement
        times = [int(one["duration"]) for one in found if not one["command"].upper().startswith(own)]
        return Had(sum(times), max(times))


def _fill(store: Store, most: int) -> dict[str, str]:
    """Make the owners' PATs. Return each owner's id by what there is to say of them."""
    few, many, past = f"{FEW} PATs", f"{most} PATs", f"{FEW} PATs, and {most} that have expired"
    with click.progressbar(length=2 * most, label="PATs", file=click.get_text_stream("stderr")) as bar:
        for number in range(most):
            store.make("past", f"old {number}", _SOON)
            store.make("many", f"n{number}")
            bar.update(2)
    store.now += 2_000
    for number in range(FEW):
        store.make("past", f"n{number}")
        store.make("few", f"n{number}")
    return {few: "few", many: "many", past: "past"}


def _round(store: Store, owner: str, number: int) -> dict[str, Had]:
    """Make a PAT, and do with it what one does."""
    authority, made, tokens = store.authority, list[IssuedPat](), list[str]()
    had = {"create": store.timed(lambda: made.append(store.make(owner, f"new {number}")))}
    (issued,) = made
    pat_id, secret = issued.pat.id, issued.secret
    later = [{"op": "replace", "path": "/expirationDate", "value": "2027-02-01T00:00:00Z"}]
    rename = [{"op": "replace", "path": "/name", "value": f"renamed {number}"}]
    calls: dict[str, Callable[[], object]] = {
        f"page of {FEW}": lambda: authority.list(owner_id=owner, limit=FEW),
        "verify a secret, its first use": lambda: authority.authenticate(basic(pat_id, secret)),
        "verify a secret, by Basic": lambda: authority.authenticate(basic(pat_id, secret)),
        "exchange": lambda: tokens.append(f"Bearer {authority.exchange(pat_id, secret).value}"),
        "verify an access token": lambda: authority.authenticate(tokens[0]),
        "patch the name": lambda: authority.patch(pat_id, rename),
        "patch the expiry": lambda: authority.patch(pat_id, later),
        "rotate": lambda: authority.rotate(pat_id),
        "disable and enable the PAT": lambda: (authority.disable(pat_id), authority.enable(pat_id)),
        "delete": lambda: authority.delete(pat_id),
    }
    return had | {name: store.timed(call) for name, call in calls.items()}


def run(server: Server, most: int, *, rounds: int) -> Part:
    """Let owners take turns; then disable, enable and revoke each as a whole."""
    store = Store(server, most)
    try:
        owners = _fill(store, most)
        rows: dict[tuple[str, str], list[Had]] = {}
        for number in range(rounds):
            for said, owner in owners.items():
                show_progress(f"round {number + 1} of {rounds}: {said}")
                for verb, had in _round(store, owner, number).items():
                    rows.setdefault((verb, said), []).append(had)
        show_progress("")
        authority = store.authority
        changes: dict[str, Callable[[str], object]] = {
            "disable the owner": authority.disable_owner,
            "enable the owner": authority.enable_owner,
            "revoke the owner": authority.revoke_owner,
        }
        for verb, change in changes.items():
            for said, owner in owners.items():
                rows[verb, said] = [store.timed(partial(change, owner))]
        engine = engine_of(server)
    finally:
        store.close()
    return _part(engine, rows, list(owners), most, rounds)


def _part(
    engine: str, rows: dict[tuple[str, str], list[Had]], owners: list[str], most: int, rounds: int
) -> Part:
    verbs = list(dict.fromkeys(verb for verb, _ in rows))
    us = {verb: [median(had.total for had in rows[verb, said]) for said in owners] for verb in verbs}
    longest = {verb: [max(had.longest for had in rows[verb, said]) for said in owners] for verb in verbs}
    single = [verb for verb in verbs if "the owner" not in verb]
    goals = [
        Goal("G5", f"{verb}: owners of {most} / of {FEW} PATs, at most", max(us[verb]) / us[verb][0], 1.5)
        for verb in single
    ]
    worst = max(max(found) for found in longest.values())
    goals.append(Goal("owners", "longest command or script, ms", worst / 1000, MOST_US / 1000))
    method = (
        f"{engine} on a unix socket. Owners of {FEW} PATs, of {most}, and of {FEW} beside {most} that have"
        " expired, all made by `Authority.create` with limits that allow it. µs of the server for a call: the"
        f" sum of its scripts and commands in SLOWLOG, medians of {rounds} rounds in which the owners take"
        " turns; what changes a whole owner is done once. The page has the first PATs of the owner."
    )
    heads = ("call", *owners)
    return Part(
        "owners",
        method,
        [Table("Owners of many PATs, µs of the server", heads, [(verb, *us[verb]) for verb in verbs])],
        {
            "engine": engine,
            "us": {verb: dict(zip(owners, us[verb], strict=True)) for verb in verbs},
            "longest_us": {verb: dict(zip(owners, longest[verb], strict=True)) for verb in verbs},
        },
        goals,
        [Table("µs of the longest command", heads, [(verb, *longest[verb]) for verb in verbs])],
    )
