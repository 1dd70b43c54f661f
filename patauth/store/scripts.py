"""Run Lua scripts by their digest, send the text that a server lacks, and wait until writes are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

from ..errors import StoreUnavailable
from .deadline import Deadline
from .record import not_understood
from .transport.protocol import PartlyDone, ScriptMissing, Transport, unavailable
from .transport.wire import Command, ErrorReply, replicas_of

Call = Callable[[Sequence[Command]], list[Any]]  # sends commands and returns their replies
Arguments = Sequence[bytes | str | int]
T = TypeVar("T")

_NAMES: dict[bytes, str] = {}  # of scripts, by digest and by text


class Script:
    """A Lua script: the layout of records, the `parts` that it needs, and its own file, all of lua/."""

    def __init__(self, name: str, *parts: str) -> None:
        self.name = name
        self.text, self.digest = _read("layout", *parts, name)
        _NAMES[self.digest] = _NAMES[self.text] = name

    def in_full(self, command: Command) -> Command:
        """Return the command with the script's text in place of its digest."""
        return ("EVAL", self.text, *command[2:])


@cache
def _read(*parts: str) -> tuple[bytes, bytes]:
    folder = files(__package__) / "lua"
    text = b"".join([(folder / f"{part}.lua").read_bytes() for part in parts])
    return text, sha1(text, usedforsecurity=False).hexdigest().encode()


def script_of(command: Command) -> str:
    """Return the name of the script that a command runs; empty for another command."""
    return _NAMES[command[1]] if command[0] in ("EVAL", "EVALSHA") else ""


PRELUDE, OWNER_INDEX, QUOTA, TOKEN = "prelude", "owner_index", "quota", "token"  # parts of scripts
_CONFIRM = Script("confirm", PRELUDE)


class Prepared:
    """A script's call as it goes over the wire (RESP), complete except for gaps of fixed sizes.

    `keys` and `arguments` may hold `%b` and no other percent sign. The n-th `%b` stands for `sizes[n]` bytes.
    The caller fills the gaps with values of exactly these sizes, since the call already states the lengths.
    `more` words follow when it is sent.
    """

    __slots__ = ("_form", "_head", "script")

    def __init__(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        sizes: Sequence[int],
        more: int = 0,
    ) -> None:
        self.script = script
        left = iter(sizes)
        words: list[bytes] = []
        for word in (b"EVALSHA", script.digest, b"%d" % len(keys), *keys, *arguments):
            gaps = sum([next(left) - len(b"%b") for _ in range(word.count(b"%b"))])
            words.append(b"$%d\r\n%b\r\n" % (len(word) + gaps, word))
        self._form = b"*%d\r\n%b" % (len(words) + more, b"".join(words))
        self._head = len(b"".join(words[:2]))

    def filled(self, gaps: tuple[bytes, ...]) -> Filled:
        """Return the call with the values for its gaps; the first one is the hash tag of the keys."""
        return Filled(self._form % gaps, gaps[0], self)

    def in_full(self, packed: bytes) -> bytes:
        """Return a filled call with the script's text in place of its digest."""
        count, end, rest = packed.partition(b"\r\n")
        text = self.script.text
        return b"%b%b$4\r\nEVAL\r\n$%d\r\n%b\r\n%b" % (count, end, len(text), text, rest[self._head :])


class Filled(msgspec.Struct, frozen=True, gc=False):
    """A prepared call that can be sent any number of times. `tag` is the hash tag of its keys."""

    packed: bytes
    tag: bytes
    call: Prepared

    def __repr__(self) -> str:
        return "<Filled>"  # it has digests


def understood(reply: Any, *kinds: type) -> list[Any]:
    """Return a reply that is a list and begins with values of these types.

    Raise `StoreUnavailable` otherwise.
    """
    if not isinstance(reply, list) or tuple(map(type, reply[: len(kinds)])) != kinds:
        raise not_understood("answer", f"a {type(reply).__name__} of another form")
    return reply


