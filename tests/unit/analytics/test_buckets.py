"""Buckets keep every value exactly once, and spans read each of them exactly once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import buckets
from services.analytics.buckets import HOUR, MINUTE, Segment, Summary

times = st.integers(min_value=0, max_value=3 * 24 * HOUR)
pairs = st.lists(st.tuples(times, st.floats(min_value=-1e6, max_value=1e6)), max_size=100)


@given(pairs)
def test_minutes_roll_up_to_their_hours(values: list[tuple[int, float]]) -> None:
    """Counts are conserved, and the minutes of an hour merged are the hour."""
    folded = buckets.fold(values)
    hours = {start: summary for (width, start), summary in folded.items() if width == HOUR}
    minutes = [(start, summary) for (width, start), summary in folded.items() if width == MINUTE]
    rolled = buckets.points(minutes, HOUR)
    assert sum(summary.count for summary in hours.values()) == len(values)
    assert rolled.keys() == hours.keys()
    for start, hour in hours.items():
        minute = rolled[start]
        assert (minute.count, minute.min, minute.max, minute.sketch) == (hour.count, hour.min, hour.max, hour.sketch)
        assert math.isclose(minute.sum, hour.sum, abs_tol=1e-6)


@given(pairs, st.integers(min_value=0, max_value=100))
def test_buckets_of_two_folds_merge_to_one_fold(values: list[tuple[int, float]], cut: int) -> None:
    """Folding in batches gives what folding at once gives."""
    at_once = buckets.fold(values)
    in_two = buckets.fold(values[:cut])
    for key, summary in buckets.fold(values[cut:]).items():
        in_two.setdefault(key, Summary()).merge(summary)
    assert {key: (s.count, s.min, s.max, s.sketch) for key, s in in_two.items()} == {
        key: (s.count, s.min, s.max, s.sketch) for key, s in at_once.items()
    }


@given(times, times, st.integers(min_value=0, max_value=72))
def test_a_cover_is_the_snapped_span_without_gap_or_overlap(one: int, other: int, kept_from: int) -> None:
    """Each moment of the span lies in exactly one segment, on full buckets, and no minutes are asked for that are gone."""
    start, end = buckets.snap(min(one, other), max(one, other), kept_from * HOUR)
    segments = buckets.cover(start, end)
    assert start <= min(one, other) <= max(one, other) <= end
    edges = [start, *(segment.end_us for segment in segments)]
    assert [segment.start_us for segment in segments] == edges[:-1]
    assert edges[-1] == end
    for segment in segments:
        assert segment.start_us % segment.width_us == segment.end_us % segment.width_us == 0
        assert segment.width_us == HOUR or segment.start_us >= kept_from * HOUR


def test_a_cover_takes_hours_in_the_middle() -> None:
    """A long span reads few buckets."""
    assert buckets.cover(30 * MINUTE, 150 * MINUTE) == [
        Segment(MINUTE, 30 * MINUTE, HOUR),
        Segment(HOUR, HOUR, 2 * HOUR),
        Segment(MINUTE, 2 * HOUR, 150 * MINUTE),
    ]


@given(st.integers(min_value=1, max_value=10**17), st.integers(min_value=1, max_value=2000))
def test_a_chosen_step_keeps_to_the_number_of_points(span: int, limit: int) -> None:
    """Steps are whole minutes, or whole hours from an hour on, so that buckets fit into them."""
    step = buckets.step_for(span, limit)
    assert span <= step * limit
    assert step % MINUTE == 0
    assert step <= HOUR or step % HOUR == 0
    assert step % buckets.width_for(step) == 0


@given(pairs)
def test_a_total_is_independent_of_steps(values: list[tuple[int, float]]) -> None:
    """All steps together hold every value once."""
    minutes = [(start, summary) for (width, start), summary in buckets.fold(values, [MINUTE]).items()]
    whole = buckets.total(buckets.points(minutes, 7 * MINUTE).values())
    assert whole.count == len(values)
    if values:
        assert whole.min == min(value for _, value in values)
        assert whole.mean == pytest.approx(sum(value for _, value in values) / len(values), abs=1e-6)


def test_nothing_has_mean_zero() -> None:
    """An empty set of values does not divide by zero."""
    assert Summary().mean == 0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20), st.floats(0, 1))
def test_a_quantile_lies_between_the_smallest_and_the_largest_value(values: list[float], q: float) -> None:
    """Of a value alone it is that value; the sketch by itself may be off by its error bound."""
    summary = Summary()
    for value in values:
        summary.add(value)
    assert min(values) <= summary.quantile(q) <= max(values)
