"""gunicorn's configuration, as far as it can be seen from here: for `patauth doctor`.

gunicorn reads gunicorn.conf.py in its working directory, or the file that -c names; GUNICORN_CMD_ARGS wins
over it. The file is Python: here it is read, never run, and only plain values are understood.
"""

from __future__ import annotations

import argparse
import ast
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .finding import Finding, ok, problem, warning

_OPTIONS = ("forwarded_allow_ips", "forwarder_headers", "limit_request_field_size")
_UNKNOWN = object()  # set by something that only running it would tell


def judge_gunicorn(environ: Mapping[str, str], folder: Path, trusted_proxies: int) -> Iterator[Finding]:
    """What gunicorn's defaults, and what is set, mean for patauth; nothing where nothing is visible."""
    found = _visible(environ, folder)
    if found is None:
        return
    where, options = found
    allowed = _words(options.get("forwarded_allow_ips", environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")))
    headers = _words(options.get("forwarder_headers", "SCRIPT_NAME,PATH_INFO"))
    if headers is None or allowed is None:
        yield warning(
            "gunicorn",
            f"{where} computes forwarded_allow_ips or forwarder_headers; what they come to is not seen here.",
            'Make sure that forwarder_headers is "" unless your proxy sets those headers itself.',
        )
    elif headers and allowed:
        grave, who = (
            (problem, "anybody") if "*" in allowed else (warning, f"whoever calls from {', '.join(allowed)}")
        )
        yield grave(
            "gunicorn",
            f"By {where}, {who} may set {' and '.join(headers)} by a header of that name, and so change the"
            " path that rules are matched against; a proxy that passes them on lets any client do it.",
            'Set forwarder_headers = "", or let the proxy remove these headers, underscores included.',
        )
    elif "*" in allowed:
        yield warning(
            "gunicorn",
            f"By {where}, anybody may say by X-Forwarded-Proto that a request came by https.",
            "Name your proxy's address in forwarded_allow_ips.",
        )
    else:
        yield ok("gunicorn", f"By {where}, no client can change the path or the scheme by a header.")
    if options.get("limit_request_field_size") == 0:
        yield warning(
            "gunicorn",
            f"By {where}, the size of a header field has no limit (limit_request_field_size 0).",
            "Leave it at its default, 8190.",
        )
    if trusted_proxies == 0 and "FORWARDED_ALLOW_IPS" in environ:
        yield warning(
            "gunicorn",
            "FORWARDED_ALLOW_IPS speaks of a proxy, and trusted_proxies is 0: all clients behind that proxy"
            " share one quota of refused credentials.",
            "Set trusted_proxies (PATAUTH_TRUSTED_PROXIES) to the number of your proxies.",
        )


def _visible(environ: Mapping[str, str], folder: Path) -> tuple[str, dict[str, Any]] | None:
    """What to call the configuration, and the options that it sets; None where there is none."""
    text = environ.get("GUNICORN_CMD_ARGS", "")
    arguments = _arguments(text)
    named = arguments.pop("config", None)
    path = folder / (named.removeprefix("file:") if isinstance(named, str) else "gunicorn.conf.py")
    from_file = _assignments(path)
    if not text and from_file is None:
        return None
    if from_file is None and named is not None:
        from_file = dict.fromkeys(_OPTIONS, _UNKNOWN)
    where = " and ".join(
        [*([path.name] if from_file is not None else []), *(["GUNICORN_CMD_ARGS"] if text else [])]
    )
    return where, {**(from_file or {}), **arguments}


def _arguments(text: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config")
    parser.add_argument("--forwarded-allow-ips")
    parser.add_argument("--forwarder-headers")
    parser.add_argument("--limit-request-field_size", type=int, dest="limit_request_field_size")
    try:
        given, _ = parser.parse_known_args(shlex.split(text))
    except (ValueError, argparse.ArgumentError):
        return dict.fromkeys(_OPTIONS, _UNKNOWN)
    return {name: value for name, value in vars(given).items() if value is not None}


def _assignments(path: Path) -> dict[str, Any] | None:
    """The options that a configuration file sets at its top; None if it cannot be read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Store) or node.id not in _OPTIONS:
            continue
        found[node.id] = _UNKNOWN
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name) and target.id in found:
                    try:
                        found[target.id] = ast.literal_eval(statement.value)
                    except ValueError:
                        found[target.id] = _UNKNOWN
    return found


def _words(value: Any) -> list[str] | None:
    """A comma-separated text, or a list, as gunicorn reads both; None if it is not known."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        return None
    return [word.strip() for word in value if word.strip()]
