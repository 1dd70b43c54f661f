"""Ask each Sentinel in a thread of its own, so that no bad one delays the others or a request.

A Sentinel may hang, send a byte now and then, or have a name that takes long to look up. Then its thread
waits, and nobody else does.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from math import inf
from time import monotonic

import hiredis

from ...errors import StoreUnavailable
from ..url import StoreUrl
from .sentinel_answers import FOLLOWED, TRUST, Answer, read_answer, read_replicas, to_follow
from .wire import Tls, Wire, WireError, load, pack

PERIOD = 0.5  # s between two questions to the same Sentinel
PATIENCE = 0.2  # s for a Sentinel to take a connection, and as long to answer
_PAUSE = 0.1  # s in which not all who met a server that is no primary have the Sentinels asked
_SILENT = "it has not answered yet"


class _Line:
    """The connection to one Sentinel, which its thread alone uses, and what it has said.

    `answer` is the last one, to a question of the instant `at`. `failure` says why it did not answer the last
    question; empty: it did.
    """

    def __init__(self, address: str, thread: Callable[[_Line], threading.Thread]) -> None:
        self.address = address
        self.answer: Answer | None = None
        self.at = -inf
        self.failure = _SILENT
        self.has_spoken = False  # or failed
        self.is_wanted = True
        self.bell = threading.Event()  # ends the pause before the next question
        self.thread = thread(self)
        self._wire: Wire | None = None

    def ask(self, connect: Callable[[str, float], Wire], questions: bytes) -> tuple[Answer, float]:
        """Return the Sentinel's answer, and the instant of the question."""
        wire = self._wire = self._wire or connect(self.address, PATIENCE)
        try:
            at = monotonic()
            return read_answer(wire.send(questions, 4, at + PATIENCE)), at
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class Panel:
    """Asks each Sentinel in a thread of its own, over a connection that stays open, and keeps what they say.

    `seeds` are addresses (`host:port`) of some of them; they name the others. `connect` makes a connection to
    the one at an address within a number of seconds. `service` is what they call the servers. `on_answer` is
    called after each answer, by one thread at a time, which holds `changed`.
    """

    def __init__(self, seeds: Sequence[str], connect: Callable[[str, float], Wire], service: str) -> None:
        load()
        self.seeds = tuple(dict.fromkeys(seeds))
        self.on_answer: Callable[[], object] = lambda: None
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
        self._lines: dict[str, _Line] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all, in a forked child: it has none of the threads."""
        for line in self._lines.values():
            line.close()  # this does not end the parent's use of the socket
        self._lines = {}
        self._hurried_at = -inf
        self.changed = threading.Condition()  # a lock that a signal handler can take again

    def watch(self) -> None:
        """Let threads ask the seeds, and whom they name, from now on."""
        with self.changed:
            self._follow(self.seeds)

    def wait_for(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait until a condition holds, which an answer may bring about, or the deadline has passed."""
        with self.changed:
            self.changed.wait_for(condition, max(0.0, deadline - monotonic()))

    def hurry(self) -> None:
        """Let the threads ask all Sentinels at once, unless they have just done so."""
        with self.changed:
            if monotonic() < self._hurried_at + _PAUSE:
                return
            self._hurried_at = monotonic()
            for line in self._lines.values():
                line.has_spoken = False
                line.bell.set()

    def have_spoken(self) -> bool:
        """Return whether each Sentinel has answered, or failed, since `watch` or `hurry`."""
        return all(line.has_spoken for line in self._lines.values())

    def answers(self, since: float) -> list[Answer]:
        """Return the last answer of each Sentinel to a question after an instant, as old as it is by now."""
        with self.changed:
            now = monotonic()
            lines = sorted(self._lines.values(), key=lambda line: line.at)
            said = [line.answer.later(now - line.at) for line in lines if line.answer and line.at > since]
        return list({answer.sentinel: answer for answer in said}.values())

    def failures(self) -> str:
        """Return why Sentinels did not answer the last question; empty: all did."""
        with self.changed:
            silent = [line for line in self._lines.values() if line.failure and line.is_wanted]
        return "; ".join(f"{line.address}: {line.failure}" for line in silent)

    def answering(self, since: float) -> int:
        """Return how many Sentinels have answered the last question, if that was after an instant."""
        with self.changed:
            well = [line for line in self._lines.values() if line.at > since and not line.failure]
            return len({line.answer.sentinel for line in well if line.answer})

    def ask(self, deadline: float) -> list[Answer]:
        """Return the answers of all Sentinels that answer before an instant of `monotonic()`, one of each."""
        self.watch()
        self.wait_for(self.have_spoken, deadline)
        return self.answers(-inf)

    def replicas(self) -> dict[str, bool]:
        """Return the address of each replica, and whether it may become the primary.

        Empty if no Sentinel that has answered tells. Raise `StoreUnavailable` if it is not understood.
        """
        asked = [("SENTINEL", "REPLICAS", self._service)]
        for line in list(self._lines.values()):
            if not line.failure:
                with suppress(WireError, OSError, hiredis.HiredisError):
                    with closing(self._connect(line.address, PATIENCE)) as wire:
                        (reply,) = wire.exchange(asked, monotonic() + PATIENCE)
                    return read_replicas(reply)
        return {}

    def close(self) -> None:
        """Ask the Sentinels no more, and forget what they have said. The threads close the connections."""
        with self.changed:
            self._forget_all_but(())

    # -- the threads ----------------------------------------------------------------------------------

    def _forget_all_but(self, addresses: Iterable[str]) -> None:
        for address in self._lines.keys() - set(addresses):
            line = self._lines[address]
            line.answer, line.failure, line.has_spoken, line.is_wanted = None, _SILENT, False, False
            line.bell.set()
            if not line.thread.is_alive():
                del self._lines[address]

    def _follow(self, addresses: Iterable[str]) -> None:
        """Let a thread ask the Sentinel at each address, unless one does."""
        for address in addresses:
            line = self._lines.get(address)
            if line is not None and line.thread.is_alive():
                line.is_wanted = True
            elif address in self.seeds or len(self._lines) < FOLLOWED:  # those that hang count until they end
                line = self._lines[address] = _Line(address, self._thread)
                try:
                    line.thread.start()
                except RuntimeError as problem:  # as when the interpreter ends
                    line.failure = str(problem)

    def _thread(self, line: _Line) -> threading.Thread:
        given = (weakref.ref(self), line, self._connect, self._questions)
        return threading.Thread(target=_ask_on, args=given, name="patauth-sentinel", daemon=True)

    def _keeps(self, line: _Line) -> bool:
        """Return whether to ask a Sentinel again. If not, its thread must end."""
        with self.changed:
            if self._lines.get(line.address) is not line:  # a signal handler began another one meanwhile
                return False
            if not line.is_wanted:
                del self._lines[line.address]
            return line.is_wanted

    def _take(self, line: _Line, answer: Answer | None, at: float, failure: str) -> None:
        """Note what a Sentinel has answered to a question of the instant `at`, or why it did not."""
        with self.changed:
            line.failure, line.has_spoken = failure, True
            if answer is not None and line.is_wanted:
                line.answer, line.at = answer, at
                since = monotonic() - TRUST
                lines = self._lines.values()
                said = {line.address: line.answer for line in lines if line.answer and line.at > since}
                named = to_follow(self.seeds, said)
                self._forget_all_but(named)
                self._follow(named)
                self.on_answer()
            self.changed.notify_all()


def _ask_on(
    panel: weakref.ref[Panel], line: _Line, connect: Callable[[str, float], Wire], questions: bytes
) -> None:
    """Ask a Sentinel again and again, until it is not wanted or nobody has the panel any more."""
    try:
        while (asking := panel()) is not None and asking._keeps(line):
            del asking
            began = monotonic()
            answer, at, failure = None, began, ""
            try:
                answer, at = line.ask(connect, questions)
            except Exception as problem:  # whatever a Sentinel sends, it is asked again
                why = problem.detail if isinstance(problem, StoreUnavailable) else None
                failure = why or str(problem) or type(problem).__name__
            if (asking := panel()) is None:
                return
            asking._take(line, answer, at, failure)
            del asking
            line.bell.wait(max(0.05, PERIOD - (monotonic() - began)))
            line.bell.clear()
    finally:
        line.close()


def panel_of(url: StoreUrl, tls: Tls | None = None) -> Panel:
    """Return the panel of the Sentinels that a URL names."""
    return Panel(
        url.seeds,
        lambda address, seconds: Wire(url.sentinel_at(address), seconds, PATIENCE, tls),
        url.service,
    )
