"""Cooldowns: which failure lets what rest, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import cooldown
from services.provider.cooldown import MEANINGS, Cooldown, Lengths, Rests
from services.provider.failure import Failure, FailureKind

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LENGTHS = Lengths()
limited = st.builds(Failure, st.just(FailureKind.RATE_LIMITED), retry_after=st.none() | st.timedeltas(-timedelta(1), timedelta(9)))


def test_every_class_of_failure_has_a_meaning() -> None:
    """A new class cannot be forgotten."""
    assert set(MEANINGS) == set(FailureKind)


@pytest.mark.parametrize(
    "kind",
    [FailureKind.BAD_REQUEST, FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY, FailureKind.CANCELLED, FailureKind.LOST],
)
def test_what_is_not_the_models_doing_counts_against_nothing(kind: FailureKind) -> None:
    """No breaker counts it and nothing rests."""
    assert MEANINGS[kind].neutral


@pytest.mark.parametrize(
    ("kind", "rests"),
    [
        (FailureKind.RATE_LIMITED, Rests.KEY_AT_MODEL),
        (FailureKind.QUOTA_EXHAUSTED, Rests.KEY),
        (FailureKind.UNAUTHENTICATED, Rests.KEY),
        (FailureKind.NOT_FOUND, Rests.MODEL),
    ],
)
def test_what_rests_is_what_the_failure_is_about(kind: FailureKind, rests: Rests) -> None:
    """A limit is the key's at a model, a refusal the key's everywhere, an unknown model the model's; no breaker counts them."""
    assert (MEANINGS[kind].rests, MEANINGS[kind].of_model) == (rests, False)


@given(st.timedeltas(-timedelta(days=1), timedelta(days=9)), st.integers(1, 50))
def test_retry_after_is_honoured_up_to_the_setting(asked: timedelta, times: int) -> None:
    """Exactly as long as the provider asks, never longer than the operator allows, never negative."""
    length = LENGTHS.length(Failure(FailureKind.RATE_LIMITED, retry_after=asked), times)
    assert length == min(max(asked, timedelta()), LENGTHS.longest_asked)


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if MEANINGS[kind].rests])
def test_without_it_each_time_in_a_row_rests_longer_up_to_a_limit(kind: FailureKind) -> None:
    """Doubled each time."""
    lengths = [LENGTHS.length(Failure(kind), times) for times in range(1, 200)]
    assert lengths[0] == LENGTHS.first(kind)
    assert lengths[1] == 2 * lengths[0]
    assert lengths == sorted(lengths)
    assert lengths[-1] == LENGTHS.longest


@given(st.lists(st.tuples(st.timedeltas(timedelta(), timedelta(minutes=3)), limited), min_size=1, max_size=20))
def test_a_rest_is_never_cut_short_and_late_news_do_not_lengthen_the_next(steps: list[tuple[timedelta, Failure]]) -> None:
    """Its end only moves on while it lasts; failures of calls that began before count as one time."""
    now, rest = NOW, None
    for pause, failure in steps:
        now += pause
        before: Cooldown | None = rest
        rest = cooldown.after_failure(before, failure, LENGTHS, now)
        assert rest.until >= now
        if before is not None and before.until > now:
            assert rest.until >= before.until
            assert (rest.times, rest.since) == (before.times, before.since)
        elif before is not None:
            assert (rest.times, rest.since) == (before.times + 1, now)


def test_a_rest_of_a_clock_that_was_ahead_is_over() -> None:
    """It does not last until the clock has caught up, and a failure after it begins a rest of the usual length."""
    failure = Failure(FailureKind.RATE_LIMITED)
    ahead = cooldown.after_failure(None, failure, LENGTHS, NOW + timedelta(days=1))
    assert ahead.lasts(NOW + timedelta(days=1))
    assert not ahead.lasts(NOW)
    again = cooldown.after_failure(ahead, failure, LENGTHS, NOW)
    assert (again.since, again.lasts(NOW), again.until < NOW + timedelta(hours=1)) == (NOW, True, True)
