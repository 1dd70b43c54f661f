"""Emit events for PATs that expire soon or have expired, for a job that runs regularly (`patauth notify`).

Each PAT has one `pat.expiring` for each threshold and one `pat.expired`, however often and wherever this
runs: a mark in the store is set before the event is sent. No mark is set if no sink is on. If a sink does not
take an event, its mark is removed, and the next run sends the event again, with the same id; the others go
on. If a process is killed between mark and event, the events of that piece are lost.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from hashlib import sha256

from ..errors import ConfigurationError, InvalidRequest, PatAuthError, StoreUnavailable
from ..model.dates import DAY, format_ms
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from ..model.words import counted
from ..store.notices import Notice
from .permissions import Actor

_log = logging.getLogger("patauth")

MAX_WITHIN = 3660 * 86_400  # s
Due = tuple[PersonalAccessToken, Notice]

_AT_ONCE = 50  # events whose marks are set together
_PATIENCE = 60.0  # s in which the sinks deliver them


class NotSent(PatAuthError):
    """A sink has not taken all events. The call is safe to repeat."""

    default = "not all events were sent; run it again"


def notify(actor: Actor, within: Sequence[int]) -> Iterator[list[str]]:
    """Emit the events that are due. Yield in pieces the ids of the PATs, one for each event.

    `within`: thresholds, seconds before the expiry. Raise `InvalidRequest`, `ConfigurationError` (no sink
    would take the events), `StoreUnavailable`, `NotSent`.
    """
    thresholds = sorted(set(within))
    if not thresholds or not 1 <= thresholds[0] <= thresholds[-1] <= MAX_WITHIN:
        raise InvalidRequest(f"give 1 second to {MAX_WITHIN // 86_400} days", field="within")
    if not actor.events.is_on:
        raise ConfigurationError(
            "no sink takes the events: name a stream or a webhook in the setting events; or, for the sink"
            " log, leave out --quiet, or have the logger patauth.audit at INFO"
        )
    return _notify(actor, thresholds)


def _notify(actor: Actor, thresholds: Sequence[int]) -> Iterator[list[str]]:
    store, who = actor.store.without_deadline(), secrets.token_bytes(16)
    store.settle_key()
    index = store.tenant_index
    now = store.pats.now("store")
    index.mend_suspects(now, all_gone=False)  # what has a new expiry may have an old entry
    last, are_sent = now + 1000 * thresholds[-1], True
    for piece in index.walk("expirationDate", max(0, now - index.retention_ms), last):
        records = index.records([pat_id for pat_id, _ in piece.entries], now)
        pats = [record.pat for record in records if record is not None and index.lists(record.pat)]
        due = [(pat, notice) for pat in pats for notice in _due(pat, now, thresholds)]
        for at in range(0, len(due), _AT_ONCE):
            sent, missed = _announce(actor, due[at : at + _AT_ONCE], now, who)
            if missed and not sent:  # the sinks take nothing now
                raise NotSent
            are_sent = are_sent and not missed
            yield [pat.id for pat, _ in sent]
    if not are_sent:
        raise NotSent


def _due(pat: PersonalAccessToken, now: int, thresholds: Sequence[int]) -> Iterator[Notice]:
    """Yield what to announce of a PAT at `now` (ms), whether or not it was announced already."""
    if pat.expires_ms is None:
        return
    left = pat.expires_ms - now
    if left <= 0:
        yield Notice(PatId(pat.id), pat.expires_ms, 0)
        return
    for seconds in thresholds:
        if left <= 1000 * seconds:
            yield Notice(PatId(pat.id), pat.expires_ms, seconds)


def _announce(actor: Actor, due: Sequence[Due], now: int, who: bytes) -> tuple[list[Due], list[Due]]:
    """Emit the events that nobody has emitted. Return what was sent, and what a sink has missed."""
    store = actor.store.without_deadline()
    # A day more than the notice can be due, by whatever clock.
    kept = {True: store.tenant_index.retention_ms + DAY, False: DAY}
    lasts = [notice.expires_ms - now + kept[notice.within == 0] for _, notice in due]
    ours = store.notices.claim([notice for _, notice in due], who, lasts)
    new = [one for one, is_ours in zip(due, ours, strict=True) if is_ours]
    if not new:
        return [], []
    missed = new
    try:
        before = actor.events.dropped
        for pat, notice in new:
            _emit(actor, pat, notice)
        left = actor.events.close(_PATIENCE)  # nothing more is marked before these are delivered
        # If others were dropped too, nobody knows which.
        if actor.events.dropped - before == len(left):
            missed = [one for one in new if _event_id(one[1]) in left]
    finally:
        if missed:
            _give_back(actor, [notice for _, notice in missed])
    return [one for one in new if one not in missed], missed


def _emit(actor: Actor, pat: PersonalAccessToken, notice: Notice) -> None:
    actor.events.emit(
        "pat.expiring" if notice.within else "pat.expired",
        id=_event_id(notice),
        patId=pat.id,
        ownerId=pat.owner.id,
        name=pat.name,
        expires=format_ms(notice.expires_ms),
        within=notice.within or None,
    )


def _event_id(notice: Notice) -> str:
    """Return the id of an event: the same each time it is sent."""
    text = f"{notice.pat_id} {notice.expires_ms} {notice.within}"
    return sha256(text.encode()).hexdigest()[:32]


def _give_back(actor: Actor, notices: Sequence[Notice]) -> None:
    try:
        actor.store.without_deadline().notices.give_back(notices)
    except StoreUnavailable as problem:
        _log.warning("%s of expiries will never be sent: %s", counted(len(notices), "event"), problem.detail)
