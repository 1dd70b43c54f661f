"""What an actor may do: each caller, right and catalogue against the oracle of `tests.support.rights`.

No store is used: `Shelf` holds records, and the callers are made by hand.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import (
    Disabled,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    NotFound,
    Owner,
    PatAuthError,
    Person,
    PersonalAccessToken,
    Principal,
    Quota,
    Settings,
)
from patauth.crypto.hashing import Digest
from patauth.model.caller import Caller, Credential, Method
from patauth.model.pat import is_gone
from patauth.model.pat_id import PatId
from patauth.operations.permissions import NO_LIMIT, Actor, Limit, rule_allows
from patauth.store.record import VERSION_BYTES, PatRecord, SecretSlot, TokenRecord, pack, unpack
from tests.support import rights
from tests.support.clocks import DAY, NOW
from tests.support.rights import ALL_MANAGE, ALL_READ, EVERYTHING, HELD, MY_MANAGE, VERBS
from tests.support.tables import each

SELF, OTHER, MANAGED = Owner("self"), Owner("other"), Owner("managed")
CATALOGUES: list[tuple[str, ...]] = [(), ("reports:read",), (ALL_READ, ALL_MANAGE), tuple(rights.RIGHTS)]
RETENTION = 30 * DAY
DIGEST = Digest(b"s" * 16, b"d" * 32, 8, 1, 1)
TOKEN = b"t" * 32  # the digest of an access token
SMALL, USUAL, LARGE = Quota(1, 10), Quota(100, 10), Quota(1000, 10)


def pat_of(owner: Owner = SELF, number: int = 1, **given: Any) -> PersonalAccessToken:
    """A PAT of an owner, read a day after it was made."""
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "name": f"n{number}",
        "scope": (MY_MANAGE, "a"),
        "tenant": "default",
        "created_ms": NOW - DAY,
        "changed_ms": NOW - DAY,
        "sequence": 1,
        "read_ms": NOW,
    }
    return PersonalAccessToken(owner=owner, **{**values, **given})


def record_of(pat: PersonalAccessToken, *generations: int, overlap_end_ms: int = 0) -> PatRecord:
    """A record as the store gives it: the generations of its secrets, the current one first."""
    slots = tuple(SecretSlot(one, bytes([one]) * 16, DIGEST) for one in generations or (1,))
    packed = pack(PatRecord(pat, slots, overlap_end_ms), b"v" * VERSION_BYTES)
    return unpack(packed).as_read_at(pat.read_ms)


class Shelf:
    """What the store holds, where an actor reads it."""

    def __init__(self, *records: PatRecord, token: TokenRecord | None = None) -> None:
        self.records = {record.pat_id: record for record in records}
        self.token = token
        self.pats = SimpleNamespace(read=self.read, now=lambda tag: NOW)
        self.tokens = SimpleNamespace(read=self.read_token)
        self.tenant_index = SimpleNamespace(records=self.read_at, lists=self.lists)

    def read(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        return [self.records.get(one) for one in pat_ids]

    def read_at(self, pat_ids: Sequence[PatId], now: int) -> list[PatRecord | None]:
        return [None if one is None else one.as_read_at(now) for one in self.read(pat_ids)]

    def read_token(self, pat_id: PatId, digest: bytes) -> tuple[PatRecord, TokenRecord] | None:
        found = self.records.get(pat_id)
        if found is None or self.token is None or digest != TOKEN:
            return None
        return found, self.token

    def lists(self, pat: PersonalAccessToken) -> bool:
        return pat.tenant == "default" and not is_gone(pat.expires_ms, pat.read_ms, RETENTION)


def principal(
    *scopes: str,
    tenant: str = "default",
    method: Method = "basic",
    credential: Credential | None = Credential(1),  # noqa: B008 - it is frozen
    number: int = 1,
) -> Principal:
    return Principal(SELF, frozenset(scopes), f"{number:032x}", tenant, method, None, credential)


def manages_one(caller: Caller, owner_id: str) -> bool:
    return owner_id == MANAGED.id


def actor_of(
    by: Caller | None, *, store: Shelf | None = None, limit: Limit = NO_LIMIT, **given: Any
) -> Actor:
    """An actor in the tenant "default". A caller of another one is a guest."""
    listed = given.pop("listed", ())
    given = {"manages": manages_one, "scopes": dict.fromkeys(listed, "words") if listed else None, **given}
    settings = Settings.of(store_url="memory:", **given)
    nothing = cast(Any, None)
    guest = by is not None and by.tenant != settings.tenant
    return Actor(settings, cast(Any, store), nothing, nothing, by, is_guest=guest, limit=limit)


def callers(scopes: Sequence[str]) -> Iterator[tuple[str, Caller]]:
    yield "principal", principal(*scopes)
    yield "person", Person(SELF, scopes)
    yield "guest", principal(*scopes, tenant="elsewhere")
    yield "visiting person", Person(SELF, scopes, tenant="elsewhere")


def is_allowed(call: Any, *given: Any) -> bool:
    """Whether a call passes. A refusal names the right that it would take."""
    try:
        call(*given)
    except Forbidden as refusal:
        assert "this needs the right idn:" in str(refusal)
        return False
    return True


# -- rights --------------------------------------------------------------------------------------------------


@each("listed", CATALOGUES)
@each("named", HELD)
def test_each_caller_may_do_what_the_oracle_says(named: str, listed: tuple[str, ...]) -> None:
    """A guest has the rights that they bring, owns nothing here, and manages nobody."""
    may = rights.powers(HELD[named], listed)
    for kind, by in callers(HELD[named]):
        actor = actor_of(by, listed=listed)
        at_home = kind in ("principal", "person")
        assert (actor.owner == SELF) is at_home
        assert actor.is_operator is ("manage all" in may)
        for verb in VERBS:
            assert is_allowed(actor.require_own, verb) is (f"{verb} my" in may), (kind, verb)
            assert is_allowed(actor.require_all, verb) is (f"{verb} all" in may), (kind, verb)
            manages = at_home and verb == "read" and "read managed" in may
            assert actor.sees(pat_of(OTHER), verb) is (f"{verb} all" in may), (kind, verb)
            assert actor.sees(pat_of(SELF), verb) is (at_home or f"{verb} all" in may), (kind, verb)
            assert actor.sees(pat_of(MANAGED), verb) is (manages or f"{verb} all" in may), (kind, verb)
        for owner in (SELF, OTHER, MANAGED):
            listing = "read all" in may or (at_home and owner == MANAGED and "read managed" in may)
            assert is_allowed(actor.require_of, owner.id) is listing, (kind, owner)


@each("listed", CATALOGUES)
def test_a_judged_caller_may_do_what_both_their_credential_and_their_pat_allow(
    listed: tuple[str, ...],
) -> None:
    for shown, held in itertools.product(HELD.values(), repeat=2):
        limit = Limit((frozenset(shown), frozenset(held)), None, frozenset(listed))
        actor = actor_of(principal(*shown), listed=listed, limit=limit)
        may = rights.powers(shown, listed) & rights.powers(held, listed)
        for verb in VERBS:
            assert is_allowed(actor.require_own, verb) is (f"{verb} my" in may)
            assert is_allowed(actor.require_all, verb) is (f"{verb} all" in may)


@each("verb", VERBS)
def test_the_host_may_do_everything(verb: Any) -> None:
    for actor in (actor_of(None), actor_of(principal("a", tenant="elsewhere")).as_host()):
        actor.require_own(verb)
        actor.require_all(verb)
        actor.require_of("anyone")
        assert actor.is_operator
        assert actor.holds("anything")
        assert actor.owner is None
        for owner in (SELF, OTHER):
            assert actor.sees(pat_of(owner), verb)
            assert actor.owns(pat_of(owner))


@each("reach, verb", itertools.product(("own", "all"), VERBS))
def test_a_refusal_names_the_right_in_the_words_of_the_management_api(reach: str, verb: Any) -> None:
    word = {"own": "my", "all": "all"}[reach]
    right = f"idn:{word}-personal-access-tokens:{'read' if verb == 'read' else 'manage'}"
    with pytest.raises(Forbidden, match=f"^this needs the right {right}$"):
        getattr(actor_of(principal()), f"require_{reach}")(verb)


@given(rights.word_sets, rights.words, rights.catalogues)
def test_a_scope_is_held_if_it_is_covered_and_by_no_guest(
    held: frozenset[str], wanted: str, listed: frozenset[str]
) -> None:
    for kind, by in callers(sorted(held)):
        at_home = kind in ("principal", "person")
        covered = rights.covered(held, [wanted], listed)
        assert actor_of(by, listed=tuple(listed)).holds(wanted) is (at_home and covered)


def test_a_caller_owns_their_pats_of_this_tenant_alone() -> None:
    for by in (principal(ALL_MANAGE), Person(SELF, [ALL_MANAGE])):
        assert actor_of(by).owns(pat_of(SELF))
        assert not actor_of(by).owns(pat_of(OTHER))
        assert not actor_of(by).owns(pat_of(SELF, tenant="elsewhere"))
    for guest in (principal(ALL_MANAGE, tenant="elsewhere"), Person(SELF, [ALL_MANAGE], tenant="elsewhere")):
        assert not actor_of(guest).owns(pat_of(SELF))
        assert not actor_of(guest).owns(pat_of(SELF, tenant="elsewhere"))


def test_a_caller_of_another_tenant_acts_only_as_a_guest() -> None:
    settings = Settings.of(store_url="memory:")
    nothing = cast(Any, None)
    for by in (principal(ALL_MANAGE, tenant="elsewhere"), Person(SELF, [ALL_MANAGE], tenant="elsewhere")):
        with pytest.raises(Forbidden, match="another organisation"):
            Actor(settings, nothing, nothing, nothing, by)
        assert Actor(settings, nothing, nothing, nothing, by, is_guest=True).owner is None
    assert Actor(settings, nothing, nothing, nothing, principal()).owner == SELF
    assert Actor(settings, nothing, nothing, nothing, None).owner is None


def test_nobody_changes_who_an_actor_is() -> None:
    with pytest.raises(FrozenInstanceError):
        actor_of(principal()).by = None  # type: ignore[misc]


# -- what the trail and introspection are told ---------------------------------------------------------------


def test_the_facts_of_an_event_name_the_caller() -> None:
    pat_id = f"{1:032x}"
    abroad = {"byTenant": "elsewhere", "tenant": "default"}
    assert actor_of(None).facts == {}
    assert actor_of(principal()).facts == {"byOwnerId": "self", "byPatId": pat_id}
    assert actor_of(Person(SELF)).facts == {"byOwnerId": "self"}
    assert actor_of(principal(tenant="elsewhere")).facts == {
        "byOwnerId": "self", "byPatId": pat_id, **abroad
    }  # fmt: skip
    assert actor_of(Person(SELF, tenant="elsewhere")).facts == {"byOwnerId": "self", **abroad}


def test_an_actor_says_by_what_they_call() -> None:
    shown: list[tuple[Caller | None, bool, int | None]] = [
        (None, False, None),
        (Person(SELF), False, None),
        (principal(credential=None), False, None),
        (principal(credential=Credential(7)), False, 7),
        (principal(method="pat", credential=Credential(7)), False, 7),
        (principal(method="access_token", credential=Credential(7, TOKEN)), True, 7),
    ]
    for by, by_access_token, generation in shown:
        actor = actor_of(by)
        assert (actor.calls_by_access_token, actor.generation) == (by_access_token, generation)


# -- what can be passed on -----------------------------------------------------------------------------------

scope_words = st.sampled_from([EVERYTHING, MY_MANAGE, ALL_MANAGE, ALL_READ, "a", "b"])
scope_sets = st.frozensets(scope_words, max_size=4)


@given(scope_sets, scope_sets, st.lists(scope_words, max_size=3), scope_sets)
def test_scopes_are_passed_on_if_both_credential_and_pat_cover_them(
    shown: frozenset[str], held: frozenset[str], wanted: list[str], listed: frozenset[str]
) -> None:
    limit = Limit((shown, held), None, listed)
    covered = rights.covered(shown, wanted, listed) and rights.covered(held, wanted, listed)
    assert limit.covers(tuple(wanted)) is covered
    if covered:
        limit.require(tuple(wanted))
    else:
        with pytest.raises(InvalidScope) as refused:
            limit.require(tuple(wanted))
        assert refused.value.field == "scope"


@given(scope_sets, scope_sets, scope_sets)
def test_the_own_scopes_are_those_of_the_credential_that_can_be_passed_on(
    shown: frozenset[str], held: frozenset[str], listed: frozenset[str]
) -> None:
    """A PAT that had a wider right gives its access token no more than the token holds."""
    own = Limit((shown, held), None, listed).own
    assert list(own) == sorted(one for one in shown if rights.covered(held, [one], listed))


def test_the_own_scopes_name_a_right_as_the_credential_does() -> None:
    narrow, wide = frozenset({MY_MANAGE}), frozenset({ALL_MANAGE})
    assert Limit((narrow, wide), None, frozenset()).own == (MY_MANAGE,)
    assert Limit((wide, narrow), None, frozenset()).own == ()


def test_without_a_limit_all_can_be_passed_on_and_nothing_is_ones_own() -> None:
    assert NO_LIMIT.covers(("anything", EVERYTHING))
    assert NO_LIMIT.allows(None)
    assert NO_LIMIT.own == ()
    NO_LIMIT.require(("anything",))
    NO_LIMIT.require_quota(LARGE)


@each(
    "most, passes",
    [
        (None, [None, NOW - 1, NOW, NOW + 1]),
        (NOW, [NOW - 1, NOW]),
    ],
)
def test_an_expiry_is_passed_on_up_to_the_callers_own(most: int | None, passes: list[int | None]) -> None:
    limit = Limit(None, most, frozenset())
    assert [one for one in (None, NOW - 1, NOW, NOW + 1) if limit.allows(one)] == passes


@each("most, passes", [(None, [None, SMALL, USUAL, LARGE]), (USUAL, [None, SMALL, USUAL])])
def test_a_request_quota_is_passed_on_up_to_the_callers_own(
    most: Quota | None, passes: list[Quota | None]
) -> None:
    limit = Limit(None, None, frozenset(), most_quota=most)
    found = []
    for quota in (None, SMALL, USUAL, LARGE):
        try:
            limit.require_quota(quota)
        except InvalidRequest as refused:
            assert refused.field == "request_quota"
        else:
            found.append(quota)
    assert found == passes


@each(
    "scope, expires_ms, is_more",
    [
        (("a",), NOW, False),
        (("a",), NOW - 1, False),
        (("a", "b"), NOW, True),
        (("a",), NOW + 1, True),
        (("a",), None, True),
        (("b",), None, True),
    ],
)
def test_a_pat_that_can_do_more_than_the_caller_is_refused(
    scope: tuple[str, ...], expires_ms: int | None, is_more: bool
) -> None:
    """In scopes, in its expiry, or in both."""
    actor = actor_of(principal("a"), limit=Limit((frozenset("a"),), NOW, frozenset()))
    pat = pat_of(scope=scope, expires_ms=expires_ms)
    if is_more:
        with pytest.raises(Forbidden, match="more scopes or a later expiry"):
            actor.require_no_more(pat)
    else:
        actor.require_no_more(pat)


@each("usual, own, most, passes", [
    (USUAL, None, USUAL, True),
    (USUAL, SMALL, USUAL, True),
    (USUAL, USUAL, USUAL, True),
    (USUAL, LARGE, USUAL, False),
    (LARGE, None, USUAL, False),
    (LARGE, SMALL, USUAL, True),
    (SMALL, None, USUAL, True),
    (LARGE, None, None, True),
])  # fmt: skip
def test_a_pat_with_a_larger_request_quota_than_the_callers_pat_is_refused(
    usual: Quota, own: Quota | None, most: Quota | None, passes: bool
) -> None:
    """A PAT without one has the setting's. A person has none, and the host knows no bounds."""
    pat = pat_of(scope=("a",), request_quota=own)
    limit = Limit((frozenset("a"),), None, frozenset(), None, most)
    for by, is_bound in ((principal("a"), True), (Person(SELF, ["a"]), False), (None, False)):
        actor = actor_of(by, limit=limit, request_quota=usual)
        if passes or not is_bound:
            actor.require_no_more(pat)
        else:
            with pytest.raises(Forbidden, match="larger request quota"):
                actor.require_no_more(pat)


