"""`patauth token` and `patauth verify`: credentials, which are read from standard input and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import Command, Group, open_authority, options, read_secret_line
from .output import print_changed, print_facts, print_json

if TYPE_CHECKING:
    from ..authority import Authority
    from ..model.caller import Principal


@click.group(cls=Group)
def token() -> None:
    """Exchange a PAT for an access token; look at tokens, and end them.

    \b
    Example:
      patauth token exchange --store local:./patauth-data < credentials
    """


@token.command()
@click.option(
    "--scope", "scopes", multiple=True, help="What the token may do; repeat.  [default: all of the PAT's]"
)
def exchange(scopes: tuple[str, ...]) -> None:
    """Exchange a PAT's id and secret for an access token, as POST /oauth/token does.

    The line `ID:SECRET` is read from standard input; a terminal is asked for it and shows nothing. What is
    printed is the answer of RFC 6749. Exit code 4: the id and secret are refused.

    \b
    Examples:
      patauth token exchange --scope reports:read < credentials
      patauth token exchange --output json < credentials | jq -r .access_token
    """
    with open_authority() as authority:
        pat_id, _, secret = read_secret_line("ID:SECRET").partition(":")
        access = authority.exchange(pat_id, secret, scope=scopes)
    answer = {
        "access_token": access.value,
        "token_type": access.token_type,
        "expires_in": access.expires_in,
        "scope": " ".join(access.scope),
    }
    if options().json:
        print_json(answer)
    else:
        print_facts((name, str(value)) for name, value in answer.items())


@token.command()
def introspect() -> None:
    """Say what an access token or a PAT token is worth now.

    The token is read from standard input in one line; a terminal is asked for it and shows nothing. What is
    printed is the answer of RFC 7662. It is no use of the token, and costs none of its quota.

    \b
    Example:
      patauth token introspect --output json < token | jq .active
    """
    with open_authority() as authority:
        found = authority.introspect(_readable(authority, read_secret_line("token")))
        members = found.members(authority.settings.issuer)
    if options().json:
        print_json(members)
    else:
        print_facts(
            (name, str(value).lower() if name == "active" else str(value)) for name, value in members.items()
        )


@token.command()
def revoke() -> None:
    """End an access token for good, or with a PAT token its PAT.

    The token is read from standard input in one line; a terminal is asked for it and shows nothing. One that
    is unknown or has ended already is no error: `changed` is 0 then.

    \b
    Example:
      patauth token revoke < token
    """
    with open_authority() as authority:
        ended = authority.revoke(_readable(authority, read_secret_line("token")))
    print_changed(int(ended), [])


def _readable(authority: Authority, token: str) -> str:
    """The token; unless it is signed, and these settings have no say on signed ones."""
    if token.count(".") == 2 and not authority.reads_jwts:
        raise click.UsageError(
            "this is a signed token, and these settings cannot read those; set PATAUTH_ISSUER,"
            " PATAUTH_ACCESS_TOKEN_FORMAT and PATAUTH_KEYS as the service has them"
        )
    return token


@click.command(cls=Command, short_help="Say who an Authorization value is.")
def verify() -> None:
    """Verify an Authorization value, and say who it is and what it may do.

    The value, `Basic …` or `Bearer …`, is read from standard input in one line; a terminal is asked for it
    and shows nothing. It counts as a request: against the quota, and as a use. Exit code 4: it is refused.

    \b
    Example:
      patauth verify --store local:./patauth-data < authorization
    """
    with open_authority() as authority:
        principal = authority.authenticate(read_secret_line("Basic … or Bearer …"))
    found = _principal_object(principal)
    if options().json:
        print_json({"principal": found})
    else:
        subject = found["subject"]
        print_facts(
            [
                ("subject", f"{subject['id']} ({subject['name']}, {subject['type']})"),
                ("scopes", " ".join(found["scopes"])),
                ("PAT id", found["patId"]),
                ("tenant", found["tenant"]),
                ("method", found["method"]),
                ("expires", found["expiresAt"] or "never"),
            ]
        )


def _principal_object(principal: Principal) -> dict[str, Any]:
    from ..model.dates import format_ms

    subject, expires_ms = principal.subject, principal.expires_ms
    return {
        "subject": {"id": subject.id, "name": subject.name, "type": subject.type},
        "scopes": sorted(principal.scopes),
        "patId": principal.pat_id,
        "tenant": principal.tenant,
        "method": principal.method,
        "expiresAt": None if expires_ms is None else format_ms(expires_ms),
    }
