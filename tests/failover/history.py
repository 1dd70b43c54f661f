"""What was asked in a round and what came of it, and which promises that breaks. Pure.

All instants are seconds of `time.monotonic()`, which is one clock for all processes of a machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

TRUST = 3.0  # s after it was cut off for which an old primary may be believed
PROMPT = 0.6  # s within which 99 of 100 answers of 503 come

ACCEPTED, REFUSED, UNAVAILABLE = "accepted", "refused", "503"  # outcomes; others are faults


class Verification(NamedTuple):
    """A credential was shown: by which verifier, when, and what came of it."""

    verifier: str
    credential: str
    began: float
    ended: float
    outcome: str


class Change(NamedTuple):
    """Somebody asked to make credentials, or to end them. An outcome of "accepted" is an acknowledgement.

    `by` is the credential that asked; empty: the host.
    """

    kind: str
    credentials: tuple[str, ...]
    began: float
    ended: float
    outcome: str
    by: str = ""


@dataclass
class History:
    """All of a round. A credential that no change has made was there before, on all servers.

    `cut` is the instant at which the old primary was cut off; None: nothing was. `at_end` is what came of
    each credential of the host after everything had healed. `present` are the credentials made by others
    that were there then, and `found` those that were there once the end of their maker was acknowledged.
    `elsewhere` are the credentials that are on other shards than the old primary's; None: there is one shard.
    `faults` are what went wrong besides.
    """

    cut: float | None = None
    verifications: list[Verification] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    at_end: dict[str, str] = field(default_factory=dict)
    present: Set[str] = frozenset()
    found: Mapping[str, Set[str]] = field(default_factory=dict)
    elsewhere: Set[str] | None = None
    faults: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What a round has shown. The lists name each case; `down` and `longest` are in seconds.

    `tried_early` and `tried_late` count the verifications of which `early` and `late` could be: of ended
    credentials, after the cut, and answered, since a 503 tells nothing. `missing` is what the round lacks,
    without which it tells nothing. `down` is how long the credential that was worst off got nothing but 503.
    `longest` is the longest that anybody waited for a 503.
    """

    acknowledged: int = 0
    tried_early: int = 0
    tried_late: int = 0
    early: list[str] = field(default_factory=list)  # accepted after its end, within `TRUST` after the cut
    late: list[str] = field(default_factory=list)  # accepted after its end, at any other time
    came_back: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    outlived: list[str] = field(default_factory=list)  # changes by credentials that had ended
    spurious: list[str] = field(default_factory=list)
    spread: list[str] = field(default_factory=list)  # 503 for credentials on other shards
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)  # s that each 503 took
    down: float = 0.0

    @property
    def longest(self) -> float:
        return max(self.refusals, default=0.0)

    def broken(self, *, is_safe: bool) -> list[str]:
        """Return the promises that are broken. `is_safe`: a change waits for all that can be promoted."""
        always = {
            "late": self.late, "outlived": self.outlived, "spurious": self.spurious,
            "503 on another shard": self.spread, "fault": self.faults, "tells nothing": self.missing,
        }  # fmt: skip
        safe = {"came back": self.came_back, "lost": self.lost}
        cases = {**always, **(safe if is_safe else {})}
        return [f"{name}: {case}" for name, found in cases.items() for case in found]


