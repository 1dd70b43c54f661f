"""Sentinel: each command goes to the primary that the Sentinels name, and that a majority has just confirmed.

A primary that was replaced may not know it: it was stopped, or cut off together with some apps. It then
calls revoked tokens good. So the Sentinels are asked twice a second, by a thread, off the way of requests.
Once they name another address, the connections to the old one are closed, and an answer that still comes from
there is not believed, whatever was asked. Each call is refused unless a majority confirms the address, and
has heard from the server there within the last 3 s.

What counts is the newest configuration among the answers of a majority, and not the address that most of them
name: the Sentinel that has led a failover knows of it before the others do.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from os import getpid
from time import monotonic
from typing import Any, NamedTuple

import hiredis

from ...concurrency.forks import after_fork_in_child
from ...errors import StoreUnavailable
from ..url import StoreUrl
from .pool import Connections
from .protocol import Part, Unanswered
from .wire import Command, Tls, Wire, WireError, address_of, fields, load, pack, replicas_of

PERIOD = 0.5  # s between the beginnings of two rounds of questions
TRUST = 3.0  # s for which a primary is believed after a majority has heard from it
PATIENCE = 0.2  # s for a Sentinel to take a connection, and as long to answer
_ROUND = 0.9  # s for all Sentinels in a round; those that failed last come last
_IDLE = 1.5  # s without a round, after which a request asks by itself: no thread runs, or it is late
_PAUSE = 0.1  # s in which not all who met a server that is no primary ask the Sentinels
_TRIES = 3  # primaries that one call may meet

_Call = Callable[[Sequence[Command]], list[Any]]


class Answer(NamedTuple):
    """What a Sentinel has said: who it is, where the primary is, and which Sentinels there are.

    `epoch` is the number of the configuration, which each failover makes larger. `age` is how long ago (s) it
    has heard from the primary. `others` are the ids of the other Sentinels, by address. `total` is how many
    Sentinels there are, itself included.
    """

    sentinel: str
    address: str
    epoch: int
    age: float
    others: dict[str, str]
    total: int


def read_answer(replies: Sequence[Any]) -> Answer:
    """Return what a Sentinel has said, from its replies to the questions of `Panel`.

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


def newest_of(answers: Sequence[Answer]) -> tuple[Answer, float]:
    """Return the newest of at least one answer, and the age (s) at which a majority confirms it; inf: none.

    An older configuration than the newest does not contradict it. Each Sentinel must have answered once only.
    """
    named = Counter((answer.epoch, answer.address) for answer in answers)
    newest = max(answers, key=lambda answer: (answer.epoch, named[answer.epoch, answer.address]))
    ages = sorted(
        one.age if one.address == newest.address else 0.0
        for one in answers
        if one.address == newest.address or one.epoch < newest.epoch
    )
    majority = max(answer.total for answer in answers) // 2 + 1
    return newest, ages[majority - 1] if len(ages) >= majority else inf


