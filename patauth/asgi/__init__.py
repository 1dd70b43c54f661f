"""patauth for ASGI applications: Starlette, FastAPI and others, on an event loop of asyncio.

    app = patauth.asgi.PatAuthMiddleware(app, authority, public=["/healthz"])
    app.add_middleware(patauth.asgi.PatAuthMiddleware, authority=authority)      # in Starlette and FastAPI

The gate, its rules and its answers are those of `patauth.PatAuthMiddleware`.
"""

from .middleware import PatAuthMiddleware

__all__ = ["PatAuthMiddleware"]
