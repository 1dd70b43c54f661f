"""Where and when a PAT may be used: every way to present it agrees with one oracle."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from patauth import (
    Authority,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidToken,
    IssuedPat,
    Owner,
    PatAuthMiddleware,
    Quota,
    RateLimited,
    Requester,
)
from patauth.jwt.key_files import SigningKeys
from patauth.model import dates
from patauth.model.address import Address
from patauth.store.pats import Pats
from patauth.store.tokens import Tokens
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic, basic_of, bearer, issue, maker_of
from tests.support.clocks import DAY, NOW, Clock
from tests.support.interventions import Before
from tests.support.servers import Server
from tests.support.signing import JWT_MODE
from tests.support.tables import each
from tests.support.threads import all_at_once
from tests.support.wsgi import Echo, request

HOUR = 3_600_000
NETWORKS = ("203.0.113.0/24", "2001:db8::/32")
INSIDE, ALSO_INSIDE, OUTSIDE = "203.0.113.9", "2001:db8::9", "198.51.100.9"
MAPPED = "::ffff:203.0.113.9"


class Case(NamedTuple):
    """Holds a PAT in one state, what was handed out for it, and what it is."""

    pat_id: str
    secret: str
    token: str  # the PAT token with the same secret
    access: str  # an access token that came from the secret
    is_known: bool  # whether the secret is the current one, or in its overlap
    disabled: bool
    expired: bool
    not_yet: bool
    networks: tuple[str, ...]

    def why_not(self, address: str | None) -> str | None:
        """The oracle: why the right secret is refused; "unknown" is what nobody is told."""
        if not self.is_known:
            return "unknown"
        if self.disabled:
            return "disabled"
        if self.expired:
            return "expired"
        if self.not_yet:
            return "not_yet"
        if self.networks and address in (OUTSIDE, None):
            return "outside"
        return None


def cases(authority: Authority, clock: Clock) -> Iterator[Case]:
    """PATs in all states. They are what they are two and a half hours later."""
    number = itertools.count()
    marks = [frozenset(some) for count in (0, 1, 2, 3) for some in itertools.combinations("owe", count)]
    begins = [None, NOW + HOUR, NOW + 12 * HOUR]
    for of, networks, begin, generation, expired in itertools.product(
        marks, ((), NETWORKS), begins, ("current", "overlap", "away"), (False, True)
    ):
        if expired and begin == NOW + 12 * HOUR:
            continue  # no PAT expires before it begins
        owner = Owner(f"owner-{next(number)}")
        right = "idn:my-personal-access-tokens:manage"
        current = issued = issue(authority, owner=owner, scope=["reports:read", right])
        pat_id = issued.pat.id
        access = authority.exchange(pat_id, issued.secret, address=INSIDE).value
        if generation != "current":
            overlap = timedelta(hours=5 if generation == "overlap" else 1)
            current = authority.rotate(pat_id, overlap=overlap)
        if "w" in of:
            authority.disable(pat_id, by=authority.authenticate(basic_of(current)))
        authority.update(
            pat_id, networks=networks, not_before=None if begin is None else dates.to_datetime(begin)
        )
        if expired:
            authority.update(pat_id, expires_in=timedelta(hours=2))
        if "e" in of:
            authority.disable(pat_id)
        if "o" in of:
            authority.disable_owner(owner.id)
        # The overlap ends with the PAT.
        is_known = generation == "current" or (generation == "overlap" and not expired)
        yield Case(
            pat_id, issued.secret, issued.token, access, is_known,
            bool(of), expired, begin == NOW + 12 * HOUR, networks,
        )  # fmt: skip
    clock.advance(HOUR * 5 // 2)


def maker_in(authority: Authority, networks: Sequence[str]) -> IssuedPat:
    """A PAT that may make others, within networks."""
    right = "idn:my-personal-access-tokens:manage"
    return issue(authority, "maker", scope=["reports:read", right], networks=networks)


def told(call: Callable[..., object], *given: Any, **named: Any) -> str | None:
    """Why a call refuses credentials; None: it does not."""
    try:
        call(*given, **named)
    except InvalidCredentials as refusal:
        return refusal.state or "unknown"
    return None


@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_every_way_to_present_a_pat_agrees_with_one_oracle(
    make_at: Make, clock: Clock, tmp_path: Path, form: str
) -> None:
    """Every combination of marks, networks, not-before, generation, overlap, expiry and address."""
    signs: dict[str, Any] = {}
    if form == "jwt":
        SigningKeys(tmp_path / "keys").rotate()
        signs = {**JWT_MODE, "keys": str(tmp_path / "keys")}
    authority = make_at(clock=clock, request_quota="1000000/10", exchange_quota="1000000/10",
                        failure_quota="1000000/1", access_token_ttl=43_200, **signs)  # fmt: skip
    verify = Standalone(authority)
    resource_server = authority.authenticate(
        basic_of(issue(authority, "rs", owner=Owner("rs"), scope=["oauth:introspect"]))
    )
    found = list(cases(authority, clock))
    assert len(found) == 8 * 2 * 3 * (3 + 2)
    assert any(case.access.count(".") == 2 for case in found) == (form == "jwt")
    for case, address in itertools.product(found, (INSIDE, ALSO_INSIDE, MAPPED, OUTSIDE, None)):
        why = case.why_not(address)
        who = (case, address)
        headers, tokens = [bearer(case.access)], [case.access]
        assert told(authority.verify_bearer, case.access, address=address) == (why and "unknown"), who
        if form == "opaque":  # what is no access token has one form
            headers += [basic(case.pat_id, case.secret), bearer(case.token)]
            tokens += [case.token]
            assert told(authority.authenticate, headers[1], address=address) == why, who
            assert told(authority.verify_bearer, case.token, address=address) == why, who
            assert told(authority.exchange, case.pat_id, case.secret, address=address) == why, who
        for token in tokens:
            told_of = authority.introspect(token, by=resource_server, client_address=address)
            assert told_of.active == (why is None), who
        for presented in headers:
            environ = {"REMOTE_ADDR": address or ""}
            answer = request(verify, "/verify", authorization=presented, environ=environ)
            assert answer.status_code == (200 if why is None else 401), who


# -- what is charged, and what it costs ----------------------------------------------------------------------


def test_a_use_outside_is_charged_to_the_address_and_not_to_the_pat(make_at: Make, clock: Clock) -> None:
    """Only who holds the right secret is told the reason; after many, the address gets 429."""
    authority = make_at(clock=clock, request_quota="3/3600", exchange_quota="3/3600", failure_quota="4/3600")
    issued = issue(authority, networks=NETWORKS)
    access = authority.exchange(issued.pat.id, issued.secret, address=INSIDE).value
    for _ in range(4):
        with pytest.raises(InvalidCredentials, match="may not be used from this address") as refused:
            authority.authenticate(basic_of(issued), address=OUTSIDE)
        assert refused.value.state == "outside"
    with pytest.raises(RateLimited) as limited:
        authority.verify_bearer(issued.token, address=OUTSIDE)
    assert limited.value.quota == "failures"
    for _ in range(5):  # a token is never guessed, so it is not counted
        with pytest.raises(InvalidToken) as unknown:
            authority.verify_bearer(access, address=OUTSIDE)
        assert unknown.value.state is None
    for _ in range(3):
        assert authority.authenticate(basic_of(issued), address=INSIDE).pat_id == issued.pat.id
    with pytest.raises(RateLimited) as limited:
        authority.verify_bearer(access, address=INSIDE)
    assert limited.value.quota == "requests"
    for _ in range(2):
        authority.exchange(issued.pat.id, issued.secret, address=INSIDE)
    with pytest.raises(RateLimited) as limited:
        authority.exchange(issued.pat.id, issued.secret, address=INSIDE)
    assert limited.value.quota == "exchanges"


def test_a_use_before_its_time_is_charged_to_the_address_and_not_to_the_pat(
    make_at: Make, clock: Clock
) -> None:
    authority = make_at(clock=clock, request_quota="2/3600", failure_quota="3/3600")
    issued = issue(authority, not_before=dates.to_datetime(NOW + HOUR))
    for ms in (0, 1, HOUR - 2):
        clock.advance(ms)
        with pytest.raises(InvalidCredentials, match="may not be used yet"):
            authority.authenticate(basic_of(issued), address=OUTSIDE)
    with pytest.raises(RateLimited) as limited:
        authority.exchange(issued.pat.id, issued.secret, address=OUTSIDE)
    assert limited.value.quota == "failures"
    clock.advance(1)
    for _ in range(2):
        assert authority.authenticate(basic_of(issued), address=OUTSIDE)
    with pytest.raises(RateLimited) as limited:
        authority.authenticate(basic_of(issued), address=OUTSIDE)
    assert limited.value.quota == "requests"


def test_a_wrong_secret_outside_is_refused_as_that_of_an_unknown_pat(make_at: Make, clock: Clock) -> None:
    authority = make_at(clock=clock)
    issued, other = issue(authority, networks=NETWORKS), issue(authority, "other")
    texts = set()
    for pat_id, secret in [(issued.pat.id, other.secret), ("0" * 32, issued.secret)]:
        with pytest.raises(InvalidCredentials) as refused:
            authority.verify_basic(pat_id, secret, address=OUTSIDE)
        texts.add((str(refused.value), refused.value.state))
    assert len(texts) == 1


@pytest.mark.parametrize("address", [INSIDE, OUTSIDE])
def test_from_the_second_request_on_a_pat_with_networks_is_one_round_trip(
    make_at: Make, server: Server, address: str
) -> None:
    authority = make_at(failure_quota="1000000/1")
    issued = issue(authority, networks=NETWORKS)
    access = authority.exchange(issued.pat.id, issued.secret, address=INSIDE).value
    ways = (basic_of(issued), bearer(issued.token), bearer(access))
    for header in ways:
        told(authority.authenticate, header, address=address)
    before = server.calls().get("evalsha", 0)
    for header in ways * 10:
        why = told(authority.authenticate, header, address=address)
        assert (why is None) == (address == INSIDE)
    assert server.calls()["evalsha"] - before == 30


# -- changes while requests are under way --------------------------------------------------------------------


def test_a_change_of_networks_counts_at_once_in_all_processes(make_at: Make) -> None:
    """Whatever a process remembers of a PAT, it accepts by the record as it is."""
    authority, elsewhere = make_at(), make_at()
    issued = issue(authority, networks=NETWORKS)
    access = authority.exchange(issued.pat.id, issued.secret, address=INSIDE).value
    for networks in (["198.51.100.0/24"], NETWORKS, [], ["192.0.2.1"], NETWORKS, ["198.51.100.9", INSIDE]):
        elsewhere.update(issued.pat.id, networks=networks)
        for one, address in itertools.product((authority, elsewhere), (INSIDE, OUTSIDE)):
            inside = not networks or networks[0][:9] == address[:9] or address in networks
            for header in (basic_of(issued), bearer(access)):
                why = told(one.authenticate, header, address=address)
                assert (why is None) == inside, (networks, address)


def test_a_narrowing_stops_changes_by_who_is_outside_of_what_is_left(authority: Authority) -> None:
    """A caller who was admitted before is judged again: by their address, and by a token of theirs, too."""
    maker = maker_in(authority, [INSIDE, OUTSIDE])
    token = authority.exchange(maker.pat.id, maker.secret, address=OUTSIDE).value
    callers = {
        (address, header): authority.authenticate(header, address=address)
        for address in (INSIDE, OUTSIDE)
        for header in (basic_of(maker), bearer(token))
    }
    target = issue(authority, "target", scope=["reports:read"], networks=[INSIDE])
    authority.update(maker.pat.id, networks=[INSIDE])
    for (address, _), by in callers.items():
        if address == INSIDE:
            assert authority.update(target.pat.id, name=f"t{len(by.method)}", by=by).networks
            continue
        with pytest.raises(InvalidCredentials):
            authority.update(target.pat.id, name="x", by=by)
        with pytest.raises(InvalidCredentials):
            authority.create(name="new", scope=["reports:read"], expires_in=timedelta(days=1), by=by)
        with pytest.raises(InvalidCredentials):
            authority.delete(target.pat.id, by=by)
    assert authority.get(target.pat.id).name != "x"


def test_a_narrowing_between_judgement_and_write_stops_the_change(authority: Authority) -> None:
    """The script compares the version by which the caller was judged."""
    maker = maker_in(authority, [INSIDE, OUTSIDE])
    by = authority.authenticate(basic_of(maker), address=OUTSIDE)
    target = issue(authority, "target", scope=["reports:read"], networks=[INSIDE])
    narrow = Before(Pats, "update", lambda: authority.update(maker.pat.id, networks=[INSIDE]))
    with narrow, pytest.raises(InvalidCredentials):
        authority.update(target.pat.id, name="x", by=by)
    assert authority.get(target.pat.id).name == "target"


def test_an_exchange_is_judged_again_when_the_networks_change_meanwhile(authority: Authority) -> None:
    issued = issue(authority, networks=[INSIDE, OUTSIDE])
    narrow = Before(Tokens, "issue", lambda: authority.update(issued.pat.id, networks=[INSIDE]))
    with narrow, pytest.raises(InvalidCredentials, match="from this address"):
        authority.exchange(issued.pat.id, issued.secret, address=OUTSIDE)
    widen = Before(Tokens, "issue", lambda: authority.update(issued.pat.id, networks=[]))
    with widen:
        assert authority.exchange(issued.pat.id, issued.secret, address=INSIDE).scope


def test_one_outside_cannot_end_the_pat_either(authority: Authority) -> None:
    """A thief elsewhere is nobody there: revocation by the PAT itself is a use."""
    issued = issue(authority, networks=NETWORKS)
    with pytest.raises(InvalidCredentials):
        authority.operations.authenticate(basic_of(issued), Address(OUTSIDE, OUTSIDE), ending=True)
    assert authority.get(issued.pat.id).state == "active"


# -- what is passed on ---------------------------------------------------------------------------------------


def test_what_a_pat_makes_has_networks_within_its_own(authority: Authority) -> None:
    maker = maker_in(authority, NETWORKS)
    by = authority.authenticate(basic_of(maker), address=INSIDE)
    life: dict[str, Any] = {"scope": ["reports:read"], "expires_in": timedelta(days=1), "by": by}
    made = authority.create(name="as the maker", **life).pat
    assert made.networks == NETWORKS
    assert made.made_by == Requester("alice", maker.pat.id)
    assert authority.create(name="within", networks=["203.0.113.128/25"], **life).pat.networks
    for networks in ([], ["0.0.0.0/0"], ["203.0.112.0/23"], ["203.0.113.0/24", "192.0.2.1"], ["::/0"]):
        with pytest.raises(InvalidRequest) as refused:
            authority.create(name="wider", networks=networks, **life)
        assert refused.value.field == "networks"
        with pytest.raises(InvalidRequest):
            authority.update(made.id, networks=networks, by=by)
    wide = issue(authority, "wide", scope=["reports:read"])
    assert wide.pat.made_by is None
    with pytest.raises(Forbidden):
        authority.rotate(wide.pat.id, by=by)
    narrow = authority.update(wide.pat.id, networks=["192.0.2.0/24"], by=by)
    with pytest.raises(InvalidRequest):
        authority.update(wide.pat.id, networks=[], by=by)
    with pytest.raises(InvalidRequest):  # what grows must be within the limit as a whole
        authority.update(wide.pat.id, expires_in=timedelta(days=30, hours=1), by=by)
    assert narrow.networks == ("192.0.2.0/24",)
    rotated = authority.rotate(made.id, by=by).pat
    assert (rotated.networks, rotated.made_by) == (NETWORKS, made.made_by)


def test_a_pat_raises_a_quota_or_brings_a_begin_forward_only_within_its_own_authority(
    authority: Authority,
) -> None:
    _, by = maker_of(authority, request_quota="50/10")
    more = issue(
        authority, "more", scope=["a"], request_quota="20/10", not_before=dates.to_datetime(NOW + DAY)
    )
    with pytest.raises(InvalidRequest):  # it has a scope that the caller has not
        authority.update(more.pat.id, not_before=dates.to_datetime(NOW), by=by)
    with pytest.raises(InvalidRequest):
        authority.update(more.pat.id, request_quota="30/10", by=by)
    assert (
        authority.update(more.pat.id, not_before=dates.to_datetime(NOW + 2 * DAY), by=by).state == "not_yet"
    )
    assert authority.update(more.pat.id, request_quota="10/10", by=by).request_quota == Quota(10, 10)
    same = issue(authority, "same", scope=["reports:read"], request_quota="20/10")
    assert authority.update(same.pat.id, request_quota="50/10", by=by).request_quota == Quota(50, 10)
    for quota in ("51/10", ""):  # the setting is 100/10
        with pytest.raises(InvalidRequest):
            authority.update(same.pat.id, request_quota=quota, by=by)
    assert authority.update(same.pat.id, request_quota="").request_quota is None


def test_what_is_given_empty_is_removed(authority: Authority, clock: Clock) -> None:
    issued = issue(
        authority, description="for CI", networks=NETWORKS, not_before=dates.to_datetime(NOW + DAY),
        request_quota="7/3",
    )  # fmt: skip
    pat = authority.get(issued.pat.id)
    assert (pat.description, pat.networks, pat.state) == ("for CI", NETWORKS, "not_yet")
    assert pat.not_before == dates.to_datetime(NOW + DAY)
    assert authority.update(pat.id, name="x").not_before == pat.not_before
    bare = authority.update(
        pat.id, description="", networks=[], request_quota="", not_before=dates.to_datetime(NOW)
    )
    assert (bare.description, bare.networks, bare.not_before, bare.request_quota) == (None, (), None, None)
    assert bare.state == "active"
    operations = [
        {"op": "add", "path": "/description", "value": "again"},
        {"op": "add", "path": "/networks", "value": ["203.0.113.7"]},
        {"op": "add", "path": "/notBefore", "value": "2030-01-01T02:00:00+01:00"},
        {"op": "add", "path": "/requestQuota", "value": "9/2"},
    ]
    after = authority.patch(pat.id, operations)
    assert (after.description, after.networks) == ("again", ("203.0.113.7/32",))
    assert (after.not_before_ms, after.request_quota) == (NOW + HOUR, Quota(9, 2))
    clock.advance(HOUR)
    kept = authority.patch(pat.id, [{"op": "replace", "path": "/name", "value": "y"}])
    assert (kept.not_before_ms, kept.networks, kept.state) == (NOW + HOUR, after.networks, "active")
    removals = [{"op": "remove", "path": f"/{name}"} for name in ("description", "networks", "notBefore")]
    no_quota = {"op": "replace", "path": "/requestQuota", "value": None}
    emptied = authority.patch(pat.id, [*removals, no_quota])
    assert emptied.is_conditional is False
    assert (emptied.description, emptied.request_quota) == (None, None)


def test_an_expiry_and_a_begin_are_refused_whichever_comes_too_near(
    authority: Authority, clock: Clock
) -> None:
    issued = issue(authority, not_before=dates.to_datetime(NOW + 2 * DAY))
    begin = dates.format_ms(NOW + 2 * DAY)
    earlier: list[Callable[[], object]] = [
        lambda: authority.update(issued.pat.id, expires_in=timedelta(days=1)),
        lambda: authority.update(issued.pat.id, expires_at=dates.to_datetime(NOW + 2 * DAY)),
        lambda: authority.patch(
            issued.pat.id, [{"op": "replace", "path": "/expirationDate", "value": begin}]
        ),
    ]
    for change in earlier:
        with pytest.raises(InvalidRequest, match="not-before") as refused:
            change()
        assert refused.value.field == "expiry"
    assert authority.get(issued.pat.id) == issued.pat
    both = {"expires_in": timedelta(days=1), "not_before": dates.to_datetime(NOW + DAY)}
    with pytest.raises(InvalidRequest) as refused:
        authority.update(issued.pat.id, **both)  # type: ignore[arg-type]
    assert refused.value.field == "not_before"
    later = authority.update(issued.pat.id, expires_in=timedelta(days=2, milliseconds=1))
    assert (later.expires_ms, later.not_before_ms) == (NOW + 2 * DAY + 1, NOW + 2 * DAY)
    sooner = authority.update(
        issued.pat.id, expires_in=timedelta(days=1), not_before=dates.to_datetime(NOW + DAY - 1)
    )
    assert (sooner.expires_ms, sooner.not_before_ms) == (NOW + DAY, NOW + DAY - 1)
    clock.advance(DAY - 1)
    assert authority.update(issued.pat.id, expires_in=timedelta(hours=1)).not_before_ms == NOW + DAY - 1


@each(
    "operation",
    [
        {"op": "add", "path": "/networks", "value": "10.0.0.0/8"},
        {"op": "add", "path": "/networks", "value": [10]},
        {"op": "add", "path": "/networks", "value": ["10.0.0.1/8"]},
        {"op": "add", "path": "/networks/-", "value": "elsewhere"},
        {"op": "replace", "path": "/networks"},  # a client that drops a value must not open it to all
        {"op": "add", "path": "/requestQuota"},
        {"op": "add", "path": "/networks", "value": [f"10.0.0.{n}" for n in range(33)]},
        {"op": "add", "path": "/description", "value": 1},
        {"op": "add", "path": "/description", "value": ""},
        {"op": "add", "path": "/description", "value": "x" * 257},
        {"op": "add", "path": "/notBefore", "value": "tomorrow"},
        {"op": "add", "path": "/notBefore", "value": 1},
        {"op": "add", "path": "/notBefore", "value": "2040-01-01T00:00:00Z"},  # after the expiry
        {"op": "add", "path": "/requestQuota", "value": "100"},
        {"op": "add", "path": "/requestQuota", "value": {"count": 1}},
        {"op": "add", "path": "/state", "value": "disabled"},
        {"op": "add", "path": "/lastUsedFrom", "value": "10.0.0.1"},
        {"op": "add", "path": "/madeBy", "value": None},
    ],
)
def test_a_patch_with_a_wrong_value_changes_nothing(fresh: Make, operation: Any) -> None:
    authority = fresh()
    issued = issue(authority)
    with pytest.raises(InvalidRequest):
        authority.patch(issued.pat.id, [operation])
    assert authority.get(issued.pat.id) == issued.pat


# -- self-rotation -------------------------------------------------------------------------------------------


def test_a_pat_with_the_scope_for_it_rotates_itself(authority: Authority) -> None:
    issued = issue(authority, scope=["reports:read", "self:rotate"])
    by = authority.authenticate(basic_of(issued))
    with pytest.raises(Forbidden):
        authority.rotate(issued.pat.id, by=by)
    for overlap in (timedelta(0), timedelta(minutes=9, seconds=59), timedelta(days=8)):
        with pytest.raises(InvalidRequest):
            authority.rotate_self(overlap=overlap, by=by)
    access = authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(Forbidden, match="access token"):
        authority.rotate_self(by=authority.verify_bearer(access.value))
    new = authority.rotate_self(overlap=timedelta(minutes=10), by=by)
    assert new.secret != issued.secret
    assert authority.authenticate(basic_of(new))
    previous = authority.authenticate(basic_of(issued))
    with pytest.raises(Forbidden, match="rotated away"):
        authority.rotate_self(by=previous)
    with pytest.raises(Forbidden, match="self:rotate"):
        authority.rotate_self(by=authority.authenticate(basic_of(issue(authority, "other"))))
    kept = authority.authenticate(basic_of(new))
    authority.update(issued.pat.id, scope=["reports:read"])
    with pytest.raises(Forbidden, match="self:rotate"):
        authority.rotate_self(by=kept)


# -- the last use --------------------------------------------------------------------------------------------


def test_the_address_of_the_last_use_is_written_once_a_day_and_once_more_when_it_differs(
    authority: Authority, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "patauth.audit")
    issued = issue(authority)
    here, there, third = (f"198.51.100.{n}" for n in (1, 2, 3))

    def use(address: str | None) -> tuple[str | None, int | None]:
        authority.authenticate(basic_of(issued), address=address)
        pat = authority.get(issued.pat.id)
        return pat.last_used_from, pat.last_used_ms

    assert use(here) == (here, NOW)
    assert use(f"[::ffff:{here}]:80") == (here, NOW), "another spelling is no other address"
    clock.advance(HOUR)
    assert use(there) == (there, NOW), "the time of the first use of the day stays"
    assert use(third) == (there, NOW), "the third address of a day is not written"
    clock.advance(DAY)
    assert use(None) == (None, NOW + HOUR + DAY)
    assert use(here) == (here, NOW + HOUR + DAY)
    events = [json.loads(record.message) for record in caplog.records if record.name == "patauth.audit"]
    new = [one for one in events if one["type"] == "pat.new_address"]
    assert [(one["previous"], one.get("address")) for one in new] == [(here, there), (there, None)]
    assert {one["patId"] for one in new} == {issued.pat.id}


def test_the_first_known_address_of_a_day_does_not_hide_the_next_one(
    authority: Authority, clock: Clock, events: Callable[[], list[dict[str, Any]]]
) -> None:
    """It replaces no address, so it is no news, and the write for that is still there."""
    issued = issue(authority)
    ways: dict[str, tuple[list[str | None], list[tuple[str, str | None]]]] = {
        "first of all": ([None, INSIDE, OUTSIDE, ALSO_INSIDE], [(INSIDE, OUTSIDE)]),
        "next day": ([None, INSIDE, OUTSIDE, None], [(OUTSIDE, None), (INSIDE, OUTSIDE)]),
        "none": ([None, INSIDE, None, OUTSIDE], [(OUTSIDE, None), (INSIDE, None)]),
    }
    for day, (addresses, expected) in ways.items():
        events()
        for address in addresses:
            authority.authenticate(basic_of(issued), address=address)
        new = [one for one in events() if one["type"] == "pat.new_address"]
        assert [(one["previous"], one.get("address")) for one in new] == expected, day
        clock.advance(DAY)


def test_who_hides_an_address_is_told_of_by_that_of_the_connection(
    authority: Authority, events: Callable[[], list[dict[str, Any]]]
) -> None:
    """A field that any client can send makes the address unknown; it must not make a thief invisible."""
    issued = issue(authority)
    app = PatAuthMiddleware(Echo(), authority)
    request(app, "/", authorization=basic_of(issued), environ={"REMOTE_ADDR": INSIDE})
    events()
    hidden = {"headers": {"X-Forwarded-For": "x"}, "environ": {"REMOTE_ADDR": OUTSIDE}}
    assert request(app, "/", authorization=basic_of(issued), **hidden).status_code == 200
    (event,) = events()
    assert (event["type"], event["previous"], event["address"]) == ("pat.new_address", INSIDE, OUTSIDE)
    assert authority.get(issued.pat.id).last_used_from is None


@each(
    ("detail", "kept"),
    [
        ("full", ["203.0.113.9", "2001:db8:1:2::3"]),
        ("prefix", ["203.0.113.0/24", "2001:db8:1::/48"]),
        ("none", [None, None]),
    ],
)
def test_a_setting_says_how_much_of_an_address_is_kept(fresh: Make, detail: str, kept: list[str]) -> None:
    authority = fresh(address_detail=detail)
    for number, address in enumerate(("203.0.113.9", "2001:db8:1:2::3")):
        issued = issue(authority, f"{number}")
        authority.exchange(issued.pat.id, issued.secret, address=address)
        assert authority.get(issued.pat.id).last_used_from == kept[number]


def test_a_use_takes_back_no_change_that_came_between(authority: Authority, clock: Clock) -> None:
    """It writes the whole record, so only over the one that was read."""
    changes: list[Callable[[str], object]] = [
        lambda pat_id: authority.update(pat_id, scope=["a"], networks=[INSIDE]),
        lambda pat_id: authority.rotate(pat_id, overlap=timedelta(hours=1)),
        lambda pat_id: authority.disable(pat_id),
        lambda _: authority.disable_owner("alice"),
        lambda pat_id: authority.delete(pat_id),
    ]
    for number, change in enumerate(changes):
        issued = issue(authority, f"{number}")
        expected: list[Any] = []

        def meanwhile(
            issued: IssuedPat = issued, change: Any = change, expected: list[Any] = expected
        ) -> None:
            change(issued.pat.id)
            expected.extend(pat for pat in authority.list() if pat.id == issued.pat.id)

        between = Before(Pats, "touch", meanwhile)
        with between:
            authority.authenticate(basic_of(issued), address=INSIDE)
        found = [pat for pat in authority.list() if pat.id == issued.pat.id]
        assert found == [replace(pat, last_used_ms=clock.now, last_used_from=INSIDE) for pat in expected]
        assert between.count == (2 if expected else 1)
        authority.enable_owner("alice")


def test_many_first_uses_at_once_are_one_write_and_all_succeed(make_at: Make, server: Server) -> None:
    """Also exchanges, whose record changes meanwhile by the last use of another one."""
    authority = make_at(exchange_quota="1000/1")
    issued = issue(authority)
    authority.authenticate(basic_of(issued))  # its hash is proven
    authority.update(issued.pat.id, name="x")
    before = server.calls().get("zrem", 0)

    def from_there(number: int) -> str:
        return authority.exchange(issued.pat.id, issued.secret, address=f"192.0.2.{number}").value

    values = all_at_once([partial(from_there, number) for number in range(16)])
    assert all(isinstance(value, str) for value in values), values
    assert server.calls().get("zrem", 0) - before <= 1, "at most one write for all addresses of the day"
