"""`patauth pat create`, `update` and `rotate`: what makes a PAT, or changes one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from .options import Command, open_authority
from .output import format_date, message, print_issued, print_pat, require_stdout

F = TypeVar("F", bound=Callable[..., Any])


def _read_by(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback for a value that one of the library's readers understands."""

    def callback(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        from ..errors import InvalidRequest

        try:
            return None if text is None else read(text)
        except InvalidRequest as error:
            raise click.BadParameter(error.problem, ctx, parameter) from error
        except ValueError as problem:
            raise click.BadParameter(str(problem), ctx, parameter) from problem
        except OverflowError:
            raise click.BadParameter("this is further away than dates go", ctx, parameter) from None

    return callback


def _seconds(text: str) -> int:
    from ..settings import parse_duration

    return parse_duration(text)


def _duration(text: str) -> timedelta:
    if text.strip().isdigit() and text.strip() != "0":  # 30 is meant as days, and would be seconds
        raise ValueError("give an integer and one of s m h d w, such as 30d or 12h")
    return timedelta(seconds=_seconds(text))


def _date_time(text: str) -> datetime:
    from ..model.dates import parse_ms, to_datetime

    return to_datetime(parse_ms(text))


def _expiry_options(command: F) -> F:
    for option in (
        click.option("--never-expires", is_flag=True, help="It lasts until it is revoked."),
        click.option(
            "--expires-at",
            metavar="DATE-TIME",
            callback=_read_by(_date_time),
            help="When it expires, with the offset from UTC: 2030-01-31T12:00:00Z.",
        ),
        click.option(
            "--expires-in",
            metavar="DURATION",
            callback=_read_by(_duration),
            help="How long from now it lasts: an integer and one of s m h d w, such as 30d.",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=Command)
@click.option("--owner-id", required=True, help="Who the PAT acts for, by your application's own id.")
@click.option("--owner-name", help="The owner's name for people.  [default: the id]")
@click.option("--owner-type", default="IDENTITY", show_default=True, help="The owner's kind.")
@click.option("--name", required=True, help="What the PAT is for; unique for each owner.")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do; repeat for several.")
@_expiry_options
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
    from ..model.pat import Owner

    require_stdout("nothing was made")
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
    print_issued(
        issued,
        done="made",
        remedy=f"revoke it by 'patauth pat revoke {issued.pat.id} --yes', and make another",
    )


@click.command(cls=Command)
@click.argument("pat_id", metavar="ID")
@click.option("--name", help="What the PAT is for; unique for each owner.")
@click.option("--scope", "scopes", multiple=True, help="What it may do, and no more; repeat for several.")
@_expiry_options
def update(
    pat_id: str,
    name: str | None,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    expires_at: datetime | None,
    never_expires: bool,
) -> None:
    """Change a PAT's name, scopes or expiry, by its id.

    What is not given stays, and the secret does. All of it is changed or nothing. Access tokens that are out
    already keep their scopes; `patauth pat rotate --overlap 0s` ends them. An expired PAT cannot be changed.

    \b
    Examples:
      patauth pat update 1c9ae4ac109beb19a0243df4debc2d2f --name nightly --expires-in 90d
      patauth pat update 1c9ae4ac109beb19a0243df4debc2d2f --scope reports:read --scope reports:write
    """
    expiries = [expires_in is not None, expires_at is not None, never_expires].count(True)
    if expiries > 1:
        raise click.UsageError("give only one of --expires-in, --expires-at and --never-expires")
    if name is None and not scopes and not expiries:
        raise click.UsageError(
            "nothing to change: give --name, --scope,"
            " or one of --expires-in, --expires-at and --never-expires"
        )
    from ..model.dates import format_ms
    from ..model.expiry import Expiry

    members: dict[str, Any] = {}
    if name is not None:
        members["name"] = name
    if scopes:
        members["scope"] = list(scopes)
    if never_expires:
        members |= {"expirationDate": None, "userAwareTokenNeverExpires": True}
    with open_authority() as authority:
        if expires_in is not None or expires_at is not None:
            expiry = Expiry.read(expires_in if expires_in is not None else expires_at)
            found = authority.get(pat_id)  # for the store's clock, too
            at = expiry.settle(found.read_ms, created=found.created_ms)
            assert at is not None
            members["expirationDate"] = format_ms(at)
        operations = [
            {"op": "replace", "path": f"/{member}", "value": value} for member, value in members.items()
        ]
        changed = authority.patch(pat_id, operations)
    print_pat(changed)


@click.command(cls=Command)
@click.argument("pat_id", metavar="ID")
@click.option(
    "--overlap",
    metavar="DURATION",
    default="1h",
    show_default=True,
    callback=_read_by(_duration),
    help="How long the old secret passes, too, 0s to 7d: an integer and one of s m h d w.",
)
def rotate(pat_id: str, overlap: timedelta) -> None:
    """Give a PAT a new secret, and print it and the new token this once.

    Id, name, scopes and expiry stay. The old secret and token pass for the overlap too, never past the
    expiry, so that whoever has them can be given the new ones meanwhile; access tokens end with the secret
    that they came from. A secret that is still in the overlap of an earlier rotation ends at once. With
    --overlap 0s nothing but the new secret passes: for a secret that leaked.

    \b
    Examples:
      patauth pat rotate 1c9ae4ac109beb19a0243df4debc2d2f --overlap 1d
      patauth pat rotate 1c9ae4ac109beb19a0243df4debc2d2f --overlap 0s
    """
    require_stdout("nothing was changed")
    with open_authority() as authority:
        issued = authority.rotate(pat_id, overlap=overlap)
    pat = issued.pat
    end = pat.read_ms + overlap // timedelta(milliseconds=1)
    end = end if pat.expires_ms is None else min(end, pat.expires_ms)
    passes = f"passes until {format_date(end)}" if overlap else "passes no more"
    again = f"rotate again by 'patauth pat rotate {pat.id} --overlap 0s'"
    print_issued(issued, done="rotated", remedy=f"the old one {passes}; {again}, after which neither passes")
    message(f"The old secret {passes}.")
