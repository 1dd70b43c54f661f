"""Errors that only HTTP knows. They belong to the tree in `patauth.errors`, and `answers.py` renders them."""

from __future__ import annotations

from ..errors import Forbidden, InvalidRequest


class MethodNotAllowed(InvalidRequest):
    """The address exists but does not serve this method (RFC 9110 §15.5.6).

    `allow` lists the methods that it serves, as the Allow field has them: "GET, HEAD, POST".
    """

    status = 405

    def __init__(self, allow: str) -> None:
        super().__init__(f"this method is not allowed here; use {' or '.join(allow.rsplit(', ', 1))}")
        self.allow = allow


class TooLarge(InvalidRequest):
    """The body, or the number of parts of its form, is above the limit."""

    status = 413
    default = "the request body is too large"


class UnsupportedMediaType(InvalidRequest):
    """The body has a media type or a framing that is not read here; the text says what to send.

    `accept_patch` lists the media types that a PATCH takes (RFC 5789 §3.1); None for other methods.
    `accept_encoding` lists the content codings that are read (RFC 9110 §12.5.3), if the coding was wrong.
    """

    status = 415
    default = "send a body of another media type"

    def __init__(
        self,
        description: str | None = None,
        *,
        accept_patch: str | None = None,
        accept_encoding: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(description, detail=detail)
        self.accept_patch = accept_patch
        self.accept_encoding = accept_encoding


class NotConfirmed(Forbidden):
    """The host wants a signed-in person to confirm who they are, and they have not just done so."""

    default = "confirm who you are, then send this again"


UNCOMPRESSED = "identity"  # the one content coding that is read here
