"""A plugin of pytest: fixtures that test an app behind patauth. pytest finds it by itself.

    def test_reports(client, patauth_headers):
        assert client.get("/reports").status_code == 401
        assert client.get("/reports", headers=patauth_headers("reports:read")).status_code == 200

The app gets `patauth_authority` where it has its own Authority in production. Requests then pass the same
gate as there, with PATs that are made for the test. docs/how-to/testing.md shows it for each framework.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .authority import Authority

# The fixtures import the rest of patauth, because each run of pytest imports this module, even if no test
# uses it.

_ROOMY = "1000000/1"
# With these settings no quota and no maximum disturbs a test.
_SETTINGS = {
    "max_pats_per_owner": 1_000,
    **dict.fromkeys(
        ("request_quota", "exchange_quota", "create_quota", "person_quota", "failure_quota"), _ROOMY
    ),
}
_LIFE = 30 * 86_400  # s; a shorter life would add a warning to the answers
_NO_SCOPE = "patauth.testing:nothing"  # a PAT has at least one
_numbers = itertools.count(1)


@pytest.fixture
def patauth_settings() -> dict[str, Any]:
    """Return more settings for `patauth_authority`; none by default.

    Override it to return some, such as `{"token_headers": ["X-API-Key"]}`. The store is always `memory:`.
    """
    return {}


@pytest.fixture
def patauth_authority(patauth_settings: dict[str, Any]) -> Iterator[Authority]:
    """Yield an Authority on an empty `memory:` store, with quick hashes and wide quotas.

    Override it to return the app's own Authority. Fail the test if the settings name another store. Raise
    `ConfigurationError` for a wrong setting.
    """
    from .authority import Authority
    from .crypto.profiles import PROFILES

    given = {"store_url": "memory:", "hash_profile": PROFILES["testing"], **_SETTINGS, **patauth_settings}
    _check_store("patauth_settings", given["store_url"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "store 'memory:'")
        authority = Authority.from_url(**given)
    with authority:
        yield authority


@pytest.fixture
def patauth_headers(patauth_authority: Authority) -> Iterator[Callable[..., dict[str, str]]]:
    """Yield a function that makes a PAT, and returns the header fields which a client sends with it.

    Its arguments are the scopes of the PAT, and `owner_id`, "alice" by default. A PAT without scopes is good,
    and opens only paths that demand none. The PATs end with the test. Fail the test if the store is not
    `memory:`, so that no test makes PATs in a real store.
    """
    from .errors import NotFound
    from .model.pat import Owner
    from .model.rights import ROTATE_SELF

    settings = patauth_authority.settings
    _check_store("patauth_authority", settings.store_url)
    # With a catalogue, a PAT can have only its scopes and rights, and this is the least of the rights.
    nothing = _NO_SCOPE if settings.scopes is None else ROTATE_SELF
    life = timedelta(seconds=min(_LIFE, settings.max_lifetime or _LIFE))
    made = []

    def headers(*scopes: str, owner_id: str = "alice") -> dict[str, str]:
        issued = patauth_authority.create(
            owner=Owner(owner_id),
            name=f"patauth_headers {next(_numbers)}",
            scope=scopes or [nothing],
            expires_in=life,
        )
        made.append(issued.pat.id)
        return {"Authorization": f"Bearer {issued.token}"}

    yield headers
    # The app's own Authority may serve all tests, and the number of an owner's PATs is limited.
    for pat_id in made:
        with suppress(NotFound):
            patauth_authority.delete(pat_id)


def _check_store(fixture: str, store_url: str) -> None:
    from .store.url import StoreUrl

    if StoreUrl.read(store_url).engine != "memory":
        # A traceback would show the URL, which may contain a password.
        pytest.fail(
            f"{fixture}: tests make PATs in a memory: store alone; name it as store_url", pytrace=False
        )
