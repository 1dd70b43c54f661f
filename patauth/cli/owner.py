"""`patauth owner`: disable, enable and revoke all PATs of an owner."""

from __future__ import annotations

import click

from ..model.leaks import refuse_credential
from ..operations import owners
from . import suggestions
from .context import message, open_authority
from .options import Group, confirm, reason_option, require_yes, yes_option
from .output import print_changed

_owner_id = click.argument("owner_id", metavar="ID", shell_complete=suggestions.owners)


@click.group(cls=Group)
def owner() -> None:
    """Disable, enable or revoke all PATs of an owner at once.

    An owner is who a PAT acts for: a user of your application, by the id that the application uses.

    \b
    Example:
      patauth owner disable alice --store local:./patauth-data
    """


@owner.command(short_help="Refuse all PATs and access tokens of an owner.")
@_owner_id
def disable(owner_id: str) -> None:
    """Refuse all PATs and access tokens of an owner until you enable them again.

    They are refused from the next request on, and no PAT can be created for the owner in the meantime. You
    can disable an owner who has no PATs. `changed` counts PATs.

    \b
    Example:
      patauth owner disable alice
    """
    with open_authority() as authority:
        refuse_credential(owner_id, authority.settings.credential_prefixes, "ID")
        ids = owners.set_owner_state(authority.operations.actor(None), owner_id, disabled=True)
    print_changed(len(ids), ids)
    if not ids:
        message(
            f"{owner_id} has no PATs. They are disabled all the same: no PAT can be created for them until"
            f" patauth owner enable {owner_id}"
        )


@owner.command(short_help="Undo `owner disable`.")
@_owner_id
def enable(owner_id: str) -> None:
    """Undo `owner disable`: PATs and access tokens work again, unless they have expired.

    A PAT that was disabled by itself (`pat disable`) stays refused. `changed` counts PATs.

    \b
    Example:
      patauth owner enable alice
    """
    with open_authority() as authority:
        refuse_credential(owner_id, authority.settings.credential_prefixes, "ID")
        ids = owners.set_owner_state(authority.operations.actor(None), owner_id, disabled=False)
    print_changed(len(ids), ids)
    if not ids:
        message(f"{owner_id} has no PATs. They are not disabled: PATs can be created for them.")


@owner.command()
@_owner_id
@reason_option
@yes_option
def revoke(owner_id: str, reason: str | None, yes: bool) -> None:
    """Revoke all PATs of an owner for good.

    The PATs and their access tokens are refused from the next request on. This cannot be undone. New PATs can
    still be created for the owner; to prevent that, use `patauth owner disable`.

    \b
    Example:
      patauth owner revoke alice --yes
    """
    require_yes(yes)
    with open_authority() as authority:
        refuse_credential(owner_id, authority.settings.credential_prefixes, "ID")
        total = authority.list(owner_id=owner_id, limit=0, count=True).total
        if not yes and total:
            pats = "the PAT" if total == 1 else f"all {total} PATs"
            confirm(f"Revoke {pats} of {owner_id}, for good?")
        # Also when there are none: an earlier removal may have ended unknown, and this makes it durable.
        ids = owners.revoke_owner(authority.operations.actor(None), owner_id, reason)
    if not ids:
        message(f"{owner_id} has no PATs.")
    print_changed(len(ids), ids)
