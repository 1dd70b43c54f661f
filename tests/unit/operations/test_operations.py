"""What callers may do with PATs, at the level of Python: rights x call x way of calling.

The oracle is `rights.py`: what each right is worth, and what each call takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    IssuedPat,
    NotFound,
    Owner,
    PatAuthError,
    Person,
    Principal,
)
from patauth.model.leaks import CredentialInText
from patauth.model.pat_id import PatId
from patauth.operations.leaks import LeakReport
from patauth.operations.lifecycle import delete_self, get_self
from patauth.operations.pat_change import PatChange
from patauth.operations.update import patch, update
from tests.support import rights
from tests.support.authorities import Make, basic, issue, patch_many
from tests.support.clocks import DAY, NOW, Clock
from tests.support.rights import ALL_MANAGE, ALL_READ, EVERYTHING, HELD, MANAGED_READ, MY_MANAGE, MY_READ
from tests.support.tables import each
from tests.support.tenants import keys_of, send

SELF, OTHER, MANAGED = Owner("self", name="Self"), Owner("other"), Owner("managed")
OWNERS = {"own": SELF, "other": OTHER, "managed": MANAGED}
MISSING = "0123456789abcdef" * 2
RENAME = [{"op": "replace", "path": "/name", "value": "renamed"}]
SOONER = [{"op": "replace", "path": "/expirationDate", "value": "2030-01-03T00:00:00Z"}]
CATALOGUES: dict[str, dict[str, str] | None] = {
    "no catalogue": None,
    "words": {"reports:read": "read reports"},
    "rights to read": {"reports:read": "read reports", ALL_READ: "look at PATs"},
    "rights to manage": {
        "reports:read": "read reports",
        ALL_MANAGE: "manage PATs",
        MY_MANAGE: "and one's own",
    },
}
WAYS = ["basic", "pat", "access_token", "person"]
OUTCOMES = {Forbidden: "forbidden", NotFound: "missing", InvalidRequest: "invalid"}


def manages_one(caller: Principal | Person, owner_id: str) -> bool:
    assert isinstance(caller, Principal | Person)
    return owner_id == MANAGED.id


def principal(authority: Authority, issued: IssuedPat, way: str) -> Principal:
    """Who calls by this PAT, verified in one of three ways."""
    if way == "basic":
        return authority.authenticate(basic(issued.pat.id, issued.secret))
    if way == "pat":
        return authority.verify_bearer(issued.token)
    return authority.verify_bearer(authority.exchange(issued.pat.id, issued.secret).value)


class World:
    """A caller with some rights, and PATs of their own, of one whom they manage, and of another."""

    def __init__(self, authority: Authority, held: list[str], way: str) -> None:
        self.authority = authority
        self.made = 0
        scope = [*held, "reports:read"]
        self.caller = issue(authority, "caller", owner=SELF, scope=scope)
        self.by: Principal | Person
        if way == "person":
            self.by = Person(SELF, scope)
        else:
            self.by = principal(authority, self.caller, way)
            assert self.by.method == way
        for owner in OWNERS.values():
            issue(authority, "kept", owner=owner, scope=["reports:read"])

    def fresh(self, whose: str) -> str:
        """The id of a PAT that nothing has been done with."""
        self.made += 1
        if whose == "missing":
            return MISSING
        life = timedelta(days=7)
        made = issue(
            self.authority, f"n{self.made}", owner=OWNERS[whose], scope=["reports:read"], expires_in=life
        )
        return made.pat.id

    def all(self) -> list[tuple[Any, ...]]:
        """All there is, as the host sees it."""
        pats = [pat for owner in OWNERS.values() for pat in self.authority.list(owner_id=owner.id)]
        return [(pat, pat.state, pat.never_acknowledged, pat.access_token_ttl) for pat in pats]

    def stored(self) -> tuple[Any, ...]:
        """All there is, byte for byte."""
        keys = keys_of(self.authority)
        (ids,) = send(self.authority, ("ZRANGE", keys.tenant_created, 0, -1))
        return ids, send(self.authority, ("MGET", *(keys.pat(PatId(one.hex())) for one in ids)))

    def outcome(self, call: str) -> str:
        """What comes of a call; what is done has been done, and what is refused has changed nothing."""
        verb, _, whose = call.partition(" ")
        target = self.fresh(whose) if whose in (*OWNERS, "missing") and verb != "list" else None
        before = self.stored()
        try:
            getattr(self, f"do_{verb}")(whose, target)
        except PatAuthError as refusal:
            assert self.stored() == before, call
            return next(OUTCOMES[kind] for kind in type(refusal).__mro__ if kind in OUTCOMES)
        return "done"

    def do_list(self, whose: str, _: str | None) -> None:
        owner_id = {"all": None, "own id": SELF.id}.get(whose, whose)
        found = self.authority.list(owner_id=owner_id, by=self.by)
        whole = {owner.id for owner in OWNERS.values()}
        one = {SELF.id if owner_id == "me" else owner_id}
        assert {pat.owner.id for pat in found} == (whole if owner_id is None else one)
        assert {pat.name for pat in found} >= {"kept"}

    def do_get(self, _: str, target: str) -> None:
        assert self.authority.get(target, by=self.by) == self.authority.get(target)

    def do_create(self, whose: str, _: str | None) -> None:
        owner = {"": None, "for self": SELF, "for other": OTHER, "for managed": MANAGED}[whose]
        self.made += 1
        life = timedelta(days=7)
        made = self.authority.create(
            owner=owner, name=f"n{self.made}", scope=["reports:read"], expires_in=life, by=self.by
        )
        assert self.authority.get(made.pat.id).owner == (owner or SELF)
        assert self.authority.verify_bearer(made.token).scopes == {"reports:read"}

    def do_patch(self, _: str, target: str) -> None:
        name = f"renamed {target}"
        operations = [{"op": "replace", "path": "/name", "value": name}]
        assert self.authority.patch(target, operations, by=self.by).name == name
        assert self.authority.get(target).name == name

    def do_bulk(self, _: str, target: str) -> None:
        (pat,) = patch_many(self.authority, [target], SOONER, by=self.by)
        assert self.authority.get(target) == pat
        assert pat.expires_ms == NOW + 2 * DAY

    def do_rotate(self, _: str, target: str) -> None:
        issued = self.authority.rotate(target, overlap=timedelta(0), by=self.by)
        assert self.authority.verify_basic(target, issued.secret).pat_id == target

    def do_delete(self, _: str, target: str) -> None:
        self.authority.delete(target, by=self.by)
        with pytest.raises(NotFound):
            self.authority.get(target)


@pytest.fixture
def setting(fresh: Make) -> Make:
    """Makes Authorities whose quotas are in nobody's way, each with a store of its own."""

    def make_one(**given: Any) -> Authority:
        values = {"max_pats_per_owner": 100, "request_quota": "1000000/1", "manages": manages_one, **given}
        return fresh(**values)

    return make_one


