from __future__ import annotations

import json
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from patauth.events.outbox import Gone, Refused, Undelivered
from patauth.events.webhook import Webhook, id_of
from tests.support.processes import free_port
from tests.support.receivers import (
    KEY,
    OTHER_KEY,
    answers,
    drips,
    hangs,
    receiving,
    says,
    takes,
)
from tests.support.tables import each

EVENT = {"time": "2026-01-01T00:00:00.000Z", "id": "ab" * 16, "type": "pat.created", "outcome": "done"}
LINE = json.dumps(EVENT)


def test_an_event_is_posted_once_with_headers_that_the_library_verifies():
    with receiving() as receiver:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
    assert receiver.taken == [EVENT]
    assert receiver.tries == [EVENT["id"]]


def test_during_a_rotation_both_secrets_verify_it():
    with receiving() as receiver:
        receiver.keys = [KEY, OTHER_KEY]
        Webhook(receiver.url, [KEY, OTHER_KEY]).post(EVENT["id"], LINE)
    assert receiver.taken == [EVENT]


def test_another_secret_or_another_body_does_not():
    caught: list[Any] = []

    def keep(handler: Any) -> None:
        caught.append((handler.body, dict(handler.headers)))
        answers(200)(handler)

    with receiving(keep) as receiver:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
    ((body, fields),) = caught
    assert Verifier(KEY).verify(body, fields) == EVENT
    for key, data in ((OTHER_KEY, body), (KEY, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Verifier(key).verify(data, fields)
    assert fields["Content-Type"] == "application/json"


@each("status", [200, 201, 202, 204, 299])
def test_each_2xx_is_a_success(status: int):
    with receiving(answers(status)) as receiver:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)


@each("status", [300, 304, 400, 401, 404, 409, 429, 500, 503])
def test_every_other_status_is_a_failure(status: int):
    with receiving(answers(status)) as receiver, pytest.raises(Undelivered, match=str(status)) as refused:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
    assert not isinstance(refused.value, Gone)


@each(
    "behaviour, is_refused",
    [
        *((answers(status), True) for status in (302, 400, 401, 404, 409, 413, 422, 500, 501)),
        *((answers(status), False) for status in (429, 502, 503, 504)),
        (says(b""), False),
    ],
)
def test_an_answer_is_about_the_event_unless_it_says_that_the_receiver_is_away(
    behaviour: Any, is_refused: bool
):
    with receiving(behaviour) as receiver, pytest.raises(Undelivered) as caught:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
    assert isinstance(caught.value, Refused) == is_refused


@each("status", [100, 102, 103])
def test_an_interim_answer_is_passed_over(status: int):
    interim = f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode()
    with receiving(says(interim * 3 + b"HTTP/1.1 204 No Content\r\n\r\n")) as receiver:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
    with receiving(says(interim * 3 + b"HTTP/1.1 400 No\r\n\r\n")) as receiver, pytest.raises(Refused):
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)


@each("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int):
    """What is signed for one receiver goes to no other."""
    with receiving() as other, receiving(answers(status, ("Location", other.url))) as receiver:
        with pytest.raises(Undelivered, match=str(status)):
            Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)
        assert receiver.tries == [EVENT["id"]]
        assert other.tries == []


def test_410_is_for_good():
    with receiving(answers(410)) as receiver, pytest.raises(Gone):
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)


@each(
    "behaviour",
    [
        hangs,  # 200 that comes too late
        drips,
        says(b""),
        says(b"SSH-2.0-OpenSSH_9.9\r\n"),
        says(b"HTTP/1.1 2OO OK\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 70_000 + b"\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000 + b"HTTP/1.1 200 OK\r\n\r\n"),
        says(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + b"HTTP/1.1 200 OK\r\n\r\n"),
        says(b"\x16\x03\x01\x02\x00\x01"),
    ],
)
def test_whatever_a_receiver_says_a_try_ends_and_fails(behaviour: Any):
    """The limit is for the whole try: each byte of a header that never ends comes in time."""
    with receiving(behaviour) as receiver:
        webhook = Webhook(receiver.url, [KEY], whole=0.5)
        with pytest.raises(Undelivered, match="cannot be reached"):
            webhook.post(EVENT["id"], LINE)
    assert receiver.tries == [EVENT["id"]]


def test_the_body_of_an_answer_is_not_waited_for():
    with receiving(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nno more")) as receiver:
        Webhook(receiver.url, [KEY]).post(EVENT["id"], LINE)


def test_a_receiver_that_is_down_is_a_failure():
    with pytest.raises(Undelivered, match="ConnectionRefusedError"):
        Webhook(f"http://127.0.0.1:{free_port()}/", [KEY]).post(EVENT["id"], LINE)


def test_a_certificate_that_nobody_vouches_for_is_refused():
    """The other side speaks no TLS at all here; tests/system/test_events.py has a certificate."""
    with receiving(takes) as receiver, pytest.raises(Undelivered, match="SSL"):
        Webhook(receiver.url.replace("http:", "https:"), [KEY], whole=2).post(EVENT["id"], LINE)
    assert receiver.tries == []


def test_its_name_does_not_show_what_may_be_a_secret():
    webhook = Webhook("https://hooks.example:8443/services/T0/hush?key=hush", [KEY])
    assert webhook.name == "webhook:https://hooks.example:8443"


@each(
    "line, found",
    [
        (LINE, "ab" * 16),
        ("", None),
        ("no json", None),
        ("[1]", None),
        ('{"id": 5}', None),
        ('{"id": "a\\r\\nHost: x"}', None),
        ('{"id": ""}', None),
    ],
)
def test_only_an_event_has_an_id(line: str, found: str | None):
    assert id_of(line) == found
