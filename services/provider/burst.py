"""Bursts: how fast calls, tokens and money may go, with credit for bursts that refills.

The generic cell rate algorithm in its form of virtual scheduling (ITU-T I.371, annex A; ATM Forum Traffic Management 4.0, section
4.4.2): of each policy and key only the theoretical arrival time (TAT) is kept, the moment at which all that was let through will
have been paid for at the agreed rate. That its distance from now is what is owed, and that Retry-After follows from it exactly, is
after B. Leach's description of his library `throttled` (brandur.org/rate-limiting, 2015). Times are integer nanoseconds; what a
unit costs is rounded up, so that never more goes through than was agreed.
"""

import enum
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from services.provider.labels import EVERYTHING, Labels

SECOND = 1_000_000_000
_MICROSECOND = 1000
# the last moment that a store holds, some 100 years from now
_LATEST = 2**62
# longest time in which a whole bucket may refill, so that a TAT stays within 64 bits
LONGEST = timedelta(days=3660)


class Measure(enum.IntEnum):
    """What is counted; the numbers are those of the contract."""

    REQUESTS = 1
    TOKENS = 2
    MONEY = 3


class Mode(enum.IntEnum):
    """What happens to a call for which there is no credit; the numbers are those of the contract."""

    REFUSE = 1
    QUEUE = 2


class Load(Struct, frozen=True):
    """What a call takes."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0

    def of(self, measure: Measure) -> int:
        """How much of that."""
        return {Measure.REQUESTS: self.requests, Measure.TOKENS: self.tokens, Measure.MONEY: self.cost}[measure]


class Policy(Struct, frozen=True):
    """`rate` units come back each `period`, up to `burst` may come at once; each value of the labels `by` has that to itself."""

    policy_id: str
    measure: Measure
    rate: int
    period: timedelta
    burst: int
    scope: Labels = EVERYTHING
    by: tuple[str, ...] = ()
    mode: Mode = Mode.REFUSE
    max_wait: timedelta = timedelta()
    display_name: str = ""
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    updated: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def key(self, labels: Labels) -> str:
        """Which of its buckets usage with these labels takes from."""
        return json.dumps([labels.get(name) for name in self.by], separators=(",", ":")) if self.by else ""

    def time_of(self, units: int) -> int:
        """Nanoseconds in which so many come back, rounded up."""
        return -(-units * to_ns(self.period) // self.rate)

    @property
    def tolerance(self) -> int:
        """Nanoseconds by which the TAT may lie ahead: a whole bucket."""
        return self.time_of(self.burst)


class Verdict(Struct, frozen=True):
    """What a policy says to a call: the TAT if it goes through, and nanoseconds until it does (None: it is more than the burst)."""

    policy: Policy
    key: str
    tat: int
    wait: int | None

    def passes(self, max_wait: timedelta | None) -> bool:
        """Whether it goes through, now or after a wait that the policy and the caller bear."""
        if self.wait is None or self.wait == 0:
            return self.wait == 0
        if self.policy.mode is Mode.REFUSE:
            return False
        longest = self.policy.max_wait if max_wait is None else min(self.policy.max_wait, max_wait)
        return self.wait <= to_ns(longest)


def judge(policy: Policy, key: str, tat: int | None, units: int, now: int) -> Verdict:
    """What a policy with that TAT (None: never used) says to so many units at `now` nanoseconds."""
    base = max(now if tat is None else tat, now)
    if units == 0:
        return Verdict(policy, key, base, 0)
    after = base + policy.time_of(units)
    if units > policy.burst:
        return Verdict(policy, key, after, None)
    return Verdict(policy, key, after, max(after - policy.tolerance - now, 0))


class Taken(Struct, frozen=True):
    """What a call took from one bucket, and the TAT that stood then: what may be given back follows from it."""

    policy_id: str
    key: str
    units: int
    tat: int


def corrected(policy: Policy, tat: int, taken: Taken, used: int, now: int) -> int:
    """The TAT after it is known that another number of units was used than taken.

    Of what was not used only that is given back which time has not given back already: otherwise a burst that had refilled could be
    spent twice.
    """
    if used >= taken.units:
        return min(tat + policy.time_of(used - taken.units), _LATEST)
    unused = policy.time_of(taken.units) - policy.time_of(used)
    return tat - min(unused, max(taken.tat - now, 0))


def credit(policy: Policy, tat: int | None, now: int) -> int:
    """Units that may come at once now."""
    owed = max((now if tat is None else tat) - now, 0)
    return max((policy.tolerance - owed) * policy.rate // to_ns(policy.period), 0) if owed else policy.burst


def wait_of(verdicts: Sequence[Verdict]) -> timedelta:
    """The turn of a call that all let through: the latest of theirs."""
    return from_ns(max((verdict.wait or 0 for verdict in verdicts), default=0))


def to_ns(length: timedelta) -> int:
    """Nanoseconds of a length of time."""
    return length // timedelta(microseconds=1) * _MICROSECOND


def from_ns(nanoseconds: int) -> timedelta:
    """The length of time, rounded up to the microsecond, so that whoever waits for it is not early."""
    return timedelta(microseconds=-(-nanoseconds // _MICROSECOND))


def write_taken(taken: Sequence[Taken]) -> str:
    """One text for what a call took, in which stores keep it."""
    return json.dumps([[item.policy_id, item.key, item.units, item.tat] for item in taken], separators=(",", ":")) if taken else ""


def read_taken(text: str) -> tuple[Taken, ...]:
    """What a text of `write_taken` says."""
    return tuple(Taken(*item) for item in json.loads(text)) if text else ()