@pytest.fixture
def authority(setting: Make) -> Authority:
    return setting()


@pytest.mark.system
@each("way", WAYS)
@each("catalogue", CATALOGUES)
@each("named", HELD)
def test_each_call_comes_out_as_the_rights_say_whichever_way_one_calls(
    setting: Make, named: str, catalogue: str, way: str
) -> None:
    """A1, A2, R8."""
    listed = CATALOGUES[catalogue]
    if named == "look-alikes" and listed is not None:
        listed = {**listed, **dict.fromkeys(rights.LOOK_ALIKES, "words")}
    world = World(setting(scopes=listed), HELD[named], way)
    may = rights.powers(HELD[named], listed or ())
    found = {call: world.outcome(call) for call in rights.NEEDS}
    assert found == {call: rights.expected(call, may) for call in rights.NEEDS}


def test_the_oracle_says_what_the_table_of_the_management_api_says() -> None:
    """Each line of it, by hand."""

    def done(*held: str, listed: tuple[str, ...] = ()) -> set[str]:
        may = rights.powers(held, listed)
        return {call for call in rights.NEEDS if rights.expected(call, may) == "done"}

    mine = {"list me", "get own"}
    theirs = {"get managed", "list managed"}
    everyones = {"list all", "list other", "list own id", "get other"}
    changing = {"create", "patch own", "delete own", "rotate own"}
    assert done() == set()
    assert done(MY_READ) == mine
    assert done(MANAGED_READ) == mine | theirs
    assert done(ALL_READ) == mine | theirs | everyones
    assert done(MY_MANAGE) == mine | changing
    assert done(EVERYTHING) == mine | {"delete own"}
    assert done(EVERYTHING, listed=(ALL_READ,)) == mine | theirs | everyones | {"delete own"}
    assert done(EVERYTHING, listed=(ALL_MANAGE,)) == mine | {"delete own"}
    assert done(ALL_MANAGE) == {call for call in rights.NEEDS if not call.endswith("missing")}


