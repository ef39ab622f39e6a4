"""Time buckets: values folded into minutes and hours, and the spans that read them back.

Every value goes into its minute and into its hour, so rolling up is forgetting old minutes: nothing is recounted or lost.
All times are integer microseconds since the epoch, UTC.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from services.analytics.sketch import Sketch

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WIDTHS = (MINUTE, HOUR)


def floor(time_us: int, width_us: int) -> int:
    """Start of the bucket of this width that holds the time."""
    return time_us - time_us % width_us


def ceil(time_us: int, width_us: int) -> int:
    """Start of the first bucket of this width at or after the time."""
    return -floor(-time_us, width_us)


@dataclass
class Summary:
    """A set of values: exact count, sum, smallest and largest, and a sketch for quantiles."""

    count: int = 0
    sum: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    sketch: Sketch = field(default_factory=Sketch)

    @property
    def mean(self) -> float:
        """Mean of the values; 0 when there are none."""
        return self.sum / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """As the sketch has it, and never outside of the smallest and the largest value, which are known exactly."""
        return min(max(self.sketch.quantile(q), self.min), self.max)

    def add(self, value: float) -> None:
        """Takes one finite value in."""
        self.count += 1
        self.sum += value
        self.min = min(self.min, value)
        self.max = max(self.max, value)
        self.sketch.add(value)

    def merge(self, other: Self) -> None:
        """Takes all values of another summary in."""
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sketch.merge(other.sketch)


@dataclass(frozen=True)
class Segment:
    """Buckets of one width from `start_us` to before `end_us`, both on full buckets."""

    width_us: int
    start_us: int
    end_us: int


def fold(values: Iterable[tuple[int, float]], widths: Sequence[int] = WIDTHS) -> dict[tuple[int, int], Summary]:
    """Summaries by (width, start) of (time, value) pairs; each value once for each width."""
    found: dict[tuple[int, int], Summary] = defaultdict(Summary)
    for time_us, value in values:
        for width_us in widths:
            found[width_us, floor(time_us, width_us)].add(value)
    return dict(found)


def snap(start_us: int, end_us: int, minutes_from_us: int) -> tuple[int, int]:
    """The smallest span of full buckets around [start, end): minutes, or hours before `minutes_from_us` (a full hour)."""
    first = floor(start_us, MINUTE if start_us >= minutes_from_us else HOUR)
    last = ceil(end_us, MINUTE if end_us > minutes_from_us else HOUR)
    return first, last


def cover(start_us: int, end_us: int) -> list[Segment]:
    """The fewest buckets that hold a snapped span exactly: hours where they fit, minutes at the edges."""
    first_hour, last_hour = ceil(start_us, HOUR), floor(end_us, HOUR)
    if first_hour >= last_hour:
        segments = [Segment(MINUTE, start_us, end_us)]
    else:
        segments = [Segment(MINUTE, start_us, first_hour), Segment(HOUR, first_hour, last_hour), Segment(MINUTE, last_hour, end_us)]
    return [segment for segment in segments if segment.start_us < segment.end_us]


def step_for(span_us: int, points: int) -> int:
    """The smallest step of full minutes, or of full hours from an hour on, that cuts a span into at most so many points."""
    least = max(math.ceil(span_us / points), 1)
    return ceil(least, MINUTE) if least <= HOUR else ceil(least, HOUR)


def width_for(step_us: int) -> int:
    """The widest bucket that fits into a step without rest."""
    return HOUR if step_us % HOUR == 0 else MINUTE


def points(buckets: Iterable[tuple[int, Summary]], step_us: int) -> dict[int, Summary]:
    """Summaries by start of step, oldest first, of (start, summary) buckets that are no wider than a step."""
    found: dict[int, Summary] = defaultdict(Summary)
    for start_us, summary in buckets:
        found[floor(start_us, step_us)].merge(summary)
    return dict(sorted(found.items()))


def total(summaries: Iterable[Summary]) -> Summary:
    """One summary of all."""
    whole = Summary()
    for summary in summaries:
        whole.merge(summary)
    return whole
