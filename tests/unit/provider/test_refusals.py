"""What vendors' refusals mean: each in the class that decides what happens next, without the key it may quote."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.dialects.refusals import retry_after, without_keys
from services.provider.dialects.table import DIALECTS
from services.provider.failure import FailureKind
from services.provider.failure import FailureKind as Kind

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(message: str, kind: str) -> dict[str, Any]:
    """Anthropic's."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def gemini(message: str, status: str) -> dict[str, Any]:
    """Google's."""
    return {"error": {"code": 0, "message": message, "status": status}}


@pytest.mark.parametrize(
    ("dialect", "status", "body", "kind"),
    [
        ("openai", 429, openai("Rate limit reached for gpt-5", "rate_limit_exceeded", "requests"), Kind.RATE_LIMITED),
        ("openai", 429, openai("You exceeded your quota", "insufficient_quota"), Kind.QUOTA_EXHAUSTED),
        ("openai", 402, openai("Insufficient Balance"), Kind.QUOTA_EXHAUSTED),
        ("openai", 500, openai("input (2002 tokens) is too large to process. increase the batch size"), Kind.CONTEXT_WINDOW),
        ("openai", 401, openai("Incorrect API key provided", "invalid_api_key"), Kind.UNAUTHENTICATED),
        ("openai", 403, openai("Country not supported", "unsupported_country_region_territory"), Kind.UNAUTHENTICATED),
        ("openai", 403, {"error": {"message": "Input was flagged", "code": 403}}, Kind.CONTENT_POLICY),
        ("openai", 404, openai("The model `x` does not exist", "model_not_found"), Kind.NOT_FOUND),
        ("openai", 400, openai("The maximum context length is 8192 tokens.", "context_length_exceeded"), Kind.CONTEXT_WINDOW),
        ("openai", 400, openai("... content management policy ...", "content_filter"), Kind.CONTENT_POLICY),
        ("openai", 400, openai("Invalid value: 'x'", "invalid_value"), Kind.BAD_REQUEST),
        ("openai", 408, openai("timed out"), Kind.TIMEOUT),
        ("openai", 422, {"detail": "field required"}, Kind.BAD_REQUEST),
        ("openai", 500, openai("The server had an error", None, "server_error"), Kind.SERVER_ERROR),
        ("openai", 503, b"<html>nginx</html>", Kind.SERVER_ERROR),
        ("anthropic", 400, anthropic("prompt is too long: 9 tokens > 8 maximum", "invalid_request_error"), Kind.CONTEXT_WINDOW),
        ("anthropic", 400, anthropic("Your credit balance is too low", "invalid_request_error"), Kind.QUOTA_EXHAUSTED),
        ("anthropic", 401, anthropic("invalid x-api-key", "authentication_error"), Kind.UNAUTHENTICATED),
        ("anthropic", 404, anthropic("model: claude-x", "not_found_error"), Kind.NOT_FOUND),
        ("anthropic", 413, anthropic("Request exceeds the maximum size", "request_too_large"), Kind.CONTEXT_WINDOW),
        ("anthropic", 429, anthropic("This request would exceed your rate limit", "rate_limit_error"), Kind.RATE_LIMITED),
        ("anthropic", 529, anthropic("Overloaded", "overloaded_error"), Kind.SERVER_ERROR),
        ("gemini", 400, gemini("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), Kind.UNAUTHENTICATED),
        ("gemini", 400, gemini("input token count (9) exceeds the maximum", "INVALID_ARGUMENT"), Kind.CONTEXT_WINDOW),
        ("gemini", 429, gemini("exceeded your current quota, please check your plan", "RESOURCE_EXHAUSTED"), Kind.RATE_LIMITED),
        ("gemini", 503, gemini("The model is overloaded.", "UNAVAILABLE"), Kind.SERVER_ERROR),
        ("ollama", 404, {"error": "model 'x' not found"}, Kind.NOT_FOUND),
        ("ollama", 500, {"error": "llama runner process has terminated"}, Kind.SERVER_ERROR),
    ],
)  # fmt: skip
def test_a_refusal_is_classified(dialect: str, status: int, body: Any, kind: FailureKind) -> None:
    """Bodies as the vendors document or as users reported them."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = DIALECTS[dialect].failure(status, {}, data)
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.detail


@pytest.mark.parametrize("dialect", DIALECTS)
@given(body=st.binary(max_size=60) | st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "code", "details"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_error_body_is_too_strange(dialect: str, body: bytes) -> None:
    """Whatever stands in the body of an error, the status decides and nothing is raised."""
    assert DIALECTS[dialect].failure(500, {}, body).kind is FailureKind.SERVER_ERROR


def test_gemini_says_in_the_body_how_long_to_wait() -> None:
    """RetryInfo of google.rpc."""
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}]
    body = {"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert DIALECTS["gemini"].failure(429, {}, json.dumps(body).encode()).retry_after == timedelta(seconds=34.07)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, timedelta(seconds=7)),
        ({"retry-after": "0.5"}, timedelta(seconds=0.5)),
        ({"retry-after-ms": "250", "retry-after": "7"}, timedelta(milliseconds=250)),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, timedelta(seconds=30)),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT"}, timedelta()),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e300"}, timedelta(days=1)),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wait: timedelta | None) -> None:
    """Seconds, milliseconds, a date; nonsense is nothing, and nobody makes us wait for years."""
    assert retry_after(headers, NOW) == wait


QUOTED = [
    "Incorrect API key provided: sk-proj-abcdefgh1234.",
    "key AIzaSyA1234567890abcdef is bad",
    "Bearer abcdef123456",
    "sk-ab***********cdef",
]


@pytest.mark.parametrize("text", QUOTED)
def test_quoted_keys_are_taken_out(text: str) -> None:
    """OpenAI quotes (part of) a wrong key in its words."""
    assert "[key]" in without_keys(text)
    assert not any(part in without_keys(text) for part in ("abcdefgh1234", "1234567890", "abcdef123456", "cdef"))
