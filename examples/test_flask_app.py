"""Tests of flask_app.py, through its gate: pytest examples/test_flask_app.py"""

import pytest
from flask_app import create_app


@pytest.fixture
def client(patauth_authority):
    return create_app(patauth_authority).test_client()


def test_what_is_public_takes_no_token(client):
    assert client.get("/").json == {"public": True}
    assert client.get("/me").status_code == 401


def test_reading_and_writing_take_scopes_of_their_own(client, patauth_headers):
    reader, writer = patauth_headers("reports:read"), patauth_headers("reports:write", owner_id="bob")
    assert client.get("/me", headers=reader).json["scopes"] == ["reports:read"]
    assert client.get("/reports", headers=reader).status_code == 200
    assert client.get("/reports", headers=writer).status_code == 403
    assert client.post("/reports", headers=reader, json={}).status_code == 403
    assert client.post("/reports", headers=writer, json={"q": 3}).status_code == 201
    assert client.get("/reports", headers=patauth_headers()).status_code == 403
