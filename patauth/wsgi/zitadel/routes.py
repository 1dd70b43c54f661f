"""The paths of ZITADEL's management API, in both versions, and their operations.

    v1.py    /management/v1/users/{userId}/pats...
    v2.py    /v2/users/...
    both     /zitadel.….…Service/{method}, over Connect and gRPC-web (forms.py)

A user is the owner of PATs, and an organisation a tenant; the field `x-zitadel-orgid` names one. The
operations decide who may do what.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ...errors import PatAuthError
from ...model.caller import Caller
from ...operations.permissions import Actor
from ..answers import Answer
from ..api.respond import respond
from ..routing import Route, Routes
from ..site import Site
from . import v1, v2
from .call import Operation, acting
from .errors import refusal
from .fields import request_of
from .forms import REST, Form, form_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Every method that can be called, by its path.
METHODS: dict[str, Operation] = {
    service.SERVICE + name: operation for service in (v1, v2) for name, operation in service.METHODS.items()
}


def routes(site: Site) -> Routes:
    """Return the routes of both versions."""

    def rest(operations: Mapping[str, Operation], user_id: str = "", token_id: str = "") -> Route:
        ids = {name: value for name, value in (("userId", user_id), ("tokenId", token_id)) if value}
        return lambda environ: _answered(environ, site, REST, operations, ids)

    def find_v1(rest_of_path: str) -> Route | None:
        match rest_of_path.split("/"):
            case [user_id, "pats"] if user_id:
                return rest({"POST": v1.ADD}, user_id)
            case [user_id, "pats", "_search"] if user_id:
                return rest({"POST": v1.SEARCH}, user_id)
            case [user_id, "pats", token_id] if user_id and token_id:
                return rest({"GET": v1.GET, "DELETE": v1.REMOVE}, user_id, token_id)
        return None

    def find_v2(rest_of_path: str) -> Route | None:
        match rest_of_path.split("/"):
            case [user_id, "pats"] if user_id:
                return rest({"POST": v2.ADD}, user_id)
            case [user_id, "pats", token_id] if user_id and token_id:
                return rest({"DELETE": v2.REMOVE}, user_id, token_id)
        return None

    prefix = site.settings.path_prefix
    fixed: dict[str, Route] = {prefix + method: partial(call, site=site, method=method) for method in METHODS}
    fixed[f"{prefix}{v2.PATH}pats/search"] = rest({"POST": v2.SEARCH})
    return Routes(fixed, {prefix + v1.PATH: find_v1, prefix + v2.PATH: find_v2})


def call(environ: WSGIEnvironment, site: Site, method: str, form: Form | None = None) -> Answer:
    """Return the answer to a call of a method, in the form that its media type names unless one is given."""
    return _answered(environ, site, form or form_of(environ), {"POST": METHODS[method]}, {}, method)


def _answered(
    environ: WSGIEnvironment,
    site: Site,
    form: Form,
    operations: Mapping[str, Operation],
    ids: Mapping[str, str],
    method: str = "",
) -> Answer:
    def act(operation: Operation, actor: Actor) -> Answer:
        request = request_of(form.read(environ, method), operation.request, ids)
        return form.done(operation.run(actor, request), method)

    def actor(caller: Caller) -> Actor:
        organisation = environ.get("HTTP_X_ZITADEL_ORGID")
        return acting(site.operations, caller, organisation, site.confirm(environ))

    def refused(error: PatAuthError) -> Answer:
        return form.refused(refusal(error, site.challenges))

    by_verb = {verb: partial(act, operation) for verb, operation in operations.items()}
    ending = bool(method) and METHODS[method].ending
    return respond(environ, site, by_verb, actor, refused, ending=ending)
