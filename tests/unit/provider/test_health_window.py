"""The rolling window: what it counts, what it forgets, how exact its quantiles are, how much it holds."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.provider import health_window
from services.provider.failure import FailureKind
from services.provider.health_window import ERROR, Bucket, Call, Grain, Seen

NOW = datetime(2026, 11, 22, tzinfo=UTC)
GRAIN = Grain(timedelta(seconds=30), 10)
SPAN = GRAIN.width * GRAIN.buckets
lengths = st.timedeltas(timedelta(milliseconds=1), timedelta(hours=23))
calls = st.builds(Call, st.none() | st.sampled_from(FailureKind), st.none(), st.none() | lengths, st.none() | lengths)


def plus(window: list[Bucket], now: datetime, call: Call) -> None:
    """Adds a call to a window, as whoever keeps one does."""
    newest = health_window.added(window[-1] if window else Bucket(0), GRAIN, now, call)
    if window and window[-1].number == newest.number:
        window.pop()
    window.append(newest)


@given(st.lists(st.tuples(st.timedeltas(timedelta(), timedelta(minutes=2)), calls), max_size=40))
def test_the_window_counts_what_is_recent_and_forgets_the_rest(steps: list[tuple[timedelta, Call]]) -> None:
    """A call counts while its bucket is among the newest ten: surely for nine widths, surely not after ten."""
    window: list[Bucket] = []
    seen: list[tuple[datetime, Call]] = []
    now = NOW
    for pause, call in steps:
        now += pause
        plus(window, now, call)
        seen.append((now, call))
        figures = health_window.figures(window, GRAIN, now)
        surely = [moment for moment, _ in seen if moment > now - SPAN + GRAIN.width]
        perhaps = [moment for moment, _ in seen if moment > now - SPAN]
        assert len(surely) <= figures.calls <= len(perhaps)
        assert sum(figures.failures.values()) <= figures.calls
    assert health_window.figures(window, GRAIN, now + SPAN).calls == 0


@given(st.lists(lengths, min_size=1, max_size=60))
def test_quantiles_are_right_within_their_error(seen: list[timedelta]) -> None:
    """Of the exact value by rank, off by at most ten percent."""
    window: list[Bucket] = []
    for length in seen:
        plus(window, NOW, Call(latency=length))
    figures = health_window.figures(window, GRAIN, NOW)
    for share, found in ((0.5, figures.latency_p50), (0.95, figures.latency_p95)):
        exact = sorted(seen)[math.ceil(share * len(seen)) - 1]
        assert found is not None
        assert abs(found / exact - 1) <= ERROR + 1e-6


def test_a_bucket_holds_a_bounded_number_of_bins() -> None:
    """Nothing and a month have a bin too; whatever comes, a hundred numbers are enough."""
    extremes = [timedelta(), timedelta(microseconds=1), timedelta(days=30)]
    window: list[Bucket] = []
    for length in [*extremes, *(timedelta(milliseconds=1.05**step) for step in range(500))]:
        plus(window, NOW, Call(latency=length))
    (bucket,) = window
    assert len(bucket.latencies) <= 93


def test_a_clock_that_is_set_back_brings_nothing_to_life() -> None:
    """What is told then counts in the newest bucket."""
    window: list[Bucket] = []
    plus(window, NOW, Call())
    plus(window, NOW - timedelta(hours=1), Call())
    assert health_window.figures(window, GRAIN, NOW).calls == 2


def test_tested_leaves_out_what_is_not_the_models_doing() -> None:
    """Two failures of the model and a success; a limit and a bad request test nothing."""
    window: list[Bucket] = []
    for kind in (FailureKind.TIMEOUT, FailureKind.SERVER_ERROR, None, FailureKind.RATE_LIMITED, FailureKind.BAD_REQUEST):
        plus(window, NOW, Call(kind))
    (bucket,) = window
    assert (bucket.own, bucket.tested, bucket.calls) == (2, 3, 5)


def test_failures_in_a_row_end_with_a_success_and_not_with_what_says_nothing() -> None:
    """And averages move by their weight."""
    seen = Seen()
    second = timedelta(seconds=1)
    for call in (
        Call(None, False, second),
        Call(FailureKind.TIMEOUT, True),
        Call(FailureKind.CANCELLED, None),
        Call(FailureKind.TIMEOUT, True),
    ):
        seen = health_window.after(seen, GRAIN, NOW, call, 0.5)
    assert (seen.failures_in_row, seen.latency) == (2, second)
    seen = health_window.after(seen, GRAIN, NOW, Call(None, False, 3 * second, second), 0.5)
    assert (seen.failures_in_row, seen.latency, seen.first_token) == (0, 2 * second, second)
