"""`patauth keys`: the private keys that sign access tokens, when those are JWTs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ..jwt.claims import ALGORITHMS
from ..store.url import StoreUrl
from .context import Failure, message, named_settings, options
from .options import SECONDS, Group, confirm, require_yes, wide_option
from .output import format_date, json_date, print_table, relative_date, terminal_width
from .table import Column

if TYPE_CHECKING:
    from ..jwt.key_files import SigningKeys, State, StoredKey

_COLUMNS = (
    Column("KID", whole=True),
    Column("ALGORITHM", leaves=1),
    Column("STATE", colours={"signing": "green", "next": "cyan"}),
    Column("SIGNS FROM", leaves=2),
    Column("FILE", 20, leaves=3),
)
_LONGEST_DELAY = 30 * 86_400  # seconds


@click.group(cls=Group)
def keys() -> None:
    """List and rotate the keys that sign access tokens.

    Access tokens are signed if the setting access_token_format is `jwt`. The keys are files: in the directory
    that PATAUTH_KEYS names, or in DIR/keys of a local:DIR store. They are never in the store itself.

    \b
    Example:
      patauth keys list --store local:./patauth-data
    """


@keys.command(name="list")
@wide_option
def list_keys(wide: bool) -> None:
    """List the keys, oldest first.

    The state of a key is `verifying` (it only verifies), `signing`, or `next` (it will sign later). No part
    of a private key is shown. A terminal gets the columns that fit into it; --wide prints all.

    \b
    Examples:
      patauth keys list
      patauth keys list --output json | jq -r '.keys[] | select(.state == "signing").kid'
    """
    place = _place()
    known = place.keys()
    now = place.now_ms()
    found = list(zip(known, known.states(now), strict=True))
    if not found and not options().json:
        message("There are no keys yet. The first signed token makes one, and so does patauth keys rotate.")
    print_table(
        {"keys": [_object(key, state) for key, state in found]},
        _COLUMNS,
        [_row(key, state, None if wide else now) for key, state in found],
        wide=wide,
    )


@keys.command()
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    help="The algorithm of the new key.  [default: that of the newest key, or ES256]",
)
@click.option(
    "--delay",
    type=SECONDS,
    default="0s",
    show_default=True,
    help="The time until the new key signs, such as 15m. It is published and verifies at once.",
)
@click.option("--retire", is_flag=True, help="Remove all other keys now. Every signed token is then refused.")
@click.option("--yes", is_flag=True, help="With --retire: do not ask. Required when there is no terminal.")
def rotate(algorithm: Any, delay: int, retire: bool, yes: bool) -> None:
    """Add a key that signs from now on. Older keys still verify.

    Processes that use the directory take up the new key without a restart, and no request is refused. If
    other services verify tokens with a copy of /oauth/jwks, give them time to fetch it: --delay 15m. Keys are
    removed when the last token that they signed has expired. Use --retire if somebody may have seen a key.

    \b
    Examples:
      patauth keys rotate
      patauth keys rotate --delay 15m --algorithm EdDSA --output json
      patauth keys rotate --retire --yes
    """
    if delay > _LONGEST_DELAY:
        raise click.BadParameter("give at most 30 days", param_hint="'--delay'")
    if retire and delay:
        raise click.UsageError("--retire leaves one key, which has to sign at once: leave out --delay")
    if retire:
        require_yes(yes)
    place = _place(create=True)
    if retire and not yes and (count := len(place.keys())):
        which = "the key" if count == 1 else f"all {count} keys"
        confirm(f"Remove {which}, and end all signed tokens?")
    made, removed = place.rotate(algorithm=algorithm, delay=delay, retire=retire)
    known = place.keys()
    now = place.now_ms()
    states = dict(zip((key.path for key in known), known.states(now), strict=True))
    state = states.get(made.path, "next")
    kids = [one.key.kid for one in removed]
    print_table({"key": _object(made, state), "removed": kids}, _COLUMNS, [_row(made, state, now)])
    if not options().json:
        for kid in kids:
            message(f"Removed: {kid}")


def _place(*, create: bool = False) -> SigningKeys:
    """Return the keys that the settings name; with `create`, the directory for a first one exists."""
    from ..jwt.issuer import signing_keys
    from ..jwt.signature import require_joserfc

    settings = named_settings()
    require_joserfc()
    found = signing_keys(settings, for_owner=True)
    if found is None:
        raise Failure(
            "there is no place for keys: set PATAUTH_KEYS to a directory, or name a local: store", 2
        )
    directory = StoreUrl.read(settings.store_url).directory
    if create and settings.keys is None and directory is not None:
        from ..store.local.folder import open_folder

        os.close(open_folder(directory))
    return found


def _object(stored: StoredKey, state: State) -> dict[str, Any]:
    return {
        "kid": stored.key.kid,
        "algorithm": stored.key.alg,
        "state": state,
        "signsFrom": json_date(stored.signs_from_ms or None),
        "file": str(stored.path),
    }


def _row(stored: StoredKey, state: State, now: int | None) -> tuple[str, ...]:
    """Return the cells of a key, in the order of `_COLUMNS`.

    On a terminal, the date is relative to `now` (ms); None: it is absolute.
    """
    since = "any time"
    if stored.signs_from_ms:
        since = format_date(stored.signs_from_ms)
        if now is not None and terminal_width() is not None:
            since = relative_date(stored.signs_from_ms, now)
    return (stored.key.kid, stored.key.alg, state, since, str(stored.path))
