"""The certificate of the gRPC port and its private key, read from files."""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

from ...errors import ConfigurationError
from ...files import mode_of, readers_of_key, why_untrusted


class Tls(NamedTuple):
    """Holds a private key and the chain of its certificate, in PEM."""

    key: bytes
    chain: bytes


def read_tls(key: str, chain: str) -> Tls:
    """Return what the two files hold.

    Raise `ConfigurationError`, for a file that others can change, a key that others can read, and one that is
    not that of the certificate too.
    """
    content, status = _read("--grpc-key", key)
    if readers := readers_of_key(status):
        raise ConfigurationError(
            f"--grpc-key: {key} (mode {mode_of(status)}) can be read by {readers}: chmod 600 {key}, or"
            " replace the key if others may have seen it"
        )
    found = Tls(content, _read("--grpc-cert", chain)[0])
    try:
        # With a password, or OpenSSL would ask for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except OSError as problem:
        why = getattr(problem, "reason", None) or "one of them cannot be read"
        raise ConfigurationError(
            f"--grpc-key: {key} does not go with the certificate in {chain} ({why}); give both in PEM, the"
            " key without a password"
        ) from None
    return found


def _read(option: str, path: str) -> tuple[bytes, os.stat_result]:
    try:
        with open(path, "rb") as file:
            content, status = file.read(), os.fstat(file.fileno())
    except OSError as problem:
        raise ConfigurationError(f"{option}: cannot read {path}: {problem.strerror}") from None
    if why := why_untrusted(path, status):
        raise ConfigurationError(f"{option}: {why}")
    return content, status
