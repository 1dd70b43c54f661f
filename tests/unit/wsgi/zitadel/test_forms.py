"""Calls in binary forms over HTTP/1.1: Connect with protobuf, and gRPC-web. Hostile ones change nothing."""

from __future__ import annotations

import gzip
import logging
import sys
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Authority, PatAuthMiddleware
from patauth.wsgi.zitadel import forms
from patauth.wsgi.zitadel.errors import Refusal
from tests.support import rpc
from tests.support.authorities import Make, issue
from tests.support.rpc import PROTO, V1, V2, WEB, Outcome, encode, frame
from tests.support.tables import each
from tests.support.wsgi import Echo, request
from tests.support.zitadel import MY, Api

ADD = V2 + "AddPersonalAccessToken"
OF_ALICE = encode(ADD, {"userId": "alice"})
MALFORMED, TOO_MUCH, UNIMPLEMENTED = 3, 8, 12
MOST = forms.MAX_MESSAGE


def sent(api: Api, kind: str, body: bytes, method: str = ADD, **given: Any) -> Outcome:
    """Send a body as it is, and read the answer as a client of its form."""
    authorization = given.pop("authorization", "Bearer " + api.issued.token)
    given |= {"data": body, "content_type": kind, "authorization": authorization}
    response = request(api.gate, method, method="POST", **given)
    assert api.app.seen == []
    if kind in WEB:
        assert response.headers["Content-Type"] == kind
        return rpc.read_web(response, method)
    return rpc.read_connect(response, method)


def bodies(kind: str, body: bytes) -> bytes:
    return b64encode(body) if "-text" in kind else body


@each("kind", WEB)
def test_a_call_by_grpc_web_answers_in_its_own_media_type(api: Api, kind: str) -> None:
    made = sent(api, kind, bodies(kind, frame(OF_ALICE)))
    assert (made.code, set(made.content)) == (0, {"creationDate", "tokenId", "token"})
    shown = sent(
        api,
        kind,
        bodies(
            kind,
            frame(
                encode(
                    V1 + "GetPersonalAccessTokenByIDs",
                    {"userId": "alice", "tokenId": made.content["tokenId"]},
                )
            ),
        ),
        V1 + "GetPersonalAccessTokenByIDs",
    )
    assert shown.content["token"]["id"] == made.content["tokenId"]
    assert shown.fields["ratelimit-policy"] == '"requests";q=1000000;w=1'


def test_a_call_by_connect_answers_in_protobuf_and_refuses_in_json(api: Api) -> None:
    response = request(
        api.gate,
        ADD,
        method="POST",
        data=OF_ALICE,
        content_type=PROTO,
        authorization="Bearer " + api.issued.token,
    )
    assert (response.status_code, response.headers["Content-Type"]) == (200, PROTO)
    assert len(rpc.decode(ADD, response.data)["tokenId"]) == 32
    refused = request(api.gate, ADD, method="POST", data=OF_ALICE, content_type=PROTO)
    assert (refused.status_code, refused.json) == (
        401,
        {"code": "unauthenticated", "message": "credentials are required"},
    )


ALL_PARTS = frame(OF_ALICE)
HOSTILE: list[tuple[str, bytes, int]] = [
    ("nothing", b"", UNIMPLEMENTED),
    ("half a head", ALL_PARTS[:3], MALFORMED),
    ("a head alone", ALL_PARTS[:5], MALFORMED),
    ("half a message", ALL_PARTS[:-1], MALFORMED),
    ("a length of 4 GiB", b"\0\xff\xff\xff\xff" + OF_ALICE, TOO_MUCH),
    ("too much", frame(b"\x0a" * (MOST + 1)), TOO_MUCH),
    ("much too much", frame(bytes(200_000)), TOO_MUCH),
    ("compressed", frame(gzip.compress(OF_ALICE), 1), UNIMPLEMENTED),
    ("a flag of nobody", frame(OF_ALICE, 2), MALFORMED),
    ("all flags", frame(OF_ALICE, 0xFF), MALFORMED),
    ("trailers alone", frame(b"grpc-status: 0\r\n", 0x80), MALFORMED),
    ("two messages", ALL_PARTS * 2, UNIMPLEMENTED),
    ("a message and trailers", ALL_PARTS + frame(b"a: b\r\n", 0x80), UNIMPLEMENTED),
    ("a message and a byte", ALL_PARTS + b"\0", UNIMPLEMENTED),
    ("no frame", OF_ALICE, MALFORMED),
    ("no protobuf", frame(b"\xff\xff"), MALFORMED),
    ("JSON", frame(b'{"userId":"alice"}'), MALFORMED),
]


