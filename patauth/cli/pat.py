"""`patauth pat`: create, update, rotate, list, show, revoke and purge personal access tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, BinaryIO

import click

from ..errors import NotFound
from ..model.leaks import refuse_credential
from ..model.owner_types import DEFAULT_OWNER_TYPE, OWNER_TYPES
from ..model.pat import Owner
from ..model.pat_id import PatId
from ..operations.owners import purge_access_tokens
from . import suggestions
from .context import message, open_authority, options
from .leaks import revoke_leaked
from .named_pat import NamedPat, names_pat
from .options import (
    DURATION,
    SCOPE,
    SECONDS,
    Group,
    confirm,
    description_and_limit_options,
    expiry_options,
    field_option,
    reason_option,
    require_yes,
    wide_option,
    yes_option,
)
from .output import format_date, print_changed, progress
from .pat_output import COLUMN_NAMES, COLUMNS, print_issued, print_pat, print_pats, require_stdout

_MANY = 10**9  # more PATs than any store has; the library takes no larger --limit or --offset


@click.group(cls=Group)
def pat() -> None:
    """Create, list, change and revoke personal access tokens.

    A PAT is an id and a secret. A script or a person keeps both, and acts by them for the PAT's owner, within
    the PAT's scopes.

    \b
    Example:
      patauth pat list --owner-id alice --store local:./patauth-data
    """


@pat.command()
@click.option(
    "--owner-id",
    required=True,
    help="Who the PAT acts for: the id that your application uses.",
    shell_complete=suggestions.owners,
)
@click.option("--owner-name", help="The owner's name as people know it.  [default: the id]")
@click.option(
    "--owner-type",
    type=click.Choice(sorted(OWNER_TYPES)),
    metavar="TYPE",
    default=DEFAULT_OWNER_TYPE,
    show_default=True,
    help="The kind of owner.",
)
@click.option("--name", required=True, help="What the PAT is for. An owner's PATs have different names.")
@click.option(
    "--scope",
    "scopes",
    type=SCOPE,
    multiple=True,
    required=True,
    help="What it may do; repeat for several.",
    shell_complete=suggestions.scopes,
)
@expiry_options
@click.option(
    "--access-token-ttl",
    type=SECONDS,
    help="How long its access tokens live, 15s to 12h; 900 means 900s.  [default: the setting]",
)
@description_and_limit_options(is_new=True)
@field_option("id", "secret", "token")
def create(
    owner_id: str,
    owner_name: str | None,
    owner_type: str,
    name: str,
    scopes: tuple[str, ...],
    expiry: dict[str, Any],
    access_token_ttl: int | None,
    details: dict[str, Any],
    field: str | None,
) -> None:
    """Create a PAT, and print its secret and its token. They are shown only once.

    Use the id and the secret for HTTP Basic, or as client_id and client_secret at /oauth/token. The token is
    both in one string, for `Authorization: Bearer`. Say when the PAT expires by exactly one of --expires-in,
    --expires-at and --never-expires.

    \b
    Examples:
      patauth pat create --owner-id alice --name ci --scope reports:read --expires-in 30d
      patauth pat create --owner-id alice --name deploy --scope reports:write --expires-in 90d \\
        --network 203.0.113.0/24 --description "deploys by the CI" --field token
    """
    if len(expiry) != 1:
        raise click.UsageError("give exactly one of --expires-in, --expires-at and --never-expires")
    require_stdout("no PAT was created")
    if any("," in scope for scope in scopes):
        message("Note: a comma is part of a scope here. For several scopes, repeat --scope.")
    with open_authority() as authority:
        issued = authority.create(
            owner=Owner(owner_id, name=owner_name, type=owner_type),
            name=name,
            scope=scopes,
            access_token_ttl=access_token_ttl,
            **expiry,
            **details,
        )
    print_issued(
        issued,
        authority.settings,
        field=field,
        done="created",
        remedy=f"revoke it with 'patauth pat revoke {issued.pat.id} --yes', and create another",
    )


@pat.command()
@names_pat()
@click.option("--name", help="What the PAT is for. An owner's PATs have different names.")
@click.option(
    "--scope",
    "scopes",
    type=SCOPE,
    multiple=True,
    help="All that it may do from now on; repeat for several.",
    shell_complete=suggestions.scopes,
)
@expiry_options
@description_and_limit_options(is_new=False)
def update(
    named: NamedPat,
    name: str | None,
    scopes: tuple[str, ...],
    expiry: dict[str, Any],
    details: dict[str, Any],
) -> None:
    """Change the name, the scopes, the expiry and more of a PAT.

    Options that you leave out change nothing, and the secret stays. Either all changes are made or none. An
    empty text (--description '', --network '', --request-quota '') removes what the PAT has, and so does a
    --not-before that has come.
    Access tokens that exist already keep their scopes; `patauth pat rotate --overlap 0s` ends them. A PAT
    that has expired cannot be changed.

    \b
    Examples:
      patauth pat update ci --owner-id alice --name nightly --expires-in 90d
      patauth pat update 1c9ae4ac109beb19a0243df4debc2d2f --scope reports:read --scope reports:write
    """
    if len(expiry) > 1:
        raise click.UsageError("give only one of --expires-in, --expires-at and --never-expires")
    if name is None and not scopes and not expiry and not details:
        raise click.UsageError(
            "nothing to change: give --name, --scope, --description, --network, --not-before,"
            " --request-quota, or one of --expires-in, --expires-at and --never-expires"
        )
    with open_authority() as authority:
        changed = authority.update(
            named.id_in(authority), name=name, scope=scopes or None, **expiry, **details
        )
    print_pat(changed, authority.settings)


@pat.command()
@names_pat()
@click.option(
    "--overlap",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How long the old secret still works, 0s to 7d: an integer and one of s m h d w.",
)
@field_option("secret", "token")  # not the id: it is known, and no secret would be left that is
def rotate(named: NamedPat, overlap: timedelta, field: str | None) -> None:
    """Give a PAT a new secret, and print it with the new token. They are shown only once.

    Id, name, scopes and expiry stay. The old secret and the old token still work during the overlap, but
    never after the PAT has expired; use that time to hand out the new ones. Access tokens end with the secret
    that they were exchanged for. A secret that still works because of an earlier rotation ends at once.

    If a secret has leaked, use --overlap 0s: then only the new secret works.

    \b
    Examples:
      patauth pat rotate ci --owner-id alice --overlap 1d
      patauth pat rotate 1c9ae4ac109beb19a0243df4debc2d2f --overlap 0s
    """
    require_stdout("nothing was changed")
    with open_authority() as authority:
        issued = authority.rotate(named.id_in(authority), overlap=overlap)
    rotated = issued.pat
    end = rotated.read_ms + overlap // timedelta(milliseconds=1)
    end = end if rotated.expires_ms is None else min(end, rotated.expires_ms)
    works = f"works until {format_date(end)}" if overlap else "no longer works"
    again = f"rotate again with 'patauth pat rotate {rotated.id} --overlap 0s'"
    print_issued(
        issued,
        authority.settings,
        field=field,
        done="rotated",
        remedy=f"the old one {works}; {again}, after which neither works",
    )
    message(f"The old secret {works}.")


@pat.command("list")
@click.option(
    "--owner-id",
    help="The owner of the PATs.  [default: all owners]",
    shell_complete=suggestions.owners,
)
@click.option("--filter", "filters", metavar="TEXT", help="Only PATs that match, such as 'lastUsed isnull'.")
@click.option(
    "--sort",
    metavar="FIELDS",
    help="By name, created, lastUsed, expirationDate, revokedAt; '-' descends: name,-created.",
)
@click.option("--limit", type=int, metavar="N", help="At most N PATs.  [default: all, up to 10000]")
@click.option("--offset", type=int, default=0, metavar="N", help="Leave out the first N.")
@click.option(
    "--columns",
    type=COLUMNS,
    default=None,
    metavar="NAMES",
    shell_complete=suggestions.among(COLUMN_NAMES),
    help=f"The columns of the table, in this order: {', '.join(COLUMN_NAMES)}.",
)
@wide_option
def list_(
    owner_id: str | None,
    filters: str | None,
    sort: str | None,
    limit: int | None,
    offset: int,
    columns: tuple[str, ...] | None,
    wide: bool,
) -> None:
    """List the PATs of one owner or of all owners.

    Expired PATs are listed for 30 days (setting retention), and so are revoked ones, but these alone and only
    if a filter asks for them: state eq "revoked". Without --sort, the PATs of one owner come oldest
    first; those of all owners come in an arbitrary but stable order. `total` in JSON counts the PATs as if
    --limit and --offset were not given.

    A terminal gets the columns that fit into it, with dates relative to now. A pipe or a file gets all
    columns, whole and with absolute dates, and so does a terminal with --wide.

    \b
    A filter is one comparison, or several joined by and, or, not and parentheses:
      created, lastUsed, expirationDate   lt, le, gt, ge and a date-time: 2030-01-31T12:00:00Z
      lastUsed, expirationDate            isnull: never used, never expires
      name                                eq, sw (starts with), co (contains) and a "text"
      description                         co and a "text"
      id                                  eq "ID", in ("ID", "ID")
      state                               eq, in: "active", "not_yet", "expired", "disabled", "revoked"
      revokedAt                           lt, le, gt, ge and a date-time: of revoked PATs

    \b
    Examples:
      patauth pat list --owner-id alice
      patauth pat list --columns id,name,state,networks
      patauth pat list --filter 'lastUsed isnull and created lt 2030-01-31T12:00:00Z'
      patauth pat list --filter 'name sw "ci-"' --sort name,-created --limit 20
      patauth pat list --filter 'state eq "revoked"' --sort -revokedAt --limit 20
      patauth pat list --owner-id alice --output json | jq -r '.pats[].id'
    """
    if columns and options().json:
        raise click.UsageError("--columns is for tables; --output json has all that is known")
    with open_authority() as authority:
        refuse_credential(owner_id, authority.settings.credential_prefixes, "--owner-id")
        pats = authority.list(
            owner_id=owner_id,
            filters=filters,
            sort=sort,
            offset=min(offset, _MANY),
            limit=None if limit is None else min(limit, _MANY),
            count=options().json,
        )
    if pats or options().json:
        print_pats(pats, total=pats.total, with_owner=owner_id is None, columns=columns or (), wide=wide)
    else:
        whose = "There are" if owner_id is None else f"{owner_id} has"
        matching = "" if filters is None else " that match"
        here = " on this page" if offset or limit == 0 else ""
        message(f"{whose} no PATs{matching}{here}.")


@pat.command()
@names_pat()
def show(named: NamedPat) -> None:
    """Show one PAT, also one that was revoked. Its secret and token are not stored and cannot be shown.

    \b
    Examples:
      patauth pat show 1c9ae4ac109beb19a0243df4debc2d2f
      patauth pat show ci --owner-id alice
    """
    with open_authority() as authority:
        found = authority.get(named.id_in(authority, removed=True), removed=True)
    print_pat(found, authority.settings)


@pat.command()
@names_pat()
def disable(named: NamedPat) -> None:
    """Refuse a PAT and its access tokens until you enable it again.

    They are refused from the next request on. The PAT's owner cannot enable it.

    \b
    Examples:
      patauth pat disable 1c9ae4ac109beb19a0243df4debc2d2f
      patauth pat disable ci --owner-id alice
    """
    with open_authority() as authority:
        found = authority.disable(named.id_in(authority))
    print_pat(found, authority.settings)


@pat.command()
@names_pat()
def enable(named: NamedPat) -> None:
    """Undo `pat disable`. A PAT stays refused while its owner is disabled (`owner enable`).

    \b
    Examples:
      patauth pat enable 1c9ae4ac109beb19a0243df4debc2d2f
      patauth pat enable ci --owner-id alice
    """
    with open_authority() as authority:
        found = authority.enable(named.id_in(authority))
    print_pat(found, authority.settings)


@pat.command()
@names_pat(required=False)
@click.option(
    "--from-file",
    "report",
    type=click.File("rb"),
    help="End what a leak report names: a text of any kind; - is standard input.",
)
@click.option(
    "--without-ids", is_flag=True, help="Leave PATs alone of which the report has nothing but the id."
)
@reason_option
@yes_option
def revoke(
    named: NamedPat | None, report: BinaryIO | None, without_ids: bool, reason: str | None, yes: bool
) -> None:
    """Revoke a PAT for good, or what is found in a leak report.

    The PAT and its access tokens are refused from the next request on. This cannot be undone. `pat show`, and
    `pat list` with the filter 'state eq "revoked"', still show it for 30 days (setting retention).

    With --from-file, every PAT token, PAT secret and PAT id in the text ends its PAT, and every access token
    ends. Nothing else is touched: a token that merely looks like one of these is not ours. An id alone proves
    nothing and is in many logs; --without-ids leaves it alone. A line is printed for each that is found, and
    never a secret. To find the PAT of a secret without its id, all PATs of the tenant are looked at. A secret
    that a line break cuts in two is not found. It is safe to run it again.

    The exit code is 0 also if nothing of ours is there. `changed` counts PATs and access tokens; `ids` are
    the PATs.

    \b
    Examples:
      patauth pat revoke 1c9ae4ac109beb19a0243df4debc2d2f --yes
      patauth pat revoke ci --owner-id alice --reason "in a public repository" --yes
      patauth pat revoke --from-file - --yes < report.txt
    """
    if (named is None) == (report is None):
        raise click.UsageError("give either an ID, a NAME with --owner-id, or --from-file")
    if report is not None:
        require_yes(yes)
        revoke_leaked(report, yes=yes, with_ids=not without_ids, reason=reason)
        return
    assert named is not None
    if without_ids:
        raise click.UsageError("--without-ids is for --from-file")
    require_yes(yes)
    with open_authority() as authority:
        pat_id = named.id_in(authority, removed=True)  # `delete` makes sure that its end is durable
        if not yes:
            try:
                found = authority.get(pat_id)
            except NotFound:  # delete raises it too, after it has made sure that the removal is durable
                pass
            else:
                confirm(f"Revoke the PAT {found.name!r} of {found.owner.id}, for good?")
        authority.delete(pat_id, reason)
    print_changed(1, [pat_id])


@pat.command(short_help="Remove all access tokens, and some PATs, for good.")
@click.argument("pat_ids", metavar="[ID]...", nargs=-1, shell_complete=suggestions.pats)
@yes_option
def purge(pat_ids: tuple[str, ...], yes: bool) -> None:
    """Remove all access tokens, and the PATs whose ids you give, for good.

    Use it after you have restored an old copy of the store: that copy holds PATs and access tokens that have
    been revoked since. Give the ids of those PATs. All access tokens are removed with them, of every tenant
    under the key prefix; clients get new ones by their next exchange. You can repeat this safely.

    `changed` counts access tokens and PATs; `ids` are the PATs. A PAT that does not exist is only mentioned.

    \b
    Examples:
      patauth pat purge --yes
      patauth pat purge 1c9ae4ac109beb19a0243df4debc2d2f --yes
    """
    for place, pat_id in enumerate(pat_ids, 1):
        if PatId.read(pat_id) is None:  # the text is not repeated, because it may be a secret
            raise click.UsageError(f"argument {place} is not a PAT id; nothing was changed")
    require_yes(yes)
    removed = []
    with open_authority() as authority:
        if not yes:
            pats = {0: "", 1: " and the PAT"}.get(len(pat_ids), f" and {len(pat_ids)} PATs")
            confirm(f"Remove all access tokens{pats}, for good?")
        for pat_id in dict.fromkeys(pat_ids):
            try:
                authority.delete(pat_id)
            except NotFound:
                message(f"Note: there is no PAT {pat_id}.")
            else:
                removed.append(pat_id)
        tokens = sum(
            progress(purge_access_tokens(authority.operations.actor(None)), "Removing access tokens")
        )
    print_changed(tokens + len(removed), removed)
