"""Unit tests have one engine, or none."""

from __future__ import annotations

import pytest


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Use the server of the wheel: these tests are about one module, and the engine makes no difference."""
    return str(getattr(request, "param", "valkey"))
