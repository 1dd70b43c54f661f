"""Tests of plain_wsgi.py, through its gate: pytest examples/test_plain_wsgi.py"""

import pytest
from plain_wsgi import protect
from werkzeug.test import Client


@pytest.fixture
def client(patauth_authority):
    return Client(protect(patauth_authority))


def test_what_is_public_takes_no_token(client):
    assert client.get("/healthz").json == {"path": "/healthz", "caller": None}
    assert client.get("/reports/1").status_code == 401


def test_reading_and_writing_take_scopes_of_their_own(client, patauth_headers):
    reader = patauth_headers("reports:read", owner_id="bob")
    writer = patauth_headers("reports:read", "reports:write")
    assert client.get("/reports/1", headers=reader).json["caller"] == "bob"
    assert client.post("/reports/1", headers=reader).status_code == 403
    assert client.post("/reports/1", headers=writer).json["caller"] == "alice"
    assert client.delete("/reports/1", headers=writer).status_code == 403, "there is no rule for it"
    assert client.get("/elsewhere", headers=patauth_headers()).status_code == 200
