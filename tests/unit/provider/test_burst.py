"""Bursts: never more than was agreed, exact times to wait, turns in order, and what may be given back."""

from datetime import timedelta
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from services.provider import burst
from services.provider.burst import SECOND, Measure, Mode, Policy, Taken, Verdict, corrected, credit, judge
from services.provider.labels import Labels

rates = st.integers(1, 10**12)
periods = st.sampled_from(
    [timedelta(milliseconds=1), timedelta(seconds=1), timedelta(seconds=7), timedelta(minutes=1), timedelta(days=1)]
)
arrivals = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 12)), max_size=40)


def policy(rate: int, period: timedelta, size: int, mode: Mode = Mode.REFUSE) -> Policy:
    """A policy that counts calls."""
    return Policy("p", Measure.REQUESTS, rate, period, size, mode=mode, max_wait=timedelta(seconds=2))


def through(one: Policy, comings: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(moment, units) of those that go through at once, of (gap before, units) that come."""
    now, tat, passed = 10**18, None, []
    for gap, units in comings:
        now += gap
        verdict = judge(one, "", tat, units, now)
        if verdict.passes(None):
            tat = verdict.tat
            passed.append((now, units))
    return passed


@given(st.integers(1, 20), st.integers(1, 10), arrivals)
@example(3, 1, [(0, 1), (SECOND // 3, 1), (SECOND // 3, 1), (SECOND // 3, 1)])
def test_no_stretch_of_time_gets_more_than_burst_and_rate(rate: int, size: int, comings: list[tuple[int, int]]) -> None:
    """In every interval at most the bucket and what came back meanwhile, in exact fractions: the traffic contract."""
    passed = through(policy(rate, timedelta(seconds=1), size), comings)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            units = sum(each for _, each in passed[first : last + 1])
            assert units <= size + Fraction(rate * (passed[last][0] - passed[first][0]), SECOND)


@given(st.integers(1, 20), st.integers(1, 10), arrivals)
def test_it_refuses_nothing_that_a_bucket_would_let_through(rate: int, size: int, comings: list[tuple[int, int]]) -> None:
    """Beside a token bucket in exact fractions: never more lenient, and stricter only by the rounding of a nanosecond a unit."""
    one = policy(rate, timedelta(seconds=1), size)
    now, tat, level, last = 10**18, None, Fraction(size), 10**18
    for gap, units in comings:
        now += gap
        level = min(Fraction(size), level + Fraction(rate * (now - last), SECOND))
        last = now
        verdict = judge(one, "", tat, units, now)
        if verdict.passes(None):
            assert units <= level
            tat, level = verdict.tat, level - units
        elif units <= level:
            assert verdict.wait is not None
            assert verdict.wait <= 1000


@given(rates, periods, st.integers(1, 1000), arrivals)
def test_the_wait_it_names_is_exact(rate: int, period: timedelta, size: int, comings: list[tuple[int, int]]) -> None:
    """At that moment the same call passes, a nanosecond earlier it does not; none when the call is larger than the bucket."""
    one = policy(rate, period, size)
    now, tat = 10**18, None
    for gap, units in comings:
        now += gap
        verdict = judge(one, "", tat, units, now)
        if verdict.wait is None:
            assert units > size
        elif verdict.wait:
            assert judge(one, "", tat, units, now + verdict.wait).wait == 0
            assert judge(one, "", tat, units, now + verdict.wait - 1).wait == 1
        if verdict.passes(None):
            tat = verdict.tat


@given(st.integers(1, 20), st.integers(1, 10), st.lists(st.integers(0, SECOND // 5), max_size=30))
def test_turns_in_a_queue_come_in_order_and_at_the_rate(rate: int, size: int, gaps: list[int]) -> None:
    """Moments at which calls may start never go back, keep the contract, and nobody waits longer than the policy allows."""
    one = policy(rate, timedelta(seconds=1), size, Mode.QUEUE)
    now, tat, starts = 10**18, None, list[int]()
    for gap in gaps:
        now += gap
        verdict = judge(one, "", tat, 1, now)
        if verdict.passes(None):
            assert verdict.wait is not None
            assert verdict.wait <= 2 * SECOND
            tat = verdict.tat
            starts.append(now + verdict.wait)
        else:
            assert verdict.wait is None or verdict.wait > 2 * SECOND
    assert starts == sorted(starts)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= size + Fraction(rate * (starts[last] - starts[first]), SECOND)


def test_a_caller_that_cannot_wait_is_refused() -> None:
    """The shorter of the policy's patience and the caller's counts."""
    one = policy(1, timedelta(seconds=1), 1, Mode.QUEUE)
    verdict = Verdict(one, "", 0, SECOND)
    assert verdict.passes(None)
    assert verdict.passes(timedelta(seconds=1))
    assert not verdict.passes(timedelta(milliseconds=999))
    assert not Verdict(one, "", 0, 3 * SECOND).passes(timedelta(hours=1))


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, SECOND), st.integers(1, 8), st.integers(0, 8), st.integers(0, 5)), max_size=25),
)
def test_giving_back_never_lets_a_burst_be_spent_twice(rate: int, calls: list[tuple[int, int, int, int]]) -> None:
    """Calls take an estimate and are corrected some calls later: what was truly used keeps the contract where estimates held."""
    one = policy(rate, timedelta(seconds=1), 8)
    now, tat = 10**18, None
    running: list[tuple[Taken, int, int]] = []
    used: list[tuple[int, int]] = []
    for gap, estimate, actual, later in calls:
        now += gap
        due = [item for item in running if item[2] <= 0]
        running = [(taken, true, left - 1) for taken, true, left in running if left > 0]
        for taken, true, _ in due:
            assert tat is not None
            tat = corrected(one, tat, taken, true, now)
        verdict = judge(one, "", tat, estimate, now)
        if verdict.passes(None):
            tat = verdict.tat
            true = min(actual, estimate)
            running.append((Taken("p", "", estimate, verdict.tat), true, later))
            used.append((now, true))
    for first in range(len(used)):
        for last in range(first, len(used)):
            units = sum(each for _, each in used[first : last + 1])
            assert units <= 8 + Fraction(rate * (used[last][0] - used[first][0]), SECOND)


def test_giving_back_at_once_is_exact() -> None:
    """While time has given nothing back yet, the bucket is as if only the true number had been taken."""
    one = policy(2, timedelta(seconds=1), 10)
    taken = judge(one, "", None, 8, 0)
    after = corrected(one, taken.tat, Taken("p", "", 8, taken.tat), 3, 0)
    assert after == judge(one, "", None, 3, 0).tat
    assert credit(one, after, 0) == 7
    more = corrected(one, taken.tat, Taken("p", "", 8, taken.tat), 12, 0)
    assert credit(one, more, 0) == 0


def test_credit_refills_at_the_rate() -> None:
    """A full bucket of ten, emptied, has one back after each half second at two a second."""
    one = policy(2, timedelta(seconds=1), 10)
    tat = judge(one, "", None, 10, 0).tat
    assert [credit(one, tat, half * SECOND // 2) for half in (0, 1, 2, 9, 10, 30)] == [0, 1, 2, 9, 10, 10]


def test_each_combination_of_values_has_its_own_bucket() -> None:
    """Also that of usage without the label."""
    one = Policy("p", Measure.REQUESTS, 1, timedelta(seconds=1), 1, by=("user", "model"))
    keys = {one.key(Labels.of(user=user, model=model, team="x")) for user in ("ada", "") for model in ("m", "n")}
    assert len(keys) == 4
    assert policy(1, timedelta(seconds=1), 1).key(Labels.of(user="ada")) == ""


@given(
    st.lists(st.builds(Taken, st.text(max_size=5), st.text(max_size=5), st.integers(0, 10**15), st.integers(0, 2**62)), max_size=4)
)
def test_what_was_taken_has_a_text(items: list[Taken]) -> None:
    """It comes back as it was."""
    assert burst.read_taken(burst.write_taken(items)) == tuple(items)