@each(("what", "body", "code"), HOSTILE)
@each("kind", WEB)
def test_hostile_frames_have_their_code_and_change_nothing(
    api: Api, kind: str, what: str, body: bytes, code: int
) -> None:
    outcome = sent(api, kind, bodies(kind, body))
    assert outcome.code == code
    assert len(api.ids()) == 1


@each("body", [b"AAA", b"%%%%", b64encode(ALL_PARTS)[:-1], b64encode(ALL_PARTS) + b"\n", b"\xff\xfe"])
def test_what_is_no_base64_is_malformed(api: Api, body: bytes) -> None:
    assert sent(api, "application/grpc-web-text", body).code == MALFORMED
    assert len(api.ids()) == 1


def test_a_compressed_body_is_refused_and_told_what_is_read(api: Api) -> None:
    packed = gzip.compress(frame(OF_ALICE))
    for kind in [PROTO, "application/json", *WEB]:
        outcome = sent(api, kind, packed, headers={"Content-Encoding": "gzip"})
        assert (outcome.code, outcome.fields["accept-encoding"]) == (UNIMPLEMENTED, "identity"), kind
    outcome = sent(api, WEB[0], frame(packed, 1), headers={"grpc-encoding": "gzip"})
    assert (outcome.code, outcome.fields["accept-encoding"]) == (UNIMPLEMENTED, "identity")
    assert len(api.ids()) == 1


def test_a_message_of_the_limit_is_read_and_one_byte_more_is_not(api: Api) -> None:
    for kind in (PROTO, "application/grpc-web", "application/grpc-web-text"):
        for size, codes in ((MOST, {MALFORMED}), (MOST + 1, {TOO_MUCH})):
            name = b"x" * (size - 4)
            message = (
                b"\x0a"
                + bytes([len(name) & 0x7F | 0x80, len(name) >> 7 & 0x7F | 0x80, len(name) >> 14])
                + name
            )
            body = message if kind == PROTO else frame(message)
            outcome = sent(api, kind, bodies(kind, body))
            assert len(message) == size
            assert outcome.code in codes, (kind, size)
            if size == MOST:
                assert outcome.content["message"].startswith("userId: "), kind


@given(kind=st.sampled_from([PROTO, *WEB]), method=st.sampled_from(rpc.METHODS), body=st.binary(max_size=80))
def test_no_bytes_are_a_fault_of_ours(api: Api, kind: str, method: str, body: bytes) -> None:
    for one in (body, bodies(kind, body), bodies(kind, frame(body))):
        assert sent(api, kind, one, method).code in (0, 3, 5, 7, 8, 9, 12)


@each("method", [V2 + "CreateUser", V2 + "addPersonalAccessToken", V2, V1 + "ListUsers", "/zitadel.x/Y"])
def test_a_method_that_is_not_ours_is_the_applications(api: Api, method: str) -> None:
    """`patauth serve` answers 404, which clients of gRPC-web and Connect take for `unimplemented`."""
    bearer = "Bearer " + api.issued.token
    response = request(api.gate, method, method="POST", data=b"", content_type=WEB[0], authorization=bearer)
    assert (response.status_code, len(api.app.seen)) == (200, 1)
    api.app.seen.clear()


