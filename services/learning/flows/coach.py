"""The two writes of training, each one transaction: start a session, take a coach's feedback."""

from datetime import datetime

from tooloo.learning.v1 import card_pb2
from tooloo.learning.v1.learning_service_pb2 import (
    GiveCoachFeedbackRequest,
    GiveCoachFeedbackResponse,
    StartTrainingRequest,
    StartTrainingResponse,
)

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.learning import events, mastery, selection
from services.learning.curriculum import Curriculum
from services.learning.flows import learners
from services.learning.learner import PractisedSkill, Student
from services.learning.mastery import Level
from services.learning.memory import MemoryModel, rating_of
from services.learning.settings import LearningSettings
from services.learning.store import cards, providers, rounds, sessions, standings
from services.learning.store.cards import Card
from services.learning.training import Round, RoundState, Session, SessionState, WrongStateError, close_round
from services.learning.wire import card_message, mastery_message, round_message, session_message


class Coach:
    """Opens rounds, takes their scores, and moves memory and mastery."""

    def __init__(self, host: Host, settings: LearningSettings, curriculum: Curriculum) -> None:
        self._host = host
        self._settings = settings
        self._curriculum = curriculum
        self._memory = MemoryModel(settings.desired_retention)

    async def start(self, tx: Transaction, request: StartTrainingRequest) -> StartTrainingResponse:
        """Opens a session and its first round; RESOURCE_EXHAUSTED when too many are open."""
        await self._refuse_too_many(tx, request.user_id)
        session = self._new_session(request)
        await sessions.insert_session(tx, session)
        first = await self._open_round(tx, session)
        await self._host.tell(tx, events.training_started(session))
        message = session_message(session)
        return StartTrainingResponse(
            session_id=session.id, round_id=first.id, state=message.state, round=round_message(first), session=message
        )

    def _new_session(self, request: StartTrainingRequest) -> Session:
        domain = self._curriculum.resolve(request.focus_area).id
        count = request.round_count or self._settings.default_rounds
        now = self._host.clock.now()
        return Session(self._host.ids(), request.user_id, request.focus_area, domain, SessionState.OPEN, count, 0, 0.0, now, None)

    async def _refuse_too_many(self, tx: Transaction, user_id: str) -> None:
        limit = self._settings.max_open_sessions
        counts = await sessions.count_sessions(tx, user_id)
        if counts.get(SessionState.OPEN, 0) >= limit:
            name = LearningSettings.env_name("max_open_sessions")
            raise errors.exhausted(name, f"{limit} sessions are open already; finish one, the overview lists them")

    async def _open_round(self, tx: Transaction, session: Session) -> Round:
        now = self._host.clock.now()
        learner, _ = await learners.load(tx, session.user_id, session.domain, now)
        names = self._curriculum.names_of(session.domain)
        held = [card for name in names for card in await cards.cards_of_domain(tx, session.user_id, name)]
        past = [done.exercise.id for done in await rounds.rounds_of_session(tx, session.id)]
        domain = self._curriculum.domain(session.domain, session.focus_area)
        pool = selection.candidates(domain, {card.exercise: card.memory for card in held}, past)
        exercise, reason = selection.pick(pool, learner.standing, now)
        if exercise.domain != session.domain:
            learner, _ = await learners.load(tx, session.user_id, exercise.domain, now)
        expected = mastery.expected_score(learner.standing(exercise.skill), exercise.difficulty)
        number = session.rounds_completed + 1
        opened = Round(self._host.ids(), session.id, number, RoundState.OPEN, exercise, reason, expected, None, "", now, None)
        await rounds.insert_round(tx, session.user_id, opened)
        return opened

    async def feedback(self, tx: Transaction, request: GiveCoachFeedbackRequest) -> GiveCoachFeedbackResponse:
        """Closes the open round; opens the next one or completes the session."""
        now = self._host.clock.now()
        session, closed = await self._close(tx, request, now)
        card = await self.review(tx, session, closed, now)
        before, after = await self.move_mastery(tx, session, closed, now)
        provider = await self._credit_provider(tx, session, closed, now)
        rating = rating_of(request.score)
        _, *aliases = self._curriculum.names_of(closed.exercise.domain)
        await self._host.tell(tx, events.feedback_given(session, closed, rating, provider, aliases))
        await self._host.tell(tx, events.mastery_changed(session, closed, before, after))
        following = await self._follow(tx, session)
        message = session_message(session)
        return GiveCoachFeedbackResponse(
            session_id=session.id,
            state=message.state,
            completed=session.state is SessionState.COMPLETED,
            next_round_id=following.id if following else "",
            next_round=round_message(following) if following else None,
            closed_round=round_message(closed),
            rating=card_pb2.Rating.ValueType(rating),
            card=card_message(card, now),
            mastery_before=mastery_message(before),
            mastery=mastery_message(after),
            session=message,
        )

    async def _close(self, tx: Transaction, request: GiveCoachFeedbackRequest, now: datetime) -> tuple[Session, Round]:
        session = await sessions.find_session(tx, request.user_id, request.session_id)
        if session is None:
            raise errors.not_found("session", request.session_id)
        current = await rounds.find_round(tx, session.id, request.round_id)
        if current is None:
            raise errors.not_found("round", request.round_id)
        try:
            moved, closed = close_round(session, current, request.score, request.comment, now)
        except WrongStateError as error:
            raise errors.failed_precondition(f"sessions/{session.id}/rounds/{current.id}", str(error)) from error
        await rounds.close_round(tx, closed)
        await sessions.update_session(tx, moved)
        return moved, closed

    async def review(self, tx: Transaction, session: Session, closed: Round, now: datetime) -> Card:
        """Moves the memory of the card by a closed round."""
        held = await cards.find_card(tx, session.user_id, closed.exercise.id)
        memory = self._memory.review(held.memory if held else None, closed.given_score, now)
        card = Card(closed.exercise, memory)
        await cards.put_card(tx, session.user_id, card)
        return card

    async def move_mastery(self, tx: Transaction, session: Session, closed: Round, now: datetime) -> tuple[Level, Level]:
        """Moves the mastery of the skill by a closed round; gives the level before and after."""
        domain, skill = closed.exercise.domain, closed.exercise.skill
        learner, practised = await learners.load(tx, session.user_id, domain, now)
        before = learner.standing(skill)
        after = mastery.observe(before, closed.exercise.difficulty, closed.given_score)
        reviews = practised[skill].reviews + 1 if skill in practised else 1
        await standings.put_student(tx, session.user_id, Student(after.student, now))
        await standings.put_practised(tx, session.user_id, PractisedSkill(domain, skill, after.skill, reviews, now))
        await standings.put_difficulty(tx, domain, skill, after.difficulty)
        return mastery.level(before), mastery.level(after)

    async def _credit_provider(self, tx: Transaction, session: Session, closed: Round, now: datetime) -> tuple[str, str] | None:
        """Counts the score to the provider last selected for the domain; gives its (id, model)."""
        since = now - self._settings.provider_credit
        latest = await providers.latest(tx, session.user_id, session.domain, since, now)
        if latest:
            await providers.add_feedback(tx, session.user_id, session.domain, *latest, closed.given_score)
        return latest

    async def _follow(self, tx: Transaction, session: Session) -> Round | None:
        if session.state is SessionState.COMPLETED:
            await self._host.tell(tx, events.training_completed(session))
            return None
        return await self._open_round(tx, session)
