"""Refusals: the one table from what went wrong to the google.rpc.Status that tells the caller what to do.

Every refusal carries ErrorInfo (reason, domain "tooloo", metadata) and the details that contracts name for its case.
"""

from datetime import timedelta

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from tooloo.error.v1 import error_reason_pb2
from tooloo.error.v1.error_reason_pb2 import ErrorReason

DOMAIN = "tooloo"
_PREFIX = "ERROR_REASON_"
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def reason_name(reason: ErrorReason.ValueType) -> str:
    """The reason as callers see it, e.g. "RESOURCE_NOT_FOUND"."""
    return error_reason_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)


class Refusal(Exception):
    """A call that is refused on purpose: a status code, a message that says what to do, and details for programs."""

    def __init__(self, code: grpc.StatusCode, message: str, details: tuple[Message, ...]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def reason(self) -> str:
        """The reason of its ErrorInfo, e.g. "RESOURCE_NOT_FOUND"."""
        info = self.details[0]
        return info.reason if isinstance(info, error_details_pb2.ErrorInfo) else ""

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status that goes over the wire."""
        packed = []
        for detail in self.details:
            holder = any_pb2.Any()
            holder.Pack(detail)
            packed.append(holder)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)


def refused(code: grpc.StatusCode, reason: ErrorReason.ValueType, message: str, /, *details: Message, **metadata: str) -> Refusal:
    """The general refusal; the functions below are the table's rows. A key of the metadata may be any word, e.g. a subject."""
    info = error_details_pb2.ErrorInfo(reason=reason_name(reason), domain=DOMAIN, metadata=metadata)
    return Refusal(code, message, (info, *details))


def invalid_fields(
    violations: list[tuple[str, str]], *, reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_INVALID_FIELD
) -> Refusal:
    """INVALID_ARGUMENT with one BadRequest violation a field; `violations` holds (field path, what to do)."""
    bad = error_details_pb2.BadRequest()
    for field, description in violations:
        bad.field_violations.add(field=field, description=description, reason=reason_name(reason))
    message = "; ".join(f"{field}: {description}" for field, description in violations)
    return refused(grpc.StatusCode.INVALID_ARGUMENT, reason, message, bad, fields=",".join(field for field, _ in violations))


def invalid(field: str, description: str, *, reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_INVALID_FIELD) -> Refusal:
    """INVALID_ARGUMENT for one field."""
    return invalid_fields([(field, description)], reason=reason)


def _resource(kind: str, name: str, description: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name, description=description)


def not_found(resource_type: str, name: str) -> Refusal:
    """NOT_FOUND with ResourceInfo. Also the answer for what belongs to someone else."""
    message = f"there is no {resource_type} named {name!r}"
    return refused(
        grpc.StatusCode.NOT_FOUND,
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        message,
        _resource(resource_type, name, message),
        resource=f"{resource_type}/{name}",
    )


def already_exists(
    resource_type: str,
    name: str,
    detail: str = "it exists already with other content",
    *,
    reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_RESOURCE_EXISTS,
) -> Refusal:
    """ALREADY_EXISTS with ResourceInfo; `detail` says what stands now."""
    return refused(
        grpc.StatusCode.ALREADY_EXISTS,
        reason,
        f"{resource_type} {name!r}: {detail}",
        _resource(resource_type, name, detail),
        resource=f"{resource_type}/{name}",
    )


def aborted(detail: str, /, **metadata: str) -> Refusal:
    """ABORTED because someone changed the thing in between; `metadata` holds what stands now."""
    return refused(grpc.StatusCode.ABORTED, ErrorReason.ERROR_REASON_VERSION_CONFLICT, detail, **metadata)


def failed_precondition(
    subject: str, description: str, *, reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_STATE_FORBIDS, **metadata: str
) -> Refusal:
    """FAILED_PRECONDITION with PreconditionFailure: the state of `subject` does not allow the call."""
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type=reason_name(reason), subject=subject, description=description)
    return refused(grpc.StatusCode.FAILED_PRECONDITION, reason, description, failure, **metadata)


