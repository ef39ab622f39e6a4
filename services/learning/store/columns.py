"""How the values that several tables keep become columns, and columns values."""

from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row
from services.learning.curriculum import Difficulty, Exercise


def optional_us(moment: datetime | None) -> int | None:
    """Microseconds of a time that may be missing."""
    return None if moment is None else to_us(moment)


def optional_time(microseconds: int | None) -> datetime | None:
    """The time of microseconds that may be missing."""
    return None if microseconds is None else from_us(microseconds)


def exercise_params(exercise: Exercise) -> dict[str, object]:
    """The columns that keep an exercise."""
    return {
        "card_id": exercise.id,
        "domain": exercise.domain,
        "skill": exercise.skill,
        "prompt": exercise.prompt,
        "rubric": exercise.rubric,
        "difficulty": int(exercise.difficulty),
    }


def exercise_of(row: Row) -> Exercise:
    """The exercise that a row keeps."""
    difficulty = Difficulty(row["difficulty"])
    return Exercise(row["card_id"], row["domain"], row["skill"], row["prompt"], row["rubric"], difficulty)