# -- finding -------------------------------------------------------------------------------------------------

LONG_GONE = NOW - RETENTION


@each(
    "pat, is_found",
    [
        (pat_of(SELF), True),
        (pat_of(SELF, expires_ms=NOW), True),
        (pat_of(SELF, expires_ms=LONG_GONE + 1), True),
        (pat_of(SELF, expires_ms=LONG_GONE), False),
        (pat_of(SELF, disabled=Disabled.BY_OPERATOR), True),
        (pat_of(SELF, tenant="elsewhere"), False),
        (pat_of(OTHER), False),
        (pat_of(OTHER, expires_ms=LONG_GONE), False),
    ],
)
def test_a_pat_is_found_while_it_is_kept_in_this_tenant_and_the_caller_has_a_right_to_it(
    pat: PersonalAccessToken, is_found: bool
) -> None:
    actor = actor_of(principal(MY_MANAGE), store=Shelf(record_of(pat)))
    if is_found:
        assert actor.find("manage", pat.id).pat == pat
        assert [one.pat for one in actor.find_all("manage", [pat.id])] == [pat]
        return
    with pytest.raises(NotFound):
        actor.find("manage", pat.id)
    with pytest.raises(NotFound) as missing:
        actor.find_all("manage", [pat.id])
    assert missing.value.field == "ids[0]"


