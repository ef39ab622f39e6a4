"""The circuit breaker: a stateful model over time, and the rules that open and try it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.provider.breaker import Breaker, Phase, Rule

START = datetime(2026, 11, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RULE = Rule(
    in_row=3, ratio=0.5, least_calls=10, open_time=10 * SECOND, longest_open=60 * SECOND, trials=2, lease=20 * SECOND
)  # fmt: skip
chances = st.floats(0, 1, exclude_max=True)


class BreakerModel(RuleBasedStateMachine):
    """Calls begin, end well, badly or in a way that says nothing, or are never heard of again, while time passes."""

    @initialize()
    def start(self) -> None:
        """Closed, no call on its way."""
        self.now = START
        self.breaker = Breaker()
        self.in_row = 0
        self.on_trial: dict[str, datetime] = {}
        self.calls = 0

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        """By up to twice a lease."""
        self.now += seconds * SECOND

    @rule()
    def a_call_begins(self) -> None:
        """It passes when closed, never when open, and on trial only while fewer than two are on their way."""
        self.calls += 1
        name, phase = str(self.calls), self.breaker.phase(self.now)
        admitted = self.breaker.admit(RULE, name, self.now)
        running = [until for until in self.on_trial.values() if until > self.now]
        assert (admitted is not None) == (phase is Phase.CLOSED or (phase is Phase.HALF_OPEN and len(running) < RULE.trials))
        if admitted is not None:
            self.breaker = admitted
            if phase is Phase.HALF_OPEN:
                self.on_trial[name] = self.now + RULE.lease

    @rule()
    def a_call_succeeds(self) -> None:
        """One winner closes it when it is half-open; while it is open nothing changes."""
        phase, before = self.breaker.phase(self.now), self.breaker
        self.breaker = self.breaker.after_success(self.now)
        self.in_row = 0
        if phase is Phase.OPEN:
            assert self.breaker == before
        else:
            assert self.breaker.phase(self.now) is Phase.CLOSED
            self.on_trial = {}

    @rule(chance=chances)
    def a_call_fails(self, chance: float) -> None:
        """It opens after three in a row, or from half-open at once and for longer; while it is open nothing changes."""
        phase, before = self.breaker.phase(self.now), self.breaker
        self.in_row += 1
        self.breaker = self.breaker.after_failure(RULE, self.now, lambda: chance, trips=RULE.trips(self.in_row, 0, 0))
        if phase is Phase.OPEN:
            assert self.breaker == before
        elif phase is Phase.HALF_OPEN or self.in_row >= RULE.in_row:
            full = min(RULE.open_time * 2**before.opens, RULE.longest_open)
            assert full / 2 <= self.breaker.until - self.now <= full
            assert self.breaker.opens == before.opens + 1
            self.on_trial = {}
        else:
            assert self.breaker.phase(self.now) is Phase.CLOSED

    @precondition(lambda self: self.on_trial)
    @rule(data=st.data())
    def a_trial_says_nothing(self, data: st.DataObject) -> None:
        """The caller hung up: the lease is given back."""
        name = data.draw(st.sampled_from(sorted(self.on_trial)))
        del self.on_trial[name]
        self.breaker = self.breaker.released(name)

    @invariant()
    def nobody_blocks_it_for_ever(self) -> None:
        """Whatever was lost: when the open time and a lease are over, a call may pass."""
        later = max(self.now, self.breaker.until) + RULE.lease
        assert self.breaker.has_room(RULE, later)

    @invariant()
    def a_closed_breaker_never_blocks(self) -> None:
        """And its calls leave no trace."""
        if self.breaker.phase(self.now) is Phase.CLOSED:
            assert self.breaker.admit(RULE, "one more", self.now) == self.breaker

    @invariant()
    def memory_is_bounded(self) -> None:
        """Leases that ended are not kept beside new ones."""
        assert len(self.breaker.trials) <= RULE.trials


TestBreakerModel = BreakerModel.TestCase


@pytest.mark.parametrize(
    ("in_row", "failures", "calls", "trips"),
    [(0, 0, 100, False), (1, 1, 1, False), (2, 9, 9, False), (2, 5, 10, True), (2, 4, 10, False), (3, 3, 1000, True)],
)
def test_what_opens_it(in_row: int, failures: int, calls: int, trips: bool) -> None:
    """Too many in a row, or half of at least ten; never one failure of few."""
    assert RULE.trips(in_row, failures, calls) is trips


@given(st.integers(1, 10_000), chances)
def test_open_times_are_capped_however_often_it_opens(opens: int, chance: float) -> None:
    """Half of the full time at least, the cap at most; no overflow."""
    length = RULE.open_for(opens, lambda: chance)
    assert RULE.open_time / 2 <= length <= RULE.longest_open


def test_open_times_differ_between_breakers() -> None:
    """Those that open at the same moment do not come back at the same moment."""
    assert RULE.open_for(1, lambda: 0.0) != RULE.open_for(1, lambda: 0.9)


def test_a_breaker_of_a_clock_that_was_ahead_takes_a_trial() -> None:
    """It does not stay open until the clock has caught up, nor do trials that were lost keep others off; it opens as ever."""
    ahead = START + timedelta(days=1)
    opened = Breaker().open(RULE, ahead, lambda: 0.5)
    on_trial = opened
    for name in ("a", "b"):
        on_trial = on_trial.admit(RULE, name, ahead + 60 * SECOND) or on_trial
    assert not on_trial.has_room(RULE, ahead + 60 * SECOND)
    for breaker in (opened, on_trial):
        assert breaker.phase(START) is Phase.HALF_OPEN
        tried = breaker.admit(RULE, "c", START)
        assert tried is not None
        assert tried.after_failure(RULE, START, lambda: 0.5, trips=True).phase(START) is Phase.OPEN
        assert tried.after_success(START).phase(START) is Phase.CLOSED
