"""An Authority with room for many PATs and requests, and clients of the API with the usual rights."""

from __future__ import annotations

import pytest

from patauth import Authority, Owner
from tests.support.authorities import Make, issue
from tests.support.clocks import Clock
from tests.support.zitadel import ALL, MY, Api


@pytest.fixture
def authority(make_at: Make, clock: Clock) -> Authority:
    return make_at(clock=clock, max_pats_per_owner=200, request_quota="1000000/1")


@pytest.fixture
def api(authority: Authority) -> Api:
    return Api(authority, issue(authority, "maker", scope=[MY, "reports:read"], never_expires=True))


@pytest.fixture
def admin(authority: Authority) -> Api:
    scope = [ALL, "reports:read"]
    return Api(authority, issue(authority, "root", owner=Owner("root"), scope=scope, never_expires=True))