@each("way", WAYS)
def test_another_s_pat_and_a_missing_one_are_refused_in_the_same_words(setting: Make, way: str) -> None:
    authority = setting()
    world = World(authority, [MY_MANAGE], way)
    said = set()
    for pat_id in (world.fresh("other"), world.fresh("managed"), MISSING, "", "me", MISSING.upper(), 5, None):
        for call in (
            lambda one: authority.get(one, by=world.by),
            lambda one: authority.patch(one, RENAME, by=world.by),
            lambda one: authority.rotate(one, by=world.by),
            lambda one: authority.delete(one, by=world.by),
        ):
            with pytest.raises(NotFound) as caught:
                call(pat_id)
            said.add((str(caught.value), caught.value.field, caught.value.detail))
    assert len(said) == 1


@each("way", WAYS)
def test_who_may_do_nothing_with_their_own_is_refused_whatever_the_id(setting: Make, way: str) -> None:
    authority = setting()
    world = World(authority, [], way)
    said = set()
    for pat_id in (world.fresh("own"), world.fresh("other"), MISSING, "x"):
        with pytest.raises(Forbidden) as caught:
            authority.patch(pat_id, RENAME, by=world.by)
        said.add(str(caught.value))
    assert said == {"this needs the right " + MY_MANAGE}


class Broken(Exception):
    pass


class TestManages:
    def broken(self, *_: object) -> bool:
        raise Broken

    @each("way", WAYS)
    def test_what_it_raises_is_not_taken_for_a_yes(self, setting: Make, way: str) -> None:
        world = World(setting(manages=self.broken), [MANAGED_READ], way)
        before = world.all()
        with pytest.raises(Forbidden):
            world.authority.list(owner_id=MANAGED.id, by=world.by)
        with pytest.raises(NotFound):
            world.authority.get(world.authority.list(owner_id=MANAGED.id)[0].id, by=world.by)
        assert world.all() == before

    @each("way", WAYS)
    @each("answer", [False, None, 1, "yes", "True", [True], object(), NotImplemented, lambda *_: True])
    def test_no_answer_but_true_is_a_yes(self, setting: Make, answer: object, way: str) -> None:
        world = World(setting(manages=lambda *_: answer), [MANAGED_READ], way)
        with pytest.raises(Forbidden):
            world.authority.list(owner_id=MANAGED.id, by=world.by)
        with pytest.raises(NotFound):
            world.authority.get(world.fresh("managed"), by=world.by)

    @each("held", [[], [MY_MANAGE], [EVERYTHING], [ALL_READ], [ALL_MANAGE]])
    def test_it_is_not_asked_where_its_answer_would_change_nothing(
        self, setting: Make, held: list[str]
    ) -> None:
        """Without the right to those one manages, or with that to anyone's."""
        world = World(setting(manages=self.broken), held, "basic")
        may = rights.powers(held)
        for call in rights.NEEDS:
            wanted = rights.expected(call, may)
            assert world.outcome(call) == wanted, call

    def test_it_is_told_who_calls_and_about_whom(self, setting: Make) -> None:
        asked = []
        world = World(setting(manages=lambda *given: asked.append(given) or True), [MANAGED_READ], "basic")
        world.authority.list(owner_id="managed", by=world.by)
        world.authority.get(world.fresh("other"), by=world.by)
        assert asked == [(world.by, "managed"), (world.by, "other")]

    @each("held", [[MANAGED_READ, MY_MANAGE], [rights.MANAGED_MANAGE]])
    def test_who_manages_somebody_changes_none_of_their_pats(self, setting: Make, held: list[str]) -> None:
        """TOB-PYPI26-8: the right to look at them is not one to change them."""
        world = World(setting(manages=lambda *_: True), held, "basic")
        for verb in ("patch", "rotate", "delete"):
            assert world.outcome(f"{verb} managed") == world.outcome(f"{verb} other") == "missing"
        assert world.outcome("bulk managed") == world.outcome("create for managed") == "forbidden"

    def test_without_the_setting_nobody_manages_anybody(self, setting: Make) -> None:
        world = World(setting(manages=None), [rights.MANAGED_MANAGE], "basic")
        assert world.outcome("list managed") == "forbidden"
        assert world.outcome("get managed") == "missing"


