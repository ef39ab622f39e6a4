"""Sessions and rounds: which state allows what."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

from services.learning.curriculum import Exercise


class SessionState(IntEnum):
    """How a session stands; numbers as in the contract."""

    OPEN = 1
    COMPLETED = 2


class RoundState(IntEnum):
    """How a round stands; numbers as in the contract."""

    OPEN = 1
    CLOSED = 2


class Reason(IntEnum):
    """Why an exercise was taken for a round; numbers as in the contract."""

    DUE = 1
    WEAKEST_SKILL = 2
    REFRESH = 3


class WrongStateError(ValueError):
    """The state of a session or round does not allow what was asked; the message says what does."""


@dataclass(frozen=True)
class Session:
    """So many rounds of one user in one focus area; `complete` is None while it is open."""

    id: str
    user_id: str
    focus_area: str
    domain: str
    state: SessionState
    round_count: int
    rounds_completed: int
    score_sum: float
    start: datetime
    complete: datetime | None

    @property
    def mean_score(self) -> float:
        """Mean of the scores so far, 0..1; 0 before the first."""
        return self.score_sum / self.rounds_completed if self.rounds_completed else 0.0


@dataclass(frozen=True)
class Round:
    """One exercise put to the learner; `score` and `close` are None while it is open."""

    id: str
    session_id: str
    number: int
    state: RoundState
    exercise: Exercise
    reason: Reason
    expected_score: float
    score: float | None
    comment: str
    open: datetime
    close: datetime | None

    @property
    def given_score(self) -> float:
        """The score of a closed round; WrongStateError while it is open."""
        if self.score is None:
            raise WrongStateError("the round has no score yet; give feedback first")
        return self.score


def close_round(session: Session, current: Round, score: float, comment: str, now: datetime) -> tuple[Session, Round]:
    """Closes the session's open round, and the session with its last one; WrongStateError when either is closed already."""
    if session.state is SessionState.COMPLETED:
        raise WrongStateError("the session is completed; start another one")
    if current.state is RoundState.CLOSED:
        raise WrongStateError("the round is closed; give feedback to the session's open round")
    done = session.rounds_completed + 1
    completed = done >= session.round_count
    closed = replace(current, state=RoundState.CLOSED, score=score, comment=comment, close=now)
    moved = replace(
        session,
        rounds_completed=done,
        score_sum=session.score_sum + score,
        state=SessionState.COMPLETED if completed else SessionState.OPEN,
        complete=now if completed else None,
    )
    return moved, closed
