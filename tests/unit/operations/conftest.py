"""What tests of changes begin with: an Authority on a clock that stands still, and its audit trail."""

from __future__ import annotations

import pytest

from patauth import Authority
from tests.support.authorities import Make
from tests.support.clocks import Clock


@pytest.fixture
def keeper(make_at: Make, clock: Clock) -> Authority:
    """An Authority whose quotas and bounds are in nobody's way."""
    enough = "1000000/1"
    return make_at(clock=clock, max_pats_per_owner=1000, create_quota=enough, request_quota=enough)
