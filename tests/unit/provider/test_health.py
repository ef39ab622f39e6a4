"""Health and quality: averages that follow what was seen, states that follow failures and keys."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import health, quality
from services.provider.health import ModelHealth, ProviderHealth, State
from services.provider.quality import Feedback


@given(st.lists(st.booleans(), max_size=50), st.floats(0.001, 1))
def test_uptime_stays_a_share_and_follows_outcomes(outcomes: list[bool], weight: float) -> None:
    """It stays within 0..1, grows or stays with a success and falls or stays with a failure."""
    seen = ModelHealth()
    for success in outcomes:
        after = health.after_outcome(seen, success=success, output_tokens=0, latency=timedelta(), weight=weight)
        assert 0 <= after.uptime <= 1
        assert (after.uptime >= seen.uptime) if success else (after.uptime <= seen.uptime)
        seen = after
    assert seen.outcomes == len(outcomes)


def test_speed_is_learnt_from_successes_that_told_their_latency() -> None:
    """The first one counts fully, later ones by their weight; failures and calls without a latency say nothing about speed."""
    seen = ModelHealth()
    for success, latency in ((False, 1), (True, 0)):
        seen = health.after_outcome(seen, success=success, output_tokens=10, latency=timedelta(seconds=latency), weight=0.5)
    assert seen.tokens_per_second is None
    seen = health.after_outcome(seen, success=True, output_tokens=100, latency=timedelta(seconds=2), weight=0.5)
    assert seen.tokens_per_second == 50
    seen = health.after_outcome(seen, success=True, output_tokens=100, latency=timedelta(seconds=1), weight=0.5)
    assert seen.tokens_per_second == 75


@pytest.mark.parametrize(
    ("failures", "reachable", "local", "has_key", "state"),
    [
        (0, False, False, True, State.AVAILABLE),
        (0, False, False, False, State.NOT_CONFIGURED),
        (2, False, False, True, State.AVAILABLE),
        (3, False, False, True, State.DEGRADED),
        (3, False, False, False, State.DEGRADED),
        (0, False, True, False, State.UNAVAILABLE),
        (0, True, True, False, State.AVAILABLE),
        (9, False, True, False, State.UNAVAILABLE),
    ],
)
def test_states(failures: int, reachable: bool, local: bool, has_key: bool, state: State) -> None:
    """Unreachable before failing before keyless before available."""
    assert health.judge(ProviderHealth(failures, reachable), local=local, has_key=has_key, degraded_after=3) is state


def test_a_success_ends_a_row_of_failures() -> None:
    """Only failures in a row count."""
    seen = ProviderHealth()
    for success in (False, False, True, False):
        seen = health.after_call(seen, success=success)
    assert seen.failures_in_row == 1


@given(st.floats(0, 1), st.floats(0.01, 100), st.lists(st.floats(0, 1), max_size=30))
def test_expected_quality_lies_between_prior_and_scores(prior: float, weight: float, scores: list[float]) -> None:
    """Without scores it is the prior; with many it nears their mean and never leaves what both span."""
    feedback = Feedback()
    for score in scores:
        feedback = feedback.plus(score)
    found = quality.expected(prior, weight, feedback)
    assert min([prior, *scores]) - 1e-9 <= found <= max([prior, *scores]) + 1e-9
    if not scores:
        assert found == pytest.approx(prior)


def test_domains_do_not_depend_on_case_or_blanks() -> None:
    """The learning service and a caller may write the same domain differently."""
    assert quality.domain_of(" Python ") == quality.domain_of("python")
    assert quality.domain_of("Knot  theory") == quality.domain_of("knot-theory") == "knot-theory"
