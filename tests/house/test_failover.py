"""The judge of `python -m tests.failover`: it passes a history without a fault, and catches each bad one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.failover.__main__ import HEADS, Played, broken, rows
from tests.failover.history import PROMPT, TRUST, Change, History, Verdict, Verification, judge, p99
from tests.support.tables import each

CUT = 100.0  # all instants of these histories are around it


def seen(credential: str, began: float, outcome: str, seconds: float = 0.01) -> Verification:
    return Verification("idle", credential, began, began + seconds, outcome)


def asked(kind: str, credential: str, began: float, outcome: str, by: str = "") -> Change:
    return Change(kind, (credential,), began, began + 0.1, outcome, by)


def good() -> History:
    """A round in which all is as it should be: one PAT is kept, one is ended, and one is made.

    The one that is ended is tried once within 3 s after the cut, and once later. Another shard has "safe".
    """
    return History(
        cut=CUT,
        verifications=[
            seen("kept", CUT - 1, "accepted"),
            seen("kept", CUT + 1, "503"),
            seen("kept", CUT + 2, "accepted"),
            seen("gone", CUT + 0.5, "accepted"),  # before its end is acknowledged
            seen("gone", CUT + 1.05, "refused"),  # its end is under way
            seen("gone", CUT + 1.5, "503"),
            seen("gone", CUT + 2, "refused"),
            seen("safe", CUT + 0.5, "accepted"),
            seen("gone", CUT + 5, "refused"),
        ],
        changes=[
            asked("delete", "gone", CUT + 0.1, "503"),
            asked("delete", "gone", CUT + 1, "accepted"),
            asked("create", "new", CUT + 2, "accepted"),
            asked("create", "unknown", CUT + 2.2, "503"),
            asked("create", "by it", CUT + 0.8, "accepted", by="gone"),
            asked("create", "too late", CUT + 2, "refused", by="gone"),
        ],
        at_end={"kept": "accepted", "gone": "refused", "new": "accepted", "safe": "accepted"},
        elsewhere=frozenset({"safe"}),
        present=frozenset({"by it"}),
        found={"gone": frozenset({"by it"})},
    )


def test_a_good_round_breaks_no_promise() -> None:
    verdict = judge(good())
    assert verdict.broken(is_safe=True) == []
    assert verdict.early == []
    assert (verdict.tried_early, verdict.tried_late) == (1, 1), "answers of what has ended, and no others"
    assert verdict.acknowledged == 3
    assert verdict.longest == pytest.approx(0.01)


BAD = {
    "accepted long after the cut": ("late", [seen("gone", CUT + TRUST + 0.01, "accepted")], []),
    "accepted before the cut": (
        "late",
        [seen("early", CUT - 1, "accepted")],
        [asked("delete", "early", CUT - 2, "accepted")],
    ),
    "a good one refused": ("spurious", [seen("kept", CUT + 2, "refused")], []),
    "a new one refused": ("spurious", [seen("new", CUT + 2.2, "refused")], []),
    "refused before anybody asked": ("spurious", [seen("gone", CUT - 1, "refused")], []),
    "503 on another shard": ("spread", [seen("safe", CUT + 1, "503")], []),
    "a status of its own": ("faults", [seen("kept", CUT, "500 Server Error")], []),
    "a change that fails": ("faults", [], [asked("create", "x", CUT, "KeyError()")]),
    "a change asked for after the end": (
        "outlived",
        [],
        [asked("create", "late", CUT + 1.2, "accepted", by="gone")],
    ),
}


@each("what", BAD)
def test_what_must_never_be_is_found_in_whatever_way_changes_are_kept(what: str) -> None:
    member, verifications, changes = BAD[what]
    bad = good()
    bad.verifications += verifications
    bad.changes += changes
    verdict = judge(bad)
    assert len(getattr(verdict, member)) == 1
    assert len(verdict.broken(is_safe=False)) == 1


UNTOLD = {
    "nothing at all": (History(), ["accepted", "acknowledged", "tried"]),
    "nothing but 503": (
        History(
            cut=CUT,
            verifications=[seen("kept", CUT - 1 + t, "503") for t in range(10)],
            changes=[asked("delete", "gone", CUT - 1 + t, "503") for t in range(10)],
            at_end={"kept": "accepted", "gone": "accepted"},
        ),
        ["accepted", "acknowledged", "tried"],
    ),
    "no verification that was accepted": (
        replace(good(), verifications=[one for one in good().verifications if one.outcome != "accepted"]),
        ["accepted", "another shard"],
    ),
    "no change that was acknowledged": (
        replace(good(), changes=[], present=frozenset()),
        ["acknowledged", "tried"],
    ),
    "an end that nobody tried later than 3 s after the cut": (
        replace(good(), verifications=[one for one in good().verifications if one.began < CUT + TRUST]),
        ["tried"],
    ),
    "no credential on another shard": (replace(good(), elsewhere=frozenset()), ["another shard"]),
    "one on another shard that nobody showed after the cut": (
        replace(
            good(),
            verifications=[
                one
                for one in [*good().verifications, seen("safe", CUT - 1, "accepted")]
                if one.credential != "safe" or one.began < CUT
            ],
        ),
        ["another shard"],
    ),
    "an end that was tried later, and got 503": (
        replace(
            good(),
            verifications=[
                one._replace(outcome="503") if one.began > CUT + TRUST else one
                for one in good().verifications
            ],
        ),
        ["tried"],
    ),
}


@each("what", UNTOLD)
def test_a_round_that_tells_nothing_breaks_the_run(what: str) -> None:
    history, lacks = UNTOLD[what]
    found = [one for one in judge(history).broken(is_safe=False) if one.startswith("tells nothing")]
    assert len(found) == len(lacks)
    assert all(word in one for word, one in zip(lacks, found, strict=True))


def test_without_a_cut_what_has_ended_may_be_tried_at_any_time() -> None:
    verdict = judge(replace(good(), cut=None))
    assert (verdict.tried_early, verdict.tried_late) == (0, 2)
    assert verdict.missing == []


def test_of_each_event_99_of_100_refusals_must_be_prompt() -> None:
    """The longest is only reported, since the machine may be busy. An event's rounds count together."""
    slow, quick = PROMPT + 0.01, PROMPT - 0.01

    def bad(*rounds: tuple[str, list[float]]) -> list[tuple[str, str]]:
        played = [Played(event, 5.0, Verdict(refusals=took)) for event, took in rounds]
        return [(one["event"], one["promise"]) for one in broken(played, is_safe=True)]

    assert bad(("kill", [quick] * 50 + [9.0]), ("kill", [quick] * 50), ("order", [])) == []
    assert bad(("stop", [slow] * 2 + [quick] * 98), ("kill", [quick] * 1000)) == [
        ("stop", f"p99 of 503: {slow:.3f} s")
    ]
    assert len(bad(("order", [slow]))) == 1
    assert (p99([]), p99([2.0, 1.0]), p99([*range(1, 101)])) == (0, 2.0, 99)