@each("way", WAYS)
def test_a_caller_of_another_tenant_is_refused_whatever_the_rights(setting: Make, way: str) -> None:
    """Also one whose owner has the same id here."""
    here = setting()
    there = setting(tenant="elsewhere", key_prefix=here.settings.key_prefix)
    world = World(here, [ALL_MANAGE], "basic")
    if way == "person":
        by: Principal | Person = Person(SELF, [ALL_MANAGE, "reports:read"], tenant="elsewhere")
    else:
        by = principal(there, issue(there, owner=SELF, scope=[ALL_MANAGE, "reports:read"]), way)
    assert by.tenant == "elsewhere"
    own = world.fresh("own")
    before = world.all()
    for call in (
        lambda: here.list(owner_id="me", by=by),
        lambda: here.list(by=by),
        lambda: here.list(owner_id="self", by=by),
        lambda: here.get(own, by=by),
        lambda: get_self(here.operations.actor(by)),
        lambda: delete_self(here.operations.actor(by)),
        lambda: here.create(name="x", scope=["reports:read"], expires_in=timedelta(days=1), by=by),
        lambda: here.patch(own, RENAME, by=by),
        lambda: patch_many(here, [own], SOONER, by=by),
        lambda: here.rotate(own, by=by),
        lambda: here.delete(own, by=by),
    ):
        with pytest.raises(Forbidden, match="another organisation"):
            call()
    assert world.all() == before


@each("by", ["self", Owner("self"), 5, object(), True])
def test_a_caller_is_a_principal_or_a_person_and_nothing_else(setting: Make, by: object) -> None:
    """Else a mistake in the host would be taken for the host itself."""
    authority = setting()
    own = World(authority, [], "basic").fresh("own")
    for call in (authority.get, authority.delete, authority.rotate):
        with pytest.raises(InvalidRequest, match="by: "):
            call(own, by=by)
    with pytest.raises(InvalidRequest, match="by: "):
        delete_self(authority.operations.actor(by))  # type: ignore[arg-type]
    assert authority.get(own).state == "active"


class TestPresented:
    @each("named", HELD)
    def test_an_access_token_looks_at_its_pat_and_does_not_end_it(self, setting: Make, named: str) -> None:
        """FINDINGS A15: a token of one narrow scope could end the PAT."""
        authority = setting()
        world = World(authority, HELD[named], "access_token")
        actor = authority.operations.actor(world.by)
        assert get_self(actor).id == world.caller.pat.id
        before = world.all()
        with pytest.raises(Forbidden, match="does not end its PAT"):
            delete_self(actor)
        assert world.all() == before

    @each("way", ["basic", "pat"])
    @each("named", HELD)
    def test_it_takes_no_right_to_look_at_it_and_to_end_it(self, setting: Make, named: str, way: str) -> None:
        authority = setting()
        world = World(authority, HELD[named], way)
        assert get_self(authority.operations.actor(world.by)).id == world.caller.pat.id
        assert len(world.all()) == 4
        delete_self(authority.operations.actor(world.by))
        assert world.caller.pat.id not in [pat.id for pat, *_ in world.all()]
        assert len(world.all()) == 3
        with pytest.raises(NotFound):
            get_self(authority.operations.actor(world.by))
        with pytest.raises(InvalidCredentials):
            delete_self(authority.operations.actor(world.by))
        with pytest.raises(InvalidCredentials):
            principal(authority, world.caller, way)

    @each("named", HELD)
    def test_a_person_presents_none(self, setting: Make, named: str) -> None:
        authority = setting()
        world = World(authority, HELD[named], "person")
        before = world.all()
        for call in (get_self, delete_self):
            with pytest.raises(NotFound, match="presented"):
                call(authority.operations.actor(world.by))
        assert world.all() == before

    def test_the_host_presents_none_either(self, authority: Authority) -> None:
        for call in (get_self, delete_self):
            with pytest.raises(NotFound):
                call(authority.operations.actor(None))


