"""Deliver the events of a stream to a webhook, for `patauth events deliver`.

Each webhook is a group of the stream. Any number of workers may take events for it, each event once. If a
worker has taken an event and not delivered it, because the receiver did not take it or the worker was killed,
the event waits in the group, and after a while any worker takes it again. So the only lost events are those
that the stream dropped and those that the receiver refused for three days. An event may come twice, with the
same id.

If a receiver is away, the pauses between tries grow. If it refuses an event, it gets the others, and that one
again after pauses of its own. The group keeps these pauses, so they outlive the worker, and all workers share
them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256

from ..errors import StoreUnavailable
from ..store.event_stream import PARTS, START, Entry, EventStream, Part, StreamCounts, Waiting
from .outbox import Chance, Gone, Refused, Undelivered, chance, pause_after
from .webhook import WHOLE, Webhook, id_of

AT_ONCE = 10  # events that a worker takes, an equal share of each part
LEFT = 120_000  # ms after which they count as left: more than `AT_ONCE` tries take
IDLE = 1.0  # s until a worker looks for new events again
LOOKING = 0.1  # s until it looks on through a long list of what was left
SUSPECTS = 100  # events that may have been the reason why the receiver was away
REFUSALS = 77  # of an event until it is given up: the pauses between them are three days


def group_of(url: str) -> str:
    """Return the group of a webhook. It does not show the URL, which may hold a secret."""
    return sha256(url.encode()).hexdigest()[:16]


def waiting_for(url: str, counts: StreamCounts) -> Waiting:
    """Return what waits for a webhook. If nobody has delivered to it yet, that is all of the stream."""
    return counts.waiting.get(group_of(url), counts.there)


class Delivery:
    """One worker that delivers to one webhook; call `step` again and again. Not thread-safe.

    `worker` is its name, which no other worker has. `left_ms` is `LEFT`. `timer` returns seconds that never
    step back, and `by` random numbers from 0 to 1.
    """

    def __init__(
        self,
        stream: EventStream,
        webhook: Webhook,
        group: str,
        worker: str,
        *,
        left_ms: int = LEFT,
        timer: Callable[[], float] = time.monotonic,
        by: Chance = chance,
    ) -> None:
        self.name = webhook.name
        self.delivered = 0
        self.refused = 0  # tries that the receiver did not take
        self.abandoned = 0  # events that it refused for so long that they are not delivered
        self.lost = 0  # events that the stream has dropped before they were delivered
        self.skipped = 0  # entries that are no events
        self.failures = 0  # tries in a row that failed, as the receiver or the store was away
        self.refusals = 0  # tries in a row of events that were refused
        self.problem: Exception | None = None  # of the last try, if it failed
        self.is_gone = False  # the receiver wants no events any more
        self._stream = stream
        self._webhook = webhook
        self._group = group
        self._worker = worker
        self._left_ms = left_ms
        self._timer = timer
        self._by = by
        self._taken: deque[Entry] = deque()
        self._taken_at = 0.0
        self._starts: dict[Part, bytes] = dict.fromkeys(PARTS, START)
        # What failed last while the receiver was away. When it takes another one, these were the reason.
        self._suspects: deque[Entry] = deque(maxlen=SUSPECTS)
        self._has_group = False
        self._not_before = 0.0

    def step(self) -> float | None:
        """Deliver the next event. Return the seconds until the next step is due; None: there is no event now.

        After a failure, `problem` has it, and the pause grows.
        """
        now = self._timer()
        if now < self._not_before:
            return self._not_before - now
        if now > self._taken_at + max(self._left_ms / 1000 - WHOLE, 0):
            self._taken.clear()  # another worker may take them before a try is over
        try:
            if not self._taken:
                self._take()
            if not self._taken:
                self._succeeded()
                return None if set(self._starts.values()) == {START} else LOOKING
            self._deliver(self._taken.popleft())
        except (Undelivered, StoreUnavailable) as problem:
            return self._failed(problem)
        self._succeeded()
        return 0

    def _take(self) -> None:
        if not self._has_group:
            self._stream.begin(self._group)
            self._has_group = True
        self._taken_at = self._timer()
        for part in PARTS:
            taken = self._stream.take(
                part,
                self._group,
                self._worker,
                count=AT_ONCE // len(PARTS),
                left_ms=self._left_ms,
                start=self._starts[part],
            )
            self._taken.extend(taken.entries)
            self._starts[part] = taken.next
            self.lost += taken.lost

    def _deliver(self, entry: Entry) -> None:
        event_id = id_of(entry.line)
        if event_id is None:
            self.skipped += 1
        else:
            self._post(event_id, entry)
            self.delivered += 1
        self._stream.done(self._group, entry)
        while event_id is not None and self._suspects:
            self._refuse(self._suspects.popleft())

    def _post(self, event_id: str, entry: Entry) -> None:
        try:
            self._webhook.post(event_id, entry.line)
        except Refused:
            self._refuse(entry)
            raise
        except Undelivered:
            self._suspects.append(entry)
            raise

    def _refuse(self, entry: Entry) -> None:
        self.abandoned += self._stream.refused(self._group, self._worker, entry, REFUSALS)

    def _succeeded(self) -> None:
        self.failures = self.refusals = 0
        self.problem = None

    def _failed(self, problem: Exception) -> float:
        if isinstance(problem, StoreUnavailable):
            self._has_group = False  # somebody may have removed the stream
        else:
            self.refused += 1
            self.is_gone = isinstance(problem, Gone)
        self.problem = problem
        if isinstance(problem, Refused):
            self.failures = 0
            self.refusals += 1
            pause = pause_after(1, self._by)  # short, since the next event may be a good one
        else:
            self.failures += 1
            pause = pause_after(self.failures, self._by)
        self._not_before = self._timer() + pause
        return pause

    def close(self) -> None:
        """Forget the worker. Other workers get what it has taken and not delivered."""
        try:
            self._stream.leave(self._group, self._worker)
        except StoreUnavailable:  # another one forgets it later
            pass
