"""Verdicts on the credentials of requests: one script, prepared once, answers each in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..model.pat_id import PatId
from ..model.quota import Quota
from .keys import Keys
from .record import ID_AT, OF_ANOTHER_VERSION, TOKEN_ID_AT, VERSION_BYTES, not_understood
from .scripts import Prepared, Script, Scripts

# Verdicts of lua/authenticate.lua.
REFUSED, ADMITTED, LIMITED, UNKNOWN_SCHEMA, ROTATED_AWAY, CONDITIONAL = range(6)

_TAG, _ID, _DIGEST, _SECRET_TAG = 8, 12, 32, 16  # bytes: owner tag, rest of a PAT id, SHA-256, secret tag


Use = Literal["request", "exchange", "ending"]  # what a secret is sent for
_Calls = tuple[Prepared, Prepared]  # without and with the version of a judged record


class Verdict(msgspec.Struct, frozen=True):
    """The store's verdict on the credentials of one request."""

    verdict: int
    now: int  # ms, the store's clock
    micros: int  # µs; admitted: the quota's backlog; limited: the wait
    pat: bytes  # PAT record; empty when refused
    token: bytes | None  # access token record

    def __repr__(self) -> str:
        return f"<Verdict {self.verdict}>"  # the records hold digests


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
            names = (pat, requested, keys.access_token_form)
            return prepare(names, (*limit, b"", use), (*two, _TAG, _DIGEST))

        def by_secret(tat: bytes, limit: tuple[bytes, bytes], use: bytes) -> _Calls:
            return prepare((pat, tat), (*limit, b"%b", use), (*two, _SECRET_TAG))

        def prepare(names: Sequence[bytes], arguments: tuple[bytes, ...], sizes: tuple[int, ...]) -> _Calls:
            with_version = scripts.prepare(script, names, (*arguments, b"%b"), (*sizes, VERSION_BYTES))
            return scripts.prepare(script, names, (*arguments, b""), sizes), with_version

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

        It charges the request quota, but not for what is `ending` something (`of_secret`). `at` is the
        deadline, an instant of `time.monotonic()` (s). Raise `StoreUnavailable`.
        """
        tag, whole = pat_id.tag.encode(), pat_id.raw
        own = whole[4:]
        if len(own) != _ID or len(digest) != _DIGEST:  # the prepared command states these sizes
            raise ValueError("a PAT id or digest that no credential has")
        plain, with_version = self._ending_token if ending else self._token
        gaps = (tag, own, tag, own, tag, digest)
        if judged:
            reply = self._scripts.ask(with_version, (*gaps, judged), at)
        else:
            reply = self._scripts.ask(plain, gaps, at)
        return _read(reply, whole, by_token=True)

    def of_secret(
        self, pat_id: PatId, secret_tag: bytes, at: float, use: Use = "request", judged: bytes = b""
    ) -> Verdict:
        """Return the verdict on the secret tag of a PAT. The caller must still check hash and state.

        A request charges the request quota, and an exchange the exchange quota. What is `ending` something is
        charged nothing: a server whose memory is full writes no quota. `at` is the deadline, an
        instant of `time.monotonic()` (s). Raise `StoreUnavailable`.
        """
        tag, whole = pat_id.tag.encode(), pat_id.raw
        own = whole[4:]
        if len(own) != _ID or len(secret_tag) != _SECRET_TAG:  # the prepared command states these sizes
            raise ValueError("a PAT id or secret tag that no credential has")
        plain, with_version = self._of_secret[use]
        gaps = (tag, own, tag, own, secret_tag)
        if judged:
            reply = self._scripts.ask(with_version, (*gaps, judged), at)
        else:
            reply = self._scripts.ask(plain, gaps, at)
        return _read(reply, whole, by_token=False)


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
            return Verdict(verdict, now, 0, b"", None)
        raise ValueError(OF_ANOTHER_VERSION if verdict == UNKNOWN_SCHEMA else f"verdict {verdict!r}")
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise not_understood("verdict", problem) from None
