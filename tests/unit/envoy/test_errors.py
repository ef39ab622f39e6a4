"""Envoy's own refusals are told with codes and reasons that the contracts know."""

import pytest
from google.rpc import code_pb2
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from envoy.errors import REPLIES, Reply, local_replies


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.status}{reply.flag}")
def test_reasons_and_codes_are_known(reply: Reply) -> None:
    """A typing error in the table would otherwise show only to callers."""
    assert f"ERROR_REASON_{reply.reason}" in ErrorReason.keys()  # noqa: SIM118 - a wrapper, no dictionary
    assert code_pb2.Code.Name(code_pb2.Code.ValueType(reply.code))


def test_native_callers_come_first_and_everything_else_has_an_answer() -> None:
    """The first mapper leaves gRPC its text; the last takes every status that no other names."""
    first, *_, last = local_replies()["mappers"]
    assert "text_format_source" in first["body_format_override"]
    assert last["filter"]["status_code_filter"]["comparison"]["op"] == "GE"


def test_a_flagged_reply_stands_before_the_plain_one_of_its_status() -> None:
    """Otherwise it would never be reached."""
    of_503 = [reply.flag for reply in REPLIES if reply.status == 503]
    assert of_503 == ["UO", ""]
