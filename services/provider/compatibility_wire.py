"""The compatible doors' bytes: JSON read from them, bodies and headers made of answers, and refusals in the doors' words."""

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

import grpc
import msgspec.json
from google.api.httpbody_pb2 import HttpBody
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from msgspec import DecodeError

from mesh import errors
from services.provider import callers, money
from services.provider.completing_port import Completed, Started
from services.provider.dialects.asked import Unreadable
from services.provider.dialects.base import JSON, dump
from services.provider.dialects.troubles import Trouble
from services.provider.flows.room import LARGE

SSE = "text/event-stream; charset=utf-8"
# the door makes the HTTP status of an answer of it (envoy/filters.py)
STATUS = "x-tooloo-status"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# what a client may wait for by itself
_SOON = timedelta(minutes=1)
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def _no_number(word: str) -> object:
    raise ValueError(f"JSON has no {word}")


def _finite(word: str) -> float:
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word} is too large a number")
    return number


_DECODE = msgspec.json.Decoder().decode
# slower, and it reads more
_DECODE_ALL = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite).decode


def of_refusal(refusal: errors.Refusal) -> Trouble:
    """What a caller is told of a refusal of ours."""
    status = _STATUSES.get(refusal.code, 500)
    if _for_now(refusal):
        status = 503
    waits = [detail.retry_delay.ToTimedelta() for detail in refusal.details if isinstance(detail, RetryInfo)]
    exhausted = refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    # waiting does not help soon against a budget that is spent: that is what OpenAI calls a quota
    final = exhausted and not any(wait <= _SOON for wait in waits)
    code = "insufficient_quota" if final else refusal.reason.lower()
    return Trouble(status, code, refusal.message, retry_after=waits[0] if waits else None, final=final)


def _for_now(refusal: errors.Refusal) -> bool:
    """Whether no model can answer because those that could are out for a while: nothing is wrong with the request then."""
    info = refusal.details[0]
    return isinstance(info, ErrorInfo) and info.metadata.get("commonest_exclusion") == "UNAVAILABLE"


def parsed(data: bytes) -> object:
    """The JSON of a body; Unreadable for what is none."""
    with suppress(DecodeError, UnicodeError, RecursionError):
        return _DECODE(data)
    # a byte order mark stands before it, or it is none, and then the caller wants to know why
    try:
        text = data.decode("utf-8-sig")
        value = _DECODE_ALL(text)
        if _SURROGATE.search(text):
            dump(value)
    except UnicodeEncodeError as error:
        # the vendors refuse it, too
        raise Unreadable("", "the body is not valid JSON: half of a surrogate pair stands alone", "invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable("", "the body is not valid JSON", "invalid_json") from error
    return value


def headers(told: Started | Completed, cost_name: str, cost: int | None, dropped: str = "") -> tuple[tuple[str, str], ...]:
    """Who answered, and what it cost."""
    found = [
        ("x-tooloo-query-id", told.query_id),
        ("x-tooloo-provider", told.provider_id),
        ("x-tooloo-model", told.model),
        (cost_name, money.show(cost) if cost is not None else ""),
        (callers.DROPPED, dropped),
    ]
    return tuple([(name, value) for name, value in found if value and value.isascii() and value.isprintable()])


def in_pieces(body: HttpBody) -> Iterable[HttpBody]:
    """A body as messages of a size that everybody takes; the door puts them together."""
    if len(data := body.data) <= LARGE:
        return (body,)
    return (HttpBody(content_type=body.content_type, data=data[at : at + LARGE]) for at in range(0, len(data), LARGE))


def body_of(value: object) -> HttpBody:
    """A JSON body."""
    return HttpBody(content_type=JSON, data=dump(value))
