"""The learner: beliefs aged to one moment, priors where nothing is known."""

from datetime import UTC, datetime, timedelta

from services.learning import mastery
from services.learning.curriculum import Domain, Skill
from services.learning.learner import PractisedSkill, Student, learner_at
from services.learning.mastery import Belief

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DOMAIN = Domain("d", "D", (), (Skill("known", "Known", ()), Skill("new", "New", ())))


def test_a_newcomer_stands_at_the_priors() -> None:
    """Nothing known: the middle, with the widest interval."""
    standing = learner_at(NOW, None, [], {}).standing("known")
    assert standing == mastery.Standing()
    assert mastery.level(standing).level == 0.5


def test_beliefs_are_aged_each_by_its_own_time() -> None:
    """What was moved long ago is less sure than what was moved today."""
    student = Student(Belief(0.5, 0.1), NOW - timedelta(days=10))
    practised = [PractisedSkill("d", "known", Belief(1.0, 0.2), 3, NOW - timedelta(days=20))]
    learner = learner_at(NOW, student, practised, {"known": Belief(0.25, 0.1)})
    standing = learner.standing("known")
    assert standing.student == mastery.aged_student(student.belief, timedelta(days=10))
    assert standing.skill == mastery.aged_skill(Belief(1.0, 0.2), timedelta(days=20))
    assert standing.skill.variance > 0.2
    assert standing.difficulty == Belief(0.25, 0.1)
    assert learner.standing("new").skill == mastery.SKILL_PRIOR


def test_a_domain_counts_the_skills_not_practised() -> None:
    """Being good at one of two skills is not yet mastery of the domain."""
    practised = [PractisedSkill("d", "known", Belief(2.0, 0.2), 3, NOW)]
    learner = learner_at(NOW, None, practised, {})
    assert 0.5 < learner.domain_level(DOMAIN).level < mastery.level(learner.standing("known")).level
