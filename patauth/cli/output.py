"""How data is printed to stdout: tables, JSON, PATs, and the progress of long work on stderr.

Text from a store never reaches a terminal unescaped: JSON is ASCII, and tables show an escape for every
character that is invisible, moves the cursor or turns the direction of writing.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from ..model.dates import format_ms
from ..model.pat import IssuedPat, PersonalAccessToken, Requester
from ..model.pat_members import patauth_members
from .context import message, options, printable


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(content, indent=2))


def print_table(content: dict[str, Any], heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print `content` if JSON is asked for; otherwise rows under heads, in columns as wide as they need."""
    if options().json:
        print_json(content)
        return
    lines = [tuple(heads), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(heads))]
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        click.secho("  ".join(cells).rstrip(), bold=number == 0)


def print_facts(content: dict[str, Any], facts: Iterable[tuple[str, object]]) -> None:
    """Print `content` if JSON is asked for; otherwise names and values, one pair on each line."""
    if options().json:
        print_json(content)
        return
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:{width}}  {printable(str(value))}")


def print_changed(count: int, ids: Sequence[str]) -> None:
    """Print how many things a command changed, and the ids of the PATs among them."""
    print_facts({"changed": count, "ids": list(ids)}, [("changed", count), ("ids", " ".join(ids) or "none")])


def progress(counts: Iterable[int], label: str) -> Iterator[int]:
    """Yield the counts of long work, and show a bar if stderr is a terminal and --quiet is not given.

    The total is unknown until the end, so the bar moves to and fro and shows what is done so far.
    """
    if options().quiet or not sys.stderr.isatty():
        yield from counts
        return
    done = 0
    with click.progressbar(
        counts, label=label, file=sys.stderr, show_eta=False, item_show_func=lambda _: f"{done}"
    ) as bar:
        for count in bar:
            done += count
            yield count


def _width(text: str) -> int:
    """Return the columns on a terminal: wide characters take two, combining ones none (Unicode TR11)."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


# -- a PAT -------------------------------------------------------------------------------------------------

_COLUMNS = ("ID", "NAME", "OWNER", "STATE", "SCOPE", "CREATED", "LAST USED", "EXPIRES")
_REMOVED_COLUMNS = ("ID", "NAME", "OWNER", "CREATED", "REVOKED", "BY", "REASON")


def print_pat(pat: PersonalAccessToken) -> None:
    """Print one PAT."""
    print_facts({"pat": _pat_object(pat)}, _pat_facts(pat))


def print_pats(pats: Sequence[PersonalAccessToken], *, total: int | None, with_owner: bool) -> None:
    """Print PATs: in JSON with `total`, as a table with a column of owners only if `with_owner` is true.

    Removed ones, which are always listed alone, have columns of their own.
    """
    if any(pat.revoked_ms is not None for pat in pats):
        lines = [_REMOVED_COLUMNS, *map(_removed_row, pats)]
    else:
        lines = [_COLUMNS, *map(_pat_row, pats)]
    if not with_owner:
        place = lines[0].index("OWNER")
        lines = [line[:place] + line[place + 1 :] for line in lines]
    print_table({"pats": [_pat_object(pat) for pat in pats], "total": total}, lines[0], lines[1:])


def require_stdout(outcome: str) -> None:
    """Raise `click.ClickException` with the outcome if standard output is closed and can show no secret."""
    if sys.stdout is None:
        raise click.ClickException(f"standard output is closed, so the secret cannot be shown; {outcome}")


def print_issued(issued: IssuedPat, *, field: str | None = None, done: str, remedy: str) -> None:
    """Print a PAT with its new secret and token; `field` id, secret or token prints that alone.

    Raise `click.ClickException`, which says what was done and how to remedy it, if they cannot be written.
    """
    once = {"secret": issued.secret, "token": issued.token}
    try:
        if field is not None:
            click.echo({"id": issued.pat.id, **once}[field])
        else:
            print_facts({"pat": _pat_object(issued.pat), **once}, [*_pat_facts(issued.pat), *once.items()])
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


def _pat_row(pat: PersonalAccessToken) -> tuple[str, ...]:
    """Return the cells of a PAT, in the order of `_COLUMNS`."""
    created, used, expires = map(format_date, (pat.created_ms, pat.last_used_ms, pat.expires_ms))
    return (pat.id, pat.name, pat.owner.id, pat.state, " ".join(pat.scope), created, used, expires)


def _removed_row(pat: PersonalAccessToken) -> tuple[str, ...]:
    """Return the cells of a removed PAT, in the order of `_REMOVED_COLUMNS`."""
    created, revoked = map(format_date, (pat.created_ms, pat.revoked_ms))
    return (pat.id, pat.name, pat.owner.id, created, revoked, _in_words(pat.revoked_by), _reason(pat))


def _pat_facts(pat: PersonalAccessToken) -> list[tuple[str, object]]:
    ttl = pat.access_token_ttl
    return [
        ("id", pat.id),
        ("name", pat.name),
        ("state", pat.state),
        ("owner", f"{pat.owner.id} ({pat.owner.name}, {pat.owner.type})"),
        ("scope", " ".join(pat.scope)),
        ("created", format_date(pat.created_ms)),
        ("last used", format_date(pat.last_used_ms)),
        ("expires", format_date(pat.expires_ms)),
        ("access tokens live", "as the setting access_token_ttl says" if ttl is None else f"{ttl} s"),
        *((name, value) for name, value in _rare_facts(pat) if value is not None),
    ]


def _rare_facts(pat: PersonalAccessToken) -> list[tuple[str, object]]:
    """Return what few PATs have; None: it has none."""
    is_removed = pat.revoked_ms is not None
    return [
        ("description", pat.description),
        ("networks", " ".join(pat.networks) or None),
        ("not before", json_date(pat.not_before_ms)),
        ("request quota", pat.request_quota),
        ("last used from", pat.last_used_from),
        ("made by", pat.made_by and _in_words(pat.made_by)),
        ("revoked", json_date(pat.revoked_ms)),
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


def format_date(ms: int | None) -> str:
    """Return a time, given in milliseconds, for people; "never" for None."""
    return "never" if ms is None else format_ms(ms)


def json_date(ms: int | None) -> str | None:
    """Return a time, given in milliseconds, for JSON."""
    return None if ms is None else format_ms(ms)
