"""Others that do the same job, each in the best configuration that is fair.

The job: a bearer token is looked up in the same server over the same unix socket, the scope `reports:read`
is checked, a rate limit of each token is charged in the same server, and the answer is 200 with a body. What
one does beyond that, or leaves out, stands in its module.

None of them records a last use, and none sends rate limit fields unless its module says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from ..calls import FEW, LIMITED, App, answers

MUCH = "1000000 per 1 second"
FEW_A_MINUTE = f"{FEW} per 1 minute"


@dataclass(frozen=True, slots=True)
class Peer:
    """An application that somebody else protects.

    `bare`: the same without protection. `authorizations`: of good tokens; timed in turn. `wrong`: of a token
    that is not known. `LIMITED` lets `FEW` requests of a token through in a minute. `share`: see `Case`.
    """

    name: str
    bare_name: str
    app: App
    bare: App
    authorizations: Sequence[str]
    wrong: str
    share: float

    def check(self) -> None:
        """It lets in who may come in, and nobody else, and limits. Raises `WrongAnswer`."""
        good = self.authorizations[0]
        answers(self.bare, None, 200)
        answers(self.app, good, 200)
        answers(self.app, None, 401)
        answers(self.app, self.wrong, 401)
        for _ in range(FEW):
            answers(self.app, good, 200, LIMITED)
        answers(self.app, good, 429, LIMITED)


FLASK_HTTPAUTH = "httpauth"
AUTHLIB = "oauthresource"
FLASK_JWT = "jwtextended"
KNOX = "knoxtokens"
PEERS = (FLASK_HTTPAUTH, AUTHLIB, FLASK_JWT, KNOX)


def open_peer(module: str, socket: str) -> Peer:
    """One of `PEERS` at the server on a unix socket. It writes its tokens there."""
    make: Callable[[str], Peer] = import_module(f".{module}", __name__).open_at
    return make(socket)
