"""How PATs are printed: the columns of `pat list`, the facts of `pat show`, and a new secret."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import click

from ..model.pat import IssuedPat, PersonalAccessToken, Requester
from ..model.pat_members import patauth_members
from ..settings import Settings
from .context import message
from .options import Value
from .output import (
    format_date,
    json_date,
    print_facts,
    print_table,
    relative_date,
    relative_day,
    terminal_width,
)
from .table import Column

_STATE_COLOURS = {
    "active": "green",
    "not_yet": "cyan",
    "disabled": "yellow",
    "expired": "red",
    "revoked": "red",
}

# -- columns -----------------------------------------------------------------------------------------------

Relative = Callable[[int, int], str]  # a time and now (both ms) -> words


def _text(read: Callable[[PersonalAccessToken], object]) -> Callable[[PersonalAccessToken, bool], str]:
    """Return what makes a cell of a value; "-" where there is none, since an empty cell is easily missed."""
    return lambda pat, _: str(value) if (value := read(pat)) not in (None, "") else "-"


def _date(
    read: Callable[[PersonalAccessToken], int | None], missing: str, relative: Relative = relative_date
) -> Callable[[PersonalAccessToken, bool], str]:
    """Return what makes a cell of a time."""

    def cell(pat: PersonalAccessToken, is_relative: bool) -> str:
        ms = read(pat)
        if ms is None:
            return missing
        return relative(ms, pat.read_ms) if is_relative else format_date(ms)

    return cell


class _PatColumn(NamedTuple):
    shape: Column
    cell: Callable[[PersonalAccessToken, bool], str]  # with whether dates are relative


# By their names in JSON, which filters and sorters have, too.
_COLUMNS = {
    "id": _PatColumn(Column("ID", whole=True), _text(lambda pat: pat.id)),
    "name": _PatColumn(Column("NAME", 10), _text(lambda pat: pat.name)),
    "owner": _PatColumn(Column("OWNER", 8, leaves=2), _text(lambda pat: pat.owner.id)),
    "state": _PatColumn(Column("STATE", leaves=1, colours=_STATE_COLOURS), _text(lambda pat: pat.state)),
    "scope": _PatColumn(Column("SCOPE", 12, leaves=5), _text(lambda pat: " ".join(pat.scope))),
    "created": _PatColumn(Column("CREATED", leaves=6), _date(lambda pat: pat.created_ms, "-")),
    "lastUsed": _PatColumn(
        Column("LAST USED", leaves=4), _date(lambda pat: pat.last_used_ms, "never", relative_day)
    ),
    "expirationDate": _PatColumn(Column("EXPIRES", leaves=3), _date(lambda pat: pat.expires_ms, "never")),
    "description": _PatColumn(Column("DESCRIPTION", 12, leaves=7), _text(lambda pat: pat.description)),
    "networks": _PatColumn(Column("NETWORKS", 12, leaves=7), _text(lambda pat: " ".join(pat.networks))),
    "notBefore": _PatColumn(Column("NOT BEFORE", leaves=7), _date(lambda pat: pat.not_before_ms, "-")),
    "requestQuota": _PatColumn(Column("REQUEST QUOTA", leaves=7), _text(lambda pat: pat.request_quota)),
    "accessTokenValiditySeconds": _PatColumn(
        Column("TOKEN SECONDS", leaves=7), _text(lambda pat: pat.access_token_ttl)
    ),
    "lastUsedFrom": _PatColumn(Column("USED FROM", 12, leaves=7), _text(lambda pat: pat.last_used_from)),
    "madeBy": _PatColumn(Column("MADE BY", 12, leaves=7), _text(lambda pat: _in_words(pat.made_by))),
    "revokedAt": _PatColumn(Column("REVOKED", leaves=1), _date(lambda pat: pat.revoked_ms, "-")),
    "revokedBy": _PatColumn(
        Column("BY", 12, leaves=3),
        _text(lambda pat: None if pat.revoked_ms is None else _in_words(pat.revoked_by)),
    ),
    "revokedReason": _PatColumn(
        Column("REASON", 12, leaves=4),
        _text(lambda pat: None if pat.revoked_ms is None else _reason(pat)),
    ),
}
_USUAL = ("id", "name", "owner", "state", "scope", "created", "lastUsed", "expirationDate")
_OF_REMOVED = ("id", "name", "owner", "created", "revokedAt", "revokedBy", "revokedReason")
COLUMN_NAMES = tuple(_COLUMNS)


def _read_columns(text: str) -> tuple[str, ...]:
    """Return the names of columns in a text with commas between; their case does not count."""
    known = {name.lower(): name for name in _COLUMNS}
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name.lower() not in known]:
        what = f"there is no column {wrong[0]!r}" if wrong[0] else "the name of a column is missing"
        raise ValueError(f"{what}; choose from {', '.join(COLUMN_NAMES)}")
    return tuple(known[name.lower()] for name in names)


COLUMNS = Value("columns", _read_columns)


# -- PATs --------------------------------------------------------------------------------------------------


def print_pat(pat: PersonalAccessToken, settings: Settings) -> None:
    """Print one PAT."""
    colours = {"state": _STATE_COLOURS[pat.state]}
    print_facts({"pat": _pat_object(pat)}, _pat_facts(pat, settings), colours=colours)


def print_pats(
    pats: Sequence[PersonalAccessToken],
    *,
    total: int | None,
    with_owner: bool,
    columns: Sequence[str] = (),
    wide: bool = False,
) -> None:
    """Print PATs: in JSON with `total`, as a table with the `columns` that are named, in their order.

    Without names, removed PATs, which are always listed alone, have columns of their own, and there is a
    column of owners only if `with_owner` is true. Of named columns, none is left out on a narrow terminal.
    `wide`: nothing is cut, and dates are absolute.
    """
    names = columns
    if not names:
        usual = _OF_REMOVED if any(pat.revoked_ms is not None for pat in pats) else _USUAL
        names = [name for name in usual if with_owner or name != "owner"]
    chosen = [_COLUMNS[name] for name in names]
    shapes = [shape if not columns else replace(shape, leaves=0) for shape, _ in chosen]
    is_relative = not wide and terminal_width() is not None
    print_table(
        {"pats": [_pat_object(pat) for pat in pats], "total": total},
        shapes,
        [[cell(pat, is_relative) for _, cell in chosen] for pat in pats],
        wide=wide,
    )


def require_stdout(outcome: str) -> None:
    """Raise `click.ClickException` with the outcome if standard output is closed and can show no secret."""
    if sys.stdout is None:
        raise click.ClickException(f"standard output is closed, so the secret cannot be shown; {outcome}")


def print_issued(
    issued: IssuedPat, settings: Settings, *, field: str | None = None, done: str, remedy: str
) -> None:
    """Print a PAT with its new secret and token; `field` id, secret or token prints that alone.

    Raise `click.ClickException`, which says what was done and how to remedy it, if they cannot be written.
    """
    once = {"secret": issued.secret, "token": issued.token}
    try:
        if field is not None:
            click.echo({"id": issued.pat.id, **once}[field])
        else:
            print_facts(
                {"pat": _pat_object(issued.pat), **once},
                [*_pat_facts(issued.pat, settings), *once.items()],
                colours={"state": _STATE_COLOURS[issued.pat.state]},
            )
        sys.stdout.flush()
    except OSError as problem:  # a full disk, or a reader that went away
        sys.stdout = None  # otherwise Python flushes it again at exit and reports the error
        raise click.ClickException(
            f"the PAT {issued.pat.id} was {done}, but its secret could not be written ({problem.strerror}):"
            f" {remedy}"
        ) from None
    if field is None:
        message("Store the secret and the token now, in a safe place: they are not shown again.")
    elif field in once:
        message(f"Store the {field} now, in a safe place: it is not shown again.")
    else:
        message(
            "Note: the secret was not shown and is not stored;"
            f" 'patauth pat rotate {issued.pat.id}' gives another one."
        )


def _pat_object(pat: PersonalAccessToken) -> dict[str, Any]:
    """Return a PAT as JSON with the field names of the management API; a date that is never is null."""
    return {
        "id": pat.id,
        "name": pat.name,
        "scope": list(pat.scope),
        "owner": {"type": pat.owner.type, "id": pat.owner.id, "name": pat.owner.name},
        "created": json_date(pat.created_ms),
        "lastUsed": json_date(pat.last_used_ms),
        "expirationDate": json_date(pat.expires_ms),
        "accessTokenValiditySeconds": pat.access_token_ttl,
        **patauth_members(pat),
    }


def _pat_facts(pat: PersonalAccessToken, settings: Settings) -> list[tuple[str, object]]:
    ttl = pat.access_token_ttl
    usual = f"{settings.access_token_ttl} s (setting access_token_ttl)"
    return [
        ("id", pat.id),
        ("name", pat.name),
        ("state", pat.state),
        ("owner", f"{pat.owner.id} ({pat.owner.name}, {pat.owner.type})"),
        ("scope", " ".join(pat.scope)),
        ("created", _when(pat.created_ms, pat)),
        ("last used", _when(pat.last_used_ms, pat, relative_day)),
        ("expires", _when(pat.expires_ms, pat)),
        ("access tokens live", usual if ttl is None else f"{ttl} s"),
        *((name, value) for name, value in _rare_facts(pat) if value is not None),
    ]


def _rare_facts(pat: PersonalAccessToken) -> list[tuple[str, object]]:
    """Return what few PATs have; None: it has none."""
    is_removed = pat.revoked_ms is not None
    return [
        ("description", pat.description),
        ("networks", " ".join(pat.networks) or None),
        ("not before", None if pat.not_before_ms is None else _when(pat.not_before_ms, pat)),
        ("request quota", pat.request_quota),
        ("last used from", pat.last_used_from),
        ("made by", _in_words(pat.made_by)),
        ("revoked", _when(pat.revoked_ms, pat) if is_removed else None),
        ("revoked by", _in_words(pat.revoked_by) if is_removed else None),
        ("reason", _reason(pat) if is_removed else None),
    ]


def _reason(pat: PersonalAccessToken) -> str:
    return pat.revoked_reason or "none given"


def _in_words(who: Requester | None) -> str:
    if who is None:
        return "the application"
    owner = who.owner_id if who.tenant is None else f"{who.owner_id} of {who.tenant}"
    return owner if who.pat_id is None else f"{owner} with the PAT {who.pat_id}"


def _when(ms: int | None, pat: PersonalAccessToken, relative: Relative = relative_date) -> str:
    """Return a time of a PAT (ms; None: never), on a terminal with how far away it is."""
    if ms is None or terminal_width() is None:
        return format_date(ms)
    return f"{format_date(ms)} ({relative(ms, pat.read_ms)})"
