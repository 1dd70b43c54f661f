"""Answers of scripts: of the promised form, or not understood."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from patauth import Authority, PatAuthError, StoreUnavailable
from patauth.store.scripts import understood
from tests.support.authorities import Make, basic_of, issue
from tests.support.tables import each


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
    transport = authority.operations._store._transport
    honest = transport.call
    chance = random.Random(7)
    kinds: list[Any] = [None, -1, 0, 2**70, b"", b"x" * 200, [], [b"x"], "text", 1.5, True]

    def lie(commands: Any, deadline: float, **options: Any) -> Any:
        replies = honest(commands, deadline, **options)
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
        lambda: authority.disable_owner("nobody"),
        lambda: authority.revoke_owner("nobody"),
        lambda: authority.ping(),
        lambda: authority.delete("0" * 32),
    ]
    transport.call = lie  # type: ignore[method-assign]
    try:
        for _ in range(150):
            for verb in verbs:
                with contextlib.suppress(PatAuthError):
                    verb()
    finally:
        transport.call = honest  # type: ignore[method-assign]
