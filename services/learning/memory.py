"""Memory: how well an exercise is remembered and when to ask again, by FSRS-6.

Source: Ye, Su, Cao, "A Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition Scheduling", KDD 2022,
doi:10.1145/3534678.3539081, in its sixth form (21 parameters, trainable decay) as implemented by the `fsrs` library of
open-spaced-repetition, with that library's default parameters. Intervals are not fuzzed: the same review log gives the
same state.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fsrs import Card, Rating, Scheduler, State
from fsrs.scheduler import DEFAULT_PARAMETERS

DAY = timedelta(days=1)
# Less than half of the answer is a lapse, a bare pass was hard, and only what is (nearly) all there came with ease.
AGAIN_BELOW, HARD_BELOW, GOOD_BELOW = 0.5, 0.7, 0.95


@dataclass(frozen=True)
class Memory:
    """The state of one card: `stability` in days, `difficulty` 1..10, `step` only in the short steps of (re)learning."""

    state: State
    step: int | None
    stability: float
    difficulty: float
    due: datetime
    last_review: datetime
    reviews: int
    lapses: int


def rating_of(score: float) -> Rating:
    """The FSRS rating for a score 0..1: below 0.5 Again, below 0.7 Hard, below 0.95 Good, else Easy."""
    if score < AGAIN_BELOW:
        return Rating.Again
    if score < HARD_BELOW:
        return Rating.Hard
    return Rating.Good if score < GOOD_BELOW else Rating.Easy


def retrievability(memory: Memory, now: datetime) -> float:
    """Probability 0..1 that it is recalled at `now`: FSRS-6's power forgetting curve, R(t) = (1 + F·t/S)^-w20 with R(S) = 0.9."""
    decay = -DEFAULT_PARAMETERS[20]
    factor = 0.9 ** (1 / decay) - 1
    days = max(0.0, (now - memory.last_review) / DAY)
    return float((1 + factor * days / memory.stability) ** decay)


class MemoryModel:
    """Moves memory states; `desired_retention` is the recall probability at which a card comes due."""

    def __init__(self, desired_retention: float) -> None:
        self._scheduler = Scheduler(desired_retention=desired_retention, enable_fuzzing=False)

    def review(self, memory: Memory | None, score: float, now: datetime) -> Memory:
        """The state after a review at `now` (aware, UTC) that scored 0..1; None is a card never seen."""
        rating = rating_of(score)
        card, _ = self._scheduler.review_card(_to_card(memory, now), rating, now)
        if card.stability is None or card.difficulty is None:
            raise AssertionError("a reviewed card has a stability and a difficulty")
        lapsed = memory is not None and memory.state is State.Review and rating is Rating.Again
        return Memory(
            state=card.state,
            step=card.step,
            stability=card.stability,
            difficulty=card.difficulty,
            due=card.due,
            last_review=now,
            reviews=(memory.reviews if memory else 0) + 1,
            lapses=(memory.lapses if memory else 0) + lapsed,
        )


def _to_card(memory: Memory | None, now: datetime) -> Card:
    # a card id of our own, because the library sleeps to make one; nothing reads it
    if memory is None:
        return Card(card_id=0, due=now)
    return Card(0, memory.state, memory.step, memory.stability, memory.difficulty, memory.due, memory.last_review)
