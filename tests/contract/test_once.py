"""What is made with a one-time key, such as a form's, is made once, however often it is sent."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, IssuedPat, Owner, Person
from patauth.crypto.hashing import Hasher
from patauth.errors import Conflict, Forbidden, InvalidCredentials, InvalidRequest, StoreUnavailable
from patauth.model.caller import Caller
from patauth.model.expiry import Expiry
from patauth.operations.create import AlreadyMade, NewPat, create
from patauth.store.pats import Pats
from patauth.store.scripts import NotDurable
from patauth.store.tokens import Tokens
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import ALICE, Make, issue, maker_of
from tests.support.clocks import DAY, Clock
from tests.support.interventions import Before, standing_in
from tests.support.rights import ALL_MANAGE, MY_MANAGE, MY_READ
from tests.support.servers import one_engine, shared_engines
from tests.support.tables import each
from tests.support.tenants import record_of
from tests.support.threads import all_at_once

PERSON = Person(ALICE, ["a", "b", MY_MANAGE])
ONCE = "5c6f2f6b8a"


def send(authority: Authority, by: Caller | None = PERSON, **given: Any) -> IssuedPat:
    """A form that is sent, with what a test does not care about filled in."""
    return create(authority.operations.actor(by), new_pat(**given))


def new_pat(**given: Any) -> NewPat:
    month = Expiry(after_ms=30 * DAY)
    return NewPat(**{"owner": None, "name": "ci", "scope": ["a"], "expiry": month, "once": ONCE, **given})


def test_what_is_sent_again_makes_nothing_and_says_what_was_made(
    make: Make, clock: Clock, events: Callable[[], list[dict[str, Any]]]
) -> None:
    """Whatever else would refuse it now: this comes first, and costs neither a hash nor quota."""
    authority = make(clock=clock, create_quota="2/3600", max_pats_per_owner=2, scopes=dict.fromkeys("ab", ""))
    made = send(authority)
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: send(authority, name="other", once="other"),  # the maximum and the create quota are used up
        lambda: authority.update(made.pat.id, name="renamed", scope=["b"]),
        lambda: authority.rotate(made.pat.id, overlap=timedelta(0)),
        lambda: authority.disable(made.pat.id),
        lambda: clock.advance(29 * DAY),
        lambda: clock.advance(2 * DAY),
        lambda: authority.disable_owner("alice"),
    ]
    for change in changes:
        change()
        before = authority.list()
        events()
        for given in ({}, {"name": "new"}, {"name": ""}, {"scope": ["c"]}, {"expiry": Expiry(at_ms=1)}):
            with Before(Hasher, "hash", lambda: None) as hashing, pytest.raises(AlreadyMade) as refused:
                send(authority, **given)
            assert (refused.value.pat_id, refused.value.status) == (made.pat.id, 409)
            assert isinstance(refused.value, Conflict)
            assert hashing.count == 0
        assert authority.list() == before
        assert events() == []


@each("end", ["delete", "revoke_owner"])
def test_what_was_removed_is_not_made_again_as_long_as_something_is_kept_of_it(
    fresh: Make, clock: Clock, end: str
) -> None:
    authority = fresh()
    made = send(authority)
    getattr(authority, end)(made.pat.id if end == "delete" else "alice")
    clock.advance(29 * DAY)
    with pytest.raises(AlreadyMade) as refused:
        send(authority)
    assert refused.value.pat_id == made.pat.id
    assert authority.list() == []


def test_where_nothing_is_kept_it_is_made_again_and_what_came_of_the_first_one_stays_worthless(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, retention=0)
    first = send(authority)
    access = authority.exchange(first.pat.id, first.secret).value
    # The process dies before it has removed the access tokens of the PAT.
    with standing_in(Tokens, "forget", lambda *_: None):
        authority.delete(first.pat.id)
    second = send(authority)
    assert second.pat.id == first.pat.id
    assert authority.verify_bearer(second.token).pat_id == second.pat.id
    for value in (access, first.token):
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(value)
    rotated = authority.rotate(second.pat.id, overlap=timedelta(0))
    assert authority.verify_bearer(rotated.token)


@one_engine
def test_a_key_is_that_of_one_maker_one_owner_and_one_tenant(make: Make, clock: Clock) -> None:
    given: dict[str, Any] = {"clock": clock, "max_pats_per_owner": 100, "may_act_in": lambda *_: True}
    here, away = make(**given), make(**given, tenant="away")
    _, principal = maker_of(here)
    held = ["a", "reports:read", ALL_MANAGE]
    alice, bob, guest = Person(ALICE, held), Person(Owner("bob"), held), Person(ALICE, held, tenant="away")
    actors = [
        *(here.operations.actor(by) for by in (alice, bob, None)),
        away.operations.actor(guest),
        away.operations.actor_in("default", guest),
        here.operations.actor_in("away", alice),
    ]
    made = []
    for actor in actors:
        for owner in (ALICE, Owner("bob"), Owner("carol")):
            for once in (ONCE, ONCE + "x"):
                made.append(create(actor, new_pat(owner=owner, once=once, name=f"n{len(made)}")).pat.id)
                with pytest.raises(AlreadyMade) as refused:
                    create(actor, new_pat(owner=owner, once=once))
                assert refused.value.pat_id == made[-1]
    assert len(set(made)) == len(actors) * 3 * 2
    with pytest.raises(AlreadyMade) as refused:  # a PAT of alice's, for alice
        create(here.operations.actor(principal), new_pat())
    assert refused.value.pat_id == made[0]


@shared_engines
@each("before", ["would_create", "create"])
def test_of_two_that_are_sent_at_once_one_is_made(fresh: Make, before: str) -> None:
    """Both are the same, so the name is taken, too; that is not what the second one hears."""
    authority = fresh(max_pats_per_owner=1)
    made: list[IssuedPat] = []
    with Before(Pats, before, lambda: made.append(send(authority))), pytest.raises(AlreadyMade) as refused:
        send(authority)
    assert refused.value.pat_id == made[0].pat.id
    assert [pat.id for pat in authority.list(count=True)] == [made[0].pat.id]
    assert authority.verify_bearer(made[0].token)


@shared_engines
def test_one_that_was_made_and_removed_meanwhile_is_not_made_again(authority: Authority) -> None:
    with (
        Before(Pats, "create", lambda: authority.delete(send(authority).pat.id)),
        pytest.raises(AlreadyMade),
    ):
        send(authority)
    assert authority.list() == []


def test_of_many_threads_one_makes_it(real: Authority) -> None:
    def one() -> str:
        try:
            return send(real).token
        except AlreadyMade as refusal:
            return refusal.pat_id

    found = all_at_once([one] * 6)
    (pat,) = real.list()
    tokens = [text for text in found if text != pat.id]
    assert len(tokens) == 1
    assert real.verify_bearer(tokens[0]).pat_id == pat.id


@each("error", [Unanswered(detail="no answer"), NotDurable("exists", detail="no answer")])
def test_what_another_call_has_made_is_never_undone(fresh: Make, error: Exception) -> None:
    """Somebody has its secret. A creation of unknown outcome undoes what it has made itself."""
    authority = fresh()
    made: list[IssuedPat] = []
    under_way: list[str] = []

    def write(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        under_way.append("a call")
        if len(under_way) == 2:
            return real(*given, **named)
        made.append(send(authority))
        real(*given, **named)
        raise error

    with standing_in(Pats, "create", write), pytest.raises(StoreUnavailable):
        send(authority)
    assert authority.verify_bearer(made[0].token)
    assert len(authority.list()) == 1


@each("error", [Unanswered(detail="no answer"), NotDurable("made", detail="no answer")])
def test_what_was_undone_can_be_sent_again(fresh: Make, error: Exception) -> None:
    authority = fresh()

    def write(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        real(*given, **named)
        raise error

    with standing_in(Pats, "create", write), pytest.raises(StoreUnavailable):
        send(authority)
    assert authority.list() == []
    assert authority.verify_bearer(send(authority).token)


@one_engine
@each("once", ["", " ", "a b", "x" * 129, "\u00e9", "a\n", 7, b"x"])
def test_a_key_is_a_short_text(authority: Authority, once: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        send(authority, once=once)
    assert refused.value.field == "once"
    assert authority.list() == []


@one_engine
def test_a_missing_right_comes_first(authority: Authority) -> None:
    send(authority)
    for by in (Person(ALICE, ["a", MY_READ]), Person(ALICE, [])):
        with pytest.raises(Forbidden):
            send(authority, by)
    with pytest.raises(Forbidden):
        send(authority, Person(ALICE, ["a", MY_MANAGE]), owner="bob")


@one_engine
def test_without_a_key_nothing_is_looked_up_and_an_id_is_random(authority: Authority) -> None:
    with Before(Pats, "was_made", lambda: None) as asked:
        made = [send(authority, name=name, once=None).pat.id for name in ("one", "two")]
        issue(authority, "three")
        with pytest.raises(Conflict) as refused:
            send(authority, name="one", once=None)
    assert not isinstance(refused.value, AlreadyMade)
    assert asked.count == 0
    assert len(set(made)) == 2
    assert record_of(authority, made[0]).secrets[0].generation == 1


def test_the_refusal_survives_a_copy() -> None:
    refusal = pickle.loads(pickle.dumps(AlreadyMade("0" * 32)))
    assert (refusal.pat_id, str(refusal)) == ("0" * 32, AlreadyMade.default)
