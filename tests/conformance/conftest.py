"""Conformance tests have one engine."""

from __future__ import annotations

import pytest


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Use the server of the wheel: clients and standards only see HTTP, which is the same on each engine."""
    return str(getattr(request, "param", "valkey"))
