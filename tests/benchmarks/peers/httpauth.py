"""Flask-HTTPAuth's token scheme and Flask-Limiter.

The token's SHA-256 is looked up by one GET of JSON (hiredis is installed); its scopes are the user's roles,
which Flask-HTTPAuth compares. Flask-Limiter counts in a fixed window, its cheapest strategy, by one script.
Two round trips. `limits[redis]` asks for redis < 8, but the plain `limits`, which Flask-Limiter takes, does
not, and works with redis-py 8.

Left out: revocation other than by deleting the key, expiry other than by its TTL, owners that are disabled.
A second application has rate limit fields too, as patauth sends them, which costs Flask-Limiter two more
round trips.
"""

from __future__ import annotations

import json
import secrets
from hashlib import sha256
from typing import Any

import redis
from flask import Flask, Response
from flask_httpauth import HTTPTokenAuth

from ..calls import SCOPE
from . import FEW_A_MINUTE, MUCH, Peer
from .flaskapp import BARE, View, bare_app, limiter_at, protected_app, report

NAME = "Flask-HTTPAuth + Flask-Limiter"


def open_at(socket: str) -> Peer:
    """The peer at a server."""
    return _open(socket, NAME, fields=False)


def open_with_fields(socket: str) -> Peer:
    """The same with X-RateLimit fields and Retry-After on each answer."""
    return _open(socket, f"{NAME}, with fields", fields=True)


def _open(socket: str, name: str, *, fields: bool) -> Peer:
    client = redis.Redis(unix_socket_path=socket)
    token = secrets.token_urlsafe(32)
    user = {"id": "alice", "scopes": [SCOPE]}
    client.set(_key(token), json.dumps(user), ex=3600)
    app = _protected(socket, client, fields)
    wrong = f"Bearer {secrets.token_urlsafe(32)}"
    return Peer(name, BARE, app, bare_app(), [f"Bearer {token}"], wrong, share=0.2)


def _protected(socket: str, client: redis.Redis, fields: bool) -> Flask:
    auth = HTTPTokenAuth(scheme="Bearer")
    limiter = limiter_at(socket, fields=fields)

    @auth.verify_token
    def verify(token: str) -> dict[str, Any] | None:
        found = client.get(_key(token))
        return None if found is None else json.loads(found)

    @auth.get_user_roles
    def roles(user: dict[str, Any]) -> list[str]:
        return user["scopes"]

    def open_view(endpoint: str) -> View:
        def view() -> Response:
            return report()

        view.__qualname__ = endpoint  # Flask-Limiter keeps limits by it
        quota = MUCH if endpoint == "report" else FEW_A_MINUTE
        return limiter.limit(quota)(auth.login_required(role=SCOPE)(view))

    app = protected_app(open_view)
    limiter.init_app(app)
    return app


def _key(token: str) -> str:
    return "httpauth:" + sha256(token.encode()).hexdigest()
