"""Owners: disabled, enabled and revoked as a whole, also while others make PATs."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidToken,
    IssuedPat,
    NotFound,
    Overloaded,
    Owner,
    StoreUnavailable,
)
from patauth import Settings as PatauthSettings
from patauth.crypto.profiles import PROFILES
from patauth.model.pat_id import PatId
from patauth.store.keys import Keys
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import Clock
from tests.support.searches import examples
from tests.support.servers import Server, shared_engines


def test_disabling_an_owner_refuses_all_its_credentials_and_enabling_undoes_it(authority: Authority) -> None:
    """A5: PATs and access tokens alike, at once; another owner is not touched."""
    issued = [issue(authority, f"pat {number}") for number in range(3)]
    other = issue(authority, owner=Owner("bob"))
    access = authority.exchange(issued[0].pat.id, issued[0].secret)
    assert authority.disable_owner("alice") == 3
    for one in issued:
        assert authority.get(one.pat.id).state == "disabled"
        with pytest.raises(InvalidCredentials, match="is disabled"):
            authority.authenticate(basic_of(one))
        with pytest.raises(InvalidCredentials, match="is disabled"):
            authority.exchange(one.pat.id, one.secret)
    with pytest.raises(InvalidToken):
        authority.verify_bearer(access.value)
    with pytest.raises(Forbidden, match="enable"):
        issue(authority, "new")
    assert authority.authenticate(basic_of(other)).subject.id == "bob"
    assert authority.enable_owner("alice") == 3
    assert authority.authenticate(basic_of(issued[1]))
    assert authority.verify_bearer(access.value)
    issue(authority, "new")


def test_an_owner_is_disabled_before_its_first_pat(authority: Authority) -> None:
    assert authority.disable_owner("alice") == 0
    with pytest.raises(Forbidden):
        issue(authority)
    assert authority.enable_owner("alice") == 0
    issue(authority)


def test_disabling_twice_and_a_life_in_between_change_nothing_else(
    authority: Authority, clock: Clock
) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=2))
    authority.authenticate(basic_of(issued))
    before = authority.get(issued.pat.id)
    assert (authority.disable_owner("alice"), authority.disable_owner("alice")) == (1, 1)
    authority.enable_owner("alice")
    assert authority.get(issued.pat.id) == before
    clock.advance(2000)
    authority.disable_owner("alice")
    assert authority.get(issued.pat.id).state == "disabled", "that is spoken of before expired"


def test_revoking_an_owner_deletes_all_its_pats(authority: Authority) -> None:
    issued = [issue(authority, f"pat {number}") for number in range(3)]
    other = issue(authority, owner=Owner("bob"))
    access = authority.exchange(issued[0].pat.id, issued[0].secret)
    assert authority.revoke_owner("alice") == 3
    assert authority.revoke_owner("alice") == 0
    assert authority.list(owner_id="alice") == []
    for one in issued:
        with pytest.raises(InvalidCredentials) as caught:
            authority.authenticate(basic_of(one))
        assert str(caught.value) == InvalidCredentials.default, "as if it had never been"
        with pytest.raises(NotFound):
            authority.get(one.pat.id)
    with pytest.raises(InvalidToken):
        authority.verify_bearer(access.value)
    assert authority.authenticate(basic_of(other))
    issue(authority, "pat 0")


@pytest.mark.parametrize("operation", ["disable_owner", "revoke_owner"])
def test_creations_race_with_it_and_none_slips_through(make_at: Make, server: Server, operation: str) -> None:
    """Each PAT was made before, and is refused now, or after, and passes; none is forgotten."""
    authority = make_at(max_pats_per_owner=1000)
    made: list[IssuedPat] = []
    refused: list[int] = []
    start = threading.Barrier(9)

    def creator(number: int) -> None:
        mine = make_at(max_pats_per_owner=1000)
        start.wait()
        for turn in range(15):
            try:
                made.append(issue(mine, f"{number}-{turn}"))
            except (Forbidden, Overloaded):  # disabled, or all PATs are being removed just now
                refused.append(number)

    threads = [threading.Thread(target=creator, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    getattr(authority, operation)("alice")
    for thread in threads:
        thread.join()
    if operation == "disable_owner":
        for one in made:
            assert authority.get(one.pat.id).state == "disabled"
        assert len(made) + len(refused) == 120
    else:
        alive = {pat.id for pat in authority.list(owner_id="alice")}
        for one in made:
            assert accepts(authority, one) == (one.pat.id in alive)


def accepts(authority: Authority, issued: IssuedPat) -> bool:
    try:
        return bool(authority.authenticate(basic_of(issued)))
    except InvalidCredentials:
        return False


def test_purging_ends_every_access_token_and_no_pat(authority: Authority) -> None:
    issued = [issue(authority, f"pat {number}") for number in range(3)]
    tokens = [authority.exchange(one.pat.id, one.secret).value for one in issued]
    assert authority.purge_access_tokens() == 3
    for token in tokens:
        with pytest.raises(InvalidToken):
            authority.verify_bearer(token)
    for one in issued:
        assert authority.authenticate(basic_of(one))
    assert authority.purge_access_tokens() == 0


def test_purging_takes_access_tokens_alone_whatever_else_is_named(authority: Authority) -> None:
    """An owner's id may look like the rest of a token's key."""
    hostile = Owner("x}:t:" + "y" * 32)
    issued = issue(authority, owner=hostile)
    authority.disable_owner(hostile.id)
    assert authority.purge_access_tokens() == 0
    assert [pat.id for pat in authority.list(owner_id=hostile.id)] == [issued.pat.id]
    with pytest.raises(Forbidden):
        issue(authority, "another", owner=hostile)


def test_disabling_passes_over_a_record_that_it_cannot_read(
    make_at: Make, server: Server, prefix: str
) -> None:
    """A record of a newer version: all others are disabled, but the call fails."""
    authority = make_at()
    first, second = issue(authority, "a"), issue(authority, "b")
    client, key = server.client(), Keys(prefix, "default").pat(PatId(second.pat.id))
    record = client.get(key)
    client.set(key, b"3" + record[1:])
    with pytest.raises(StoreUnavailable) as caught:
        authority.disable_owner("alice")
    assert second.pat.id in str(caught.value.detail)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(first))
    with pytest.raises(Forbidden):
        issue(authority, "c")
    client.set(key, record)
    assert authority.disable_owner("alice") == 2


@shared_engines
def test_an_owner_record_of_a_newer_version_is_503_to_whatever_asks_for_it_and_stays_as_it_is(
    make: Make, engine: str, servers: dict[str, Server], prefix: str
) -> None:
    """Nobody can tell whether that owner is disabled. PATs say it of themselves, and can be ended as ever."""
    authority = make()
    issued, gone = issue(authority), issue(authority, "gone")
    client = servers[engine].client()
    key = Keys(prefix, "default").owner(issued.pat.id[:8], "alice").record
    newer = b"3?" + b"epoch..."
    client.set(key, newer)
    for call in (
        lambda: issue(authority, "another"),
        lambda: authority.rotate(issued.pat.id),
        lambda: authority.disable_owner("alice"),
        lambda: authority.enable_owner("alice"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "another version of patauth" in str(caught.value.detail)
        assert client.get(key) == newer
    assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
    authority.update(issued.pat.id, name="new")
    authority.delete(gone.pat.id)
    assert authority.revoke_owner("alice") == 1


def test_revoking_counts_what_was_there(make_at: Make, server: Server, prefix: str) -> None:
    authority = make_at()
    kept, gone = issue(authority, "a"), issue(authority, "b")
    server.client().delete(Keys(prefix, "default").pat(PatId(gone.pat.id)))
    assert authority.revoke_owner("alice") == 1
    with pytest.raises(NotFound):
        authority.get(kept.pat.id)


def test_a_restored_copy_is_made_safe_by_purging_and_deleting_again(
    make_at: Make, server: Server, prefix: str
) -> None:
    """F23: an old copy of the store brings back what was revoked since."""
    authority = make_at()
    issued, kept = issue(authority), issue(authority, "kept")
    token = authority.exchange(issued.pat.id, issued.secret).value
    client = server.client()
    copy = {key: (client.dump(key), max(client.pttl(key), 0)) for key in client.scan_iter(f"{prefix}:*")}
    authority.delete(issued.pat.id)
    for key, (value, ttl) in copy.items():
        client.restore(key, ttl, value, replace=True)
    assert authority.verify_bearer(token), "the copy has it again: hence the procedure"
    authority.purge_access_tokens()
    authority.delete(issued.pat.id)
    for refused in ("Bearer " + token, basic_of(issued)):
        with pytest.raises(InvalidCredentials):
            authority.authenticate(refused)
    assert [pat.id for pat in authority.list(owner_id="alice")] == [kept.pat.id]


class Lives(RuleBasedStateMachine):
    """PATs of three owners are made, used and deleted; owners disabled, enabled, revoked; time passes.

    A model of sets and instants says what must be accepted; everything else must be refused.
    """

    owners = ("alice", "bob", "carol")

    @initialize()
    def start(self) -> None:
        import warnings

        self.clock = Clock()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = {"store_url": "memory:", "hash_profile": PROFILES["testing"], "max_pats_per_owner": 3}
            quotas = {"request_quota": "1000000/1", "exchange_quota": "1000000/1", "retention": 60}
            self.authority = Authority(PatauthSettings.of(**values, **quotas), _clock=self.clock)
        self.pats: dict[str, IssuedPat] = {}
        self.tokens: dict[str, tuple[str, int]] = {}  # token -> its PAT, its expiry
        self.disabled: set[str] = set()
        self.gone: list[IssuedPat] = []

    def alive(self, one: IssuedPat) -> bool:
        expires = one.pat.expires_ms
        return expires is None or self.clock.now < expires

    def of(self, owner: str) -> list[IssuedPat]:
        return [one for one in self.pats.values() if one.pat.owner.id == owner]

    @rule(
        owner=st.sampled_from(owners), name=st.sampled_from("abcd"), seconds=st.none() | st.integers(1, 200)
    )
    def create(self, owner: str, name: str, seconds: int | None) -> None:
        listed = [
            one
            for one in self.of(owner)
            if one.pat.expires_ms is None or self.clock.now < one.pat.expires_ms + 60_000
        ]
        taken = name in {one.pat.name for one in listed}
        full = sum(map(self.alive, listed)) >= 3
        life = {"never_expires": True} if seconds is None else {"expires_in": timedelta(seconds=seconds)}
        try:
            made = issue(self.authority, name, owner=Owner(owner), **life)
        except Forbidden:
            assert owner in self.disabled
        except Conflict:
            assert owner not in self.disabled
            assert taken or full
        else:
            assert owner not in self.disabled
            assert not taken
            assert not full
            self.pats[made.pat.id] = made

    @precondition(lambda self: self.pats)
    @rule(data=st.data(), scope=st.sampled_from([None, "reports:read", "admin"]))
    def exchange(self, data: st.DataObject, scope: str | None) -> None:
        one = self.pats[data.draw(st.sampled_from(list(self.pats)))]
        try:
            access = self.authority.exchange(one.pat.id, one.secret, scope=scope)
        except InvalidCredentials:
            assert not self.alive(one) or one.pat.owner.id in self.disabled
        except Exception as refusal:
            assert type(refusal).__name__ == "InvalidScope"
            assert scope == "admin"
        else:
            assert self.alive(one)
            assert one.pat.owner.id not in self.disabled
            assert set(access.scope) <= set(one.pat.scope), "authority never grows"
            principal = self.authority.verify_bearer(access.value)
            assert principal.expires_ms is not None
            assert one.pat.expires_ms is None or principal.expires_ms <= one.pat.expires_ms
            self.tokens[access.value] = (one.pat.id, principal.expires_ms)

    @precondition(lambda self: self.pats)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        one = self.pats.pop(data.draw(st.sampled_from(list(self.pats))))
        self.gone.append(one)
        try:
            self.authority.delete(one.pat.id)
        except NotFound:
            assert one.pat.expires_ms is not None
            assert self.clock.now >= one.pat.expires_ms + 60_000

    @rule(owner=st.sampled_from(owners))
    def disable(self, owner: str) -> None:
        self.authority.disable_owner(owner)
        self.disabled.add(owner)

    @rule(owner=st.sampled_from(owners))
    def enable(self, owner: str) -> None:
        self.authority.enable_owner(owner)
        self.disabled.discard(owner)

    @rule(owner=st.sampled_from(owners))
    def revoke(self, owner: str) -> None:
        self.authority.revoke_owner(owner)
        for one in self.of(owner):
            self.gone.append(self.pats.pop(one.pat.id))

    @rule()
    def purge(self) -> None:
        self.authority.purge_access_tokens()
        self.tokens.clear()

    @rule(ms=st.integers(1, 100_000))
    def wait(self, ms: int) -> None:
        self.clock.advance(ms)

    @invariant()
    def exactly_what_should_pass_passes(self) -> None:
        if not hasattr(self, "pats"):
            return
        for one in self.pats.values():
            expected = self.alive(one) and one.pat.owner.id not in self.disabled
            assert accepts(self.authority, one) == expected
        for one in self.gone[-3:]:
            assert not accepts(self.authority, one)
        for token, (pat_id, expires) in self.tokens.items():
            one_or_none = self.pats.get(pat_id)
            expected = (
                one_or_none is not None
                and self.alive(one_or_none)
                and one_or_none.pat.owner.id not in self.disabled
                and self.clock.now < expires
            )
            try:
                self.authority.verify_bearer(token)
            except InvalidToken:
                assert not expected
            else:
                assert expected

    @invariant()
    def what_is_listed_is_what_there_is(self) -> None:
        if not hasattr(self, "pats"):
            return
        for owner in self.owners:
            expected = {
                one.pat.id
                for one in self.of(owner)
                if one.pat.expires_ms is None or self.clock.now < one.pat.expires_ms + 60_000
            }
            assert {pat.id for pat in self.authority.list(owner_id=owner)} == expected


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
