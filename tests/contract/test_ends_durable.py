"""What the model of ends has found (test_ends_model.py), in the code.

A failover that loses what is not durable is played: the record becomes again what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, NotFound, Owner, PatAuthError, StoreUnavailable
from patauth.model.pat_id import PatId
from patauth.store import asking
from patauth.store.scripts import Scripts
from tests.support.authorities import ALICE, Make, basic_of, issue
from tests.support.clocks import Clock
from tests.support.internals import store_of
from tests.support.interventions import Before

ALL = "idn:all-personal-access-tokens:manage"


@pytest.fixture
def world(make_at: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An Authority on a clock that goes on while an end waits."""
    monkeypatch.setattr(asking, "sleep", lambda seconds: clock.advance(round(1000 * seconds)))
    return make_at(clock=clock)


def kept(world: Authority, issued: IssuedPat) -> Callable[[], object]:
    """Return what puts the record of a PAT back, as it is now."""
    pats = store_of(world).pats
    key = pats.keys.pat(PatId(issued.pat.id))
    (record,) = pats.scripts.call([("GET", key)])
    return lambda: pats.scripts.call([("SET", key, record)])


@pytest.mark.parametrize("asks", ["the host", "another PAT of the owner"])
def test_a_secret_that_was_rotated_away_ends_no_pat(world: Authority, asks: str) -> None:
    old, other = issue(world, name="old"), issue(world, name="other")
    by = None if asks == "the host" else world.authenticate(basic_of(other))
    rotated: list[IssuedPat] = []

    def rotate() -> None:
        rotated.append(world.rotate(old.pat.id, overlap=timedelta(0)))

    with Before(Scripts, "run_durably", rotate), suppress(PatAuthError):
        world.revoke(old.token, by=by)
    assert world.verify_basic(old.pat.id, rotated[0].secret)


def test_a_narrowing_that_is_repeated_is_durable_when_it_returns(world: Authority, make_at: Make) -> None:
    issued = issue(world, scope=["x", "y"])
    careful = make_at(durability="replicas:9", durability_timeout=0.01)  # there are fewer
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            careful.update(issued.pat.id, scope=["x"])


def accepts(world: Authority, issued: IssuedPat) -> bool:
    """Whether the PAT still has the right."""
    try:
        return ALL in world.verify_basic(issued.pat.id, issued.secret).scopes
    except InvalidCredentials:
        return False


@pytest.mark.parametrize("what", ["delete", "narrow"])
def test_an_end_that_finds_its_work_done_does_not_return_when_a_failover_has_lost_it(
    world: Authority, what: str
) -> None:
    issued = issue(world, scope=["x", ALL])
    ends: dict[str, Callable[[], Any]] = {
        "delete": lambda: world.delete(issued.pat.id),
        "narrow": lambda: world.update(issued.pat.id, scope=["x"]),
    }
    fail_over = kept(world, issued)
    ends[what]()
    with Before(Scripts, "confirm", fail_over):
        try:
            ends[what]()
        except StoreUnavailable:
            return  # so it is repeated
        except NotFound:
            pass
    assert not accepts(world, issued)


def test_a_right_is_durable_before_a_change_in_another_slot_rests_on_it(
    world: Authority, make_at: Make, clock: Clock
) -> None:
    """A failover may lose the grant, and with it the mark for which the end would wait."""
    caller = issue(world, name="caller", scope=["x", ALL])
    target = issue(world, name="target", owner=Owner("bob"))
    assert caller.pat.owner == ALICE
    careful = make_at(clock=clock, durability="replicas:9", durability_timeout=0.01)  # there are fewer
    by = careful.authenticate(basic_of(caller))
    with Before(Scripts, "run", lambda: None) as asked, pytest.raises(StoreUnavailable):
        careful.update(target.pat.id, name="renamed", by=by)
    assert asked.count
    assert world.get(target.pat.id).name == "target"
