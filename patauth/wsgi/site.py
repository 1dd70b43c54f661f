"""A site: an Authority as one WSGI application serves it, with what HTTP alone needs to know."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..authority import Authority
from ..errors import ConfigurationError, MissingCredentials, PatAuthError
from ..model.caller import Person
from ..model.http_names import read_challenges, read_token_headers
from ..operations.authenticate import Admission
from . import request
from .answers import Answer, Challenges, gate_error
from .redaction import Redaction

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Identify = Callable[[dict[str, Any]], Person | None]

_log = logging.getLogger("patauth")


class Site:
    """Reads requests to one Authority, and says how their refusals look. It never changes.

    `identify` returns the host's signed-in person, or None for nobody. `challenges` and `token_headers`: None
    means the setting. Raise `ConfigurationError`.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        identify: Identify | None = None,
        challenges: Iterable[str] | None = None,
        token_headers: Iterable[str] | None = None,
    ) -> None:
        if identify is not None and not callable(identify):
            raise ConfigurationError("identify: give a callable that takes the environ, or None")
        self.authority = authority
        self.settings = settings = authority.settings
        self.operations = authority.operations
        self.identify = identify
        schemes = settings.challenges if challenges is None else _read(read_challenges, challenges)
        self.challenges = Challenges(settings.realm, schemes)
        names = settings.token_headers if token_headers is None else _read(read_token_headers, token_headers)
        self.token_headers = names
        self.token_keys = tuple("HTTP_" + name.upper().replace("-", "_") for name in names)  # in the environ

    def carried(self, environ: WSGIEnvironment) -> str:
        """Return the credentials that a request carries as an Authorization value; empty without any.

        Raise `InvalidRequest` for two carriers in one request.
        """
        return request.carried(environ, self.token_keys)

    def client_address(self, environ: WSGIEnvironment) -> str | None:
        """Return the address of the client, None if it is not known."""
        return request.client_address(environ, self.settings.trusted_proxies)

    def authenticate(self, environ: WSGIEnvironment) -> Admission:
        """Verify the credentials of a request, and charge the request quota.

        Raise `MissingCredentials`, and as `Authority.authenticate`.
        """
        authorization = self.carried(environ)
        if not authorization:
            raise MissingCredentials
        return self.operations.authenticate(authorization, self.client_address(environ))

    def refusal(self, error: PatAuthError) -> Answer:
        """Return an error as the gate and forward-auth answer it."""
        return gate_error(error, self.challenges)

    def log_failure(self, what: str, problem: Exception) -> None:
        """Log the type and place of an unexpected exception. Its text may hold a secret.

        So the text is logged at the level DEBUG alone, and without credentials.
        """
        shown = PatAuthError(type(problem).__name__)
        _log.error(what, exc_info=(type(shown), shown, problem.__traceback__))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", what, Redaction(self.settings.credential_prefixes).hide(str(problem)))


def _read(read: Callable[[Any], tuple[str, ...]], given: Iterable[str]) -> tuple[str, ...]:
    try:
        return read(given)
    except (ValueError, TypeError) as problem:
        name = read.__name__.removeprefix("read_")
        raise ConfigurationError(f"{name}: {problem}") from None
