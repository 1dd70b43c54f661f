"""The part `scale`: what a PAT takes in memory, and whether many of them make anything slower."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import redis

from patauth import Owner
from patauth.crypto.profiles import PROFILES
from patauth.model.pat_id import PatId
from patauth.store.keys import Keys
from tests.support.servers import Server

from .calls import SCOPE
from .cases import authority_at, basic
from .fill import EACH, Known, fill
from .measure import Case, Pinning, Timing, take_turns
from .report import Goal, Part, Table, engine_of

PAGE = 50
_SAMPLE = 200  # PATs that take turns
_PREFIX, _TENANT = "patauth", "default"

RECORD, TOKEN_RECORD, GROWTH = "PAT record", "access token record", "all that the server took, per PAT"


class Store:
    """A server with so many PATs, and an Authority at it."""

    def __init__(self, server: Server, pats: int) -> None:
        self.pats = pats
        before = _used_memory(server)
        known = fill(server.url, pats)
        self.growth = (_used_memory(server) - before) / pats  # bytes
        # Few of them all, since each is used today.
        self.known = random.Random(pats).sample(known, min(_SAMPLE, pats // 50))
        self._server = server
        self.authority = authority_at(server.url, hash_profile=PROFILES["testing"])
        self.tokens = [self.authority.exchange(one.pat_id, one.secret).value for one in self.known]
        self._made: list[str] = []
        self._numbers = itertools.count()

    def check(self) -> None:
        """Check that all PATs are there, and that those of the sample are right."""
        assert self.authority.list(limit=1, count=True).total == self.pats
        for one in self.known:
            pat = self.authority.get(one.pat_id)
            assert (pat.owner.id, pat.scope) == (one.owner_id, (SCOPE,))
            assert len(self.authority.list(owner_id=one.owner_id)) == EACH
        for found in (self._page(), self._by_use()):
            assert len(found) == PAGE

    def bytes_of(self) -> dict[str, float]:
        """Bytes per PAT, or of one record: means of a sample, by MEMORY USAGE."""
        keys = Keys(_PREFIX, _TENANT)
        with self._server.client() as client:

            def mean(name: Callable[[Known], bytes]) -> float:
                return sum(_memory(client, name(one)) for one in self.known) / len(self.known)

            def owner_key(at: int) -> Callable[[Known], bytes]:
                return lambda one: keys.owner(one.pat_id[:8], one.owner_id).indexes[at]

            digests = {
                one.pat_id: sha256(token.encode()).digest()
                for one, token in zip(self.known, self.tokens, strict=True)
            }
            indexes = (keys.tenant_created, keys.tenant_used, keys.tenant_expires)
            return {
                RECORD: mean(lambda one: keys.pat(PatId(one.pat_id))),
                TOKEN_RECORD: mean(lambda one: keys.access_token(PatId(one.pat_id), digests[one.pat_id])),
                "owner indexes, per PAT": sum(mean(owner_key(at)) for at in range(3)) / EACH,
                "tenant indexes, per PAT": sum(_memory(client, key) for key in indexes) / self.pats,
                GROWTH: self.growth,
            }

    def cases(self) -> list[Case]:
        """What is timed at each size."""
        authority = self.authority
        tokens = itertools.cycle([f"Bearer {token}" for token in self.tokens])
        pairs = itertools.cycle([basic(one.pat_id, one.secret) for one in self.known])
        owners = itertools.cycle([one.owner_id for one in self.known])
        timed: list[tuple[str, Callable[[], object], float]] = [
            ("access token", lambda: authority.authenticate(next(tokens)), 1.0),
            ("Basic, proof cached", lambda: authority.authenticate(next(pairs)), 1.0),
            (f"page of {PAGE} of the tenant", self._page, 0.1),
            ("all of one owner", lambda: authority.list(owner_id=next(owners), limit=PAGE), 0.3),
            (f"first {PAGE} by lastUsed le", self._by_use, 0.1),
        ]
        cases = [Case(f"{name}, {self.pats}", call, share) for name, call, share in timed]
        return [Case(f"create, {self.pats}", self._create, 0.2, after=self._delete_made), *cases]

    def _create(self) -> None:
        owner = Owner(f"new{next(self._numbers)}")
        issued = self.authority.create(owner=owner, name="ci", scope=[SCOPE], never_expires=True)
        self._made.append(issued.pat.id)

    def _delete_made(self) -> None:
        while self._made:
            self.authority.delete(self._made.pop())

    def _page(self) -> Sequence[object]:
        return self.authority.list(limit=PAGE)

    def _by_use(self) -> Sequence[object]:
        instant = datetime.now(UTC) - timedelta(days=180)
        return self.authority.list(filters=f"lastUsed le {instant:%Y-%m-%dT%H:%M:%SZ}", limit=PAGE)


def run(
    servers: Callable[[ExitStack], Server], sizes: Sequence[int], pinning: Pinning, *, rounds: int, calls: int
) -> Part:
    """Fill a server for each size, keep all of them, and let them take turns."""
    with ExitStack() as stack:
        stores = []
        for pats in sorted(sizes):
            server = servers(stack)
            store = Store(server, pats)
            stack.callback(store.authority.close)
            store.check()
            stores.append((server, store))
        pinning.pin_client()
        stack.callback(pinning.undo)
        for server, _ in stores:
            pinning.pin_server(server.process.pid)
        sized = {store.pats: store.bytes_of() for _, store in stores}
        by_store = [store.cases() for _, store in stores]
        turns = [case for same in zip(*by_store, strict=True) for case in same]
        timings = take_turns(turns, rounds=rounds, calls=calls)
        engine = engine_of(stores[0][0])
    return _part(engine, pinning, sized, timings, rounds)


def _part(
    engine: str,
    pinning: Pinning,
    sized: Mapping[int, Mapping[str, float]],
    timings: Mapping[str, Timing],
    rounds: int,
) -> Part:
    sizes = sorted(sized)
    least, most = sizes[0], sizes[-1]
    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in timings))
    times = {name: {size: timings[f"{name}, {size}"].median for size in sizes} for name in names}
    goals = [
        Goal("G5", f"bytes of a {RECORD} at {most}", sized[most][RECORD], 320),
        Goal("G5", f"bytes of an {TOKEN_RECORD} at {most}", sized[most][TOKEN_RECORD], 260),
        *(
            Goal("G5", f"{name}: {most} / {least}", found[most] / found[least], 1.20)
            for name, found in times.items()
        ),
    ]
    heads = [f"{size:,} PATs".replace(",", " ") for size in sizes]
    method = (
        f"{engine} on a unix socket, one server for each size, without persistence; {pinning} while it is"
        f" timed. PATs were made by `Authority.create`, {EACH} for each owner, and four of five used by"
        " `verify_basic`, with a clock that moves through a year and the hash profile `testing`: argon2 is"
        " not what is asked. All of them expire, later. Bytes: MEMORY USAGE, the mean of"
        f" {_SAMPLE} records, or the whole of an index by a sample of its entries; what the server's own"
        f" tables take is in the last line alone. Times: medians of {rounds} rounds in which all sizes take"
        f" turns; the credentials of {_SAMPLE} PATs take turns, too. What `create` made is deleted after each"
        " round."
    )
    return Part(
        "scale",
        method,
        [
            Table(
                "Size of a PAT, bytes",
                ("what", *heads),
                [(name, *(sized[s][name] for s in sizes)) for name in sized[most]],
            ),
            Table(
                "Many PATs, µs of a call",
                ("what", *heads, "last / first"),
                [(name, *found.values(), found[most] / found[least]) for name, found in times.items()],
            ),
        ],
        {
            "engine": engine,
            "bytes": {str(size): dict(found) for size, found in sized.items()},
            "cases": {name: one.as_json() for name, one in timings.items()},
        },
        goals,
    )


def _used_memory(server: Server) -> int:
    with server.client() as client:
        info: dict[str, Any] = client.info("memory")
    return int(info["used_memory"])


def _memory(client: redis.Redis, key: bytes) -> int:
    found: Any = client.memory_usage(key, samples=1000)
    assert found is not None, key
    return int(found)
