"""Envoy's own refusals in the shape of every other refusal: a google.rpc.Status with an ErrorInfo, as JSON and for gRPC callers."""

from base64 import b64encode
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

RETRY_PAUSE = "1s"


class Reply(NamedTuple):
    """How a refusal of Envoy with this HTTP status is told: gRPC code, ErrorReason, our words, whether waiting helps."""

    status: int
    code: int
    reason: str
    message: str = "%LOCAL_REPLY_BODY%"
    retry: bool = False
    flag: str = ""


# The first that fits counts. What Envoy says in its own words about a service it cannot reach helps no caller, so we use ours;
# what it says about a body that it cannot read does help, and is kept.
REPLIES = (
    Reply(400, code_pb2.INVALID_ARGUMENT, "MALFORMED_BODY", "The request cannot be read: %LOCAL_REPLY_BODY%"),
    Reply(401, code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"),
    Reply(403, code_pb2.PERMISSION_DENIED, "FORBIDDEN", "The door does not allow this. %LOCAL_REPLY_BODY%"),
    Reply(404, code_pb2.NOT_FOUND, "UNKNOWN_CALL", "There is no such call; /openapi.json lists all of them."),
    Reply(405, code_pb2.UNIMPLEMENTED, "UNKNOWN_CALL", "The call does not take this HTTP method."),
    Reply(408, code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "The request was not complete in time."),
    Reply(
        *(413, code_pb2.RESOURCE_EXHAUSTED, "TOO_LARGE"),
        "The request's body is larger than the door lets through; see the settings door.max_request_bytes and large_message_bytes.",
    ),
    Reply(415, code_pb2.INVALID_ARGUMENT, "MALFORMED_BODY", "Send the body as it is: the door takes no content-encoding."),
    Reply(
        421, code_pb2.PERMISSION_DENIED, "FORBIDDEN", "The door does not answer under this host name; see the setting door.hosts."
    ),
    Reply(426, code_pb2.FAILED_PRECONDITION, "MALFORMED_BODY", "Use HTTP/1.1 or HTTP/2."),
    Reply(429, code_pb2.RESOURCE_EXHAUSTED, "LIMIT_REACHED", "Too many calls; wait and try again.", retry=True),
    Reply(431, code_pb2.INVALID_ARGUMENT, "TOO_LARGE", "The request's headers are larger than the door lets through."),
    Reply(501, code_pb2.UNIMPLEMENTED, "MALFORMED_BODY", "Of transfer codings the door takes `chunked` alone."),
    Reply(502, code_pb2.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "The service's answer was not understood."),
    # UO: upstream overflow, the circuit breaker
    Reply(503, code_pb2.UNAVAILABLE, "LIMIT_REACHED", "The service has as many calls as it may have; try again.", True, "UO"),
    Reply(503, code_pb2.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "The service cannot be reached now; try again.", retry=True),
    Reply(504, code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "The service did not answer in time."),
    Reply(500, code_pb2.INTERNAL, "INTERNAL", "The answer could not be made; the log has more under this id."),
)

# what Envoy makes of an HTTP status for gRPC callers; the Status in the details must say the same
NATIVE_CODES = {
    404: code_pb2.UNIMPLEMENTED, 421: code_pb2.UNKNOWN, 503: code_pb2.UNAVAILABLE, 504: code_pb2.DEADLINE_EXCEEDED,
}  # fmt: skip
# a native caller's reply has no body: the text becomes grpc-message; a transcoded call is gRPC by now too, but has its old path
_CALLED_NATIVELY = (
    {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}},
    {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": False}}},
)


# Anthropic's words; OpenAI's clients go by the status
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 413: "request_too_large", 415: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def local_replies(paths_of_others: Sequence[str] = (), large_bytes: int = 0) -> dict[str, Any]:
    """The local_reply_config of a listener: mappers for native gRPC, then one for each status, then one for the rest.

    Before all of them stand those for paths of other vendors' APIs, as regular expressions: their clients look for an `error`.
    """
    rest = Reply(400, code_pb2.UNKNOWN, "INTERNAL")
    theirs = [_theirs("|".join(paths_of_others), reply, large_bytes) for reply in REPLIES] if paths_of_others else []
    native = [_native(reply) for reply in REPLIES if reply.status in NATIVE_CODES]
    native.append({"filter": _all(*_CALLED_NATIVELY), "body_format_override": _text("%LOCAL_REPLY_BODY%")})
    return {"mappers": [*theirs, *native, *map(_mapper, REPLIES), {**_mapper(rest), "filter": _status("GE", rest.status)}]}


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}}


