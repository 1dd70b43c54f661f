"""The command: rounds of events under traffic, one after the other, and the report.

python -m tests.failover sentinel|cluster [--rounds N] [--durability ...] [--event NAME ...] [--gunicorn] ...
"""

from __future__ import annotations

import json
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click

from patauth import Authority
from tests.benchmarks.report import Table, engine_of, machine
from tests.failover.events import EVENTS, Scene, possible
from tests.failover.history import PROMPT, UNAVAILABLE, History, Verdict, judge, p99
from tests.failover.traffic import OF_SERVICE, SETTINGS, Signals, prepared, told
from tests.failover.workers import Worker, signals
from tests.failover.worlds import WORLDS, World
from tests.support.authorities import patient
from tests.support.gunicorn import Service
from tests.support.servers import binaries

WARM_UP = 0.6  # s of traffic before an event
HEALED = 0.4  # s of traffic after all is in order again
PATIENCE = 20.0  # s until a credential is judged at the end
_MOST_SHOWN = 20  # broken promises; the report has them all


class Played(NamedTuple):
    """A round, and what it has shown."""

    event: str
    seconds: float
    verdict: Verdict


@dataclass(frozen=True)
class Run:
    """The servers and processes of a run.

    `authority` is that of the host, which makes the credentials of a round and looks at them in the end.
    """

    world: World
    authority: Authority
    workers: Sequence[Worker]
    signals: Signals
    service: Service | None

    def play(self, number: int, event: str, seed: int) -> History:
        """Play a round, and return its history."""
        chance = Random(f"{seed} {number}")
        self.world.begin(chance)
        given = prepared(self.authority, number, seed)
        for signal in self.signals:
            signal.clear()
        for worker in self.workers:
            worker.begin(given)
        time.sleep(WARM_UP)
        served_by = self.service.workers() if self.service else set()
        tags = [one.tag for one in given.targets]
        elsewhere = self.world.elsewhere(tags)
        scene = Scene(self.world, chance, tags, self.signals.awake.set)
        EVENTS[event](scene)
        self.world.heal()
        time.sleep(HEALED)
        for signal in self.signals:
            signal.set()
        noted = [worker.end() for worker in self.workers]
        history = History(scene.cut)
        if elsewhere is not None:
            history.elsewhere = {name for one in given.targets if one.tag in elsewhere for name in one.values}
        values = given.values()
        for one in noted:
            history.verifications += one.verifications
            history.changes += one.changes
            history.found = {**history.found, **one.found}
            values.update(one.values)
        history.at_end = {name: self._outcome(value) for name, value in values.items()}
        history.present = frozenset(
            name for one in given.callers for name in given.made_by(one, self.authority)
        )
        if self.service and self.service.workers() != served_by:
            history.faults.append("gunicorn: a worker has died")
        return history

    def _outcome(self, value: str) -> str:
        """Return what an Authorization value comes to, once it is not 503."""
        until = time.monotonic() + PATIENCE
        while (came := told(lambda: self.authority.authenticate(value))) == UNAVAILABLE:
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        return came


