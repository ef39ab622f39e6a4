"""The sketch keeps its error bound, merges without loss, and agrees with the published implementation."""

import math

import pytest
from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.sketch import ERROR_BOUND, SMALLEST, Sketch

magnitudes = st.floats(min_value=SMALLEST, max_value=1e18)
values = st.one_of(st.just(0.0), magnitudes, magnitudes.map(lambda v: -v))
many = st.lists(values, min_size=1, max_size=200)
ranks = st.floats(min_value=0, max_value=1)


def sketch_of(numbers: list[float]) -> Sketch:
    """A sketch of these values."""
    sketch = Sketch()
    for number in numbers:
        sketch.add(number)
    return sketch


@given(many, ranks)
def test_a_quantile_is_within_the_bound_of_the_exact_one(numbers: list[float], q: float) -> None:
    """Relative error is at most 1 %, for any values and any quantile."""
    exact = sorted(numbers)[math.floor(q * (len(numbers) - 1))]
    assert abs(sketch_of(numbers).quantile(q) - exact) <= ERROR_BOUND * abs(exact) * (1 + 1e-9)


@given(many, many)
def test_a_merge_equals_one_sketch_of_all_values(left: list[float], right: list[float]) -> None:
    """Merging loses nothing, bin by bin."""
    merged = sketch_of(left)
    merged.merge(sketch_of(right))
    assert merged == sketch_of(left + right)


@given(many)
def test_bytes_hold_the_whole_sketch(numbers: list[float]) -> None:
    """What is written to the store is what comes back."""
    sketch = sketch_of(numbers)
    assert Sketch.decode(sketch.encode()) == sketch
    assert sketch.count == len(numbers)


@given(st.lists(magnitudes, min_size=1, max_size=200), ranks)
def test_it_agrees_with_the_published_implementation(numbers: list[float], q: float) -> None:
    """The ddsketch package, the oracle, gives the same bin for positive values."""
    oracle = DDSketch(ERROR_BOUND)
    for number in numbers:
        oracle.add(number)
    assert sketch_of(numbers).quantile(q) == pytest.approx(oracle.get_quantile_value(q), rel=1e-9)


@given(st.floats(min_value=-SMALLEST / 2, max_value=SMALLEST / 2))
def test_what_is_nearly_zero_counts_as_zero(number: float) -> None:
    """The smallest magnitudes do not open bins without end."""
    assert sketch_of([number]).quantile(0.5) == 0


def test_the_widest_values_stay_a_bounded_sketch() -> None:
    """Values over all thirty decades take fewer than 3,500 bins a sign."""
    numbers = [10 ** (exponent / 200) for exponent in range(-12 * 200, 18 * 200 + 1)]
    assert len(sketch_of(numbers).positive) < 3500


def test_an_empty_sketch_has_no_quantiles() -> None:
    """Nothing is not zero."""
    with pytest.raises(ValueError, match="empty"):
        Sketch().quantile(0.5)


def test_bytes_of_another_format_are_refused() -> None:
    """A later format is named instead of misread."""
    with pytest.raises(ValueError, match="format 9"):
        Sketch.decode(b"\x09" + Sketch().encode()[1:])