def expire(authority: Authority, clock: Clock, issued: IssuedPat) -> None:
    clock.now = issued.pat.expires_ms or 0


ENDS: dict[str, Callable[[Authority, Clock, IssuedPat], object]] = {
    "deleted": lambda authority, clock, issued: authority.delete(issued.pat.id),
    "deleted with all of its owner's": lambda authority, clock, issued: authority.revoke_owner(SELF.id),
    "disabled": lambda authority, clock, issued: authority.disable_owner(SELF.id),
    "expired": expire,
    "gone": lambda authority, clock, issued: clock.advance(400 * DAY),
}


@each("way", ["basic", "pat", "access_token"])
@each("end", ENDS)
def test_a_caller_whose_pat_has_ended_since_passes_nothing_on(
    setting: Make, clock: Clock, end: str, way: str
) -> None:
    """Harbor #21026: who was let in a moment ago makes nothing that outlives them."""
    authority = setting()
    other = issue(authority, owner=OTHER, scope=["reports:read"], never_expires=True)
    issued = issue(authority, "caller", owner=SELF, scope=[ALL_MANAGE, "reports:read", "reports:write"])
    by = principal(authority, issued, way)
    ENDS[end](authority, clock, issued)
    before = authority.get(other.pat.id)
    day = {"expires_in": timedelta(days=1)}
    grow = [{"op": "add", "path": "/scope/-", "value": "reports:write"}]
    for call in (
        lambda: authority.create(name="x", scope=["reports:read"], **day, by=by),
        lambda: authority.create(owner=OTHER, name="x", scope=["reports:read"], **day, by=by),
        lambda: authority.rotate(other.pat.id, by=by),
        lambda: authority.patch(other.pat.id, grow, by=by),
    ):
        with pytest.raises(InvalidCredentials):
            call()
    assert authority.get(other.pat.id) == before
    assert len(authority.list(owner_id=OTHER.id)) == 1
    assert authority.verify_bearer(other.token)


