"""The tests of the project, by pytest-django. The fixtures with `patauth_` come from patauth's own plugin.

    cd examples/django_project && pytest

They need pip install 'patauth[django,memory]' djangorestframework pytest-django.
"""

import pytest
from django.contrib.auth.models import User


@pytest.fixture(autouse=True)
def authority(settings, patauth_authority):
    settings.PATAUTH_AUTHORITY = patauth_authority


@pytest.mark.parametrize("path", ["/reports", "/reports/later"])
def test_views_take_a_token_that_may_read_reports(db, client, patauth_headers, path):
    User.objects.create_user("alice")
    assert client.get(path).status_code == 401
    assert client.get(path, headers=patauth_headers()).status_code == 403
    assert client.get(path, headers=patauth_headers("reports:read")).json()["for"] == "alice"


def test_so_do_those_of_django_rest_framework_for_a_user(db, client, patauth_headers):
    headers = patauth_headers("reports:read", "reports:write")
    assert client.get("/api/reports", headers=headers).status_code == 403, "alice is no user"
    User.objects.create_user("alice")
    assert client.get("/api/reports").status_code == 401
    assert client.get("/api/reports", headers=headers).json()["reports"] == ["Q1", "Q2"]
    assert client.post("/api/reports", headers=headers).json() == {"made by": "alice"}
    assert client.post("/api/reports", headers=patauth_headers("reports:read")).status_code == 403


def test_a_token_counts_and_the_session_that_comes_with_it_does_not(db, client, patauth_headers):
    User.objects.create_user("bot")
    assert client.get("/").json() == {"hello": "nobody"}
    client.force_login(User.objects.create_user("alice"))
    assert client.get("/").json() == {"hello": "alice"}
    assert client.get("/", headers=patauth_headers(owner_id="bot")).json() == {"hello": "bot"}
    assert client.get("/", headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.get("/reports").status_code == 401, "a session opens nothing but optional paths"
