"""What the learning service tells, and what it does with what it hears."""

from collections.abc import Sequence
from datetime import UTC

from fsrs import Rating
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import card_pb2, learning_events_pb2
from tooloo.provider.v1.provider_events_pb2 import ProviderQueryCompleted, ProviderSelected

from mesh.clock import Clock
from mesh.db import Transaction
from mesh.inbox import Handler
from mesh.outbox import Fact
from services.learning.curriculum import GENERIC, Curriculum
from services.learning.mastery import Level
from services.learning.store import providers
from services.learning.training import Round, Session
from services.learning.wire import mastery_message, timestamp


def _session_subject(session: Session) -> str:
    return f"users/{session.user_id}/sessions/{session.id}"


def _attributes(session: Session) -> dict[str, str]:
    return {"user": session.user_id, "domain": session.domain}


def _round_attributes(session: Session, closed: Round) -> dict[str, str]:
    return {"user": session.user_id, "domain": closed.exercise.domain}


def training_started(session: Session) -> Fact:
    """A session was opened."""
    message = learning_events_pb2.TrainingStarted(
        user_id=session.user_id,
        session_id=session.id,
        focus_area=session.focus_area,
        domain=session.domain,
        round_count=session.round_count,
    )
    return Fact(message, _session_subject(session), _attributes(session))


def training_completed(session: Session) -> Fact:
    """A session had its last round."""
    message = learning_events_pb2.TrainingCompleted(
        user_id=session.user_id,
        session_id=session.id,
        focus_area=session.focus_area,
        domain=session.domain,
        round_count=session.round_count,
        mean_score=session.mean_score,
        start_time=timestamp(session.start),
        complete_time=timestamp(session.complete),
    )
    return Fact(message, _session_subject(session), _attributes(session))


def feedback_given(
    session: Session, closed: Round, rating: Rating, provider: tuple[str, str] | None, aliases: Sequence[str] = ()
) -> Fact:
    """A round was scored; `provider` is the (id, model) that the score is counted to, `aliases` other names of its domain."""
    provider_id, model = provider or ("", "")
    message = learning_events_pb2.CoachFeedbackGiven(
        user_id=session.user_id,
        session_id=session.id,
        round_id=closed.id,
        domain=closed.exercise.domain,
        skill=closed.exercise.skill,
        card_id=closed.exercise.id,
        score=closed.given_score,
        expected_score=closed.expected_score,
        rating=card_pb2.Rating.ValueType(rating),
        provider_id=provider_id,
        model=model,
        domain_aliases=aliases,
    )
    return Fact(message, _session_subject(session), _round_attributes(session, closed))


def mastery_changed(session: Session, closed: Round, before: Level, after: Level) -> Fact:
    """A round moved the mastery of its skill."""
    domain, skill = closed.exercise.domain, closed.exercise.skill
    message = learning_events_pb2.MasteryChanged(
        user_id=session.user_id,
        domain=domain,
        skill=skill,
        before=mastery_message(before),
        after=mastery_message(after),
        session_id=session.id,
        round_id=closed.id,
    )
    return Fact(message, f"users/{session.user_id}/mastery/{domain}/{skill}", _round_attributes(session, closed))


def handlers(curriculum: Curriculum, clock: Clock) -> dict[str, Handler]:
    """What it listens for."""

    async def provider_selected(tx: Transaction, event: Event, data: Message) -> None:
        if not isinstance(data, ProviderSelected):
            raise TypeError(f"provider.selected carries {data.DESCRIPTOR.full_name}")
        domain = curriculum.resolve(data.focus_area or GENERIC).id
        moment = event.time.ToDatetime(UTC)
        await providers.add_selection(tx, data.user_id, domain, data.provider_id, data.model, moment, clock.now())

    async def query_completed(tx: Transaction, event: Event, data: Message) -> None:
        """The model that was selected may have failed, and another one answered: scores are counted to that one."""
        if not isinstance(data, ProviderQueryCompleted):
            raise TypeError(f"provider.query.completed carries {data.DESCRIPTOR.full_name}")
        domain = curriculum.resolve(data.focus_area or GENERIC).id
        moment = event.time.ToDatetime(UTC)
        await providers.add_selection(tx, data.user_id, domain, data.provider_id, data.model, moment, clock.now(), count=0)

    return {"provider.selected": provider_selected, "provider.query.completed": query_completed}
