"""What tests of real servers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium
from tests.support.cli import local_store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `local:` store for this module, kept running."""
    with local_store(tmp_path_factory.mktemp("system") / "data") as store_url:
        yield store_url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for a module whose tests open pages. Other modules may use `asyncio.run`."""
    with chromium() as running:
        yield running
