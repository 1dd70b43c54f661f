"""The short reply: what a process remembers of credentials changes no verdict and nothing that is written.

By default a small run. A large one: SEARCH=40 pytest tests/contract/test_short_reply.py
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    IssuedPat,
    NotFound,
    PatAuthError,
    RateLimited,
)
from patauth.crypto.profiles import Profile
from patauth.model import dates
from patauth.model.address import Address
from patauth.model.pat_id import PatId
from patauth.store.record import unpack
from patauth.store.verdicts import ADMITTED, LIMITED, Repeat, Verdict, Verdicts
from tests.support.authorities import basic_of, bearer, issue, maker
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.internals import forget_credentials
from tests.support.interventions import standing_in
from tests.support.searches import examples
from tests.support.servers import Server
from tests.support.signing import JWT_MODE
from tests.support.tenants import keys_like, keys_of, send

STEPS = 20
HOUR = 60 * MINUTE
INSIDE = "203.0.113.9"
ELSEWHERE = ("198.51.100.9", None, "203.0.113.99")  # outside, unknown, and in the wider networks alone
NETWORKS: tuple[list[str], ...] = ([], ["203.0.113.0/24"], ["203.0.113.0/28"], ["192.0.2.0/24"])
QUOTAS = ("5/3600", "30/3600", "")  # for an hour: the server forgets a quota by its own clock
SCOPES = (["reports:read"], ["reports:read", "reports:write"])
MOST = 3  # PATs
REFUSALS = (Conflict, Forbidden, InvalidCredentials, InvalidRequest, NotFound, RateLimited)

Outcome = tuple[Any, ...]


class Held(NamedTuple):
    """A PAT with its secrets and access tokens, the newest last."""

    secrets: list[IssuedPat]
    tokens: list[str]

    @property
    def pat_id(self) -> str:
        return self.secrets[0].pat.id

    def values(self) -> list[str]:
        """Return the Authorization values of the newest ones."""
        secrets = [value for one in self.secrets[-2:] for value in (basic_of(one), bearer(one.token))]
        return secrets + [bearer(token) for token in self.tokens[-4:]]


class State(NamedTuple):
    """What a request can change in the store."""

    record: bytes | None
    tat: bytes | None

    @property
    def begins_ms(self) -> int:
        """When the PAT may be used first; 0: it has no begin."""
        return (self.record and unpack(self.record).pat.not_before_ms) or 0

    def written(self, *, with_address: bool) -> Outcome:
        """Return what of it a request may have written; a new hash of a secret has another salt each time."""
        if self.record is None:
            return (self.tat,)
        pat = unpack(self.record).pat
        address = (pat.last_used_from, pat.address_replaced) if with_address else ()
        return self.tat, pat.last_used_ms, *address


def outcome(authority: Authority, value: str, address: str | None) -> Outcome:
    """Everything that a caller can tell of an answer."""
    try:
        found = authority.operations.authenticate(value, Address(address, address))
        principal, decision, expires_ms = found.principal, found.decision, found.expires_ms
    except PatAuthError as refusal:
        return type(refusal), str(refusal), vars(refusal)
    return principal, principal.credential, decision, expires_ms


class Histories(RuleBasedStateMachine):
    """A few PATs, whatever can happen to them, and Authorities that are asked about their credentials.

    There are two sites with settings of their own. Each has an Authority that remembers credentials, and one
    that has forgotten them before each question.
    """

    def __init__(self, url: str, prefixes: Iterator[str], keys: Path) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.clock = Clock()
        self.numbers, self.turns = itertools.count(), itertools.cycle((0, 1))
        self.pats: list[Held] = []
        self.copy: dict[bytes, tuple[bytes, int]] = {}
        self.has_lost_writes = False
        make = partial(
            self.resources.enter_context(maker(url, next(prefixes))),
            clock=self.clock,
            max_pats_per_owner=1000,
            **dict.fromkeys(["exchange_quota", "failure_quota", "create_quota"], "1000000/1"),
            **JWT_MODE,
            keys=str(keys),
        )
        sites = (
            {"request_quota": "20/3600", "access_token_format": "opaque"},
            {"request_quota": "60/3600", "address_detail": "prefix", "expiry_warning": 2 * 86_400},
        )
        self.sites = [(make(**site), make(**site)) for site in sites]
        self.others = make(hash_profile=Profile("others", memory_kib=16, time_cost=1, parallelism=1))
        self.authority = self.sites[0][0]

    def teardown(self) -> None:
        self.resources.close()

    def pick(self, data: st.DataObject) -> Held:
        return data.draw(st.sampled_from(self.pats))

    def issue(self, held: Held, site: int) -> None:
        """Exchange the newest secret for an access token: opaque at one site, a JWT at the other."""
        issued, authority = held.secrets[-1], self.sites[site][0]
        held.tokens.append(authority.exchange(held.pat_id, issued.secret, address=INSIDE).value)
        # The server would forget it by its own clock, which goes on between two questions.
        for key in keys_like(authority, keys_of(authority).access_tokens):
            send(authority, ("PERSIST", key))

    # -- what happens to PATs -----------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        self.create([], None, "", 30)
        self.create(["203.0.113.0/24"], None, "5/3600", 30)
        for held in self.pats:
            for site in (0, 1):
                self.issue(held, site)
            self.revoke_newest(held)
            self.issue(held, 1)

    @precondition(lambda self: len(self.pats) < MOST)
    @rule(
        networks=st.sampled_from(NETWORKS),
        begins=st.sampled_from([None, 5 * MINUTE]),
        quota=st.sampled_from(QUOTAS),
        days=st.sampled_from([None, 1, 30]),
    )
    def create(self, networks: list[str], begins: int | None, quota: str, days: int | None) -> None:
        given: dict[str, Any] = {"expires_in": days and timedelta(days=days), "never_expires": days is None}
        if begins is not None:
            given["not_before"] = dates.to_datetime(self.clock.now + begins)
        with suppress(Forbidden):  # the owner is disabled
            issued = issue(
                self.authority,
                f"n{next(self.numbers)}",
                networks=networks,
                request_quota=quota or None,
                **given,
            )
            self.pats.append(Held([issued], []))

    @rule(
        data=st.data(),
        change=st.sampled_from(
            [
                *({"networks": networks} for networks in NETWORKS),
                *({"request_quota": quota} for quota in QUOTAS),
                *({"scope": scope} for scope in SCOPES),
                *({"expires_in": timedelta(milliseconds=ms)} for ms in (HOUR, DAY)),
                {"never_expires": True},
            ]
        ),
    )
    def update(self, data: st.DataObject, change: dict[str, Any]) -> None:
        with suppress(*REFUSALS):
            self.authority.update(self.pick(data).pat_id, **change)

    @rule(data=st.data(), ms=st.sampled_from([-HOUR, 5 * MINUTE]))
    def begin(self, data: st.DataObject, ms: int) -> None:
        with suppress(*REFUSALS):
            not_before = dates.to_datetime(self.clock.now + ms)
            self.authority.update(self.pick(data).pat_id, not_before=not_before)

    @rule(data=st.data(), overlap=st.sampled_from([0, HOUR]))
    def rotate(self, data: st.DataObject, overlap: int) -> None:
        held = self.pick(data)
        with suppress(*REFUSALS):
            held.secrets.append(self.authority.rotate(held.pat_id, overlap=timedelta(milliseconds=overlap)))

    @rule(data=st.data(), before=st.booleans())
    def rotate_and_wait(self, data: st.DataObject, before: bool) -> None:
        """Until the overlap is over, or nearly."""
        held = self.pick(data)
        with suppress(*REFUSALS):
            held.secrets.append(self.authority.rotate(held.pat_id, overlap=timedelta(milliseconds=HOUR)))
        self.ask_both_sites()
        self.clock.advance(HOUR - before)

    @rule(data=st.data(), verb=st.sampled_from(["disable", "enable"]), owner=st.booleans())
    def disable_or_enable(self, data: st.DataObject, verb: str, owner: bool) -> None:
        with suppress(*REFUSALS):
            if owner:
                getattr(self.authority, f"{verb}_owner")("alice")
            else:
                getattr(self.authority, verb)(self.pick(data).pat_id)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        with suppress(*REFUSALS):
            self.authority.delete(self.pick(data).pat_id)

    @rule(data=st.data(), site=st.sampled_from([0, 1]))
    def exchange(self, data: st.DataObject, site: int) -> None:
        with suppress(*REFUSALS):
            self.issue(self.pick(data), site)

    @rule(data=st.data(), site=st.sampled_from([0, 1]))
    def revoke_a_token(self, data: st.DataObject, site: int) -> None:
        """An hour later, when the PAT has its quota again: both sites admit a new token first."""
        held = self.pick(data)
        self.clock.advance(HOUR)
        with suppress(*REFUSALS):
            self.issue(held, site)
        if held.tokens:
            self.revoke_newest(held)

    @rule(data=st.data())
    def hash_again(self, data: st.DataObject) -> None:
        """An Authority with another profile is shown a secret."""
        with suppress(*REFUSALS):
            self.others.authenticate(basic_of(self.pick(data).secrets[-1]), address=INSIDE)

    # -- what happens to the store, and to its clock ------------------------------------------------------

    @rule()
    def copy_the_store(self) -> None:
        found = keys_like(self.authority, f"{self.authority.settings.key_prefix}:*".encode())
        read = send(self.authority, *(command for key in found for command in (("DUMP", key), ("PTTL", key))))
        self.copy = dict(zip(found, zip(read[::2], read[1::2], strict=True), strict=True))

    @precondition(lambda self: self.copy)
    @rule(whole=st.booleans())
    def bring_the_copy_back(self, whole: bool) -> None:
        """As a failover loses the writes since, or as a restored backup stands over what has come since."""
        found = keys_like(self.authority, f"{self.authority.settings.key_prefix}:*".encode())
        gone = [("DEL", key) for key in found if whole and key not in self.copy]
        back = [
            ("RESTORE", key, max(ttl, 0), value, "REPLACE")
            for key, (value, ttl) in self.copy.items()
            if not key.endswith(b"}:f")  # ends wait for it by the server's clock
        ]
        send(self.authority, *gone, *back)
        self.has_lost_writes = True

    @rule(ms=st.sampled_from([HOUR, DAY]), whole=st.booleans())
    def lose_the_uses_of_a_while(self, ms: int, whole: bool) -> None:
        self.copy_the_store()
        self.clock.advance(ms)
        self.ask_both_sites()
        self.bring_the_copy_back(whole)

    @rule(
        ms=st.sampled_from([1, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, DAY, -MINUTE, -5 * MINUTE, -HOUR, -DAY])
    )
    def move_the_clock(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(data=st.data(), before=st.booleans())
    def wait_for_an_end(self, data: st.DataObject, before: bool) -> None:
        """To the very millisecond at which something begins or ends, or the one before."""
        ends: set[int | None] = set()
        for held in self.pats:
            state = self.state(held)
            if state.record is not None:
                record = unpack(state.record)
                ends |= {record.pat.expires_ms, record.pat.not_before_ms, record.overlap_end_ms or None}
            for token in held.tokens:
                with suppress(PatAuthError):
                    ends.add(self.authority.verify_bearer(token, address=INSIDE).expires_ms)
        ahead = sorted(end for end in ends if end is not None and end > self.clock.now)
        if ahead:
            self.clock.now = data.draw(st.sampled_from(ahead)) - before

    # -- what always holds --------------------------------------------------------------------------------

    def state(self, held: Held) -> State:
        keys, pat_id = keys_of(self.authority), PatId(held.pat_id)
        return State(*send(self.authority, ("GET", keys.pat(pat_id)), ("GET", keys.requests(pat_id))))

    def put_back(self, held: Held, state: State) -> None:
        keys, pat_id = keys_of(self.authority), PatId(held.pat_id)
        tat = keys.requests(pat_id)
        commands: list[tuple[Any, ...]] = [
            ("DEL", tat) if state.tat is None else ("SET", tat, state.tat, "PX", HOUR)
        ]
        if state.record is not None:
            commands.append(("SET", keys.pat(pat_id), state.record, "KEEPTTL"))
        send(self.authority, *commands)

    def compare(self, site: int, held: Held, value: str, address: str | None) -> None:
        remembering, forgetful = self.sites[site]
        before = self.state(held)
        forget_credentials(forgetful)
        expected = outcome(forgetful, value, address)
        # The second address of a day changes nothing that a script compares. Who knows that it was written
        # does not see that the write was lost, and does not write it again on that day.
        written = self.state(held).written(with_address=not self.has_lost_writes)
        self.put_back(held, before)
        found = outcome(remembering, value, address)
        if before.begins_ms > self.clock.now:
            # Where the clock went back past a begin that had come, a request is charged to the PAT, and only
            # then refused; and so it is where only the conditions are remembered, which were met.
            assert isinstance(found[0], type)
            assert isinstance(expected[0], type)
            return
        assert found == expected
        assert self.state(held).written(with_address=not self.has_lost_writes) == written

    def revoke_newest(self, held: Held) -> None:
        """Revoke the newest access token. Compare what both sites say just before and just after."""
        token = held.tokens[-1]
        self.compare_at_both_sites(held, token)
        self.authority.revoke(token)
        self.compare_at_both_sites(held, token)

    def compare_at_both_sites(self, held: Held, token: str) -> None:
        for site in (0, 1):
            self.compare(site, held, bearer(token), INSIDE)

    def ask(self, site: int) -> None:
        turn = next(self.numbers)
        for held in self.pats:
            values = held.values()
            for at in range(len(values)):  # each time another one is the first, while there is a quota left
                for address in (INSIDE, ELSEWHERE[turn % 3]):
                    self.compare(site, held, values[at - turn % len(values)], address)

    def ask_both_sites(self) -> None:
        for site in (0, 1):
            self.ask(site)

    @invariant()
    def both_say_the_same(self) -> None:
        self.ask(next(self.turns))


def test_the_verdict_of_who_remembers_is_the_verdict_of_who_has_forgotten(
    server: Server, prefix: str, keys: Path
) -> None:
    """For each history of writes, lost writes and restored copies, clocks and settings."""
    prefixes = (f"{prefix}-{number}" for number in itertools.count())
    short: Counter[tuple[int, bool]] = Counter()

    def again(real: Callable[..., Verdict], verdicts: Verdicts, repeat: Repeat, at: float) -> Verdict:
        verdict = real(verdicts, repeat, at)
        short[verdict.verdict, repeat.by_token] += verdict.is_known
        return verdict

    with standing_in(Verdicts, "again", again):
        run_state_machine_as_test(
            partial(Histories, server.url, prefixes, keys),
            settings=settings(max_examples=examples(9), stateful_step_count=STEPS, deadline=None),
        )
    print(short)
    seen = {(verdict, by_token) for verdict in (ADMITTED, LIMITED) for by_token in (False, True)}
    assert seen <= {kind for kind, count in short.items() if count}, "there were too few short answers"
