"""What a shell completes besides commands and options: PATs, owners and scopes, which the store is asked for.

A completion must be quick and must not disturb what somebody types. So it reads a page of PATs, gives up
after `_PATIENCE`, writes nothing to stderr, and has nothing to offer where the store is down or not there.
A `local:` engine is started as by any other command, but no store is made.

Shells write a value into the command line as it is, and some names in a store were chosen by strangers. So
only values without any character that a shell could take for its own are offered.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

from ..errors import NotFound
from ..model.pat import PersonalAccessToken
from ..settings import Settings
from ..store.url import StoreUrl
from .context import named_settings, options, printable, unobserved

_STORE_SECONDS = 1.0  # s for the answer of the store
_PATIENCE = 2.0  # s for all of it: imports, the address of a host, the start of a `local:` engine
_PAGE = 200  # PATs that are looked at, the newest first
_HARMLESS = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:@%+/-]*")

Suggested: TypeAlias = "list[CompletionItem[str]]"  # click has made it generic lately


def pats(ctx: click.Context, _: click.Parameter, incomplete: str) -> Suggested:
    """Return the ids of PATs; after --owner-id, the names of that owner's PATs first."""
    owner_id = ctx.params.get("owner_id")
    found = _pats(ctx, owner_id)
    named = [(pat.name, f"{pat.state} PAT of {pat.owner.id}") for pat in found] if owner_id else []
    return _beginning(incomplete, [*named, *((pat.id, f"{pat.name} of {pat.owner.id}") for pat in found)])


def owners(ctx: click.Context, _: click.Parameter, incomplete: str) -> Suggested:
    """Return the ids of owners."""
    return _beginning(incomplete, sorted((pat.owner.id, pat.owner.name) for pat in _pats(ctx, None)))


def scopes(ctx: click.Context, _: click.Parameter, incomplete: str) -> Suggested:
    """Return the scopes of the catalogue (setting `scopes`); without one, those that PATs have."""
    settings = _settings(ctx)
    if settings is not None and settings.scopes is not None:
        return _beginning(incomplete, settings.scopes.items())
    found = _pats(ctx, ctx.params.get("owner_id"))
    return _beginning(incomplete, sorted((scope, "") for pat in found for scope in pat.scope))


def among(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], Suggested]:
    """Return what suggests some of the `known` names, with commas between; none of them twice."""

    def suggested(_: click.Context, __: click.Parameter, incomplete: str) -> Suggested:
        *chosen, begun = incomplete.split(",")
        before = "".join(f"{name}," for name in chosen)
        return [
            CompletionItem(before + name) for name in known if name.startswith(begun) and name not in chosen
        ]

    return suggested


def _beginning(incomplete: str, found: Iterable[tuple[str, str]]) -> Suggested:
    """Return what begins with what was typed, each value once, with words for people."""
    wanted = {value: words for value, words in reversed(list(found)) if value.startswith(incomplete)}
    return [
        CompletionItem(value, help=printable(words) or None)
        for value, words in reversed(wanted.items())
        if _HARMLESS.fullmatch(value)
    ]


def _settings(ctx: click.Context) -> Settings | None:
    """Return the settings of the command that is being typed; None: they cannot be used, or name no store."""
    with ctx.scope(cleanup=False):
        options().quiet = True
        try:
            return named_settings(connect_timeout=_STORE_SECONDS, command_timeout=_STORE_SECONDS)
        except Exception:  # the command itself will say what is wrong
            return None


def _pats(ctx: click.Context, owner_id: str | None) -> Sequence[PersonalAccessToken]:
    settings = _settings(ctx)
    if settings is None:
        return []
    return _in_time(lambda: _page(settings, owner_id))


def _page(settings: Settings, owner_id: str | None) -> Sequence[PersonalAccessToken]:
    from ..store.local.folder import has_store  # it and what it needs take 10 ms

    directory = StoreUrl.read(settings.store_url).directory
    if directory is not None and not has_store(directory):
        raise NotFound
    with unobserved(settings, _request_seconds=_STORE_SECONDS) as authority:
        return authority.list(owner_id=owner_id, sort="-created", limit=_PAGE)


def _in_time(ask: Callable[[], Sequence[PersonalAccessToken]]) -> Sequence[PersonalAccessToken]:
    """Return what the store says; nothing, if it does not answer in time or something is wrong."""
    logging.disable()  # this and the next last until the process ends, which is soon
    warnings.simplefilter("ignore")
    found: list[PersonalAccessToken] = []

    def run() -> None:
        with suppress(Exception):  # the command itself will say what is wrong
            found.extend(ask())

    # A thread, because no timeout of a socket ends the search for the address of a host.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)