@contextmanager
def running(kind: str, binary: str, durability: str | None, *, by_http: bool) -> Iterator[Run]:
    """Start servers and processes for the rounds of a run; stop them at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patauth-failover-")))
        world = stack.enter_context(WORLDS[kind](binary, folder))
        durability = durability or f"replicas:{world.copies}"
        shared = signals()
        places = [("busy", world.url), ("idle", world.url), ("far", world.far_url)]
        service = Service(folder, store_url=world.url, **OF_SERVICE) if by_http else None
        if service:
            stack.callback(service.stop)
            places = [("http", service.url)]
        workers = []
        for role, url in [*places, ("changes", world.url)]:
            workers.append(Worker(role, url, durability, shared))
            stack.callback(workers[-1].close)
        host = patient(world.url, durability=f"replicas:{world.copies}", durability_timeout=5.0, **SETTINGS)
        yield Run(world, stack.enter_context(host), workers, shared, service)


def rows(played: Sequence[Played]) -> list[list[object]]:
    """Return a row for each event, in the order of the first round of each, and one for all."""
    groups = {**_by_event(played), "all": [one.verdict for one in played]}
    return [_row(name, group) for name, group in groups.items()]


def _by_event(played: Iterable[Played]) -> dict[str, list[Verdict]]:
    groups: dict[str, list[Verdict]] = {}
    for one in played:
        groups.setdefault(one.event, []).append(one.verdict)
    return groups


def broken(played: Sequence[Played], *, is_safe: bool) -> list[dict[str, Any]]:
    """Return the promises that are broken, with round and event. Round None: all rounds of it together.

    `is_safe`: a change waits for all that can be promoted.
    """
    found: list[dict[str, Any]] = [
        {"round": number, "event": one.event, "promise": promise}
        for number, one in enumerate(played)
        for promise in one.verdict.broken(is_safe=is_safe)
    ]
    for event, verdicts in _by_event(played).items():
        most = p99(_refusals(verdicts))
        if most > PROMPT:
            found.append({"round": None, "event": event, "promise": f"p99 of 503: {most:.3f} s"})
    return found


def _refusals(verdicts: Iterable[Verdict]) -> list[float]:
    return [took for one in verdicts for took in one.refusals]


HEADS = (
    "event", "rounds", "acknowledged", "tried within 3 s", "tried later", "accepted within 3 s", "later",
    "came back", "lost", "outlived", "spurious 401", "503 elsewhere", "other faults", "503 s, median",
    "503 s, most", "longest 503, ms", "p99 of 503, ms",
)  # fmt: skip


def _row(name: str, verdicts: Sequence[Verdict]) -> list[object]:
    def total(of: str) -> int:
        return sum(len(getattr(one, of)) for one in verdicts)

    down = [one.down for one in verdicts]
    longest = max(one.longest for one in verdicts)
    return [
        name, len(verdicts), sum(one.acknowledged for one in verdicts),
        sum(one.tried_early for one in verdicts), sum(one.tried_late for one in verdicts),
        *map(total, ("early", "late", "came_back", "lost", "outlived", "spurious", "spread", "faults")),
        round(statistics.median(down), 2), round(max(down), 2),
        *(round(1000 * seconds) for seconds in (longest, p99(_refusals(verdicts)))),
    ]  # fmt: skip


def _kept(played: Played) -> dict[str, Any]:
    """Return a round as JSON can hold it, with the number of 503 and the longest in place of all."""
    verdict = played.verdict
    counted = {"refusals": len(verdict.refusals), "longest": verdict.longest}
    return {"event": played.event, "seconds": played.seconds, **asdict(verdict), **counted}


@click.command(help="Let servers fail over under traffic, round after round, and report which promises hold.")
@click.argument("kind", type=click.Choice(list(WORLDS)))
@click.option("--rounds", default=12, type=click.IntRange(min=1), help="Of all events in turn.")
@click.option("--durability", help="The setting. By default it waits for all replicas.")
@click.option("--event", "names", multiple=True, type=click.Choice(list(EVENTS)), help="By default all.")
@click.option("--binary", "engine", default="valkey", type=click.Choice(list(binaries())))
@click.option("--gunicorn", "by_http", is_flag=True, help="Verify by an app under gunicorn, 2 x 4 threads.")
@click.option("--seed", type=int, help="Of victims and instants. By default it is a new one.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Keep all figures here, JSON."
)
def main(
    kind: str,
    rounds: int,
    durability: str | None,
    names: tuple[str, ...],
    engine: str,
    by_http: bool,
    seed: int | None,
    report: Path | None,
) -> None:
    """Play the rounds. Exit with 1 if a promise is broken."""
    logging.disable()  # a refusal is a line of the audit trail, and there are thousands
    seed = random.randrange(10**6) if seed is None else seed
    played: list[Played] = []
    with running(kind, binaries()[engine], durability, by_http=by_http) as run:
        events = [name for name in possible(run.world) if not names or name in names]
        if not events:
            raise click.UsageError(
                f"these servers know none of these events; they know {possible(run.world)}"
            )
        safe = f"replicas:{run.world.copies}"
        given = {
            "kind": kind,
            "engine": engine_of(run.world.servers[0]),
            "durability": durability or safe,
            "gunicorn": by_http,
            "seed": seed,
            "rounds": rounds,
        }
        turns = [events[number % len(events)] for number in range(rounds)]
        with click.progressbar(turns, label=f"{kind}, seed {seed}", show_pos=True, item_show_func=str) as bar:
            for number, event in enumerate(bar):
                began = time.monotonic()
                try:
                    verdict = judge(run.play(number, event, seed))
                except Exception as problem:  # servers that do not heal; what was played before counts
                    verdict = Verdict(faults=[f"the round could not be played: {problem!r}"])
                    played.append(Played(event, time.monotonic() - began, verdict))
                    break
                played.append(Played(event, time.monotonic() - began, verdict))
    bad = broken(played, is_safe=given["durability"] == safe)
    table = rows(played)
    click.echo(f"\n{Table(f'{kind}: {given}', HEADS, table)}\n")
    for one in bad[:_MOST_SHOWN]:
        where = "all rounds" if one["round"] is None else f"round {one['round']}"
        click.echo(f"broken in {where} ({one['event']}): {one['promise']}")
    click.echo(f"{len(bad)} promises broken; {statistics.mean(one.seconds for one in played):.1f} s a round")
    if report:
        kept: dict[str, Any] = {"machine": machine(), "settings": given, "broken": bad}
        kept["events"] = [dict(zip(HEADS, row, strict=True)) for row in table]
        kept["rounds"] = [_kept(one) for one in played]
        report.write_text(json.dumps(kept, indent=1), "utf-8")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
