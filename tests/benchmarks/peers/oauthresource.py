"""Authlib's ResourceProtector in its Flask integration, and `limits` in the view.

A BearerTokenValidator looks the token's SHA-256 up by one GET of JSON (hiredis is installed); Authlib asks
the token whether it is expired or revoked, and compares scopes. `limits` counts in a fixed window, its
cheapest strategy, by one script and by the token's owner and name. Two round trips. The plain `limits` works
with redis-py 8; only its extra `redis` asks for less.

Left out: owners that are disabled, rate limit fields.
"""

from __future__ import annotations

import json
import secrets
import time
import warnings
from hashlib import sha256

import redis
from flask import Response
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from ..calls import SCOPE
from . import FEW_A_MINUTE, MUCH, Peer
from .flaskapp import BARE, View, bare_app, protected_app, report

with warnings.catch_warnings(action="ignore"):  # of authlib, about a part of authlib
    from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
    from authlib.oauth2.rfc6750 import BearerTokenValidator

NAME = "Authlib ResourceProtector + limits"


class Token:
    """What Authlib asks of a token."""

    __slots__ = ("expires", "name", "scope")

    def __init__(self, name: str, scope: str, expires: float) -> None:
        self.name = name
        self.scope = scope
        self.expires = expires  # s since 1970

    def is_expired(self) -> bool:
        return time.time() > self.expires

    def is_revoked(self) -> bool:
        return False

    def get_scope(self) -> str:
        return self.scope


class Validator(BearerTokenValidator):
    """Looks tokens up."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client

    def authenticate_token(self, token_string: str) -> Token | None:
        found = self._client.get(_key(token_string))
        return None if found is None else Token(**json.loads(found))


def open_at(socket: str) -> Peer:
    """The peer at a server."""
    client = redis.Redis(unix_socket_path=socket)
    token = secrets.token_urlsafe(32)
    record = {"name": "alice/ci", "scope": SCOPE, "expires": time.time() + 3600}
    client.set(_key(token), json.dumps(record), ex=3600)

    require_oauth = ResourceProtector()
    require_oauth.register_token_validator(Validator(client))
    limiter = FixedWindowRateLimiter(RedisStorage(f"redis+unix://{socket}"))

    def open_view(endpoint: str) -> View:
        quota = parse(MUCH if endpoint == "report" else FEW_A_MINUTE)

        @require_oauth(SCOPE)
        def view() -> Response:
            if not limiter.hit(quota, endpoint, current_token.name):
                return Response("too many requests\n", 429)
            return report()

        return view

    wrong = f"Bearer {secrets.token_urlsafe(32)}"
    return Peer(NAME, BARE, protected_app(open_view), bare_app(), [f"Bearer {token}"], wrong, share=0.2)


def _key(token: str) -> str:
    return "authlib:" + sha256(token.encode()).hexdigest()
