"""`patauth pat`: make, list, show, revoke and purge personal access tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from .options import Group, confirm, open_authority, options, require_yes_without_terminal
from .output import (
    PAT_COLUMNS,
    message,
    pat_facts,
    pat_object,
    pat_row,
    print_changed,
    print_facts,
    print_json,
    print_table,
    progress,
)


def _read_by(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback for a value that one of the library's readers understands."""

    def callback(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        from ..errors import InvalidRequest

        try:
            return None if text is None else read(text)
        except (ValueError, InvalidRequest) as problem:
            raise click.BadParameter(str(problem).removeprefix("date: "), ctx, parameter) from problem
        except OverflowError:
            raise click.BadParameter("this is further away than dates go", ctx, parameter) from None

    return callback


def _seconds(text: str) -> int:
    from ..settings import parse_duration

    return parse_duration(text)


def _duration(text: str) -> timedelta:
    if text.strip().isdigit():  # 30 is meant as days, and would be seconds
        raise ValueError("give an integer and one of s m h d w, such as 30d or 12h")
    return timedelta(seconds=_seconds(text))


def _date_time(text: str) -> datetime:
    from ..dates import parse_ms, to_datetime

    return to_datetime(parse_ms(text))


@click.group(cls=Group)
def pat() -> None:
    """Make, list, show, revoke and purge personal access tokens.

    A PAT is an id and a secret that somebody keeps; it acts for its owner, within its scopes.

    \b
    Example:
      patauth pat list --owner-id alice --store local:./patauth-data
    """


@pat.command()
@click.option("--owner-id", required=True, help="Who the PAT acts for, by your application's own id.")
@click.option("--owner-name", help="The owner's name for people.  [default: the id]")
@click.option("--owner-type", default="IDENTITY", show_default=True, help="The owner's kind.")
@click.option("--name", required=True, help="What the PAT is for; unique for each owner.")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do; repeat for several.")
@click.option(
    "--expires-in",
    metavar="DURATION",
    callback=_read_by(_duration),
    help="Its lifetime: an integer and one of s m h d w, such as 30d.",
)
@click.option(
    "--expires-at",
    metavar="DATE-TIME",
    callback=_read_by(_date_time),
    help="When it expires, with the offset from UTC: 2030-01-31T12:00:00Z.",
)
@click.option("--never-expires", is_flag=True, help="It lasts until it is revoked.")
@click.option(
    "--access-token-ttl",
    metavar="DURATION",
    callback=_read_by(_seconds),
    help="How long its access tokens live, 15s to 12h (900 is 900s).  [default: the setting]",
)
def create(
    owner_id: str,
    owner_name: str | None,
    owner_type: str,
    name: str,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    expires_at: datetime | None,
    never_expires: bool,
    access_token_ttl: int | None,
) -> None:
    """Make a PAT, and print its secret and its token this once.

    The secret goes with the id: HTTP Basic, or client_id and client_secret at /oauth/token. The token is both
    in one string, for `Authorization: Bearer`. Say how long the PAT lasts by one of --expires-in,
    --expires-at and --never-expires.

    \b
    Example:
      patauth pat create --owner-id alice --name ci --scope reports:read --expires-in 30d
    """
    if [expires_in is not None, expires_at is not None, never_expires].count(True) != 1:
        raise click.UsageError("give exactly one of --expires-in, --expires-at and --never-expires")
    from ..pat import Owner

    if sys.stdout is None:
        raise click.ClickException(
            "standard output is closed, so the secret could not be shown; nothing was made"
        )
    owner = Owner(owner_id, name=owner_name, type=owner_type)
    with open_authority() as authority:
        issued = authority.create(
            owner=owner,
            name=name,
            scope=scopes,
            expires_in=expires_in,
            expires_at=expires_at,
            never_expires=never_expires,
            access_token_ttl=access_token_ttl,
        )
    try:
        if options().json:
            print_json({"pat": pat_object(issued.pat), "secret": issued.secret, "token": issued.token})
        else:
            print_facts([*pat_facts(issued.pat), ("secret", issued.secret), ("token", issued.token)])
        sys.stdout.flush()
    except OSError as problem:  # also a reader that has gone away
        sys.stdout = None  # else Python tries again at exit, and tells of it
        raise click.ClickException(
            f"the PAT {issued.pat.id} was made, but its secret could not be written ({problem.strerror}):"
            f" revoke it by 'patauth pat revoke {issued.pat.id} --yes', and make another"
        ) from None
    message("Keep the secret and the token now, and keep them safe: they are not shown again.")


@pat.command("list")
@click.option("--owner-id", required=True, help="Whose PATs.")
def list_(owner_id: str) -> None:
    """List an owner's PATs, the oldest first; expired ones too, for 30 days (setting retention).

    \b
    Examples:
      patauth pat list --owner-id alice
      patauth pat list --owner-id alice --output json | jq -r '.pats[].id'
    """
    with open_authority() as authority:
        pats = authority.list(owner_id=owner_id)
    if options().json:
        print_json({"pats": [pat_object(pat) for pat in pats], "total": len(pats)})
    elif pats:
        print_table(PAT_COLUMNS, [pat_row(pat) for pat in pats])
    else:
        message(f"{owner_id} has no PATs.")


@pat.command()
@click.argument("pat_id", metavar="ID")
def show(pat_id: str) -> None:
    """Show one PAT, by its id. Its secret and token are not kept and cannot be shown.

    \b
    Example:
      patauth pat show 1c9ae4ac109beb19a0243df4debc2d2f
    """
    with open_authority() as authority:
        found = authority.get(pat_id)
    if options().json:
        print_json({"pat": pat_object(found)})
    else:
        print_facts(pat_facts(found))


@pat.command()
@click.argument("pat_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask; required where there is no terminal.")
def revoke(pat_id: str, yes: bool) -> None:
    """Revoke a PAT for good, by its id.

    It and its access tokens are refused from the very next request on. This cannot be undone.

    \b
    Example:
      patauth pat revoke 1c9ae4ac109beb19a0243df4debc2d2f --yes
    """
    require_yes_without_terminal(yes)
    from ..errors import NotFound

    with open_authority() as authority:
        if not yes:
            try:
                found = authority.get(pat_id)
            except NotFound:  # delete says so, too, and first makes sure that its absence is durable
                pass
            else:
                confirm(f"Revoke the PAT {found.name!r} of {found.owner.id}, for good?")
        authority.delete(pat_id)
    print_changed(1, [pat_id])


@pat.command()
@click.argument("pat_ids", metavar="[ID]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask; required where there is no terminal.")
def purge(pat_ids: tuple[str, ...], yes: bool) -> None:
    """Remove all access tokens, and the PATs that are named, for good.

    For the time after an old copy of the store was restored: PATs and access tokens that were revoked since
    are in it again. Name those PATs, and all access tokens go with them, of every tenant under the key
    prefix; their holders get new ones by the next exchange. It is safe to repeat.

    `changed` counts access tokens and PATs, and `ids` are the PATs; one that is not there is only mentioned.

    \b
    Examples:
      patauth pat purge --yes
      patauth pat purge 1c9ae4ac109beb19a0243df4debc2d2f --yes
    """
    from ..credentials import is_pat_id
    from ..errors import NotFound

    for place, pat_id in enumerate(pat_ids, 1):
        if not is_pat_id(pat_id):  # not repeated: it may be a secret, given by mistake
            raise click.UsageError(f"argument {place} is no PAT id; nothing was changed")
    require_yes_without_terminal(yes)
    removed = []
    with open_authority() as authority:
        if not yes:
            confirm(f"Remove all access tokens{f' and {len(pat_ids)} PATs' if pat_ids else ''}, for good?")
        for pat_id in dict.fromkeys(pat_ids):
            try:
                authority.delete(pat_id)
            except NotFound:
                message(f"Note: the PAT {pat_id} is not there.")
            else:
                removed.append(pat_id)
        tokens = sum(progress(authority.iter_purge_access_tokens(), "Removing access tokens"))
    print_changed(tokens + len(removed), removed)
