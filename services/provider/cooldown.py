"""Cooldown: what each class of failure says about which thing, and how long that thing then rests."""

import enum
from datetime import datetime, timedelta

from msgspec import Struct

from services.provider.failure import Failure, FailureKind

_MOST_DOUBLINGS = 40


class Rests(enum.IntEnum):
    """What a failure lets rest."""

    NOTHING = 0
    # the key, with every model
    KEY = 1
    # the key with this model only: limits are counted by model
    KEY_AT_MODEL = 2
    MODEL = 3


class Meaning(Struct, frozen=True):
    """What a class of failure says: whether the model works badly (its breaker counts that), and what rests at once."""

    of_model: bool = False
    rests: Rests = Rests.NOTHING

    @property
    def neutral(self) -> bool:
        """It says nothing about the health of anything."""
        return not self.of_model and self.rests is Rests.NOTHING


SAYS_NOTHING = Meaning()
MEANINGS = {
    FailureKind.RATE_LIMITED: Meaning(rests=Rests.KEY_AT_MODEL),
    FailureKind.QUOTA_EXHAUSTED: Meaning(rests=Rests.KEY),
    FailureKind.UNAUTHENTICATED: Meaning(rests=Rests.KEY),
    FailureKind.NOT_FOUND: Meaning(rests=Rests.MODEL),
    FailureKind.TIMEOUT: Meaning(of_model=True),
    FailureKind.UNREACHABLE: Meaning(of_model=True),
    FailureKind.SERVER_ERROR: Meaning(of_model=True),
    FailureKind.MALFORMED: Meaning(of_model=True),
    FailureKind.BROKEN_STREAM: Meaning(of_model=True),
    # the request's own doing
    FailureKind.CONTEXT_WINDOW: Meaning(),
    FailureKind.CONTENT_POLICY: Meaning(),
    FailureKind.BAD_REQUEST: Meaning(),
    FailureKind.CANCELLED: Meaning(),
    # our own doing
    FailureKind.LOST: Meaning(),
}


class Lengths(Struct, frozen=True):
    """How long things rest: by class the first time, doubled each time in a row up to `longest`.

    As long as a Retry-After asks instead, up to `longest_asked`.
    """

    rate_limited: timedelta = timedelta(seconds=5)
    quota_exhausted: timedelta = timedelta(hours=1)
    unauthenticated: timedelta = timedelta(hours=1)
    not_found: timedelta = timedelta(minutes=10)
    longest: timedelta = timedelta(hours=6)
    longest_asked: timedelta = timedelta(hours=1)

    def first(self, kind: FailureKind) -> timedelta:
        """How long the first time."""
        return {
            FailureKind.RATE_LIMITED: self.rate_limited,
            FailureKind.QUOTA_EXHAUSTED: self.quota_exhausted,
            FailureKind.UNAUTHENTICATED: self.unauthenticated,
            FailureKind.NOT_FOUND: self.not_found,
        }[kind]

    def length(self, failure: Failure, times: int) -> timedelta:
        """How long it rests the n-th time in a row: as long as the provider asks, else longer each time."""
        if failure.retry_after is not None:
            return min(max(failure.retry_after, timedelta()), self.longest_asked)
        doubled = self.first(failure.kind).total_seconds() * 2 ** min(times - 1, _MOST_DOUBLINGS)
        return timedelta(seconds=min(doubled, self.longest.total_seconds()))


class Cooldown(Struct, frozen=True):
    """One thing's rest: why, from when until when, and how many times in a row (0: it does not rest)."""

    cause: FailureKind
    detail: str
    since: datetime
    until: datetime
    times: int = 1

    def lasts(self, now: datetime) -> bool:
        """Whether it rests still; not when it is to begin later, for then the clock was set back."""
        return self.since <= now < self.until


def after_failure(before: Cooldown | None, failure: Failure, lengths: Lengths, now: datetime) -> Cooldown:
    """The rest that a failure leads to; one that already lasts longer is not cut short."""
    resting = before is not None and before.lasts(now)
    again = before is not None and before.cause is failure.kind
    # failures of calls that were on their way when the rest began are the same news
    times = before.times + (0 if resting else 1) if before is not None and again else 1
    until = now + lengths.length(failure, times)
    if before is not None and resting:
        until = max(until, before.until)
    since = before.since if before is not None and resting else now
    return Cooldown(failure.kind, failure.detail, since, until, times)
