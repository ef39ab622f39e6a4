"""Reviews from elsewhere: each is taken at its own time, as if it had been a round of a session here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tooloo.learning.v1 import card_pb2
from tooloo.learning.v1.learning_service_pb2 import (
    ImportReviewsRequest,
    ImportReviewsResponse,
    ListReviewsRequest,
    ListReviewsResponse,
)

from mesh import errors, page
from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.learning import events, mastery
from services.learning.curriculum import Curriculum, Exercise
from services.learning.flows import learners
from services.learning.flows.coach import Coach
from services.learning.flows.cursors import number_in, text_in
from services.learning.mastery import Level
from services.learning.store import cards, rounds, sessions, standings
from services.learning.training import Reason, Round, RoundState, Session, SessionState
from services.learning.wire import session_message, timestamp


@dataclass(frozen=True)
class Past:
    """One review to take over."""

    exercise: Exercise
    time: datetime
    score: float


@dataclass
class Taken:
    """What has been taken over so far: a session for each domain, and how each skill was moved."""

    sessions: dict[str, Session] = field(default_factory=dict)
    moves: dict[tuple[str, str], tuple[Round, Level, Level]] = field(default_factory=dict)


class Importer:
    """Takes review logs over, and gives them out."""

    def __init__(self, host: Host, curriculum: Curriculum, coach: Coach) -> None:
        self._host = host
        self._curriculum = curriculum
        self._coach = coach

    async def take(self, tx: Transaction, request: ImportReviewsRequest) -> ImportReviewsResponse:
        """Appends reviews to the learner's log and moves everything that follows from it."""
        log = self._log_of(request.reviews)
        student = await standings.find_student(tx, request.user_id)
        if student is not None and log[0].time < student.updated:
            what = f"the newest round here is of {student.updated.isoformat()}; import what comes after it, or under another user"
            raise errors.failed_precondition(f"users/{request.user_id}", what)
        taken = Taken(self._sessions_of(request.user_id, log))
        for session in taken.sessions.values():
            await sessions.insert_session(tx, session)
        for past in log:
            await self._take_one(tx, taken, past)
        for (domain, _), (closed, before, after) in taken.moves.items():
            await self._host.tell(tx, events.mastery_changed(taken.sessions[domain], closed, before, after))
        for session in taken.sessions.values():
            await sessions.update_session(tx, session)
        different = len({past.exercise.id for past in log})
        return ImportReviewsResponse(reviews=len(log), cards=different, sessions=map(session_message, taken.sessions.values()))

    def _log_of(self, reviews: Sequence[card_pb2.Review]) -> list[Past]:
        now, log = self._host.clock.now(), list[Past]()
        for index, review in enumerate(reviews):
            time = review.time.ToDatetime(tzinfo=UTC)
            if time > now:
                raise errors.invalid(f"reviews[{index}].time", "it is in the future")
            if log and time < log[-1].time:
                raise errors.invalid(f"reviews[{index}].time", "reviews must be in order of time")
            log.append(Past(self._exercise(review.card_id, index), time, review.score))
        return log

    def _exercise(self, card_id: str, index: int) -> Exercise:
        found = self._curriculum.exercise(card_id)
        if found is None:
            raise errors.invalid(f"reviews[{index}].card_id", f"the curriculum has no card {card_id!r}")
        return found

    def _sessions_of(self, user_id: str, log: Sequence[Past]) -> dict[str, Session]:
        found: dict[str, Session] = {}
        for past in log:
            domain = past.exercise.domain
            before = found.get(domain) or Session(
                self._host.ids(), user_id, domain, domain, SessionState.COMPLETED, 0, 0, 0.0, past.time, None
            )
            found[domain] = replace(before, round_count=before.round_count + 1, complete=past.time)
        return found

    async def _take_one(self, tx: Transaction, taken: Taken, past: Past) -> None:
        exercise = past.exercise
        session = taken.sessions[exercise.domain]
        learner, _ = await learners.load(tx, session.user_id, exercise.domain, past.time)
        expected = mastery.expected_score(learner.standing(exercise.skill), exercise.difficulty)
        held = await cards.find_card(tx, session.user_id, exercise.id)
        reason = Reason.WEAKEST_SKILL if held is None else Reason.DUE if held.memory.due <= past.time else Reason.REFRESH
        number = session.rounds_completed + 1
        opened = Round(self._host.ids(), session.id, number, RoundState.OPEN, exercise, reason, expected, None, "", past.time, None)
        closed = replace(opened, state=RoundState.CLOSED, score=past.score, close=past.time)
        await rounds.insert_round(tx, session.user_id, opened)
        await rounds.close_round(tx, closed)
        await self._coach.review(tx, session, closed, past.time)
        before, after = await self._coach.move_mastery(tx, session, closed, past.time)
        first = taken.moves.get((exercise.domain, exercise.skill))
        taken.moves[exercise.domain, exercise.skill] = (closed, first[1] if first else before, after)
        taken.sessions[exercise.domain] = replace(session, rounds_completed=number, score_sum=session.score_sum + past.score)

    async def log(self, tx: Transaction, request: ListReviewsRequest) -> ListReviewsResponse:
        """A page of a learner's log."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        cursor = page.decode_token(request.page_token, query)
        after = number_in(cursor, "close", -1), text_in(cursor, "round")
        found = await rounds.log_page(tx, request.user_id, after, size + 1)
        reviews = [card_pb2.Review(card_id=card_id, time=timestamp(time), score=score) for _, card_id, time, score in found[:size]]
        token = ""
        if len(found) > size:
            round_id, _, time, _ = found[size - 1]
            token = page.encode_token({"close": to_us(time), "round": round_id}, query)
        return ListReviewsResponse(reviews=reviews, next_page_token=token)
