"""The learner as the store knows it, aged to a moment."""

from datetime import datetime

from mesh.db import Transaction
from services.learning.learner import Learner, PractisedSkill, learner_at
from services.learning.store import standings


async def load(tx: Transaction, user_id: str, domain: str, now: datetime) -> tuple[Learner, dict[str, PractisedSkill]]:
    """The learner in a domain at `now`, and the skills practised there as they were last moved."""
    student = await standings.find_student(tx, user_id)
    practised = await standings.practised_in(tx, user_id, domain)
    difficulties = await standings.difficulties_in(tx, domain)
    return learner_at(now, student, practised.values(), difficulties), practised
