"""What `patauth doctor` finds in gunicorn's configuration, as far as it is visible without running gunicorn.

gunicorn reads gunicorn.conf.py in its working directory, or the file that -c names; GUNICORN_CMD_ARGS wins
over the file. The file is Python. It is parsed here and never run, so only plain values are understood.
"""

from __future__ import annotations

import argparse
import ast
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .finding import Finding, ok, problem, warning

_OPTIONS = ("forwarded_allow_ips", "forwarder_headers", "header_map", "limit_request_field_size")
_UNKNOWN = object()  # the value of an option that is computed


def judge_gunicorn(environ: Mapping[str, str], folder: Path, trusted_proxies: int) -> Iterator[Finding]:
    """Judge what gunicorn's options and defaults mean for patauth. Without a configuration, find nothing."""
    found = _visible(environ, folder)
    if found is None:
        return
    where, options = found
    allowed = _words(options.get("forwarded_allow_ips", environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")))
    headers = _words(options.get("forwarder_headers", "SCRIPT_NAME,PATH_INFO"))
    mapping = options.get("header_map", "drop")
    if mapping not in ("drop", "refuse", _UNKNOWN):
        yield problem(
            "gunicorn",
            f"With {where}, any client may be able to set SCRIPT_NAME and PATH_INFO by headers of those names"
            " (header_map), and so change the path that rules are matched against.",
            'Keep the default of header_map, "drop".',
        )
    elif headers is None or allowed is None or mapping is _UNKNOWN:
        yield warning(
            "gunicorn",
            f"{where} computes forwarded_allow_ips or forwarder_headers, so their values are unknown here.",
            'Make sure that forwarder_headers is "", unless your proxy sets those headers itself.',
        )
    elif headers and allowed:
        grave, who = (
            (problem, "any client") if "*" in allowed else (warning, f"a caller from {', '.join(allowed)}")
        )
        yield grave(
            "gunicorn",
            f"With {where}, {who} can set {' and '.join(headers)} by headers of those names, and so change"
            " the path that rules are matched against. If a proxy passes them on, any client can.",
            'Set forwarder_headers = "", or let the proxy remove these headers, with "_" and with "-".',
        )
    elif "*" in allowed:
        yield warning(
            "gunicorn",
            f"With {where}, any client can claim with X-Forwarded-Proto that its request came by https.",
            "Set forwarded_allow_ips to the address of your proxy.",
        )
    else:
        yield ok("gunicorn", f"With {where}, no client can change the path or the scheme by a header.")
    if options.get("limit_request_field_size") == 0:
        yield warning(
            "gunicorn",
            f"With {where}, the size of a header field is not limited (limit_request_field_size 0).",
            "Keep the default, 8190.",
        )
    if trusted_proxies == 0 and "FORWARDED_ALLOW_IPS" in environ:
        yield warning(
            "gunicorn",
            "FORWARDED_ALLOW_IPS is set, so there seems to be a proxy, but trusted_proxies is 0: all clients"
            " behind that proxy share one quota of refused credentials.",
            "Set trusted_proxies (PATAUTH_TRUSTED_PROXIES) to the number of your proxies.",
        )


def _visible(environ: Mapping[str, str], folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Return what to call the configuration, and the options that it sets; None if there is none."""
    text = environ.get("GUNICORN_CMD_ARGS", "")
    arguments = _arguments(text)
    named = arguments.pop("config", None)
    path = folder / (named.removeprefix("file:") if isinstance(named, str) else "gunicorn.conf.py")
    from_file = _assignments(path)
    if not text and from_file is None:
        return None
    if from_file is None and named is not None:
        from_file = dict.fromkeys(_OPTIONS, _UNKNOWN)
    names = [path.name] if from_file is not None else []
    if text:
        names.append("GUNICORN_CMD_ARGS")
    return " and ".join(names), {**(from_file or {}), **arguments}


def _arguments(text: str) -> dict[str, Any]:
    """Return the options that a command line sets; all are unknown if it cannot be parsed."""
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
    """Return the options that a configuration file sets; None if it cannot be read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    found = {
        node.id: _UNKNOWN
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in _OPTIONS
    }
    for statement in tree.body:  # only plain values at the top level are known
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name) and target.id in found:
                    try:
                        found[target.id] = ast.literal_eval(statement.value)
                    except ValueError:
                        found[target.id] = _UNKNOWN
    return found


def _words(value: Any) -> list[str] | None:
    """Return the words of a comma-separated text or of a list, as gunicorn reads both; None if unknown."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        return None
    return [word.strip() for word in value if word.strip()]
