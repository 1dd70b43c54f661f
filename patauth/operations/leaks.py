"""End what a report of leaked credentials names (model/leaks.py finds it in a text).

    PAT token      its PAT ends, if the secret is its own: the current one, or in an overlap the previous one
    PAT secret     the PAT ends whose secret it is; all PATs of the tenant are looked at for that
    access token   it ends
    PAT id         its PAT ends

A credential that has ended before differs from other people's credentials as long as something is kept of its
PAT. No secret is kept, so this does not work for a PAT secret alone, and for an access token only if its PAT
was removed.

A report may have thousands of other people's credentials, so they are looked up many at a time. A right
secret tag proves a secret: nobody can make one without the store key, so nothing is hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from ..errors import NotFound, StoreUnavailable
from ..model.credentials import AccessToken
from ..model.leaks import Leak
from ..model.pat_id import PatId
from ..store.record import PatRecord
from .introspect import find_access_token, revoke_access_token
from .lifecycle import checked_reason, delete, delete_shown
from .permissions import Actor

State = Literal["found", "not ours", "rotated away", "ended before"]
Outcome = Literal["ended", "ended with its PAT", "ended already", "failed"]

MOST_SECRETS = 10_000  # of one report: each is compared with all PATs
_AT_ONCE = 500  # findings that are looked up together
_FAILURES = 3  # in a row, after which the store is taken for unreachable
_MOST_KNOWN = 200_000  # findings that are remembered, so that each is looked up once


@dataclass(frozen=True, slots=True)
class Finding:
    """Holds what this store knows of a leak.

    `pat_id` is the PAT that it belongs to or names. If it is "found", `generation` is that of the secret that
    was shown, if one was.
    """

    leak: Leak
    state: State
    pat_id: PatId | None = None
    generation: int | None = None


class LeakReport:
    """Looks up leaks on behalf of `actor`, which is the host application. Raise `StoreUnavailable`.

    `reason` is kept with each PAT that ends: a text for people of 1-256 code points, else raise
    `InvalidRequest`.
    """

    def __init__(self, actor: Actor, reason: str) -> None:
        self._actor = actor
        self._reason = checked_reason(actor, reason)
        self._store = actor.store.without_deadline()
        self._known: set[object] = set()
        self._records: dict[PatId, PatRecord] = {}  # of the PATs that the report names
        self._ended: set[PatId] = set()  # removed ones of which something is kept
        self.secrets: dict[bytes, Leak] = {}  # PAT secrets whose PAT is not known yet
        self.left_out = 0  # secrets beyond the first `MOST_SECRETS`, which nobody compares

    def look_up(self, leaks: Iterable[Leak]) -> Iterator[Finding]:
        """Yield a finding for each different PAT token, access token and PAT id, in pieces.

        Skip ids that no PAT has, because many other things look like one. Keep the first `MOST_SECRETS`
        secrets in `secrets`; `of_secrets` and `in_tenant` find their PATs.
        """
        self._store.settle_key()
        fresh = (leak for leak in leaks if self._is_new(leak))
        while some := list(islice(fresh, _AT_ONCE)):
            self._read([leak.pat_id for leak in some if leak.pat_id is not None and leak.token is None])
            self._read_ended([leak.pat_id for leak in some if leak.pat_id is not None])
            for leak in some:
                if leak.kind == "PAT secret" and leak.secret is not None:
                    if len(self.secrets) < MOST_SECRETS:
                        self.secrets[leak.secret] = leak
                    else:  # anybody can make up secrets of the right shape, and must not keep the rest alive
                        self.left_out += 1
                elif leak.kind != "PAT id" or leak.pat_id in self._records or leak.pat_id in self._ended:
                    yield self._of(leak)

    def of_secrets(self) -> Iterator[Finding]:
        """Yield a finding for each secret of a PAT that the report names elsewhere."""
        return self._match(self._records.values())

    def in_tenant(self) -> Iterator[list[Finding]]:
        """Yield in pieces the findings for secrets of any PAT of the tenant, as long as some are left."""
        index = self._store.tenant_index
        for pat_ids in index.walk_ids():
            if not self.secrets:
                return
            records = index.records(pat_ids, self._store.pats.now("store"))
            yield list(self._match(record for record in records if record is not None))

    def end(self, finding: Finding) -> bool:
        """End what was found; return whether it was there. Durable and repeatable as a removal is."""
        actor = replace(self._actor, store=self._actor.store.for_request())
        if finding.leak.token is not None:
            return revoke_access_token(actor, finding.leak.token)
        assert finding.pat_id is not None
        try:
            if finding.generation is None:
                delete(actor, finding.pat_id, self._reason)
            else:
                delete_shown(actor, finding.pat_id, finding.generation, self._reason)
        except NotFound:
            return False
        return True

    def _is_new(self, leak: Leak) -> bool:
        token = None if leak.token is None else leak.token.digest
        what = leak.kind, leak.pat_id, leak.secret, token
        if what in self._known:
            return False
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()  # an endless report costs second looks, but no memory
        self._known.add(what)
        return True

    def _read(self, pat_ids: Sequence[PatId]) -> None:
        wanted = [pat_id for pat_id in dict.fromkeys(pat_ids) if pat_id not in self._records]
        if not wanted:
            return
        now = self._store.pats.now("store")
        for pat_id, record in zip(wanted, self._store.tenant_index.records(wanted, now), strict=True):
            if record is not None and self._is_ours(record) and record.pat.id == pat_id:
                self._records[pat_id] = record

    def _read_ended(self, pat_ids: Sequence[PatId]) -> None:
        removed = self._store.removed
        wanted = [pat_id for pat_id in dict.fromkeys(pat_ids) if pat_id not in self._records]
        if not wanted:
            return
        now = self._store.pats.now("store")
        for pat_id, record in zip(wanted, removed.records(wanted, now), strict=True):
            if record is not None and removed.lists(record.pat) and record.pat.id == pat_id:
                self._ended.add(pat_id)

    def _is_ours(self, record: PatRecord) -> bool:
        return record.pat.tenant == self._actor.settings.tenant

    def _of(self, leak: Leak) -> Finding:
        if leak.token is not None:
            return self._of_access_token(leak, leak.token)
        assert leak.pat_id is not None
        record = self._records.get(leak.pat_id)
        if record is None:
            return self._of_nothing(leak)
        if leak.secret is None:
            return Finding(leak, "found", leak.pat_id)
        return self._of_secret(leak, record, leak.secret) or Finding(leak, "not ours")

    def _of_access_token(self, leak: Leak, token: AccessToken) -> Finding:
        actor = replace(self._actor, store=self._store)
        if find_access_token(actor, token) is None:
            return self._of_nothing(leak)
        return Finding(leak, "found", token.pat_id)

    def _of_nothing(self, leak: Leak) -> Finding:
        """Return the finding for a leak whose PAT or access token is not there."""
        return Finding(leak, "ended before" if leak.pat_id in self._ended else "not ours", leak.pat_id)

    def _match(self, records: Iterable[PatRecord]) -> Iterator[Finding]:
        for record in records:
            if not self._is_ours(record):
                continue
            for secret, leak in list(self.secrets.items()):
                found = self._of_secret(leak, record, secret)
                if found is not None:
                    del self.secrets[secret]
                    yield found

    def _of_secret(self, leak: Leak, record: PatRecord, secret: bytes) -> Finding | None:
        """Return the finding if the secret is that of a PAT, or was until it was rotated away."""
        tag = self._store.keyring.secret_tag(record.pat_id, secret)
        now = record.pat.read_ms
        slot = record.slot_of(tag, now)
        if slot is not None:
            return Finding(leak, "found", record.pat_id, slot.generation)
        return Finding(leak, "rotated away", record.pat_id) if record.is_rotated_away(tag, now) else None


class Ending:
    """Ends what a report has found, each PAT and access token once.

    `pats` are the PATs that it has ended, in order, and `tokens` is how many access tokens. `problem` is the
    last failure; None: there was none.
    """

    def __init__(self, report: LeakReport) -> None:
        self._report = report
        self._failures = 0
        self.pats: dict[PatId, None] = {}
        self.tokens = 0
        self.problem: StoreUnavailable | None = None

    def end(self, findings: Iterable[Finding]) -> Iterator[tuple[Finding, Outcome]]:
        """Yield each finding with the outcome. PATs come first: their access tokens end with them.

        A failure does not keep the others from their end. Raise `StoreUnavailable` after several in a row.
        """
        for finding in sorted(findings, key=lambda one: one.leak.token is not None):
            yield finding, self._end(finding)

    def _end(self, finding: Finding) -> Outcome:
        assert finding.pat_id is not None
        is_token = finding.leak.token is not None
        if finding.pat_id in self.pats:
            return "ended with its PAT" if is_token else "ended"
        try:
            was_there = self._report.end(finding)
        except StoreUnavailable as problem:
            self.problem, self._failures = problem, self._failures + 1
            if self._failures >= _FAILURES:
                raise
            return "failed"
        self._failures = 0
        if not was_there:
            return "ended already"
        if is_token:
            self.tokens += 1
        else:
            self.pats[finding.pat_id] = None
        return "ended"
