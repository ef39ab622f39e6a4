"""Traffic in a window: differences of what was counted, and quantiles from buckets."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy.statistics import UNARY, Counted, Outcome, read
from gateway.traffic import Ring, Sample, Tally, is_failure, is_refusal, quantile, tally

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BUCKET = 10.0


def sample(at: float, **calls: int) -> Sample:
    """A sample at a second, with so many calls of each service."""
    return Sample(at, NOW, {name: Tally(calls=count) for name, count in calls.items()})


@given(st.lists(st.floats(0, 9999), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_as_exact_as_its_bucket(values: list[float], share: float) -> None:
    """The true quantile lies in the bucket that the answer lies in, or at its edge."""
    buckets = Counter((value // BUCKET * BUCKET, BUCKET) for value in values)
    ordered = sorted(values)
    true = next(value for number, value in enumerate(ordered, 1) if number >= share * len(values))
    found = quantile(buckets, share)
    assert found is not None
    assert abs(found - true) <= BUCKET


@given(st.lists(st.floats(0, 9999), min_size=1, max_size=50), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_quantiles_grow_with_their_share(values: list[float], shares: list[float]) -> None:
    """A larger share never has a smaller value."""
    buckets = Counter((value // BUCKET * BUCKET, BUCKET) for value in values)
    found = [quantile(buckets, share) or 0.0 for share in sorted(shares)]
    assert found == sorted(found)


def test_nothing_has_no_quantile() -> None:
    """No calls, no length."""
    assert quantile({}, 0.5) is None


@pytest.mark.parametrize(
    ("http_status", "grpc_status", "expected"),
    [
        (200, -1, "well"),
        (200, 0, "well"),
        (200, 1, "well"),
        (499, -1, "well"),
        (0, -1, "well"),
        (200, 5, "refused"),
        (404, -1, "refused"),
        (429, -1, "refused"),
        (200, 8, "refused"),
        (200, 13, "failed"),
        (200, 4, "failed"),
        (503, -1, "failed"),
        (504, -1, "failed"),
    ],
)
def test_failures_are_told_apart_from_refusals(http_status: int, grpc_status: int, expected: str) -> None:
    """By HTTP over REST, by the gRPC status of a native call; a caller that left is neither."""
    outcome = Outcome(UNARY, http_status, grpc_status)
    assert (is_failure(outcome), is_refusal(outcome)) == (expected == "failed", expected == "refused")


def test_a_window_is_what_came_between_its_ends() -> None:
    """Counts, times and services that were not there before; what is in flight is that of the newest sample."""
    ring = Ring(60)
    ring.add(Sample(0, NOW, {"a": Tally(10, 2, 1, 7, {(0, 1): 10})}))
    ring.add(Sample(1, NOW, {"a": Tally(15, 3, 1, 4, {(0, 1): 12, (1, 1): 3}), "b": Tally(2)}))
    window = ring.window(10)
    assert window is not None
    assert window.seconds == 1
    assert window.services == {"a": Tally(5, 1, 0, 4, {(0, 1): 2, (1, 1): 3}), "b": Tally(2)}


@given(st.lists(st.integers(0, 9), min_size=2, max_size=80), st.integers(1, 60))
def test_a_window_is_never_shorter_than_asked_for_where_samples_reach(steps: list[int], seconds: int) -> None:
    """Samples once a second: the window is as long as asked for, or as the samples reach; its calls are those of its steps."""
    ring, total = Ring(60), 0
    for at, step in enumerate(steps):
        total += step
        ring.add(sample(at, a=total))
    window = ring.window(seconds)
    assert window is not None
    length = min(seconds, len(steps) - 1)
    assert window.seconds == length
    assert window.services["a"].calls == sum(steps[len(steps) - length :])


def test_one_sample_is_no_window() -> None:
    """A rate needs two ends."""
    ring = Ring(60)
    ring.add(sample(0, a=1))
    assert ring.window(10) is None


def test_an_envoy_that_counts_from_zero_begins_a_new_window() -> None:
    """Else its restart would show a negative rate."""
    ring = Ring(60)
    for at, calls in enumerate((5, 9, 2, 3)):
        ring.add(sample(at, a=calls))
    window = ring.window(60)
    assert window is not None
    assert (window.seconds, window.services["a"].calls) == (1, 1)


def test_old_samples_go() -> None:
    """A ring holds what its longest window needs, and no more."""
    ring = Ring(5)
    for at in range(100):
        ring.add(sample(at, a=at))
    assert len(ring) == 6


def test_what_the_admin_page_says_is_read_by_service() -> None:
    """As Envoy 1.40 writes it; streams are counted, their lengths are not among those of unary calls."""
    answer = b"""{"stats":[
      {"name":"cluster.learning.upstream_rq_active","value":3},
      {"name":"traffic.calls.service.learning.kind.unary.http.200.grpc.","value":4},
      {"name":"traffic.calls.service.learning.kind.unary.http.200.grpc.5","value":1},
      {"name":"traffic.calls.service.learning.kind.stream.http.503.grpc.","value":2},
      {"histograms":{"supported_percentiles":[50],"details":[
        {"name":"traffic.time.service.learning.kind.unary","totals":[{"lower_bound":1900,"width":100,"count":5}],"intervals":[]},
        {"name":"traffic.time.service.learning.kind.stream","totals":[{"lower_bound":9e6,"width":1e5,"count":2}],"intervals":[]}]}}]}"""
    found = read(answer)["learning"]
    assert found.active == 3
    assert found.unary_times == {(1900, 100): 5}
    assert tally(found) == Tally(7, 2, 1, 3, {(1900, 100): 5})


def test_an_envoy_that_counted_nothing_is_read_too() -> None:
    """Its answer has no histograms then."""
    assert read(b'{"stats":[]}') == {}
    assert tally(Counted()) == Tally()
