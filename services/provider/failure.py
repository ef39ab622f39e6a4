"""How a call to a provider failed, in the classes that decide what happens next: again, another key, another model, or nothing."""

import enum
from datetime import timedelta

from msgspec import Struct


class FailureKind(enum.IntEnum):
    """Class of a failure; the numbers are those of the contract."""

    # 429: too many calls or tokens for now; the Retry-After, when there is one, is `Failure.retry_after`
    RATE_LIMITED = 1
    # 402, and a 429 that says that the account's credit is used up: waiting does not help, another key may
    QUOTA_EXHAUSTED = 2
    # 401, 403: the key is wrong, expired, or not allowed to do this
    UNAUTHENTICATED = 3
    # 404: the provider does not know the model (or the path)
    NOT_FOUND = 4
    # 408, and no (next) byte within the time that the settings give
    TIMEOUT = 5
    # no connection: refused, reset before the answer, name not found, TLS
    UNREACHABLE = 6
    # 5xx, also 529 (overloaded)
    SERVER_ERROR = 7
    # an answer that is not what the dialect says
    MALFORMED = 8
    # a stream that ended before its end was said
    BROKEN_STREAM = 9
    # the request is longer than the model takes
    CONTEXT_WINDOW = 10
    # the provider's policy refuses the content
    CONTENT_POLICY = 11
    # any other 4xx: the caller's mistake; says nothing about the provider's health, and no other model would do better
    BAD_REQUEST = 12
    # the caller hung up
    CANCELLED = 13
    # whoever ran the call died; what the provider did of it is not known
    LOST = 14


class Failure(Struct, frozen=True):
    """One failed attempt: its class, a sentence without secrets, the HTTP status (0: none), how long to wait (None: not said).

    `of_dialect`: the request cannot be said in the dialect of that provider, so it was not asked; another one may know it.
    """

    kind: FailureKind
    detail: str = ""
    status: int = 0
    retry_after: timedelta | None = None
    of_dialect: bool = False


class CallFailedError(Exception):
    """An attempt that ended with a failure; raised by whoever talks to the provider."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind.name}: {failure.detail}")
        self.failure = failure
