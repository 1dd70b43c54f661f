"""Binary messages, and what they are in JSON."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.wsgi.zitadel import messages
from patauth.wsgi.zitadel.errors import Refusal
from patauth.wsgi.zitadel.routes import METHODS
from tests.descriptors import SHIPPED
from tests.support import rpc
from tests.support.tables import each

ADD, LIST = rpc.V2 + "AddPersonalAccessToken", rpc.V2 + "ListPersonalAccessTokens"


def test_every_operation_has_a_method_and_every_method_an_operation() -> None:
    described = FileDescriptorSet.FromString(SHIPPED.read_bytes())
    paths = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in described.file
        for service in file.service
        for method in service.method
    }
    assert {path for path in paths if path.startswith("/zitadel.")} == set(METHODS) == set(rpc.METHODS)


def test_it_leaves_the_pool_of_everybody_alone() -> None:
    """A user may have stubs of the same names."""
    messages.write_answer(ADD, {"tokenId": "x"})
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindFileByName("zitadel.user.v2.proto")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("zitadel.user.v2.AddPersonalAccessTokenRequest")


@each(
    ("method", "content"),
    [
        (ADD, {"userId": "alice", "expirationDate": "2030-06-01T00:00:00.120Z"}),
        (ADD, {"userId": "alice", "expirationDate": "9999-12-31T23:59:59.999999999Z"}),
        (ADD, {}),
        (rpc.V1 + "GetPersonalAccessTokenByIDs", {"userId": "ä", "tokenId": "0" * 32}),
        (
            rpc.V1 + "ListPersonalAccessTokens",
            {"userId": "a", "query": {"offset": str(2**64 - 1), "limit": 7, "asc": True}},
        ),
        (
            LIST,
            {
                "pagination": {"offset": "1", "limit": 2},
                "sortingColumn": "PERSONAL_ACCESS_TOKEN_FIELD_NAME_UNSPECIFIED",
                "filters": [
                    {"userIdFilter": {"id": "a"}},
                    {},
                    {
                        "createdDateFilter": {
                            "timestamp": "2030-01-01T00:00:00Z",
                            "method": "TIMESTAMP_FILTER_METHOD_AFTER",
                        }
                    },
                ],
            },
        ),
    ],
)
def test_a_request_is_what_it_is_in_json(method: str, content: rpc.Content) -> None:
    assert messages.read_request(method, rpc.encode(method, content)) == content


def test_a_number_that_an_enum_does_not_have_is_not_taken_for_another() -> None:
    assert messages.read_request(LIST, b"\x10\x63") == {"sortingColumn": 99}


def test_of_what_was_sent_twice_the_last_one_counts() -> None:
    assert messages.read_request(ADD, b"\x0a\x01a\x0a\x01b") == {"userId": "b"}
    by_token, by_user = ({kind: {"id": "a"}} for kind in ("tokenIdFilter", "userIdFilter"))
    one, other = (rpc.encode(LIST, {"filters": [kind]}) for kind in (by_token, by_user))
    both = one[2:] + other[2:]  # in one filter: without the tag and the length of each
    assert messages.read_request(LIST, bytes([one[0], len(both)]) + both) == {"filters": [by_user]}


@each(
    "data",
    [
        b"\x0a\x05ab",  # ends early
        b"\x0a\x01\xff",  # not UTF-8
        b"\x08\x01",  # field 1 as a number
        b"\x0a\x01a\x1a\x00",  # field 3, which is not known
        b"\x0a\x01a\x12\x02\x18\x01",  # such a field inside of another
        b"\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # seconds of no year
        b"\x12\x06\x10\x80\x94\xeb\xdc\x03",  # a second of 10**9 nanoseconds
        b"\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # and of -1
        b"\xff" * 30,
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages.read_request(ADD, data)
    assert type(caught.value) is InvalidRequest


@given(method=st.sampled_from(rpc.METHODS), data=st.binary(max_size=60))
def test_no_bytes_are_a_fault_of_ours(method: str, data: bytes) -> None:
    try:
        content = messages.read_request(method, data)
    except InvalidRequest:
        return
    assert isinstance(content, dict)


def test_an_answer_is_written_in_the_numbers_of_the_proto_file() -> None:
    content = {"tokenId": "0" * 32, "token": "pat_x", "creationDate": "2030-01-01T00:00:00.001Z"}
    assert rpc.decode(ADD, messages.write_answer(ADD, content)) == content
    assert messages.write_answer(
        rpc.V2 + "RemovePersonalAccessToken", {"deletionDate": "1970-01-01T00:00:01Z"}
    ) == (b"\x0a\x02\x08\x01")


def test_an_error_has_the_details_that_it_has_in_json() -> None:
    refusal = Refusal(404, 5, "not_found", "there is none", "f" * 32, [])
    assert rpc.status(messages.write_status(refusal)) == {
        "code": 5,
        "message": "there is none",
        "details": [
            {
                "@type": "type.googleapis.com/zitadel.v1.ErrorDetail",
                "id": "f" * 32,
                "message": "there is none",
            }
        ],
    }
