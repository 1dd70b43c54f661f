"""flask-jwt-extended and Flask-Limiter.

HS256, the fastest of its algorithms. Its documentation recommends a blocklist in Redis where tokens must be
revocable: one EXISTS of the `jti` (hiredis is installed). The view compares scopes, which the library leaves
to the application. Flask-Limiter counts in a fixed window, its cheapest strategy, by one script. Two round
trips.

Left out: owners that are disabled, rate limit fields.
"""

from __future__ import annotations

import secrets

import redis
from flask import Response
from flask_jwt_extended import JWTManager, create_access_token, get_jwt, jwt_required

from ..calls import SCOPE
from . import FEW_A_MINUTE, MUCH, Peer
from .flaskapp import BARE, View, bare_app, limiter_at, protected_app, report

NAME = "flask-jwt-extended + Flask-Limiter"


def open_at(socket: str) -> Peer:
    """The peer at a server."""
    client = redis.Redis(unix_socket_path=socket)
    limiter = limiter_at(socket)

    def open_view(endpoint: str) -> View:
        @jwt_required()
        def view() -> Response:
            if SCOPE not in get_jwt()["scope"].split():
                return Response("insufficient scope\n", 403)
            return report()

        view.__qualname__ = endpoint  # Flask-Limiter keeps limits by it
        return limiter.limit(MUCH if endpoint == "report" else FEW_A_MINUTE)(view)

    app = protected_app(open_view)
    app.config["JWT_SECRET_KEY"] = "for a benchmark, and for nothing else"
    manager = JWTManager(app)
    limiter.init_app(app)

    @manager.token_in_blocklist_loader
    def revoked(_: object, payload: dict[str, str]) -> bool:
        return bool(client.exists(f"blocklist:{payload['jti']}"))

    @manager.invalid_token_loader
    def invalid(_: str) -> tuple[str, int]:  # by default it answers 422
        return "invalid token\n", 401

    with app.app_context():
        token = create_access_token("alice", additional_claims={"scope": SCOPE})
    wrong = f"Bearer {token[:-40]}{secrets.token_urlsafe(30)}"
    return Peer(NAME, BARE, app, bare_app(), [f"Bearer {token}"], wrong, share=0.2)
