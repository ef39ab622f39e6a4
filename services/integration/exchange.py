"""Calls to other systems and their answers as plain values, and what an answer says about waiting."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_WAIT = timedelta(days=1)
# GitHub's advice for a limit that names no time
UNNAMED_WAIT = timedelta(minutes=1)
OK, NO_CONTENT, NOT_MODIFIED, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 204, 304, 400, 401, 403, 404
CONFLICT, GONE, UNAVAILABLE_FOR_LEGAL_REASONS, TOO_MANY, SERVER_ERROR = 409, 410, 451, 429, 500
_SHOWN = 300
# control characters, ends of lines and of paragraphs, and what turns the direction of text; joiners belong to words and emoji
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Call:
    """A request to another system."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """Its answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; Garbled when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Garbled(f"status {self.status} with a body that is not JSON") from error

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; Garbled when it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise Garbled(f"status {self.status} with a body that is not a JSON object")
        return value

    def member(self, name: str) -> Any:
        """A member of the body; None when it has none, or is no JSON object."""
        try:
            return self.object().get(name)
        except Garbled:
            return None


class RemoteError(Exception):
    """Another system did not do what it was asked for."""


class Unreachable(RemoteError):
    """It gave no usable answer: connection, time or size; trying again may help."""


class Garbled(Unreachable):
    """It answered something that its own contract does not know."""


class Refused(RemoteError):
    """It understood and said no. `code` is its own word for why."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text and text != code else code)
        self.status, self.code, self.text = status, code, text


class Limited(RemoteError):
    """It asks to wait."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"asks to wait {wait.total_seconds():g} s")
        self.wait = wait


def limited_as(identity: str, token: str) -> str:
    """Who is asked to wait: the user, else whoever the token of the settings belongs to, so that another token has no wait."""
    return identity or (hashlib.sha256(token.encode()).hexdigest()[:16] if token else "")


def clean(value: object, limit: int = _SHOWN) -> str:
    """Foreign text made safe to keep and to show: valid Unicode, nothing that controls, not longer than the limit."""
    text = str(value if value is not None else "")[:limit].encode("utf-8", "replace").decode()
    return _CONTROLS.sub(" ", text)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Retry-After (RFC 9110 §10.2.3) in seconds or as a date, between 0 and a day; None when absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return _bounded(timedelta(seconds=min(int(text[:9]), LONGEST_WAIT.total_seconds())))
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return _bounded((until if until.tzinfo else until.replace(tzinfo=UTC)) - now)


def limit_in(answer: Answer, now: datetime) -> Limited | None:
    """That a system says that it was asked too often: by 429, or by 403 as GitHub does (its page on rate limits)."""
    if answer.status not in (FORBIDDEN, TOO_MANY):
        return None
    wait = retry_after(answer.headers, now)
    if wait is None and answer.headers.get("x-ratelimit-remaining") == "0":
        wait = wait_until_epoch(answer.headers.get("x-ratelimit-reset", ""), now) or UNNAMED_WAIT
    if wait is None and (answer.status == TOO_MANY or "rate limit" in str(answer.member("message")).lower()):
        wait = UNNAMED_WAIT
    return None if wait is None else Limited(wait)


def wait_until_epoch(text: str, now: datetime) -> timedelta | None:
    """How long until a Unix time in seconds, as GitHub's x-ratelimit-reset gives it; None when unreadable."""
    if not (text.isascii() and text.isdigit()):
        return None
    return _bounded(timedelta(seconds=max(0.0, min(float(text) - now.timestamp(), LONGEST_WAIT.total_seconds()))))


def _bounded(wait: timedelta) -> timedelta:
    return max(timedelta(), min(wait, LONGEST_WAIT))
