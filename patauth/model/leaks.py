"""Find leaked credentials of patauth in a text of any kind.

The text is read in pieces, so neither the text nor a line of it has to fit into memory. The reader finds PAT
tokens, PAT secrets and access tokens with a right checksum, under all accepted prefixes. It decodes the value
of a Basic credential first. It takes 32 lower-case hex digits that stand alone for a PAT id. It also reads
UTF-16 and a percent-encoded `_`. It does not find a credential with a line break in it.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from ..errors import InvalidCredentials, InvalidRequest
from .credentials import MAX_JWT, AccessToken, Format, Prefixes
from .pat_id import PatId

Kind = Literal["PAT token", "PAT secret", "access token", "PAT id"]

# What follows one of these is not in the middle of a word: a log may have `%3A` or `\n` before a credential.
_BEGINS = r"(?:(?<![0-9A-Za-z_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_ID = _BEGINS + r"[0-9a-f]{32}(?![0-9A-Za-z_])"
_BASIC = r"(?i:basic)[ \t]{1,4}[0-9A-Za-z+/]{100,240}={0,2}"
_JWT = _BEGINS + r"eyJ[0-9A-Za-z_-]{8,4096}\.[0-9A-Za-z_-]{8,4096}\.[0-9A-Za-z_-]{8,4096}"
_LONGEST = 300  # bytes of all but a JWT
_UNDERSCORE = re.compile(rb"%5[Ff]")


@dataclass(frozen=True, slots=True)
class Leak:
    """Something in a text that looks like a credential of patauth. Its shape and checksum are right.

    A PAT token has `pat_id` and `secret`, a PAT secret `secret` alone, an access token `token`, a PAT id
    `pat_id` alone.
    """

    kind: Kind
    line: int  # where it was found first, from 1
    pat_id: PatId | None = None
    secret: bytes | None = field(default=None, repr=False)
    token: AccessToken | None = field(default=None, repr=False)


class LeakReader:
    """Finds what `form` reads. `with_jwts`: signed access tokens too, whose signature `form` checks."""

    def __init__(self, form: Format, *, with_jwts: bool = False) -> None:
        self._form = form
        kinds = {**form.patterns(), "id": _ID}
        self._inner = _compiled(kinds)
        self._pattern = _compiled({**kinds, "basic": _BASIC, **({"jwt": _JWT} if with_jwts else {})})
        self._kept = (2 * MAX_JWT if with_jwts else 0) + _LONGEST

    def read(self, pieces: Iterable[bytes]) -> Iterator[Leak]:
        """Yield each credential of a text, in order and as often as it occurs. Pieces may be cut anywhere."""
        text, begin, line = b"", 0, 1
        for piece in pieces:
            text = _UNDERSCORE.sub(b"_", text + piece.replace(b"\0", b""))
            # A credential that begins later may not be complete yet.
            stop = len(text) - self._kept
            if stop > begin:
                begin, line = yield from self._find(text, begin, stop, line)
                cut = max(0, begin - _LONGEST)  # a pattern looks back some bytes
                text, begin = text[cut:], begin - cut
        yield from self._find(text, begin, len(text), line)

    def _find(self, text: bytes, begin: int, stop: int, line: int) -> Generator[Leak, None, tuple[int, int]]:
        """Yield the credentials that begin before `stop`. Return where to go on, and in which line."""
        counted = begin
        while (match := self._pattern.search(text, begin)) and match.start() < stop:
            line += text.count(b"\n", counted, match.start())
            counted = match.start()
            found = list(self._read(match, line))
            yield from found
            # A malformed credential may contain the beginning of the next one.
            begin = match.end() if found else match.start() + 1
        begin = max(begin, stop)
        return begin, line + text.count(b"\n", counted, begin)

    def _read(self, match: re.Match[bytes], line: int) -> Iterator[Leak]:
        kind, text = match.lastgroup, match[0].decode("ascii")
        if kind == "basic":
            for inner in self._inner.finditer(_decoded(text)):
                yield from self._read(inner, line)
        elif kind == "id":
            yield Leak("PAT id", line, PatId(text))
        else:
            try:
                # A secret is the same under every id.
                read = self._form.basic("0" * 32, text) if kind == "secret" else self._form.bearer(text)
            except InvalidCredentials:
                return
            if isinstance(read, AccessToken):
                yield Leak("access token", line, read.pat_id, token=read)
            elif kind == "secret":
                yield Leak("PAT secret", line, secret=read.secret)
            else:
                yield Leak("PAT token", line, read.pat_id, read.secret)


class CredentialInText(InvalidRequest):
    """A text for people contains a credential, which lists and the audit trail would show."""

    default = "this has a token or a secret in it, which everybody could read here; leave it out"


def holds_credential(text: str, prefixes: tuple[Prefixes, ...]) -> bool:
    """Return whether a PAT token, a PAT secret or an access token is in a text."""
    found = _reader_of(prefixes).read([text.encode(errors="replace")])
    return any(leak.kind != "PAT id" for leak in found)


def refuse_credential(text: str | None, prefixes: tuple[Prefixes, ...], what: str) -> None:
    """Raise `CredentialInText` for a text with a credential in it; `what` is the field."""
    if text and holds_credential(text, prefixes):
        raise CredentialInText(field=what)


@cache
def _reader_of(prefixes: tuple[Prefixes, ...]) -> LeakReader:
    return LeakReader(Format(prefixes))


def _compiled(kinds: dict[str, str]) -> re.Pattern[bytes]:
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in kinds.items()).encode())


def _decoded(basic: str) -> bytes:
    try:
        return a2b_base64(basic[5:].strip(" \t"))
    except Base64Error:
        return b""
