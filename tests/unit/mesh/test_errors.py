"""Refusals: each row of the table has its code, its reason and the details that contracts promise."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details

from mesh import errors

CASES = [
    (errors.invalid("score", "too high"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", details.BadRequest),
    (errors.not_found("session", "x"), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", details.ResourceInfo),
    (errors.already_exists("budget", "x"), grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", details.ResourceInfo),
    (errors.aborted("version 3 stands", version="3"), grpc.StatusCode.ABORTED, "VERSION_CONFLICT", None),
    (errors.failed_precondition("run", "done"), grpc.StatusCode.FAILED_PRECONDITION, "STATE_FORBIDS", details.PreconditionFailure),
    (errors.out_of_range("too old", first="7"), grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE", None),
    (errors.exhausted("queue", "full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED", details.QuotaFailure),
    (errors.unavailable("bus"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", details.RetryInfo),
    (errors.unauthenticated(), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", None),
    (errors.permission_denied(), grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN", None),
    (errors.malformed_body("a.B"), grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_BODY", None),
    (errors.internal("id-1"), grpc.StatusCode.INTERNAL, "INTERNAL", None),
]


@pytest.mark.parametrize(("refusal", "code", "reason", "detail"), CASES, ids=lambda case: str(getattr(case, "reason", "")))
def test_a_refusal_tells_its_code_reason_and_details(
    refusal: errors.Refusal, code: grpc.StatusCode, reason: str, detail: type[Message] | None
) -> None:
    """The first detail is ErrorInfo of our domain; the second is the one of the table's row."""
    assert (refusal.code, refusal.reason) == (code, reason)
    status = refusal.status()
    assert status.code == code.value[0]
    info = details.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "tooloo"
    if detail:
        assert status.details[1].Is(detail.DESCRIPTOR)


def test_retry_info_is_given_when_waiting_helps() -> None:
    """RESOURCE_EXHAUSTED carries RetryInfo only when a time is known."""
    assert len(errors.exhausted("rate", "too fast", retry_after=timedelta(seconds=2)).details) == 3
    assert len(errors.exhausted("disk", "full").details) == 2


def test_what_a_dependency_said_is_told_once() -> None:
    """After the sentence that says what to do."""
    assert errors.unavailable("github", detail="502 from upstream").message.count("502 from upstream") == 1
