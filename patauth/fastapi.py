"""patauth for FastAPI: dependencies behind `patauth.asgi.PatAuthMiddleware`.

    import patauth
    from fastapi import FastAPI
    from patauth.asgi import PatAuthMiddleware
    from patauth.fastapi import Principal, requires

    authority = patauth.Authority.from_url("local:./patauth-data")
    app = FastAPI()
    app.add_middleware(PatAuthMiddleware, authority=authority, public=["/docs", "/openapi.json"])

    @app.get("/me")
    def me(principal: Principal):
        return {"hello": principal.subject.name}

    @app.get("/reports", dependencies=[requires("reports:read")])
    def reports():
        return {"reports": ["Q1", "Q2"]}

The middleware verifies credentials. A dependency hands over the caller, or demands scopes, and says in
/openapi.json how to authenticate. It works for WebSockets, too. A refusal is that of the middleware: its
status, challenges and body, whatever handlers of errors the application has.
"""

# The annotations are no texts here: FastAPI looks for the names of texts in functions alone.
import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from .asgi.connection import CONNECTION, Connection
from .model import caller
from .model.scopes import check
from .wsgi.frameworks import of_extra
from .wsgi.require import not_passed

with of_extra("fastapi"):
    from fastapi import Depends, HTTPException, Security, params
    from fastapi.openapi.models import HTTPBase, HTTPBearer
    from fastapi.requests import HTTPConnection
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase

__all__ = ["OptionalPrincipal", "Principal", "requires"]


class _Scheme(SecurityBase):
    """Describes in OpenAPI how to authenticate, and reads nothing: the middleware has read it."""

    def __init__(self, name: str, model: HTTPBase) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        pass


_BEARER = _Scheme("PatAuthBearer", HTTPBearer(description="a PAT token or an access token"))
_BASIC = _Scheme("PatAuthBasic", HTTPBase(scheme="basic", description="the id of a PAT and its secret"))


class _Requirement(params.Security):
    """A dependency of FastAPI's by itself, and what `Depends` and `Security` take.

    So a forgotten `Depends` leaves nothing open. Whatever else calls it, such as Python where it decorates a
    function, gets an error.
    """

    def __init__(self, demand: Callable[..., Awaitable[caller.Principal]]) -> None:
        super().__init__(self)
        self._demand: Callable[..., Awaitable[caller.Principal]]
        # From these FastAPI learns the arguments, and that it must await what `__call__` returns. The base is
        # frozen, but for `vars`.
        vars(self).update(_demand=demand, __wrapped__=demand, __call__=demand)

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # FastAPI caches by it

    def __call__(self, connection: object, **more: Any) -> Awaitable[caller.Principal]:
        if not isinstance(connection, HTTPConnection):
            raise TypeError(
                'patauth.fastapi.requires is no decorator; write @app.get("/", dependencies=[requires("a")])'
            )
        asyncio.get_running_loop()  # an error in a thread, where nobody would await the demand
        return self._demand(connection, **more)


def requires(*scopes: str) -> Any:
    """Return a dependency that answers 401 or 403 unless the caller holds all of these scopes.

    It returns the verified `patauth.Principal`, and stands in `dependencies`, in `Annotated` or as a default,
    with or without `Depends` or `Security`, whose own scopes are demanded, too. Where the middleware leaves a
    path public or optional, and there is no principal, the answer is 401. Raise `InvalidScope` for a
    malformed scope. The dependency raises `RuntimeError` if the connection has not passed the middleware, and
    `TypeError` if it decorates a function or gets what is no connection of Starlette's.
    """
    demanded = check(scopes)

    async def demand(
        connection: HTTPConnection,
        more: SecurityScopes,
        bearer: None = Security(_BEARER, scopes=demanded),
        basic: None = Security(_BASIC, scopes=demanded),
    ) -> caller.Principal:
        passed = _passed(connection)
        refusal = await passed.demand(check([*demanded, *more.scopes]))
        if refusal is not None or passed.principal is None:
            raise HTTPException(401 if refusal is None else refusal.status)
        return passed.principal

    return _Requirement(demand)


async def _optional(
    connection: HTTPConnection,
    bearer: None = Security(_BEARER),
    basic: None = Security(_BASIC),
) -> caller.Principal | None:
    return _passed(connection).principal


def _passed(connection: HTTPConnection) -> Connection:
    passed = connection.scope.get(CONNECTION)
    if not isinstance(passed, Connection):
        raise not_passed("call app.add_middleware(patauth.asgi.PatAuthMiddleware, authority=authority)")
    return passed


Principal = Annotated[caller.Principal, Depends(requires())]
"""The verified caller, as the type of an argument: `def me(principal: Principal)`. Without one it is 401."""

OptionalPrincipal = Annotated[caller.Principal | None, Depends(_optional)]
"""The verified caller; None without credentials on an optional path, and on each public path."""
