"""Domain values as messages of the contract."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.learning.v1 import card_pb2, mastery_pb2, overview_pb2, training_pb2

from services.learning import mastery
from services.learning.curve import Point, Review
from services.learning.forecast import Day
from services.learning.learner import Learner, PractisedSkill
from services.learning.mastery import Level
from services.learning.memory import rating_of, retrievability
from services.learning.store.cards import Card, Workload
from services.learning.store.providers import ProviderUse
from services.learning.streak import Streak
from services.learning.training import Round, Session


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A Timestamp of an aware time; None stays absent."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def session_message(session: Session) -> training_pb2.Session:
    """A session as callers see it."""
    return training_pb2.Session(
        session_id=session.id,
        user_id=session.user_id,
        focus_area=session.focus_area,
        domain=session.domain,
        state=training_pb2.SessionState.ValueType(session.state),
        round_count=session.round_count,
        rounds_completed=session.rounds_completed,
        mean_score=session.mean_score,
        start_time=timestamp(session.start),
        complete_time=timestamp(session.complete),
    )


def round_message(given: Round) -> training_pb2.Round:
    """A round as callers see it."""
    exercise = given.exercise
    return training_pb2.Round(
        round_id=given.id,
        session_id=given.session_id,
        number=given.number,
        state=training_pb2.RoundState.ValueType(given.state),
        card_id=exercise.id,
        domain=exercise.domain,
        skill=exercise.skill,
        prompt=exercise.prompt,
        rubric=exercise.rubric,
        difficulty=training_pb2.Difficulty.ValueType(exercise.difficulty),
        reason=training_pb2.RoundReason.ValueType(given.reason),
        expected_score=given.expected_score,
        score=given.score,
        comment=given.comment,
        open_time=timestamp(given.open),
        close_time=timestamp(given.close),
    )


def card_message(card: Card, now: datetime) -> card_pb2.Card:
    """A card as it stands at `now`."""
    memory = card.memory
    return card_pb2.Card(
        card_id=card.exercise.id,
        domain=card.exercise.domain,
        skill=card.exercise.skill,
        prompt=card.exercise.prompt,
        state=card_pb2.CardState.ValueType(memory.state),
        stability=memory.stability,
        difficulty=memory.difficulty,
        retrievability=retrievability(memory, now),
        due_time=timestamp(memory.due),
        last_review_time=timestamp(memory.last_review),
        reviews=memory.reviews,
        lapses=memory.lapses,
    )


def mastery_message(level: Level) -> mastery_pb2.Mastery:
    """A level with its uncertainty."""
    return mastery_pb2.Mastery(level=level.level, level_low=level.low, level_high=level.high, deviation=level.deviation)


def skill_message(practised: PractisedSkill, title: str, learner: Learner) -> mastery_pb2.SkillMastery:
    """The mastery of one skill."""
    return mastery_pb2.SkillMastery(
        domain=practised.domain,
        skill=practised.skill,
        title=title,
        mastery=mastery_message(mastery.level(learner.standing(practised.skill))),
        reviews=practised.reviews,
        last_review_time=timestamp(practised.updated),
    )


def workload_message(workload: Workload) -> overview_pb2.Workload:
    """What waits to be asked again."""
    return overview_pb2.Workload(
        due_now=workload.due_now,
        due_this_week=workload.due_soon,
        cards=workload.cards,
        next_due_time=timestamp(workload.next_due),
    )


def streak_message(streak: Streak) -> overview_pb2.Streak:
    """Days in a row."""
    return overview_pb2.Streak(current_days=streak.current_days, longest_days=streak.longest_days, active_today=streak.active_today)


def provider_message(use: ProviderUse) -> overview_pb2.ProviderUse:
    """Which provider served a domain, how often and how well."""
    return overview_pb2.ProviderUse(
        domain=use.domain,
        provider_id=use.provider_id,
        model=use.model,
        selections=use.selections,
        feedbacks=use.feedbacks,
        mean_score=use.score_sum / use.feedbacks if use.feedbacks else None,
        last_select_time=timestamp(use.last_select),
    )


def day_message(day: Day) -> card_pb2.WorkloadDay:
    """What one day is expected to bring."""
    return card_pb2.WorkloadDay(
        start=timestamp(day.start), date=day.date.isoformat(), due_cards=day.due, expected_reviews=day.expected
    )


def review_message(review: Review) -> card_pb2.CardReview:
    """One past review of a card."""
    return card_pb2.CardReview(
        time=timestamp(review.time),
        score=review.score,
        rating=card_pb2.Rating.ValueType(rating_of(review.score)),
        retrievability=review.retrievability,
        stability=review.after.stability,
    )


def point_message(point: Point) -> card_pb2.CurvePoint:
    """One point of a forgetting curve."""
    return card_pb2.CurvePoint(time=timestamp(point.time), retrievability=point.retrievability)