def _text(message: str) -> dict[str, Any]:
    return {"text_format_source": {"inline_string": message}}


def _theirs(paths: str, reply: Reply, large_bytes: int) -> dict[str, Any]:
    """A refusal as the clients of OpenAI and of Anthropic both read it: each finds its own fields in the same object."""
    match = {"safe_regex": {"regex": f"({paths})([?].*)?"}}
    by_path = [{"header_filter": {"header": {"name": name, "string_match": match}}} for name in (":path", "x-envoy-original-path")]
    message = reply.message
    if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message = f"The request has more than {large_bytes} bytes; see the setting large_message_bytes."
    error = {"type": TYPES.get(reply.status, "api_error"), "message": message, "code": reply.reason.lower()}
    body = {"type": "error", "error": error, "request_id": "%REQ(X-REQUEST-ID)%"}
    retry = [{"header": {"key": "retry-after", "value": RETRY_PAUSE.removesuffix("s")}}] if reply.retry else []
    return {
        "filter": _all({"or_filter": {"filters": by_path}}, *_matches(reply)),
        "body_format_override": {"json_format": body, "content_type": "application/json", "omit_empty_values": True},
        "headers_to_add": retry,
    }


def _native(reply: Reply) -> dict[str, Any]:
    details = {"key": "grpc-status-details-bin", "value": b64encode(_native_status(reply).SerializeToString()).decode()}
    return {
        "filter": _all(*_CALLED_NATIVELY, *_matches(reply)),
        "body_format_override": _text(reply.message),
        "headers_to_add": [{"header": details, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _native_status(reply: Reply) -> status_pb2.Status:
    """The Status for gRPC callers; it is the same for every call, so it names no request."""
    status = status_pb2.Status(code=NATIVE_CODES[reply.status], message=reply.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reply.reason, domain="tooloo"))
    if reply.retry:
        pause = duration_pb2.Duration()
        pause.FromJsonString(RETRY_PAUSE)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=pause))
    return status


def _status(operator: str, status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"door.reply.{status}"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _matches(reply: Reply) -> list[dict[str, Any]]:
    flags = [{"response_flag_filter": {"flags": [reply.flag]}}] if reply.flag else []
    return [_status("EQ", reply.status), *flags]


def _mapper(reply: Reply) -> dict[str, Any]:
    first, *others = _matches(reply)
    # an and_filter takes two at least
    match = _all(first, *others) if others else first
    body = {"code": reply.code, "message": reply.message, "details": _details(reply)}
    return {
        "filter": match,
        "body_format_override": {"json_format": body, "content_type": "application/json", "omit_empty_values": True},
    }


def _details(reply: Reply) -> list[dict[str, Any]]:
    metadata = {"id": "%REQ(X-REQUEST-ID)%"}
    if reply.status == HTTPStatus.BAD_REQUEST:
        metadata["detail"] = "%RESPONSE_CODE_DETAILS%"
    if reply.reason == "DEPENDENCY_UNAVAILABLE":
        metadata["dependency"] = "%UPSTREAM_CLUSTER%"
    error_info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reply.reason,
        "domain": "tooloo",
        "metadata": metadata,
    }
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": RETRY_PAUSE}
    return [error_info, retry_info] if reply.retry else [error_info]
