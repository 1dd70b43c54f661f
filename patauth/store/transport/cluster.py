"""Redis or Valkey Cluster: each command goes to the node that has the slot of its keys.

`Cluster` knows which node has which slot, and has a pool of connections for each node. So a node that is slow
or down costs only the owners whose slots it has. A node never answers for a slot that it does not have: it
names the node to ask (MOVED, ASK), or says that nobody can answer now (TRYAGAIN, CLUSTERDOWN). Such a reply
is about one command, which the node has not run. So it is safe to send that command again, and only that one.
A command without any answer may have been run; `Connections` sends it again only if the caller allows it.

Another thread reads the map of slots again, so that no request waits: after MOVED, after a node has failed,
and once a minute. A request reads it itself, within its deadline, in two cases: there is no map yet, or the
node that it needs has not answered for a second. Such a node may have been stopped and replaced without
knowing it. When it goes on, it would accept revoked tokens, so others are asked first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from ...concurrency.forks import after_fork_in_child
from ...errors import StoreUnavailable
from .cluster_map import SLOTS, read_slots, slot_of
from .pool import Connections
from .protocol import MemoryFull, Part, PartlyDone, ScriptMissing, Unanswered
from .wire import Command, Elsewhere, address_of, load, pack

REFRESH = 60.0  # s after which the map is read again
_SILENCE = 1.0  # s; no node is replaced within it: a sensible `cluster-node-timeout` is longer
_PAUSE = 0.25  # s between the end of a refresh and the next one
_PATIENCE = 1.0  # s for one node to tell the map to the thread that refreshes it
_ROUNDS = 4  # most nodes that a command is sent to in turn
_STORE = b"store"  # the hash tag of the store key, and the node for a command without a key
_ASKING = pack([("ASKING",)])
_WAITS = ("WAIT", "WAITAOF")

_Call = Callable[[Sequence[Command]], list[Any]]


def tag_of(command: Command) -> bytes:
    """Return the hash tag of a command's first key, or that of the store key if the command has no key."""
    at = 3 if command[0] in ("EVAL", "EVALSHA") else 1
    key = command[at] if len(command) > at else None
    if not isinstance(key, bytes) or b"{" not in key:
        return _STORE
    return key.partition(b"{")[2].partition(b"}")[0]


class Unit(NamedTuple):
    """Commands that one connection must send together: one, and the waits until it is durable. Packed."""

    slot: int
    packed: bytes
    size: int


def units_of(commands: Sequence[Command]) -> Iterator[Unit]:
    """Divide commands into the units that may go to different nodes."""
    starts = [at for at, command in enumerate(commands) if at == 0 or command[0] not in _WAITS]
    for at, end in zip(starts, [*starts[1:], len(commands)], strict=True):
        together = commands[at:end]
        yield Unit(slot_of(tag_of(together[0])), pack(together), len(together))


class _NotHere(StoreUnavailable):
    """A node has answered that a slot is not its own."""


