"""Replies of the store to each operation: cut, spoiled, doubled, out of order, or those of another command.

A real server answers, and a socket that stands in for its connection spoils what it says. A reply that cannot
be read is `StoreUnavailable`. One that can be read, and lies, may refuse or deny anything, but lets nobody
in whom the truth would refuse, and nobody as somebody else. The next caller is never worse off.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import hiredis
import pytest

from patauth import Authority, Overloaded, Owner, PatAuthError, Principal, StoreUnavailable
from patauth.operations.sweep import sweep
from patauth.store.transport import wire
from tests.fuzz.search import Target
from tests.fuzz.spoil import spoiled
from tests.fuzz.worlds import authority_of, same_secrets
from tests.support.authorities import basic, basic_of, bearer, issue, patch_many
from tests.support.servers import Server, binaries

Trouble = tuple[str, int, bytes]  # what happens to a reply, where, and the bytes that take part in it
Given = tuple[str, dict[int, Trouble]]  # an operation, and the trouble of its n-th replies

SOONER = [{"op": "replace", "path": "/expirationDate", "value": "2030-01-03T00:00:00Z"}]
# Replies that the store never gives there, or never gives at all: "|" ends a line, and "~" is a blank.
FORGED = [
    reply.replace("|", "\r\n").replace("~", " ").encode("latin-1")
    for reply in """
        $-1| *-1| *0| :0| :1| +OK| $0|| _| #t| ,1.5| | \0 HTTP/1.1~200~OK||
        -OOM~command~not~allowed| -NOSCRIPT~No~matching~script.| -LOADING| -READONLY~x| -ERR~\xff|
        *1|*1|*1|:1| $1000000000| %1|+a|:1| >1|:1| :999999999999999999999| *2|$-1|$-1|
        *2|:0|:1893456000000| *1|:1893456000000| *3|:1|:1893456000000|:0| *2|:0|:500| *1|:-1|
        *1|$1|x| $16|xxxxxxxxxxxxxxxx| *2|$1|0|*1|*0|
    """.split()
]
# A reply that announces so many parts. hiredis makes room for all of them at once. How long that takes, and
# whether there is as much memory, is the machine's, so such replies are not tried here.
ENDLESS = re.compile(rb"[*%~>|][0-9]{8,}\r")
KINDS = "cut,hung up,spoiled,spoiled,doubled,dropped,reversed,forged,earlier,answer of".split(",")


class Replies(Target):
    """Runs an operation while the replies to it are in trouble, and then one that must be right."""

    name = "replies"

    def __init__(self) -> None:
        super().__init__()
        folder = Path(tempfile.mkdtemp(prefix="patauth-fuzz-"))
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.server = Server(binaries()["valkey"], folder, "--appendonly", "no")
        self.stack.callback(self.server.stop)
        self.line = Line(self.server.socket)
        self.stack.callback(self.line.close)
        patched = self.stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(wire, "redis_connection", lambda *_: Connection(self.line))
        with same_secrets():
            self.authority = authority_of(self.stack, "redis://fuzz", secret_key=bytes(32), command_timeout=5)
            self.mine = issue(self.authority, "mine", owner=Owner("alice"), never_expires=True)
            self.second = issue(self.authority, "second", owner=Owner("alice"), never_expires=True)
            self.theirs = issue(self.authority, "theirs", owner=Owner("bob"), never_expires=True)
            self.access = self.authority.exchange(self.mine.pat.id, self.mine.secret).value
            form = self.authority.operations.format
            self.wrong = form.secret_text(bytes(32))
            self.unknown, _ = form.mint_access_token(self.theirs.pat.id)
        self.client = self.stack.enter_context(self.server.client())
        for pat in (self.mine, self.second, self.theirs):  # the first use of a day costs more
            self.authority.authenticate(basic_of(pat))
        self.calls = dict(self.operations())
        kept = ((key, self.client.dump(key)) for key in self.client.scan_iter())
        self.kept = [pair for pair in kept if pair[1] is not None]  # a quota that is whole again has no key
        self.truth: dict[str, tuple[str, Any]] = {}
        self.heard: dict[str, list[bytes]] = {}
        for name in self.calls:
            self.line.begin({})
            with same_secrets():
                self.truth[name] = self.outcome(name)
            # How long an end has to wait (ms) depends on how fast the server was.
            self.heard[name] = [re.sub(rb":[1-5]\d\d\r\n", b":500\r\n", one) for one in self.line.heard]
            self.restore()
        self.every = sorted({reply for replies in self.heard.values() for reply in replies})

    def operations(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield the operations, by name."""
        authority: Authority = self.authority
        mine, theirs = self.mine, self.theirs
        day = timedelta(days=1)
        yield "basic", lambda: authority.authenticate(basic_of(mine))
        yield "PAT token", lambda: authority.authenticate(bearer(mine.token))
        yield "access token", lambda: authority.authenticate(bearer(self.access))
        yield "wrong secret", lambda: authority.authenticate(basic(theirs.pat.id, self.wrong))
        yield "unknown access token", lambda: authority.authenticate(bearer(self.unknown))
        yield "unknown id", lambda: authority.authenticate(basic("0" * 32, self.wrong))
        yield "exchange", lambda: authority.exchange(mine.pat.id, mine.secret).scope
        yield "wrong exchange", lambda: authority.exchange(theirs.pat.id, self.wrong)
        yield "introspect", lambda: authority.introspect(self.access).active
        yield "introspect unknown", lambda: authority.introspect(self.unknown).active
        yield "revoke", lambda: authority.revoke(self.access)
        yield "revoke PAT", lambda: authority.revoke(theirs.token)
        yield "get", lambda: authority.get(mine.pat.id)
        yield "list own", lambda: [pat.id for pat in authority.list(owner_id="alice", sort="name")]
        yield "list all", lambda: [pat.id for pat in authority.list(count=True, filters='name co "i"')]
        yield "create", lambda: issue(authority, "new", owner=Owner("alice"), expires_in=day).pat.name
        yield "create again", lambda: issue(authority, "mine", owner=Owner("alice"), expires_in=day).pat.name
        yield "update", lambda: authority.update(mine.pat.id, name="renamed", expires_in=day)
        yield "patch many", lambda: patch_many(authority, [mine.pat.id, theirs.pat.id], SOONER)
        yield "rotate", lambda: authority.rotate(theirs.pat.id, overlap=timedelta(0)).pat
        yield "delete", lambda: authority.delete(theirs.pat.id)
        yield "disable", lambda: authority.disable(theirs.pat.id)
        yield "disable owner", lambda: authority.disable_owner("bob")
        yield "enable owner", lambda: authority.enable_owner("bob")
        yield "revoke owner", lambda: authority.revoke_owner("bob")
        yield "purge", authority.purge_access_tokens
        yield "sweep", lambda: [sum(part) for part in sweep(authority.operations.actor(None))]
        yield "ping", authority.ping

    def restore(self) -> None:
        """Put the store back to what it was."""
        with self.client.pipeline() as pipe:
            pipe.delete(*self.client.keys())
            for key, dumped in self.kept:
                pipe.restore(key, 0, dumped)
            pipe.execute()

    # -- making inputs --------------------------------------------------------------------------------

    def generate(self, chance: Random) -> Given:
        name = chance.choice(list(self.calls))
        count = len(self.heard[name])
        places = {chance.randrange(count + 2) for _ in range(chance.choice((1, 1, 1, 2)))} if count else {0}
        return name, {place: self.trouble(chance, name, place) for place in sorted(places)}

    def trouble(self, chance: Random, name: str, place: int) -> Trouble:
        heard = self.heard[name]
        reply = heard[place] if place < len(heard) else chance.choice(self.every)
        kind = chance.choice(KINDS)
        if kind == "spoiled":
            other = spoiled(chance, reply, self.every)
            return kind, 0, b"" if ENDLESS.search(other) else other
        if kind == "forged":
            return kind, 0, b"".join(chance.choices(FORGED, k=chance.choice((1, 1, 2, 3))))
        if kind == "answer of":
            return kind, 0, chance.choice(self.every)
        return kind, chance.randrange(len(reply) + 1), b""

    # -- judging --------------------------------------------------------------------------------------

    def judge(self, given: Given) -> str:
        name, trouble = given
        status, value = self.truth[name]
        self.line.begin(trouble)
        try:
            found, result = self.outcome(name)
        finally:
            broken = self.line.broken and not self.line.lied
            self.line.begin({})
            self.restore()
        assert found != "done" or status == "done", f"{name} is {status}, and passes"
        if isinstance(value, Principal) and found == "done":
            assert result.pat_id == value.pat_id, "as another PAT"
            # Nothing tells a record from one with a bit of its owner's id turned.
            if all(kind != "spoiled" for kind, _, _ in trouble.values()):
                assert result.subject.id == value.subject.id, "as somebody else"
        if name == "introspect unknown":
            assert result is not True, "an unknown token is active"
        if broken and name != "create":
            assert (found, result) == (status, value) or found == "unavailable", (found, result)
        again = self.authority.authenticate(basic_of(self.mine))
        assert again.pat_id == self.mine.pat.id
        with pytest.raises(PatAuthError) as refused:
            self.authority.authenticate(bearer(self.unknown))
        assert refused.value.status == 401
        return f"{name} {found}"

    def outcome(self, name: str) -> tuple[str, Any]:
        """Run an operation. Return how it ended, and its value."""
        try:
            return "done", self.calls[name]()
        except (StoreUnavailable, Overloaded):
            return "unavailable", None
        except PatAuthError as refusal:
            return type(refusal).__name__, None