def out_of_range(detail: str, **metadata: str) -> Refusal:
    """OUT_OF_RANGE; `metadata` holds the range that stands."""
    return refused(grpc.StatusCode.OUT_OF_RANGE, ErrorReason.ERROR_REASON_OUT_OF_RANGE, detail, **metadata)


def _retry(after: timedelta) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromTimedelta(after)
    return error_details_pb2.RetryInfo(retry_delay=delay)


def exhausted(
    subject: str,
    description: str,
    *,
    reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_LIMIT_REACHED,
    retry_after: timedelta | None = None,
    **metadata: str,
) -> Refusal:
    """RESOURCE_EXHAUSTED with QuotaFailure (`subject` names the limit), and RetryInfo when waiting helps."""
    return exhausted_by([(subject, description)], reason=reason, retry_after=retry_after, **metadata)


def exhausted_by(
    violations: list[tuple[str, str]],
    *,
    reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_LIMIT_REACHED,
    retry_after: timedelta | None = None,
    **metadata: str,
) -> Refusal:
    """RESOURCE_EXHAUSTED by several limits at once; `violations` holds (subject, description)."""
    quota = error_details_pb2.QuotaFailure()
    for subject, description in violations:
        quota.violations.add(subject=subject, description=description)
    details: tuple[Message, ...] = (quota,) if retry_after is None else (quota, _retry(retry_after))
    message = "; ".join(description for _, description in violations)
    return refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, *details, **metadata)


def unavailable(
    dependency: str,
    *,
    retry_after: timedelta = timedelta(seconds=1),
    reason: ErrorReason.ValueType = ErrorReason.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
    detail: str = "",
    **metadata: str,
) -> Refusal:
    """UNAVAILABLE with RetryInfo: `dependency` cannot be reached now."""
    message = f"{dependency} cannot be reached now; try again in {retry_after.total_seconds():g} s"
    message = f"{message}: {detail}" if detail else message
    return refused(
        grpc.StatusCode.UNAVAILABLE,
        reason,
        message,
        _retry(retry_after),
        dependency=dependency,
        **metadata,
    )


def stopping() -> Refusal:
    """UNAVAILABLE: the process that was answering stops, and the call took longer than it may wait for."""
    return refused(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_NOT_READY,
        "the service stops, and this call was not done in time; try again in 1 s",
        _retry(timedelta(seconds=1)),
    )


def unauthenticated() -> Refusal:
    """UNAUTHENTICATED: no or bad credentials; never says whether the thing exists."""
    return refused(
        grpc.StatusCode.UNAUTHENTICATED,
        ErrorReason.ERROR_REASON_UNAUTHENTICATED,
        "no or wrong credentials; sign in again",
    )


def permission_denied() -> Refusal:
    """PERMISSION_DENIED: never says whether the thing exists."""
    return refused(grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_FORBIDDEN, "this caller may not do that")


def malformed_body(request_type: str) -> Refusal:
    """INVALID_ARGUMENT for bytes that are not a message of the request type."""
    return refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_MALFORMED_BODY,
        f"the body is not a {request_type}; compare it with the contract",
        request_type=request_type,
    )


def internal(error_id: str) -> Refusal:
    """INTERNAL: the caller learns an id that the log also has, and nothing else."""
    return refused(
        grpc.StatusCode.INTERNAL,
        ErrorReason.ERROR_REASON_INTERNAL,
        f"something unexpected happened; the log has it under id {error_id}",
        id=error_id,
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status of a failed call of another service; its details survive."""
    code = error.code()
    for key, value in dict(error.trailing_metadata() or ()).items():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=code.value[0], message=error.details() or "")


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The grpc.StatusCode of a google.rpc.Status."""
    return _STATUS_CODES[status.code]