class Cluster:
    """Sends commands to the nodes of a cluster.

    `seeds` are addresses (`host:port`) of some nodes. `connect` makes the pool of connections to the node at
    an address, whose error replies are read by `of_cluster`. `settle` makes, reads or checks the store key by
    means of a function that sends commands: once before all else, and then on each new connection to the node
    that has the key. The others need no check, and work when that node is down.
    """

    def __init__(self, seeds: Sequence[str], connect: Callable[[str], Connections]) -> None:
        load()
        self._seeds = seeds
        self._connect = connect
        self.settle: Callable[[_Call], object] | None = None
        self._is_settled = False
        self._nodes: dict[str, Connections] = {}
        self._slots: list[Connections | None] = []  # no map yet
        self._heard: dict[Connections, float] = {}  # when it last was a primary, by others or its answer
        self._moved: dict[int, str] = {}  # slots that moved since somebody was asked for the map
        self._turns = deque(seeds)  # whom to ask for the map, in turn
        self._refresh_at = 0.0  # when the map is too old
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # guards what is below, and `_nodes`
        self._reading = threading.Lock()  # held by the request that reads the map
        self._is_refreshing = False
        self._pause_until = 0.0

    def call(
        self, commands: Sequence[Command], deadline: float, *, retry: bool = False, patience: float = 0.0
    ) -> list[Any]:
        """Send commands and return their replies, as `Transport.call` says."""
        if not self._is_settled:
            self._begin(deadline)
        return self._route(units_of(commands), deadline, retry, patience)

    def send(
        self,
        packed: bytes,
        count: int,
        deadline: float,
        *,
        retry: bool = False,
        patience: float = 0.0,
        tag: bytes = _STORE,
    ) -> list[Any]:
        """Send packed commands and return their replies, as `Transport.send` says."""
        if not self._is_settled:
            self._begin(deadline)
        slot = slot_of(tag)
        node = self._slots[slot]
        if node is None or self._was_silent(node):
            return self._route([Unit(slot, packed, count)], deadline, retry, patience)
        replies = self._ask(node, packed, count, deadline, retry, patience)
        if type(replies[0]) is not Elsewhere and self._slots[slot] is node:
            return replies  # the way of almost all requests
        unit = Unit(slot, packed, count)
        return self._final(node, unit, replies, deadline, retry, patience) or self._route(
            [unit], deadline, retry, patience
        )

    def parts(self, deadline: float) -> list[Part]:
        """Return the primaries, as `Transport.parts` says."""
        if not self._is_settled:
            self._begin(deadline)
        tags: dict[Connections, str] = {}
        nodes = {node for node in self._slots if node is not None}
        for number in range(16 * SLOTS):
            tag = f"{number:08x}"
            node = self._slots[slot_of(tag.encode())]
            if node is not None:
                tags.setdefault(node, tag)
            if len(tags) >= len(nodes):
                break
        return [Part(node, tag) for node, tag in tags.items()]

    def connections(self) -> tuple[int, int]:
        """Return how many to all nodes are in use and idle, as `Transport.connections` does."""
        counts = [node.connections() for node in list(self._nodes.values())]
        return sum(used for used, _ in counts), sum(idle for _, idle in counts)

    def close(self) -> None:
        """Close the connections that are not in use."""
        for node in list(self._nodes.values()):
            node.close()

    # -- commands -------------------------------------------------------------------------------------

    def _begin(self, deadline: float) -> None:
        """Read the first map, and settle the store key."""
        self._read_map_while(lambda: not self._slots, deadline)
        if self.settle is not None:
            self.settle(lambda commands: self._route(units_of(commands), deadline, retry=True, patience=0.0))
        self._is_settled = True

    def _read_map_while(
        self, needed: Callable[[], bool], deadline: float, *, doubted: Connections | None = None
    ) -> None:
        """Read the map, if that is still `needed` when no other request reads it. Raise `StoreUnavailable`.

        `_read_map` says what `doubted` is.
        """
        if not needed():
            return
        if not self._reading.acquire(timeout=max(0.0, deadline - monotonic())):
            raise StoreUnavailable(detail="no node has told the map of the cluster in time")
        try:
            if needed():
                self._read_map(lambda: deadline, doubted)
        finally:
            self._reading.release()

    def _was_silent(self, node: Connections) -> bool:
        return monotonic() > self._heard.get(node, -inf) + _SILENCE

    def _primary_of(self, slot: int, deadline: float) -> Connections:
        """Return the node that has a slot. If it was silent, ask others first. Raise `StoreUnavailable`."""
        node = self._slots[slot]
        if node is not None and self._was_silent(node):
            self._read_map_while(partial(self._was_silent, node), deadline, doubted=node)
            node = self._slots[slot]
        if node is None:
            self._refresh_soon()
            raise StoreUnavailable(detail=f"no node of the cluster has slot {slot}")
        return node

    def _route(self, units: Iterable[Unit], deadline: float, retry: bool, patience: float) -> list[Any]:
        """Send each unit to its node, those of one node together, and return the replies in order."""
        units = list(units)
        answers: dict[int, list[Any]] = {}
        for _ in range(_ROUNDS):
            for node, numbers in self._by_node(units, answers, deadline).items():
                packed = b"".join([units[number].packed for number in numbers])
                count = sum([units[number].size for number in numbers])
                try:
                    replies = iter(self._ask(node, packed, count, deadline, retry, patience))
                except PartlyDone as problem:
                    if count == len(numbers) or type(problem.replies[-1]) is not Elsewhere:
                        raise
                    replies = iter([*problem.replies, None])  # a replica refuses to wait for a script
                for number in numbers:
                    answer = list(islice(replies, units[number].size))
                    if answer := self._final(node, units[number], answer, deadline, retry, patience):
                        answers[number] = answer
            if len(answers) == len(units):
                return [reply for number in range(len(units)) for reply in answers[number]]
        raise StoreUnavailable(detail="the nodes of the cluster do not agree on who has a slot")

    def _by_node(
        self, units: Sequence[Unit], answers: dict[int, list[Any]], deadline: float
    ) -> dict[Connections, list[int]]:
        """Return the numbers of the units without an answer, by the node that has their slot."""
        found: dict[Connections, list[int]] = {}
        for number, unit in enumerate(units):
            if number not in answers:
                found.setdefault(self._primary_of(unit.slot, deadline), []).append(number)
        return found

    def _final(
        self,
        node: Connections,
        unit: Unit,
        answer: list[Any],
        deadline: float,
        retry: bool,
        patience: float,
    ) -> list[Any]:
        """Return the answer to a unit, after a redirect if `node` gave one; empty: ask by the map again."""
        said = answer[0]
        if type(said) is not Elsewhere:
            if self._slots[unit.slot] is node:
                return answer
            # The slot has moved meanwhile. This may come from a primary that was stopped, and does not know
            # yet that another one has taken its place.
            if not retry:
                raise Unanswered(detail="the node that answered no longer has the slot")
            return []
        if said.text.startswith("MOVED "):
            address = self._named(said, node)
            with self._lock:
                named = self._slots[unit.slot] = self._node(address)
                self._heard[named] = monotonic()
                self._moved[unit.slot] = address
                with suppress(ValueError):
                    self._turns.remove(address)
                self._turns.appendleft(address)  # the others may not know of the move yet
            self._refresh_soon()
            return []
        if said.text.startswith("ASK "):
            # The slot is about to move to the node named, which has this key already. It answers this command
            # alone: others create there what the first node still has.
            named = self._node(self._named(said, node))
            try:
                answer = self._ask(named, _ASKING + unit.packed, unit.size + 1, deadline, retry, patience)[1:]
            except PartlyDone as problem:
                if len(problem.replies) > 1:  # besides that to ASKING
                    raise PartlyDone(problem.replies[1:], detail=problem.detail or "") from None
                raise StoreUnavailable(detail=problem.detail) from None
            if type(answer[0]) is not Elsewhere:
                return answer
            said = answer[0]
            if said.text.startswith("MOVED "):  # the move was ended meanwhile
                return []
        self._refresh_soon()
        raise StoreUnavailable(detail=said.text)

    def _ask(
        self, node: Connections, packed: bytes, count: int, deadline: float, retry: bool, patience: float
    ) -> list[Any]:
        began = monotonic()
        if began > self._refresh_at:
            self._refresh_soon()
        try:
            replies = node.send(packed, count, deadline, retry=retry, patience=patience)
        except (ScriptMissing, MemoryFull, PartlyDone):
            self._heard[node] = began
            raise
        except StoreUnavailable:
            self._refresh_soon()
            raise
        self._heard[node] = began
        return replies

    # -- nodes and their slots ------------------------------------------------------------------------

    def _node(self, address: str) -> Connections:
        """Return the pool of the node at an address."""
        with self._lock:
            node = self._nodes.get(address)
            if node is None:
                node = self._nodes[address] = self._connect(address)
                node.on_connect = partial(self._check_key, node)
            return node

    def _named(self, said: Elsewhere, node: Connections) -> str:
        """Return the address that a redirect names, such as `MOVED 42 10.0.0.1:6379`. Raise on other forms.

        Without a host, it is the host of the node that said it.
        """
        host, colon, port = said.text.split(" ")[-1].rpartition(":")
        if colon and not host:
            host = next((one for one, other in self._nodes.items() if other is node), "").rpartition(":")[0]
        try:
            return address_of(host, int(port))
        except ValueError:
            raise StoreUnavailable(detail=f"a redirect was not understood: {said.text}") from None

    def _check_key(self, node: Connections, call: _Call) -> None:
        """Check the store key on a new connection, if it is to the node that has it."""
        if self.settle is None or not self._is_settled or self._slots[slot_of(_STORE)] is not node:
            return

        def here(commands: Sequence[Command]) -> list[Any]:
            replies = call(commands)
            for reply in replies:
                if isinstance(reply, Elsewhere):
                    raise _NotHere(detail=reply.text)
            return replies

        try:
            self.settle(here)
        except _NotHere:
            self._refresh_soon()
        except StoreUnavailable:
            self._is_settled = False  # no other node may serve a store that has another key now
            raise

    def _refresh_soon(self) -> None:
        """Let another thread read the map, unless one is reading it or has just read it."""
        with self._lock:
            if self._is_refreshing or monotonic() < self._pause_until:
                return
            self._is_refreshing = True
        try:
            threading.Thread(target=self._refresh, name="patauth-cluster", daemon=True).start()
        except BaseException as problem:
            self._is_refreshing = False
            if not isinstance(problem, RuntimeError):  # no thread can start, as when the interpreter ends
                raise

    def _refresh(self) -> None:
        try:
            with suppress(StoreUnavailable):  # the old map stays: a node without the slot says so
                self._read_map(lambda: monotonic() + _PATIENCE)
        finally:
            self._pause_until = monotonic() + _PAUSE
            self._is_refreshing = False

    def _read_map(self, deadline: Callable[[], float], doubted: Connections | None = None) -> None:
        """Ask one node after the other for the map, until one answers. Raise `StoreUnavailable`.

        Each call asks another node first, since one that was cut off may tell an old map. A node that is
        `doubted` is asked only if it is the only one.
        """
        failure = StoreUnavailable(detail="no node of the cluster is known")
        for _ in range(len(self._turns)):
            address = self._turns[0]
            self._turns.rotate(-1)
            if doubted is not None and self._nodes.get(address) is doubted and len(self._turns) > 1:
                continue
            self._moved = {}
            asked = self._connect(address)  # not a node's own pool, whose new connections need a map
            try:
                began = monotonic()
                (reply,) = asked.call([("CLUSTER", "SLOTS")], deadline(), retry=True)
                self._take(read_slots(reply, address.rpartition(":")[0]), address, began)
            except StoreUnavailable as problem:
                failure = problem
            else:
                return
            finally:
                asked.close()
        raise failure

    def _take(self, addresses: list[str | None], teller: str, began: float) -> None:
        """Use a new map, and close the connections to nodes that have no slot any more.

        The node that has told it, when asked at `began`, is no witness for itself, unless it is alone.
        """
        for slot, address in list(self._moved.items()):
            addresses[slot] = address
        nodes = {address: self._node(address) for address in dict.fromkeys(addresses) if address}
        with self._lock:
            gone = [self._nodes.pop(address) for address in list(self._nodes) if address not in nodes]
            is_first = not self._slots
            self._slots = [nodes[address] if address else None for address in addresses]
            heard = {node: self._heard.get(node, -inf) for node in nodes.values()}
            for address, node in nodes.items():
                if address != teller or is_first or len(nodes) == 1:
                    heard[node] = max(heard[node], began)
            self._heard = heard
        asked = (address for address in list(self._turns) if address in nodes or address in self._seeds)
        self._turns = deque(dict.fromkeys([*asked, *nodes]))
        self._refresh_at = monotonic() + REFRESH
        for node in gone:
            node.close()
