"""Conformance tests have one engine."""

from __future__ import annotations

import pytest


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The wheel's server: what clients and standards ask is asked of HTTP, and the same on each engine."""
    return str(getattr(request, "param", "valkey"))
