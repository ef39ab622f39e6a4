"""What a provider's refusal means: status, code and words of many vendors put into our classes of failure."""

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from services.provider.failure import Failure, FailureKind

_LONGEST_DETAIL = 300
_LONGEST_WAIT = timedelta(days=1)
# what looks like a key: vendors put (part of) a wrong key into their words
_KEYS = re.compile(r"\b(?:sk|gsk|xai|pk|rk|key)-[-_A-Za-z0-9*.]{6,}|\bBearer\s+\S{6,}|\bAIza[-_A-Za-z0-9*]{8,}|\S*\*{4,}\S*")
_QUOTA = re.compile(
    r"insufficient_quota|billing_hard_limit|billing_not_active|credit balance|insufficient (?:balance|credits|funds)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context window|prompt is too long|input is too long|too many tokens"
    r"|exceeds the maximum number of tokens|input token count|model_context_window_exceeded|string_above_max_length"
    r"|exceeds? (?:the )?(?:available )?context|request_too_large|reduce the length",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content_policy|content_filter|content management policy|responsibleai|safety system|moderation|usage guidelines"
    r"|flagged|invalid_prompt|prohibited_content|content exists risk|usage policies",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|model_decommissioned|model .{1,80} (?:not found|does not exist)|deploymentnotfound", re.IGNORECASE
)
_NO_KEY = re.compile(r"invalid_api_key|api key not valid|api_key_invalid|authentication_error", re.IGNORECASE)
_OVERLOADED = re.compile(r"overloaded|server_error|internal_error|internal server error", re.IGNORECASE)
_BY_STATUS = {
    401: FailureKind.UNAUTHENTICATED,
    402: FailureKind.QUOTA_EXHAUSTED,
    403: FailureKind.UNAUTHENTICATED,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    413: FailureKind.CONTEXT_WINDOW,
    429: FailureKind.RATE_LIMITED,
}
# statuses under which the words decide, and what they may say
_BY_WORDS: Mapping[int, tuple[tuple[re.Pattern[str], FailureKind], ...]] = {
    400: (
        (_TOO_LONG, FailureKind.CONTEXT_WINDOW),
        (_QUOTA, FailureKind.QUOTA_EXHAUSTED),
        (_NO_KEY, FailureKind.UNAUTHENTICATED),
        (_NO_MODEL, FailureKind.NOT_FOUND),
        (_POLICY, FailureKind.CONTENT_POLICY),
    ),
    403: ((_QUOTA, FailureKind.QUOTA_EXHAUSTED), (_POLICY, FailureKind.CONTENT_POLICY)),
    422: ((_TOO_LONG, FailureKind.CONTEXT_WINDOW), (_POLICY, FailureKind.CONTENT_POLICY)),
    429: ((_QUOTA, FailureKind.QUOTA_EXHAUSTED),),
    # llama.cpp's server, of a text that is longer than its batch
    500: ((re.compile(r"too large to process", re.IGNORECASE), FailureKind.CONTEXT_WINDOW),),
}


def refusal(status: int, code: str, message: str) -> Failure:
    """The failure of an HTTP status, the vendor's code (or type) for it, and the vendor's words."""
    return Failure(kind_of(status, f"{code} {message}"), without_keys(message or code or f"HTTP status {status}"), status)


def kind_of(status: int, words: str) -> FailureKind:
    """The class of a failure."""
    for pattern, kind in _BY_WORDS.get(status, ()):
        if pattern.search(words):
            return kind
    if status >= 500:  # noqa: PLR2004 - HTTP's own border
        return FailureKind.SERVER_ERROR
    return _BY_STATUS.get(status, FailureKind.BAD_REQUEST)


def told_in_stream(code: str, message: str, status: int = 0) -> Failure:
    """The failure that a stream tells after it began with 200: by its own status when it has one, else by its words."""
    words = f"{code} {message}"
    if not status:
        status = next((known for pattern, known in _STREAM_STATUS if pattern.search(words)), 500)
    return refusal(status, code, message)


_STREAM_STATUS = (
    (re.compile(r"rate_limit|rate limit|too many requests|resource_exhausted", re.IGNORECASE), 429),
    (_TOO_LONG, 400),
    (_QUOTA, 402),
    (_NO_KEY, 401),
    (re.compile(r"invalid_request|invalid_argument|bad request", re.IGNORECASE), 400),
    (_OVERLOADED, 500),
    (_POLICY, 400),
)


def without_keys(text: str) -> str:
    """The first words of a text, with whatever looks like a key taken out."""
    return _KEYS.sub("[key]", " ".join(text.split()))[:_LONGEST_DETAIL]


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long to wait: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3); names in lower case."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        wait = _number(headers.get(name, ""), unit)
        if wait is not None:
            return wait
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(aware - now, timedelta()), _LONGEST_WAIT)


def _number(text: str, unit: float) -> timedelta | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # also false for what is not a number
    return timedelta(seconds=min(value * unit, _LONGEST_WAIT.total_seconds())) if value >= 0 else None
