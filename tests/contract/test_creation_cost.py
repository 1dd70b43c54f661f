"""What a creation costs, in counts: round trips, and commands in the server."""

from __future__ import annotations

import pytest

from patauth import Authority, Owner
from patauth.model.caller import Person, Principal
from tests.support.authorities import Make, basic_of, issue
from tests.support.rights import ALL_MANAGE
from tests.support.servers import Server, commands_of
from tests.support.tables import each
from tests.support.tenants import round_trips

KEY, ENTER = "MGET", "INCR ZADD"  # of the store; into the tenant's index
LOOK = JUDGE = CHARGE = WRITE = "EVALSHA"  # what would come of it; the maker; the create quota; the PAT


def maker_of(authority: Authority, who: str) -> Principal | Person | None:
    """Return who makes PATs of alice: the application, a person, or a PAT of the owner that `who` names."""
    if who == "application":
        return None
    if who == "person":
        return Person(Owner("alice"), [ALL_MANAGE, "a"])
    made = issue(authority, "maker", owner=Owner(who), scope=[ALL_MANAGE, "a"], never_expires=True)
    return authority.authenticate(basic_of(made))


@each(
    ("who", "trips", "commands"),
    [
        ("application", [KEY, LOOK, LOOK, ENTER, WRITE], 37),
        ("person", [KEY, LOOK, CHARGE, LOOK, ENTER, WRITE], 41),
        ("alice", [KEY, LOOK, JUDGE, CHARGE, LOOK, JUDGE, ENTER, WRITE], 48),
        ("bob", [KEY, LOOK, JUDGE, CHARGE, LOOK, JUDGE, ENTER, WRITE], 47),
    ],
)
def test_a_creation_takes_so_many_round_trips_and_commands(
    make_at: Make, server: Server, prefix: str, who: str, trips: list[str], commands: int
) -> None:
    """A refusal costs no hash, so all is looked at once before it; no script's text is sent again."""
    authority = make_at(key_prefix=f"{prefix}-{who}", max_pats_per_owner=100)
    by = maker_of(authority, who)

    def make(name: str) -> None:
        authority.create(by=by, owner=Owner("alice"), name=name, scope=["a"], never_expires=True)

    make("first")  # the server has the scripts from now on
    with pytest.MonkeyPatch.context() as patched:
        seen = round_trips(authority, patched)
        make("second")
        assert seen == trips
    # Sentinels ask for things meanwhile, but not so often.
    assert commands_of(server, lambda: [make(f"n{number}") for number in range(20)]) // 20 == commands
