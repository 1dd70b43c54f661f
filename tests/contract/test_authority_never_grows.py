"""Authority never grows (CONTRACT 5.10): what PATs do with PATs, in any order, comes out as a model says.

The model knows rights by `rights.py`, and of each credential ever shown: its PAT, its scopes and its end.
By default a small run. A large one: SEARCH=40 pytest tests/contract/test_authority_never_grows.py
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from patauth import (
    Authority,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    IssuedPat,
    NotFound,
    Owner,
    PatAuthError,
    Person,
    Principal,
)
from patauth.model import dates
from patauth.operations.lifecycle import delete_self
from tests.support.authorities import maker, patch_many
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.rights import (
    ALL_MANAGE,
    ALL_READ,
    EVERYTHING,
    MANAGED_MANAGE,
    MY_MANAGE,
    MY_READ,
    covered,
    powers,
)
from tests.support.searches import examples
from tests.support.servers import Server

STEPS = int(os.environ.get("GROWTH_STEPS", "50"))

HOUR = 60 * MINUTE
RETENTION = 3 * DAY
OWNERS = ("alice", "bob", "carol")
CATALOGUES = [
    None,
    ["reports:read", "reports:write"],
    ["reports:read", "reports:write", ALL_READ, ALL_MANAGE],
]
# Host-made PATs: of each owner two, and what they begin with. Life in days; None: for ever.
ROOTS = [
    ([MY_MANAGE, "reports:read", "reports:write"], 6),
    ([ALL_MANAGE, "reports:read"], 20),
    ([ALL_MANAGE, EVERYTHING], None),
    ([EVERYTHING, "reports:read"], 9),
    ([MY_MANAGE, EVERYTHING, "reports:write"], None),
    ([MANAGED_MANAGE, ALL_READ, "reports:read"], 3),
    (["reports:read"], 2),
]
WORDS = [
    *["reports:read", "reports:write", "reports:delete", EVERYTHING],
    *[MY_READ, MY_MANAGE, MANAGED_MANAGE, ALL_READ, ALL_MANAGE, "sp:my-personal-access-tokens:manage"],
]
METHODS = ("basic", "pat", "access_token")
# Networks, and the addresses of clients: one in the smaller part of 10.0.0.0/8, one in the rest, …
ADDRESSES = ("10.1.1.1", "10.200.1.1", "192.0.2.1", "203.0.113.1")
NETWORKS: dict[tuple[str, ...], frozenset[str]] = {
    (): frozenset(ADDRESSES),
    ("10.0.0.0/8",): frozenset(ADDRESSES[:2]),
    ("10.0.0.0/9",): frozenset(ADDRESSES[:1]),
    ("10.0.0.0/8", "192.0.2.0/24"): frozenset(ADDRESSES[:3]),
    ("192.0.2.0/24",): frozenset(ADDRESSES[2:3]),
}


@dataclass(frozen=True)
class Ceiling:
    """What the host gave: all authority comes from one of these."""

    scopes: frozenset[str]
    expires: int | None
    places: frozenset[str] = NETWORKS[()]


@dataclass
class Pat:
    """A PAT as the model has it. Instants in ms; None: never."""

    id: str
    owner: str
    name: str
    scopes: tuple[str, ...]
    expires: int | None
    ceiling: Ceiling  # of who made it, or was the last to add to it
    networks: tuple[str, ...] = ()
    generation: int = 1
    overlap_end: int = 0
    deleted: bool = False


@dataclass
class Credential:
    """A credential that was shown once. `expires` and `scopes`: of an access token."""

    method: str
    pat: Pat
    generation: int
    verify: Callable[..., Principal]
    secret: str = ""
    expires: int | None = None
    scopes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Caller:
    """Who calls: verified just now or some time ago."""

    by: Principal | Person
    owner: str
    scopes: frozenset[str]  # when it was verified
    pat: Pat | None  # None: a person
    shown: Credential | None = None  # what a principal has shown
    place: str | None = None  # the address that a principal of a PAT with networks had

    @property
    def ceiling(self) -> Ceiling:
        """That of the PAT as it is now: by that the caller is limited too."""
        return Ceiling(self.scopes, None) if self.pat is None else self.pat.ceiling


def earlier(one: int | None, other: int | None) -> int | None:
    return min((at for at in (one, other) if at is not None), default=None)


def within(expires: int | None, limit: int | None) -> bool:
    return limit is None or (expires is not None and expires <= limit)


class Growth(RuleBasedStateMachine):
    """Three owners, PATs that make, change, rotate and end PATs, and a clock."""

    def __init__(self, url: str, prefixes: Iterator[str]) -> None:
        super().__init__()
        self.url, self.prefix = url, next(prefixes)
        self.resources = ExitStack()
        self.clock = Clock()
        self.numbers = itertools.count()
        self.pats: list[Pat] = []
        self.credentials: list[Credential] = []
        self.callers: list[Caller] = []
        self.disabled: set[str] = set()
        self.address = ADDRESSES[0]  # of everybody

    @initialize(
        catalogue=st.sampled_from(CATALOGUES),
        roots=st.lists(st.sampled_from(range(len(ROOTS))), min_size=6, max_size=6),
    )
    def start(self, catalogue: list[str] | None, roots: list[int]) -> None:
        self.catalogue = catalogue
        make = self.resources.enter_context(maker(self.url, self.prefix))
        quotas = dict.fromkeys(["request_quota", "exchange_quota", "failure_quota"], "1000000/1")
        self.authority: Authority = make(
            clock=self.clock,
            max_pats_per_owner=1000,
            retention=RETENTION // 1000,
            scopes=None if catalogue is None else dict.fromkeys(catalogue, "words"),
            **quotas,
        )
        for owner, root in zip(OWNERS * 2, roots, strict=True):
            scopes, days = ROOTS[root]
            life = {"never_expires": True} if days is None else {"expires_in": timedelta(days=days)}
            issued = self.authority.create(
                owner=Owner(owner), name=f"root {len(self.pats)}", scope=scopes, **life
            )
            end = None if days is None else self.clock.now + days * DAY
            pat = Pat(
                issued.pat.id, owner, issued.pat.name, tuple(scopes), end, Ceiling(frozenset(scopes), end)
            )
            self.pats.append(pat)
            self.shown(pat, issued)

    def teardown(self) -> None:
        self.resources.close()

    # -- what the model says ----------------------------------------------------------------------------

    def covered(self, held: Collection[str], wanted: Collection[str]) -> bool:
        return covered(held, wanted, self.catalogue or ())

    def unknown(self, scopes: Collection[str]) -> bool:
        return self.catalogue is not None and "reports:delete" in scopes

    def expired(self, pat: Pat) -> bool:
        return pat.expires is not None and self.clock.now >= pat.expires

    def gone(self, pat: Pat) -> bool:
        return pat.deleted or (pat.expires is not None and self.clock.now >= pat.expires + RETENTION)

    def many(self) -> bool:
        return sum(map(self.active, self.pats)) > 5

    def active(self, pat: Pat) -> bool:
        return not pat.deleted and not self.expired(pat) and pat.owner not in self.disabled

    def accepted(self, one: Credential, place: str | None = "") -> bool:
        """Whether it is accepted from a place; from where everybody is now unless given."""
        pat, now = one.pat, self.clock.now
        if pat.networks and (self.address if place == "" else place) not in NETWORKS[pat.networks]:
            return False
        age = pat.generation - one.generation
        return (
            self.active(pat)
            and (age == 0 or (age == 1 and now < pat.overlap_end))
            and (one.expires is None or now < one.expires)
        )

    def may(self, caller: Caller, power: str) -> bool:
        """By what was held when the caller was verified; a change also by what the PAT holds now."""
        held = [caller.scopes] if power.startswith("read") else self.held(caller)
        return all(power in powers(scopes, self.catalogue or ()) for scopes in held)

    def there(self, caller: Caller, pat: Pat, verb: str) -> bool:
        return not self.gone(pat) and (pat.owner == caller.owner or self.may(caller, f"{verb} all"))

    def standing(self, caller: Caller) -> set[type[PatAuthError]]:
        """What stands against any change by the credential that a caller has shown."""
        one = caller.shown
        if one is None:
            return set()
        if not self.accepted(one, caller.place):
            return {InvalidCredentials}
        return set() if one.generation == one.pat.generation else {Forbidden}

    def held(self, caller: Caller) -> list[Collection[str]]:
        """Each of these must cover what is passed on."""
        return [caller.scopes] if caller.pat is None else [caller.scopes, caller.pat.scopes]

    def pools(self, caller: Caller) -> list[set[str]]:
        """What a caller can pass on, and what they nearly can."""
        able = {word for word in WORDS if all(self.covered(held, [word]) for held in self.held(caller))}
        return [able, {*caller.scopes, *caller.ceiling.scopes, *(caller.pat.scopes if caller.pat else ())}]

    def end_of(self, caller: Caller) -> int | None:
        return None if caller.pat is None else caller.pat.expires

    def places_of(self, caller: Caller) -> frozenset[str]:
        """Where what a caller passes on may be used."""
        return NETWORKS[() if caller.pat is None else caller.pat.networks]

    def passing(self, caller: Caller, scopes: Collection[str]) -> set[type[PatAuthError]]:
        """What stands against passing these on."""
        refusals: set[type[PatAuthError]] = set()
        if caller.pat is not None and not self.active(caller.pat):
            refusals.add(InvalidCredentials)
        if not all(self.covered(held, scopes) for held in self.held(caller)):
            refusals.add(InvalidScope)
        return refusals

    # -- bookkeeping ------------------------------------------------------------------------------------

    def attempt(self, refusals: set[type[PatAuthError]], call: Callable[[], Any]) -> Any:
        """What a call answers; None where it has to be refused, and is, for one of the reasons there are."""
        try:
            answer = call()
        except PatAuthError as refusal:
            kind = next(one for one in type(refusal).__mro__ if one.__module__ == "patauth.errors")
            assert kind in refusals, f"{refusal!r} where the model has {refusals or 'nothing'}"
            return None
        assert not refusals, f"done, where the model has {refusals}"
        return answer if answer is not None else True

    def shown(self, pat: Pat, issued: IssuedPat) -> None:
        basic = partial(self.authority.verify_basic, pat.id, issued.secret)
        token = partial(self.authority.verify_bearer, issued.token)
        self.credentials += [
            Credential("basic", pat, pat.generation, basic, issued.secret),
            Credential("pat", pat, pat.generation, token),
        ]

    def check(self, one: Credential) -> Principal | None:
        """Whether this credential is accepted as the model says, and what it opens."""
        try:
            principal = one.verify(address=self.address)
        except InvalidCredentials as refusal:
            assert type(refusal) is (InvalidToken if one.method == "access_token" else InvalidCredentials)
            assert not self.accepted(one), f"refused: {one}"
            return None
        assert self.accepted(one), f"accepted: {one}"
        assert principal.scopes == set(one.pat.scopes if one.scopes is None else one.scopes)
        assert principal.subject.id == one.pat.owner
        assert principal.pat_id == one.pat.id
        ends = None if one.generation == one.pat.generation else one.pat.overlap_end
        assert principal.expires_ms == earlier(earlier(one.expires, one.pat.expires), ends)
        return principal

    def check_of(self, pat: Pat) -> None:
        for one in self.credentials:
            if one.pat is pat:
                self.check(one)

    def caller(self, data: st.DataObject, person: bool = True) -> Caller | None:
        """Somebody: a credential used now, who used one some time ago, or a person."""
        kinds = ["now"] * 8 + ["before"] * 3 * bool(self.callers) + ["person"] * person
        kind = data.draw(st.sampled_from(kinds))
        if kind == "before":
            ended = [one for one in self.callers if one.pat is not None and not self.active(one.pat)]
            return data.draw(st.sampled_from(ended[-3:] + self.callers[-6:]))
        if kind == "person":
            scopes = data.draw(st.sampled_from(ROOTS))[0]
            owner = data.draw(st.sampled_from(OWNERS))
            given = frozenset(scopes)
            return Caller(Person(Owner(owner), scopes), owner, given, None)
        # Rather one that is good and may make PATs: the others have little to do.
        able = [
            one
            for one in self.credentials
            if self.accepted(one)
            and "manage my" in powers(one.scopes or one.pat.scopes, self.catalogue or ())
        ]
        pool = able if able and data.draw(st.integers(0, 5)) else self.credentials
        one = data.draw(st.sampled_from(pool))
        principal = self.check(one)
        if principal is None:
            return None
        place = self.address if one.pat.networks else None
        caller = Caller(principal, one.pat.owner, principal.scopes, one.pat, one, place)
        self.callers.append(caller)
        return caller

    def some_pat(self, data: st.DataObject, caller: Caller | None = None) -> Pat:
        """Rather one that there is, and of the caller's own."""
        living = [pat for pat in self.pats if not pat.deleted and not self.expired(pat)]
        own = [pat for pat in living if caller is not None and pat.owner == caller.owner]
        pool = data.draw(st.sampled_from([own, own, living, self.pats]))
        return data.draw(st.sampled_from(pool or self.pats))

    def some_scopes(self, data: st.DataObject, *pools: Collection[str]) -> list[str]:
        """Of one of these pools, or of any word that there is."""
        pool = data.draw(st.sampled_from([*pools, *pools, WORDS]))
        words = st.sampled_from(sorted(pool) or WORDS)
        return data.draw(st.lists(words, min_size=1, max_size=3, unique=True))

    def some_end(self, data: st.DataObject, caller: Caller | None, pat: Pat | None = None) -> int | None:
        """An expiry near one that matters, or any, or none; rather one that can be passed on."""
        now = self.clock.now
        limit, highest = (None, None) if caller is None else (self.end_of(caller), caller.ceiling.expires)
        known = None if pat is None else pat.expires
        ends = [None, now + 1, now + HOUR, now + DAY, now + 5 * DAY, now + 40 * DAY, now, now - 1]
        ends += [end + by for end in (limit, highest, known) if end is not None for by in (-1, 0, 1)]
        good = [end for end in ends if within(end, limit) and (end is None or end > now)]
        return data.draw(st.sampled_from(good if good and data.draw(st.integers(0, 2)) else ends))

    # -- calls of PATs and people ----------------------------------------------------------------------

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        if caller is None:
            return
        anyones = self.may(caller, "manage all") or not data.draw(st.integers(0, 3))
        owner = data.draw(st.sampled_from([None, *OWNERS])) if anyones else None
        scopes, end = self.some_scopes(data, *self.pools(caller)), self.some_end(data, caller)
        networks = data.draw(st.sampled_from([None, *NETWORKS]))
        given = networks
        if networks is None:
            networks = () if caller.pat is None else caller.pat.networks
        refusals = self.passing(caller, scopes) | self.standing(caller)
        if not NETWORKS[networks] <= self.places_of(caller):
            refusals.add(InvalidRequest)
        if not self.may(caller, "manage my" if owner is None else "manage all"):
            refusals.add(Forbidden)
        if self.unknown(scopes):
            refusals.add(InvalidScope)
        if not within(end, self.end_of(caller)) or (end is not None and end <= self.clock.now):
            refusals.add(InvalidRequest)
        if (owner or caller.owner) in self.disabled:
            refusals.add(Forbidden)
        name = f"n{next(self.numbers)}"
        life = {"never_expires": True} if end is None else {"expires_at": dates.to_datetime(end)}
        issued = self.attempt(
            refusals,
            lambda: self.authority.create(
                owner=None if owner is None else Owner(owner), name=name, scope=scopes, networks=given,
                by=caller.by, **life
            ),
        )  # fmt: skip
        if issued is not None:
            pat = Pat(
                issued.pat.id, owner or caller.owner, name, tuple(scopes), end, caller.ceiling, networks
            )
            self.pats.append(pat)
            self.shown(pat, issued)

    @rule(data=st.data(), many=st.booleans())
    def patch(self, data: st.DataObject, many: bool) -> None:
        caller = self.caller(data)
        if caller is None:
            return
        pat = self.some_pat(data, caller)
        what = (
            {"end"}
            if many
            else data.draw(
                st.sampled_from([{"scope"}, {"end"}, {"name"}, {"networks"}, {"scope", "end", "networks"}])
            )
        )
        refusals = self.standing(caller)
        if not self.may(caller, "manage all" if many else "manage my"):
            refusals.add(Forbidden)
        if not self.there(caller, pat, "manage"):
            refusals.add(InvalidRequest if many else NotFound)
        self.change(data, caller, pat, what, refusals, many)

    def change(
        self,
        data: st.DataObject,
        caller: Caller | None,
        pat: Pat,
        what: set[str],
        refusals: set[type[PatAuthError]],
        many: bool = False,
    ) -> None:
        """A patch by a caller, or with None by the host."""
        operations: list[dict[str, Any]] = []
        name, scopes, end, networks = pat.name, pat.scopes, pat.expires, pat.networks
        if "networks" in what:
            networks = data.draw(st.sampled_from(list(NETWORKS)))
            operations.append({"op": "add", "path": "/networks", "value": list(networks)})
        if "name" in what:
            name = f"n{next(self.numbers)}"
            operations.append({"op": "replace", "path": "/name", "value": name})
        if "scope" in what:
            chosen = self.some_scopes(data, *([] if caller is None else self.pools(caller)))
            if data.draw(st.booleans()):
                scopes = tuple(dict.fromkeys([*pat.scopes, *chosen]))
                operations += [{"op": "add", "path": "/scope/-", "value": scope} for scope in chosen]
            else:
                scopes = tuple(chosen)
                operations.append({"op": "replace", "path": "/scope", "value": chosen})
        if "end" in what:
            end = self.some_end(data, caller, pat)
            if end is None:
                operations.append({"op": "remove", "path": "/expirationDate"})
                operations.append({"op": "replace", "path": "/userAwareTokenNeverExpires", "value": True})
            else:
                date = dates.format_ms(end)
                operations.append({"op": "replace", "path": "/expirationDate", "value": date})
        if self.expired(pat) or (end is not None and end != pat.expires and end <= self.clock.now):
            refusals.add(InvalidRequest)
        # Beside `sp:scopes:all`, a scope of the catalogue is pinned, and so added, though covered today.
        today = () if "sp:scopes:all" in scopes else self.catalogue or ()
        added = [scope for scope in scopes if not covered(pat.scopes, [scope], today)]
        wider = not NETWORKS[networks] <= NETWORKS[pat.networks]
        grows = bool(added) or wider or not within(end, pat.expires)
        if self.unknown(added):
            refusals.add(InvalidScope)
        if caller is not None and grows:
            refusals |= self.passing(caller, scopes)
            if not within(end, self.end_of(caller)) or not NETWORKS[networks] <= self.places_of(caller):
                refusals.add(InvalidRequest)
        by = None if caller is None else caller.by
        if many:
            answer = self.attempt(refusals, lambda: patch_many(self.authority, [pat.id], operations, by=by))
        else:
            answer = self.attempt(refusals, lambda: self.authority.patch(pat.id, operations, by=by))
        if answer is not None:
            pat.name, pat.scopes, pat.expires, pat.networks = name, scopes, end, networks
            pat.overlap_end = earlier(pat.overlap_end, end) or 0
            if grows:
                given = Ceiling(frozenset(scopes), end, NETWORKS[networks])
                pat.ceiling = given if caller is None else caller.ceiling
        self.check_of(pat)

    @rule(
        data=st.data(),
        overlap=st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)]),
    )
    def rotate(self, data: st.DataObject, overlap: timedelta) -> None:
        caller = self.caller(data)
        if caller is None:
            return
        pat = self.some_pat(data, caller)
        refusals = self.passing(caller, pat.scopes)
        outside = not NETWORKS[pat.networks] <= self.places_of(caller)
        if InvalidScope in refusals or outside or not within(pat.expires, self.end_of(caller)):
            refusals = refusals - {InvalidScope} | {Forbidden}
        refusals |= self.standing(caller)
        if not self.may(caller, "manage my") or pat.owner in self.disabled:
            refusals.add(Forbidden)
        if not self.there(caller, pat, "manage"):
            refusals.add(NotFound)
        if self.expired(pat):
            refusals.add(InvalidRequest)
        issued = self.attempt(refusals, lambda: self.authority.rotate(pat.id, overlap=overlap, by=caller.by))
        if issued is not None:
            pat.generation += 1
            end = self.clock.now + overlap // timedelta(milliseconds=1)
            pat.overlap_end = earlier(end, pat.expires) or 0
            self.shown(pat, issued)
        self.check_of(pat)

    @precondition(lambda self: self.many())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        if caller is None:
            return
        pat = self.some_pat(data, caller)
        refusals = self.standing(caller)
        if not self.may(caller, "delete my"):
            refusals.add(Forbidden)
        if not self.there(caller, pat, "delete"):
            refusals.add(NotFound)
        if self.attempt(refusals, lambda: self.authority.delete(pat.id, by=caller.by)):
            pat.deleted = True
        self.check_of(pat)

    @precondition(lambda self: self.many())
    @rule(data=st.data())
    def delete_presented(self, data: st.DataObject) -> None:
        caller = self.caller(data, person=False)
        if caller is None or caller.pat is None:
            return
        refusals = self.standing(caller) - {Forbidden}  # the previous secret ends its own PAT
        if isinstance(caller.by, Principal) and caller.by.method == "access_token":
            refusals = {Forbidden}  # it ends itself alone
        if self.attempt(refusals, lambda: delete_self(self.authority.operations.actor(caller.by))):
            caller.pat.deleted = True
        self.check_of(caller.pat)

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        if caller is None:
            return
        pat = self.some_pat(data, caller)
        refusals: set[type[PatAuthError]] = set()
        if not self.may(caller, "read my"):
            refusals.add(Forbidden)
        if not self.there(caller, pat, "read"):
            refusals.add(NotFound)
        self.attempt(refusals, lambda: self.authority.get(pat.id, by=caller.by))
        refusals = set() if self.may(caller, "read all") else {Forbidden}
        self.attempt(refusals, lambda: self.authority.list(by=caller.by))

    @rule(data=st.data(), whole=st.booleans())
    def exchange(self, data: st.DataObject, whole: bool) -> None:
        secrets = [one for one in self.credentials if one.method == "basic"]
        good = [one for one in secrets if self.accepted(one)]
        one = data.draw(st.sampled_from(good if good and data.draw(st.integers(0, 5)) else secrets))
        held = one.pat.scopes
        asked = [] if whole else self.some_scopes(data, held)
        refusals: set[type[PatAuthError]] = set()
        if not self.accepted(one):
            refusals.add(InvalidCredentials)
        if not self.covered(held, asked):
            refusals.add(InvalidScope)
        access = self.attempt(
            refusals,
            lambda: self.authority.exchange(one.pat.id, one.secret, scope=asked, address=self.address),
        )
        if access is not None:
            granted = tuple(asked) or held
            assert access.scope == granted
            expires = earlier(self.clock.now + 900_000, one.pat.expires)
            assert expires is not None
            if one.generation != one.pat.generation:
                expires = min(expires, one.pat.overlap_end)  # with the secret that it came from
            assert access.expires_in == (expires - self.clock.now) // 1000
            if expires - self.clock.now < MINUTE:
                return  # its record goes by TTL, and that clock is no test's
            verify = partial(self.authority.verify_bearer, access.value)
            token = Credential("access_token", one.pat, one.generation, verify, "", expires, granted)
            self.credentials.append(token)
            assert self.check(token)

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(METHODS))
        of_it = [one for one in self.credentials if one.method == method]
        if of_it:
            self.check(data.draw(st.sampled_from(of_it)))

    @rule()
    def use_all(self) -> None:
        for one in self.credentials:
            self.check(one)

    # -- the host, and time ------------------------------------------------------------------------------

    @precondition(lambda self: not self.disabled)
    @rule(owner=st.sampled_from(OWNERS))
    def disable(self, owner: str) -> None:
        self.authority.disable_owner(owner)
        self.disabled.add(owner)

    @precondition(lambda self: self.disabled)
    @rule(data=st.data())
    def enable(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.disabled)))
        self.authority.enable_owner(owner)
        self.disabled.discard(owner)

    @rule(data=st.data())
    def host_patch(self, data: st.DataObject) -> None:
        lately = [caller.pat for caller in self.callers[-3:] if caller.pat is not None]
        pat = (
            data.draw(st.sampled_from(lately)) if lately and data.draw(st.booleans()) else self.some_pat(data)
        )
        refusals = {NotFound} if self.gone(pat) else set()
        self.change(data, None, pat, data.draw(st.sampled_from([{"scope"}, {"end"}, {"networks"}])), refusals)

    @rule(data=st.data())
    def host_rotate(self, data: st.DataObject) -> None:
        """The host gives a PAT that nobody else can rotate a new secret."""
        pat = self.some_pat(data)
        if not self.active(pat) or data.draw(st.integers(0, 3)):
            return
        issued = self.authority.rotate(pat.id, overlap=timedelta(hours=2))
        pat.generation += 1
        pat.overlap_end = earlier(self.clock.now + 2 * HOUR, pat.expires) or 0
        self.shown(pat, issued)
        self.check_of(pat)

    @rule(address=st.sampled_from(ADDRESSES))
    def move(self, address: str) -> None:
        self.address = address

    @rule(ms=st.sampled_from([1, 1000, 30_000, 5 * MINUTE, 15 * MINUTE, HOUR, 7 * HOUR, DAY, 2 * DAY]))
    def wait(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(data=st.data(), before=st.booleans())
    def wait_for_an_end(self, data: st.DataObject, before: bool) -> None:
        """To the very millisecond at which something ends, or the one before."""
        ends = {pat.expires for pat in self.pats} | {pat.overlap_end for pat in self.pats}
        ends |= {one.expires for one in self.credentials}
        ahead = sorted(
            end for end in ends if end is not None and self.clock.now < end < self.clock.now + 3 * DAY
        )
        if ahead:
            self.clock.now = data.draw(st.sampled_from(ahead[:4])) - before
            for one in self.credentials[-30:]:
                self.check(one)

    # -- what always holds --------------------------------------------------------------------------------

    @invariant()
    def what_a_pat_has_comes_from_the_host(self) -> None:
        """By the records themselves: each PAT within what the host gave to who made it or added to it."""
        if not self.pats:
            return
        found = {pat.id: pat for owner in OWNERS for pat in self.authority.list(owner_id=owner)}
        assert set(found) == {pat.id for pat in self.pats if not self.gone(pat)}
        for pat in self.pats:
            if pat.id in found:
                record = found[pat.id]
                assert (record.name, record.scope, record.expires_ms) == (pat.name, pat.scopes, pat.expires)
                assert record.owner.id == pat.owner
                assert record.disabled == (pat.owner in self.disabled)
                assert self.covered(pat.ceiling.scopes, record.scope)
                assert within(record.expires_ms, pat.ceiling.expires)
                assert record.networks == pat.networks
                assert NETWORKS[record.networks] <= pat.ceiling.places

    @invariant()
    def the_latest_credentials_are_what_the_model_says(self) -> None:
        for one in self.credentials[-4:]:
            self.check(one)


def test_authority_never_grows_and_what_has_ended_is_never_accepted(server: Server, prefix: str) -> None:
    """A3, Harbor #18636 and #21026, CVE-2022-31667: also once the maker is deleted, expired or disabled."""
    prefixes = (f"{prefix}-{number}" for number in itertools.count())
    run_state_machine_as_test(
        partial(Growth, server.url, prefixes),
        settings=settings(max_examples=examples(35), stateful_step_count=STEPS, deadline=None),
    )
