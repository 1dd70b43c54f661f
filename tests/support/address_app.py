"""A WSGI application that says whose address it sees, behind one proxy on a Unix socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from patauth.model.address import UNIX
from patauth.wsgi.request import client_address


def create() -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        address = client_address(1, (UNIX,), environ)
        return [json.dumps([address.charged, address.known]).encode()]

    return app
