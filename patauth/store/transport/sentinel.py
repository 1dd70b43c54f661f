"""Sentinel: each command goes to the primary that the Sentinels name, and that a majority has just confirmed.

A primary may not know that it was replaced: it was stopped, or cut off together with some apps. It then
accepts revoked tokens. So threads ask the Sentinels twice a second, while requests go on.
Once they name another address, the connections to the old one are closed, and an answer that still comes from
there is not believed, whatever was asked. Each call is refused unless a majority confirms the address, and
has heard from the server there within the last 3 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from os import getpid
from time import monotonic
from typing import Any

from ...concurrency.forks import after_fork_in_child
from ...errors import StoreUnavailable
from .pool import Connections
from .protocol import Part, Unanswered
from .sentinel_answers import TRUST, Answer, newest_of, total_of
from .sentinel_panel import Panel
from .wire import Command, pack, replicas_of

_TRIES = 3  # primaries that one call may meet

_Call = Callable[[Sequence[Command]], list[Any]]


class NotPrimary(StoreUnavailable):
    """A new connection led to a server that says that it is no primary. Nothing was sent over it."""


class Primary:
    """A server that Sentinels have named, with the connections to it. A new address makes a new object.

    `until` is the instant (`monotonic()`) to which it is believed. `confirmed` is the last instant at which a
    majority of the Sentinels has heard from it. `denied` is the last instant at which it has said that it is
    no primary: what Sentinels have answered before does not count.
    """

    __slots__ = ("address", "confirmed", "denied", "epoch", "pool", "until")

    def __init__(self, address: str, epoch: int, pool: Connections) -> None:
        self.address = address
        self.epoch = epoch
        self.pool = pool
        self.confirmed = self.denied = self.until = -inf


class Sentinel:
    """Sends commands to the primary that the Sentinels of a panel name.

    `connect` makes the pool of connections to the server at an address. With `goes_on`, an address holds
    until a newer one is known, even if no Sentinel answers any more. `settle` makes, reads or checks the
    store key by means of a function that sends commands, on each new connection.
    """

    def __init__(self, panel: Panel, connect: Callable[[str], Connections], *, goes_on: bool = False) -> None:
        self._panel = panel
        self._connect = connect
        self._goes_on = goes_on
        self.settle: Callable[[_Call], object] | None = None
        self._primary = Primary("", -1, connect(""))  # nobody, who is never believed
        self._newest = (-1, -inf)  # the largest epoch of all time, and the instant it was first heard of
        panel.on_answer = self._judge
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._pid = getpid()
        self._primary.until = -inf
        self._panel.reset()

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Send commands and return their replies, as `Transport.call` says."""
        return self.send(pack(commands), len(commands), deadline, retry=retry, patience=patience)

    def send(
        self,
        packed: bytes,
        count: int,
        deadline: float,
        *,
        retry: bool = False,
        patience: float = 0.0,
        tag: bytes = b"",
    ) -> list[Any]:
        """Send packed commands and return their replies, as `Transport.send` says."""
        for _ in range(_TRIES):
            primary = self._primary
            if monotonic() > primary.until:
                primary = self._confirmed(deadline)
            try:
                replies = primary.pool.send(packed, count, deadline, retry=retry, patience=patience)
            except NotPrimary:
                self._panel.hurry()
                if self._confirmed(deadline) is primary:
                    raise
                continue
            if self._primary is primary and monotonic() <= primary.until:
                return replies
            primary.pool.close()  # it holds the connection of this call, too
            if not retry:
                raise Unanswered(detail=f"{primary.address} answered when it was no longer known as primary")
        raise StoreUnavailable(detail="the primary has changed again and again")

    def parts(self, deadline: float) -> list[Part]:
        """Return the one server, as `Transport.parts` says."""
        return [Part(self, "store")]

    def connections(self) -> tuple[int, int]:
        """Return how many to the primary are in use and idle, as `Transport.connections` does."""
        return self._primary.pool.connections()

    def close(self) -> None:
        """Close what is open and not in use, and ask the Sentinels no more. The next call begins again."""
        self._panel.close()
        primary = self._primary
        primary.until = -inf
        primary.pool.close()

    # -- the watch ------------------------------------------------------------------------------------

    def _confirmed(self, deadline: float) -> Primary:
        """Return the primary, as soon as it is confirmed. Raise `StoreUnavailable`.

        Wait only while a Sentinel has yet to answer. Until they are asked again, nothing else is to be known.
        """
        if self._pid != getpid():  # a fork without os.fork runs no hook
            self._reset()
        self._panel.watch()
        self._panel.wait_for(
            lambda: monotonic() <= self._primary.until or self._panel.have_spoken(), deadline
        )
        primary = self._primary
        if monotonic() > primary.until:
            raise StoreUnavailable(detail=self._why())
        return primary

    def _judge(self) -> None:
        now = monotonic()
        self.learn(self._panel.answers(max(now - TRUST, self._primary.denied)), now)

    def learn(self, answers: Sequence[Answer], now: float) -> None:
        """Use the answers of the Sentinels, one of each, as they are at the instant `now`."""
        if not answers:
            return
        known = self._primary
        epoch = max(answer.epoch for answer in answers)
        if epoch > self._newest[0]:
            self._newest = epoch, now
        is_new = epoch == self._newest[0] and now < self._newest[1] + TRUST
        newest, age = newest_of(answers, len(self._panel.seeds), is_new=is_new)
        is_other = newest.address != known.address
        if is_other and newest.epoch < known.epoch and now < known.confirmed + TRUST:
            return  # those who know the newer configuration do not answer just now
        if age < inf or (self._goes_on and newest.epoch > known.epoch):
            primary = self._made(newest) if is_other else known
            primary.epoch = newest.epoch
            primary.confirmed = max(primary.confirmed, now - age)
            primary.until = inf if self._goes_on else primary.confirmed + TRUST
            self._primary = primary
            if is_other:
                known.pool.close()
        elif is_other and newest.epoch > known.epoch:
            known.until = -inf  # one Sentinel knows that it was replaced

    def _why(self) -> str:
        """Return why no primary is believed, for the log."""
        primary, now = self._primary, monotonic()
        since = now - TRUST
        if since < primary.denied:
            return f"the server at {primary.address} says that it is no primary"
        answers, answering = self._panel.answers(since), self._panel.answering(since)
        total = total_of(answers, len(self._panel.seeds))
        if answering <= total // 2:
            return f"only {answering} of {total} Sentinels answer; {self._panel.failures()}"
        newest, age = newest_of(answers, total)
        if TRUST < age < inf:
            return f"a majority of the Sentinels has heard nothing from {newest.address} for {age:.1f} s"
        return f"no majority of the {total} Sentinels has confirmed that {newest.address} is the primary"

    def _made(self, answer: Answer) -> Primary:
        primary = Primary(answer.address, answer.epoch, self._connect(answer.address))
        primary.pool.on_connect = partial(self._admit, primary)
        return primary

    def _admit(self, primary: Primary, call: _Call) -> None:
        """Check a new connection: the server must be a primary, and have the right store key."""
        (role,) = call([("ROLE",)])
        if replicas_of(role) is None:
            with self._panel.changed:
                primary.denied, primary.until = monotonic(), -inf  # until the Sentinels name it again
            raise NotPrimary(detail=f"the server at {primary.address} says that it is no primary")
        if self.settle is not None:
            self.settle(call)
