"""`patauth owner`: disable, enable and revoke all PATs of an owner."""

from __future__ import annotations

import click

from .context import message, open_authority
from .options import Group, confirm, require_yes, yes_option
from .output import print_changed


@click.group(cls=Group)
def owner() -> None:
    """Disable, enable or revoke all PATs of an owner at once.

    An owner is who a PAT acts for: a user of your application, by the id that the application uses.

    \b
    Example:
      patauth owner disable alice --store local:./patauth-data
    """


@owner.command()
@click.argument("owner_id", metavar="ID")
def disable(owner_id: str) -> None:
    """Refuse all PATs and access tokens of an owner until you enable them again.

    They are refused from the next request on, and no PAT can be created for the owner in the meantime. You
    can disable an owner who has no PATs.

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
    """Undo `owner disable`: PATs and access tokens work again, unless they have expired.

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
@yes_option
def revoke(owner_id: str, yes: bool) -> None:
    """Revoke all PATs of an owner for good.

    The PATs and their access tokens are refused from the next request on. This cannot be undone. New PATs can
    still be created for the owner; to prevent that, use `patauth owner disable`.

    \b
    Example:
      patauth owner revoke alice --yes
    """
    require_yes(yes)
    with open_authority() as authority:
        ids = [pat.id for pat in authority.list(owner_id=owner_id)]
        if not yes and ids:
            pats = "the PAT" if len(ids) == 1 else f"all {len(ids)} PATs"
            confirm(f"Revoke {pats} of {owner_id}, for good?")
        # Also when there are none: an earlier removal may have ended unknown, and this makes it durable.
        count = authority.revoke_owner(owner_id)
    if not count:
        message(f"{owner_id} has no PATs.")
    print_changed(count, ids)
