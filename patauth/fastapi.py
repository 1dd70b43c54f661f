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

The middleware verifies credentials. A dependency returns the caller, or demands scopes, and tells
/openapi.json how to authenticate. It works for WebSockets, too. A refusal has the status, challenges and body
of the middleware's refusals, whatever error handlers the application has.
"""

# The annotations must not be texts here: FastAPI resolves text annotations only in functions.
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
    """Describes in OpenAPI how to authenticate. It reads no credentials: the middleware has read them."""

    def __init__(self, name: str, model: HTTPBase) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        pass


_BEARER = _Scheme("PatAuthBearer", HTTPBearer(description="a PAT token or an access token"))
_BASIC = _Scheme("PatAuthBasic", HTTPBase(scheme="basic", description="the id of a PAT and its secret"))


class _Requirement(params.Security):
    """Works as a dependency by itself, and as an argument of `Depends` and `Security`.

    So a forgotten `Depends` leaves nothing open. Any other use, such as `@requires(…)` on a function, gets an
    error.
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
        asyncio.get_running_loop()  # raises in a thread, where nobody would await the demand
        return self._demand(connection, **more)


def requires(*scopes: str) -> Any:
    """Return a dependency that answers 401 or 403 unless the caller holds all of these scopes.

    The dependency returns the verified `patauth.Principal`. Put it into `dependencies`, into `Annotated` or
    as a default, with or without `Depends` or `Security`; scopes of `Security` are demanded, too. On a public
    or optional path without a principal, the answer is 401. Raise `InvalidScope` for a malformed scope. The
    dependency raises `RuntimeError` if the connection has not passed the middleware, and `TypeError` if it
    decorates a function or gets anything but a connection of Starlette.
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
