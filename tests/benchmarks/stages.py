"""The part `profile`: where the microseconds of a request go.

Nothing here knows what patauth looks like inside. What a request sends is recorded and sent again over a raw
socket: that is what kernel and server take of it. Python's share is told apart by timing what is public (the
reading of credentials, authentication, the whole gate), and by differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import hiredis

from patauth.model.address import UNKNOWN
from patauth.operations.memo import Memo
from patauth.wsgi.answers import quota_fields
from tests.support.authorities import admit
from tests.support.servers import Server

from .calls import Calling, environ_of
from .cases import BARE, ONE_TRIP, TOKEN, PatauthCases, Way, authority_at
from .counts import functions_of
from .floors import RAW_NOOP, Floors
from .measure import Case, Pinning, Timing, take_turns
from .recorder import recorder_before
from .report import Part, Table, engine_of

NAMING, REPLAY, AUTHENTICATE, FIELDS, GATE, READING, LONG = (
    "finding what is known by a MAC of the Authorization value", "the same bytes on a raw socket",
    "authenticate", "RateLimit fields", "the whole gate", "reading an Authorization value that is new",
    "`authenticate` of one that is new, without the hash",
)  # fmt: skip
COMPARED = (REPLAY, READING, AUTHENTICATE, LONG)
_SHOWN = 40  # functions


def run(server: Server, folder: Path, pinning: Pinning, *, rounds: int, calls: int) -> Part:
    """The stages of each way that takes one round trip."""
    floors, ours = Floors(server), PatauthCases(server.url, folder)
    for one in (floors, ours):
        one.check()
    cases = [case for case in (*floors.cases(), *ours.without_store()) if case.name in (RAW_NOOP, BARE)]
    with recorder_before(server, folder / "recorder") as recorder:
        for name in ONE_TRIP:
            way = ours.ways[name]
            with authority_at(recorder.url, **way.settings) as authority:
                call = partial(authority.authenticate, way.authorization)
                call()
                call()  # the script is loaded and the proof cached by now
                cases += _cases(way, name, recorder.sent_by(call), floors.raw.exchange)
    timings = take_turns(cases, rounds=rounds, calls=calls)
    again = Calling(ours.ways[TOKEN].gate(), [environ_of(ours.ways[TOKEN].authorization)], 200)
    again()  # a gate remembers what it has decided
    functions, _ = functions_of(again)
    floors.close()
    ours.close()

    stages = {name: _stages(name, timings) for name in ONE_TRIP}
    engine = engine_of(server)
    method = (
        f"{engine} on a unix socket; {pinning}; medians of {rounds} rounds of {calls} calls in turn. What is"
        " called a rest is a difference of medians, and no more exact than all that goes into it."
    )
    rows = [(stage, *(stages[name][stage] for name in ONE_TRIP)) for stage in stages[TOKEN]]
    called = [(often, function) for function, often in functions.most_common(_SHOWN)]
    return Part(
        "profile",
        method,
        [Table("Stages of a request, µs", ("stage", *ONE_TRIP), rows)],
        {
            "engine": engine,
            "cases": {name: one.as_json() for name, one in timings.items()},
            "stages": stages,
            "functions": dict(functions),
        },
        details=[Table(f"Python functions of one request ({TOKEN})", ("calls", "function"), called)],
    )


def _cases(way: Way, name: str, sent: bytes, exchange: Callable[[bytes], Any]) -> list[Case]:
    reader = hiredis.Reader()
    reader.feed(sent)
    reader.gets()
    if reader.gets() is not False:
        raise SystemExit(f"{name} sends more than one command: the stages would say nothing")
    exchange(sent)
    operations = way.authority.operations
    decision = admit(way.authority, way.authorization).decision
    memo: Memo[Any] = Memo(1)

    def admit_new() -> object:
        return operations.admit(operations.format.parse(way.authorization), UNKNOWN)

    timed: dict[str, Callable[[], object]] = {
        NAMING: partial(memo.find, way.authorization),
        READING: partial(operations.format.parse, way.authorization),
        LONG: admit_new,
        REPLAY: partial(exchange, sent),
        AUTHENTICATE: partial(operations.authenticate, way.authorization, UNKNOWN),
        FIELDS: partial(quota_fields, decision),
        GATE: Calling(way.gate(), [environ_of(way.authorization)], 200),
    }
    return [Case(f"{name}: {stage}", call) for stage, call in timed.items()]


def _stages(name: str, timings: Mapping[str, Timing]) -> dict[str, float]:
    def at(stage: str) -> float:
        return timings[f"{name}: {stage}"].median

    bare, noop = timings[BARE].median, timings[RAW_NOOP].median
    return {
        "the bare application, and asking it": bare,
        NAMING: at(NAMING),
        "a round trip with a no-op script (kernel, server, hiredis)": noop,
        "the script and its larger command and reply, beyond that": at(REPLAY) - noop,
        "rest of `authenticate`: connection, answer, what the store leaves to judge": at(AUTHENTICATE)
        - at(NAMING)
        - at(REPLAY),
        FIELDS: at(FIELDS),
        "rest of the gate: rules, scopes, environ": at(GATE) - at(AUTHENTICATE) - at(FIELDS) - bare,
        "all": at(GATE),
        **{f"for comparison: {stage}": at(stage) for stage in COMPARED},
    }
