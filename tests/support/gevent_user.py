"""Use patauth under gevent in a process of its own: `python -m tests.support.gevent_user crowd|stopped`.

The first line of standard input is JSON with `url`, `prefix`, `settings`, `callers` and `seconds`; `crowd`
also takes `ways`, and `stopped` takes `greenlets`. The program writes a line of JSON with the answers that it
got. `stopped` then waits for a second line of input, and writes another line that shows whether it recovered.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - patch before other imports
import logging  # noqa: E402
import random  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import weakref  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import gevent.socket  # noqa: E402

from patauth import Authority, Settings  # noqa: E402
from patauth.crypto.profiles import PROFILES  # noqa: E402
from tests.support.callers import SETTINGS, Caller, Crowd, Tally  # noqa: E402

connected: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class Counted(gevent.socket.socket):
    """A socket. `most` is how many have been open at the same time in this process."""

    most = 0

    def connect(self, address: Any) -> None:
        super().connect(address)
        connected.add(self)
        Counted.most = max(self.most, sum(one.fileno() >= 0 for one in connected))


socket.socket = Counted


def crowd(authority: Authority, callers: list[Caller], given: dict[str, Any]) -> Tally:
    """Run one greenlet for each caller, all at the same time. A refused caller asks again later."""
    tally = Tally()
    end = time.monotonic() + given["seconds"]

    def live(number: int) -> None:
        mine, chance = Crowd(authority, [callers[number]]), random.Random(number)
        while mine.step(chance, tally, given["ways"]) != 200 and time.monotonic() < end:
            gevent.sleep(chance.uniform(0.1, 1))

    gevent.joinall([gevent.spawn(live, number) for number in range(len(callers))], raise_error=True)
    return tally


def stopped(authority: Authority, callers: list[Caller], given: dict[str, Any]) -> Tally:
    """Run greenlets that ask as random callers. A Timeout stops many of their requests."""
    tally = Tally()
    all_of_them = Crowd(authority, callers)
    end = time.monotonic() + given["seconds"]

    def live(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            try:
                with gevent.Timeout(chance.uniform(0.0005, 0.05)):
                    status = all_of_them.step(chance, tally, ["look"] if number % 2 else None)
            except gevent.Timeout:
                tally.stopped += 1
                status = 503
            except Exception as problem:
                tally.wrong.append(f"{type(problem).__name__}: {problem}")
                return
            gevent.sleep(0.005 if status == 503 else 0)

    gevent.joinall([gevent.spawn(live, number) for number in range(given["greenlets"])], raise_error=True)
    return tally


def recovered(authority: Authority, callers: list[Caller], greenlets: int) -> Tally:
    """Ask as each caller until it works; then run `greenlets` greenlets at the same time, for 1.5 s."""
    tally, chance = Tally(), random.Random(0)
    end = time.monotonic() + 10
    for caller in callers:
        mine = Crowd(authority, [caller])
        while mine.step(chance, tally) != 200 and time.monotonic() < end:
            gevent.sleep(0.05)
    well = Tally()
    all_of_them = Crowd(authority, callers)
    end = time.monotonic() + 1.5

    def live(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            all_of_them.step(chance, well, ["bearer"])

    gevent.joinall([gevent.spawn(live, number) for number in range(greenlets)], raise_error=True)
    well.wrong += tally.wrong
    return well


def main() -> None:
    given = json.loads(sys.stdin.readline())
    logging.disable()
    settings = Settings.of(
        store_url=given["url"],
        key_prefix=given["prefix"],
        hash_profile=PROFILES["testing"],
        **given["settings"],
        **SETTINGS,
    )
    callers = [Caller.of_json(caller) for caller in given["callers"]]
    with Authority(settings) as authority:
        if sys.argv[1] == "crowd":
            tell(crowd(authority, callers, given))
        else:
            tell(stopped(authority, callers, given))
            sys.stdin.readline()  # no more requests are stopped
            tell(recovered(authority, callers, settings.max_connections + 4))


def tell(tally: Tally) -> None:
    found = {"statuses": tally.statuses, "wrong": tally.wrong, "stopped": tally.stopped, "open": Counted.most}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
