"""The comparison's figures are looked up, compared and judged as the bar says."""

import pytest

from bench.bus import table
from bench.bus.bar import LINES, OURS, Line

RATE = Line("rate", r"b_\d+", "ev_s", {"tmpfs": 4})
TIME = Line("time", r"c_.*", "p50_ms", {"tmpfs": 2.5}, is_time=True)


def test_the_best_mode_counts() -> None:
    """Of rates the highest, of times the lowest, of all turns; a scenario that did not come to its end counts for nothing."""
    result = {"c_push": {"p50_ms": 0.5}, "c_pull": {"p50_ms": 0.3}, "c_slow": {"p50_ms": 0.1, "complete": False}, "variant": "x"}
    assert TIME.of("nats", [result]) == 0.3
    assert TIME.of("nats", [result, {"c_push": {"p50_ms": 0.2}}]) == 0.2
    sizes = {"b_256": {"ev_s": 10}, "b_1024": {"ev_s": 7}, "b_atomic_256": {"ev_s": 99}}
    assert RATE.of("nats", [sizes, {"b_256": {"ev_s": 9}}]) == 10
    assert RATE.of("nats", [{}]) is None


def test_the_measure_is_the_better_of_nats_and_redis() -> None:
    """RabbitMQ is only shown; a peer that is not there is passed over."""
    assert RATE.ratio({OURS: 80, "nats": 10, "redis": 20, "rabbit": 1000}) == 4
    assert TIME.ratio({OURS: 1.0, "nats": 0.5, "redis": 0.25}) == 4
    assert RATE.ratio({OURS: 80, "nats": 10}) == 8
    assert RATE.ratio({"nats": 10}) is None
    assert RATE.ratio({OURS: 80, "rabbit": 10}) is None


@pytest.mark.parametrize(("ours", "reached"), [(80.0, True), (79.0, False)])
def test_a_rate_reaches_its_bar_from_below(ours: float, reached: bool) -> None:
    """Four times the peer's at least."""
    assert RATE.reached("tmpfs", {OURS: ours, "redis": 20}) is reached
    assert RATE.reached("disk", {OURS: ours, "redis": 20}) is None


@pytest.mark.parametrize(("ours", "reached"), [(0.5, True), (0.51, False)])
def test_a_time_reaches_its_bar_from_above(ours: float, reached: bool) -> None:
    """Two and a half times the peer's at most."""
    assert TIME.reached("tmpfs", {OURS: ours, "redis": 0.2}) is reached


def test_an_absolute_bar_needs_no_peer() -> None:
    """5 ms are 5 ms."""
    line = Line("tail", r"c_.*", "p999_ms", {"tmpfs": 5}, is_time=True, absolute=True)
    assert line.bar("tmpfs") == "≤ 5 ms"
    assert line.reached("tmpfs", {OURS: 4.9}) is True
    assert line.reached("tmpfs", {OURS: 5.1, "nats": 99}) is False


def test_our_batches_are_compared_with_natss_atomic_ones() -> None:
    """All our batches are atomic, so there is one figure of ours for two lines."""
    line = next(line for line in LINES if "atomic" in line.title)
    values = {name: line.of(name, turns) for name, turns in _RESULTS.items()}
    assert values == {OURS: 400_000, "nats": 100_000}
    assert line.ratio(values) == 4


_RESULTS = {
    OURS: [
        {"b_256": {"ev_s": 400_000, "fsync_ms": 0.1}, "in_process": {"p50_ms": 0.2}, "rss_idle_mb": 68.0},
        {"b_256": {"ev_s": 300_000}, "rss_idle_mb": 60.0},
    ],
    "nats": [{"b_256": {"ev_s": 40_000, "fsync_ms": 0.2}, "b_atomic_256": {"ev_s": 100_000}, "rss_idle_mb": 16.0}],
}


def test_the_table_shows_what_was_measured() -> None:
    """The time of the disk's fsync, and a line for each kind of work that was measured, with figures, ratio and verdict."""
    head, batched, atomic, in_process, _, idle, end = table.rows("tmpfs", _RESULTS)
    assert "fsync p50 0.100 to 0.200 ms" in head
    assert batched.split()[-6:] == ["-", "-", "10.00×", "≥", "4×", "reached"]
    assert "400,000" in atomic
    assert in_process.split()[-4:] == ["0.200", "-", "-", "-"]
    assert idle.split()[-4:] == ["68.000", "16.000", "-", "-"]
    assert end.split()[-4:] == ["-"] * 4
