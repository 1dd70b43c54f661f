"""The Flask application that three of the peers protect."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from flask import Flask, Response, request
from flask_limiter import Limiter

from ..calls import BODY, LIMITED, PATH

View = Callable[[], Response]
BARE = "bare Flask app"


def report() -> Response:
    """The view that is protected."""
    return Response(BODY, mimetype="text/plain")


def bare_app() -> Flask:
    """Without protection."""
    app = Flask("bare")
    app.add_url_rule(PATH, "report", report)
    return app


def protected_app(open_view: Callable[[str], View]) -> Flask:
    """With `report` behind what `open_view` puts before it: for a quota that is large, and for a small one.

    `open_view` gets the endpoint, "report" or "limited".
    """
    app = Flask("peer")
    for path, endpoint in ((PATH, "report"), (LIMITED, "limited")):
        app.add_url_rule(path, endpoint, open_view(endpoint))
    return app


def limiter_at(socket: str, *, fields: bool = False) -> Limiter:
    """Flask-Limiter with its fastest strategy, a quota for each bearer token. `fields`: X-RateLimit-*."""
    return Limiter(
        _token_digest, storage_uri=f"redis+unix://{socket}", strategy="fixed-window", headers_enabled=fields
    )


def _token_digest() -> str:
    # Flask-Limiter comes before the view and who protects it. The token itself is no name for a key.
    return sha256(request.headers.get("Authorization", "").encode()).hexdigest()
