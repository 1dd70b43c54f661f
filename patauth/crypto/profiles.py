"""Profiles: named costs of argon2id, and the bounds of these costs."""

from __future__ import annotations

from dataclasses import dataclass

# The highest costs of a stored digest. argon2 itself would take 4 TiB if a record said so.
MAX_MEMORY_KIB = 65_536  # RFC 9106 §4, second recommended option
MAX_TIME_COST = 10
MAX_PARALLELISM = 4
_MIN_KIB_PER_LANE = 8  # RFC 9106 §3.1


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of argon2id costs."""

    name: str
    memory_kib: int
    time_cost: int  # passes over the memory
    parallelism: int  # lanes; each has a thread while it hashes


PROFILES = {
    profile.name: profile
    for profile in (
        # OWASP Password Storage Cheat Sheet: its minimum configuration of argon2id.
        Profile("owasp", memory_kib=19_456, time_cost=2, parallelism=1),
        # RFC 9106 §4, second recommended option. It takes about nine times as long as "owasp".
        Profile("rfc9106_low_memory", memory_kib=65_536, time_cost=3, parallelism=4),
        # For tests only: this protects nothing.
        Profile("testing", memory_kib=8, time_cost=1, parallelism=1),
    )
}


def out_of_bounds(memory_kib: int, time_cost: int, parallelism: int) -> str:
    """Return a text for the operator that says which cost is out of bounds; empty if none is."""
    if not 1 <= parallelism <= MAX_PARALLELISM:
        return f"parallelism {parallelism} is not within 1 to {MAX_PARALLELISM}"
    if not 1 <= time_cost <= MAX_TIME_COST:
        return f"time cost {time_cost} is not within 1 to {MAX_TIME_COST}"
    lowest = _MIN_KIB_PER_LANE * parallelism
    if not lowest <= memory_kib <= MAX_MEMORY_KIB:
        return f"memory of {memory_kib} KiB is not within {lowest} to {MAX_MEMORY_KIB} KiB"
    return ""
