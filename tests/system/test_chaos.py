"""Kill -9 under load: gunicorn (2 workers of 4 threads) on `local:`, 16 clients, engine or workers killed.

By default a small run. The full one: CHAOS_REQUESTS=10000 CHAOS_KILLS=20 pytest -s tests/system/test_chaos.py
"""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from patauth import Authority, IssuedPat, NotFound, Owner, StoreUnavailable
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import basic_of
from tests.support.gunicorn import Service
from tests.support.servers import until

CLIENTS = 16
REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "5000"))
KILLS = int(os.environ.get("CHAOS_KILLS", "3"))
PROMISED = {200, 401, 429, 503}
PATIENCE = 2.0  # s until everything works again after a kill


@dataclass
class Holder:
    """A PAT, what it can be used with, and what is known of its life, in seconds of one clock."""

    issued: IssuedPat
    credentials: list[str]
    deleting: float = float("inf")  # when its deletion was first asked for
    deleted: float = float("inf")  # when that was acknowledged


@dataclass
class Tally:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    cut: int = 0  # connections that ended without an answer
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Storm:
    """16 clients, somebody who makes and deletes PATs, and somebody who kills."""

    def __init__(self, service: Service, authority: Authority) -> None:
        self.service, self.authority = service, authority
        self.tally = Tally()
        self.limited_admitted = 0
        self.holders: list[Holder] = []
        self.limited = self.make("limited", quota=None)
        self.steady = self.make("steady")
        self._left = itertools.count()
        self._lock = threading.Lock()

    def make(self, name: str, quota: str | None = "100000/1") -> Holder:
        issued = self.authority.create(
            owner=Owner(f"o{name}"), name=name, scope=["reports:read"], expires_in=timedelta(hours=1),
            request_quota=quota,
        )  # fmt: skip
        return Holder(issued, [f"Bearer {issued.token}", basic_of(issued)])

    # -- the clients ------------------------------------------------------------------------------------

    def client(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=10)
        mine = Tally()
        admitted = 0
        for turn in itertools.count(number):
            if next(self._left) >= REQUESTS:
                break
            holder = self.limited if number < CLIENTS // 2 else self.steady
            if number % 2 and self.holders:
                holder = self.holders[-1 - turn % min(len(self.holders), 8)]
            credential = holder.credentials[turn % len(holder.credentials)]
            began = time.monotonic()
            try:
                connection.request("GET", "/me", headers={"Authorization": credential})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                mine.cut += 1
                connection.close()
                continue
            ended = time.monotonic()
            mine.statuses[answer.status] += 1
            mine.seconds.append(ended - began)
            admitted += answer.status == 200 and holder is self.limited
            if answer.status == 200 and began > holder.deleted:
                mine.wrong.append(f"accepted {began - holder.deleted:.3f} s after its deletion")
            if answer.status == 401 and ended < holder.deleting:
                mine.wrong.append("401 for a PAT that is good")
            if answer.status in (429, 503) and int(answer.headers.get("Retry-After", "0")) < 1:
                mine.wrong.append(f"{answer.status} without Retry-After")
            if answer.status == 503:
                time.sleep(0.02)  # or the whole run is over before the engine is back
        connection.close()
        with self._lock:
            self.limited_admitted += admitted
            self.tally.statuses += mine.statuses
            self.tally.cut += mine.cut
            self.tally.wrong += mine.wrong
            self.tally.seconds += mine.seconds

    # -- who makes and deletes -------------------------------------------------------------------------

    def manage(self, done: threading.Event) -> None:
        for number in itertools.count():
            if done.is_set():
                return
            try:
                holder = self.make(f"n{number}")
            except StoreUnavailable:
                time.sleep(0.05)
                continue
            try:
                access = self.authority.exchange(holder.issued.pat.id, holder.issued.secret)
                holder.credentials.append(f"Bearer {access.value}")
            except StoreUnavailable:
                pass  # without an access token, then
            self.holders.append(holder)
            if number % 2:
                self.delete(self.holders[number // 2 % len(self.holders)])
            time.sleep(0.01)

    def delete(self, holder: Holder) -> None:
        if holder.deleting == float("inf"):
            holder.deleting = time.monotonic()
        while holder.deleted == float("inf"):
            try:
                self.authority.delete(holder.issued.pat.id)
            except StoreUnavailable:
                time.sleep(0.05)  # not known: repeat it
                continue
            except NotFound:
                pass
            holder.deleted = time.monotonic()

    # -- who kills -------------------------------------------------------------------------------------

    def kill(self, victims: Callable[[], set[int]], done: threading.Event) -> int:
        """Kill -9 one after another, evenly over the run, each once there is a new one."""
        killed: set[int] = set()
        while len(killed) < KILLS and not done.is_set():
            progress = int(repr(self._left)[len("count(") : -1]) / REQUESTS
            fresh = victims() - killed
            if fresh and progress * (KILLS + 1) > len(killed) + 0.5:
                victim = min(fresh)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
            time.sleep(0.01)
        return len(killed)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)
    LocalEngine(tmp_path / "store").stop()


@pytest.mark.parametrize("whom", ["engine", "worker"])
def test_kills_under_load_break_no_promise(service: Service, tmp_path: Path, whom: str) -> None:
    """Only promised answers, no accept of a revoked PAT, the quota kept, all that was acknowledged true."""

    def engine() -> set[int]:
        try:
            return {int((tmp_path / "store" / "engine.pid").read_text().split()[0])}
        except (OSError, ValueError, IndexError):
            return set()

    with Authority.from_url(service.environ["PATAUTH_STORE_URL"]) as authority:
        storm, done, began = Storm(service, authority), threading.Event(), time.monotonic()
        clients = [
            threading.Thread(target=storm.client, args=(number,), daemon=True) for number in range(CLIENTS)
        ]
        manager = threading.Thread(target=storm.manage, args=(done,), daemon=True)
        killed: list[int] = []
        killer = threading.Thread(
            target=lambda: killed.append(storm.kill(engine if whom == "engine" else service.workers, done)),
            daemon=True,
        )
        for thread in (manager, killer, *clients):
            thread.start()
        for thread in clients:
            thread.join(120)
        seconds = time.monotonic() - began
        done.set()
        manager.join()
        killer.join()

        tally = storm.tally
        answered = sorted(tally.seconds)
        deleted = [holder for holder in storm.holders if holder.deleted < float("inf")]
        print(
            f"\n{whom}: {killed[0]} kills, {sum(tally.statuses.values())} answers in {seconds:.1f} s:"
            f" {dict(sorted(tally.statuses.items()))}, {tally.cut} cut;"
            f" p50 {answered[len(answered) // 2]:.3f} p99 {answered[len(answered) * 99 // 100]:.3f}"
            f" max {answered[-1]:.3f} s; limited PAT {storm.limited_admitted} <= {100 + 10 * seconds:.0f};"
            f" {len(storm.holders)} made,"
            f" {len(deleted)} deleted; wrong: {len(tally.wrong)} {tally.wrong[:3]}"
        )
        assert killed == [KILLS]
        assert tally.wrong == []
        assert set(tally.statuses) <= PROMISED
        assert tally.statuses[200] > REQUESTS / 10
        assert storm.limited_admitted <= 100 + 10 * seconds
        assert sum(tally.statuses.values()) + tally.cut == REQUESTS
        # Only who is killed cuts connections: those that it had, at most.
        assert tally.cut <= (0 if whom == "engine" else KILLS * CLIENTS)

        back = time.monotonic()
        steady = {"Authorization": storm.steady.credentials[0]}
        until(lambda: service.get("/me", headers=steady).status_code == 200)
        assert time.monotonic() - back < PATIENCE
        assert len(storm.holders) > 5
        assert deleted
        for holder in storm.holders:
            expected = {401, 429} if holder.deleted < float("inf") else {200}
            for credential in holder.credentials:
                assert service.get("/me", headers={"Authorization": credential}).status_code in expected
            if expected == {200}:
                assert authority.get(holder.issued.pat.id).state == "active"
            else:
                with pytest.raises(NotFound):
                    authority.get(holder.issued.pat.id)
