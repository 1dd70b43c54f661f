"""New secrets of PATs, which creation and rotation make: minted, hashed, and shown once."""

from __future__ import annotations

from ..model import credentials
from ..model.caller import subject_of
from ..model.credentials import Format
from ..model.pat import IssuedPat, PersonalAccessToken
from ..model.pat_id import PatId
from ..store.record import SecretSlot
from .permissions import Actor


def mint(actor: Actor, pat_id: PatId) -> tuple[bytes, SecretSlot]:
    """Return a new secret and its slot, as the first one of a PAT. Raise `Overloaded`.

    The time to hash the secret does not count for the deadline.
    """
    secret = credentials.mint_secret()
    keyring = actor.store.keyring
    owner = pat_id.tag if actor.by is None else keyring.owner_tag(actor.by.tenant, subject_of(actor.by).id)
    with actor.store.paused():
        digest = actor.hasher.hash(secret, owner)
    return secret, SecretSlot(1, keyring.secret_tag(pat_id, secret), digest)


def issued(actor: Actor, pat: PersonalAccessToken, secret: bytes) -> IssuedPat:
    """Return a PAT with the texts of its new secret."""
    form = Format(actor.settings.credential_prefixes)
    return IssuedPat(pat, form.secret_text(secret), form.token_text(pat.id, secret))
