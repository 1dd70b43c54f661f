from __future__ import annotations

import re
from typing import Any

from patauth.events.request import REQUEST, CurrentRequest, request_id
from patauth.model.address import Address
from tests.support.tables import each


def address_of(environ: dict[str, Any]) -> Address:
    return Address(environ.get("REMOTE_ADDR"), None)


@each(
    "given, is_kept",
    [
        ("a", True),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", True),
        ("Root=1.67891233_abc", False),
        ("x-" * 32, True),
        ("x" * 42, True),
        ("x" * 43, False),  # as long as the random part of a secret
        ("pats_" + "x" * 49, False),
        ("0123456789abcdef" * 4, False),
        ("x-" * 32 + "x", False),
        ("", False),
        ("a b", False),
        ("a\nb", False),
        ("a\n", False),
        ('a","type":"pat.created', False),
        ("é", False),
        (None, False),
    ],
)
def test_a_client_names_its_request_in_64_safe_characters(given: str | None, is_kept: bool):
    request = CurrentRequest({} if given is None else {"HTTP_X_REQUEST_ID": given}, address_of)
    assert (request.id == given) == is_kept
    assert is_kept or re.fullmatch("[0-9a-f]{32}", request.id)
    assert request.id == request.id, "all events of a request have one id"


def test_two_requests_without_an_id_have_two():
    assert CurrentRequest({}, address_of).id != CurrentRequest({}, address_of).id


def test_the_address_is_read_when_it_is_asked_for():
    assert CurrentRequest({"REMOTE_ADDR": "203.0.113.9"}, address_of).address.charged == "203.0.113.9"


def test_it_does_not_show_the_environ():
    assert "hush" not in repr(CurrentRequest({"HTTP_AUTHORIZATION": "hush"}, address_of))


def test_there_is_none_outside_of_a_request():
    assert REQUEST.get() is None


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@each(
    "given, is_kept",
    [
        (PARENT, True),
        (PARENT.replace("00-4", "cc-4"), True),
        (PARENT.replace("00-4", "cc-4") + "-more", True),
        (PARENT + "-more", False),
        (PARENT.replace("00-4", "cc-4") + "more", False),
        (PARENT.replace("00-4", "ff-4"), False),
        (PARENT.upper(), False),
        (PARENT + "\n", False),
        (PARENT.replace(TRACE, "0" * 32), False),
        (PARENT.replace("00f067aa0ba902b7", "0" * 16), False),
        (f"{PARENT},{PARENT}", False),
        (TRACE, False),
        ("", False),
    ],
)
def test_without_a_name_the_trace_of_a_well_formed_traceparent_is_the_id(given: str, is_kept: bool):
    """W3C Trace Context §3.2.2: what is not well-formed is ignored."""
    request = CurrentRequest({"HTTP_TRACEPARENT": given}, address_of)
    assert (request.id == TRACE) is is_kept
    named = CurrentRequest({"HTTP_TRACEPARENT": given, "HTTP_X_REQUEST_ID": "r-1"}, address_of)
    assert named.id == "r-1"


def test_a_made_id_stays_that_of_the_environ():
    """The access log is written when the request is over, and names it as its events did."""
    environ: dict[str, Any] = {}
    assert (
        CurrentRequest(environ, address_of).id
        == CurrentRequest(environ, address_of).id
        == request_id(environ)
    )
