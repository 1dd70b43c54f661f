"""What tests do to PATs past the library: forged index entries, 10 000 PATs, events between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from patauth import Authority, StoreUnavailable
from patauth.crypto.keyring import Keyring
from patauth.model.dates import DAY
from patauth.model.instants import NEVER
from patauth.model.pat_id import PatId
from patauth.store.keys import Keys
from patauth.store.record import PatRecord, pack, pack_entry
from patauth.store.scripts import Scripts
from patauth.store.tenant_index import Index, TenantIndex
from tests.support.acl import logged_out
from tests.support.authorities import issue, patient
from tests.support.clocks import NOW
from tests.support.internals import VERSION, store_of, transport_of

INDEXES: tuple[Index, ...] = ("created", "lastUsed", "expirationDate")


def send(authority: Authority, *commands: tuple[Any, ...]) -> list[Any]:
    """Commands of the test's own, past everything, by a user who may run all of them."""
    return _of_anybody(authority).call(commands)


def _of_anybody(authority: Authority) -> Scripts:
    url = authority.settings.store_url
    return store_of(authority)._scripts if url == "memory:" else _of_default_user(logged_out(url))


@cache
def _of_default_user(url: str) -> Scripts:
    return store_of(patient(url))._scripts


def keys_of(authority: Authority) -> Keys:
    return Keys(authority.settings.key_prefix, authority.settings.tenant)


def owner_keys(authority: Authority, owner_id: str = "alice") -> list[bytes]:
    """The keys that name an owner, of all keys that the store has for this test."""
    return keys_like(authority, f"{authority.settings.key_prefix}:*{owner_id}*".encode())


def keys_like(authority: Authority, pattern: bytes) -> list[bytes]:
    """The keys of all servers of a store that match a pattern."""
    servers = _of_anybody(authority).parts()
    return sorted(key for server, _ in servers for key in server.call([("KEYS", pattern)])[0])


def index_keys(authority: Authority) -> dict[Index, bytes]:
    keys = keys_of(authority)
    return {
        "created": keys.tenant_created,
        "lastUsed": keys.tenant_used,
        "expirationDate": keys.tenant_expires,
    }


def held(authority: Authority, index: Index) -> dict[str, int]:
    """What an index holds."""
    (flat,) = send(authority, ("ZRANGE", index_keys(authority)[index], 0, -1, "WITHSCORES"))
    return {member.hex(): int(float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)}


def marks(authority: Authority) -> list[bytes]:
    (found,) = send(authority, ("ZRANGE", keys_of(authority).tenant_marks, 0, -1))
    return list(found)


def forge(authority: Authority, created_ms: int, number: int = 0, expires_ms: int = NEVER) -> PatId:
    """An entry without a record, as a creation that was cut short leaves it."""
    (pat_id,) = forge_all(authority, [(number, created_ms, expires_ms)])
    return pat_id


def forge_all(authority: Authority, entries: Iterable[tuple[int, int, int]]) -> list[PatId]:
    """Entries without a record, of each: its number, its creation and its expiry (ms)."""
    keys, made, commands = keys_of(authority), [], []
    for number, created_ms, expires_ms in entries:
        made.append(PatId(f"{number:08x}" + "ab" * 12))
        commands += [
            ("ZADD", keys.tenant_created, created_ms, made[-1].raw),
            ("ZADD", keys.tenant_used, 0, made[-1].raw),
            ("ZADD", keys.tenant_expires, expires_ms, made[-1].raw),
        ]
    for at in range(0, len(commands), 3000):
        send(authority, *commands[at : at + 3000])
    return made


@contextmanager
def cut_after(authority: Authority, count: int) -> Iterator[list[int]]:
    """The process dies after so many commands: nothing is sent any more. Yields how many were left then."""
    with cut_off(transport_of(authority), count) as left:
        yield left