def test_a_broken_promise_is_told_with_its_round() -> None:
    bad = good()
    bad.faults.append("a worker has died")
    played = [Played("kill", 5.0, judge(good())), Played("stop", 5.0, judge(bad))]
    assert broken(played, is_safe=True) == [
        {"round": 1, "event": "stop", "promise": "fault: a worker has died"}
    ]


def test_an_old_primary_may_be_believed_for_3_s_after_it_was_cut_off() -> None:
    bad = good()
    bad.verifications.append(seen("gone", CUT + TRUST - 0.01, "accepted"))
    assert len(judge(bad).early) == 1
    assert judge(bad).broken(is_safe=True) == []
    assert len(judge(replace(bad, cut=None)).late) == 1, "nobody was cut off"


def test_what_came_back_or_was_lost_is_found_and_broken_if_all_replicas_were_waited_for() -> None:
    bad = good()
    bad.changes.append(asked("delete", "other", CUT + 1, "accepted"))
    bad.verifications += [
        seen("gone", CUT + 8, "accepted"),
        seen("new", CUT + 8, "refused"),
        seen("other", CUT + 8, "refused"),
    ]
    bad.at_end = {"kept": "accepted", "gone": "accepted", "new": "refused"}
    verdict = judge(bad)
    assert (verdict.came_back, verdict.lost) == (["gone"], ["new"])
    assert verdict.late == verdict.spurious == [], "they are not counted twice"
    assert verdict.broken(is_safe=False) == []
    assert len(verdict.broken(is_safe=True)) == 2
    bad.at_end["kept"] = "refused"
    assert judge(bad).lost == ["kept", "new"]


def test_a_change_in_flight_that_takes_effect_after_the_end_is_found() -> None:
    """It was asked for before the end, was not there when the end was acknowledged, and is there later."""
    bad = good()
    bad.changes.append(asked("create", "in flight", CUT + 0.9, "503", by="gone"))
    assert judge(bad).outlived == []
    bad.present = frozenset({"by it", "in flight"})
    assert judge(bad).outlived == ["in flight by gone"]
    bad.at_end["gone"] = "accepted"
    assert judge(bad).outlived == [], "its end was lost, which is counted as such"


def test_a_credential_without_an_answer_in_the_end_is_a_fault() -> None:
    bad = good()
    bad.at_end["kept"] = "503"
    bad.faults.append("a worker has died")
    assert judge(bad).faults == ["a worker has died", "kept in the end: 503"]


def test_the_time_without_an_answer_is_that_of_the_credential_that_was_worst_off() -> None:
    history = History(
        verifications=[
            seen("a", 1.0, "503"),
            seen("a", 2.0, "503"),
            seen("a", 3.0, "accepted"),
            seen("a", 4.0, "503"),
            seen("b", 1.0, "503", 0.5),
            seen("b", 1.2, "503", 0.5),
            seen("b", 1.8, "refused"),
        ]
    )
    verdict = judge(history)
    assert verdict.down == pytest.approx(1.01 + 0.01)
    assert verdict.longest == 0.5


def test_the_table_has_a_row_for_each_event_and_one_for_all() -> None:
    bad = good()
    bad.at_end["gone"] = "accepted"
    played = [
        Played("kill", 5.0, judge(bad)),
        Played("stop", 5.0, judge(good())),
        Played("kill", 5.0, judge(good())),
    ]
    table = [dict(zip(HEADS, row, strict=True)) for row in rows(played)]
    assert [row["event"] for row in table] == ["kill", "stop", "all"]
    assert [row["rounds"] for row in table] == [2, 1, 3]
    assert [row["came back"] for row in table] == [1, 0, 1]
    assert [row["acknowledged"] for row in table] == [6, 3, 9]
    assert [row["tried later"] for row in table] == [1, 1, 2], "not what came back"
