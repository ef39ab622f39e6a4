"""Circuit breaker: closed, open, half-open with trial calls (Nygard, "Release It!", 2nd ed., 2018, ch. 5, "Circuit Breaker").

It opens when too many calls in a row fail, or too large a share of enough calls. Open it lets nothing through; each time that it
opens again without having closed it stays open longer, up to a limit, and never exactly as long as its neighbours. When that time
is over it is half-open: a few trial calls may pass, each on a lease, so that a caller who never comes back blocks nobody for ever.
One trial that succeeds closes it, one that fails opens it again.
"""

import enum
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

# draws from 0 (in) to 1 (out), as random.random does
Chance = Callable[[], float]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_DOUBLINGS = 40


class Phase(enum.IntEnum):
    """What a breaker does with calls."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class Rule(Struct, frozen=True):
    """When a breaker opens, for how long, and how it is tried."""

    in_row: int = 5
    ratio: float = 0.5
    least_calls: int = 10
    open_time: timedelta = timedelta(seconds=30)
    longest_open: timedelta = timedelta(minutes=10)
    trials: int = 1
    lease: timedelta = timedelta(minutes=2)

    def trips(self, in_row: int, failures: int, calls: int) -> bool:
        """Whether so many failures in a row, or so many among these calls, are too many."""
        return in_row >= self.in_row or (calls >= self.least_calls and failures >= self.ratio * calls)

    def open_for(self, opens: int, chance: Chance) -> timedelta:
        """How long it stays open the n-th time in a row: doubled each time, capped, then anything from one half of it up."""
        full = min(self.open_time.total_seconds() * 2 ** min(opens - 1, _MOST_DOUBLINGS), self.longest_open.total_seconds())
        return timedelta(seconds=full * (1 + chance()) / 2)


class Trial(Struct, frozen=True):
    """A trial call that is on its way, or was lost: its lease ends at `until`."""

    call_id: str
    until: datetime


class Breaker(Struct, frozen=True):
    """The state of one breaker: `opens` counts openings since it last closed, `closed_at` is when that was."""

    opened: datetime | None = None
    until: datetime = EPOCH
    opens: int = 0
    closed_at: datetime = EPOCH
    trials: tuple[Trial, ...] = ()

    def phase(self, now: datetime) -> Phase:
        """What it does with calls at that time; one that opened later, for the clock was set back, takes trials."""
        if self.opened is None:
            return Phase.CLOSED
        return Phase.OPEN if self.opened <= now < self.until else Phase.HALF_OPEN

    def has_room(self, rule: Rule, now: datetime) -> bool:
        """Whether one more call may pass now."""
        phase = self.phase(now)
        return phase is Phase.CLOSED or (phase is Phase.HALF_OPEN and len(self._running(rule, now)) < rule.trials)

    def admit(self, rule: Rule, call_id: str, now: datetime) -> "Breaker | None":
        """The breaker with this call let through; a trial when it is half-open. None: it may not pass."""
        if not self.has_room(rule, now):
            return None
        if self.phase(now) is Phase.CLOSED:
            return self
        return replace(self, trials=(*self._running(rule, now), Trial(call_id, now + rule.lease)))

    def open(self, rule: Rule, now: datetime, chance: Chance) -> "Breaker":
        """Opened, or opened again for longer."""
        opens = self.opens + 1
        return replace(self, opened=min(self.opened or now, now), until=now + rule.open_for(opens, chance), opens=opens, trials=())

    def close(self, now: datetime) -> "Breaker":
        """Closed; what failed before counts no more."""
        return Breaker(closed_at=now)

    def released(self, call_id: str) -> "Breaker":
        """Without this call's lease: it ended in a way that says nothing."""
        return replace(self, trials=tuple(trial for trial in self.trials if trial.call_id != call_id))

    def put_right(self, rule: Rule, now: datetime) -> "Breaker":
        """Without times of a clock that was ahead: what opened then, or was to stay open till then, takes trials from now on."""
        if self.opened is None or (self.opened <= now and self.until <= now + rule.longest_open):
            return self
        return replace(self, opened=min(self.opened, now), until=now)

    def after_success(self, now: datetime) -> "Breaker":
        """A success closes it when it is half-open; while it is open it comes from before, and changes nothing."""
        return self.close(now) if self.phase(now) is Phase.HALF_OPEN else self

    def after_failure(self, rule: Rule, now: datetime, chance: Chance, *, trips: bool) -> "Breaker":
        """A failure opens a closed one when it trips, and a half-open one always; an open one stays as it is."""
        phase = self.phase(now)
        again = phase is Phase.HALF_OPEN or (phase is Phase.CLOSED and trips)
        return self.open(rule, now, chance) if again else self

    def _running(self, rule: Rule, now: datetime) -> tuple[Trial, ...]:
        """Those whose lease has not ended; one of more than twice its length is of a clock that was ahead."""
        return tuple(trial for trial in self.trials if now < trial.until <= now + 2 * rule.lease)
