"""What docs/moving-from.md says of clients for Node.js, unmodified, before a service that has a path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from patauth import Authority
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, issue
from tests.support.npm import run
from tests.support.processes import free_port
from tests.support.rights import MY_MANAGE
from tests.support.wsgi import serving


@pytest.fixture
def authority(make_at: Make) -> Iterator[Authority]:
    """One that is served, at its issuer."""
    port = free_port()
    authority = make_at(
        issuer=f"http://127.0.0.1:{port}/auth", path_prefix="/auth", surfaces=["oauth", "isc"]
    )
    with serving(Standalone(authority), port=port):
        yield authority


@pytest.fixture
def environment(authority: Authority) -> dict[str, str]:
    """What tells a client where patauth is, and who calls."""
    issued = issue(authority, scope=["reports:read", MY_MANAGE], never_expires=True)
    return {
        "SAIL_BASE_URL": str(authority.settings.issuer),
        "SAIL_CLIENT_ID": issued.pat.id,
        "SAIL_CLIENT_SECRET": issued.secret,
    }


def test_identity_security_clouds_sdk_works_in_each_of_its_versions(environment: dict[str, str]) -> None:
    (told,) = run("sailpoint.mjs", **environment)
    assert list(told) == ["v3", "beta", "v2024"]
    for version, one in told.items():
        assert one.pop("secret").startswith("pats_")
        assert one == {
            "seconds": 600, "renamed": f"{version} renamed", "listed": True,
            "removed": 204, "missing": "404 Not found",
        }  # fmt: skip


def test_openid_client_finds_the_endpoints_and_uses_them(environment: dict[str, str]) -> None:
    (told,) = run("openid_client.mjs", **environment)
    assert told == {
        "type": "bearer", "scope": "reports:read", "active": True, "subject": "alice", "after": False,
        "refused": "invalid_scope",
    }  # fmt: skip
