"""Answers of scripts: of the promised form, or not understood."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from patauth import Authority, Owner, PatAuthError, StoreUnavailable
from patauth.operations.sweep import sweep
from patauth.store.deadline import Deadline
from patauth.store.scripts import PRELUDE, NoDisk, NotDurable, Script, Scripts, Wait, understood
from patauth.store.transport.protocol import PartlyDone
from patauth.store.transport.wire import ErrorReply
from tests.support.authorities import Make, basic_of, issue
from tests.support.internals import transport_of
from tests.support.tables import each

KEY = b"barrier"


class Recorder:
    """A transport that keeps what it is sent; each script answers 1, and each wait 1."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.patience: list[float] = []

    def call(self, commands: Any, deadline: float, *, patience: float = 0.0, **_: Any) -> list[Any]:
        self.sent.append((deadline, [command[0] for command in commands]))
        self.patience.append(patience)
        return [[1] if command[0] == "EVAL" else 1 for command in commands]


def scripts_with(wait: Wait) -> tuple[Scripts, Recorder]:
    """Scripts whose deadlines are 1, 2, 3, ... in the order in which they begin."""
    numbers, recorder = itertools.count(1), Recorder()
    return Scripts(recorder, None, wait, lambda: Deadline(float(next(numbers)))), recorder


def test_the_deadline_of_a_request_begins_at_its_first_call_and_serves_all() -> None:
    """Its body may take long to arrive; a deadline that ran meanwhile would be over before the first call."""
    scripts, recorder = scripts_with(Wait())
    early, late = scripts.until(None), scripts.until(None)
    for view in (late, early, late, scripts, scripts.one_by_one(), late.one_by_one()):
        view.call([("PING",)])
    assert [deadline for deadline, _ in recorder.sent] == [1, 2, 1, 3, 4, 5]


def test_a_view_that_was_made_before_knows_what_the_first_connection_has_learned() -> None:
    """Redis before 7.2 does not know WAITAOF, and a deletion would fail there after it was done."""
    wait = Wait(("WAITAOF", 1, 0, 10), 1.0)
    scripts, recorder = scripts_with(wait)
    view = scripts.until(None)
    view.confirm(KEY)
    wait.learn(lambda _: [[[b"waitaof", -4]]], KEY)  # a server that knows it
    view.confirm(KEY)
    assert recorder.sent[0][1] == ["EVAL", "WAITAOF"]
    other, recorder = scripts_with(missing := Wait(("WAITAOF", 1, 0, 10), 1.0))
    view = other.until(None)
    missing.learn(lambda _: [[None]], KEY)
    view.run_durably(Script("confirm", PRELUDE), [KEY], (), lambda reply: reply)
    view.confirm(KEY)
    assert [names for _, names in recorder.sent] == [["EVAL"]]


def refusing(problem: Exception, *before: Any) -> Callable[[Any], list[Any]]:
    """Return what sends commands to a server that answers `before`, and then with an error."""

    def call(_: Any) -> list[Any]:
        if isinstance(problem, ErrorReply):
            problem.before = before
        raise problem

    return call


UNKNOWN = "ERR unknown command 'WAITAOF', with args beginning with: '1' '0'"


def test_where_the_disk_must_be_waited_for_the_first_server_that_answers_must_know_how() -> None:
    """One that is met later is not asked: it refuses each wait."""
    for problem in (ErrorReply(UNKNOWN), PartlyDone([0], detail=f"ErrorReply: {UNKNOWN}")):
        wait = Wait(("WAITAOF", 1, 0, 10), 1.0, must=True)
        for _ in range(2):
            with pytest.raises(NoDisk) as refused:
                wait.learn(refusing(problem, 0), KEY)
            assert (refused.value.detail or "").startswith("durability: ")
            assert "(ERR unknown command 'WAITAOF')" in (refused.value.detail or "")
        wait.learn(lambda _: [0, [0, 0]], KEY)
        wait.learn(refusing(problem, 0), KEY)
        assert wait.command is not None


def test_an_error_before_the_wait_says_nothing_about_the_disk() -> None:
    for problem in (ErrorReply("LOADING"), StoreUnavailable(detail="timed out")):
        wait = Wait(("WAITAOF", 1, 0, 10), 1.0, must=True)
        with pytest.raises(type(problem)) as raised:
            wait.learn(refusing(problem), KEY)
        assert raised.value is problem
        with pytest.raises(NoDisk):
            wait.learn(refusing(ErrorReply(UNKNOWN), 0), KEY)