class Panel:
    """Asks the Sentinels, over connections that stay open. Only one thread at a time may use it.

    `seeds` are addresses (`host:port`) of some of them; they name the others. `connect` makes a connection to
    the one at an address within a number of seconds. `service` is what they call the servers. `failure` says
    why the last Sentinel that did not answer has not.
    """

    def __init__(self, seeds: Sequence[str], connect: Callable[[str, float], Wire], service: str) -> None:
        load()
        self._seeds = seeds
        self._connect = connect
        self._service = service
        self._questions = pack(
            [
                ("SENTINEL", "MYID"),
                ("SENTINEL", "MASTER", service),
                ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
                ("SENTINEL", "SENTINELS", service),
            ]
        )
        self._ids = dict.fromkeys(seeds, "")  # of the Sentinels, by address; empty: not known yet
        self._failed_at: dict[str, float] = {}
        self._wires: dict[str, Wire] = {}
        self.failure = "none has been asked"

    def ask(self, deadline: float) -> list[Answer]:
        """Return the answers of all Sentinels that answer before an instant of `monotonic()`, one of each."""
        answers: dict[str, Answer] = {}
        turns = sorted(self._ids, key=lambda address: self._failed_at.get(address, 0.0))
        for address in turns:
            if self._ids[address] in answers:  # the same Sentinel has two addresses
                continue
            if monotonic() >= deadline:
                break
            try:
                answer = self._ask(address, deadline)
            except (WireError, OSError, hiredis.HiredisError, StoreUnavailable) as problem:
                self._failed_at[address] = monotonic()
                why = problem.detail if isinstance(problem, StoreUnavailable) else str(problem)
                self.failure = f"{address}: {why}"
            else:
                self._failed_at.pop(address, None)
                self._ids[address] = answer.sentinel
                answers[answer.sentinel] = answer
                new = {known: name for known, name in answer.others.items() if known not in self._ids}
                self._ids.update(new)
                turns += new
        if answers:
            self._forget_all_but({address for answer in answers.values() for address in answer.others})
        return list(answers.values())

    def _ask(self, address: str, deadline: float) -> Answer:
        left = min(PATIENCE, deadline - monotonic())
        wire = self._wires.pop(address, None) or self._connect(address, left)
        try:
            answer = read_answer(wire.send(self._questions, 4, min(deadline, monotonic() + PATIENCE)))
        except BaseException:
            wire.close()
            raise
        self._wires[address] = wire
        return answer

    def _forget_all_but(self, named: set[str]) -> None:
        """Ask only those in the next round that the others have named in this one, and the seeds."""
        for address in self._ids.keys() - named - set(self._seeds):
            del self._ids[address]
            self._failed_at.pop(address, None)
            if address in self._wires:
                self._wires.pop(address).close()

    def replicas(self) -> dict[str, bool]:
        """Return the address of each replica, and whether it may become the primary.

        Empty if no Sentinel that has answered tells. Raise `StoreUnavailable` if it is not understood.
        """
        for wire in self._wires.values():
            with suppress(WireError, OSError, hiredis.HiredisError):
                asked = [("SENTINEL", "REPLICAS", self._service)]
                (reply,) = wire.exchange(asked, monotonic() + PATIENCE)
                return read_replicas(reply)
        return {}

    def close(self) -> None:
        """Close all connections."""
        while self._wires:
            self._wires.popitem()[1].close()


def panel_of(url: StoreUrl, tls: Tls | None = None) -> Panel:
    """Return the panel of the Sentinels that a URL names."""
    return Panel(
        url.seeds,
        lambda address, seconds: Wire(url.sentinel_at(address), seconds, PATIENCE, tls),
        url.service,
    )


class NotPrimary(StoreUnavailable):
    """A new connection led to a server that says that it is no primary. Nothing was sent over it."""


