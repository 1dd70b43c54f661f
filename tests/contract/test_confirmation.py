"""Before the authority of a person's PATs grows, the host may ask them to confirm who they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidScope,
    NotFound,
    Person,
    RateLimited,
)
from patauth.crypto.hashing import Hasher
from patauth.model.dates import DAY, to_datetime
from patauth.model.expiry import Expiry
from patauth.operations.create import NewPat, create
from patauth.operations.disable import set_disabled
from patauth.operations.lifecycle import delete
from patauth.operations.listing import list_pats
from patauth.operations.pat_change import PatChange
from patauth.operations.permissions import Actor
from patauth.operations.rotate import rotate
from patauth.operations.update import patch, patch_many, update
from tests.support.authorities import ALICE, Make, issue, maker_of
from tests.support.clocks import NOW, Clock
from tests.support.interventions import Before
from tests.support.rights import ALL_MANAGE, MY_MANAGE
from tests.support.servers import one_engine
from tests.support.tables import each

pytestmark = one_engine

HELD = ["reports:read", "reports:write", MY_MANAGE, ALL_MANAGE]
PERSON = Person(ALICE, HELD)
MONTH = Expiry(at_ms=NOW + 30 * DAY)
LATER = [{"op": "replace", "path": "/expirationDate", "value": "2035-01-01T00:00:00Z"}]
SOONER = [{"op": "replace", "path": "/expirationDate", "value": "2030-01-10T00:00:00Z"}]
RENAMED = [{"op": "replace", "path": "/name", "value": "renamed"}]


class Unsure(Exception):
    """What a host raises: any exception at all."""


class Asked:
    """A host who is asked, and knows the answer."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.times = 0
        self._then = then

    def __call__(self) -> None:
        self.times += 1
        self._then()


def refuse() -> None:
    raise Unsure


def new(name: str = "new", **given: Any) -> NewPat:
    return NewPat(**{"owner": None, "name": name, "scope": ["reports:read"], "expiry": MONTH, **given})


Use = Callable[[Actor, str], object]
GROWING: dict[str, Use] = {
    "create": lambda actor, _: create(actor, new()),
    "create for another": lambda actor, _: create(actor, new(owner="bob")),
    "rotate": lambda actor, pat_id: rotate(actor, pat_id, timedelta(hours=1)),
    "rotate without overlap": lambda actor, pat_id: rotate(actor, pat_id, timedelta(0)),
    "enable": lambda actor, pat_id: set_disabled(actor, pat_id, disabled=False),
    "more scopes": lambda actor, pat_id: update(actor, pat_id, PatChange(scope=HELD[:2])),
    "other scopes": lambda actor, pat_id: update(actor, pat_id, PatChange(scope=["reports:write"])),
    "later": lambda actor, pat_id: update(actor, pat_id, PatChange(expiry=Expiry(at_ms=NOW + 90 * DAY))),
    "later by a patch": lambda actor, pat_id: patch(actor, pat_id, LATER),
    "later in bulk": lambda actor, pat_id: patch_many(actor, [pat_id], LATER),
    "everywhere": lambda actor, pat_id: update(actor, pat_id, PatChange(networks=[])),
    "elsewhere": lambda actor, pat_id: update(actor, pat_id, PatChange(networks=["198.51.100.0/24"])),
    "at once": lambda actor, pat_id: update(actor, pat_id, PatChange(not_before_ms=NOW)),
    "renamed and later": lambda actor, pat_id: patch(actor, pat_id, [*RENAMED, *LATER]),
}
NOT_GROWING: dict[str, Use] = {
    "delete": lambda actor, pat_id: delete(actor, pat_id, "lost"),
    "list": lambda actor, _: list_pats(actor, owner_id="me"),
    "rename": lambda actor, pat_id: patch(actor, pat_id, RENAMED),
    "sooner": lambda actor, pat_id: patch(actor, pat_id, SOONER),
    "sooner in bulk": lambda actor, pat_id: patch_many(actor, [pat_id], SOONER),
    "describe": lambda actor, pat_id: update(actor, pat_id, PatChange(description="x")),
    "fewer networks": lambda actor, pat_id: update(actor, pat_id, PatChange(networks=["203.0.113.7"])),
    "begin later": lambda actor, pat_id: update(actor, pat_id, PatChange(not_before_ms=NOW + 9 * DAY)),
    "nothing": lambda actor, pat_id: update(actor, pat_id, PatChange(scope=["reports:read"])),
}


def narrow(authority: Authority, name: str = "ci") -> str:
    """The id of a PAT of the person's that can grow in every way."""
    made = issue(
        authority,
        name,
        scope=["reports:read"],
        expires_in=timedelta(days=60),
        networks=["203.0.113.0/24"],
        not_before=to_datetime(NOW + DAY),
    )
    authority.disable(made.pat.id)
    return made.pat.id


def as_it_is(authority: Authority) -> list[Any]:
    return [authority.list(), authority.list(filters='state eq "revoked"')]


