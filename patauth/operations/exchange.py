"""The exchange of a PAT's id and secret for a short-lived access token with its scopes (RFC 6749 §4.4).

verdict of the store -> proof or argon2 -> scopes (pure) -> one script: the token, if the PAT is the same

A secret that was exchanged before, for the same scopes, takes a shorter way. A memo keeps what was found
then, and one script charges the quota and writes the token if the record has the same version. If that script
refuses, it has done nothing, and the long way says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ..errors import InvalidCredentials, RateLimited, StoreUnavailable
from ..events.events import Events
from ..model.address import Address, in_detail
from ..model.credentials import Format, PatCredentials
from ..model.pat import PersonalAccessToken, used
from ..model.quota import Decision
from ..model.scopes import check, narrow, parse
from ..settings import Settings
from ..store.deadline import Deadline
from ..store.record import PatRecord, TokenRecord
from ..store.store import Store
from ..store.tokens import Exchange, Full
from .authenticate import Attempt, Authenticator, Proven
from .conditions import is_usable_from, secret_expiry, secret_window
from .judge import Judge
from .memo import Memo

if TYPE_CHECKING:
    from ..jwt.issuer import SignedTokens

_MOST = 1_000  # exchanges that a process remembers, and twice as many at most
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


class KnownExchange(msgspec.Struct, frozen=True):
    """A secret that was exchanged once, and what is known of it while the PAT's record is the same."""

    again: Exchange
    record: PatRecord
    scopes: tuple[str, ...]  # that were granted
    ends_ms: int | None  # when the secret expires
    proven_until: float  # until when its hash need not be checked again, by the proofs' timer

    def __repr__(self) -> str:
        return f"<KnownExchange {self.record.pat.id}>"


