"""What goes on in a round: threads that verify credentials, and threads that make and end them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import inf
from multiprocessing.synchronize import Event
from random import Random
from typing import Any, NamedTuple

from patauth import Authority, Forbidden, IssuedPat, NotFound, Owner, PatAuthError, Principal
from patauth.crypto.profiles import PROFILES
from tests.failover.history import ACCEPTED, REFUSED, Change, Verification
from tests.support.authorities import basic_of, bearer, issue
from tests.support.traffic import outcome

_RIGHT = "idn:all-personal-access-tokens:manage"
_TARGETS = 72  # of a round, besides two callers
_SLOW = ("caller", "disable")  # kinds whose end waits half a second
_MOMENT = 0.3  # s in which an idle process asks at first, and without a pause once it is awake
# s between two requests of a thread. Ends are slow, so that some are left when another primary has come.
_VERIFIED_EACH, _MADE_EACH, _ENDED_EACH = 0.003, 0.03, 0.1
_SHORT = timedelta(hours=1)  # less than a caller has left
_FULL = "1000000/1"  # no quota is in the way
SETTINGS: dict[str, Any] = {
    "hash_profile": PROFILES["testing"],
    "request_quota": _FULL,
    "exchange_quota": _FULL,
    "create_quota": _FULL,
    "max_pats_per_owner": 100_000,
}
# The same for an app, which makes no PATs.
OF_SERVICE = {"request_quota": _FULL, "failure_quota": _FULL}


class Target(NamedTuple):
    """A PAT of an owner of its own, and one of its access tokens; both were made before the round.

    `kind` is how the round ends it: "delete" the PAT, "revoke" the token, "disable" the owner; "keep": not at
    all. A "caller" has a right over others, makes PATs by it, and is deleted. `values` are the Authorization
    values by the names of the credentials.
    """

    name: str
    kind: str
    owner: str
    pat_id: str
    values: Mapping[str, str]
    token: str

    @property
    def tag(self) -> str:
        return self.pat_id[:8]

    @property
    def ended(self) -> tuple[str, ...]:
        """Return the names of the credentials that its end ends."""
        return (f"{self.name} token",) if self.kind == "revoke" else tuple(self.values)


@dataclass
class Round:
    """What all processes of a round are told."""

    number: int
    seed: str
    targets: list[Target]

    def values(self) -> dict[str, str]:
        """Return the Authorization values of the credentials by their names."""
        return {name: value for one in self.targets for name, value in one.values.items()}

    def shown_by(self, verifier: str) -> list[tuple[str, str]]:
        """Return the names and values of the credentials that a verifier shows."""
        values = self.values()
        if verifier.startswith("idle"):  # it has few milliseconds to find one that ended while it slept
            return [(name, values[name]) for one in self.targets if one.kind != "keep" for name in one.ended]
        if verifier.startswith("http"):  # an app would hash each secret at full cost
            return [pair for pair in values.items() if pair[1].startswith("Bearer ")]
        return list(values.items())

    @property
    def callers(self) -> list[Target]:
        return [one for one in self.targets if one.kind == "caller"]

    def owners_of(self, caller: Target) -> tuple[str, str]:
        """Return the owners for whom a caller makes PATs: its own, and one in another slot."""
        return caller.owner, f"{caller.owner}-far"

    def made_by(self, caller: Target, authority: Authority) -> Iterator[str]:
        """Yield the names of the PATs that a caller has made and that are there."""
        for owner in self.owners_of(caller):
            yield from (pat.name for pat in authority.list(owner_id=owner) if pat.name != caller.name)


def prepared(authority: Authority, number: int, seed: int) -> Round:
    """Make the targets of a round."""
    targets = []
    kinds = ["caller", "caller", *(["delete", "revoke", "disable", "keep"] * (_TARGETS // 4))]
    for place, kind in enumerate(kinds):
        name, owner = f"{kind}-{place}", Owner(f"r{number}-{place}")
        scope = ["reports:read", *([_RIGHT] if kind == "caller" else [])]
        issued = issue(authority, name, owner=owner, scope=scope)
        token = authority.exchange(issued.pat.id, issued.secret).value
        values = {name: basic_of(issued), f"{name} token": bearer(token)}
        targets.append(Target(name, kind, owner.id, issued.pat.id, values, token))
    return Round(number, f"{seed} {number}", targets)


class Signals(NamedTuple):
    """What has happened in a round: the idle process was woken, and the round is over."""

    awake: Event
    over: Event


@dataclass
class Noted:
    """What a process notes in a round. `values` are those of credentials that it has made.

    `found` are the PATs that a caller had made when its end was acknowledged.
    """

    verifications: list[Verification] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    found: dict[str, frozenset[str]] = field(default_factory=dict)

    def verified(self, verifier: str, credential: str, call: Callable[[], object]) -> None:
        """Verify a credential by means of a call, and note what came of it."""
        began = time.monotonic()
        came = told(call)
        self.verifications.append(Verification(verifier, credential, began, time.monotonic(), came))

    def changed(self, kind: str, names: tuple[str, ...], call: Callable[[], object], by: str = "") -> bool:
        """Make or end credentials by means of a call, and note it. Return whether it was acknowledged."""
        began = time.monotonic()
        came = told(call)
        self.changes.append(Change(kind, names, began, time.monotonic(), came, by))
        return came == ACCEPTED


def told(call: Callable[[], object]) -> str:
    """Return what a call came to, be it a fault."""
    try:
        return outcome(call)
    except Forbidden:
        return REFUSED
    except Exception as problem:
        return repr(problem)


def verify(name: str, ask: Callable[[str], object], given: Round, signals: Signals, noted: Noted) -> None:
    """Show credentials until the round is over; one that is idle does so for a moment, and once awake."""
    chance = Random(f"{given.seed} {name}")
    values = given.shown_by(name)
    sleepy_at = time.monotonic() + _MOMENT if name.startswith("idle") else inf
    hasty_until = 0.0
    while not signals.over.is_set():
        if time.monotonic() > sleepy_at:
            signals.awake.wait()
            sleepy_at, hasty_until = inf, time.monotonic() + _MOMENT
        credential, value = chance.choice(values)
        noted.verified(name, credential, partial(ask, value))
        if time.monotonic() > hasty_until:
            time.sleep(_VERIFIED_EACH)


class Changes:
    """A writer, two revokers, and callers that use their right until they have been ended and after that."""

    def __init__(self, authority: Authority, given: Round, signals: Signals, noted: Noted) -> None:
        self._authority = authority
        self._given = given
        self._signals = signals
        self._noted = noted

    def works(self) -> list[Callable[[], None]]:
        """Return what a thread each has to do."""
        callers = [partial(self._call, one) for one in self._given.callers]
        return [self._write, partial(self._revoke, True), partial(self._revoke, False), *callers]

    def _turns(self, pause: float = _MADE_EACH) -> Iterator[int]:
        """Count until the round is over, with a pause (s) after each number."""
        number = 0
        while not self._signals.over.is_set():
            yield number
            number += 1
            time.sleep(pause)

    def _write(self) -> None:
        """Make PATs, and exchange each for an access token."""
        for number in self._turns():
            made: list[IssuedPat] = []
            name, owner = f"new-{number}", Owner(f"r{self._given.number}-new-{number % 6}")
            self._noted.changed("create", (name,), partial(self._issue, made, name, owner))
            for issued in made:
                self._noted.values[name] = basic_of(issued)
                exchange = partial(self._authority.exchange, issued.pat.id, issued.secret)
                self._noted.verified("writer", name, exchange)

    def _issue(self, made: list[IssuedPat], name: str, owner: Owner, by: Principal | None = None) -> None:
        scope = ["reports:read"]
        made.append(issue(self._authority, name, owner=owner, scope=scope, expires_in=_SHORT, by=by))

    def _revoke(self, slow: bool) -> None:
        """End the slow targets one after the other, or the others; again later if it is not acknowledged."""
        left = [one for one in self._given.targets if one.kind != "keep" and (one.kind in _SLOW) == slow]
        Random(self._given.seed).shuffle(left)
        for _ in self._turns(_ENDED_EACH):
            if not left:
                return
            target = left.pop(0)
            if not self._noted.changed(target.kind, target.ended, partial(self._end, target)):
                left.append(target)
            elif target.kind == "caller":
                with suppress(PatAuthError):
                    there = self._given.made_by(target, self._authority)
                    self._noted.found[target.name] = frozenset(there)

    def _end(self, target: Target) -> None:
        if target.kind == "revoke":
            self._authority.revoke(target.token)
        elif target.kind == "disable":
            self._authority.disable_owner(target.owner)
        else:
            with suppress(NotFound):  # an end that finds its work done is one
                self._authority.delete(target.pat_id)

    def _call(self, caller: Target) -> None:
        """Make PATs by the right of a caller, for the one of its owners and for the other in turn."""
        by: Principal | None = None
        for number in self._turns():
            if by is None:
                with suppress(PatAuthError):
                    by = self._authority.authenticate(caller.values[caller.name])
            else:
                owner = Owner(self._given.owners_of(caller)[number % 2])
                name = f"{caller.name}-{number}"
                self._noted.changed("create", (name,), partial(self._issue, [], name, owner, by), caller.name)
