"""Keep credentials out of logs: hide them in texts."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from .credentials import Format, Prefixes

# A secret without its prefix, which has 49 digits, or most of one. 43 are a digest in base64 too, such as the
# subject of some identity providers, and hex in one case is a digest as well.
_BARE = r"(?<![0-9A-Za-z])(?=[0-9a-f]*[A-Zg-z])(?=[0-9A-F]*[G-Za-z])[0-9A-Za-z]{44,}"
_SENT = re.compile(
    r"(?i)\b(basic|bearer)\s+[^\s,'\"]+"
    r"|((?:client_secret|client_assertion|access_token|token|password|secret)=)[^&\s'\"]*"
)
_BASE64 = re.compile(r"[0-9A-Za-z+/_-]{24,}={0,2}")
_PAIR = "[0-9a-f]{32}:"
# A JWT, or a text that only begins as one. It is skipped as a whole, so no part is read again and again.
_JWT = re.compile(r"eyJ[0-9A-Za-z_-]*(\.eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+)?")
_TO_STANDARD = str.maketrans("-_", "+/")


class Redaction:
    """Hides PAT secrets, PAT tokens, access tokens, JWTs, Authorization values and secret parameters.

    It also hides base64 of any of these, or of a PAT's id with a secret, and what may be a damaged one.
    """

    def __init__(self, prefixes: Iterable[Prefixes]) -> None:
        prefixes = tuple(prefixes)
        ours = Format(prefixes).patterns().values()
        names = "|".join(name for triple in prefixes for name in triple)
        self._ours = re.compile("|".join(ours))
        self._damaged = re.compile(
            rf"(?:{names})(?:_|-|%5[Ff])(?:[0-9a-f]{{8,32}}(?:_|-|%5[Ff]))?(?=[0-9a-f]*[A-Zg-z])[0-9A-Za-z]{{20,}}"
            f"|{_BARE}"
        )
        self._decoded = re.compile("|".join([*ours, _PAIR]))

    def hide(self, text: str) -> str:
        """Return the text with `[hidden]` for each credential."""
        text = _JWT.sub(lambda match: "[hidden]" if match[1] else match[0], self._ours.sub("[hidden]", text))
        text = _BASE64.sub(lambda match: "[hidden]" if self._is_secret(match[0]) else match[0], text)
        text = self._damaged.sub("[hidden]", text)
        return _SENT.sub(lambda match: f"{match[2] or match[1] + ' '}[hidden]", text)

    def text_of(self, problem: BaseException) -> str:
        """Return the text of an exception without credentials, in one line."""
        try:
            text = str(problem)
        except Exception:  # it is the host's own
            return "(its text cannot be had)"
        return self.hide(text).encode("unicode_escape").decode()

    def _is_secret(self, run: str) -> bool:
        plain = run.rstrip("=").translate(_TO_STANDARD)
        for start in range(4):  # other characters may stand before it
            whole = plain[start:] + "A" * (-len(plain[start:]) % 4)
            decoded = base64.b64decode(whole).decode("latin-1")
            if self._decoded.search(decoded) or any(match[1] for match in _JWT.finditer(decoded)):
                return True
        return False