def test_there_is_patience_where_something_waits_and_only_there() -> None:
    scripts, recorder = scripts_with(Wait(("WAITAOF", 1, 0, 10), 1.0))
    scripts.call([("GET", b"key")])
    scripts.confirm(KEY)
    scripts.call([("PING",), ("WAITAOF", 1, 0, 10)])
    assert recorder.patience == [0, 1, 1]
    scripts, recorder = scripts_with(Wait())
    scripts.call([("GET", b"key")])
    assert recorder.patience == [0]


@each("result", [1, 0])
def test_an_error_in_place_of_the_waits_answer_leaves_the_scripts_result(result: int) -> None:
    """For example, a primary becomes a replica while it waits."""
    scripts, _ = scripts_with(Wait(("WAITAOF", 1, 0, 10), 1.0))

    def answer(_: Any) -> Any:
        raise PartlyDone([[result, b"x"]], detail="UNBLOCKED")

    with pytest.raises(NotDurable) as refused:
        scripts.run_durably(Script("confirm", PRELUDE), [b"k"], (), lambda reply: reply[0], answer)
    assert (refused.value.result, refused.value.detail) == (result, "WAITAOF: UNBLOCKED")


@each("reply", [None, 1, b"x", [], [b"1"], [None], [True], [1.0], [[1]], {}, "1"])
def test_an_answer_of_another_form_is_unavailable(reply: Any) -> None:
    with pytest.raises(StoreUnavailable):
        understood(reply, int)


def test_an_answer_may_be_longer_than_is_asked() -> None:
    assert understood([1, b"a", None], int, bytes) == [1, b"a", None]
    for short in ([1], [1, None], [b"a", 1]):
        with pytest.raises(StoreUnavailable):
            understood(short, int, bytes)


def test_no_verb_raises_anything_but_our_errors_whatever_is_answered(make_at: Make) -> None:
    """Replies cut, lengthened, and with each value of another kind: never a TypeError or the like."""
    authority: Authority = make_at(request_quota="1000000/1", exchange_quota="1000000/1")
    issued = issue(authority)
    token = authority.exchange(issued.pat.id, issued.secret).value
    bobs = issue(authority, owner=Owner("bob"))
    transport = transport_of(authority)
    honest = transport.send
    chance = random.Random(7)
    kinds: list[Any] = [None, -1, 0, 2**50, 2**70, b"", b"x" * 200, [], [b"x"], "text", 1.5, True]

    def lie(packed: bytes, count: int, deadline: float, **options: Any) -> Any:
        replies = honest(packed, count, deadline, **options)
        if chance.random() < 0.6:  # or the first lie would keep all others from being told
            return replies
        at = chance.randrange(len(replies))
        reply = replies[at]
        if isinstance(reply, list) and reply and chance.random() < 0.8:
            changed = list(reply)
            changed[chance.randrange(len(changed))] = chance.choice(kinds)
            replies[at] = chance.choice([changed, changed[:-1], [*changed, 1]])
        else:
            replies[at] = chance.choice(kinds)
        return replies

    verbs = [
        lambda: authority.authenticate(basic_of(issued)),
        lambda: authority.verify_bearer(token),
        lambda: authority.exchange(issued.pat.id, issued.secret),
        lambda: authority.get(issued.pat.id),
        lambda: authority.list(owner_id="alice"),
        lambda: issue(authority, f"n{chance.random()}"),
        lambda: authority.update(issued.pat.id, name=f"n{chance.random()}"),
        lambda: authority.rotate(bobs.pat.id),
        lambda: authority.disable_owner("bob"),
        lambda: authority.enable_owner("bob"),
        lambda: authority.disable_owner("nobody"),
        lambda: authority.revoke_owner("nobody"),
        lambda: authority.purge_access_tokens(),
        lambda: [sum(part) for part in sweep(authority.operations.actor(None))],
        lambda: authority.ping(),
        lambda: authority.delete("0" * 32),
    ]
    transport.send = lie  # type: ignore[method-assign]
    try:
        for _ in range(150):
            for verb in verbs:
                with contextlib.suppress(PatAuthError):
                    verb()
    finally:
        transport.send = honest  # type: ignore[method-assign]
