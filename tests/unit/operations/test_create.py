"""Creation of PATs: whose a new PAT may be, what it may hold, and what it costs its maker."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidScope,
    IssuedPat,
    Owner,
    PatAuthError,
    Person,
    Quota,
    RateLimited,
    StoreUnavailable,
)
from patauth.model.caller import Caller
from patauth.model.expiry import Expiry
from patauth.model.pat_id import PatId
from patauth.operations.create import NewPat, create
from patauth.store.pats import Pats
from patauth.store.scripts import NotDurable
from patauth.store.transport.protocol import Unanswered
from tests.support import rights
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import DAY, NOW, Clock
from tests.support.internals import hasher_of
from tests.support.interventions import standing_in
from tests.support.rights import ALL_MANAGE, ALL_READ, EVERYTHING, MY_MANAGE, MY_READ
from tests.support.tables import each
from tests.support.tenants import keys_of, record_of, send

Trail = Callable[[], list[dict[str, Any]]]
SELF, OTHER, MONTH = Owner("self", name="Self"), Owner("other", name="Other"), Expiry(after_ms=30 * DAY)


def make_pat(authority: Authority, by: Caller | None = None, **given: Any) -> IssuedPat:
    """A PAT, with what a test does not care about filled in."""
    values: dict[str, Any] = {"owner": None, "name": PatId, "scope": ["a"], "expiry": MONTH}
    return create(authority.operations.actor(by), NewPat(**{**values, **given}))


def caller(authority: Authority, *scopes: str, **given: Any) -> Caller:
    """A principal of SELF, by a PAT that never expires."""
    count = len(authority.list(owner_id="self"))
    made = issue(authority, f"caller {count}", owner=SELF, scope=scopes, never_expires=True, **given)
    return authority.authenticate(basic_of(made))


def refusal(call: Callable[[], object]) -> tuple[type[PatAuthError], str | None] | None:
    """How a call is refused: the kind of error and its field. None: it is not."""
    try:
        call()
    except PatAuthError as error:
        return type(error), error.field
    return None


# -- whose ---------------------------------------------------------------------------------------------------


def test_ones_own_takes_the_right_to_ones_own_and_any_other_the_right_to_all(keeper: Authority) -> None:
    """An owner object counts as another one's, even the caller's own: it may have another name."""
    issue(keeper, "older", owner=OTHER)
    asked: dict[str, tuple[Owner | str | None, str, Owner]] = {
        "nobody": (None, "manage my", SELF),
        "own id": ("self", "manage my", SELF),
        "other id": ("other", "manage all", OTHER),
        "own": (SELF, "manage all", SELF),
        "other": (OTHER, "manage all", OTHER),
    }
    for held, kind in itertools.product(
        ((), (MY_READ,), (MY_MANAGE,), (ALL_READ,), (ALL_MANAGE,), (EVERYTHING,)), ("PAT", "person")
    ):
        by = caller(keeper, *held, "a") if kind == "PAT" else Person(SELF, [*held, "a"])
        for name, (owner, needed, whose) in asked.items():
            if needed in rights.powers(held):
                made = make_pat(keeper, by, owner=owner)
                assert made.pat.owner == whose, name
                assert (made.pat.owner.name, made.pat.owner.type) == (whose.name, whose.type), name
                assert keeper.verify_bearer(made.token).subject == whose
            else:
                assert refusal(lambda o=owner, b=by: make_pat(keeper, b, owner=o)) == (Forbidden, None), name


def test_the_host_and_a_guest_say_whose_it_is(make_at: Make, clock: Clock) -> None:
    there = make_at(clock=clock, tenant="elsewhere", may_act_in=lambda *_: True)
    here = make_at(clock=clock)
    issue(here, "older", owner=SELF)
    guest = there.authenticate(basic_of(issue(there, owner=Owner("self", "Guest"), scope=[ALL_MANAGE, "a"])))
    for actor in (here.operations.actor(None), there.operations.actor_in("default", guest)):
        new = NewPat(owner=None, name=PatId, scope=["a"], expiry=Expiry(after_ms=DAY))
        with pytest.raises(InvalidRequest, match=r"give a patauth\.Owner") as refused:
            create(actor, new)
        assert refused.value.field == "owner"
        made = create(actor, replace(new, owner="self"))
        assert made.pat.owner.name == "Self", "the owner of this tenant, and not the guest"
        assert made.pat.tenant == "default"
        assert create(actor, replace(new, owner=OTHER)).pat.owner == OTHER


@each(
    "types, owner, passes",
    [
        (None, Owner("x"), True),
        (None, Owner("x", type="APPLICATION"), True),
        (("APPLICATION", "IDENTITY"), Owner("x"), True),
        (("APPLICATION",), Owner("x"), False),
        (("APPLICATION",), Owner("x", type="APPLICATION"), True),
    ],
)
def test_an_owner_is_of_a_type_that_the_setting_allows(
    fresh: Make, types: tuple[str, ...] | None, owner: Owner, passes: bool
) -> None:
    authority = fresh(owner_types=types)
    expected = None if passes else (InvalidRequest, "owner type")
    assert refusal(lambda: make_pat(authority, owner=owner)) == expected


def test_an_owner_by_id_is_as_in_their_other_pats(fresh: Make, clock: Clock) -> None:
    """One without PATs has the first type that is allowed, and the id for a name."""
    authority = fresh(owner_types=("APPLICATION", "IDENTITY"))
    made = make_pat(authority, owner="new").pat
    assert (made.owner.name, made.owner.type) == ("new", "APPLICATION")
    issue(authority, owner=Owner("known", "Known", "IDENTITY"))
    made = make_pat(authority, owner="known").pat
    assert (made.owner.name, made.owner.type) == ("Known", "IDENTITY")
    clock.advance(1)
    issue(authority, "newer", owner=Owner("known", "Renamed", "APPLICATION"))
    assert make_pat(authority, owner="known").pat.owner == made.owner, "the oldest one says so"
    plain = fresh()
    assert make_pat(plain, owner="new").pat.owner.type == "IDENTITY"
    assert refusal(lambda: make_pat(plain, owner="no id")) == (InvalidRequest, "owner id")


def test_an_owner_whose_record_was_lost_is_as_one_without_pats(keeper: Authority) -> None:
    made = issue(keeper, owner=Owner("known", "Known"))
    send(keeper, ("DEL", keys_of(keeper).pat(PatId(made.pat.id))))
    assert make_pat(keeper, owner="known").pat.owner.name == "known"


@each("owner", [OTHER, "other"])
def test_the_right_to_all_is_needed_still_when_the_pat_is_written(keeper: Authority, owner: Any) -> None:
    """Its loss since the caller was verified is no matter of what they could do then."""
    made = issue(keeper, f"caller {owner}", owner=SELF, scope=[ALL_MANAGE, "a"], never_expires=True)
    by = keeper.authenticate(basic_of(made))
    keeper.update(made.pat.id, scope=[MY_MANAGE, "a"])
    assert refusal(lambda: make_pat(keeper, by, owner=owner)) == (Forbidden, None)
    assert make_pat(keeper, by).pat.owner == SELF


# -- what ----------------------------------------------------------------------------------------------------


def test_a_new_pat_is_what_was_asked_for(keeper: Authority, clock: Clock) -> None:
    clock.advance(7)
    made = make_pat(
        keeper,
        owner=OTHER,
        name="cafe\u0301",
        scope=["b", "a", "b"],
        access_token_ttl=60,
        request_quota="5/60",
        expiry=Expiry(),
        never_acknowledged=True,
    )
    pat = made.pat
    assert (pat.name, pat.scope, pat.owner) == ("caf\u00e9", ("b", "a"), OTHER)
    assert (pat.created_ms, pat.changed_ms, pat.sequence, pat.read_ms) == (NOW + 7, NOW + 7, 1, NOW + 7)
    assert (pat.expires_ms, pat.never_acknowledged) == (None, True)
    assert (pat.access_token_ttl, pat.request_quota) == (60, Quota(5, 60))
    assert keeper.get(pat.id) == pat
    assert [slot.generation for slot in record_of(keeper, pat.id).secrets] == [1]
    assert keeper.verify_basic(pat.id, made.secret).scopes == {"a", "b"}


def test_a_pat_never_expires_only_if_that_is_confirmed(keeper: Authority) -> None:
    refused = refusal(lambda: make_pat(keeper, owner=OTHER, expiry=Expiry()))
    assert refused == (InvalidRequest, "never_acknowledged")


@each("name", ["", "x" * 129, "a\nb", 7, None, lambda pat_id: "", lambda pat_id: "x" * 129])
def test_a_name_is_checked_whoever_makes_it(keeper: Authority, name: Any) -> None:
    assert refusal(lambda: make_pat(keeper, owner=OTHER, name=name)) == (InvalidRequest, "name")


def test_a_name_can_be_made_from_the_id(keeper: Authority) -> None:
    made = make_pat(keeper, owner=OTHER, name=lambda pat_id: f"of {pat_id}")
    assert made.pat.name == f"of {made.pat.id}"


@each(
    "seconds, passes",
    [
        *((one, True) for one in (None, 15, 16, 900, 43_199, 43_200)),
        *((one, False) for one in (14, 0, -15, 43_201, 900.0, "900", True, [900])),
    ],
)
def test_an_access_token_lives_15_seconds_to_12_hours(keeper: Authority, seconds: Any, passes: bool) -> None:
    expected = None if passes else (InvalidRequest, "access_token_ttl")
    assert refusal(lambda: make_pat(keeper, owner=OTHER, access_token_ttl=seconds)) == expected


@each(
    "given, kept",
    [
        (None, None),
        ("5/60", Quota(5, 60)),
        (Quota(5, 60), Quota(5, 60)),
        *((one, InvalidRequest) for one in ("5", "5/0", "", 5, (5, 60), [], False)),
    ],
)
def test_a_request_quota_is_one_or_its_text(keeper: Authority, given: Any, kept: Any) -> None:
    if kept is InvalidRequest:
        refused = refusal(lambda: make_pat(keeper, owner=OTHER, request_quota=given))
        assert refused == (InvalidRequest, "request_quota")
    else:
        assert make_pat(keeper, owner=OTHER, request_quota=given).pat.request_quota == kept


@each(
    "own, given, kept",
    [
        (None, None, None),
        (None, "1000000/1", Quota(1_000_000, 1)),
        ("5/60", None, Quota(5, 60)),
        ("5/60", "4/60", Quota(4, 60)),
        ("5/60", "6/60", InvalidRequest),
    ],
)
def test_a_pat_passes_on_its_own_request_quota_and_no_larger_one(
    keeper: Authority, own: str | None, given: str | None, kept: Any
) -> None:
    by = caller(keeper, MY_MANAGE, "a", request_quota=own)
    if kept is InvalidRequest:
        refused = refusal(lambda: make_pat(keeper, by, request_quota=given))
        assert refused == (InvalidRequest, "request_quota")
    else:
        assert make_pat(keeper, by, request_quota=given).pat.request_quota == kept


@each(
    "listed, scope, outcome",
    [
        (None, ["anything"], None),
        (None, [MY_READ], None),
        (None, [], InvalidScope),
        (None, "a", InvalidScope),
        (None, ["a b"], InvalidScope),
        (["a"], ["a", MY_READ], None),
        (["a"], ["a", "b"], InvalidScope),
    ],
)
def test_scopes_are_some_of_the_catalogue_or_rights(
    fresh: Make, listed: list[str] | None, scope: Any, outcome: type[PatAuthError] | None
) -> None:
    authority = fresh(scopes=None if listed is None else dict.fromkeys(listed, "words"))
    refused = refusal(lambda: make_pat(authority, owner=OTHER, scope=scope))
    assert (refused and refused[0]) == outcome


@each("listed", [None, ["a"]])
def test_without_scopes_a_pat_gets_those_of_its_maker_that_can_be_passed_on(
    fresh: Make, listed: list[str] | None
) -> None:
    """A scope that the catalogue has lost since is not passed on."""
    open_to_all = fresh()
    by = caller(open_to_all, MY_MANAGE, "b", "a")
    authority = fresh(
        key_prefix=open_to_all.settings.key_prefix,
        scopes=None if listed is None else dict.fromkeys(listed, "words"),
    )
    expected = ("a", *(() if listed else ("b",)), MY_MANAGE)
    assert make_pat(authority, by, scope=None).pat.scope == expected
    refused = refusal(lambda: make_pat(authority, owner=OTHER, scope=None))
    assert refused == (InvalidScope, "scope"), "the host has none of its own"


def test_a_pat_is_within_its_makers_scopes_and_expiry(keeper: Authority) -> None:
    made = issue(keeper, owner=SELF, scope=[MY_MANAGE, "a"], expires_in=timedelta(days=1))
    by = keeper.authenticate(basic_of(made))
    day, later = Expiry(after_ms=DAY), Expiry(after_ms=DAY + 1)
    assert make_pat(keeper, by, expiry=day).pat.expires_ms == made.pat.expires_ms
    assert refusal(lambda: make_pat(keeper, by, expiry=later)) == (InvalidRequest, "expiry")
    assert refusal(lambda: make_pat(keeper, by, expiry=day, scope=["b"])) == (InvalidScope, "scope")


def test_what_was_asked_for_cannot_be_changed_after_its_checks() -> None:
    new = NewPat(owner=None, name="x", scope=None, expiry=MONTH)
    with pytest.raises(FrozenInstanceError):
        new.scope = ["more"]  # type: ignore[misc]
    with pytest.raises(TypeError):
        NewPat(None, "x", None, MONTH)  # type: ignore[misc]


# -- cost ----------------------------------------------------------------------------------------------------


def test_a_maker_is_charged_and_the_host_is_not(make_at: Make, clock: Clock) -> None:
    authority = make_at(clock=clock, create_quota="3/3600", max_pats_per_owner=100)
    by = caller(authority, MY_MANAGE, "a")
    for _ in range(10):
        make_pat(authority, owner=OTHER)
    for maker in (by, Person(SELF, [MY_MANAGE, "a"]), by):
        make_pat(authority, maker)
    with pytest.raises(RateLimited) as refused:
        make_pat(authority, by)
    assert (refused.value.quota, refused.value.retry_after) == ("creations", 1200)
    make_pat(authority, owner=SELF)


def test_a_refused_creation_costs_neither_a_hash_nor_quota(make_at: Make, clock: Clock) -> None:
    authority = make_at(clock=clock, create_quota="1/3600", max_pats_per_owner=2)
    by = caller(authority, MY_MANAGE, "a")
    issue(authority, "taken", owner=OTHER)
    authority.disable_owner("other")
    hashes = hasher_of(authority).computed
    for call, error in (
        (lambda: make_pat(authority, by, scope=["b"]), InvalidScope),
        (lambda: make_pat(authority, by, name="caller 0"), Conflict),
        (lambda: make_pat(authority, owner=OTHER, name="new"), Forbidden),
    ):
        with pytest.raises(error):
            call()
    assert hasher_of(authority).computed == hashes
    make_pat(authority, by)
    assert refusal(lambda: make_pat(authority, by)) == (Conflict, None), "the bound comes before the quota"


# -- the write -----------------------------------------------------------------------------------------------


def test_the_trail_says_what_was_made_and_by_whom(keeper: Authority, events: Trail) -> None:
    by = caller(keeper, MY_MANAGE, "a")
    events()
    made = make_pat(keeper, by, name="new")
    assert events() == [
        {
            "type": "pat.created",
            "outcome": "done",
            "scope": ["a"],
            "patId": made.pat.id,
            "ownerId": "self",
            "name": "new",
            "byOwnerId": "self",
            "byPatId": getattr(by, "pat_id", None),
        }
    ]


def test_an_id_that_another_pat_has_is_drawn_again(keeper: Authority, events: Trail) -> None:
    """The secret opens the PAT under the id that it got, and the other PAT is as it was."""
    first = make_pat(keeper, owner=OTHER, name="first")
    drawn: list[str] = []
    real = PatId.mint

    def mint(tag: str) -> PatId:
        drawn.append(tag)
        return PatId(first.pat.id) if len(drawn) == 1 else real(tag)

    events()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PatId, "mint", mint)
        made = make_pat(keeper, owner=OTHER, name=lambda pat_id: f"of {pat_id}")
    assert len(drawn) == 2
    assert made.pat.id != first.pat.id
    assert made.pat.name == f"of {made.pat.id}"
    assert keeper.verify_basic(made.pat.id, made.secret).pat_id == made.pat.id
    assert keeper.get(first.pat.id) == first.pat
    assert [(one["type"], one["patId"]) for one in events()] == [("pat.created", made.pat.id)]


def test_a_maker_who_changes_while_it_is_written_is_judged_again(keeper: Authority) -> None:
    """The PAT keeps its id: only an id that is taken is drawn again."""
    made = issue(keeper, owner=SELF, scope=[MY_MANAGE, "a"], never_expires=True)
    by = keeper.authenticate(basic_of(made))
    written: list[str] = []

    def write(real: Callable[..., Any], store: Pats, record: Any, **named: Any) -> Any:
        written.append(record.pat.id)
        if len(written) == 1:
            keeper.update(made.pat.id, name="renamed")
        return real(store, record, **named)

    with standing_in(Pats, "create", write):
        new = make_pat(keeper, by)
    assert written == [new.pat.id] * 2
    assert keeper.verify_bearer(new.token).pat_id == new.pat.id


def test_a_store_that_never_settles_is_an_outage(keeper: Authority) -> None:
    def write(real: Callable[..., Any], *given: Any, **named: Any) -> str:
        return "judge again"

    with standing_in(Pats, "create", write), pytest.raises(StoreUnavailable):
        make_pat(keeper, owner=OTHER)


@each("error", [Unanswered(detail="no answer"), NotDurable("made", detail="no answer")])
def test_a_creation_of_unknown_outcome_is_undone(
    keeper: Authority, events: Trail, error: PatAuthError
) -> None:
    def write(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        real(*given, **named)
        raise error

    events()
    with standing_in(Pats, "create", write), pytest.raises(StoreUnavailable) as refused:
        make_pat(keeper, owner=OTHER)
    assert not refused.value.may_be_done
    assert keeper.list(owner_id="other") == []
    assert events() == []


def test_one_that_cannot_be_undone_is_in_the_trail(keeper: Authority, events: Trail) -> None:
    def fails(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        raise Unanswered(detail="no answer")

    with (
        standing_in(Pats, "create", fails),
        standing_in(Pats, "delete", fails),
        pytest.raises(Unanswered) as refused,
    ):
        make_pat(keeper, owner=OTHER, name="new")
    assert refused.value.may_be_done
    assert [(one["type"], one["name"], one["outcome"]) for one in events()] == [
        ("pat.created", "new", "unknown")
    ]