class Line:
    """A line to a real server, whose replies get the trouble of an input by their number."""

    def __init__(self, path: str) -> None:
        self._real = socket.socket(socket.AF_UNIX)
        self._real.settimeout(60)
        self._real.connect(path)
        self.begin({})

    def close(self) -> None:
        """Close the real connection."""
        self._real.close()

    def begin(self, trouble: dict[int, Trouble]) -> None:
        """Count replies from 0 again."""
        self._trouble = trouble
        self.heard: list[bytes] = []
        self.broken = False  # whether a reply was one that nobody can read
        self.lied = False  # whether one was another that can be read

    def ask(self, sent: bytes) -> tuple[list[bytes], bool]:
        """Send commands. Return the bytes that come back, and whether the server then hangs up."""
        replies = self.replies(sent)
        whole = b"".join(replies)
        number = len(self.heard)
        self.heard.append(whole)
        kind, at, other = self._trouble.get(number, ("", 0, b""))
        if not kind:
            return [whole], False
        spoilt = {
            "cut": whole[:at],
            "hung up": whole[:at],
            "spoiled": other,
            "doubled": whole + whole,
            "dropped": b"".join(replies[:-1]),
            "reversed": b"".join(replies[::-1]),
            "forged": other,
            "earlier": self.heard[at % number] if number else whole,
            "answer of": other,
        }[kind]
        if not readable(spoilt, len(replies)):
            self.broken = True
        elif spoilt != whole:
            self.lied = True
        return [spoilt], kind == "hung up"

    def replies(self, sent: bytes) -> list[bytes]:
        """Return the true replies to commands, one by one."""
        reader = hiredis.Reader()
        reader.feed(sent)
        found = []
        while (command := reader.gets()) is not False:
            self._real.sendall(hiredis.pack_command(tuple(command)))
            found.append(self._one_reply())
        return found

    def _one_reply(self) -> bytes:
        reader, data = hiredis.Reader(replyError=str, notEnoughData=Ellipsis), b""
        while True:
            piece = self._real.recv(1 << 20)
            data += piece
            reader.feed(piece)
            if reader.gets() is not Ellipsis:
                return data