def texts(reply: Any) -> list[bytes]:
    """Return a reply that is a list of texts. Raise `StoreUnavailable` for another one."""
    if not isinstance(reply, list) or not all(isinstance(one, bytes) for one in reply):
        raise not_understood("answer", f"a {type(reply).__name__} that is no list of texts")
    return reply


def scanned(reply: Any) -> tuple[int, list[bytes]]:
    """Return the cursor and what was found in an answer to SCAN, ZSCAN or HSCAN."""
    try:
        cursor, found = int(reply[0]), reply[1]
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise not_understood("answer to SCAN", problem) from None
    return cursor, texts(found)


class NotDurable(StoreUnavailable):
    """The store has written, but did not confirm in time that this is durable. The call is safe to repeat.

    `result` is what the call would have returned.
    """

    default = "done, but not yet known to be durable; repeat the call"
    may_be_done = True

    def __init__(self, result: Any, *, detail: str) -> None:
        super().__init__(detail=detail)
        self.result = result


class Unfinished(NotDurable):
    """Some pieces of a long change are done, and others may not be. The call is safe to repeat."""

    default = "done in part; repeat the call"


class NoDisk(StoreUnavailable):
    """The server cannot wait for its disk, as `durability` demands. `detail` says what to do."""


class Wait:
    """How to wait until writes are durable. All views of a store share what it has learned.

    `command` is WAIT or WAITAOF with its arguments, or None: nothing waits. `patience` is how many seconds it
    may take. `must`: a server without WAITAOF is refused; otherwise, nothing waits there.
    """

    def __init__(self, command: Command | None = None, patience: float = 0.0, *, must: bool = False) -> None:
        self.command = command
        self.patience = patience
        self._must = must
        self._is_settled = command is None or command[0] != "WAITAOF"

    def learn(self, call: Call, key: bytes) -> None:
        """Ask, until a server has answered once, whether it can wait for its disk. Raise `NoDisk`.

        Redis before 7.2 cannot. A server that is met later may be another one: it refuses each wait itself.
        `key` is one that this server has, or could have.
        """
        if self._is_settled:
            return
        if self._must:
            _demand_disk(call, key)
        elif call([("COMMAND", "INFO", "WAITAOF")])[0] == [None]:
            self.command = None
        self._is_settled = True


def _demand_disk(call: Call, key: bytes) -> None:
    """Raise `NoDisk` if the server refuses WAITAOF: it does not know it, or has no append-only file."""
    try:
        # A server that refuses EXISTS, such as one that loads its file, says nothing about its disk.
        call([("EXISTS", key), ("WAITAOF", 1, 0, 1)])
    except (ErrorReply, PartlyDone) as problem:  # of a connection, or of a transport
        refusal = unavailable(problem) if isinstance(problem, ErrorReply) else problem
        if not isinstance(refusal, PartlyDone):
            raise
        why = (refusal.detail or "").removeprefix("ErrorReply: ").partition(", with args")[0]
        raise NoDisk(
            detail=f"durability: the server does not wait for its disk ({why}); take Valkey or Redis from 7.2"
            " with `appendonly yes` and allow this user WAITAOF, or set durability to engine or replicas:N"
        ) from None


# What makes a `Scripts`, of the arguments of that class.
MakeScripts = Callable[[Transport, Callable[[], int] | None, Wait, Callable[[], Deadline]], "Scripts"]