@each("how", GROWING)
def test_what_grows_is_confirmed_once_and_happens_only_if_that_raises_nothing(
    fresh: Make, events: Callable[[], list[dict[str, Any]]], how: str
) -> None:
    authority = fresh(create_quota="1/3600")
    pat_id = narrow(authority)
    before, _ = as_it_is(authority), events()
    no = Asked(refuse)
    with Before(Hasher, "hash", lambda: None) as hashing, pytest.raises(Unsure):
        GROWING[how](authority.operations.actor(PERSON, no), pat_id)
    assert (no.times, hashing.count) == (1, 0)
    assert as_it_is(authority) == before
    assert events() == []
    yes = Asked()
    GROWING[how](authority.operations.actor(PERSON, yes), pat_id)  # the one creation that the quota allows
    assert yes.times == 1
    assert as_it_is(authority) != before


@each("how", NOT_GROWING)
def test_what_does_not_grow_is_never_asked_about(fresh: Make, how: str) -> None:
    authority = fresh()
    pat_id = narrow(authority)
    NOT_GROWING[how](authority.operations.actor(PERSON, refuse), pat_id)


def test_disabling_is_never_asked_about_nor_is_enabling_what_is_enabled(authority: Authority) -> None:
    pat_id = issue(authority).pat.id
    actor = authority.operations.actor(PERSON, refuse)
    set_disabled(actor, pat_id, disabled=False)
    assert set_disabled(actor, pat_id, disabled=True).disabled
    set_disabled(actor, pat_id, disabled=True)
    with pytest.raises(Unsure):
        set_disabled(actor, pat_id, disabled=False)


def test_one_confirmation_is_enough_for_an_actor_and_one_that_failed_is_none(authority: Authority) -> None:
    asked = Asked()
    actor = authority.operations.actor(PERSON, asked)
    made = [create(actor, new(f"n{number}")).pat.id for number in range(2)]
    rotate(actor, made[0], timedelta(0))
    patch_many(actor, made, LATER)
    assert asked.times == 1
    actor = authority.operations.actor(PERSON, refuse)
    for _ in range(2):
        with pytest.raises(Unsure):
            rotate(actor, made[0], timedelta(0))


def test_a_refusal_comes_before_the_question(authority: Authority) -> None:
    """Nobody is asked to confirm what is not allowed in any case. The create quota is charged afterwards."""
    pat_id = narrow(authority)
    other = issue(authority, "other", scope=["admin"]).pat.id
    actor = authority.operations.actor(Person(ALICE, HELD[:3]), refuse)
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (Conflict, lambda: create(actor, new("ci"))),
        (InvalidScope, lambda: create(actor, new(scope=["admin"]))),
        (Forbidden, lambda: create(actor, new(owner="bob"))),
        (InvalidRequest, lambda: create(actor, new(networks=["x"]))),
        (Forbidden, lambda: rotate(actor, other, timedelta(0))),
        (NotFound, lambda: rotate(actor, "0" * 32, timedelta(0))),
        (InvalidRequest, lambda: rotate(actor, pat_id, timedelta(days=8))),
        (InvalidScope, lambda: update(actor, pat_id, PatChange(scope=["admin"]))),
        (NotFound, lambda: update(actor, "0" * 32, PatChange(scope=["reports:write"]))),
        (Forbidden, lambda: set_disabled(actor, pat_id, disabled=False)),
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()


def test_a_creation_beyond_the_quota_was_confirmed(make: Make, clock: Clock) -> None:
    authority, asked = make(clock=clock, create_quota="1/3600"), Asked()
    create(authority.operations.actor(PERSON, asked), new("first"))
    with pytest.raises(RateLimited):
        create(authority.operations.actor(PERSON, asked), new("second"))
    assert asked.times == 2


def test_neither_a_pat_nor_the_host_is_asked(authority: Authority) -> None:
    _, principal = maker_of(authority)
    for number, by in enumerate((principal, None)):
        actor = authority.operations.actor(by, refuse)
        made = create(actor, new(f"n{number}", owner=ALICE if by is None else None))
        rotate(actor, made.pat.id, timedelta(0))


def test_a_guest_who_is_a_person_is_asked(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, may_act_in=lambda caller, tenant: True)
    guest = Person(ALICE, HELD, tenant="default")
    with pytest.raises(Unsure):
        create(authority.operations.actor_in("elsewhere", guest, refuse), new(owner="bob"))
    create(authority.operations.actor_in("elsewhere", guest, lambda: None), new(owner="bob"))


def test_the_time_that_a_confirmation_takes_is_not_the_stores(make: Make, clock: Clock) -> None:
    """By the store's clock, a write has to come within the deadline after its read."""
    authority = make(clock=clock, request_seconds=0.5)
    for how, call in GROWING.items():
        pat_id = narrow(authority, how)
        call(authority.operations.actor(PERSON, lambda: clock.advance(1000)), pat_id)
        for pat in authority.list():
            authority.delete(pat.id)


def test_nor_does_it_count_for_the_deadline_of_the_request(make: Make) -> None:
    authority = make(request_seconds=1.0)
    pat_id = issue(authority, scope=["reports:read"]).pat.id
    actor = authority.operations.actor(PERSON, lambda: time.sleep(1.1))
    assert update(actor, pat_id, PatChange(scope=HELD[:2])).scope == tuple(HELD[:2])