class TestLimit:
    """A3, Harbor CVE-2022-31667: what a caller makes is within what the caller has at that moment."""

    @each("way", WAYS)
    def test_scopes_beyond_the_caller_s_are_passed_on_by_no_call(self, setting: Make, way: str) -> None:
        authority = setting()
        world = World(authority, [ALL_MANAGE], way)
        more = issue(authority, "more", owner=SELF, scope=["reports:read", "reports:write"]).pat
        less = world.fresh("other")
        before = world.all()
        with pytest.raises(InvalidScope):
            issue(authority, "new", owner=None, scope=["reports:write"], by=world.by)
        for scope in ("reports:write", EVERYTHING, "oauth:introspect"):
            with pytest.raises(InvalidScope):
                authority.patch(less, [{"op": "add", "path": "/scope/-", "value": scope}], by=world.by)
        with pytest.raises(Forbidden, match="more scopes"):
            authority.rotate(more.id, by=world.by)
        assert world.all() == before
        # What shrinks, or keeps its authority, is nothing that is passed on.
        authority.patch(more.id, [{"op": "replace", "path": "/name", "value": "m"}], by=world.by)
        authority.patch(more.id, [{"op": "remove", "path": "/scope/1"}], by=world.by)
        authority.rotate(more.id, by=world.by)

    @each("way", ["basic", "pat", "access_token"])
    def test_a_life_beyond_the_caller_s_is_passed_on_by_no_call(self, setting: Make, way: str) -> None:
        authority = setting()
        world = World(authority, [ALL_MANAGE], way)
        end = world.caller.pat.expires_ms
        assert end is not None
        longer = issue(authority, "longer", owner=OTHER, scope=["reports:read"], never_expires=True).pat
        within = world.fresh("other")
        before = world.all()
        over = "2030-01-31T00:00:00.001Z"
        never = [{"op": "replace", "path": "/expirationDate", "value": None}]
        never.append({"op": "replace", "path": "/userAwareTokenNeverExpires", "value": True})
        later = [{"op": "replace", "path": "/expirationDate", "value": over}]
        for given in ({"never_expires": True}, {"expires_in": timedelta(days=30, milliseconds=1)}):
            with pytest.raises(InvalidRequest, match="your own personal access token"):
                issue(authority, "new", owner=None, scope=["reports:read"], by=world.by, **given)
        for operations in (never, later):
            for one in (within, world.caller.pat.id):
                with pytest.raises(InvalidRequest, match="your own personal access token"):
                    authority.patch(one, operations, by=world.by)
                with pytest.raises(InvalidRequest, match="your own personal access token"):
                    patch_many(authority, [one], operations, by=world.by)
        with pytest.raises(InvalidRequest, match="your own personal access token"):
            authority.patch(longer.id, [{"op": "add", "path": "/scope/-", "value": MY_READ}], by=world.by)
        with pytest.raises(Forbidden, match="later expiry"):
            authority.rotate(longer.id, by=world.by)
        assert world.all() == before
        made = issue(
            authority, "new", owner=None, scope=["reports:read"], by=world.by, expires_in=timedelta(days=30)
        )
        assert made.pat.expires_ms == end

    @each("way", ["basic", "pat", "access_token"])
    def test_it_is_the_pat_s_as_it_is_now_and_not_when_it_was_let_in(
        self, setting: Make, clock: Clock, way: str
    ) -> None:
        authority = setting()
        issued = issue(authority, "caller", owner=SELF, scope=[MY_MANAGE, "a", "b"])
        by = principal(authority, issued, way)
        authority.patch(issued.pat.id, [{"op": "replace", "path": "/scope", "value": [MY_MANAGE, "a"]}])
        authority.patch(issued.pat.id, SOONER)
        with pytest.raises(InvalidScope):
            issue(authority, "new", owner=None, scope=["b"], expires_in=timedelta(days=1), by=by)
        with pytest.raises(InvalidScope):
            authority.patch(issued.pat.id, [{"op": "add", "path": "/scope/-", "value": "b"}], by=by)
        with pytest.raises(InvalidRequest, match="your own"):
            issue(authority, "new", owner=None, scope=["a"], expires_in=timedelta(days=3), by=by)
        issue(authority, "new", owner=None, scope=["a"], expires_in=timedelta(days=2), by=by)

    def test_an_access_token_passes_on_what_it_holds_and_no_more_of_its_pat(
        self, authority: Authority
    ) -> None:
        issued = issue(authority, "caller", owner=SELF, scope=[MY_MANAGE, "a", "b"])
        access = authority.exchange(issued.pat.id, issued.secret, scope=f"{MY_MANAGE} a")
        by = authority.verify_bearer(access.value)
        with pytest.raises(InvalidScope):
            issue(authority, "new", owner=None, scope=["b"], by=by, expires_in=timedelta(days=1))
        with pytest.raises(Forbidden, match="more scopes"):
            authority.rotate(issued.pat.id, by=by)
        made = issue(authority, "new", owner=None, scope=["a"], by=by, expires_in=timedelta(days=1))
        assert made.pat.scope == ("a",)

    def test_everything_is_passed_on_by_who_holds_it_alone(self, authority: Authority) -> None:
        for held, outcome in (([ALL_MANAGE], InvalidScope), ([MY_MANAGE, EVERYTHING], None)):
            issued = issue(authority, f"caller {outcome}", owner=SELF, scope=held)
            by = principal(authority, issued, "basic")
            if outcome is None:
                issue(authority, "new", owner=None, scope=[EVERYTHING], by=by, expires_in=timedelta(days=1))
            else:
                with pytest.raises(outcome):
                    issue(authority, "new", owner=None, scope=[EVERYTHING], by=by)

    @each("catalogue", CATALOGUES)
    def test_everything_alone_makes_nothing(self, setting: Make, catalogue: str) -> None:
        """Gitea GHSA-683j: a PAT makes PATs only with a right to that by name."""
        authority = setting(scopes=CATALOGUES[catalogue])
        issued = issue(authority, "caller", owner=SELF, scope=[EVERYTHING])
        for way in ("basic", "pat", "access_token"):
            by = principal(authority, issued, way)
            for scope in ("reports:read", EVERYTHING, MY_READ):
                with pytest.raises(Forbidden):
                    issue(authority, "new", owner=None, scope=[scope], by=by, expires_in=timedelta(days=1))
            with pytest.raises(Forbidden):
                authority.rotate(issued.pat.id, by=by)

    def test_a_person_passes_on_what_the_host_says_and_without_end(self, authority: Authority) -> None:
        by = Person(SELF, [MY_MANAGE, "a"])
        made = issue(authority, owner=None, scope=["a"], never_expires=True, by=by)
        assert made.pat.expires_at is None
        with pytest.raises(InvalidScope):
            issue(authority, "new", owner=None, scope=["b"], never_expires=True, by=by)

    @each("way", WAYS)
    def test_nothing_is_made_or_rotated_for_a_disabled_owner(self, setting: Make, way: str) -> None:
        authority = setting()
        world = World(authority, [ALL_MANAGE], way)
        target = world.fresh("other")
        authority.disable_owner(OTHER.id)
        before = world.all()
        assert world.outcome("create for other") == "forbidden"
        with pytest.raises(Forbidden, match="disabled"):
            authority.rotate(target, by=world.by)
        assert world.all() == before

    def test_who_may_do_everything_here_sees_nothing_of_another_tenant(self, setting: Make) -> None:
        here = setting()
        there = setting(tenant="elsewhere", key_prefix=here.settings.key_prefix)
        assert here.settings.key_prefix == there.settings.key_prefix
        theirs = issue(there, owner=SELF, scope=["reports:read"])
        world = World(here, [ALL_MANAGE], "basic")
        for call in (here.get, here.delete, here.rotate):
            with pytest.raises(NotFound):
                call(theirs.pat.id, by=world.by)
            with pytest.raises(NotFound):
                call(theirs.pat.id)
        assert theirs.pat.id not in [pat.id for pat in here.list(by=world.by)]
        assert there.verify_bearer(theirs.token)


