"""The exchange of a PAT's id and secret for a short-lived access token with its scopes (RFC 6749 §4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from ..errors import InvalidCredentials, RateLimited, StoreUnavailable
from ..events.events import Events
from ..model.address import Address
from ..model.credentials import Format, PatCredentials
from ..model.pat import PersonalAccessToken
from ..model.quota import Decision
from ..model.scopes import check, narrow, parse
from ..settings import Settings
from ..store.record import PatRecord, TokenRecord
from ..store.store import Store
from ..store.tokens import Full
from .authenticate import Attempt, Authenticator
from .conditions import secret_expiry
from .last_use import Proven

if TYPE_CHECKING:
    from ..jwt.issuer import SignedTokens

_TRIES = 3  # a PAT that changes between verification and issue is checked again


@dataclass(frozen=True, slots=True)
class Access:
    """An access token and what RFC 6749 §5.1 tells a client about it."""

    value: str = field(repr=False)
    expires_in: int  # whole seconds, rounded down
    scope: tuple[str, ...]  # the scopes that were granted
    token_type: str = "Bearer"  # noqa: S105


class Exchanged(NamedTuple):
    """A new access token, the decision of the exchange quota, and an expiry to warn of."""

    access: Access
    decision: Decision | None
    expires_ms: int | None  # when the PAT's secret expires, if that is within `expiry_warning`


class Exchanger:
    """Issues access tokens: with `signed` JWTs, but not for PATs with networks. Safe for many threads."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        authenticator: Authenticator,
        events: Events,
        signed: SignedTokens | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._authenticator = authenticator
        self._events = events
        self._signed = signed
        self._format = Format(settings.credential_prefixes)

    def exchange(
        self, credentials: PatCredentials, scope: str | Iterable[str] | None, address: Address
    ) -> Exchanged:
        """Verify the secret, charge the exchange quota, and issue a token with at most the PAT's scopes.

        Raise `InvalidScope`, `RateLimited` (also if the secret has too
        many tokens), and what `Authenticator.prove` raises.
        """
        proven = self._authenticator.prove(credentials, address, "exchange")
        requested = parse(scope or "") if isinstance(scope, str | None) else check(scope)
        tokens = self._store.tokens.until(proven.deadline)
        for _ in range(_TRIES):
            lifetime = proven.record.pat.access_token_ttl or self._settings.access_token_ttl
            token = self._token(proven, requested, lifetime)
            text, digest = self._mint(proven, token)
            issued = tokens.issue(proven.record, digest, token, self._most(lifetime))
            if issued == "issued":
                break
            if isinstance(issued, Full):
                raise self._too_many(issued, lifetime, proven.record.pat, address)
            if not isinstance(issued, PatRecord):
                owner_id = proven.record.pat.owner.id
                self._events.refused("revoked", address.charged, token.pat_id, owner_id)
                raise InvalidCredentials
            paused, known = proven.deadline.paused, proven.slot.digest
            attempt = Attempt(credentials, address, proven.tag, paused, known)
            slot = self._authenticator.check_secret(attempt, issued, issued.pat.read_ms)
            proven = replace(proven, record=issued, slot=slot)
        else:
            raise StoreUnavailable(detail=f"PAT {credentials.pat_id} kept changing")
        if proven.use_is_due:
            self._authenticator.last_use.note(proven)
        seconds = (token.expires_ms - proven.verdict.now) // 1000
        self._events.emit(
            "token.issued",
            patId=token.pat_id,
            ownerId=proven.record.pat.owner.id,
            scope=list(token.scopes),
            expiresIn=seconds,
            address=address.charged,
        )
        access = Access(text, seconds, token.scopes)
        return Exchanged(access, proven.decision, self._authenticator.to_warn_of(proven))

    def _mint(self, proven: Proven, token: TokenRecord) -> tuple[str, bytes]:
        """Return the text of a token, and the digest that is the key of its record.

        It is not signed for a PAT with networks: without the store, nobody knows where it may be used.
        """
        pat, now = proven.record.pat, proven.verdict.now
        if self._signed is None or pat.networks:
            return self._format.mint_access_token(token.pat_id)
        return self._signed.sign(token.pat_id, pat.owner.id, token.scopes, now, token.expires_ms)

    def _most(self, lifetime: int) -> int | None:
        """Return how many access tokens a secret may have, each for `lifetime` seconds.

        None: no count is necessary, since the exchange quota does not let it have so many.
        """
        quota, most = self._settings.exchange_quota, self._settings.max_tokens_per_secret
        at_once = quota.count + lifetime * quota.count // quota.seconds
        return None if at_once <= most else most

    def _too_many(self, full: Full, lifetime: int, pat: PersonalAccessToken, address: Address) -> RateLimited:
        most = self._settings.max_tokens_per_secret
        refusal = RateLimited(-(-full.ms // 1000) or 1, quota="tokens", count=most, seconds=lifetime)
        return self._events.limited(refusal, patId=pat.id, ownerId=pat.owner.id, address=address.charged)

    def _token(self, proven: Proven, requested: tuple[str, ...], lifetime: int) -> TokenRecord:
        record, generation, settings = proven.record, proven.slot.generation, self._settings
        granted = narrow(requested, record.pat.scope, settings.scopes or (), settings.ignored_scopes)
        expires_ms, secret_end = proven.verdict.now + 1000 * lifetime, secret_expiry(record, generation)
        if secret_end is not None:
            expires_ms = min(expires_ms, secret_end)
        return TokenRecord(record.pat_id, generation, expires_ms, granted)
