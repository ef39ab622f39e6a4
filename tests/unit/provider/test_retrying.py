"""Retries: full jitter within bounds, and a budget that retries never exceed."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.provider.failure import FailureKind
from services.provider.retrying import RetryBudget, RetryPolicy

POLICY = RetryPolicy({FailureKind.SERVER_ERROR: 2}, timedelta(milliseconds=250), timedelta(seconds=8))


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_anything_below_its_ceiling(failures: int, chance: float) -> None:
    """The ceiling doubles with each failure up to the longest; the wait is the drawn share of it."""
    ceiling = min(0.25 * 2 ** min(max(failures - 1, 0), 40), 8)
    assert abs(POLICY.backoff(failures, lambda: chance).total_seconds() - chance * ceiling) < 1e-5


def test_only_listed_classes_are_retried() -> None:
    """Twice for an error of the server; never for a class that is not listed."""
    assert [POLICY.allows(FailureKind.SERVER_ERROR, failures) for failures in (1, 2, 3)] == [True, True, False]
    assert not POLICY.allows(FailureKind.BAD_REQUEST, 1)


@given(
    st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 3)), max_size=200),
    st.floats(0, 1),
    st.floats(0, 2),
    st.integers(1, 20),
)
def test_the_retry_budget_is_never_exceeded(steps: list[tuple[str, float]], share: float, minimum: float, window: int) -> None:
    """After any steps: in every window that ends with a retry there are at most `share` of its calls and the minimum."""
    budget, now = RetryBudget(share, minimum, timedelta(seconds=window)), 0.0
    calls: list[float] = []
    retries: list[float] = []
    for step, pause in steps:
        now += pause
        if step == "call":
            budget.deposit(now)
            calls.append(now)
        elif budget.withdraw(now):
            retries.append(now)
            # a window is counted in whole seconds, the one that runs included
            since = int(now) - window + 1
            made = sum(1 for moment in retries if moment >= since)
            assert made <= share * sum(1 for moment in calls if moment >= since) + minimum * window + 1e-9


def test_a_storm_of_failures_is_not_multiplied() -> None:
    """1,000 calls that all fail and would all be retried: a fifth of them and the minimum are."""
    budget = RetryBudget(0.2, 1.0, timedelta(seconds=10))
    made = 0
    for _ in range(1000):
        budget.deposit(5.0)
        made += budget.withdraw(5.0)
    assert made == 210


def test_the_budget_comes_back_with_time_and_its_memory_is_bounded() -> None:
    """What was used a window ago counts no more; a window of a hundred seconds keeps a hundred numbers, not a million calls."""
    budget = RetryBudget(0.0, 0.1, timedelta(seconds=10))
    assert [budget.withdraw(moment) for moment in (0.0, 1.0, 9.9, 11.0)] == [True, False, False, True]
    busy = RetryBudget(0.2, 0.0, timedelta(seconds=100))
    for number in range(20_000):
        busy.deposit(number / 10)
    busy.left(2000.0)
    assert len(busy._seconds) <= 101