def test_the_host_finds_pats_of_all_owners_but_of_no_other_tenant() -> None:
    here, there = pat_of(OTHER), pat_of(OTHER, 2, tenant="elsewhere")
    actor = actor_of(None, store=Shelf(record_of(here), record_of(there)))
    assert actor.find("manage", here.id).pat == here
    with pytest.raises(NotFound):
        actor.find("manage", there.id)


@each("pat_id", ["", "x", "0" * 31, "A" * 32, f"{3:032x}"])
def test_what_is_no_id_or_no_pat_is_not_found(pat_id: str) -> None:
    pats = [pat_of(SELF), pat_of(SELF, 2)]
    actor = actor_of(principal(MY_MANAGE), store=Shelf(*map(record_of, pats)))
    with pytest.raises(NotFound) as missing:
        actor.find("manage", pat_id)
    assert missing.value.field is None
    with pytest.raises(NotFound) as missing:
        actor.find_all("manage", [pats[0].id, pat_id, pats[1].id])
    assert missing.value.field == "ids[1]"
    with pytest.raises(NotFound) as missing:
        actor.find_all("manage", [pat_id])
    assert missing.value.field == "ids[0]"


def test_many_are_found_in_the_order_of_their_ids() -> None:
    pats = [pat_of(SELF, number) for number in (3, 1, 2)]
    actor = actor_of(principal(MY_MANAGE), store=Shelf(*map(record_of, pats)))
    assert [one.pat for one in actor.find_all("manage", [pat.id for pat in pats])] == pats
    assert actor.find_all("manage", []) == []


