"""Mastery: how well a learner is expected to do, and how sure that is, by an Elo rating with uncertainty.

A score is expected as logistic(student + student's skill - skill's difficulty - exercise's difficulty), all in logits.
Each of the first three is a belief (normal: mean and variance) and a round moves all three at once: one step of an
extended Kalman filter on the logistic likelihood, of which Elo is the case with a fixed gain.

Sources: Ingram, "How to extend Elo: a Bayesian perspective", J. Quantitative Analysis in Sports 17(3), 2021 (the step,
several components); Glickman, "Parameter estimation in large dynamic paired comparison experiments", Applied Statistics
48(3), 1999 (Glicko: variance that shrinks with evidence and grows with time); Pelánek, "Applications of the Elo rating
system in adaptive educational systems", Computers & Education 98, 2016 (student, skill and item as opponents).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.learning.curriculum import Difficulty

DAY = timedelta(days=1)
# No mean leaves ±6 logits (0.25 % .. 99.75 %): beyond, a single surprise could not be told from noise and floats would saturate.
MAX_MEAN = 6.0
# 97.5 % point of the normal distribution: a 95 % interval.
Z95 = 1.959964
EXERCISE_LOGITS = {Difficulty.EASY: -1.0, Difficulty.MEDIUM: 0.0, Difficulty.HARD: 1.0}


@dataclass(frozen=True)
class Belief:
    """A quantity in logits that is known up to a variance."""

    mean: float
    variance: float


# Before any evidence: learners, and their skills, differ by about a logit; the skills of a curriculum by half of one.
STUDENT_PRIOR = Belief(0.0, 1.0)
SKILL_PRIOR = Belief(0.0, 1.0)
DIFFICULTY_PRIOR = Belief(0.0, 0.25)
# Variance that a day adds: what is known of a skill fades in about three months, of a person in a year. Difficulty stays.
STUDENT_DRIFT = 0.002
SKILL_DRIFT = 0.01


@dataclass(frozen=True)
class Standing:
    """What is believed of one learner in one skill: the learner, the learner in this skill, the skill's difficulty."""

    student: Belief = STUDENT_PRIOR
    skill: Belief = SKILL_PRIOR
    difficulty: Belief = DIFFICULTY_PRIOR

    @property
    def mean(self) -> float:
        """Logit of the score expected on an exercise of middle difficulty."""
        return self.student.mean + self.skill.mean - self.difficulty.mean

    @property
    def variance(self) -> float:
        """Variance of that logit."""
        return self.student.variance + self.skill.variance + self.difficulty.variance


@dataclass(frozen=True)
class Level:
    """Score expected on an exercise of middle difficulty 0..1, its 95 % interval, and the standard deviation in logits."""

    level: float
    low: float
    high: float
    deviation: float


def logistic(logit: float) -> float:
    """The probability of a logit; bounded logits need no care for overflow."""
    return 1.0 / (1.0 + math.exp(-logit))


def expected_score(standing: Standing, difficulty: Difficulty) -> float:
    """The score 0..1 to be expected on an exercise."""
    return logistic(standing.mean - EXERCISE_LOGITS[difficulty])


def observe(standing: Standing, difficulty: Difficulty, score: float) -> Standing:
    """The standing after a round that scored 0..1: up when it was above the expected score, and surer in any case."""
    expected = expected_score(standing, difficulty)
    weight = expected * (1.0 - expected)
    surprise = score - expected
    shrink = 1.0 / (1.0 + weight * standing.variance)

    def moved(belief: Belief, sign: float) -> Belief:
        mean = belief.mean + sign * belief.variance * surprise * shrink
        variance = belief.variance - belief.variance**2 * weight * shrink
        return Belief(max(-MAX_MEAN, min(MAX_MEAN, mean)), variance)

    return Standing(moved(standing.student, 1.0), moved(standing.skill, 1.0), moved(standing.difficulty, -1.0))


def aged(belief: Belief, prior: Belief, drift: float, elapsed: timedelta) -> Belief:
    """The belief after `elapsed` without evidence: its variance grows by `drift` a day, up to what it was before any evidence."""
    days = max(0.0, elapsed / DAY)
    return replace(belief, variance=max(belief.variance, min(prior.variance, belief.variance + drift * days)))


def aged_student(belief: Belief, elapsed: timedelta) -> Belief:
    """What is believed of a learner, after `elapsed` without a round."""
    return aged(belief, STUDENT_PRIOR, STUDENT_DRIFT, elapsed)


def aged_skill(belief: Belief, elapsed: timedelta) -> Belief:
    """What is believed of a learner's skill, after `elapsed` without a round in it."""
    return aged(belief, SKILL_PRIOR, SKILL_DRIFT, elapsed)


def level(standing: Standing) -> Level:
    """The level of one skill."""
    return _level(standing.mean, standing.variance)


def domain_level(student: Belief, skills: Sequence[tuple[Belief, Belief]]) -> Level:
    """The level over all skills of a domain, given as (student's skill, skill's difficulty), at least one.

    It is the level of the mean logit; the skills' errors are taken as independent, the student's is shared by all.
    """
    count = len(skills)
    mean = student.mean + sum(skill.mean - difficulty.mean for skill, difficulty in skills) / count
    variance = student.variance + sum(skill.variance + difficulty.variance for skill, difficulty in skills) / count**2
    return _level(mean, variance)


def _level(mean: float, variance: float) -> Level:
    deviation = math.sqrt(variance)
    return Level(logistic(mean), logistic(mean - Z95 * deviation), logistic(mean + Z95 * deviation), deviation)