# -- texts for people ----------------------------------------------------------------------------------------


def test_a_text_with_a_credential_in_it_is_refused_wherever_it_comes_in(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Lists and the audit trail show names, descriptions and reasons."""
    authority = make(credential_prefixes="acme,acmes,acmea pat,pats,pata")
    made = issue(authority, owner=SELF)
    pat_id, text = made.pat.id, f"was {made.token}"
    actor = authority.operations.actor(None)

    def patched(path: str) -> list[dict[str, str]]:
        return [{"op": "add", "path": path, "value": text}]

    ways: dict[str, tuple[str, Callable[[], object]]] = {
        "create": ("name", lambda: issue(authority, made.secret)),
        "create, description": ("description", lambda: issue(authority, description=text)),
        "create, owner": ("owner id", lambda: issue(authority, owner=Owner(made.secret))),
        "create, owner's name": ("owner name", lambda: issue(authority, owner=Owner("a", name=text))),
        "create, scope": ("scope", lambda: issue(authority, scope=["a", made.secret])),
        "update, scope": ("scope", lambda: update(actor, pat_id, PatChange(scope=["a", made.secret]))),
        "update": ("name", lambda: update(actor, pat_id, PatChange(name=text))),
        "update, description": ("description", lambda: update(actor, pat_id, PatChange(description=text))),
        "patch": ("name", lambda: patch(actor, pat_id, patched("/name"))),
        "patch, description": ("description", lambda: patch(actor, pat_id, patched("/description"))),
        "delete": ("reason", lambda: authority.delete(pat_id, reason=text)),
        "revoke_owner": ("reason", lambda: authority.revoke_owner("self", reason=text)),
        "a report of leaks": ("reason", lambda: LeakReport(actor, text)),
        "by itself": ("reason", lambda: delete_self(authority.operations.actor(
            authority.authenticate(basic(pat_id, made.secret))), text)),
    }  # fmt: skip
    for way, (field, call) in ways.items():
        with pytest.raises(CredentialInText) as refused:
            call()
        assert refused.value.field == field, way
        assert made.token not in str(refused.value), way
    assert [(pat.name, pat.description, pat.sequence) for pat in authority.list()] == [("ci", None, 1)]
    assert made.secret not in caplog.text
    update(actor, pat_id, PatChange(name=f"of {pat_id}", description="pats_ begins it"))
