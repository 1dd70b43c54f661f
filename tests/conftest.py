"""The engines that tests run on, and what most of them begin with."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from patauth import Authority
from patauth.jwt.key_files import SigningKeys
from patauth.store import asking
from tests.support.acl import AT_SENTINELS, BEHIND_SENTINELS, EVENTS, ON_NODE, logged_in
from tests.support.authorities import Make, maker
from tests.support.clocks import NOW, Clock
from tests.support.clusters import running_cluster
from tests.support.paths import ROOT
from tests.support.sentinels import running_sentinels
from tests.support.servers import ALONE, CLUSTER, SENTINEL, Server, binaries, engines
from tests.support.signing import JWT_MODE

# Each example talks to real engines: no deadline, and function-scoped fixtures are meant.
settings.register_profile(
    "engines",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# For tests/mutation.py: the same examples each time, no failure made smaller, nothing kept for the next run.
settings.register_profile(
    "mutation",
    settings.get_profile("engines"),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("engines")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the tests and what they import: it all stays until the end of the run.

    From then on, look for it seldom: at the usual threshold that is a tenth of the run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(50_000)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Look for the garbage of a module when it is done, and never again among what stays of it.

    pytest and Hypothesis keep so much that looking through it all takes half a second in the end.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


SYSTEM = ROOT / "tests" / "system"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave tests/system/ unread in a run that would run none of it: its imports take seconds."""
    return True if collection_path == SYSTEM and config.option.markexpr == "not system" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/system/, which `pytest -m system` runs."""
    for item in items:
        if item.path.is_relative_to(SYSTEM):
            item.add_marker("system")


# They begin as the keys do that the documents give patauth's user.
_prefixes = (f"patauth:test{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One server of each kind, or a cluster, or a server behind Sentinels, for the whole run.

    Tests are kept apart by key_prefix. Their URLs log in as the user that the documents make, with those
    rights and no other; clients of the tests' own are the default user.
    """
    # What they keep is for nobody: rewriting a file that grows with each test, and waiting for a busy disk,
    # would only stall a test now and then for longer than a request may take.
    idle = ("--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
    if CLUSTER:
        folder = tmp_path_factory.mktemp("cluster")
        with running_cluster(binaries()[CLUSTER], folder, *idle, "--user", *ON_NODE, *EVENTS[2:]) as cluster:
            cluster.url = logged_in(cluster.url)
            yield dict.fromkeys(binaries(), cluster)
        return
    if SENTINEL:
        folder = tmp_path_factory.mktemp("sentinels")
        user = " ".join(["user", *AT_SENTINELS])
        # A test may keep a server busy for a while; nothing is to take its place.
        with running_sentinels(
            binaries()[SENTINEL],
            folder,
            *idle,
            "--user",
            *BEHIND_SENTINELS,
            *EVENTS[2:],
            down_after=60.0,
            lines=[user],
        ) as sentinels:
            sentinels.url = logged_in(sentinels.url)
            yield dict.fromkeys(binaries(), sentinels)
        return
    running = {}
    for name, binary in binaries().items():
        running[name] = Server(binary, tmp_path_factory.mktemp(name), *idle, "--user", *EVENTS)
        running[name].url = logged_in(running[name].url)
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=engines() if ALONE else ["memory", *engines()])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn: fakeredis, the wheel's Valkey, redis-server."""
    return str(request.param)


@pytest.fixture
def store_url(engine: str, servers: dict[str, Server]) -> str:
    return "memory:" if engine == "memory" else servers[engine].url


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    """The wheel's server, where one real engine is enough for the claim."""
    return servers["valkey"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prefix() -> str:
    """A key_prefix of this test's own."""
    return next(_prefixes)


@pytest.fixture
def make(store_url: str, prefix: str) -> Iterator[Make]:
    """Makes Authorities on each engine in turn; with `clock=…` on a given clock."""
    with maker(store_url, prefix) as make_one:
        yield make_one


@pytest.fixture
def fresh(make: Make, clock: Clock) -> Make:
    """Makes Authorities on each engine, each with a store and a beginning of its own: for rows of a table."""

    def make_one(**given: Any) -> Authority:
        clock.now = NOW
        return make(**{"clock": clock, "key_prefix": next(_prefixes), **given})

    return make_one


@pytest.fixture
def make_at(server: Server, prefix: str) -> Iterator[Make]:
    """Makes Authorities on the wheel's server, or on the one at `url=…`."""
    with maker(server.url, prefix) as make_one:
        yield make_one


@pytest.fixture
def authority(make: Make, clock: Clock) -> Authority:
    """An Authority on each engine, on the test's clock."""
    return make(clock=clock)


@pytest.fixture
def real(make_at: Make) -> Authority:
    """An Authority on the wheel's server and on its own clock."""
    return make_at()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the shell that runs the tests."""
    for name in [name for name in os.environ if name.startswith("PATAUTH_")] + ["NO_COLOR"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory with one key that signs access tokens."""
    SigningKeys(tmp_path / "keys").rotate()
    return tmp_path / "keys"


@pytest.fixture
def signing(make: Make, keys: Path) -> Make:
    """Makes Authorities that sign access tokens."""
    return lambda **given: make(**{**JWT_MODE, "keys": str(keys), **given})


@pytest.fixture
def signed(signing: Make, clock: Clock) -> Authority:
    """An Authority that signs, on the test's clock."""
    return signing(clock=clock)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the ends of credentials have waited (s), without the wait."""
    waited: list[float] = []
    monkeypatch.setattr(asking, "sleep", waited.append)
    return waited


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """The audit trail since it was last asked for, without what all events have: time, id and tenant."""
    caplog.set_level(logging.INFO, "patauth.audit")

    def since() -> list[dict[str, Any]]:
        found = [json.loads(one.getMessage()) for one in caplog.records if one.name == "patauth.audit"]
        caplog.clear()
        for event in found:
            assert [event.pop(name) != "" for name in ("time", "id", "tenant")] == [True] * 3
        return found

    return since
