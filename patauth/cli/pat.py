"""`patauth pat`: list, show, revoke and purge personal access tokens; `change` makes and changes them."""

from __future__ import annotations

import click

from .change import create, rotate, update
from .options import Group, confirm, open_authority, options, require_yes_without_terminal
from .output import message, pat_object, print_changed, print_json, print_pat, print_pats, progress

_MANY = 10**9  # more than there are; the library counts no further than machine words do


@click.group(cls=Group)
def pat() -> None:
    """Make, list, show, change, rotate, revoke and purge personal access tokens.

    A PAT is an id and a secret that somebody keeps; it acts for its owner, within its scopes.

    \b
    Example:
      patauth pat list --owner-id alice --store local:./patauth-data
    """


pat.add_command(create)
pat.add_command(update)
pat.add_command(rotate)


@pat.command("list")
@click.option("--owner-id", help="Whose PATs.  [default: all owners']")
@click.option("--filter", "filters", metavar="TEXT", help="Only those that it is true of: 'lastUsed isnull'.")
@click.option(
    "--sort",
    metavar="FIELDS",
    help="By name, created, lastUsed, expirationDate; '-' descends: name,-created.",
)
@click.option("--limit", type=int, metavar="N", help="At most so many.  [default: all, up to 10000]")
@click.option("--offset", type=int, default=0, metavar="N", help="Leave out the first N.")
def list_(
    owner_id: str | None, filters: str | None, sort: str | None, limit: int | None, offset: int
) -> None:
    """List PATs, of an owner or of all.

    Expired ones, too, for 30 days (setting retention). An owner's come the oldest first, and those of all
    owners in no particular but steady order, unless --sort says which. `total` in JSON is how many there are
    without --limit and --offset.

    \b
    A filter compares, joined by and, or, not and parentheses:
      created, lastUsed, expirationDate   lt, le, gt, ge and a date-time: 2030-01-31T12:00:00Z
      lastUsed, expirationDate            isnull: never used, never expires
      name                                eq, sw (starts with), co (contains) and a "text"
      id                                  eq "ID", in ("ID", "ID")

    \b
    Examples:
      patauth pat list --owner-id alice
      patauth pat list --filter 'lastUsed isnull and created lt 2030-01-31T12:00:00Z'
      patauth pat list --filter 'name sw "ci-"' --sort name,-created --limit 20
      patauth pat list --owner-id alice --output json | jq -r '.pats[].id'
    """
    as_json = options().json
    limit = None if limit is None else min(limit, _MANY)
    with open_authority() as authority:
        pats = authority.list(
            owner_id=owner_id,
            filters=filters,
            sort=sort,
            offset=min(offset, _MANY),
            limit=limit,
            count=as_json,
        )
    if as_json:
        print_json({"pats": [pat_object(pat) for pat in pats], "total": pats.total})
    elif pats:
        print_pats(pats, with_owner=owner_id is None)
    else:
        whose = "There are" if owner_id is None else f"{owner_id} has"
        matching = "" if filters is None else " that match"
        here = " on this page" if offset or limit == 0 else ""
        message(f"{whose} no PATs{matching}{here}.")


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
    print_pat(found)


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
    from ..errors import NotFound
    from ..model.credentials import is_pat_id

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
