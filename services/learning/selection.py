"""Selection: which exercise helps a learner most now — what is due first, then something new in the weakest skill."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.learning.curriculum import Domain, Exercise
from services.learning.mastery import Standing, expected_score
from services.learning.memory import Memory, retrievability
from services.learning.training import Reason

# New exercises teach most when they succeed more often than not: Wilson et al., "The Eighty Five Percent Rule for optimal
# learning", Nature Communications 10, 2019; taken a little lower, because an answer in words is scored in parts.
TARGET_SCORE = 0.75


@dataclass(frozen=True)
class Candidate:
    """An exercise that could be taken: the learner's memory of it (None: never seen) and how often this session has had it."""

    exercise: Exercise
    memory: Memory | None
    uses: int


def candidates(domain: Domain, memories: Mapping[Exercise, Memory], past: Iterable[str]) -> list[Candidate]:
    """Every exercise of the domain, and every one the learner still has a card of; `past` are the ids this session has had."""
    uses = Counter(past)
    known = {exercise.id: memory for exercise, memory in memories.items()}
    current = {exercise.id: exercise for exercise in domain.exercises}
    gone = [exercise for exercise in memories if exercise.id not in current]
    return [Candidate(exercise, known.get(exercise.id), uses[exercise.id]) for exercise in (*current.values(), *gone)]


def pick(pool: Sequence[Candidate], standing_of: Callable[[str], Standing], now: datetime) -> tuple[Exercise, Reason]:
    """The exercise for the next round, and why; ties go to the first. ValueError when there is no candidate.

    Only what the session has had least often is considered. Then: what is due (least likely to be recalled first), else
    something new in the weakest skill (expected score nearest the target), else what is least likely to be recalled.
    `standing_of` maps a skill's id to the learner's standing in it.
    """
    if not pool:
        raise ValueError("there is no exercise to pick from")
    fewest = min(candidate.uses for candidate in pool)
    fresh = [candidate for candidate in pool if candidate.uses == fewest]
    seen = {candidate.exercise: candidate.memory for candidate in fresh if candidate.memory}
    due = {exercise: memory for exercise, memory in seen.items() if memory.due <= now}
    if due:
        return _least_remembered(due, now), Reason.DUE
    new = [candidate.exercise for candidate in fresh if not candidate.memory]
    if new:
        return _in_weakest_skill(new, standing_of), Reason.WEAKEST_SKILL
    return _least_remembered(seen, now), Reason.REFRESH


def _least_remembered(memories: Mapping[Exercise, Memory], now: datetime) -> Exercise:
    return min(memories, key=lambda exercise: (retrievability(memories[exercise], now), memories[exercise].due, exercise.id))


def _in_weakest_skill(exercises: list[Exercise], standing_of: Callable[[str], Standing]) -> Exercise:
    standings = {exercise.skill: standing_of(exercise.skill) for exercise in exercises}
    weakest = min(standings, key=lambda skill: standings[skill].mean)
    fitting = [exercise for exercise in exercises if exercise.skill == weakest]
    return min(fitting, key=lambda exercise: abs(expected_score(standings[weakest], exercise.difficulty) - TARGET_SCORE))
