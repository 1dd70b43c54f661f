"""The system checks: each mistake has its row, and a right project has none."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks

from patauth import Authority
from patauth.django.rest import HasScopes
from tests.support.django_site import instead, site
from tests.support.tables import each

READS = HasScopes("reports:read")


class Reads(HasScopes):
    def __init__(self) -> None:
        super().__init__("reports:read")


def found(authority: Authority | None, **given: Any) -> list[str]:
    with site(authority, **given):
        return [message.id.removeprefix("patauth.") for message in run_checks() if "patauth" in message.id]


def permissions(*names: str) -> dict[str, Any]:
    return {"REST_FRAMEWORK": {"DEFAULT_PERMISSION_CLASSES": list(names)}}


def test_a_right_project_has_no_messages(real: Authority) -> None:
    """Nobody listens on port 1: the store is not asked."""
    assert found(real) == []
    assert found(None, store_url="redis://127.0.0.1:1/0") == []


@each(
    "ids, given",
    [
        (["E004"], {"public": ["no-slash"]}),
        (["E004"], {"cors": ["https://a.example"]}),
        (["E004"], {"on_refusal": 3}),
        (["E004"], {"user": "tests.support.django_site.nobody"}),
        (["E004"], {"user": "tests.support.django_site.user_later"}),
        (["E004"], {"user": 3}),
        (["W001"], {"pubic": ["/healthz"]}),
        (
            ["W002"],
            {
                "MIDDLEWARE": [
                    *instead("nothing"), "django.contrib.auth.middleware.LoginRequiredMiddleware",
                ]
            },
        ),
        (["W002"], permissions("rest_framework.permissions.IsAuthenticated")),
        (["E006"], permissions("patauth.django.rest.HasScopes")),
        ([], permissions(f"{__name__}.READS", f"{__name__}.Reads")),
    ],
)  # fmt: skip
def test_each_mistake_is_found(real: Authority, ids: list[str], given: dict[str, Any]) -> None:
    assert found(real, **given) == ids


@each(
    "given",
    [
        {"store_url": None},
        {"store_url": "ftp://x"},
        {"store_url": "redis://127.0.0.1:1/0", "request_quota": "many"},
        {"store_url": "redis://127.0.0.1:1/0", "identify": "no.such:function"},
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_without_a_connection(given: dict[str, Any]) -> None:
    assert found(None, **given) == ["E004"]


def test_no_message_repeats_a_secret() -> None:
    with site(None, store_url="redis://:hunter2@127.0.0.1:1/x", secret_key="hunter2"):
        messages = run_checks()
    assert messages
    assert "hunter2" not in repr(messages)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATAUTH_STORE_URL", raising=False)
