"""Read the answers of Sentinels, and find the newest configuration, its age, and whom to ask.

What counts is the newest configuration among the answers of a majority, and not the address that most of them
name: the Sentinel that has led a failover knows of it before the others do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from ...errors import StoreUnavailable
from .wire import address_of, fields

TRUST = 3.0  # s for which an answer counts, and a primary is believed after a majority has heard from it
FOLLOWED = 32  # Sentinels to ask at most, unless a URL names more


class Answer(NamedTuple):
    """What a Sentinel has said: who it is, where the primary is, and which Sentinels there are.

    `epoch` is the number of the configuration, which each failover makes larger. `age` is how long ago (s) it
    has heard from the primary. `others` are the ids of the other Sentinels, by address. `total` is how many
    Sentinels there are, itself included. `since` is how long ago (s) it was asked.
    """

    sentinel: str
    address: str
    epoch: int
    age: float
    others: dict[str, str]
    total: int
    since: float = 0.0

    def later(self, seconds: float) -> Answer:
        """Return the answer as it is some seconds later."""
        return self._replace(age=self.age + seconds, since=self.since + seconds)


def read_answer(replies: Sequence[Any]) -> Answer:
    """Return what a Sentinel has said, from its replies to the questions of a `Panel`.

    Raise `StoreUnavailable`.
    """
    try:
        own, primary, (host, port), others = replies
        known = fields(primary)
        # During a failover these fields are still about the old primary. The new one was heard from just now.
        is_old = (known[b"ip"], known[b"port"]) != (host, port)
        return Answer(
            own.decode(),
            address_of(host.decode(), int(port)),
            int(known[b"config-epoch"]),
            0.0 if is_old else max(0.0, int(known[b"last-ok-ping-reply"]) / 1000),
            {
                address_of(other[b"ip"].decode(), int(other[b"port"])): other[b"runid"].decode()
                for other in map(fields, others)
            },
            int(known[b"num-other-sentinels"]) + 1,
        )
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise StoreUnavailable(detail=f"the answer of a Sentinel was not understood: {problem!r}") from None


def read_replicas(reply: Any) -> dict[str, bool]:
    """Return the address of each replica in the answer to SENTINEL REPLICAS, and whether it may be promoted.

    Raise `StoreUnavailable`.
    """
    try:
        return {
            address_of(known[b"ip"].decode(), int(known[b"port"])): known.get(b"slave-priority") != b"0"
            for known in map(fields, reply)
        }
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise StoreUnavailable(detail=f"the answer of a Sentinel was not understood: {problem!r}") from None


def total_of(answers: Sequence[Answer], seeds: int) -> int:
    """Return how many Sentinels there are: as many as any of them knows, or as a URL names.

    One that has just forgotten the others (SENTINEL RESET) is no majority by itself.
    """
    return max([seeds, *(answer.total for answer in answers)])


def newest_of(answers: Sequence[Answer], seeds: int = 1, *, is_new: bool = True) -> tuple[Answer, float]:
    """Return the newest of at least one answer, and the age (s) at which a majority confirms it; inf: none.

    `seeds` is how many Sentinels a URL names. If the newest configuration `is_new`, an older one does not
    contradict it: those who name that have not heard of the newer one yet. Each Sentinel must have answered
    once only.
    """
    named = Counter((answer.epoch, answer.address) for answer in answers)
    newest = max(answers, key=lambda answer: (answer.epoch, named[answer.epoch, answer.address]))
    ages = sorted(
        one.age if one.address == newest.address else one.since
        for one in answers
        if one.address == newest.address or (is_new and one.epoch < newest.epoch)
    )
    majority = total_of(answers, seeds) // 2 + 1
    return newest, ages[majority - 1] if len(ages) >= majority else inf


def to_follow(seeds: Sequence[str], answers: Mapping[str, Answer]) -> list[str]:
    """Return the addresses to ask, of `FOLLOWED` Sentinels at most: seeds, and those that most others name.

    `answers` are by address. One that answers at the address of a seed is not asked at another one, too.
    """
    known = {answers[seed].sentinel for seed in seeds if seed in answers}
    named = Counter(
        address
        for answer in answers.values()
        for address, name in answer.others.items()
        if name not in known and address not in seeds
    )
    # One that has answered counts as named by itself, else those that are not asked are named more often.
    others = sorted(named, key=lambda address: (-named[address] - (address in answers), address))
    return [*seeds, *others[: max(0, FOLLOWED - len(seeds))]]