def test_another_verb_and_an_unknown_form_are_refused_as_connect_does(api: Api) -> None:
    bearer = "Bearer " + api.issued.token
    for verb in ("GET", "PUT", "DELETE"):
        response = request(api.gate, ADD, method=verb, authorization=bearer)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        assert response.json["code"] == "unimplemented"
    for kind in ("application/grpc", "application/grpc+proto", "application/connect+proto", "text/plain"):
        response = request(api.gate, ADD, method="POST", data=b"", content_type=kind, authorization=bearer)
        assert (response.status_code, response.json["code"]) == (415, "unimplemented"), kind


@each("kind", WEB)
def test_a_refusal_in_grpc_web_is_known_for_one_though_its_status_is_200(kind: str) -> None:
    """So the rest of a refused upload is read, as after any other refusal."""
    form = forms.BINARY[kind]
    refused = form.refused(Refusal(401, 16, "unauthenticated", "no", "f" * 32, []))
    assert (refused.status, refused.refused) == (200, 401)
    assert form.done({}, ADD).refused is None


@each("kind", WEB)
def test_refusals_in_grpc_web_have_the_fields_of_http(authority: Authority, kind: str) -> None:
    api = Api(authority, issue(authority, "few" + kind, scope=[MY], request_quota="1/30", never_expires=True))
    body = bodies(kind, frame(OF_ALICE))
    nobody = sent(api, kind, body, authorization=None)
    assert (nobody.code, "bearer" in nobody.fields["www-authenticate"].lower()) == (16, True)
    assert sent(api, kind, body).code == 0
    late = sent(api, kind, body)
    assert (late.code, late.fields["retry-after"]) == (8, "30")
    assert late.fields["ratelimit"] == '"requests";r=0;t=30'


@pytest.fixture
def no_protobuf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take protobuf away, as if it had never been installed."""
    forms._has_protobuf.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    yield
    forms._has_protobuf.cache_clear()


def test_without_protobuf_the_log_says_what_to_install(
    api: Api, no_protobuf: None, caplog: pytest.LogCaptureFixture
) -> None:
    bearer = "Bearer " + api.issued.token
    for kind in (PROTO, *WEB):
        caplog.clear()
        with caplog.at_level(logging.INFO, "patauth"):
            response = request(
                api.gate, ADD, method="POST", data=b"", content_type=kind, authorization=bearer
            )
        assert (response.status_code, response.json["code"]) == (415, "unimplemented")
        assert "pip install 'patauth[grpc]'" in caplog.text
        assert "pip" not in response.text
    assert rpc.as_json(api.gate, ADD, {"userId": "alice"}, bearer).code == 0


def test_a_removal_is_known_for_one_in_every_form(make_at: Make) -> None:
    """So it passes where the memory of the store is full, as a DELETE does."""
    asked: list[bool] = []
    authority = make_at()
    api = Api(authority, issue(authority, "maker", scope=[MY], never_expires=True))
    real = authority.operations.authenticate

    def noting(value: str, address: str | None, *, ending: bool = False) -> Any:
        asked.append(ending)
        return real(value, address, ending=ending)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authority.operations, "authenticate", noting)
        for call in rpc.OVER_HTTP.values():
            for name, ends in (("Remove", True), ("Add", False)):
                content = {"userId": "alice", **({"tokenId": "0" * 32} if ends else {})}
                call(api.gate, f"{V2}{name}PersonalAccessToken", content, "Bearer " + api.issued.token)
                assert asked.pop() is ends


def test_it_works_behind_a_prefix(make_at: Make) -> None:
    authority = make_at(path_prefix="/auth")
    issued = issue(authority, "maker", scope=[MY], never_expires=True)
    gate = PatAuthMiddleware(Echo(), authority, surfaces=["zitadel"])
    response = request(
        gate, "/auth" + ADD, method="POST", data=frame(OF_ALICE), content_type=WEB[0],
        authorization="Bearer " + issued.token,
    )  # fmt: skip
    assert rpc.read_web(response, ADD).code == 0
