"""`patauth token` and `patauth verify`: credentials, which are read from standard input only."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from ..authority import Authority
from ..model.address import check_address
from ..model.caller import Principal
from . import suggestions
from .context import open_authority
from .options import SCOPE, Command, Group, Value, read_secret_line
from .output import format_date, json_date, print_facts

_client_address = click.option(
    "--client-address",
    type=Value("ADDRESS", partial(check_address, field="client_address")),
    metavar="ADDRESS",
    help="Where it is used: a PAT with networks is refused elsewhere.  [default: not known]",
)


@click.group(cls=Group)
def token() -> None:
    """Exchange a PAT for an access token; examine and revoke tokens.

    \b
    Example:
      patauth token exchange --store local:./patauth-data < credentials
    """


@token.command()
@click.option(
    "--scope",
    "scopes",
    type=SCOPE,
    multiple=True,
    help="What the token may do; repeat.  [default: all that the PAT may]",
    shell_complete=suggestions.scopes,
)
@_client_address
def exchange(scopes: tuple[str, ...], client_address: str | None) -> None:
    """Exchange a PAT's id and secret for an access token.

    Write one line, `ID:SECRET`, to standard input. On a terminal you are asked for it, and what you type is
    not shown. The output is the answer of POST /oauth/token (RFC 6749). Exit code 4 means that the id and
    secret are refused.

    \b
    Examples:
      patauth token exchange --scope reports:read < credentials
      patauth token exchange --output json < credentials | jq -r .access_token
    """
    with open_authority() as authority:
        pat_id, _, secret = read_secret_line("ID:SECRET").partition(":")
        access = authority.exchange(pat_id, secret, scope=scopes, address=client_address)
    answer = {
        "access_token": access.value,
        "token_type": access.token_type,
        "expires_in": access.expires_in,
        "scope": " ".join(access.scope),
    }
    print_facts(answer, answer.items())


@token.command()
@_client_address
def introspect(client_address: str | None) -> None:
    """Say whether a token is valid now, and what it may do.

    Write an access token or a PAT token to standard input, in one line. On a terminal you are asked for it,
    and what you type is not shown. The output is the answer of RFC 7662. This does not count as a use of the
    token, and not against its quota.

    \b
    Example:
      patauth token introspect --output json < token | jq .active
    """
    with open_authority() as authority:
        given = _readable(authority, read_secret_line("the token"))
        found = authority.introspect(given, client_address=client_address)
        members = found.members(authority.settings.issuer)
    print_facts(members, {**members, "active": str(members["active"]).lower()}.items())


@token.command()
def revoke() -> None:
    """Revoke an access token for good. With a PAT token, revoke its PAT.

    Write the token to standard input, in one line. On a terminal you are asked for it, and what you type is
    not shown. A token that is unknown or has ended already is not an error: `revoked` is then no, and in JSON
    `changed` is 0.

    \b
    Example:
      patauth token revoke < token
    """
    with open_authority() as authority:
        ended = authority.revoke(_readable(authority, read_secret_line("the token")))
    print_facts(
        {"changed": int(ended), "ids": []},
        [("revoked", "yes" if ended else "no: there is no such token, or it has ended already")],
    )


def _readable(authority: Authority, token: str) -> str:
    """Return the token. Raise `click.UsageError` if it is signed and these settings cannot read it."""
    if token.count(".") == 2 and not authority.operations.reads_jwts:
        raise click.UsageError(
            "this is a signed token, and these settings cannot read it; set PATAUTH_ISSUER,"
            " PATAUTH_ACCESS_TOKEN_FORMAT and PATAUTH_KEYS to the values that the service has"
        )
    return token


@click.command(cls=Command, short_help="Say who an Authorization value belongs to.")
@_client_address
def verify(client_address: str | None) -> None:
    """Verify an Authorization value, and say who it belongs to and what it may do.

    Write the value, `Basic …` or `Bearer …`, to standard input, in one line. On a terminal you are asked for
    it, and what you type is not shown. It counts as a request: against the quota, and as a use. Exit code 4
    means that the value is refused.

    \b
    Example:
      patauth verify --store local:./patauth-data < authorization
    """
    with open_authority() as authority:
        given = read_secret_line("Basic … or Bearer …")
        principal = authority.authenticate(given, address=client_address)
    subject = principal.subject
    print_facts(
        {"principal": _principal_object(principal)},
        [
            ("subject", f"{subject.id} ({subject.name}, {subject.type})"),
            ("scopes", " ".join(sorted(principal.scopes))),
            ("PAT id", principal.pat_id),
            ("tenant", principal.tenant),
            ("method", principal.method),
            ("expires", format_date(principal.expires_ms)),
        ],
    )


def _principal_object(principal: Principal) -> dict[str, Any]:
    subject = principal.subject
    return {
        "subject": {"id": subject.id, "name": subject.name, "type": subject.type},
        "scopes": sorted(principal.scopes),
        "patId": principal.pat_id,
        "tenant": principal.tenant,
        "method": principal.method,
        "expiresAt": json_date(principal.expires_ms),
    }
