"""Django is set up before anything imports a model, a view or Django REST framework."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from patauth import Authority, IssuedPat
from tests.support import django_site  # noqa: F401 - sets Django up
from tests.support.authorities import issue


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Django logs each refusal as a warning."""
    caplog.set_level(logging.CRITICAL, "django")


@pytest.fixture
def changes() -> Iterator[list[str]]:
    """What views have changed: names of users."""
    from tests.support.django_views import changes

    changes.clear()
    yield changes
    changes.clear()


@pytest.fixture
def issued(real: Authority) -> IssuedPat:
    return issue(real)
