"""PAT ids: 32 lower-case hex digits. The first 8 are the owner tag."""

from __future__ import annotations

import re
import secrets
from operator import itemgetter
from typing import TYPE_CHECKING

_FORM = re.compile(r"[0-9a-f]{32}")


class PatId(str):
    """The id of a PAT: a text of the right form.

    `tag`: the owner tag, 8 hex digits, which routes all keys of an owner's PATs to one cluster slot. `raw`:
    the id as 16 bytes.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        tag: str
        raw: bytes
    else:  # getters written in C: each request reads these several times
        tag = property(itemgetter(slice(8)))
        raw = property(bytes.fromhex)

    @classmethod
    def read(cls, text: object) -> PatId | None:
        """Return a text that a caller gave as a PAT id; None if it has another form."""
        return cls(text) if isinstance(text, str) and _FORM.fullmatch(text) else None

    @classmethod
    def mint(cls, owner_tag: str) -> PatId:
        """Return a new id under an owner tag (8 hex digits)."""
        return cls(owner_tag + secrets.token_hex(12))
