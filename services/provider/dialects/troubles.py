"""What went wrong, told to a caller of a door: an HTTP status, and a body in the words of the door's own dialect."""

from datetime import timedelta
from typing import Any

from msgspec import Struct

from services.provider.dialects.asked import Unreadable
from services.provider.failure import Failure, FailureKind


class Trouble(Struct, frozen=True):
    """`code` is one of OpenAI's words where it has one; `final`: the official clients shall not try again by themselves."""

    status: int
    code: str
    message: str
    param: str = ""
    retry_after: timedelta | None = None
    final: bool = False


_OVERLOADED = 529
_BY_KIND = {
    FailureKind.RATE_LIMITED: (429, "rate_limit_exceeded"),
    FailureKind.QUOTA_EXHAUSTED: (429, "insufficient_quota"),
    FailureKind.UNAUTHENTICATED: (401, "provider_key_refused"),
    FailureKind.NOT_FOUND: (404, "model_not_found"),
    FailureKind.TIMEOUT: (504, "timeout"),
    FailureKind.UNREACHABLE: (503, "provider_unreachable"),
    FailureKind.SERVER_ERROR: (503, "provider_error"),
    FailureKind.MALFORMED: (502, "malformed_answer"),
    FailureKind.BROKEN_STREAM: (502, "broken_stream"),
    FailureKind.CONTEXT_WINDOW: (400, "context_length_exceeded"),
    FailureKind.CONTENT_POLICY: (400, "content_policy_violation"),
    FailureKind.BAD_REQUEST: (400, "invalid_request"),
    FailureKind.CANCELLED: (499, "cancelled"),
    FailureKind.LOST: (500, "lost"),
}
_PREFIXES = {
    FailureKind.UNAUTHENTICATED: "the provider refused the key that is kept for it here: ",
    FailureKind.QUOTA_EXHAUSTED: "the account at the provider is used up: ",
}
_OPENAI_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    409: "conflict_error", 413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 409: "invalid_request_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def of_failure(failure: Failure) -> Trouble:
    """What a caller is told of the last failed attempt."""
    status, code = _BY_KIND[failure.kind]
    message = _PREFIXES.get(failure.kind, "") + (failure.detail or code)
    final = failure.kind is FailureKind.QUOTA_EXHAUSTED
    return Trouble(status, code, message, retry_after=failure.retry_after, final=final)


def of_unreadable(error: Unreadable) -> Trouble:
    """What a caller is told of a request that cannot be read."""
    return Trouble(400, error.code, str(error), error.field)


def openai_body(trouble: Trouble) -> dict[str, Any]:
    """The error object of OpenAI."""
    kind = "insufficient_quota" if trouble.code == "insufficient_quota" else _OPENAI_TYPES.get(trouble.status, "server_error")
    return {"error": {"message": trouble.message, "type": kind, "param": trouble.param or None, "code": trouble.code}}


def anthropic_body(trouble: Trouble, request_id: str) -> dict[str, Any]:
    """The error object of Anthropic."""
    kind = _ANTHROPIC_TYPES.get(trouble.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": trouble.message}, "request_id": request_id}


def anthropic_status(trouble: Trouble) -> int:
    """Anthropic says 529 where others say 503."""
    return _OVERLOADED if trouble.status == 503 else trouble.status  # noqa: PLR2004 - HTTP's own
