"""The descriptors of messages that patauth ships."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.descriptors import SHIPPED, built


def test_what_is_shipped_is_what_the_proto_files_say() -> None:
    """If this fails: python -m tests.descriptors."""
    assert FileDescriptorSet.FromString(SHIPPED.read_bytes()) == FileDescriptorSet.FromString(built())