@contextmanager
def cut_off(transport: Any, count: int) -> Iterator[list[int]]:
    """A transport sends so many commands, and then none any more. Yields how many are left."""
    call, left = transport.call, [count]

    def cut(commands: Sequence[tuple[Any, ...]], deadline: float, **given: Any) -> list[Any]:
        some = commands[: max(0, left[0])]
        left[0] -= len(commands)
        replies = call(some, deadline, **given) if some else []
        if left[0] < 0:
            raise StoreUnavailable(detail="cut")
        return replies

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transport, "call", cut)
        with suppress(StoreUnavailable):
            yield left


def sizes_of_calls(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that gets, for each call from now on, its commands and the words of its longest one."""
    sizes: list[tuple[int, int]] = []
    transport = transport_of(authority)
    call = transport.call

    def measuring(commands: Sequence[tuple[Any, ...]], *given: Any, **named: Any) -> list[Any]:
        sizes.append((len(commands), max(map(len, commands))))
        return call(commands, *given, **named)

    monkeypatch.setattr(transport, "call", measuring)
    return sizes


def lose(authority: Authority, pat_id: str) -> None:
    """The record of a PAT goes, as by its TTL."""
    send(authority, ("DEL", keys_of(authority).pat(PatId(pat_id))))


def after_reading(authority: Authority, event: Callable[[], object]) -> None:
    """Once, as soon as a listing of the tenant has read records, this happens."""
    records = TenantIndex.records
    patched = pytest.MonkeyPatch()

    def read(*given: Any) -> Any:
        found = records(*given)
        patched.undo()
        event()
        return found

    patched.setattr(TenantIndex, "records", read)


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def record_of(authority: Authority, pat_id: str) -> PatRecord:
    """The record of a PAT, as it is in the store."""
    (record,) = store_of(authority).pats.read([PatId(pat_id)])
    assert record is not None
    return record


@cache
def owners_of_one_tag() -> tuple[str, str]:
    """Two owners that share an owner tag under the key of 32 zero bytes; found, not made up."""
    ring = Keyring(bytes(32))
    seen: dict[str, str] = {}
    for number in range(10**6):
        owner_id = f"owner-{number}"
        tag = ring.owner_tag("default", owner_id)
        if tag in seen:
            return seen[tag], owner_id
        seen[tag] = owner_id
    raise AssertionError("none of a million")


def round_trips(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets one line for each round trip from now on: the names of its commands."""
    trips: list[str] = []
    transport = transport_of(authority)
    call = transport.call

    def counting(commands: Sequence[tuple[Any, ...]], *given: Any, **named: Any) -> list[Any]:
        trips.append(" ".join(sorted({str(command[0]) for command in commands})))
        return call(commands, *given, **named)

    monkeypatch.setattr(transport, "call", counting)
    return trips


def fill_owner(authority: Authority, count: int) -> None:
    """So many PATs of one owner, made past the front door.

    All but the newest 60 expire within the week, each third of them tomorrow.
    """
    issued = issue(authority, "first")
    record, keys = record_of(authority, issued.pat.id), keys_of(authority)
    owner, commands = keys.owner(issued.pat.id[:8], "alice"), []
    for number in range(count - 1):
        pat = replace(
            record.pat,
            id=f"{issued.pat.id[:8]}{number:024x}",
            name=f"n{number}",
            created_ms=record.pat.created_ms + number + 1,
            expires_ms=NOW + (300 if number >= count - 60 else 6 if number % 3 else 1) * DAY + number,
        )
        entry = pack_entry(pat)
        commands += [
            ("SET", keys.pat(PatId(pat.id)), pack(PatRecord(pat, record.secrets), VERSION)),
            ("HSET", owner.names, entry[18:], entry),
            ("ZADD", owner.created, 0, entry),
            ("ZADD", owner.expires, pat.expires_ms, entry),
        ]
    for at in range(0, len(commands), 4000):
        send(authority, *commands[at : at + 4000])
