"""Which PAT a command is about: its id, or its name and its owner."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from ..authority import Authority
from ..errors import NotFound
from ..model.leaks import refuse_credential
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from . import suggestions
from .context import Failure

_SHOWN = 5  # names or ids that an error lists


@dataclass(frozen=True, slots=True)
class NamedPat:
    """The PAT that an argument names: by its id, or with an owner's id also by its name.

    A text with the form of an id is only an id. Otherwise a PAT that has another one's id as its name
    would be found where the other one is meant, and a repeated `revoke` would end it.
    """

    given: str
    owner_id: str | None

    def id_in(self, authority: Authority, *, removed: bool = False) -> str:
        """Return the id of the PAT. `removed`: if no living PAT of the owner has the name, a revoked one may.

        An id without an owner is not looked up. Raise `NotFound`, and `Failure` if several have the name.
        """
        if self.owner_id is None:
            if PatId.read(self.given) is None:  # the text is not repeated, because it may be a secret
                raise NotFound(
                    "this is no PAT id, which has 32 of the characters 0-9 and a-f;"
                    " to give the name of a PAT, add --owner-id"
                )
            return self.given
        prefixes = authority.settings.credential_prefixes
        refuse_credential(self.given, prefixes, "NAME")
        refuse_credential(self.owner_id, prefixes, "--owner-id")
        if PatId.read(self.given) is not None:
            with suppress(NotFound):
                if authority.get(self.given, removed=removed).owner.id == self.owner_id:
                    return self.given
            raise NotFound(f"{self.owner_id} has no PAT with the id {self.given}")
        living = authority.list(owner_id=self.owner_id)
        found = self._of_that_name(living)
        if removed and not found:
            found = self._of_that_name(authority.list(owner_id=self.owner_id, filters='state eq "revoked"'))
        if not found:
            raise NotFound(self._missing(living))
        if len(found) > 1:
            ids = ", ".join(pat.id for pat in found[:_SHOWN])
            raise Failure(
                f"{self.owner_id} has {len(found)} revoked PATs of that name: give the id of one: {ids}"
                + ("" if len(found) <= _SHOWN else ", …"),
                2,
            )
        return found[0].id

    def _of_that_name(self, pats: Sequence[PersonalAccessToken]) -> list[PersonalAccessToken]:
        name = unicodedata.normalize("NFC", self.given)  # as records have it
        return [pat for pat in pats if pat.name == name]

    def _missing(self, living: Sequence[PersonalAccessToken]) -> str:
        if not living:
            return f"{self.owner_id} has no PATs"
        from difflib import get_close_matches

        names = [pat.name for pat in living]
        close = get_close_matches(self.given, names, _SHOWN)
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"its PATs are {', '.join(map(repr, names[:_SHOWN]))}{', …' if len(names) > _SHOWN else ''}"
        )
        return f"{self.owner_id} has no PAT {self.given!r}; {hint}"


def names_pat(*, required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the argument ID or NAME, and --owner-id. The command gets `named`, or None if nothing is given."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @click.argument(
            "pat_id",
            metavar="ID|NAME" if required else "[ID|NAME]",
            required=required,
            shell_complete=suggestions.pats,
        )
        @click.option(
            "--owner-id",
            help="Whose PAT it is. With it, you can give the PAT's name instead of its id; scripts use ids.",
            shell_complete=suggestions.owners,
        )
        @functools.wraps(command)
        def with_named(pat_id: str | None, owner_id: str | None, **given: Any) -> None:
            if pat_id is None and owner_id is not None:
                raise click.UsageError("--owner-id is for the name of a PAT, which is missing")
            command(named=None if pat_id is None else NamedPat(pat_id, owner_id), **given)

        return with_named

    return add
