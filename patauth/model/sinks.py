"""Read where events go: the words of the setting `events`, and the secrets that sign webhooks."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .http_names import is_loopback, words_of

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URL = re.compile(r"https?://[!-~]{1,2000}")
_SECRET = re.compile(r"whsec_([A-Za-z0-9+/]+={0,2})")
_LEAST, _MOST = 24, 64  # bytes of a secret, by the specification of Standard Webhooks


class Sinks(NamedTuple):
    """Where events go. `log`: to the logger. `stream` is the name of a stream, `webhooks` are URLs."""

    log: bool
    stream: str | None
    webhooks: tuple[str, ...]


def read_sinks(value: Any) -> tuple[str, ...]:
    """Return the words of the setting `events` in a text or a list; "none", or an empty list, for none.

    Raise `ValueError`, which never repeats a URL: it may hold a secret.
    """
    words = words_of(value)
    if words == ("none",) or (not words and not isinstance(value, str)):
        return ()
    if not words or len(set(words)) != len(words):
        raise ValueError("give log, stream:NAME and webhook:URL, each once, or none alone")
    for word in words:
        kind, _, rest = word.partition(":")
        if kind == "stream" and _NAME.fullmatch(rest) is None:
            raise ValueError("name a stream by 1 to 64 letters, digits and . _ -, as in stream:audit")
        if kind == "webhook":
            _check_url(rest)
        elif kind not in ("log", "stream") or word.startswith("log:"):
            raise ValueError("give log, stream:NAME and webhook:URL, with blanks between, or none")
    if len([word for word in words if word.startswith("stream:")]) > 1:
        raise ValueError("name one stream: all who read events can read them there")
    return words


def sinks_of(words: tuple[str, ...]) -> Sinks:
    """Return the parts of what `read_sinks` has read."""
    streams = [word.removeprefix("stream:") for word in words if word.startswith("stream:")]
    webhooks = tuple(word.removeprefix("webhook:") for word in words if word.startswith("webhook:"))
    return Sinks("log" in words, streams[0] if streams else None, webhooks)


def _check_url(url: str) -> None:
    if _URL.fullmatch(url) is None:
        raise ValueError("webhook: give an https URL of visible ASCII")
    parts = urlsplit(url)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("webhook: the port of the URL is no number up to 65535") from None
    if not host or "@" in parts.netloc or "#" in url:
        raise ValueError("webhook: give a URL with a host, and without user, password and fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("webhook: give an https URL; http is for this machine alone")


def shown(word: str) -> str:
    """Return a word of the setting for people: of a URL only the origin, since the rest may be a secret."""
    if not word.startswith("webhook:"):
        return word
    parts = urlsplit(word.removeprefix("webhook:"))
    return f"webhook:{parts.scheme}://{parts.netloc}"


def names_of(urls: Sequence[str]) -> list[str]:
    """Return a name for each webhook, for people: its origin, with a number where several have the same."""
    names = [shown(f"webhook:{url}") for url in urls]
    counts = Counter(names)
    numbers = {name: count(1) for name in names}
    return [name if counts[name] == 1 else f"{name} ({next(numbers[name])})" for name in names]


def read_webhook_secrets(value: Any) -> tuple[bytes, ...]:
    """Return the secrets that sign webhooks, one or during a rotation two; none without a value.

    Each is `whsec_` and the base64 of 24 to 64 bytes. Raise `ValueError`, which never repeats a secret.
    """
    if not value:
        return ()
    if isinstance(value, tuple) and all(isinstance(one, bytes) for one in value):
        return value
    keys = tuple(map(_key_of, words_of(value)))
    if not 1 <= len(keys) <= 2 or len(set(keys)) != len(keys):
        raise ValueError("give one secret, or during a rotation two that differ, with a blank between")
    return keys


def _key_of(word: str) -> bytes:
    wrong = ValueError(f"give 'whsec_' and the base64 of {_LEAST} to {_MOST} random bytes")
    match = _SECRET.fullmatch(word)
    if match is None:
        raise wrong
    try:
        key = b64decode(match[1] + "=" * (-len(match[1]) % 4), validate=True)
    except binascii.Error:
        raise wrong from None
    if not _LEAST <= len(key) <= _MOST:
        raise wrong
    return key
