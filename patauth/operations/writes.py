"""How an operation writes: by compare-and-set, with one event for each change.

A change is a read, a decision, and a write that happens only if nobody else changed the PAT meanwhile.
Otherwise it is read and decided again, so no change is lost. The same happens if the caller has changed
meanwhile. A write whose outcome is not known is undone, or it gets an event too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import Conflict, Forbidden, InvalidCredentials, Overloaded, StoreUnavailable
from ..events import events
from ..events.events import Facts, Type
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from ..store.asking import Outcome, Window
from ..store.pats import Change
from ..store.record import PatRecord, SecretSlot
from ..store.scripts import NotDurable
from ..store.store import Store
from ..store.transport.protocol import Unanswered
from .permissions import Actor

_TRIES = 100  # of compare-and-set; the deadline ends them earlier

T = TypeVar("T")

# Takes the judged actor and a record, and returns the new one; the same one: nothing changes.
Decide = Callable[[Actor, PatRecord], PatRecord]
# Takes the judged actor and a record or None, and returns the record if the actor may change it.
Check = Callable[[Actor, PatRecord | None], PatRecord]
Write = Callable[[Actor, list[Change], Window], Outcome]  # takes the judged actor, and changes of one owner
Undo = Callable[[Store], object]


def ending(pat: PersonalAccessToken, secrets: tuple[SecretSlot, ...], end: int) -> PatRecord:
    """Return a record whose overlap ends at `end` (ms), or with its PAT if that expires earlier."""
    return PatRecord(pat, secrets, end if pat.expires_ms is None else min(end, pat.expires_ms))


def managed(judged: Actor, record: PatRecord | None) -> PatRecord:
    """Return a record that the actor may change. Raise `Forbidden`, `NotFound`."""
    judged.require_own("manage")
    return judged.visible("manage", record)


class OwnerDisabled(Forbidden):
    """The owner is disabled, so their PATs can only be removed."""

    default = "this owner is disabled; enable the owner first"


class Changed(Conflict):
    """The PAT is no longer as the caller has seen it."""

    default = "this PAT was changed in the meantime; look at it again, then decide"


def managed_as_seen(sequence: int | None) -> Check:
    """Return `managed`; for a number, a check that also raises `Changed` unless it is the PAT's sequence."""

    def check(judged: Actor, record: PatRecord | None) -> PatRecord:
        found = managed(judged, record)
        if found.pat.sequence != sequence:
            raise Changed
        return found

    return managed if sequence is None else check


def rehearse(actor: Actor, record: PatRecord, decide: Decide) -> None:
    """Decide once before a change whose caller may have to confirm who they are. Raise what `decide` raises.

    A change has to be written within the deadline after its read, however long the confirmation takes.
    """
    if actor.confirm is not None:
        decide(actor.judged(), record)


def compare_and_set(
    actor: Actor, pat_ids: Sequence[PatId], decide: Decide, write: Write, check: Check = managed
) -> list[PersonalAccessToken]:
    """Change PATs of one owner together; return them. Raise what `check` and `decide` raise."""
    pats, tag = actor.store.pats, pat_ids[0].tag
    actor.store.settle_known_key()
    for _ in range(_TRIES):
        records = pats.read(pat_ids)  # before the caller is judged: `Pats.window` counts from here
        judged = actor.judged()
        found = [check(judged, record) for record in records]
        window = pats.window(found[0].pat.read_ms, tag, judged.credential)
        after = [decide(judged, record) for record in found]
        changes = [Change(*pair) for pair in zip(found, after, strict=True) if pair[0] is not pair[1]]
        if not changes:
            # The end may not be durable yet, or not hold everywhere yet, so this may repeat it.
            if pats.confirmed(pat_ids) == found:
                return [record.pat for record in found]
            continue
        outcome = write(judged, changes, window)
        if outcome == "made":
            return [record.pat for record in after]
        refuse(actor, outcome)
    raise StoreUnavailable(detail=f"PAT {pat_ids[0]} kept changing")


def refuse(actor: Actor, outcome: Outcome) -> None:
    """Raise the error for an outcome that is the caller's fault."""
    if outcome == "full":
        most = actor.settings.max_pats_per_owner
        raise Conflict(f"this owner has {most} PATs already, the most that are allowed; revoke one first")
    if outcome == "taken":
        raise Conflict("this owner has a PAT of that name already; choose another", field="name")
    if outcome == "disabled":
        raise OwnerDisabled
    if outcome == "busy":
        raise Overloaded(description="all PATs of this owner are being removed; try again shortly")
    if outcome == "ended":
        raise InvalidCredentials


def recorded(
    actor: Actor,
    kind: Type,
    write: Callable[[], T],
    facts_of: Callable[[T | None], Iterable[Facts]],
    undo: Undo | None = None,
) -> T:
    """Call `write`, emit its events, and return its result. Raise what `write` raises.

    `facts_of` returns the facts of each event for a result. The outcome of these events is unknown if the
    result may not be durable; so it is if it is not known whether anything was written, for which `facts_of`
    is called with None. `undo` undoes a write whose outcome is not known; what was undone is no event.
    """
    try:
        result = write() if undo is None else _written_or_undone(actor, write, undo)
    except NotDurable as problem:
        _emit(actor, kind, "unknown", facts_of(problem.result))
        raise
    except Unanswered as problem:
        problem.may_be_done = True  # that of a read or a charge has changed nothing
        _emit(actor, kind, "unknown", facts_of(None))
        raise
    _emit(actor, kind, "done", facts_of(result))
    return result


def _written_or_undone(actor: Actor, write: Callable[[], T], undo: Undo) -> T:
    """Call `write`, and `undo` if the outcome is not known. Raise `Unanswered` if `undo` fails, too."""
    try:
        return write()
    except (NotDurable, Unanswered) as problem:
        try:
            undo(actor.store.for_request())  # with a new deadline, because that of the request may be over
        except StoreUnavailable:
            raise Unanswered(detail=problem.detail) from None
        raise StoreUnavailable(detail=problem.detail) from None


def _emit(actor: Actor, kind: Type, outcome: events.Outcome, found: Iterable[Facts]) -> None:
    for facts in found:
        actor.events.emit(kind, outcome, **facts)