class Scripts:
    """Runs scripts over a transport.

    `clock` gives ms in place of the server's clock. `wait` says how to wait until writes are durable. `begin`
    makes a deadline: a new one for each call, unless `until` set one for all calls.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], int] | None,
        wait: Wait,
        begin: Callable[[], Deadline],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self.wait = wait
        self._begin = self.deadline = begin

    def until(self, deadline: Deadline | None) -> Scripts:
        """Return these scripts with one deadline for all calls; None: one that begins at the first call."""
        return self._with(deadline=cache(self._begin) if deadline is None else lambda: deadline)

    def one_by_one(self) -> Scripts:
        """Return these scripts with a new deadline for each call."""
        return self._with(deadline=self._begin)

    def parts(self) -> Iterator[tuple[Scripts, str]]:
        """Yield these scripts for each server that has a part of the keys, and a hash tag that it has.

        For commands without a key, such as SCAN. Raise `StoreUnavailable`.
        """
        for transport, tag in self._transport.parts(self.deadline().at):
            yield self._with(_transport=transport), tag

    def scan_parts(self, match: bytes, count: int, key: Callable[[str], bytes]) -> Iterator[list[Any]]:
        """Yield in pieces what SCAN finds in all servers. `key` makes a key of a hash tag.

        Raise `StoreUnavailable`, also when a server is no primary any more in the end: SCAN does not say so,
        and a replica may lack keys, or have some that are gone.
        """
        parts = self._transport.parts(self.deadline().at)
        servers = [self._with(_transport=transport) for transport, _ in parts]
        for server in servers:
            yield from server.scan("SCAN", match=match, count=count)
        # One that was stopped and replaced does not know it yet. For a key, the transport asks others first.
        self.call([("EXISTS", key(tag)) for _, tag in parts], retry=True)
        roles = [server.call([("ROLE",)], retry=True)[0] for server in servers]
        if None in map(replicas_of, roles) or self._transport.parts(self.deadline().at) != parts:
            raise StoreUnavailable(detail="a server that was being read is no primary any more; run it again")

    def waiting(self, wait: Wait) -> Scripts:
        """Return these scripts with another way to wait until writes are durable."""
        return self._with(wait=wait)

    def _with(self, **changed: Any) -> Scripts:
        other = object.__new__(type(self))  # as `Store._with` does
        vars(other).update(vars(self), **changed)
        return other

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Arguments = (),
        now: int | None = None,
        *,
        retry: bool = True,
    ) -> list[Any]:
        """Run a script, and return its answer: a list that begins with a number.

        `now` (ms) takes the place of the clock. `retry`: sending it twice is harmless. Raise
        `StoreUnavailable`.
        """
        (reply,) = self._by_digest(script, [self._command(script, keys, arguments, now)], retry=retry)
        return understood(reply, int)

    def run_each(self, script: Script, calls: Sequence[tuple[Sequence[bytes], Arguments]]) -> list[list[Any]]:
        """Run a script with each of these keys and arguments, and return the answers. All are sent together.

        Sending them twice must be harmless. Raise `StoreUnavailable`.
        """
        commands = [self._command(script, keys, arguments, None) for keys, arguments in calls]
        return [understood(reply, int) for reply in self._by_digest(script, commands, retry=True)]

    def _by_digest(self, script: Script, commands: Sequence[Command], *, retry: bool) -> list[Any]:
        """Send commands that call a script by its digest, and again with its text if the server lacks it.

        A WAIT or WAITAOF may follow. Return the replies.
        """
        try:
            return self.call(commands, retry)
        except ScriptMissing:  # it has done nothing
            in_full = [script.in_full(one) if one[0] == "EVALSHA" else one for one in commands]
            return self.call(in_full, retry)

    def prepare(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], sizes: Sequence[int]
    ) -> Prepared:
        """Prepare a call of a script that is safe to send twice; `Prepared` says what the parameters mean.

        Leave out empty arguments at the end. With a clock (in tests), its time is one more argument.
        """
        if self._clock is not None:
            return Prepared(script, keys, arguments, sizes, more=1)
        given = len(arguments)
        while given and not arguments[given - 1]:
            given -= 1
        return Prepared(script, keys, arguments[:given], sizes)

    def ask(self, filled: Filled, at: float) -> Any:
        """Send a prepared call and return the answer, whatever its form.

        `at` is the deadline, an instant of `time.monotonic()` (s).
        """
        packed = filled.packed
        if self._clock is not None:
            packed += b"$13\r\n%013d\r\n" % self._clock()
        try:
            return self._transport.send(packed, 1, at, retry=True, tag=filled.tag)[0]
        except ScriptMissing:
            packed = filled.call.in_full(packed)
            return self._transport.send(packed, 1, at, retry=True, tag=filled.tag)[0]

    def run_durably(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Arguments,
        read: Callable[[list[Any]], T],
        call: Call | None = None,
        *,
        by_digest: bool = False,
    ) -> T:
        """Run a script, wait until its writes are durable, and return what `read` makes of its answer.

        The script runs once at most. Its text is sent, so that it runs on a server that has just started,
        even if the caller gives up. `by_digest` saves that for a write that must not happen late. `call` uses
        one certain connection: a wait on another one would mean nothing. Raise `NotDurable` when the server
        does not confirm in time, and `StoreUnavailable`.
        """
        command, wait = self._command(script, keys, arguments, None), self.wait.command
        waits: tuple[Command, ...] = () if wait is None else (wait,)
        try:
            if by_digest:
                reply, *waited = self._by_digest(script, (command, *waits), retry=False)
            else:
                reply, *waited = (call or self.call)((script.in_full(command), *waits))
        except PartlyDone as problem:  # the wait was refused or cut short, behind a script that was done
            result = read(understood(problem.replies[0], int))
            raise NotDurable(result, detail=f"{waits[0][0]}: {problem.detail}") from None
        result = read(understood(reply, int))
        if wait is None:
            return result
        (reached,) = waited
        done = reached[0] if isinstance(reached, list) and reached else reached  # WAITAOF: [local, replicas]
        if not isinstance(done, int) or done < wait[1]:
            raise NotDurable(result, detail=f"{wait[0]} answered {reached!r}")
        return result

    def confirm(self, barrier: bytes, call: Call | None = None) -> None:
        """Wait until earlier writes of all connections are durable.

        WAIT and WAITAOF only see the writes of their own connection, so this writes the key `barrier` first.
        Raise `NotDurable`.
        """
        if self.wait.command is not None:
            self.run_durably(_CONFIRM, [barrier], (), lambda _: None, call)

    def confirmed(self, barrier: bytes, ends: bytes, records: Sequence[bytes]) -> tuple[int, int, list[Any]]:
        """Return the time (ms), how long to wait for ends (ms), and what records hold, durably.

        `barrier`, `ends` and `records` are keys in one slot: one server says it all. Raise `NotDurable`.
        """

        def read(reply: list[Any]) -> tuple[int, int, list[Any]]:
            now, pause, *found = understood(reply, int, int)
            return now, pause, found

        return self.run_durably(_CONFIRM, [barrier, ends, *records], (), read)

    def call(self, commands: Sequence[Command], retry: bool = False) -> list[Any]:
        """Send plain commands and return their replies. Allow for the time that a wait at their end may take.

        `retry`: sending the commands twice is harmless. Raise `StoreUnavailable`.
        """
        patience = self.wait.patience if commands[-1] == self.wait.command else 0.0
        return self._transport.call(commands, self.deadline().at, retry=retry, patience=patience)

    def scan(self, *command: bytes | str, count: int, match: bytes = b"*") -> Iterator[list[Any]]:
        """Yield in pieces of about `count` what SCAN, or ZSCAN of a key, finds.

        What is there from begin to end is found, maybe twice. Raise `StoreUnavailable`.
        """
        cursor: Any = 0
        while True:
            scan = (*command, cursor, "MATCH", match, "COUNT", count)
            (reply,) = self.call([scan], retry=True)
            cursor, found = scanned(reply)
            yield found
            if cursor == 0:
                return

    def _command(
        self, script: Script, keys: Sequence[bytes], arguments: Arguments, now: int | None
    ) -> Command:
        if now is None and self._clock is not None:
            now = self._clock()
        return ("EVALSHA", script.digest, len(keys), *keys, b"" if now is None else now, *arguments)
