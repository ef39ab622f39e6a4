"""The learner: what is believed of one person in the skills of a domain, at one moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.learning import mastery
from services.learning.curriculum import Domain
from services.learning.mastery import Belief, Level, Standing


@dataclass(frozen=True)
class Student:
    """What was believed of a learner when it was last moved."""

    belief: Belief
    updated: datetime


@dataclass(frozen=True)
class PractisedSkill:
    """What was believed of a learner's skill when it was last moved, and the rounds closed in it."""

    domain: str
    skill: str
    belief: Belief
    reviews: int
    updated: datetime


@dataclass(frozen=True)
class Learner:
    """Beliefs aged to one moment: of the learner, of the skills practised in one domain, of those skills' difficulties."""

    student: Belief
    skills: Mapping[str, Belief]
    difficulties: Mapping[str, Belief]

    def standing(self, skill: str) -> Standing:
        """The standing in a skill of the domain, practised or not."""
        return Standing(
            self.student,
            self.skills.get(skill, mastery.SKILL_PRIOR),
            self.difficulties.get(skill, mastery.DIFFICULTY_PRIOR),
        )

    def domain_level(self, domain: Domain) -> Level:
        """The level over all skills of the domain, those not practised included."""
        standings = [self.standing(skill.id) for skill in domain.skills]
        return mastery.domain_level(self.student, [(standing.skill, standing.difficulty) for standing in standings])


def learner_at(
    now: datetime, student: Student | None, practised: Iterable[PractisedSkill], difficulties: Mapping[str, Belief]
) -> Learner:
    """The learner at `now`: uncertainty has grown since each belief was last moved. `practised` are skills of one domain."""
    return Learner(
        mastery.aged_student(student.belief, now - student.updated) if student else mastery.STUDENT_PRIOR,
        {skill.skill: mastery.aged_skill(skill.belief, now - skill.updated) for skill in practised},
        difficulties,
    )
