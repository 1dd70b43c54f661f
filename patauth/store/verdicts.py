"""Verdicts on the credentials of requests: one script, prepared once, answers each in one round trip."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from ..model.pat_id import PatId
from ..model.quota import Quota
from .keys import Keys
from .record import (
    ID_AT,
    LAST_USE_BYTES,
    OF_ANOTHER_VERSION,
    TOKEN_ID_AT,
    VERSION_BYTES,
    PatRecord,
    not_understood,
)
from .scripts import Filled, Prepared, Script, Scripts

# Verdicts of lua/authenticate.lua.
REFUSED, ADMITTED, LIMITED, UNKNOWN_SCHEMA, ROTATED_AWAY, CONDITIONAL = range(6)

_SHORT = (ADMITTED, LIMITED)  # their answers may leave out what the caller knows

_TAG, _ID, _DIGEST, _SECRET_TAG = 8, 12, 32, 16  # bytes: owner tag, rest of a PAT id, SHA-256, secret tag
_UNTIL = 13  # digits of an instant, ms


Use = Literal["request", "exchange", "ending"]  # what a secret is sent for


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The store's verdict on the credentials of one request."""

    verdict: int
    now: int  # ms, the store's clock
    micros: int  # µs; admitted: the quota's backlog; limited: the wait
    pat: bytes = b""  # PAT record; empty when refused
    token: bytes | None = None  # access token record
    is_known: bool = False  # the caller knows both records, so they are left out

    def __repr__(self) -> str:
        return f"<Verdict {self.verdict}>"  # the records hold digests


class Repeat(msgspec.Struct, frozen=True):
    """How to ask again about a credential, so that the answer leaves out the records that the caller has."""

    call: Filled
    version: bytes  # of the PAT record
    pat_id: bytes
    by_token: bool


class _Calls(NamedTuple):
    """The calls of a script by what the caller has: nothing, the version of a judged record, all records."""

    first: Prepared
    judged: Prepared
    again: Prepared


class Verdicts:
    """Asks the store for verdicts. Each verdict charges a quota, unless it is a refusal or CONDITIONAL.

    CONDITIONAL: only the operations can read what decides over the use of this PAT. `judged` is the version
    of the record by which they have found that it may be used; empty: they have not read it yet.

    `requests` is the request quota of PATs that have none of their own. `exchanges` is the exchange quota of
    all PATs.
    """

    def __init__(self, scripts: Scripts, keys: Keys, requests: Quota, exchanges: Quota) -> None:
        self._scripts = scripts
        script = Script("authenticate")
        pat, requested, exchanged = keys.pat_form, keys.requests_form, keys.exchanges_form
        limit = _arguments(requests)
        two = (_TAG, _ID) * 2

        def by_token(use: bytes) -> _Calls:
            names, sizes = (pat, requested, keys.access_token_form), (*two, _TAG, _DIGEST)

            def call(until: bytes, version: bytes, *more: int) -> Prepared:
                return scripts.prepare(script, names, (*limit, until, version, b"", use), (*sizes, *more))

            judged = call(b"", b"%b", VERSION_BYTES)
            return _Calls(call(b"", b""), judged, call(b"%b", b"%b", _UNTIL, VERSION_BYTES))

        def by_secret(tat: bytes, limit: tuple[bytes, bytes], use: bytes) -> _Calls:
            names, sizes = (pat, tat), (*two, _SECRET_TAG)

            def call(version: bytes, last_use: bytes, *more: int) -> Prepared:
                return scripts.prepare(
                    script, names, (*limit, b"%b", version, last_use, use), (*sizes, *more)
                )

            judged = call(b"%b", b"", VERSION_BYTES)
            return _Calls(call(b"", b""), judged, call(b"%b", b"%b", VERSION_BYTES, LAST_USE_BYTES))

        self._token, self._ending_token = by_token(b""), by_token(b"ending")
        self._of_secret: dict[Use, _Calls] = {
            "request": by_secret(requested, limit, b""),
            "exchange": by_secret(exchanged, _arguments(exchanges), b"exchange"),
            "ending": by_secret(requested, limit, b"ending"),
        }

    def of_token(
        self, pat_id: PatId, digest: bytes, at: float, judged: bytes = b"", *, ending: bool = False
    ) -> Verdict:
        """Return the verdict on the access token with this digest.

        It charges the request quota, but not if the request is `ending` something (see `of_secret`). `at` is
        the deadline, an instant of `time.monotonic()` (s). Raise `StoreUnavailable`.
        """
        calls, gaps = self._ending_token if ending else self._token, _token_gaps(pat_id, digest)
        call = calls.judged.filled((*gaps, judged)) if judged else calls.first.filled(gaps)
        return _read(self._scripts.ask(call, at), pat_id.raw, by_token=True)

    def of_secret(
        self, pat_id: PatId, secret_tag: bytes, at: float, use: Use = "request", judged: bytes = b""
    ) -> Verdict:
        """Return the verdict on the secret tag of a PAT. The caller must still check hash and state.

        A request charges the request quota, and an exchange the exchange quota. A request that is `ending`
        something charges nothing: a server whose memory is full writes no quota. `at` is the deadline, an
        instant of `time.monotonic()` (s). Raise `StoreUnavailable`.
        """
        calls, gaps = self._of_secret[use], _secret_gaps(pat_id, secret_tag)
        call = calls.judged.filled((*gaps, judged)) if judged else calls.first.filled(gaps)
        return _read(self._scripts.ask(call, at), pat_id.raw, by_token=False)

    def repeat_of_token(self, record: PatRecord, digest: bytes, until: int) -> Repeat:
        """Return how to ask again about an access token that may be used `until` then (ms), by this record.

        By it the caller has judged what decides over the use of this PAT.
        """
        until = min(until, 10**_UNTIL - 1)  # the prepared command states this size
        gaps = (*_token_gaps(record.pat_id, digest), b"%013d" % until, record.version)
        return Repeat(self._token.again.filled(gaps), record.version, record.pat_id.raw, True)

    def repeat_of_secret(self, record: PatRecord, secret_tag: bytes, use: Use = "request") -> Repeat:
        """Return how to ask again about a secret that the caller has checked by this record."""
        gaps = (*_secret_gaps(record.pat_id, secret_tag), record.version, record.last_use)
        return Repeat(self._of_secret[use].again.filled(gaps), record.version, record.pat_id.raw, False)

    def again(self, repeat: Repeat, at: float) -> Verdict:
        """Return a verdict as `of_token` and `of_secret` do.

        If it `is_known`, the record is that of the repeat, and an access token may still be used.
        """
        reply = self._scripts.ask(repeat.call, at)
        try:
            verdict, now, micros, version = reply
        except (TypeError, ValueError):
            return _read(reply, repeat.pat_id, by_token=repeat.by_token)
        # The version is also a safeguard: a reply to another caller never has it.
        is_short = version == repeat.version and verdict in _SHORT
        if is_short and type(now) is int and type(micros) is int:
            return Verdict(verdict, now, micros, is_known=True)
        return _read(reply, repeat.pat_id, by_token=repeat.by_token)


