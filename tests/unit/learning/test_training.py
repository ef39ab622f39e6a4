"""Sessions and rounds: which state allows what."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learning.curriculum import Difficulty, Exercise
from services.learning.training import Reason, Round, RoundState, Session, SessionState, WrongStateError, close_round

NOW = datetime(2026, 11, 22, tzinfo=UTC)
EXERCISE = Exercise("d.s.e", "d", "s", "prompt", "rubric", Difficulty.MEDIUM)


def session(rounds: int) -> Session:
    """A new session."""
    return Session("session", "ada", "D", "d", SessionState.OPEN, rounds, 0, 0.0, NOW, None)


def opened(number: int) -> Round:
    """An open round."""
    return Round(str(number), "session", number, RoundState.OPEN, EXERCISE, Reason.DUE, 0.5, None, "", NOW, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_session_ends_with_its_last_round(scores: list[float]) -> None:
    """It is open until as many rounds are closed as it has, and its mean is that of the scores."""
    current = session(len(scores))
    for number, score in enumerate(scores, start=1):
        assert current.state is SessionState.OPEN
        current, closed = close_round(current, opened(number), score, "fine", NOW + timedelta(minutes=number))
        assert (closed.state, closed.given_score, closed.comment) == (RoundState.CLOSED, score, "fine")
    assert current.state is SessionState.COMPLETED
    assert current.complete == NOW + timedelta(minutes=len(scores))
    assert current.mean_score == pytest.approx(sum(scores) / len(scores))


def test_a_closed_round_takes_no_score() -> None:
    """The first score stands."""
    after, closed = close_round(session(2), opened(1), 0.5, "", NOW)
    with pytest.raises(WrongStateError, match="round is closed"):
        close_round(after, closed, 0.9, "", NOW)


def test_a_completed_session_takes_no_score() -> None:
    """Nothing follows the last round."""
    after, _ = close_round(session(1), opened(1), 0.5, "", NOW)
    with pytest.raises(WrongStateError, match="session is completed"):
        close_round(after, opened(2), 0.9, "", NOW)


def test_an_open_round_has_no_score() -> None:
    """Asking for it is a mistake, not zero."""
    with pytest.raises(WrongStateError):
        _ = opened(1).given_score
    assert session(1).mean_score == 0.0
