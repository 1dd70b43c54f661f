"""Turn the scope of an ASGI connection into an environ of PEP 3333, which gate and routes read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from io import BytesIO
from typing import Any

Scope = MutableMapping[str, Any]
Headers = Iterable[tuple[bytes, bytes]]

_NAMES = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_SCHEMES = {"ws": "http", "wss": "https"}


def environ_of(scope: Scope) -> dict[str, Any]:
    """Return the environ of an HTTP request or of a WebSocket's handshake, without its body.

    A header is left out if its name has `_`: in an environ it would have the name of another header.
    """
    mount, path = _mounted(scope)
    server = scope.get("server") or ("", None)
    scheme = scope.get("scheme", "http")
    environ = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": spelled(mount),
        "PATH_INFO": spelled(path),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or ""),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.url_scheme": _SCHEMES.get(scheme, scheme),
        "wsgi.input": BytesIO(),
    }
    for name, value in scope["headers"]:
        key = _key(name)
        if key is not None:
            text = value.decode("latin-1")
            joint = "; " if key == "HTTP_COOKIE" else ","
            environ[key] = f"{environ[key]}{joint}{text}" if key in environ else text
    return environ


def kept(headers: Headers, environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a scope that are in an environ."""
    return [(name, value) for name, value in headers if _key(name) in environ]


def _key(name: bytes) -> str | None:
    """Return the name of a header in an environ; None if no environ has it."""
    if b"_" in name:
        return None
    return _NAMES.get(name.lower()) or "HTTP_" + name.upper().replace(b"-", b"_").decode("latin-1")


def _mounted(scope: Scope) -> tuple[str, str]:
    """Return where the application is mounted, and the path below that.

    The specification says that `path` contains `root_path`. Some servers and older frameworks leave it out.
    Starlette tells them apart in this way.
    """
    mount, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    rest = path[len(mount) :]
    return mount, rest if path.startswith(mount) and rest[:1] in ("", "/") else path


def spelled(path: str) -> str:
    """Return a path as PEP 3333 spells it. Lone surrogates become bytes that are not UTF-8."""
    return path.encode("utf-8", "surrogatepass").decode("latin-1")