# -- judging -------------------------------------------------------------------------------------------------


def token_of(generation: int = 1, number: int = 1, expires_ms: int = NOW + 1) -> TokenRecord:
    return TokenRecord(PatId(f"{number:032x}"), generation, expires_ms, ("a",))


PAT = pat_of(expires_ms=NOW + DAY)
SECRET, BY_TOKEN = Credential(1), Credential(1, TOKEN)
WHOLE, ROTATED = record_of(PAT), record_of(PAT, 2, 1, overlap_end_ms=NOW + 1)
OVER = record_of(PAT, 2, 1, overlap_end_ms=NOW)
# What has become of the PAT; the access token, if one is there; the credential; how it is judged, and how it
# is where the previous secret of an overlap will do.
JUDGED: dict[str, tuple[PatRecord | None, TokenRecord | None, Credential, Any, Any]] = {
    "as it was": (WHOLE, None, SECRET, None, None),
    "gone": (None, None, SECRET, InvalidCredentials, InvalidCredentials),
    "expires in a moment": (record_of(replace(PAT, expires_ms=NOW + 1)), None, SECRET, None, None),
    "expired": (
        record_of(replace(PAT, expires_ms=NOW)), None, SECRET, InvalidCredentials, InvalidCredentials
    ),
    "of another tenant": (
        record_of(replace(PAT, tenant="elsewhere")), None, SECRET, InvalidCredentials, InvalidCredentials
    ),
    "rotated, and the new secret": (ROTATED, None, Credential(2), None, None),
    "rotated, and the secret before": (ROTATED, None, SECRET, Forbidden, None),
    "rotated, and the overlap is over": (OVER, None, SECRET, InvalidCredentials, InvalidCredentials),
    "rotated twice": (
        record_of(PAT, 3, 2, overlap_end_ms=NOW + 1), None, SECRET, InvalidCredentials, InvalidCredentials
    ),
    "a token": (WHOLE, token_of(), BY_TOKEN, None, None),
    "a token that is gone": (WHOLE, None, BY_TOKEN, InvalidCredentials, InvalidCredentials),
    "a token without its PAT": (None, token_of(), BY_TOKEN, InvalidCredentials, InvalidCredentials),
    "a token that has expired": (
        WHOLE, token_of(expires_ms=NOW), BY_TOKEN, InvalidCredentials, InvalidCredentials
    ),
    "a token of another PAT": (
        WHOLE, token_of(number=2), BY_TOKEN, InvalidCredentials, InvalidCredentials
    ),
    "a token of the secret before": (ROTATED, token_of(), BY_TOKEN, Forbidden, None),
    "a token of a secret that has ended": (
        OVER, token_of(), BY_TOKEN, InvalidCredentials, InvalidCredentials
    ),
    **{
        f"disabled, {marks!r}": (
            record_of(replace(PAT, disabled=marks)), None, SECRET, InvalidCredentials, InvalidCredentials
        )
        for marks in map(Disabled, range(1, 8))
    },
}  # fmt: skip


