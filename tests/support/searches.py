"""How long tests search for counterexamples: `SEARCH=20 pytest` searches twenty times as long."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("SEARCH", "1"))


def examples(few: int) -> int:
    """Return how many examples a search tries that by default tries a few."""
    return few * TIMES
