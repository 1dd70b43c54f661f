"""What the commands print: tables and JSON to stdout, messages to stderr.

No text from a store reaches a terminal raw: JSON is ASCII, and in tables whatever cannot be printed, such as
the characters that turn the direction of writing, is shown as its escape.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..model.pat import IssuedPat, PersonalAccessToken


def message(text: str) -> None:
    """Say something on stderr, unless --quiet."""
    from .options import options

    if not options().quiet:
        click.echo(printable(text), err=True)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(content, indent=2))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their heads, each column as wide as its widest cell."""
    lines = [tuple(head), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        click.secho("  ".join(cells).rstrip(), bold=number == 0)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:{width}}  {printable(value)}")


def print_changed(count: int, ids: Sequence[str]) -> None:
    """Print what a command changed: how many, and which PATs."""
    from .options import options

    if options().json:
        print_json({"changed": count, "ids": list(ids)})
    else:
        print_facts([("changed", str(count)), ("ids", " ".join(ids) or "none")])


def progress(counts: Iterable[int], label: str) -> Iterator[int]:
    """Pass counts of long work on, with a bar on stderr if that is a terminal, and not --quiet.

    How much there is to do shows only when it is done: the bar goes to and fro beside what is done so far.
    """
    from .options import options

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


def printable(text: str) -> str:
    """The text with escapes such as \\u202e for all that moves the cursor, or is not seen."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none (Unicode TR11)."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


# -- a PAT -------------------------------------------------------------------------------------------------

_COLUMNS = ("ID", "NAME", "OWNER", "STATE", "SCOPE", "CREATED", "LAST USED", "EXPIRES")


def print_pat(pat: PersonalAccessToken) -> None:
    """Print one PAT."""
    from .options import options

    if options().json:
        print_json({"pat": pat_object(pat)})
    else:
        print_facts(_facts(pat))


def print_pats(pats: Iterable[PersonalAccessToken], *, with_owner: bool) -> None:
    """Print PATs as a table; whose they are if not all are of one owner."""
    lines = [_COLUMNS, *map(_row, pats)]
    if not with_owner:
        place = _COLUMNS.index("OWNER")
        lines = [line[:place] + line[place + 1 :] for line in lines]
    print_table(lines[0], lines[1:])


def require_stdout(outcome: str) -> None:
    """Fail, and tell the outcome, where a secret could not be shown, because standard output is closed."""
    if sys.stdout is None:
        raise click.ClickException(f"standard output is closed, so the secret could not be shown; {outcome}")


def print_issued(issued: IssuedPat, *, done: str, remedy: str) -> None:
    """Print a PAT with its new secret; fail where it cannot be written: what was done, and what helps."""
    from .options import options

    try:
        if options().json:
            print_json({"pat": pat_object(issued.pat), "secret": issued.secret, "token": issued.token})
        else:
            print_facts([*_facts(issued.pat), ("secret", issued.secret), ("token", issued.token)])
        sys.stdout.flush()
    except OSError as problem:  # also a reader that has gone away
        sys.stdout = None  # else Python tries again at exit, and tells of it
        raise click.ClickException(
            f"the PAT {issued.pat.id} was {done}, but its secret could not be written ({problem.strerror}):"
            f" {remedy}"
        ) from None
    message("Keep the secret and the token now, and keep them safe: they are not shown again.")


def pat_object(pat: PersonalAccessToken) -> dict[str, Any]:
    """A PAT as JSON, by the field names of the management API; null where a date is never."""
    return {
        "id": pat.id,
        "name": pat.name,
        "scope": list(pat.scope),
        "owner": {"type": pat.owner.type, "id": pat.owner.id, "name": pat.owner.name},
        "created": _date(pat.created_ms),
        "lastUsed": _date(pat.last_used_ms),
        "expirationDate": _date(pat.expires_ms),
        "accessTokenValiditySeconds": pat.access_token_ttl,
        "state": pat.state,
    }


def _row(pat: PersonalAccessToken) -> tuple[str, ...]:
    """As `_COLUMNS` has it."""
    created, used, expires = map(format_date, (pat.created_ms, pat.last_used_ms, pat.expires_ms))
    return (pat.id, pat.name, pat.owner.id, pat.state, " ".join(pat.scope), created, used, expires)


def _facts(pat: PersonalAccessToken) -> list[tuple[str, str]]:
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
    ]


def format_date(ms: int | None) -> str:
    """An instant for people."""
    return _date(ms) or "never"


def _date(ms: int | None) -> str | None:
    from ..model.dates import format_ms

    return None if ms is None else format_ms(ms)