@each("case", JUDGED)
@each("previous", [False, True])
def test_a_change_is_judged_by_what_its_caller_holds_now(case: str, previous: bool) -> None:
    record, token, credential, *outcomes = JUDGED[case]
    method: Method = "basic" if credential.token is None else "access_token"
    by = principal(MY_MANAGE, "lost", method=method, credential=credential)
    actor = actor_of(by, store=Shelf(*([record] if record else []), token=token), listed=("a",))
    refusal: type[PatAuthError] | None = outcomes[previous]
    if refusal is not None:
        with pytest.raises(refusal) as refused:
            actor.judged(previous=previous)
        if refusal is Forbidden:
            assert "rotated away" in str(refused.value)
            with pytest.raises(Forbidden):
                actor.judged()
        return
    assert record is not None
    judged = actor.judged(previous=previous)
    assert judged.limit.scopes == (frozenset({MY_MANAGE, "lost"}), frozenset({MY_MANAGE, "a"}))
    assert judged.limit.expires_ms == record.pat.expires_ms
    assert judged.limit.catalogue == {"a"}
    seen = judged.credential
    assert seen is not None
    assert (seen.pat_id, seen.generation, seen.token, seen.version) == (
        PAT.id, credential.generation, credential.token, b"v" * VERSION_BYTES
    )  # fmt: skip
    assert judged.by is by


