"""A health score is bounded, says when it does not know, and its bands do not flap."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import health
from services.analytics.buckets import SECOND
from services.analytics.health import Aspect, Band, Condition, Health, Part, Policy, Transition

POLICY = Policy()
shares = st.floats(min_value=0, max_value=1)
counts = st.integers(min_value=0, max_value=10_000)
transitions = st.lists(
    st.builds(
        Transition,
        st.sampled_from(["a-0", "a-1"]),
        st.sampled_from(Condition),
        st.integers(min_value=-100, max_value=300).map(lambda s: s * SECOND),
    ),
    max_size=20,
)


def parts(*scores: float | None) -> tuple[Part, ...]:
    """Four parts with these scores."""
    return tuple(Part(aspect, score, POLICY.weight(aspect), 100, 1, "") for aspect, score in zip(Aspect, scores, strict=True))


@given(st.lists(st.none() | shares, min_size=4, max_size=4))
def test_a_score_is_bounded_and_needs_half_of_the_weight(scores: list[float | None]) -> None:
    """Between 0 and 1, never better than its best part, and absent when too little is known."""
    score = Health(parts(*scores)).score
    known = [one for one in scores if one is not None]
    weight = sum(POLICY.weight(aspect) for aspect, one in zip(Aspect, scores, strict=True) if one is not None)
    assert (score is None) == (weight < 0.5)
    if score is not None:
        assert 0 <= score <= 1
        assert min(known) - 1e-9 <= score <= max(known) + 1e-9


@given(counts, counts)
def test_too_few_outcomes_give_no_score(failed: int, succeeded: int) -> None:
    """AppMetrics#8: three successes are no 1.0."""
    part = health.errors(POLICY, failed, succeeded)
    assert (part.score is None) == (failed + succeeded < POLICY.samples_needed)
    if part.score is not None:
        assert part.score == pytest.approx(succeeded / (failed + succeeded))


def test_a_service_that_only_fails_scores_zero() -> None:
    """A geometric mean does not hide a dead part behind good ones."""
    assert Health(parts(1.0, 0.0, 1.0, 1.0)).score == 0


def test_a_service_that_is_down_scores_zero_whatever_is_known() -> None:
    """A fact needs no samples."""
    assert Health(parts(None, None, None, None), down=True).score == 0
    assert Health(parts(None, None, None, None)).score is None


@given(st.floats(min_value=0, max_value=1e9), st.integers(min_value=20, max_value=1000))
def test_latency_scores_fall_with_the_percentile(p95: float, samples: int) -> None:
    """1 up to the target, then target over percentile; slower is never better."""
    slower = health.latency(POLICY, p95 * 2, samples).score
    score = health.latency(POLICY, p95, samples).score
    assert score is not None
    assert slower is not None
    assert 0 < slower <= score <= 1
    assert (score == 1) == (p95 <= POLICY.latency_target)
    assert health.freshness(POLICY, None, 0).score is None


@given(transitions)
def test_availability_is_a_share_of_known_time(seen: list[Transition]) -> None:
    """Bounded, the same in any order of arrival, and known time is at most the span of each process."""
    distinct = list({(t.process, t.time_us): t for t in seen}.values())
    part, down = health.availability(POLICY, distinct, 0, 200 * SECOND)
    shuffled = random.Random(1).sample(distinct, len(distinct))
    assert health.availability(POLICY, shuffled, 0, 200 * SECOND) == (part, down)
    assert part.score is None or 0 <= part.score <= 1
    assert 0 <= part.samples <= 2 * 200


def test_availability_counts_up_time_and_not_time_stopped_on_purpose() -> None:
    """Up 60 of 80 known seconds; the 20 stopped ones are neither."""
    seen = [
        Transition("a-0", Condition.UP, -5 * SECOND),
        Transition("a-0", Condition.DOWN, 60 * SECOND),
        Transition("a-0", Condition.STOPPED, 80 * SECOND),
    ]
    part, down = health.availability(POLICY, seen, 0, 100 * SECOND)
    assert part.score == 0.75
    assert part.detail == "up 60 of 80 s known"
    assert not down


@pytest.mark.parametrize(
    ("last", "down"),
    [
        ((Condition.DOWN, Condition.DOWN), True),
        ((Condition.DOWN, Condition.UP), False),
        ((Condition.DOWN, Condition.STOPPED), True),
        ((Condition.STOPPED, Condition.STOPPED), False),
    ],
)
def test_a_service_is_down_when_no_replica_is_up_and_one_fell(last: tuple[Condition, Condition], down: bool) -> None:
    """One replica that serves is enough; stopping all on purpose is not being down."""
    seen = [Transition(f"a-{index}", condition, SECOND) for index, condition in enumerate(last)]
    assert health.availability(POLICY, seen, 0, 100 * SECOND)[1] is down


@given(shares, st.lists(st.floats(min_value=-0.0299, max_value=0.0299), min_size=2, max_size=50))
def test_noise_within_the_margin_changes_the_band_at_most_once(centre: float, noise: list[float]) -> None:
    """Hysteresis: a score that trembles around a threshold settles after its first band."""
    band, changes = health.band_of(POLICY, centre), 0
    for tremble in noise:
        after = health.next_band(POLICY, band, min(1.0, max(0.001, centre + tremble)))
        changes += after is not band
        band = after
    assert changes <= 1


@given(st.lists(st.none() | shares, max_size=50))
def test_a_band_follows_the_score_but_for_the_margin(scores: list[float | None]) -> None:
    """However it came, the band is never further from the score's own than the margin allows."""
    band = Band.NOT_ENOUGH_DATA
    for score in scores:
        band = health.next_band(POLICY, band, score)
        if score is not None:
            lowest = health.band_of(POLICY, max(0.0, score - POLICY.margin))
            assert lowest <= band <= health.band_of(POLICY, score + POLICY.margin)


def test_a_band_moves_only_past_the_margin() -> None:
    """The thresholds are 0.6 and 0.9, the margin 0.03."""
    steps = [(0.91, Band.HEALTHY), (0.88, Band.HEALTHY), (0.86, Band.DEGRADED), (0.92, Band.DEGRADED), (0.94, Band.HEALTHY)]
    band = Band.NOT_ENOUGH_DATA
    for score, expected in steps:
        band = health.next_band(POLICY, band, score)
        assert band is expected
    assert health.next_band(POLICY, band, None) is band
    assert health.next_band(POLICY, band, 0.0) is Band.UNHEALTHY


def test_full_health_can_be_reached_though_the_margin_passes_one() -> None:
    """A strict threshold must not lock the band below it for ever."""
    strict = replace(POLICY, healthy_from=0.99)
    assert health.next_band(strict, Band.DEGRADED, 1.0) is Band.HEALTHY


@pytest.mark.parametrize(
    "wrong", [{"healthy_from": 0.5}, {"margin": 0.7}, {"weights": (0.0, 1.0, 1.0, 1.0)}, {"delay_target": 0.0}]
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    """Bad settings end the boot instead of giving odd scores."""
    with pytest.raises(ValueError, match="health needs"):
        replace(POLICY, **wrong)  # type: ignore[arg-type]  # the cases are wrong values of several fields


def test_outcomes_are_told_by_the_last_word() -> None:
    """provider.query.failed is a failure, provider.query.started no outcome."""
    words = (["failed"], ["completed"])
    assert health.outcome_of("provider.query.failed", *words) is False
    assert health.outcome_of("dag.node.completed", *words) is True
    assert health.outcome_of("provider.query.started", *words) is None
