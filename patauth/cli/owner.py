"""`patauth owner`: all PATs of one owner at once."""

from __future__ import annotations

import click

from .options import Group, confirm, open_authority, require_yes_without_terminal
from .output import message, print_changed


@click.group(cls=Group)
def owner() -> None:
    """Disable, enable and revoke all PATs of an owner at once.

    An owner is who a PAT acts for, by your application's own id.

    \b
    Example:
      patauth owner disable alice --store local:./patauth-data
    """


@owner.command()
@click.argument("owner_id", metavar="ID")
def disable(owner_id: str) -> None:
    """Refuse all PATs and access tokens of an owner, until they are enabled again.

    It holds from the very next request on, and no PAT can be made for the owner meanwhile. An owner without
    PATs is disabled all the same.

    \b
    Example:
      patauth owner disable alice
    """
    with open_authority() as authority:
        count = authority.disable_owner(owner_id)
        ids = [pat.id for pat in authority.list(owner_id=owner_id)]
    print_changed(count, ids)


@owner.command()
@click.argument("owner_id", metavar="ID")
def enable(owner_id: str) -> None:
    """Undo `owner disable`: PATs and access tokens that have not expired meanwhile pass again.

    \b
    Example:
      patauth owner enable alice
    """
    with open_authority() as authority:
        count = authority.enable_owner(owner_id)
        ids = [pat.id for pat in authority.list(owner_id=owner_id)]
    print_changed(count, ids)


@owner.command()
@click.argument("owner_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask; required where there is no terminal.")
def revoke(owner_id: str, yes: bool) -> None:
    """Revoke all PATs of an owner for good.

    They and their access tokens are refused from the very next request on. This cannot be undone. New PATs
    can be made for the owner; `patauth owner disable` prevents that.

    \b
    Example:
      patauth owner revoke alice --yes
    """
    require_yes_without_terminal(yes)
    with open_authority() as authority:
        ids = [pat.id for pat in authority.list(owner_id=owner_id)]
        if not yes and ids:
            confirm(
                f"Revoke {'the PAT' if len(ids) == 1 else f'all {len(ids)} PATs'} of {owner_id}, for good?"
            )
        # Without any, too: it makes sure that earlier removals, whose outcome may be unknown, are durable.
        count = authority.revoke_owner(owner_id)
    if not count:
        message(f"{owner_id} has no PATs.")
    print_changed(count, ids)