def _token_gaps(pat_id: PatId, digest: bytes) -> tuple[bytes, ...]:
    tag, own = _tag_and_own(pat_id)
    if len(own) != _ID or len(digest) != _DIGEST:  # the prepared command states these sizes
        raise ValueError("a PAT id or digest that no credential has")
    return tag, own, tag, own, tag, digest


def _secret_gaps(pat_id: PatId, secret_tag: bytes) -> tuple[bytes, ...]:
    tag, own = _tag_and_own(pat_id)
    if len(own) != _ID or len(secret_tag) != _SECRET_TAG:  # the prepared command states these sizes
        raise ValueError("a PAT id or secret tag that no credential has")
    return tag, own, tag, own, secret_tag


def _tag_and_own(pat_id: PatId) -> tuple[bytes, bytes]:
    return pat_id.tag.encode(), pat_id.raw[4:]


def _arguments(quota: Quota) -> tuple[bytes, bytes]:
    return b"%d" % quota.emission_us, b"%d" % quota.tolerance_us


def _read(reply: Any, pat_id: bytes, *, by_token: bool) -> Verdict:
    """Read a reply about this PAT.

    Raise `StoreUnavailable` if it has another form or is about another PAT.
    """
    try:
        verdict, now = reply[0], reply[1]
        if type(reply) is not list or type(now) is not int:
            raise ValueError("it is not a list with a clock")
        if verdict in (ADMITTED, LIMITED, ROTATED_AWAY, CONDITIONAL):
            micros, pat, token = reply[2], reply[3], None
            # A second safeguard: a reply to another caller must never give its identity to this one.
            if type(micros) is not int or pat[ID_AT : ID_AT + 16] != pat_id:
                raise ValueError("it has no record, or that of another PAT")
            if by_token:
                token = reply[4]
                if token[TOKEN_ID_AT : TOKEN_ID_AT + 16] != pat_id:
                    raise ValueError("it has no access token, or that of another PAT")
            return Verdict(verdict, now, micros, pat, token)
        if verdict == REFUSED:
            return Verdict(verdict, now, 0)
        raise ValueError(OF_ANOTHER_VERSION if verdict == UNKNOWN_SCHEMA else f"verdict {verdict!r}")
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise not_understood("verdict", problem) from None
