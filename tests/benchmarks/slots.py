"""The part `slots`: how evenly owners spread over the shards of a cluster. A simulation, without a server.

All keys of an owner's PATs share one hash tag, so an owner is in one of the 16384 slots, and its PATs and
requests with it. What is asked is how much more than its share the fullest shard gets.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from patauth.crypto.keyring import Keyring
from patauth.store.keys import Keys

from .report import Part, Table

SHARDS = (40, 100, 200)
_SEED = 20_260_101
_MOST_PATS = 10  # of an owner, by default
_MEAN_PATS = 5  # where the setting lets owners have more


@dataclass(frozen=True, slots=True)
class Skew:
    """How requests are spread over owners: the weight of each, by rank, from 1, among so many."""

    name: str
    weight: Callable[[random.Random, int], float]


SKEWS = (
    Skew("even", lambda _, __: 1.0),
    Skew("lognormal, sigma 1.5", lambda rng, _: rng.lognormvariate(0, 1.5)),
    Skew("lognormal, sigma 2.5", lambda rng, _: rng.lognormvariate(0, 2.5)),
    Skew("Zipf, 0.8", lambda _, rank: rank**-0.8),
    Skew("Zipf, 1.0", lambda _, rank: 1 / rank),
)


def shard_of(slot: int, shards: int) -> int:
    """Slots are dealt out in ranges of (almost) one size, as `valkey-cli --cluster create` does."""
    return slot * shards // REDIS_CLUSTER_HASH_SLOTS


def slots_of(owners: int) -> list[int]:
    """The slot of each owner, by the very keys that patauth writes."""
    keyring, keys = Keyring(bytes(32)), Keys("patauth", "default")
    return [key_slot(keys.barrier(keyring.owner_tag("default", f"00u{n:017d}"))) for n in range(owners)]


def run(owners: int) -> Part:
    """Each skew over each number of shards."""
    rng = random.Random(_SEED)
    slots = slots_of(owners)
    pats = [float(rng.randint(1, _MOST_PATS)) for _ in slots]
    rows, figures = [], []
    for skew in SKEWS:
        requests = [skew.weight(rng, rank) for rank in range(1, owners + 1)]
        total = math.fsum(requests)
        hottest = max(requests) / total
        many = [float(max(1, round(one * owners * _MEAN_PATS / total))) for one in requests]
        for shards in SHARDS:
            memory, load = _peak(slots, pats, shards), _peak(slots, requests, shards)
            skewed = _peak(slots, many, shards)
            rows.append((skew.name, shards, memory, skewed, load, 100 * hottest, hottest * shards))
            figures.append(
                {
                    "skew": skew.name,
                    "shards": shards,
                    "memory_max_by_mean": memory,
                    "skewed_memory_max_by_mean": skewed,
                    "requests_max_by_mean": load,
                    "hottest_owner_share": hottest,
                }
            )
    heads = (
        "spread over owners", "shards", f"PATs (1-{_MOST_PATS}), max / mean", "PATs, spread as requests",
        "requests, max / mean", "hottest owner, %", "hottest owner / mean shard",
    )  # fmt: skip
    method = (
        f"{owners} owners, hashed by the owner tag of their keys (CRC16 of the hash tag) into 16384 slots,"
        f" which the shards have in equal ranges. PATs once as 1 to {_MOST_PATS} of each owner, the default,"
        f" and once as uneven as the requests ({_MEAN_PATS} on average). Nothing is timed; the seed is"
        " fixed. No moving of slots gets a shard below its hottest owner, which is in one slot. The indexes"
        " of a tenant, in one slot for each tenant, are left out."
    )
    return Part("slots", method, [Table("Shards", heads, rows)], {"owners": owners, "spread": figures})


def _peak(slots: Sequence[int], weights: Sequence[float], shards: int) -> float:
    """The weight of the fullest shard, as a multiple of the mean."""
    sums = [0.0] * shards
    for slot, weight in zip(slots, weights, strict=True):
        sums[shard_of(slot, shards)] += weight
    return max(sums) * shards / math.fsum(sums)
