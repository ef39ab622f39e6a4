"""Memory: the forgetting curve falls, reviews move it as FSRS-6 says, and the same log gives the same card."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from fsrs import Rating, State
from hypothesis import assume, given
from hypothesis import strategies as st

from services.learning.memory import Memory, MemoryModel, rating_of, retrievability

START = datetime(2026, 11, 22, tzinfo=UTC)
MODEL = MemoryModel(0.9)
logs = st.lists(st.tuples(st.floats(0, 1), st.timedeltas(timedelta(0), timedelta(days=400))), min_size=1, max_size=30)


def replayed(log: list[tuple[float, timedelta]]) -> Memory:
    """The memory after reviews, each so long after the one before."""
    memory, now = None, START
    for score, wait in log:
        now += wait
        memory = MODEL.review(memory, score, now)
    assert memory is not None
    return memory


@pytest.mark.parametrize(
    ("score", "rating"),
    [
        (0.0, Rating.Again),
        (0.499, Rating.Again),
        (0.5, Rating.Hard),
        (0.699, Rating.Hard),
        (0.7, Rating.Good),
        (0.949, Rating.Good),
        (0.95, Rating.Easy),
        (1.0, Rating.Easy),
    ],
)
def test_scores_are_read_as_ratings(score: float, rating: Rating) -> None:
    """The borders that the contract names."""
    assert rating_of(score) is rating


@given(logs, st.floats(0, 3000), st.floats(0, 3000))
def test_retrievability_falls_with_time(log: list[tuple[float, timedelta]], one: float, other: float) -> None:
    """The later, the less likely it is recalled; it begins at 1 and never leaves (0, 1]."""
    memory = replayed(log)
    early, late = sorted((one, other))
    at = [retrievability(memory, memory.last_review + timedelta(days=days)) for days in (0, early, late)]
    assert at[0] == 1.0
    assert 1.0 >= at[1] >= at[2] > 0.0


@given(logs)
def test_retrievability_strictly_falls_over_days(log: list[tuple[float, timedelta]]) -> None:
    """A day makes a difference, for any card."""
    memory = replayed(log)
    days = [retrievability(memory, memory.last_review + timedelta(days=day)) for day in range(5)]
    assert all(before > after for before, after in pairwise(days))


@given(logs)
def test_stability_is_where_recall_is_nine_tenths(log: list[tuple[float, timedelta]]) -> None:
    """What `stability` means: after so many days recall has fallen to 0.9."""
    memory = replayed(log)
    assume(memory.stability < 300_000)  # dates end in the year 9999
    at = memory.last_review + timedelta(days=memory.stability)
    assert retrievability(memory, at) == pytest.approx(0.9, abs=1e-6)


@given(logs)
def test_the_same_log_gives_the_same_card(log: list[tuple[float, timedelta]]) -> None:
    """No randomness: a replay gives the same state to the last bit."""
    assert replayed(log) == replayed(log)


@given(logs)
def test_a_card_stays_sane(log: list[tuple[float, timedelta]]) -> None:
    """It is due after its review, its numbers keep FSRS's bounds, and it counts its reviews and lapses."""
    memory = replayed(log)
    assert memory.due > memory.last_review
    assert memory.stability > 0
    assert 1 <= memory.difficulty <= 10
    assert memory.reviews == len(log)
    assert 0 <= memory.lapses < len(log)


@given(logs, st.floats(0, 1), st.floats(0, 1), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_a_better_score_never_remembers_less(log: list[tuple[float, timedelta]], one: float, other: float, wait: timedelta) -> None:
    """Stability after a review is monotone in its score."""
    low, high = sorted((one, other))
    assert replayed([*log, (low, wait)]).stability <= replayed([*log, (high, wait)]).stability


def test_only_what_was_known_can_lapse() -> None:
    """Failing in the first steps is no lapse, failing a known card is."""
    new = MODEL.review(None, 0.0, START)
    assert (new.state, new.lapses) == (State.Learning, 0)
    assert MODEL.review(new, 0.0, new.due).lapses == 0
    known = MODEL.review(None, 1.0, START)
    assert known.state is State.Review
    forgotten = MODEL.review(known, 0.0, known.due)
    assert (forgotten.state, forgotten.lapses) == (State.Relearning, 1)


def test_higher_retention_comes_due_earlier() -> None:
    """The setting shortens intervals as it rises."""
    strict, lax = MemoryModel(0.95), MemoryModel(0.8)
    assert strict.review(None, 1.0, START).due < lax.review(None, 1.0, START).due


def test_known_answers_of_fsrs_6() -> None:
    """First states by FSRS-6's default parameters: stability w0..w3, difficulty w4 - e^(w5 (rating - 1)) + 1."""
    first = [MODEL.review(None, score, START) for score in (0.0, 0.6, 0.8, 1.0)]
    assert [memory.stability for memory in first] == pytest.approx([0.212, 1.2931, 2.3065, 8.2956])
    assert [memory.difficulty for memory in first] == pytest.approx([6.4133, 5.1122, 2.1181, 1.0], abs=1e-4)
