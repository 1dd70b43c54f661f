"""`patauth keys`: the private keys that sign access tokens, where these are JWTs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import (
    Failure,
    Group,
    confirm,
    local_directory,
    named_settings,
    options,
    require_yes_without_terminal,
)
from .output import format_date, message, print_json, print_table

if TYPE_CHECKING:
    from ..jwt.key_files import SigningKeys, State, StoredKey

_COLUMNS = ("KID", "ALGORITHM", "STATE", "SIGNS FROM", "FILE")
_LONGEST_DELAY = 30 * 86_400  # s


@click.group(cls=Group)
def keys() -> None:
    """List and rotate the keys that sign access tokens (setting access_token_format `jwt`).

    They are files: in the directory that PATAUTH_KEYS names, or in DIR/keys of a local:DIR store. They are
    never in the store.

    \b
    Example:
      patauth keys list --store local:./patauth-data
    """


@keys.command(name="list")
def list_keys() -> None:
    """List the keys, oldest first: the one that signs, those that only verify, and those that are next.

    No part of a private key is shown.

    \b
    Examples:
      patauth keys list
      patauth keys list --output json | jq -r '.keys[] | select(.state == "signing").kid'
    """
    place = _place()
    known = place.keys()
    found = list(zip(known, known.states(place.now_ms()), strict=True))
    if options().json:
        print_json({"keys": [_object(one, state) for one, state in found]})
    else:
        print_table(_COLUMNS, [_row(one, state) for one, state in found])


@keys.command()
@click.option(
    "--algorithm",
    type=click.Choice(["ES256", "EdDSA"]),
    help="Of the new key.  [default: that of the last one, else ES256]",
)
@click.option(
    "--delay",
    default="0s",
    metavar="DURATION",
    help="Until it signs, such as 15m; it is published and verifies at once.  [default: 0s]",
)
@click.option(
    "--retire", is_flag=True, help="Remove all other keys now: every signed token that is out ends."
)
@click.option("--yes", is_flag=True, help="With --retire: do not ask; required where there is no terminal.")
def rotate(algorithm: Any, delay: str, retire: bool, yes: bool) -> None:
    """Add a key that signs from now on; those before it go on verifying.

    Processes that share the directory take it up without a restart, and no request is refused meanwhile.
    Where services elsewhere verify with a copy of /oauth/jwks, give them time to fetch it: --delay 15m. Keys
    whose last token has expired are removed. --retire is for a key that others may have seen.

    \b
    Examples:
      patauth keys rotate --store local:./patauth-data
      patauth keys rotate --delay 15m --algorithm EdDSA --output json
      patauth keys rotate --retire --yes
    """
    from ..settings import parse_duration

    try:
        seconds = parse_duration(delay)
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--delay") from None
    if seconds > _LONGEST_DELAY:
        raise click.BadParameter("give 30 days at most", param_hint="--delay")
    if retire and seconds:
        raise click.UsageError("--retire leaves one key, which has to sign at once: leave out --delay")
    if retire:
        require_yes_without_terminal(yes)
    place = _place(make=True)
    if retire and not yes and (count := len(place.keys())):
        what = "the key" if count == 1 else f"all {count} keys"
        confirm(f"Remove {what} that there {'is' if count == 1 else 'are'}, and end all signed tokens?")
    made, removed = place.rotate(algorithm=algorithm, delay=seconds, retire=retire)
    known = place.keys()
    states = dict(zip((one.path for one in known), known.states(place.now_ms()), strict=True))
    state = states.get(made.path, "next")
    if options().json:
        print_json({"key": _object(made, state), "removed": [one.key.kid for one in removed]})
        return
    print_table(_COLUMNS, [_row(made, state)])
    for one in removed:
        message(f"Removed: {one.key.kid}")


def _place(*, make: bool = False) -> SigningKeys:
    """Where the keys are, by the settings; with `make`, fit for the first one."""
    from ..jwt.issuer import signing_keys
    from ..jwt.signature import require_joserfc

    settings = named_settings()
    require_joserfc()
    found = signing_keys(settings)
    if found is None:
        raise Failure(
            "no place for keys is known: set PATAUTH_KEYS to a directory, or name a local: store", 2
        )
    directory = local_directory(settings.store_url)
    if make and settings.keys is None and directory is not None:
        from ..store.local.engine import make_private

        try:
            make_private(str(directory.resolve()))
        except OSError as problem:
            raise Failure(f"{directory} cannot hold the keys: {problem.strerror}", 2) from None
    return found


def _object(one: StoredKey, state: State) -> dict[str, Any]:
    return {
        "kid": one.key.kid,
        "algorithm": one.key.alg,
        "state": state,
        "signsFrom": format_date(one.signs_from_ms) if one.signs_from_ms else None,
        "file": str(one.path),
    }


def _row(one: StoredKey, state: State) -> tuple[str, ...]:
    """As `_COLUMNS` has it."""
    since = format_date(one.signs_from_ms) if one.signs_from_ms else "any time"
    return (one.key.kid, one.key.alg, state, since, str(one.path))
