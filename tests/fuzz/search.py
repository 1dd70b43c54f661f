"""What a target is, how inputs are tried until the time is over, and how a failing input is made smaller."""

from __future__ import annotations

import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

MOST_SECONDS = 2.0  # of processor time for one input; all of them take milliseconds
TRIES = 2_000  # to make one failing input smaller
_OURS = ("patauth", "fuzz")  # folders whose lines tell one bug from another


class TooSlow(BaseException):
    """One input took too much processor time. No `except Exception` hides it."""


class Target(ABC):
    """Makes inputs, runs them, and judges what came of them.

    An input is a plain value, so that its `repr` is all that it takes to try it again. What a target holds is
    the same in each run, secrets included. `stack` undoes at the end what a target has set up.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.stack = ExitStack()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @abstractmethod
    def generate(self, chance: Random) -> Any:
        """Return a new input."""

    @abstractmethod
    def judge(self, given: Any) -> str:
        """Run an input and name its outcome. Raise anything at all for a bug."""


@dataclass
class Failure:
    """A bug: its smallest input, and how many inputs have met it."""

    error: str
    place: str
    given: str
    number: int  # of the first input that met it
    count: int = 1


@dataclass
class Report:
    """What came of all inputs of one target."""

    name: str
    seed: int
    tried: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        outcomes, failures = dict(self.outcomes), [asdict(one) for one in self.failures.values()]
        return {**vars(self), "outcomes": outcomes, "failures": failures}


def search(target: Target, seed: int, goes_on: Callable[[Report], bool], *, tries: int = TRIES) -> Report:
    """Try inputs of a seed while `goes_on`, which sees the report so far, says so.

    `tries` is how many inputs may be tried to make one that fails smaller.
    """
    report, started = Report(target.name, seed), time.monotonic()
    while goes_on(report):
        given = target.generate(Random(f"{target.name} {seed} {report.tried}"))
        problem = _problem(target, given, report.outcomes)
        if problem is not None:
            bug = _bug(problem)
            if bug in report.failures:
                report.failures[bug].count += 1
            else:
                given = smallest(given, lambda one, bug=bug: _is(target, one, bug), tries)
                report.failures[bug] = Failure(_told(problem), bug[1], repr(given), report.tried)
        report.tried += 1
    report.seconds = time.monotonic() - started
    return report


def _problem(target: Target, given: Any, outcomes: Counter[str]) -> BaseException | None:
    """Try one input. Return what it raised, and count the outcome if it raised nothing."""
    try:
        with _bounded():
            outcome = target.judge(given)
    except (Exception, TooSlow) as problem:
        return problem
    outcomes[outcome] += 1
    return None


def _is(target: Target, given: Any, bug: tuple[str, str]) -> bool:
    problem = _problem(target, given, Counter())
    return problem is not None and _bug(problem) == bug


def _bug(problem: BaseException) -> tuple[str, str]:
    """Return the type of an error, and the last line of patauth or of a target that it came through."""
    frames = traceback.extract_tb(problem.__traceback__)
    ours = [one for one in frames if set(_OURS) & set(Path(one.filename).parts[:-1])]
    place = ours[-1] if ours and not isinstance(problem, TooSlow) else frames[0]
    return type(problem).__name__, f"{Path(place.filename).name}:{place.lineno}"


def _told(problem: BaseException) -> str:
    return "".join(traceback.format_exception_only(problem)).strip()[:2_000]


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise `TooSlow` in a block that takes too much processor time. A busy machine makes no difference."""

    def stop(*_: object) -> None:
        raise TooSlow(f"more than {MOST_SECONDS} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# -- smaller inputs ------------------------------------------------------------------------------------------


def smallest(given: Any, fails: Callable[[Any], bool], tries: int) -> Any:
    """Return an input that still fails, and after enough tries no longer does with one part less."""
    left = tries
    while left > 0:
        for one in smaller(given):
            left -= 1
            if fails(one):
                given = one
                break
            if left <= 0:
                break
        else:
            break
    return given


def smaller(given: Any) -> Iterator[Any]:
    """Yield inputs like this one with less in them, the smallest ones first. A tuple keeps its length."""
    match given:
        case str() | bytes():
            size = len(given)
            while size:
                for at in range(0, len(given), size):
                    yield given[:at] + given[at + size :]
                size //= 2
        case list():
            for at, one in enumerate(given):
                yield given[:at] + given[at + 1 :]
                for less in smaller(one):
                    yield [*given[:at], less, *given[at + 1 :]]
        case tuple():
            for at, one in enumerate(given):
                for less in smaller(one):
                    yield (*given[:at], less, *given[at + 1 :])
        case dict():
            for name, one in given.items():
                yield {other: value for other, value in given.items() if other != name}
                for less in smaller(one):
                    yield {**given, name: less}
        case int() if given > 0:
            yield 0
            yield given // 2
