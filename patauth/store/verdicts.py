"""What the store says of a request's credentials: one script, prepared once, in one round trip."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.pat_id import PatId
from ..model.quota import Quota
from .keys import Keys
from .record import ID_AT, TOKEN_ID_AT, not_understood
from .scripts import Script, Scripts

REFUSED, ADMITTED, LIMITED, ROTATED_AWAY = 0, 1, 2, 4  # verdicts of lua/authenticate.lua

_TAG, _ID, _DIGEST, _SECRET_TAG = 8, 12, 32, 16  # bytes: owner tag, rest of a PAT id, SHA-256, secret tag


class Verdict(msgspec.Struct, frozen=True):
    """What the store says of one request."""

    verdict: int
    now: int  # ms, the store's clock
    micros: int  # admitted: the quota's backlog; limited: the wait
    pat: bytes  # PAT record; empty when refused
    token: bytes | None  # access token record

    def __repr__(self) -> str:
        return f"<Verdict {self.verdict}>"  # the records hold digests


class Verdicts:
    """Asks for verdicts, each of which charges a quota unless it refuses.

    `requests` and `exchanges` are the quotas of PATs that have none of their own; exchanges, of all.
    """

    def __init__(self, scripts: Scripts, keys: Keys, requests: Quota, exchanges: Quota) -> None:
        self._scripts = scripts
        script = Script("authenticate", prelude=False)
        pat, requested, exchanged = keys.pat_form, keys.requests_form, keys.exchanges_form
        limit = _arguments(requests)
        two = (_TAG, _ID) * 2
        self._token = scripts.prepare(
            script, (pat, requested, keys.access_token_form), (*limit, b"", b""), (*two, _TAG, _DIGEST)
        )
        self._secret = scripts.prepare(script, (pat, requested), (*limit, b"%b", b""), (*two, _SECRET_TAG))
        self._exchange = scripts.prepare(
            script, (pat, exchanged), (*_arguments(exchanges), b"%b", b"exchange"), (*two, _SECRET_TAG)
        )

    def of_token(self, pat_id: PatId, digest: bytes, at: float) -> Verdict:
        """Whether the access token of this digest is good; the request quota."""
        tag, whole = pat_id.tag.encode(), pat_id.raw
        own = whole[4:]
        if len(own) != _ID or len(digest) != _DIGEST:  # their sizes stand in the command already
            raise ValueError("a PAT id or digest that no credential has")
        reply = self._scripts.ask(self._token, (tag, own, tag, own, tag, digest), at)
        return _read(reply, whole, by_token=True)

    def of_secret(self, pat_id: PatId, secret_tag: bytes, at: float, *, exchange: bool = False) -> Verdict:
        """Whether this is the secret tag of the PAT; the request quota, or with `exchange` that of exchanges.

        Hash and state are still to be checked.
        """
        tag, whole = pat_id.tag.encode(), pat_id.raw
        own = whole[4:]
        if len(own) != _ID or len(secret_tag) != _SECRET_TAG:  # their sizes stand in the command already
            raise ValueError("a PAT id or secret tag that no credential has")
        call = self._exchange if exchange else self._secret
        reply = self._scripts.ask(call, (tag, own, tag, own, secret_tag), at)
        return _read(reply, whole, by_token=False)


def _arguments(quota: Quota) -> tuple[bytes, bytes]:
    return b"%d" % quota.emission_us, b"%d" % quota.tolerance_us


def _read(reply: Any, pat_id: bytes, *, by_token: bool) -> Verdict:
    """A reply, if it can be understood and speaks of this PAT; else `StoreUnavailable`."""
    try:
        verdict, now = reply[0], reply[1]
        if type(reply) is not list or type(now) is not int:
            raise ValueError("no list, or without a clock")
        if verdict in (ADMITTED, LIMITED):
            micros, pat, token = reply[2], reply[3], None
            # Belt and braces: a reply that belongs to another caller must not lend its identity.
            if type(micros) is not int or pat[ID_AT : ID_AT + 16] != pat_id:
                raise ValueError("another PAT's, or no record")
            if by_token:
                token = reply[4]
                if token[TOKEN_ID_AT : TOKEN_ID_AT + 16] != pat_id:
                    raise ValueError("another PAT's access token, or no record")
            return Verdict(verdict, now, micros, pat, token)
        if verdict in (REFUSED, ROTATED_AWAY):
            return Verdict(verdict, now, 0, b"", None)
        raise ValueError(f"verdict {verdict!r}")
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise not_understood("verdict", problem) from None
