"""What keeps credentials out of logs: a text is shown without them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..model.credentials import Format, Prefixes

_SENT = re.compile(
    r"(?i)\b(basic|bearer)\s+[^\s,'\"]+"
    r"|((?:client_secret|client_assertion|access_token|token|password|secret)=)[^&\s'\"]*"
)
_JWT = r"eyJ[0-9A-Za-z_-]+\.eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+"


class Redaction:
    """Hides PAT secrets, PAT tokens, access tokens, JWTs, Authorization values and secret parameters."""

    def __init__(self, prefixes: Iterable[Prefixes]) -> None:
        self._ours = re.compile("|".join([*Format(prefixes).patterns().values(), _JWT]))

    def hide(self, text: str) -> str:
        """Return the text with `[hidden]` for each credential."""
        text = self._ours.sub("[hidden]", text)
        return _SENT.sub(lambda match: f"{match[2] or match[1] + ' '}[hidden]", text)
