"""The forms of pages, as a client without a browser reads them."""

from __future__ import annotations

import re
from html import unescape


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page with one form."""
    found = re.findall('<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


def token_of(page: str) -> str:
    """The PAT token that a page shows."""
    (token,) = re.findall(r"\bpat_\w+", page)
    return str(token)