def readable(data: bytes, count: int) -> bool:
    """Return whether bytes are exactly so many replies."""
    reader = hiredis.Reader(replyError=str, notEnoughData=Ellipsis)
    reader.feed(data)
    try:
        found = [reader.gets() for _ in range(count)]
    except (hiredis.HiredisError, MemoryError):
        return False
    return Ellipsis not in found and not reader.has_data()


class Connection:
    """Stands in for redis-py's connection."""

    def __init__(self, line: Line) -> None:
        self._sock = Socket(line)

    def connect(self) -> None:
        """Do nothing: the line connects at its first use."""

    def disconnect(self) -> None:
        """Do nothing more with this one."""


class Socket:
    """Stands in for a socket to the server. What does not come is a timeout at once."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._left = b""
        self._sent = b""
        self._ends = False

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: nobody waits."""

    def sendall(self, data: bytes) -> None:
        (reply,), self._ends = self._line.ask(bytes(data))
        self._left += reply

    def send(self, data: bytes) -> int:
        """Take a piece of a large command, which `recv_into` sends on."""
        self._sent += data
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        if self._sent:
            sent, self._sent = self._sent, b""
            self.sendall(sent)
        if not self._left:
            if self._ends:
                return 0
            raise TimeoutError("timed out")
        piece, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)
