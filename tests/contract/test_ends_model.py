"""The design of ends, without the code: no history of its model breaks a rule, and each part of it is needed.

tests/support/ends_model.py is the model. `SEARCH=2 pytest` explores longer histories, which takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

import pytest

from tests.support.ends_model import TODAY, VERBS, WAIT, Case, Design
from tests.support.explorer import Explored, explore
from tests.support.searches import TIMES
from tests.support.tables import each

NEAR, FAR = Case("rename"), Case("rename", far=True)
FAILOVER = {"failover": True, "host": 1}
# Verbs that need the same are the same to the model.
ALIKE = {"create": ("create", "grow", "rotate"), "rename": ("rename", "delete")}
DISTINCT = [*ALIKE, "delete itself", "revoke by showing it", "exchange", "authenticate"]


def run(case: Case) -> Explored:
    return explore(case.start(), case.steps, lambda state: state.broken)


def cases(verb: str) -> Iterator[Case]:
    """Each verb: where, by what, and with a failover or a change by the host; at length, with both."""
    for far in (False, True) if verb in ALIKE else (False,):
        for by_token in (False, True) if verb in ALIKE or verb == "authenticate" else (False,):
            case = Case(verb, far, by_token)
            yield from (replace(case, host=1), replace(case, failover=True))
            if TIMES > 1:
                yield replace(case, host=2)
            if TIMES > 1 or case == FAR:
                yield replace(case, **FAILOVER)
    if verb in ALIKE:
        yield Case(verb, over_others=False, failover=True)
    if verb in ALIKE and TIMES > 1:
        yield Case(verb, far=True, granted=False, **FAILOVER)


@pytest.mark.parametrize("verb", DISTINCT)
def test_no_history_breaks_a_rule(verb: str) -> None:
    for same in ALIKE.get(verb, ()):
        assert VERBS[same] == VERBS[verb]
    started, states = perf_counter(), 0
    for case in cases(verb):
        found = run(case)
        assert not found.history, f"{case}\n{found}"
        states += found.states
    print(f"{verb}: {states} states in {perf_counter() - started:.1f} s")
    assert states > (50_000 if verb in ALIKE else 10_000), "too few to say something"


NEEDED = {
    "a version in the judgement of the script": (NEAR, Design(script_compares_version=False)),
    "a mark, if not each end waits for what is left of earlier ones": (
        FAR,
        Design(waits_by="scopes", waits_for_others="repeated ends"),
    ),
    "a wait of an end that finds its work done": (FAR, Design(waits_for_others="none")),
    "a version that enabling moves, too": (replace(NEAR, host=1), Design(version="sequence")),
    "a version that is no counter": (replace(NEAR, **FAILOVER), Design(version="counter")),
    "the clock of the target's slot before the judgement": (FAR, Design(clock_before_judgement=False)),
    "a window in another slot": (FAR, Design(window=0)),
    "a window that is not longer than the wait": (FAR, Design(window=WAIT + 1)),
    "a refusal of the previous secret": (NEAR, Design(previous_changes_nothing=False)),
    "a refusal of the previous secret in another slot": (FAR, Design(previous_changes_nothing=False)),
    "a version by which a process has judged the networks, in each request": (
        Case("authenticate"),
        Design(requests_carry_version=False),
    ),
    "a second look after a hash": (Case("authenticate"), Design(second_look_after_hash=False)),
    # Of the rest, tests/contract/test_ends_durable.py plays the histories on the code.
    "a judgement of a secret that was shown": (
        Case("revoke by showing it"),
        Design(shown_is_judged=False),
    ),
    "a confirmation of each narrowing that finds its work done": (
        replace(NEAR, over_others=False, failover=True),
        Design(unmarked_repeat_confirms=False),
    ),
    "a look and its confirmation in one step": (
        replace(NEAR, failover=True),
        Design(done_is_seen_durably=False),
    ),
    "a judgement by what is durable": (
        replace(FAR, granted=False, **FAILOVER),
        Design(far_is_judged_durably=False),
    ),
}


@each("case, design", [pytest.param(*row, id=name) for name, row in NEEDED.items()])
@pytest.mark.system
def test_without_it_there_is_a_history_that_breaks_a_rule(case: Case, design: Design) -> None:
    found = run(replace(case, design=design))
    print(f"{design}\n{found}\n")
    assert found.history


@each("design", [Design(waits_by="scopes"), Design(waits_for_others="repeated ends")])
def test_of_the_mark_and_the_wait_of_each_end_one_is_enough(design: Design) -> None:
    for case in (replace(FAR, host=1), replace(FAR, failover=True), replace(FAR, by_token=True)):
        found = run(replace(case, design=design))
        assert not found.history, found


@pytest.mark.parametrize("verb", [verb for verb in DISTINCT if verb != "revoke by showing it"])
def test_as_the_code_is_today_no_history_without_a_failover_breaks_a_rule(verb: str) -> None:
    for case in cases(verb):
        if not case.failover:
            found = run(replace(case, design=TODAY))
            assert not found.history, f"{case}\n{found}"
