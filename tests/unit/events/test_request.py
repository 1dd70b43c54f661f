from __future__ import annotations

import re
from typing import Any

from patauth.events.request import REQUEST, CurrentRequest
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
        ("x" * 49, False),  # as long as the digits of a secret
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
