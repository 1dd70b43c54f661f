"""The command: which targets run, for how long, and where the report goes.

python -m tests.fuzz [--minutes N] [--seed S] [--target NAME ...] [--json FILE]
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from pathlib import Path

import click

from tests.fuzz.bodies import Bodies
from tests.fuzz.calls import Calls
from tests.fuzz.claims import Claims
from tests.fuzz.credentials import Credentials
from tests.fuzz.filters import Filters
from tests.fuzz.records import Records
from tests.fuzz.replies import Replies
from tests.fuzz.search import Report, Target, search

TARGETS: dict[str, type[Target]] = {
    one.name: one for one in (Bodies, Calls, Credentials, Claims, Filters, Records, Replies)
}
MOST_SHOWN = 20  # outcomes of a target; the JSON has them all


def shown(report: Report) -> str:
    """Return a report as people read it."""
    rate = report.tried / max(report.seconds, 0.001)
    lines = [f"\n{report.name}: {report.tried} inputs, {rate:.0f} a second, {len(report.failures)} failures"]
    lines += [f"  {count:>8}  {outcome}" for outcome, count in report.outcomes.most_common(MOST_SHOWN)]
    if len(report.outcomes) > MOST_SHOWN:
        lines.append(f"            and {len(report.outcomes) - MOST_SHOWN} other outcomes")
    for failure in report.failures.values():
        lines += [
            f"\n  FAILED {failure.count} times, first with input {failure.number}, at {failure.place}:",
            *(f"  {line}" for line in failure.error.splitlines()),
            f"  to repeat it: TARGETS[{report.name!r}]().judge({failure.given})",
        ]
    return "\n".join(lines)


@click.command(help="Try generated inputs on what reads untrusted bytes, and report what fails.")
@click.option("--minutes", default=5.0, type=click.FloatRange(min=0, min_open=True), help="For all targets.")
@click.option("--seed", type=int, help="The same seed makes the same inputs. By default it is a new one.")
@click.option("--target", "names", multiple=True, type=click.Choice(list(TARGETS)), help="By default all.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the report here.")
def main(minutes: float, seed: int | None, names: tuple[str, ...], file: Path | None) -> None:
    """Run the targets one after the other, each for its part of the time. Exit with 1 on any failure."""
    logging.disable()  # a refusal is a line of the audit trail, and there are thousands
    seed = random.randrange(10**6) if seed is None else seed
    chosen = [name for name in TARGETS if not names or name in names]
    each = 60 * minutes / len(chosen)
    reports = []
    with click.progressbar(length=round(each * len(chosen)), label=f"seed {seed}", show_pos=True) as bar:
        for place, name in enumerate(chosen):
            with TARGETS[name]() as target:
                started = time.monotonic()

                def goes_on(_: Report, started: float = started, place: int = place) -> bool:
                    passed = min(time.monotonic() - started, each)
                    bar.update(int(place * each + passed) - bar.pos)
                    return passed < each

                reports.append(search(target, seed, goes_on))
    click.echo("\n".join(map(shown, reports)))
    if file:
        file.write_text(json.dumps([report.as_json() for report in reports], indent=1), "utf-8")
    sys.exit(any(report.failures for report in reports))


if __name__ == "__main__":
    main()
