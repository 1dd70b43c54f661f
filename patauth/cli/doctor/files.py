"""What `patauth doctor` finds in the files of secrets and signing keys: who can reach them.

A file of a secret that others can change is an error of the settings, so no command gets as far as this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ...errors import ConfigurationError
from ...files import mode_of, readers_of_secret
from ...jwt.issuer import signing_keys
from ...settings import Settings, secret_files
from .finding import Finding, ok, problem, warning


def judge_files(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Examine the files that the environment names for secrets, and the keys of signed tokens."""
    for variable, path in secret_files(environ):
        status = os.stat(path)
        mode = f"{variable}: {path} (mode {mode_of(status)})"
        if readers := readers_of_secret(status):
            remedy = f"chmod o-r {path}; a container's secrets have an option for their mode (0440)."
            yield warning("secrets", f"{mode} can be read by {readers}.", remedy)
        else:
            yield ok("secrets", f"{mode} is closed to other users.")
    keys = signing_keys(settings) if settings.issuer is not None else None
    if keys is None:
        return
    try:
        found = keys.keys()
    except ConfigurationError as trouble:
        yield problem(
            "keys", f"{trouble}.", "Correct it as described; `patauth keys rotate` makes a new key."
        )
    else:
        if found:
            yield ok("keys", f"The signing keys can be read, and are closed to other users ({len(found)}).")
