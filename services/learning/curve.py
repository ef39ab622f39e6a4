"""How one card was forgotten and will be: its reviews replayed, and the curve between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from services.learning.memory import Memory, MemoryModel, retrievability

# points between two reviews; they lie closer where the curve is steep
BETWEEN, AHEAD = 16, 64
SHORTEST_AHEAD = timedelta(days=7)


@dataclass(frozen=True)
class Review:
    """A past review: how well it went, how probable that was, and the state after it."""

    time: datetime
    score: float
    retrievability: float
    after: Memory


@dataclass(frozen=True)
class Point:
    """One point of the curve."""

    time: datetime
    retrievability: float


def replay(log: Sequence[tuple[datetime, float]], model: MemoryModel) -> list[Review]:
    """The reviews of a card from its log of (time, score), oldest first."""
    reviews: list[Review] = []
    memory: Memory | None = None
    for time, score in log:
        before = retrievability(memory, time) if memory else 0.0
        memory = model.review(memory, score, time)
        reviews.append(Review(time, score, before, memory))
    return reviews


def default_end(memory: Memory, now: datetime) -> datetime:
    """As far after `now` as shows the card being forgotten well past its due time."""
    return now + max(SHORTEST_AHEAD, 2 * (memory.due - memory.last_review))


def curve(reviews: Sequence[Review], current: Memory, end: datetime) -> list[Point]:
    """The probability of recall from the first review to `end`; `current` is the state after the last one."""
    points: list[Point] = []
    for review, following in pairwise(reviews):
        points += _stretch(review.after, following.time, BETWEEN)
    return points + _stretch(current, max(end, current.last_review), AHEAD)


def _stretch(memory: Memory, end: datetime, count: int) -> list[Point]:
    start = memory.last_review
    times = [start + (end - start) * (step / count) ** 2 for step in range(count + 1)]
    return [Point(time, retrievability(memory, time)) for time in times]
