"""Read or remove one PAT: by its id, or as the PAT that calls."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Forbidden, NotFound, StoreUnavailable
from ..events.events import Facts
from ..model.caller import Principal
from ..model.leaks import refuse_credential
from ..model.pat import PersonalAccessToken, check_description
from ..model.pat_id import PatId
from ..store.asking import ALWAYS, Outcome, Window
from ..store.record import PatRecord
from ..store.removed import Removal
from .permissions import Actor
from .writes import recorded, refuse

_TRIES = 100  # while the PAT that calls changes; the deadline ends them earlier


def get(actor: Actor, pat_id: str, *, removed: bool = False) -> PersonalAccessToken:
    """Return one PAT; an expired one too, within its retention. Raise `NotFound`, `Forbidden`.

    `removed`: also one that was removed, within its retention.
    """
    actor.require_own("read")
    try:
        return actor.find("read", pat_id).pat
    except NotFound:
        if not removed:
            raise
        return actor.find_removed(pat_id).pat


def get_self(actor: Actor) -> PersonalAccessToken:
    """Return the PAT that calls; this needs no right. Raise `NotFound` if no PAT calls."""
    return actor.as_host().find("read", own_id(actor)).pat


def delete(actor: Actor, pat_id: str, reason: str | None = None) -> None:
    """Remove a PAT, and its access tokens with it. What is known of it is kept for its retention.

    Return only when that is durable, else raise `StoreUnavailable`; it is safe to repeat. Raise `NotFound`,
    `Forbidden`, and `InvalidRequest` for a reason that is not a text for people of 1-256 code points, or that
    contains a credential.
    """
    actor.require_own("delete")
    reason = checked_reason(actor, reason)

    def check(judged: Actor, record: PatRecord | None) -> PatRecord:
        judged.require_own("delete")
        return judged.visible("delete", record)

    known = PatId.read(pat_id)
    if known is None:
        raise NotFound
    _delete(actor, known, check, reason)


def checked_reason(actor: Actor, reason: str | None) -> str | None:
    """Return the reason of a removal as a record has it. Raise `InvalidRequest`, `CredentialInText`."""
    if reason is None:
        return None
    found = check_description(reason, "reason")
    refuse_credential(found, actor.settings.credential_prefixes, "reason")
    return found


def delete_self(actor: Actor, reason: str | None = None) -> None:
    """Remove the PAT that calls; this needs no right. Durable and repeatable like `delete`.

    Raise `NotFound`, `Forbidden` for an access token, which can only end itself, and `InvalidRequest` as
    `delete` does.
    """
    pat_id = own_id(actor)
    if actor.calls_by_access_token:
        raise Forbidden("an access token does not end its PAT; send the PAT's own secret or token")
    _delete(actor, pat_id, _check_nothing, checked_reason(actor, reason), previous=True)


def delete_shown(actor: Actor, pat_id: PatId, generation: int, reason: str | None = None) -> None:
    """Remove a PAT whose secret the caller has shown. Durable and repeatable like `delete`.

    `generation` is that of the secret, `reason` was checked. Raise `NotFound`, also if the secret was rotated
    away meanwhile.
    """
    _delete(actor, pat_id, _check_nothing, reason, previous=True, shown=generation)


def _check_nothing(judged: Actor, record: PatRecord | None) -> PatRecord:
    """Return a record that needs no right: the caller has shown its secret."""
    return judged.as_host().visible("delete", record)


def _delete(
    actor: Actor,
    pat_id: PatId,
    check: Callable[[Actor, PatRecord | None], PatRecord],
    reason: str | None,
    *,
    previous: bool = False,
    shown: int | None = None,
) -> None:
    """Remove a PAT that `check` returns for the judged actor. `previous`: see `Actor.judged`."""
    pats = actor.store.pats
    far = isinstance(actor.by, Principal) and PatId(actor.by.pat_id).tag != pat_id.tag
    for _ in range(_TRIES):
        # Before the caller is judged: `Pats.window` counts from here.
        now = pats.now(pat_id.tag) if far else 0
        judged = actor.judged(previous=previous)
        try:
            found = check(judged, pats.read([pat_id])[0])
        except NotFound:
            found = check(judged, pats.confirmed([pat_id])[0])  # raises again, once that is durable
        actor.store.settle_known_key()
        # A late removal does no harm, unless nobody judges the caller then.
        window = pats.window(now, pat_id.tag, judged.credential) if far else ALWAYS
        outcome = _remove(judged, found.pat, window, shown, reason)
        refuse(actor, outcome)
        if outcome == "made":
            actor.store.tokens.forget(pat_id, [secret.generation for secret in found.secrets])
        if outcome == "rotated":
            pats.confirmed([pat_id])
            raise NotFound
        if outcome != "judge again":
            return
    raise StoreUnavailable(detail=f"the PAT that calls for the removal of {pat_id} kept changing")


def _remove(
    judged: Actor, pat: PersonalAccessToken, window: Window, shown: int | None, reason: str | None
) -> Outcome:
    pats, by = judged.store.pats, judged.credential
    by_owner = judged.by is not None and judged.owns(pat)
    removal = Removal(judged.requester, reason, judged.settings.max_kept_per_owner, by_owner)
    facts: Facts = {"patId": pat.id, "ownerId": pat.owner.id, "reason": reason, **judged.facts}

    def facts_of(outcome: Outcome | None) -> list[Facts]:
        # "gone": another call removed it in the meantime.
        return [facts] if outcome in ("made", None) else []

    def put() -> Outcome:
        return pats.delete(pat, window=window, by=by, shown=shown, removal=removal)

    return recorded(judged, "pat.revoked", put, facts_of)


def own_id(actor: Actor) -> PatId:
    """Return the id of the PAT that calls. Raise `NotFound` if no PAT calls."""
    if not isinstance(actor.by, Principal):
        raise NotFound("no personal access token was presented")
    return PatId(actor.by.pat_id)
