"""A site: an Authority as one WSGI application serves it, with the options that only HTTP needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..authority import Authority
from ..errors import ConfigurationError, InsufficientScope, MissingCredentials, PatAuthError
from ..model.address import Address
from ..model.caller import Person, Principal
from ..model.hooks import Hook
from ..model.http_names import read_challenges, read_token_headers
from ..model.redaction import Redaction
from ..operations.admit import Admission
from ..settings import read_named
from ..store.deadline import aside
from . import request
from .answers import Answer, Challenges, gate_error, with_body
from .cors import Cors
from .errors import NotConfirmed
from .hooks import check_sync, load

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

T = TypeVar("T")

Identify = Callable[[dict[str, Any]], Person | None]
# Raises, or returns False, unless the signed-in person has just confirmed who they are.
Reauthenticate = Callable[[dict[str, Any]], object]
# Takes the environ and the error; returns a body and its content type, or None for patauth's own.
OnRefusal = Callable[[dict[str, Any], PatAuthError], "tuple[str | bytes, str] | None"]

_log = logging.getLogger("patauth")


class Site:
    """Reads requests to one Authority, and makes their refusals. It never changes.

    `identify` returns the host's signed-in person, or None for nobody. `reauthenticate` raises, or
    returns False, unless they have just confirmed who they are. Both get a copy of the environ without the
    body. `on_refusal` words a refusal. `cors` says which pages may read answers; None: only those of the same
    origin. For all others except `on_refusal`, None means the setting. Raise `ConfigurationError`.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        identify: Hook | None = None,
        reauthenticate: Hook | None = None,
        challenges: Iterable[str] | None = None,
        token_headers: Iterable[str] | None = None,
        on_refusal: OnRefusal | None = None,
        cors: Cors | None = None,
    ) -> None:
        if on_refusal is not None and not callable(on_refusal):
            raise ConfigurationError("on_refusal: give a callable of the environ and the error, or None")
        self.authority = authority
        self.settings = settings = authority.settings
        self.operations = authority.operations
        identify = settings.identify if identify is None else identify
        reauthenticate = settings.reauthenticate if reauthenticate is None else reauthenticate
        self.identify: Identify | None = load("identify", identify)
        self._reauthenticate: Reauthenticate | None = load("reauthenticate", reauthenticate)
        self._on_refusal = check_sync("on_refusal", on_refusal)
        self.cors = cors
        self.words_refusals = on_refusal is not None
        schemes, names = settings.challenges, settings.token_headers
        if challenges is not None:
            schemes = read_named("challenges", read_challenges, challenges)
        if token_headers is not None:
            names = read_named("token_headers", read_token_headers, token_headers)
        # Returns the address of the client, of an environ.
        self.client_address: Callable[[WSGIEnvironment], Address] = partial(
            request.client_address, settings.trusted_proxies, settings.proxy_networks
        )
        self.challenges = Challenges(settings.realm, schemes)
        self.token_headers = names
        self.token_keys = tuple("HTTP_" + name.upper().replace("-", "_") for name in names)  # in the environ

    def carried(self, environ: WSGIEnvironment) -> str:
        """Return the credentials that a request carries as an Authorization value; empty without any.

        Raise `InvalidRequest` for two carriers in one request.
        """
        return request.carried(environ, self.token_keys)

    def authenticate(self, environ: WSGIEnvironment, *, ending: bool = False) -> Admission:
        """Verify the credentials of a request, and charge the request quota.

        `ending`: the request ends something, so it passes without a charge if the store's memory is full.

        Raise `MissingCredentials`, and what `Authority.authenticate` raises.
        """
        authorization = self.carried(environ)
        if not authorization:
            raise MissingCredentials
        admission = self.operations.authenticate(authorization, self.client_address(environ), ending=ending)
        environ[request.PAT_ID] = admission.principal.pat_id
        return admission

    def confirm(self, environ: WSGIEnvironment) -> Callable[[], None] | None:
        """Return the `confirm` of `Operations.actor`: it raises `NotConfirmed` if `reauthenticate` refuses.

        None: the host does not ask people to confirm who they are.
        """
        return None if self._reauthenticate is None else partial(self._confirm, self._reauthenticate, environ)

    def _confirm(self, reauthenticate: Reauthenticate, environ: WSGIEnvironment) -> None:
        with suppress(PatAuthError):  # the log has it
            answer = self.ask("reauthenticate", reauthenticate, request.without_body(environ))
            if answer is None or answer is True:
                return
            if answer is not False:  # such as what an `async def` returns, which would hold for true
                kind = type(answer).__name__
                _log.error("the callable `reauthenticate` returned a %s, not a bool or None: refused", kind)
        raise NotConfirmed

    def lacking(self, principal: Principal, required: Iterable[str]) -> InsufficientScope:
        """Return the refusal of a caller without the scopes that are needed. Emit its event."""
        refusal = InsufficientScope(required)
        self.operations.events.emit(
            "scope.refused",
            "refused",
            patId=principal.pat_id,
            ownerId=principal.subject.id,
            scope=list(refusal.required),
        )
        return refusal

    def refusal(self, error: PatAuthError, environ: WSGIEnvironment) -> Answer:
        """Return an error as the gate and forward-auth answer it, or as `on_refusal` words it."""
        answer = gate_error(error, self.challenges)
        if self._on_refusal is None:
            return answer
        try:
            given = self.ask("on_refusal", self._on_refusal, request.bare(environ, self.token_keys), error)
        except PatAuthError:  # the log has it
            return answer
        if given is None:
            return answer
        worded = with_body(answer, given)
        if worded is None:
            _log.error("on_refusal: return (body, content type) or None; the usual answer is sent")
        return worded or answer

    def ask(self, name: str, function: Callable[..., T], *args: Any) -> T:
        """Return what a callable of the host returns. If it fails, log the place and raise `PatAuthError`.

        It may take long, so another request gets the turn meanwhile.
        """
        with aside():
            return self._ask(name, function, *args)

    def _ask(self, name: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return function(*args)
        except (Exception, SystemExit) as problem:  # what calls sys.exit ends a request, not the process
            self.log_failure(f"the callable `{name}` failed", problem)
            raise PatAuthError(detail=f"the callable `{name}` failed") from None

    def log_failure(self, what: str, problem: BaseException) -> None:
        """Log the type and place of an unexpected exception.

        Its text may contain a secret, so log the text only at the level DEBUG, and without credentials.
        """
        shown = PatAuthError(type(problem).__name__)
        _log.error(what, exc_info=(type(shown), shown, problem.__traceback__))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", what, Redaction(self.settings.credential_prefixes).text_of(problem))
