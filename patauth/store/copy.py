"""Copy a store to another engine: the PATs, owners and indexes of all tenants under the key prefix.

Nobody can use the target before it is complete: a mark takes the place of its store key. A complete copy has
its key under a seal. The first process that uses the copy takes the seal off, and from then on no run writes
to it. So old data never replaces newer data, and what ended in the source between two runs has ended in the
target before anybody can use it.

A run that finds no difference does not know whether the source is still used, where a PAT may end at any
moment. So an operator who knows has to ask for the seal.

A run knows nothing of earlier runs. It compares the stores in pieces, writes what differs, and then compares
them again. Of two runs at a time the later one goes on: a run writes a piece only while its own mark is
there, and at most `IN_FLIGHT` after that. It only reads the source, and uses commands that every engine has,
since one engine does not understand the dumps of another.

It reads both sides from primaries: a replica may lack what has ended. A single server says on each connection
what it is. Sentinels confirm theirs. The nodes of a cluster refuse keys that are not theirs.
`Scripts.scan_parts` notices a server that was replaced meanwhile.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigurationError, Conflict, StoreUnavailable
from .asking import IN_FLIGHT, Pause
from .keys import Keys
from .record import not_understood
from .scripts import PRELUDE, Call, NotDurable, Script, Scripts, Wait, scanned, understood
from .store_key import CLOSED, SEALED, is_copy, read_key
from .transport.protocol import OF_CLUSTER
from .transport.wire import Command, ErrorReply, replicas_of

T = TypeVar("T")

_BEGIN, _END = Script("copy_begin", PRELUDE), Script("copy_end", PRELUDE)
_WRITE, _READ = Script("copy_piece", PRELUDE), Script("read", PRELUDE)

_IN_USE, _EMPTY, _CLOSED = 0, 1, 2  # answers of lua/copy_begin.lua; 3: a copy of another store
_KEYS = 500  # that one step reads
_MEMBERS = 1_000  # of indexes that one step reads; a script takes 8 000 words at most
_WRITTEN = 1  # an answer of lua/copy_piece.lua; else it came too late
_TRIES = 5  # of a call that fails, or of a piece that comes too late
PATIENCE = 10.0  # s for a command, and for replicas: no request waits for a copy
_SOON = 2_000  # ms; what ends so soon is there by one server's clock, and gone by the other's
_FOREVER, _GONE = -1, -2  # PEXPIRETIME of a key without an expiry, and of none


class Text(NamedTuple):
    """What a key without members holds, and when it goes (ms, or one of the above)."""

    value: bytes | None
    end: int


class Form(NamedTuple):
    """The commands for a type of key with members, each of which has a score or, in a hash, a value."""

    scan: str
    look: str
    add: str
    remove: str
    has_scores: bool

    def equal(self, one: bytes, other: bytes | None) -> bool:
        """Return whether two scores or values are the same. Engines write the same score differently."""
        if other is None or not self.has_scores:
            return one == other
        try:
            return float(one) == float(other)
        except ValueError as problem:
            raise not_understood("index", problem) from None

    def adding(self, name: bytes, members: dict[bytes, bytes]) -> Command:
        """Return the command that adds members with their scores or values, or corrects these."""
        pairs = ((score, member) if self.has_scores else (member, score) for member, score in members.items())
        return (self.add, name, *(word for pair in pairs for word in pair))


_SORTED_SET = Form("ZSCAN", "ZMSCORE", "ZADD", "ZREM", has_scores=True)
_HASH = Form("HSCAN", "HMGET", "HSET", "HDEL", has_scores=False)
# What is carried, by `Keys.kind_of`; None: a text. Quotas and traces of a change under way are not: they last
# for seconds.
_CARRIED = {
    **dict.fromkeys(("p", "o", "d", "a", "sequence")),
    **dict.fromkeys(("c", "e", "h", "created", "used", "expires", "marks", "removed"), _SORTED_SET),
    "n": _HASH,
}
_TOKENS = {"t": None, "k": _SORTED_SET}
_OWN = {"key", "check", "w"}  # what a copy has in the target besides
_COUNTED = {
    "p": "pats",
    "c": "owners",
    "o": "ownerRecords",
    "t": "accessTokens",
    "d": "removedPats",
}  # of each kind of key
_ENTRIES = {"n", "c", "e", "h", "created", "used", "expires", "removed"}
COUNTED = (*_COUNTED.values(), "indexEntries")


def text_change(name: bytes, source: Text, target: Text) -> Command | None:
    """Return the command that makes a key of the target equal to that of the source; None if it is."""
    if source == target:
        return None
    if source.value is None:
        return ("DEL", name)
    return ("SET", name, source.value, *(() if source.end == _FOREVER else ("PXAT", source.end)))


def end_change(name: bytes, source: int, target: int) -> Command | None:
    """Return the command that lets a key go when that of the source does (ms); None if it will."""
    if source in (target, _GONE):
        return None
    return ("PERSIST", name) if source == _FOREVER else ("PEXPIREAT", name, source)


def lasts(ends: Sequence[int], now: int) -> bool:
    """Return whether a difference stays. A key that only one store has, and that soon goes (ms), is none."""
    last = max(math.inf if end == _FOREVER else end for end in ends)
    return _GONE not in ends or last > now + _SOON


def check_server(keys: Keys, call: Call) -> None:
    """Check on a connection that one server has all keys, and is a primary. Raise `ConfigurationError`."""
    try:
        call([("EXISTS", keys.store_key, keys.barrier("00000000"))])  # two slots, which no node takes at once
    except ErrorReply as problem:
        if str(problem).startswith("CROSSSLOT"):
            raise ConfigurationError(OF_CLUSTER) from None
        raise
    if replicas_of(call([("ROLE",)])[0]) is None:
        raise ConfigurationError("the server is a replica, and may lack what has ended; name its primary")


class Side:
    """The store FROM or TO; errors have this `name`. A call that fails is repeated if that is harmless."""

    def __init__(self, name: str, scripts: Scripts) -> None:
        self.scripts = scripts
        self._name = name

    def call(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands that are safe to send twice, and return their replies. Raise `StoreUnavailable`."""
        return self.again(partial(self.scripts.call, commands, retry=True))

    def again(self, work: Callable[[], T]) -> T:
        """Repeat a call that may be done twice, each time only after the last try can no longer arrive."""
        with self.named():
            for _ in range(_TRIES - 1):
                try:
                    return work()
                except StoreUnavailable:
                    Pause(IN_FLIGHT).wait()
            return work()

    def scan(self, keys: Keys) -> Iterator[list[bytes]]:
        """Yield all keys in pieces. Raise `StoreUnavailable`."""
        with self.named():
            yield from self.scripts.scan_parts(keys.all, _KEYS, keys.barrier)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the side in each error of this block."""
        try:
            yield
        except StoreUnavailable as problem:
            problem.detail = f"{self._name}: {problem.detail or problem}"
            raise
        except ConfigurationError as problem:
            raise ConfigurationError(f"{self._name}: {problem}") from None


class Copy:
    """One run of a copy. Call `begin`, exhaust `write` and `compare`, and call `end` if nothing differs and
    nothing uses the source any more.

    Each step may be interrupted. `with_access_tokens`: they are carried, too; else the target has none.
    """

    def __init__(self, source: Scripts, target: Scripts, keys: Keys, *, with_access_tokens: bool) -> None:
        self.writes = 0  # commands that `write` has run
        self.counts: Counter[str] = Counter()  # what `compare` has found in the source
        self.differing: set[bytes] = set()  # keys, by `compare`
        self._source = Side("FROM", source)
        self._target = Side("TO", target)
        self._keys = keys
        self._carried = _CARRIED | (_TOKENS if with_access_tokens else {})
        self._sequences: set[bytes] = set()
        self._key = self._check = self._mark = b""

    # -- the steps ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Close the target. Raise `Conflict` if it may not be written, or if the source cannot be copied."""
        self._key, self._check = self._read_source()
        target = self._target
        with target.named():
            target.scripts.wait.learn(partial(target.scripts.call, retry=True), self._keys.store_key)
        if read_key(target.call, self._keys.of_store) == (None, None):
            for found in target.scan(self._keys):
                if found:
                    raise Conflict("TO has keys under this key_prefix, but no store key; remove them first")
        self._mark = CLOSED + secrets.token_bytes(16)
        arguments = (self._mark, self._check)
        with target.named():
            answer = target.scripts.run_durably(
                _BEGIN, self._keys.of_store, arguments, lambda reply: reply[0]
            )
        if answer == _IN_USE:
            raise Conflict("TO is in use; give an empty store, or a copy that no process has used yet")
        if answer not in (_EMPTY, _CLOSED):
            raise Conflict("TO is a copy of another store; name another TO, or remove its keys first")
        if answer == _CLOSED:
            Pause(IN_FLIGHT).wait()  # what another run has sent is written by then, or never

    def write(self) -> Iterator[int]:
        """Make the target equal to the source, in pieces. Yield how many keys each piece has looked at.

        Raise `Conflict` when another run has begun.
        """
        for count, changes in self._pieces():
            for commands in changes:
                self._send(commands)
            yield count

    def compare(self) -> Iterator[int]:
        """Count what the source has, and find keys that differ, in pieces of so many keys as it yields."""
        self._reach_replicas()  # one that takes over while this compares has all of it
        self.counts.clear()
        for count, changes in self._pieces():
            for commands in changes:
                self._note(commands)
            yield count
        # The tenants' sequences count changes of PATs, also those of which the keys had been compared before.
        self._note(self._change_texts(list(self._sequences)))

    def end(self) -> None:
        """Open the target under a seal, durably and in all replicas that are connected.

        Raise `Conflict` when another run has begun.
        """
        self._reach_replicas()
        if self._read_source() != (self._key, self._check):
            raise Conflict("the store key of FROM has changed; TO stays closed")
        names, arguments = [self._keys.store_key], (self._mark, SEALED + self._key)
        with self._target.named():
            is_open = self._target.scripts.run_durably(_END, names, arguments, lambda reply: reply[0])
        if not is_open:
            raise _overtaken()
        self._reach_replicas()

    # -- what differs ---------------------------------------------------------------------------------

    def _pieces(self) -> Iterator[tuple[int, Iterable[list[Command]]]]:
        """Yield the number of keys in each piece, and the commands that make the target equal to the source.

        The next ones of a piece may rest on those before.
        """
        for names in self._source.scan(self._keys):
            yield len(names), self._changes(names)
        for names in self._target.scan(self._keys):
            yield len(names), [self._removals(names)]

    def _changes(self, names: Sequence[bytes]) -> Iterator[list[Command]]:
        """Yield the commands that make these keys of the target equal to those of the source."""
        kinds = {name: kind for name in names if (kind := self._keys.kind_of(name)) in self._carried}
        self.counts.update(_COUNTED[kind] for kind in kinds.values() if kind in _COUNTED)
        self._sequences.update(name for name, kind in kinds.items() if kind == "sequence")
        members = {name: form for name, kind in kinds.items() if (form := self._carried[kind])}
        yield self._change_texts([name for name in kinds if name not in members])
        for form in (_HASH, _SORTED_SET):
            some = [name for name in members if members[name] is form]
            if some:
                yield from self._change_members(form, some)
        yield [command for command in (end_change(*one) for one in self._ends(list(members))) if command]

    def _change_texts(self, names: Sequence[bytes]) -> list[Command]:
        source, target = self._read_texts(self._source, names), self._read_texts(self._target, names)
        both = zip(names, source, target, strict=True)
        return [command for command in (text_change(*one) for one in both) if command]

    def _read_texts(self, side: Side, names: Sequence[bytes]) -> list[Text]:
        commands = [(command, name) for command in ("GET", "PEXPIRETIME") for name in names]
        replies = side.call(commands) if names else []
        values, ends = replies[: len(names)], understood(replies[len(names) :], *[int] * len(names))
        if not all(isinstance(value, bytes | None) for value in values):
            raise not_understood("answer", "not a text")
        found = zip(values, ends, strict=True)
        return [
            Text(None, _GONE) if value is None or end == _GONE else Text(value, end) for value, end in found
        ]

    def _ends(self, names: Sequence[bytes]) -> list[tuple[bytes, int, int]]:
        """Return each key with when it goes in the source and in the target (ms, or one of the above)."""
        source, target = self._read_ends(self._source, names), self._read_ends(self._target, names)
        return list(zip(names, source, target, strict=True))

    def _read_ends(self, side: Side, names: Sequence[bytes]) -> list[int]:
        commands = [("PEXPIRETIME", name) for name in names]
        return understood(side.call(commands), *[int] * len(names)) if names else []

    def _change_members(self, form: Form, names: Sequence[bytes]) -> Iterator[list[Command]]:
        for pieces in self._read_members(self._source, form, names):
            for name, members in pieces.items():
                if self._keys.kind_of(name) in _ENTRIES:
                    self.counts["indexEntries"] += len(members)
            commands = []
            for name, members, held in self._look(self._target, form, pieces):
                changed = {
                    member: score
                    for (member, score), other in zip(members.items(), held, strict=True)
                    if not form.equal(score, other)
                }
                if changed:
                    commands.append(form.adding(name, changed))
            yield commands
        for pieces in self._read_members(self._target, form, names):
            commands = []
            for name, members, held in self._look(self._source, form, pieces):
                gone = [member for member, other in zip(members, held, strict=True) if other is None]
                if gone:
                    commands.append((form.remove, name, *gone))
            yield commands

    def _read_members(
        self, side: Side, form: Form, names: Sequence[bytes]
    ) -> Iterator[dict[bytes, dict[bytes, bytes]]]:
        """Yield the members of keys with their scores or values, in pieces: most keys in the first one."""
        cursors = dict.fromkeys(names, 0)
        while cursors:
            count = max(_MEMBERS // len(cursors), 10)
            commands = [(form.scan, name, cursor, "COUNT", count) for name, cursor in cursors.items()]
            replies = zip(cursors, map(scanned, side.call(commands)), strict=True)
            cursors = {}
            pieces: defaultdict[int, dict[bytes, dict[bytes, bytes]]] = defaultdict(dict)
            for name, (cursor, found) in replies:
                for start in range(0, len(found), 2 * _MEMBERS):  # a small index comes whole, whatever COUNT
                    some = found[start : start + 2 * _MEMBERS]
                    pieces[start][name] = dict(zip(some[::2], some[1::2], strict=True))
                if cursor:
                    cursors[name] = cursor
            yield from pieces.values()

    def _look(
        self, side: Side, form: Form, pieces: dict[bytes, dict[bytes, bytes]]
    ) -> list[tuple[bytes, dict[bytes, bytes], list[bytes | None]]]:
        """Return each key with its members, and with what a store has of these: None for a missing one."""
        commands = [(form.look, name, *members) for name, members in pieces.items()]
        replies = side.call(commands) if commands else []
        for members, held in zip(pieces.values(), replies, strict=True):
            if not isinstance(held, list) or len(held) != len(members):
                raise not_understood("index", "of another form")
        return [(*piece, held) for piece, held in zip(pieces.items(), replies, strict=True)]

    def _removals(self, names: Sequence[bytes]) -> list[Command]:
        """Return the commands that remove those keys of the target that the source does not have."""
        kinds = {name: kind for name in names if (kind := self._keys.kind_of(name)) not in _OWN}
        carried = [name for name, kind in kinds.items() if kind in self._carried]
        there = self._source.call([("EXISTS", name) for name in carried]) if carried else []
        has = dict(zip(carried, there, strict=True))
        return [("DEL", name) for name in kinds if not has.get(name)]

    # -- what is done about it ------------------------------------------------------------------------

    def _send(self, commands: Sequence[Command]) -> None:
        """Run commands in the target, unless another run has begun."""
        left = list(commands)

        def write() -> None:
            nonlocal left
            latest = self._now() + IN_FLIGHT
            calls = [((name,), (latest, verb, *words)) for verb, name, *words in left]
            answers = self._target.scripts.run_each(_WRITE, calls)
            left = [command for command, answer in zip(left, answers, strict=True) if answer[0] != _WRITTEN]
            if left:
                raise StoreUnavailable(
                    detail="it is too slow, or the clocks of nodes differ by half a second"
                )

        if left:
            self._target.again(write)
        self.writes += len(commands)

    def _now(self) -> int:
        """Return the clock (ms) of the target. Raise `Conflict` if another run has begun."""
        now, mark = self._target.scripts.run(_READ, [self._keys.store_key])
        if mark != self._mark:
            raise _overtaken()
        return int(now)

    def _note(self, commands: Sequence[Command]) -> None:
        """Take note of keys that commands would change, unless these are about to go by themselves."""
        names = list(dict.fromkeys(name for _, name, *_ in commands))
        if names:
            now = self._target.again(self._now)
            self.differing.update(name for name, *ends in self._ends(names) if lasts(ends, now))

    def _reach_replicas(self) -> None:
        """Wait until all writes are durable, and in all replicas that are connected."""
        with self._target.named():
            for server, tag in self._target.scripts.parts():
                barrier = self._keys.barrier(tag)
                server.confirm(barrier)
                (role,) = server.call([("ROLE",)], retry=True)
                replicas = replicas_of(role)
                if replicas is None:
                    raise StoreUnavailable(detail="a server is no primary any more; run it again")
                if not replicas:
                    continue
                try:
                    server.waiting(Wait(("WAIT", replicas, round(PATIENCE * 1000)), PATIENCE)).confirm(
                        barrier
                    )
                except NotDurable as problem:
                    raise StoreUnavailable(
                        detail=f"not all replicas of a server ({replicas}) have what was written within"
                        f" {PATIENCE:g} s ({problem.detail}); repair them, and run it again"
                    ) from None

    def _read_source(self) -> tuple[bytes, bytes]:
        """Return the store key of the source, or the mark that it is outside, and its check value."""
        key, check = read_key(self._source.call, self._keys.of_store)
        if key is None or check is None:
            raise Conflict("FROM is no store: there is no store key under this key_prefix")
        if is_copy(key, CLOSED) or is_copy(key, SEALED):
            raise Conflict(
                "FROM is a copy that no process has used yet; name the store that it was made from"
            )
        return key, check


def _overtaken() -> Conflict:
    return Conflict("another copy to TO has begun or ended, or somebody has removed its keys")
