"""Creation on behalf of a caller, and what the trail says of changes whose outcome nobody knows."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidScope,
    IssuedPat,
    Owner,
    Principal,
    Quota,
    StoreUnavailable,
)
from patauth.store.owner_changes import OwnerChanges
from patauth.store.pats import Pats
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import ALICE, Make, basic_of, issue
from tests.support.internals import hasher_of
from tests.support.interventions import Before, standing_in
from tests.support.rights import ALL_MANAGE
from tests.support.servers import one_engine
from tests.support.tables import each
from tests.support.tenants import put

MANAGE = "idn:my-personal-access-tokens:manage"
ALL = "idn:all-personal-access-tokens:manage"
BOB = Owner("bob", name="Bob")


def maker_of(authority: Authority, right: str = MANAGE, **given: Any) -> tuple[IssuedPat, Principal]:
    made = issue(authority, name="maker", scope=["reports:read", right], **given)
    return made, authority.verify_bearer(made.token)


def during_the_hash(authority: Authority, act: Callable[[], object]) -> None:
    """Something happens while a hash is computed, once."""
    hasher: Any = hasher_of(authority)
    real = hasher.hash

    def hashed(secret: bytes, owner: str) -> Any:
        hasher.hash = real
        act()
        return real(secret, owner)

    hasher.hash = hashed


ENDS: dict[str, Callable[[Authority, IssuedPat], object]] = {
    "deleted": lambda authority, maker: authority.delete(maker.pat.id),
    "its owner disabled": lambda authority, maker: authority.disable_owner(maker.pat.owner.id),
    "its owner revoked": lambda authority, maker: authority.revoke_owner(maker.pat.owner.id),
    "its secret rotated away": lambda authority, maker: authority.rotate(maker.pat.id, overlap=timedelta(0)),
}


class TestRevokedMeanwhile:
    """What a caller has under way when they are revoked makes nothing that outlives them."""

    @each("end", ENDS)
    def test_no_pat_is_made(self, fresh: Make, end: str) -> None:
        authority = fresh()
        maker, by = maker_of(authority)
        during_the_hash(authority, lambda: ENDS[end](authority, maker))
        with pytest.raises((InvalidCredentials, Forbidden)):
            authority.create(name="child", scope=["reports:read"], expires_in=timedelta(days=1), by=by)
        assert "child" not in [pat.name for pat in authority.list()]

    @each("end", ENDS)
    def test_no_secret_is_made(self, fresh: Make, end: str) -> None:
        authority = fresh()
        target = issue(
            authority, owner=BOB, name="target", scope=["reports:read"], expires_in=timedelta(days=1)
        )
        maker, by = maker_of(authority, ALL)
        during_the_hash(authority, lambda: ENDS[end](authority, maker))
        with pytest.raises(InvalidCredentials):
            authority.rotate(target.pat.id, overlap=timedelta(0), by=by)
        assert authority.verify_bearer(target.token).subject == BOB

    def test_no_pat_is_made_for_an_access_token_that_is_revoked(self, fresh: Make) -> None:
        authority = fresh()
        maker, _ = maker_of(authority)
        token = authority.exchange(maker.pat.id, maker.secret).value
        by = authority.verify_bearer(token)
        during_the_hash(authority, lambda: authority.revoke(token))
        with pytest.raises(InvalidCredentials):
            authority.create(name="child", scope=["reports:read"], expires_in=timedelta(days=1), by=by)
        assert [pat.name for pat in authority.list()] == ["maker"]

    @each("moment", ["the hash", "the write"])
    def test_the_old_secret_does_not_rotate_the_new_one_away(self, fresh: Make, moment: str) -> None:
        """Or who has stolen a secret would keep the PAT, and its owner would lose it."""
        authority = fresh()
        maker, by = maker_of(authority)
        new: list[IssuedPat] = []

        def owner_rotates() -> None:
            new.append(authority.rotate(maker.pat.id, overlap=timedelta(0)))

        with contextlib.ExitStack() as stack:
            if moment == "the hash":
                during_the_hash(authority, owner_rotates)
            else:
                stack.enter_context(Before(Pats, "update", owner_rotates))
            with pytest.raises(InvalidCredentials):
                authority.rotate(maker.pat.id, overlap=timedelta(0), by=by)
        assert authority.verify_basic(maker.pat.id, new[0].secret).subject == ALICE

    @one_engine
    def test_scopes_that_are_taken_from_the_maker_are_not_passed_on(self, authority: Authority) -> None:
        maker, by = maker_of(authority)
        during_the_hash(authority, lambda: authority.patch(maker.pat.id, [put("/scope", [MANAGE])]))
        with pytest.raises(InvalidScope):
            authority.create(name="child", scope=["reports:read"], expires_in=timedelta(days=1), by=by)

    @each("verb", ["create", "rotate"])
    def test_the_last_word_is_the_scripts_for_ones_own(self, fresh: Make, verb: str) -> None:
        """Between the last look at the maker and the write, there is nothing: they share a slot."""
        authority = fresh()
        maker, by = maker_of(authority)
        own = issue(authority, name="own", scope=["reports:read"], expires_in=timedelta(days=1))
        child: dict[str, Any] = {"scope": ["reports:read"], "expires_in": timedelta(days=1)}
        verbs: dict[str, Callable[[], object]] = {
            "create": lambda: authority.create(name="child", **child, by=by),
            "rotate": lambda: authority.rotate(own.pat.id, by=by),
        }
        writing = "create" if verb == "create" else "update"
        with (
            Before(Pats, writing, lambda: authority.delete(maker.pat.id)),
            pytest.raises(InvalidCredentials),
        ):
            verbs[verb]()
        assert [pat.name for pat in authority.list()] == ["own"]
        assert authority.verify_bearer(own.token).subject == ALICE


@one_engine
class TestCost:
    def test_a_refused_creation_costs_no_hash(self, make: Make) -> None:
        authority = make(max_pats_per_owner=1)
        issue(authority)
        issue(authority, owner=BOB)
        authority.disable_owner("bob")
        hashes = hasher_of(authority).computed
        for owner, name, error in ((ALICE, "ci", Conflict), (ALICE, "x", Conflict), (BOB, "x", Forbidden)):
            with pytest.raises(error):
                issue(authority, owner=owner, name=name)
        assert hasher_of(authority).computed == hashes


@one_engine
def test_a_pat_does_not_shed_its_quota_by_making_another(authority: Authority) -> None:
    _, by = maker_of(authority, request_quota="5/60")
    child = authority.create(name="child", scope=["reports:read"], expires_in=timedelta(days=1), by=by)
    assert child.pat.request_quota == Quota(5, 60)
    assert issue(authority, name="the host's own").pat.request_quota is None


CHANGES: dict[str, tuple[Callable[..., Any], Callable[[Authority, IssuedPat], object]]] = {
    "pat.revoked": (Pats.delete, lambda authority, issued: authority.delete(issued.pat.id)),
    "owner.revoked": (OwnerChanges.revoke, lambda authority, issued: authority.revoke_owner("alice")),
    "owner.disabled": (OwnerChanges.set_state, lambda authority, issued: authority.disable_owner("alice")),
    "owner.enabled": (OwnerChanges.set_state, lambda authority, issued: authority.enable_owner("alice")),
    "pat.updated": (
        Pats.update,
        lambda authority, issued: authority.patch(issued.pat.id, [put("/name", "x")]),
    ),
    "pat.created": (Pats.create, lambda authority, issued: issue(authority, name="new")),
}


@one_engine
class TestTrail:
    """A change that was sent and not answered may have been made: restoring a copy must know of it."""

    @each("event", CHANGES)
    def test_it_says_that_the_outcome_is_unknown(
        self, fresh: Make, event: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = fresh()
        issued = issue(authority)
        verb, change = CHANGES[event]

        def lost(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            real(*given, **named)
            raise Unanswered(detail="the reply was lost")

        caplog.clear()
        with (
            standing_in(
                OwnerChanges if verb.__module__ == OwnerChanges.__module__ else Pats, verb.__name__, lost
            ),
            standing_in(Pats, "delete", lost),  # so that a creation cannot be undone
            caplog.at_level(logging.INFO, "patauth.audit"),
            pytest.raises(StoreUnavailable) as refused,
        ):
            change(authority, issued)
        assert refused.value.may_be_done
        (said,) = [json.loads(record.getMessage()) for record in caplog.records]
        assert (said["type"], said["outcome"]) == (event, "unknown")
        assert issued.secret not in caplog.text

    @each("method", ["read", "window", "now"])
    def test_a_read_or_a_question_that_is_not_answered_has_changed_nothing(
        self, authority: Authority, method: str
    ) -> None:
        """A caller of another slot than the PAT's asks for all of these."""
        issued = issue(authority, method)
        operator = issue(authority, method, owner=Owner("op"), scope=[ALL_MANAGE])

        def lost(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            raise Unanswered(detail="the reply was lost")

        by = authority.authenticate(basic_of(operator))
        with standing_in(Pats, method, lost), pytest.raises(Unanswered) as refused:
            authority.delete(issued.pat.id, by=by)
        assert not refused.value.may_be_done
