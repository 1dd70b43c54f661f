"""Timing: cases that take turns on one CPU, and what of their times is told.

The clock of one case means little on a shared machine, whose speed drifts within seconds. So all cases take
turns, round after round, and what is told is each one's median over the rounds, and ratios of medians.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Pin = Literal["same", "cross", "free"]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to time. `share`: of the calls of a round; slow cases need fewer.

    `after`: is called after each round, and its time not counted.
    """

    name: str
    call: Callable[[], object]
    share: float = 1.0
    after: Callable[[], object] | None = None

    def calls(self, calls: int) -> int:
        """How often it is called in a round of `calls`."""
        return max(1, round(calls * self.share))


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of one case: µs per call, the mean of each round, or the median of each process."""

    name: str
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """µs per call: the median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """The distance between the quartiles of the rounds, in per cent of the median."""
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return 100 * (high - low) / self.median

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return {"us": self.median, "spread_percent": self.spread, "rounds": self.rounds}


Timings = Mapping[str, Timing]


def ratio(timings: Timings, name: str, base: str) -> Timing:
    """Return one case as a multiple of another, round by round: what slows a round slows both."""
    pairs = zip(timings[name].rounds, timings[base].rounds, strict=True)
    return Timing(f"{name} / {base}", [one / other for one, other in pairs])


def over_processes(found: Sequence[Timings]) -> dict[str, Timing]:
    """Return the medians of several processes as the rounds of one timing."""
    return {name: Timing(name, [timings[name].median for timings in found]) for name in found[0]}


def take_turns(cases: Sequence[Case], *, rounds: int, calls: int, said: str = "") -> dict[str, Timing]:
    """Time all cases in turn, `rounds` times (two or more); by name.

    `said`: what the progress begins with.
    """
    timings = {case.name: Timing(case.name) for case in cases}
    for case in cases:
        _time(case, max(5, case.calls(calls) // 5), 0)
    # What was made so far is not searched again at each collection; what requests leave behind is, as it
    # would be in a service.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            for case in cases:
                show_progress(f"{said}round {number + 1} of {rounds}: {case.name}")
                often = case.calls(calls)
                # Untimed: the case before has filled the CPU's caches with its own.
                _time(case, often // 20 + 1, number)
                timings[case.name].rounds.append(_time(case, often, number))
    finally:
        gc.unfreeze()
        show_progress("")
    return timings


def _time(case: Case, often: int, depth: int) -> float:
    """µs of a call, so many frames deeper.

    CPython keeps frames in chunks, and a loop whose calls step over the end of one pays for a new chunk each
    time: 15 µs that another caller would not see. At another depth in each round, the median does not either.
    """
    if depth > 0:
        return _time(case, often, depth - 1)
    call = case.call
    start = time.perf_counter_ns()
    for _ in range(often):
        call()
    taken = (time.perf_counter_ns() - start) / often / 1000
    if case.after is not None:
        case.after()
    return taken


def show_progress(text: str) -> None:
    """A line on stderr that the next one replaces; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


class Pinning:
    """Which CPUs client and server run on; a server inherits those of the process that starts it.

    `same`: both on the last CPU there is, which measures what the software costs. `cross`: the server on the
    first. `free`: as the kernel likes.
    """

    def __init__(self, pin: Pin) -> None:
        self.pin = pin
        self._all = cpus = sorted(os.sched_getaffinity(0))
        if pin == "cross" and len(cpus) < 2:
            raise SystemExit("--pin cross needs two CPUs, and there is one")
        self.client = set(cpus) if pin == "free" else {cpus[-1]}
        self.server = {cpus[0]} if pin == "cross" else self.client

    def __str__(self) -> str:
        if self.pin == "free":
            return f"client and server on any of {len(self._all)} CPUs"
        if self.pin == "same":
            return f"client and server on CPU {min(self.client)}"
        return f"client on CPU {min(self.client)}, server on CPU {min(self.server)}"

    def pin_client(self) -> None:
        """Pin this process, and what it starts from now on."""
        os.sched_setaffinity(0, self.client)

    def pin_server(self, pid: int) -> None:
        """Pin a server, with all of its threads."""
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), self.server)

    def undo(self) -> None:
        """Put this process back on the CPUs that it had."""
        os.sched_setaffinity(0, self._all)
