"""The conditions of a use: judged in parts, as for credentials that are remembered, they say the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from patauth import Owner, PersonalAccessToken
from patauth.crypto.hashing import Digest
from patauth.model.instants import NEVER
from patauth.operations.conditions import is_usable, is_usable_from, secret_window
from patauth.store.record import PatRecord, SecretSlot
from tests.support.searches import examples

DIGEST = Digest(b"s" * 16, b"d" * 32, 19_456, 2, 1)
CURRENT, PREVIOUS = 2, 1  # generations of secrets
NETWORKS = [(), ("203.0.113.0/24",), ("203.0.113.9/32", "2001:db8::/32")]
ADDRESSES = [
    None,
    "unix",
    "203.0.113.9",
    "203.0.113.10:80",
    "[::ffff:203.0.113.9]",
    "2001:db8::1",
    "192.0.2.1",
]

instants = st.integers(1, 6)  # so few that many of them are the same


@st.composite
def records(draw: st.DrawFn) -> PatRecord:
    """Records of PATs that are neither disabled nor revoked, with one secret or two."""
    pat = PersonalAccessToken(
        id=f"{1:032x}",
        name="ci",
        scope=("a",),
        owner=Owner("alice"),
        tenant="default",
        created_ms=0,
        changed_ms=0,
        sequence=1,
        expires_ms=draw(st.none() | instants),
        networks=draw(st.sampled_from(NETWORKS)),
        not_before_ms=draw(st.none() | instants),
    )
    generations = draw(st.sampled_from([(CURRENT,), (CURRENT, PREVIOUS)]))
    slots = tuple(SecretSlot(one, bytes([one]) * 16, DIGEST) for one in generations)
    return PatRecord(pat, slots, draw(instants) if len(slots) == 2 else 0)


@settings(max_examples=examples(300))
@given(records(), st.integers(0, 7) | st.just(NEVER - 1), st.sampled_from(ADDRESSES))
def test_the_window_of_a_secret_and_the_networks_of_its_pat_say_whether_it_is_usable(
    record: PatRecord, now: int, address: str | None
) -> None:
    for slot in record.secrets:
        begins_ms, ends_ms = secret_window(record, slot.generation)
        in_parts = begins_ms <= now < ends_ms and is_usable_from(record.pat, address)
        whole = is_usable(record.pat, now, address) and record.passes(slot.generation, now)
        assert in_parts == whole
