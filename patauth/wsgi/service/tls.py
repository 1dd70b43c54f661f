"""The certificate of the gRPC port and its private key, read from files."""

from __future__ import annotations

import os
import ssl

from ...errors import ConfigurationError
from ...files import mode_of, readers_of_key, why_untrusted

ALPN = "h2"  # HTTP/2 over TLS (RFC 9113 §3.2)


def read_tls(key: str, chain: str) -> ssl.SSLContext:
    """Return what a server needs for TLS, from the two files, in PEM.

    Raise `ConfigurationError`, for a file that others can change, a key that others can read, and one that is
    not that of the certificate too.
    """
    status = _status("--grpc-key", key)
    if readers := readers_of_key(status):
        raise ConfigurationError(
            f"--grpc-key: {key} (mode {mode_of(status)}) can be read by {readers}: chmod 600 {key}, or"
            " replace the key if others may have seen it"
        )
    _status("--grpc-cert", chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113 §9.2.1
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(chain, key, password="")  # with a password, or OpenSSL would ask for one
    except OSError as problem:
        why = getattr(problem, "reason", None) or "one of them cannot be read"
        raise ConfigurationError(
            f"--grpc-key: {key} does not go with the certificate in {chain} ({why}); give both in PEM, the"
            " key without a password"
        ) from None
    return context


def _status(option: str, path: str) -> os.stat_result:
    """Return the status of a file. Raise unless it can be read, and nobody else can change it."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except OSError as problem:
        raise ConfigurationError(f"{option}: cannot read {path}: {problem.strerror}") from None
    if why := why_untrusted(path, status):
        raise ConfigurationError(f"{option}: {why}")
    return status
