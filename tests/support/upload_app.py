"""What gunicorn serves in tests of refused uploads: 401 for all but /ok, without reading the request."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from typing import Any

from patauth import Authority, PatAuthMiddleware

BODY = b'{"error": "unauthorized"}'

for _ in range(20):  # as an app has that works in the background
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def without_patauth(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as an application of one's own does."""
    if environ["PATH_INFO"] == "/ok":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    start_response("401 Unauthorized", [("Content-Length", str(len(BODY))), ("WWW-Authenticate", "Bearer")])
    return [BODY]


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "store 'memory:'")
    with_patauth = PatAuthMiddleware(without_patauth, Authority.from_url("memory:"), public=["/ok"])
