"""The application that a gunicorn worker of the part `throughput` loads: which, the environment says."""

from __future__ import annotations

import os

from patauth import PatAuthMiddleware

from . import peers
from .calls import App, bare
from .cases import REQUIRE, authority_at

WHICH, SOCKET = "BENCH_APP", "BENCH_SOCKET"
BARE, PATAUTH, BARE_FLASK, FLASK_PEER, AUTHLIB_PEER = "bare", "patauth", "bare-flask", "flask", "authlib"


def app() -> App:
    """The application, in the process that serves it."""
    which, socket = os.environ[WHICH], os.environ[SOCKET]
    if which == BARE:
        return bare
    if which == PATAUTH:
        return PatAuthMiddleware(bare, authority_at(f"unix://{socket}"), require=REQUIRE)
    if which == BARE_FLASK:
        from .peers.flaskapp import bare_app  # no worker but this one need load Flask

        return bare_app()
    return peers.open_peer({FLASK_PEER: peers.FLASK_HTTPAUTH, AUTHLIB_PEER: peers.AUTHLIB}[which], socket).app