def judge(history: History) -> Verdict:
    """Return what a round has shown.

    A credential whose end was acknowledged and which is good in the end came back: the servers have lost its
    end. What it could do meanwhile is not counted again.
    """
    makings = [one for one in history.changes if one.kind == "create"]
    endings = [one for one in history.changes if one.kind != "create"]
    asked_to_make, asked_to_end = _first(makings), _first(endings)
    made, ended = _first(makings, done=True), _first(endings, done=True)
    verdict = Verdict(acknowledged=len(made) + len(ended))
    verdict.came_back = [name for name in ended if history.at_end.get(name) == ACCEPTED]
    over = {name: at for name, at in ended.items() if name not in verdict.came_back}
    # Those that were there before the round were made at an instant that is before all others.
    there = {name: made.get(name, inf if name in asked_to_make else -inf) for name in history.at_end}
    verdict.lost = [
        name
        for name, outcome in history.at_end.items()
        if outcome == REFUSED and there[name] < inf and name not in asked_to_end
    ]
    for one in history.verifications:
        has_ended = one.began > over.get(one.credential, inf)
        since = inf if history.cut is None else one.began - history.cut
        is_early = 0 <= since <= TRUST
        if has_ended and one.outcome in (ACCEPTED, REFUSED):
            verdict.tried_early += is_early
            verdict.tried_late += since > TRUST
        if has_ended and one.outcome == ACCEPTED:
            told = f"{_named(one)}, {one.began - over[one.credential]:.3f} s after its end"
            (verdict.early if is_early else verdict.late).append(f"{told}, {since:.3f} s after the cut")
        elif one.outcome == REFUSED and one.credential not in verdict.lost:
            known = there.get(one.credential, inf)
            if known < one.began and one.ended < asked_to_end.get(one.credential, inf):
                verdict.spurious.append(_named(one))
    verdict.outlived = sorted(_outlived(history, makings, over))
    verdict.faults = list(_faults(history))
    unavailable = [one for one in history.verifications if one.outcome == UNAVAILABLE]
    verdict.spread = [_named(one) for one in unavailable if one.credential in (history.elsewhere or ())]
    verdict.refusals = [one.ended - one.began for one in unavailable]
    verdict.down = _down(history.verifications)
    after = -inf if history.cut is None else history.cut
    shown = {one.credential for one in history.verifications if one.began > after}
    needed = {
        "no verification was accepted": any(one.outcome == ACCEPTED for one in history.verifications),
        "no change was acknowledged": verdict.acknowledged,
        "no ended credential was tried when no old primary may be believed any more": verdict.tried_late,
        "no credential on another shard was shown after the cut": (
            history.elsewhere is None or shown & history.elsewhere
        ),
    }
    verdict.missing = [lack for lack, found in needed.items() if not found]
    return verdict


def p99(seconds: Sequence[float]) -> float:
    """Return the time (s) within which 99 of 100 came; 0 if there is none."""
    return sorted(seconds)[-(-len(seconds) * 99 // 100) - 1] if seconds else 0.0


def _named(one: Verification) -> str:
    return f"{one.credential} by {one.verifier}"


def _faults(history: History) -> Iterator[str]:
    """Yield what went wrong besides, and each outcome that nothing may have."""
    yield from history.faults
    known = (ACCEPTED, REFUSED, UNAVAILABLE)
    yield from (f"{_named(one)}: {one.outcome}" for one in history.verifications if one.outcome not in known)
    yield from (f"{one.kind}: {one.outcome}" for one in history.changes if one.outcome not in known)
    at_end = history.at_end.items()
    yield from (f"{name} in the end: {came}" for name, came in at_end if came not in (ACCEPTED, REFUSED))


def _first(changes: Iterable[Change], *, done: bool = False) -> dict[str, float]:
    """Return when each credential was first asked to be made or ended; `done`: when that was acknowledged."""
    found: dict[str, float] = {}
    for one in changes:
        if not done or one.outcome == ACCEPTED:
            for name in one.credentials:
                at = one.ended if done else one.began
                found[name] = min(at, found.get(name, inf))
    return found


def _outlived(history: History, makings: Iterable[Change], ended: Mapping[str, float]) -> set[str]:
    """Return what credentials have made after their own end was acknowledged."""
    found = set()
    for one in makings:
        for name in one.credentials:
            is_there = name in history.present
            is_late = is_there and one.by in ended and name not in history.found.get(one.by, {name})
            if is_late or ((is_there or one.outcome == ACCEPTED) and one.began > ended.get(one.by, inf)):
                found.add(f"{name} by {one.by}")
    return found


def _down(verifications: Iterable[Verification]) -> float:
    """Return how long (s) the credential that was worst off got nothing but 503, all such times together."""
    down: dict[str, float] = {}
    since: dict[str, float] = {}
    for one in sorted(verifications, key=lambda one: one.began):
        if one.outcome != UNAVAILABLE:
            since.pop(one.credential, None)
        else:
            start = since.setdefault(one.credential, one.began)
            down[one.credential] = down.get(one.credential, 0.0) + max(0.0, one.ended - start)
            since[one.credential] = max(one.ended, start)
    return max(down.values(), default=0.0)
