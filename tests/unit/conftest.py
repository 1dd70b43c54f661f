"""Unit tests have one engine, or none."""

from __future__ import annotations

import pytest


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The wheel's server: what these tests say is said of one module, and no engine has a part in it."""
    return str(getattr(request, "param", "valkey"))
