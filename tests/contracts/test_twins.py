"""Requests that are written twice, because each RPC has a request of its own: what one may say, the other may."""

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.message import Message
from tooloo.provider.v1 import completion_service_pb2 as api


def _said(message: type[Message]) -> str:
    """Fields, types, numbers and rules; all but the name, which types of its own begin with."""
    copy = DescriptorProto()
    message.DESCRIPTOR.CopyToProto(copy)
    copy.ClearField("name")
    return str(copy).replace(f".{message.DESCRIPTOR.full_name}.", "")


@pytest.mark.parametrize(("one", "other"), [(api.CompleteRequest, api.StreamCompleteRequest)])
def test_twins_differ_in_nothing_but_their_name(one: type[Message], other: type[Message]) -> None:
    """Number by number, with the rules of each field: the service reads both in one way."""
    assert "max_items" in _said(one)
    assert _said(one) == _said(other)
