"""Admit a request: find the caller by an Authorization value.

credentials (pure) -> one script: record, secret tag or token, expiry, revocation, owner, quota
                   -> for a secret: proof or argon2 -> state -> lastUsed, on the first use of a UTC day

A credential that was good before takes a shorter way. A memo keeps what was read then, and the store gets its
version. If the record is still the same, the store leaves it out of its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec

from ..errors import InvalidToken, PatAuthError, expired_token
from ..events.events import Events, Reason
from ..model.address import Address, Located, in_detail
from ..model.caller import Credential, Method, Principal
from ..model.credentials import AccessToken, Claims, PatCredentials
from ..model.pat import PersonalAccessToken, use_window, used
from ..model.quota import Decision, Quota
from ..settings import Settings
from ..store.deadline import Deadline
from ..store.record import PatRecord, TokenRecord, unpack, unpack_token
from ..store.store import Store
from ..store.verdicts import CONDITIONAL, LIMITED, Repeat, Verdict, Verdicts
from .authenticate import Authenticator, Proven
from .conditions import is_usable, is_usable_from, secret_expiry, secret_window, token_expiry
from .judge import Judge
from .memo import Memo

C = TypeVar("C")

if TYPE_CHECKING:  # few need signed tokens, and they take long to import
    from ..jwt.issuer import SignedTokens


class Admission(msgspec.Struct, frozen=True):
    """A verified caller, the decision of the quota that was charged, and an expiry to warn of."""

    principal: Principal
    decision: Decision | None  # None: nothing was charged, because the store's memory is full
    expires_ms: int | None  # when the PAT's secret expires, if that is within `expiry_warning`


class KnownCredential(msgspec.Struct, frozen=True):
    """A credential that was good once, and what is known of it while the PAT's record is the same.

    `repeat` is how to ask the store again.
    """

    repeat: Repeat
    principal: Principal
    record: PatRecord
    quota: Quota  # what a request is charged to
    ends_ms: int | None  # when the PAT's secret expires
    is_plain: bool  # nothing but the PAT's record can end it: an opaque access token that is good everywhere
    is_judged_again: bool  # the store's verdict does not say all: a secret, or a PAT with conditions
    window: tuple[int, int]  # from when and until when the secret may be used, ms
    token: AccessToken | None = None  # None: a secret
    proven_until: float = 0.0  # a secret: until when its hash need not be checked again, by the proofs' timer
    use_window: tuple[int, int] = (0, 0)  # a secret: from when and until when no other use is due, ms

    def __repr__(self) -> str:
        return f"<KnownCredential {self.record.pat.id}>"


class Admitter:
    """Admits requests by credentials that `read` reads. Safe for many threads.

    `signed` reads those that are JWTs.
    """

    def __init__(
        self,
        settings: Settings,
        signed: SignedTokens | None,
        store: Store,
        verdicts: Verdicts,
        authenticator: Authenticator,
        judge: Judge,
        events: Events,
        read: Callable[[str], PatCredentials | AccessToken],
    ) -> None:
        self._parse = read
        self._signed = signed
        self._begin = store.begin
        self._verdicts = verdicts
        self._authenticator = authenticator
        self._proofs = authenticator.proofs
        self._judge = judge
        self._events = events
        self._tenant = settings.tenant
        self._detail = settings.address_detail
        self._warning_ms = 1000 * settings.expiry_warning
        self._memo: Memo[KnownCredential] = Memo(settings.proof_entries)

    def authenticate(self, sent: str, where: Located, *, ending: bool = False) -> Admission:
        """Verify what was sent, such as an Authorization value, charge the request quota, return the caller.

        `where` is the client's address, or a request that has one: few credentials need it.

        `ending`: the request ends something, so it passes without a charge if the store's memory is full.

        Raise `InvalidRequest`, `InvalidCredentials`, `InvalidToken`, `RateLimited`, `Overloaded`,
        `StoreUnavailable`.
        """
        begin = self._begin  # CPython 3.11 looks up an attribute that is called in the type first, at length
        name, known = self._memo.find(sent)
        if known is None or ending or not (known.is_plain or self._still_holds(known, where)):
            address = where.address
            return self._admit(self._read(sent, address), address, name, ending=ending)
        deadline = begin()
        verdict = self._verdicts.again(known.repeat, deadline.at)
        if not verdict.is_known:
            address = where.address
            return self._admit(self._read(sent, address), address, name, deadline, verdict)
        principal, ends_ms = known.principal, known.ends_ms
        if known.is_judged_again:
            principal = self._judge_again(known, verdict, where.address, name)
        elif verdict.verdict == LIMITED:
            raise self._judge.over(verdict, known.record, "requests", known.quota, where.address)
        if ends_ms is not None and ends_ms - verdict.now > self._warning_ms:  # as `to_warn_of`
            ends_ms = None
        return Admission(principal, Decision(True, "requests", known.quota, verdict.micros, 0), ends_ms)

    def admit(
        self, credentials: PatCredentials | AccessToken, address: Address, *, ending: bool = False
    ) -> Admission:
        """Verify credentials that were read already, charge the request quota, and return the caller.

        `ending` is that of `authenticate`. Raise `InvalidCredentials`, `InvalidToken`, `RateLimited`,
        `Overloaded`, `StoreUnavailable`.
        """
        return self._admit(credentials, address, None, ending=ending)

    def read(self, form: Callable[[], C], address: Address) -> C:
        """Return the credentials that `form` reads. Emit an event if it refuses them."""
        try:
            return form()
        except PatAuthError as refusal:
            # An InvalidToken is a JWT with a wrong signature or wrong claims.
            reason: Reason = "access_token" if isinstance(refusal, InvalidToken) else "malformed"
            self._events.refused(reason, address.charged)
            raise

    def _read(self, sent: str, address: Address) -> PatCredentials | AccessToken:
        return self.read(partial(self._parse, sent), address)

    # -- credentials that were good before ------------------------------------------------------------

    def _still_holds(self, known: KnownCredential, where: Located) -> bool:
        """Return whether what is known of a credential still holds, apart from what the store says."""
        token, pat, signed = known.token, known.record.pat, self._signed
        if token is None:
            timer = self._proofs.timer
            if timer() >= known.proven_until:
                return False
        elif token.claims is not None and not (signed and signed.has_same_keys(token)):
            return False
        return not pat.networks or is_usable_from(pat, where.address.known)

    def _judge_again(
        self, known: KnownCredential, verdict: Verdict, address: Address, name: bytes | None
    ) -> Principal:
        """Judge a credential for which the store's verdict is not enough. Return the caller.

        `verdict.is_known`. Raise as `authenticate` does.
        """
        pat, now, principal = known.record.pat, verdict.now, known.principal
        begins_ms, ends_ms = known.window
        is_usable_now = begins_ms <= now < ends_ms
        if known.token is not None and not is_usable_now:  # the clock went back
            self._refuse_token(known.token, address, now)
        if verdict.verdict == LIMITED:
            raise self._judge.over(verdict, known.record, "requests", known.quota, address)
        if known.token is None:
            if not is_usable_now:  # and not for an overlap that is over, which the store refuses itself
                self._judge.require_usable(pat, now, address)
            begins_ms, ends_ms = known.use_window
            used_from = in_detail(address.known, self._detail)
            if not begins_ms <= now < ends_ms or used_from != pat.last_used_from:
                self._note_use(known.record, now, used_from, name)
        return _seen_at(principal, address) if pat.networks else principal

    def _note_use(self, record: PatRecord, now: int, used_from: str | None, name: bytes | None) -> None:
        if used(record.pat, now, used_from) is not record.pat:
            self._memo.forget(name)  # the record is another one then
            self._authenticator.last_use.note(record, now, used_from)

    # -- credentials that are new here ----------------------------------------------------------------

    def _admit(
        self,
        credentials: PatCredentials | AccessToken,
        address: Address,
        name: bytes | None,
        deadline: Deadline | None = None,
        verdict: Verdict | None = None,
        *,
        ending: bool = False,
    ) -> Admission:
        """Admit as `admit` does, and remember the credentials under `name`.

        `verdict` is what the store has said of them already, within `deadline`.
        """
        deadline = deadline or self._begin()
        if isinstance(credentials, AccessToken):
            return self._admit_token(credentials, address, name, deadline, verdict, ending=ending)
        proven = self._authenticator.prove(credentials, address, "request", deadline, verdict, ending=ending)
        record, now = proven.record, proven.verdict.now
        principal = _by_secret(record, credentials.method, proven.slot.generation)
        if proven.decision is not None and proven.use_is_due:
            self._authenticator.last_use.note(record, now, proven.used_from)
        else:
            self._remember_secret(name, credentials, proven, principal)
        return self._admission(principal, record, address, proven.decision, principal.expires_ms, now)

    def _admit_token(
        self,
        token: AccessToken,
        address: Address,
        name: bytes | None,
        deadline: Deadline,
        verdict: Verdict | None,
        *,
        ending: bool,
    ) -> Admission:

        def ask(judged: bytes, *, ending: bool) -> Verdict:
            return self._verdicts.of_token(token.pat_id, token.digest, deadline.at, judged, ending=ending)

        verdict, is_charged = self._judge.settle(token.pat_id, address, ask, verdict, ending=ending)
        now = verdict.now
        if verdict.token is None or verdict.verdict == CONDITIONAL:
            self._refuse_token(token, address, now)
        record, access = unpack(verdict.pat), unpack_token(verdict.token)
        principal = _by_token(record, access, token.digest)
        ends_ms = secret_expiry(record, access.generation)
        if (
            principal.tenant != self._tenant
            or not is_usable(record.pat, now, address.known)
            or (token.claims is not None and not agree(token.claims, record.pat, access))
        ):
            self._refuse_token(token, address, now)
        decision = self._judge.within(verdict, record, address) if is_charged else None
        self._remember_token(name, token, record, access, principal)
        return self._admission(principal, record, address, decision, ends_ms, now)

    def _admission(
        self,
        principal: Principal,
        record: PatRecord,
        address: Address,
        decision: Decision | None,
        ends_ms: int | None,
        now: int,
    ) -> Admission:
        if record.pat.networks:
            principal = _seen_at(principal, address)
        return Admission(principal, decision, self._judge.to_warn_of(ends_ms, now))

    def _refuse_token(self, token: AccessToken, address: Address, now: int) -> NoReturn:
        self._events.refused("access_token", address.charged, token.pat_id)
        if token.claims is not None and now >= token.claims.expires * 1000:
            raise expired_token()
        raise InvalidToken

    def _remember_token(
        self,
        name: bytes | None,
        token: AccessToken,
        record: PatRecord,
        access: TokenRecord,
        principal: Principal,
    ) -> None:
        if name is None or principal.expires_ms is None:  # an access token always expires
            return
        repeat = self._verdicts.repeat_of_token(record, token.digest, principal.expires_ms)
        is_judged_again = record.pat.is_conditional
        is_plain = token.claims is None and not is_judged_again
        quota = self._judge.request_quota(record)
        ends_ms, window = secret_expiry(record, access.generation), secret_window(record, access.generation)
        known = KnownCredential(
            repeat, principal, record, quota, ends_ms, is_plain, is_judged_again, window, token
        )
        self._memo.keep(name, known, record, principal.scopes)

    def _remember_secret(
        self, name: bytes | None, credentials: PatCredentials, proven: Proven, principal: Principal
    ) -> None:
        record = proven.record
        until = None if name is None else self._authenticator.proven_until(credentials, proven.slot)
        if name is None or until is None:
            return
        repeat = self._verdicts.repeat_of_secret(record, proven.tag)
        quota = self._judge.request_quota(record)
        known = KnownCredential(
            repeat, principal, record, quota, principal.expires_ms,
            is_plain=False,
            is_judged_again=True,
            window=secret_window(record, proven.slot.generation),
            proven_until=until,
            use_window=use_window(record.pat.last_used_ms),
        )  # fmt: skip
        self._memo.keep(name, known, record, principal.scopes)


def agree(claims: Claims, pat: PersonalAccessToken, token: TokenRecord) -> bool:
    """Return whether the claims of a signed token are exactly what its record says.

    They differ only if somebody else has the private key. The token is then refused.
    """
    return (
        claims.subject == pat.owner.id
        and claims.tenant == pat.tenant
        and claims.scope == token.scopes
        and claims.expires == token.expires_ms // 1000
    )


def _seen_at(principal: Principal, address: Address) -> Principal:
    """Return a principal with this address, by which they are judged again when they change something."""
    credential = principal.credential
    return replace(principal, credential=credential and replace(credential, address=address.known))


def _by_secret(record: PatRecord, method: Method, generation: int) -> Principal:
    found, expires_ms = record.pat, secret_expiry(record, generation)
    return Principal(
        found.owner, frozenset(found.scope), found.id, found.tenant, method, expires_ms,
        Credential(generation),
    )  # fmt: skip


def _by_token(record: PatRecord, access: TokenRecord, digest: bytes) -> Principal:
    found, scopes, expires_ms = record.pat, frozenset(access.scopes), token_expiry(record, access)
    return Principal(
        found.owner, scopes, found.id, found.tenant, "access_token", expires_ms,
        Credential(access.generation, digest),
    )  # fmt: skip