class Exchanger:
    """Issues access tokens: with `signed` JWTs, but not for PATs with networks. Safe for many threads."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        authenticator: Authenticator,
        judge: Judge,
        events: Events,
        signed: SignedTokens | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._authenticator = authenticator
        self._judge = judge
        self._events = events
        self._signed = signed
        self._format = Format(settings.credential_prefixes)
        self._memo: Memo[KnownExchange] = Memo(min(_MOST, settings.proof_entries))

    def exchange(
        self, credentials: PatCredentials, scope: str | Iterable[str] | None, address: Address
    ) -> Exchanged:
        """Verify the secret, charge the exchange quota, and issue a token with at most the PAT's scopes.

        Raise `InvalidCredentials` (also for a PAT token, which is no client secret), `InvalidScope`,
        `RateLimited` (also if the secret has too many tokens), and what `Authenticator.prove` raises.
        """
        if credentials.method != "basic":
            raise InvalidCredentials("a PAT token is not exchanged; send the PAT id and the PAT secret")
        name, known, deadline = None, None, self._store.begin()
        if isinstance(scope, str | None):
            name, known = self._memo.find(f"{credentials.pat_id} {credentials.secret.hex()} {scope or ''}")
        if known is not None:
            exchanged = self._again(known, address, deadline, name)
            if exchanged is not None:
                return exchanged
            self._memo.forget(name)
        return self._exchange(credentials, scope, address, deadline, name)

    # -- a secret that was exchanged before -----------------------------------------------------------

    def _again(
        self, known: KnownExchange, address: Address, deadline: Deadline, name: bytes | None
    ) -> Exchanged | None:
        """Exchange a secret again the short way. None: the long way has to decide."""
        record, pat = known.record, known.record.pat
        if self._authenticator.proofs.timer() >= known.proven_until or not is_usable_from(pat, address.known):
            return None
        text, digest = self._format.mint_access_token(pat.id)
        charged = self._store.tokens.exchange(known.again, digest, deadline.at)
        if charged is None:
            return None
        now, used_from = charged.now, in_detail(address.known, self._settings.address_detail)
        if used(pat, now, used_from) is not pat:
            self._memo.forget(name)
            self._authenticator.last_use.note(record, now, used_from)
        access = self._issued(pat, text, charged.expires_ms, known.scopes, now, address)
        decision = Decision(True, "exchanges", self._settings.exchange_quota, charged.backlog_us, 0)
        return Exchanged(access, decision, self._judge.to_warn_of(known.ends_ms, now))

    def _remember(
        self, name: bytes | None, credentials: PatCredentials, proven: Proven, token: TokenRecord
    ) -> None:
        """Remember an exchange, unless its tokens are signed: the store's clock is needed before that."""
        record, slot = proven.record, proven.slot
        until = self._authenticator.proven_until(credentials, slot)
        if name is None or until is None or self._signer(record.pat) is not None:
            return
        lifetime, window = self._lifetime(record), secret_window(record, slot.generation)
        ends_ms = secret_expiry(record, slot.generation)
        again = self._store.tokens.exchange_of(
            record, token, window, 1000 * lifetime, self._most(lifetime), self._settings.exchange_quota
        )
        self._memo.keep(
            name, KnownExchange(again, record, token.scopes, ends_ms, until), record, token.scopes
        )

    # -- a secret that is new here --------------------------------------------------------------------

    def _exchange(
        self,
        credentials: PatCredentials,
        scope: str | Iterable[str] | None,
        address: Address,
        deadline: Deadline,
        name: bytes | None,
    ) -> Exchanged:
        """Exchange a secret as `exchange` does, and remember that under `name`."""
        proven = self._authenticator.prove(credentials, address, "exchange", deadline)
        requested = parse(scope or "") if isinstance(scope, str | None) else check(scope)
        tokens = self._store.tokens.until(deadline)
        for _ in range(_TRIES):
            lifetime = self._lifetime(proven.record)
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
            attempt = Attempt(credentials, address, proven.tag, deadline.paused, proven.slot.digest)
            slot = self._authenticator.check_secret(attempt, issued, issued.pat.read_ms)
            proven = replace(proven, record=issued, slot=slot)
        else:
            raise StoreUnavailable(detail=f"PAT {credentials.pat_id} kept changing")
        record, now = proven.record, proven.verdict.now
        if proven.use_is_due:
            self._authenticator.last_use.note(record, now, proven.used_from)
        else:
            self._remember(name, credentials, proven, token)
        form: Literal["opaque", "jwt"] = "opaque" if self._signer(record.pat) is None else "jwt"
        access = self._issued(record.pat, text, token.expires_ms, token.scopes, now, address, form)
        ends_ms = secret_expiry(record, proven.slot.generation)
        return Exchanged(access, proven.decision, self._judge.to_warn_of(ends_ms, now))

    def _issued(
        self,
        pat: PersonalAccessToken,
        text: str,
        expires_ms: int,
        scopes: tuple[str, ...],
        now: int,
        address: Address,
        form: Literal["opaque", "jwt"] = "opaque",
    ) -> Access:
        """Return an access token that was written. Emit its event."""
        seconds = (expires_ms - now) // 1000
        self._events.emit(
            "token.issued",
            patId=pat.id,
            ownerId=pat.owner.id,
            scope=list(scopes),
            expiresIn=seconds,
            format=form,
            address=address.charged,
        )
        return Access(text, seconds, scopes)

    def _lifetime(self, record: PatRecord) -> int:
        return record.pat.access_token_ttl or self._settings.access_token_ttl

    def _signer(self, pat: PersonalAccessToken) -> SignedTokens | None:
        """Return what signs the tokens of a PAT; None if they are opaque, as for a PAT with networks.

        Without the store, nobody knows where such a token may be used.
        """
        return None if pat.networks else self._signed

    def _mint(self, proven: Proven, token: TokenRecord) -> tuple[str, bytes]:
        """Return the text of a token, and the digest that is the key of its record."""
        pat, now = proven.record.pat, proven.verdict.now
        signer = self._signer(pat)
        if signer is None:
            return self._format.mint_access_token(token.pat_id)
        return signer.sign(token.pat_id, pat.owner.id, token.scopes, now, token.expires_ms)

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