class Primary:
    """A server that Sentinels have named, with the connections to it. A new address makes a new object.

    `until` is the instant (`monotonic()`) to which it is believed. `confirmed` is the last instant at which a
    majority of the Sentinels has heard from it.
    """

    __slots__ = ("address", "confirmed", "epoch", "pool", "until")

    def __init__(self, address: str, epoch: int, pool: Connections) -> None:
        self.address = address
        self.epoch = epoch
        self.pool = pool
        self.confirmed = self.until = -inf


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
        self._why = ""  # why the primary is not believed, for the log
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._pid = getpid()
        self._asking = threading.Lock()  # held by the thread that uses the panel
        self._asked_at = -inf  # when the last round ended
        self._primary.until = -inf
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._panel.close()  # in a child, this does not end the parent's use of the sockets

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
                self._look(deadline, monotonic() - _PAUSE)
                if self._primary is primary:
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

    def close(self) -> None:
        """Close what is open and not in use, and ask the Sentinels no more. The next call begins again."""
        self._stop.set()
        if self._asking.acquire(timeout=_ROUND):  # not for ever: a signal handler may hold it itself
            try:
                self._panel.close()
            finally:
                self._asking.release()
        primary = self._primary
        primary.until = self._asked_at = -inf
        primary.pool.close()

    # -- the watch ------------------------------------------------------------------------------------

    def _confirmed(self, deadline: float) -> Primary:
        """Return the primary, if it is known. Raise `StoreUnavailable`.

        The thread that watches asks the Sentinels; a request does so only if that has not happened for long.
        """
        self._look(deadline, monotonic() - _IDLE)
        primary = self._primary
        if monotonic() > primary.until:
            raise StoreUnavailable(detail=self._why)
        return primary

    def _look(self, deadline: float, since: float) -> None:
        """Ask the Sentinels, unless somebody has done so since an instant. Raise `StoreUnavailable`."""
        if self._pid != getpid():  # a fork without os.fork runs no hook
            self._reset()
        if self._asked_at >= since:
            return
        if not self._asking.acquire(timeout=max(0.0, deadline - monotonic())):
            raise StoreUnavailable(detail="the Sentinels have not answered in time")
        try:
            if self._asked_at < since:
                self._round(deadline)
                self._start()
        finally:
            self._asking.release()

    def _round(self, deadline: float = inf) -> None:
        at = monotonic()
        self.learn(self._panel.ask(min(deadline, at + _ROUND)), at)
        self._asked_at = monotonic()

    def learn(self, answers: Sequence[Answer], at: float) -> None:
        """Take in what Sentinels have answered to questions of an instant `at`."""
        if not answers:
            self._why = f"no Sentinel answers; {self._panel.failure}"
            return
        known = self._primary
        newest, age = newest_of(answers)
        if age == inf:
            self._why = f"only {len(answers)} of {newest.total} Sentinels answer; {self._panel.failure}"
        else:
            self._why = f"the Sentinels have heard nothing from {newest.address} for {age:.1f} s"
        is_other = newest.address != known.address
        if is_other and newest.epoch < known.epoch and at < known.confirmed + TRUST:
            return  # those who know the newer configuration do not answer just now
        if age < inf or (self._goes_on and newest.epoch > known.epoch):
            primary = self._made(newest) if is_other else known
            primary.epoch = newest.epoch
            primary.confirmed = max(primary.confirmed, at - age)
            primary.until = inf if self._goes_on else primary.confirmed + TRUST
            self._primary = primary
            if is_other:
                known.pool.close()
        elif is_other and newest.epoch > known.epoch:
            known.until = -inf  # one Sentinel knows that it was replaced

    def _made(self, answer: Answer) -> Primary:
        primary = Primary(answer.address, answer.epoch, self._connect(answer.address))
        primary.pool.on_connect = partial(self._admit, primary)
        return primary

    def _admit(self, primary: Primary, call: _Call) -> None:
        """Check a new connection: the server must be a primary, and have the right store key."""
        (role,) = call([("ROLE",)])
        if replicas_of(role) is None:
            primary.until = -inf  # until the Sentinels name it again
            self._why = f"the server at {primary.address} says that it is no primary"
            raise NotPrimary(detail=self._why)
        if self.settle is not None:
            self.settle(call)

    def _start(self) -> None:
        """Let a thread ask the Sentinels from now on, unless one does."""
        if self._thread is not None and self._thread.is_alive() and not self._stop.is_set():
            return
        self._stop = threading.Event()
        watching = (weakref.ref(self), self._stop)
        self._thread = threading.Thread(target=_watch, args=watching, name="patauth-sentinel", daemon=True)
        with suppress(RuntimeError):  # no thread can start, as when the interpreter ends: requests will ask
            self._thread.start()


def _watch(watched: weakref.ref[Sentinel], stop: threading.Event) -> None:
    """Ask the Sentinels again and again, until `stop` is set or nobody has the `Sentinel` any more."""
    pause = PERIOD
    while not stop.wait(pause):
        sentinel = watched()
        if sentinel is None:
            return
        began = monotonic()
        with sentinel._asking:
            if not stop.is_set():
                sentinel._round()
        del sentinel
        pause = max(0.05, PERIOD - (monotonic() - began))
