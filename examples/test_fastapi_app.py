"""Tests of fastapi_app.py, through its gate: pytest examples/test_fastapi_app.py

They need FastAPI's client of tests, too: pip install httpx2
"""

import pytest
from fastapi.testclient import TestClient
from fastapi_app import create_app
from starlette.testclient import WebSocketDenialResponse


@pytest.fixture
def client(patauth_authority):
    return TestClient(create_app(patauth_authority))


def test_what_is_public_takes_no_token(client):
    assert client.get("/healthz").json() == {"ok": True}
    assert client.get("/me").status_code == 401


def test_the_feed_takes_nobody_or_somebody_who_is_known(client, patauth_headers):
    assert client.get("/feed").json() == {"for": None}
    assert client.get("/feed", headers=patauth_headers()).json()["for"] == "alice"
    assert client.get("/feed", headers={"Authorization": "Bearer x"}).status_code == 401


def test_reading_and_writing_take_scopes_of_their_own(client, patauth_headers):
    reader, writer = patauth_headers("reports:read"), patauth_headers("reports:write", owner_id="bob")
    assert client.get("/me", headers=reader).json()["scopes"] == ["reports:read"]
    assert client.get("/reports", headers=reader).status_code == 200
    assert client.get("/reports", headers=writer).status_code == 403
    assert client.post("/reports", headers=reader, json={}).status_code == 403
    assert client.post("/reports", headers=writer, json={"q": 3}).status_code == 201


def test_the_websocket_takes_a_reader(client, patauth_headers):
    with client.websocket_connect("/reports/live", headers=patauth_headers("reports:read")) as socket:
        socket.send_text("Q3")
        assert socket.receive_json()["seen"] == "Q3"
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/reports/live", headers=patauth_headers()),
    ):
        pass
    assert refused.value.status_code == 403