@each("own", [None, SMALL, LARGE])
def test_a_principal_passes_on_the_request_quota_of_their_pat(own: Quota | None) -> None:
    """Where it has none, the setting is the most."""
    record = record_of(replace(PAT, request_quota=own))
    limit = actor_of(principal("a"), store=Shelf(record), request_quota=USUAL).judged().limit
    assert limit.request_quota == own
    assert limit.most_quota == (own or USUAL)


def test_a_person_passes_on_what_the_host_says_without_end() -> None:
    limit = actor_of(Person(SELF, ["a", MY_MANAGE]), listed=("a",), request_quota=USUAL).judged().limit
    assert limit == Limit((frozenset({"a", MY_MANAGE}),), None, frozenset("a"), None, USUAL)


def test_the_host_passes_on_anything() -> None:
    actor = actor_of(None)
    assert actor.judged() is actor
    assert actor.judged().limit is NO_LIMIT


def test_a_principal_that_patauth_has_not_returned_changes_nothing() -> None:
    actor = actor_of(principal("a", credential=None), store=Shelf(WHOLE))
    with pytest.raises(InvalidRequest, match="not a copy") as refused:
        actor.judged()
    assert refused.value.field == "by"


# -- callables of the settings -------------------------------------------------------------------------------


@each("answer", [True, False, None, 1, "yes", [True], NotImplemented])
def test_only_true_is_a_yes(answer: Any) -> None:
    assert rule_allows(lambda *_: answer, principal(), "other", "manages") is (answer is True)


def test_without_a_callable_nothing_is_allowed() -> None:
    assert rule_allows(None, principal(), "other", "manages") is False


def test_a_callable_that_fails_allows_nothing_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "patauth")

    def fails(*_: object) -> bool:
        raise LookupError("a secret")

    assert rule_allows(fails, principal(), "other", "manages") is False
    (line,) = caplog.messages
    assert "`manages`" in line
    assert "LookupError" in line
    assert "secret" not in line


def test_a_callable_is_told_who_calls_and_about_whom() -> None:
    told: list[Any] = []
    by = principal()
    rule_allows(lambda *given: told.append(given), by, "other", "manages")  # type: ignore[arg-type, func-returns-value]
    assert told == [(by, "other")]
