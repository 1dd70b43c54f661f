"""Access tokens in the store: this module writes, reads and deletes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import msgspec

from ..errors import StoreUnavailable
from ..model.pat_id import PatId
from ..model.quota import Quota
from .asking import DELETIONS, Judged, Outcome, Pause, asking_of, outcome_of
from .deadline import Deadline
from .keys import Keys
from .record import (
    TOKEN_ID_AT,
    PatRecord,
    TokenRecord,
    check_id_of,
    not_understood,
    pack_token,
    unpack,
    unpack_token,
)
from .scripts import PRELUDE, QUOTA, TOKEN, Prepared, Script, Scripts, texts, understood

_log = logging.getLogger("patauth.store")

_PIECE = 100  # access tokens that one call deletes
_DIGEST, _EXPIRY = 32, 6  # bytes: a SHA-256, and an instant before the PAT id in the record of a token
_ISSUE, _EXCHANGE = Script("issue", PRELUDE, TOKEN), Script("exchange", QUOTA, TOKEN)
_READ, _DELETE = Script("read", PRELUDE), Script("delete_token", PRELUDE)

Issued = Literal["issued", "gone"]
_ISSUED, _CHANGED, _FULL = 1, 2, 3  # answers of lua/issue.lua


class Full(NamedTuple):
    """A secret has as many access tokens as it may have. One of them ends in `ms`."""

    ms: int


class Charged(NamedTuple):
    """An access token that was written, and the backlog of the quota that its exchange was charged to."""

    now: int  # ms, the store's clock
    backlog_us: int
    expires_ms: int


class Exchange(msgspec.Struct, frozen=True):
    """Says how to exchange a secret again that was proven by a record of this version.

    `before` and `after` are what fills the call before and after the digest of the token.
    """

    call: Prepared
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    version: bytes

    def __repr__(self) -> str:
        return "<Exchange>"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Writes, reads and deletes the access tokens of one tenant's PATs."""

    scripts: Scripts
    keys: Keys

    def until(self, deadline: Deadline) -> Tokens:
        """Return these tokens with one deadline for all calls."""
        return Tokens(self.scripts.until(deadline), self.keys)

    def issue(
        self, seen: PatRecord, digest: bytes, token: TokenRecord, most: int | None
    ) -> Issued | Full | PatRecord:
        """Write an access token, if the record of its PAT is still `seen` but for later uses.

        `digest` is the SHA-256 of the token's text. `most` is how many tokens its secret may have; None: they
        are not counted. Return "issued" when the token was written, "gone" when the PAT was deleted or has
        expired, and the new record of the PAT when it has changed.
        """
        pat_id = seen.pat_id
        names = [self.keys.pat(pat_id), self.keys.access_token(pat_id, digest)]
        arguments: list[bytes | int] = [seen.version, pack_token(token)]
        if most is not None:
            names.append(self.keys.tokens_of(pat_id, token.generation))
            arguments.append(most)
        reply = self.scripts.run(_ISSUE, names, arguments)
        if reply[0] == _FULL:
            return Full(understood(reply, int, int, int)[2])
        if reply[0] != _CHANGED:
            return "issued" if reply[0] == _ISSUED else "gone"
        _, now, changed = understood(reply, int, int, bytes)[:3]
        check_id_of(changed, pat_id)
        return unpack(changed).as_read_at(now)

    def exchange_of(
        self,
        seen: PatRecord,
        token: TokenRecord,
        window: tuple[int, int],
        ms: int,
        most: int | None,
        quota: Quota,
    ) -> Exchange:
        """Return how to exchange a secret again that was proven by `seen`, for tokens such as `token`.

        `window`: from when and until when the secret may be used by `seen` (ms). The caller judges from where
        it may be used. The tokens live for `ms`, but not longer than the secret. `most` is that of `issue`,
        and `quota` is charged.
        """
        keys, tag, own = self.keys, seen.pat_id.tag.encode(), seen.pat_id.raw[4:]
        names = [keys.pat_form, keys.exchanges_form, keys.access_token_form]
        index: tuple[bytes, ...] = ()
        if most is not None:
            names.append(keys.tokens_form)
            index = (tag, own + token.generation.to_bytes(3))
        packed = pack_token(token)  # the script fills in the expiry
        numbers = [b"%d" % number for number in (*window, quota.emission_us, quota.tolerance_us, ms)]
        values = (
            seen.version,
            *numbers,
            packed[: TOKEN_ID_AT - _EXPIRY],
            packed[TOKEN_ID_AT:],
            b"%d" % (most or 0),
        )
        before, after = (tag, own, tag, own, tag), (*index, *values)
        sizes = [*map(len, before), _DIGEST, *map(len, after)]
        call = self.scripts.prepare(_EXCHANGE, names, [b"%b"] * len(values), sizes)
        return Exchange(call, before, after, seen.version)

    def exchange(self, again: Exchange, digest: bytes, at: float) -> Charged | None:
        """Charge the exchange quota, and write an access token with this digest, in one step.

        None: nothing is charged and nothing written, since something has changed or does not allow it. Then
        a verdict and `issue` say what. `at` is the deadline, an instant of `time.monotonic()` (s). Raise
        `StoreUnavailable`.
        """
        call = again.call.filled((*again.before, digest, *again.after))
        issued, now, *rest = understood(self.scripts.ask(call, at), int, int)
        if issued != _ISSUED:
            return None
        backlog_us, expires_ms, version = understood(rest, int, int, bytes)[:3]
        if version != again.version:  # a reply to another caller
            raise not_understood("answer", "of another version")
        return Charged(now, backlog_us, expires_ms)

    def read(self, pat_id: PatId, digest: bytes) -> tuple[PatRecord, TokenRecord] | None:
        """Return an access token and its PAT, or None if one of them is missing.

        `digest` is the SHA-256 of the token's text.
        """
        names = [self.keys.pat(pat_id), self.keys.access_token(pat_id, digest)]
        now, *found = self.scripts.run(_READ, names)
        if len(found) != len(names):
            raise not_understood("records", "of another form")
        pat, token = found
        check_id_of(pat, pat_id)
        check_id_of(token, pat_id, TOKEN_ID_AT)
        if pat is None or token is None:
            return None
        return unpack(pat).as_read_at(now), unpack_token(token)

    def confirmed(self, pat_id: PatId, digest: bytes) -> bool:
        """Return whether an access token and its PAT are there, once that is durable and holds in all slots.

        A revocation that finds its work done needs this. Raise `NotDurable`.
        """
        keys = self.keys
        names = [keys.pat(pat_id), keys.access_token(pat_id, digest)]
        _, pause, found = self.scripts.confirmed(keys.barrier(pat_id.tag), keys.ends(pat_id.tag), names)
        Pause(pause).wait()
        return all(record is not None for record in found)

    def delete(self, token: TokenRecord, digest: bytes, by: Judged | None) -> Outcome:
        """Delete an access token durably. Return "made", or "gone" if it was gone.

        `by` is the credential that asks for this, if one does; its PAT has the same owner tag. Raise
        `NotDurable` when the server does not confirm the write in time: the caller may repeat the call.
        """
        keys, pat_id = self.keys, token.pat_id
        asking, who = asking_of(keys, by, pat_id)
        ends, barrier = keys.ends(pat_id.tag), keys.barrier(pat_id.tag)
        index = keys.tokens_of(pat_id, token.generation)
        names = [keys.access_token(pat_id, digest), keys.pat(pat_id), index, ends, barrier, *asking]
        pause = Pause()
        read = partial(outcome_of, DELETIONS, pause=pause)
        outcome = self.scripts.run_durably(_DELETE, names, (who,), read)
        pause.wait()
        return outcome

    def forget(self, pat_id: PatId, generations: Iterable[int]) -> None:
        """Delete the counted access tokens of secrets that have ended: nothing else frees their memory.

        They are worth nothing any more, so an error is logged, and they go when they expire. This has a
        deadline of its own: the wait of the end may have used up that of the request.
        """
        keys, scripts = self.keys, self.scripts.until(None)
        for index in [keys.tokens_of(pat_id, generation) for generation in generations]:
            try:
                piece = ("ZRANGE", index, 0, _PIECE - 1)
                while digests := texts(scripts.call([piece], retry=True)[0]):
                    tokens = [keys.access_token(pat_id, digest) for digest in digests]
                    scripts.call([("DEL", *tokens), ("ZREM", index, *digests)], retry=True)
            except StoreUnavailable as problem:
                _log.warning("access tokens of an ended secret stay until they expire: %s", problem.detail)
                return

    def delete_all(self) -> Iterator[int]:
        """Delete the access tokens of all tenants under the key prefix. At the end, this is durable.

        Read the whole key space of each server with SCAN, and yield the number of deleted tokens after each
        step. Then delete the indexes that count the tokens. What is in a slot that moves to another node
        meanwhile may be missed.
        """
        for server, tag in self.scripts.parts():
            yield from self._delete_matching(server, self.keys.access_tokens)
            for _ in self._delete_matching(server, self.keys.token_indexes):
                pass
            self.scripts.confirm(self.keys.barrier(tag))

    def _delete_matching(self, server: Scripts, pattern: bytes) -> Iterator[int]:
        for found in server.scan("SCAN", match=pattern, count=1000):
            # One DEL for each key: a cluster refuses a command with keys of several slots.
            deletions = [("DEL", key) for key in found]
            yield sum(understood(self.scripts.call(deletions), *[int] * len(found))) if found else 0
