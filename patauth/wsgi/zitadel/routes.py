"""The paths of ZITADEL's management API, in both versions, and their operations.

    v1.py    /management/v1/users/{userId}/pats...
    v2.py    /v2/users/..., and over Connect /zitadel.user.v2.UserService/...

A user is the owner of PATs, and an organisation a tenant; the field `x-zitadel-orgid` names one. The
operations decide who may do what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import PatAuthError
from ...model.caller import Caller
from ..answers import Answer
from ..api.respond import respond
from ..routing import Route, Routes
from ..site import Site
from . import v1, v2
from .call import Call, Operation, admitted
from .errors import zitadel_error

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def routes(site: Site) -> Routes:
    """Return the routes of both versions."""

    def route(
        operations: Mapping[str, Operation], user_id: str = "", token_id: str = "", *, connect: bool = False
    ) -> Route:
        def answer(environ: WSGIEnvironment) -> Answer:
            def call(caller: Caller) -> Call:
                return admitted(environ, site.operations, caller, user_id, token_id)

            def render(error: PatAuthError) -> Answer:
                return zitadel_error(error, site.challenges, connect=connect)

            return respond(environ, site, operations, call, render)

        return answer

    def find_v1(rest: str) -> Route | None:
        match rest.split("/"):
            case [user_id, "pats"] if user_id:
                return route(v1.COLLECTION, user_id)
            case [user_id, "pats", "_search"] if user_id:
                return route(v1.SEARCH, user_id)
            case [user_id, "pats", token_id] if user_id and token_id:
                return route(v1.ONE, user_id, token_id)
        return None

    def find_v2(rest: str) -> Route | None:
        match rest.split("/"):
            case [user_id, "pats"] if user_id:
                return route(v2.COLLECTION, user_id)
            case [user_id, "pats", token_id] if user_id and token_id:
                return route(v2.ONE, user_id, token_id)
        return None

    prefix = site.settings.path_prefix
    fixed = {f"{prefix}{v2.PATH}pats/search": route(v2.SEARCH)}
    for name, operation in v2.CONNECT.items():
        fixed[f"{prefix}{v2.SERVICE}{name}"] = route({"POST": operation}, connect=True)
    return Routes(fixed, {prefix + v1.PATH: find_v1, prefix + v2.PATH: find_v2})
