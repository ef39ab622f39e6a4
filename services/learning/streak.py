"""Streaks: days in a row on which a learner closed at least one round."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Streak:
    """Days up to today, the longest run there ever was, and whether today counts already."""

    current_days: int
    longest_days: int
    active_today: bool


def streak(active_days: Iterable[date], today: date) -> Streak:
    """Counts runs of days; days to come are ignored.

    A today that has nothing yet does not end the current run; a whole empty day does.
    """
    days = sorted({day for day in active_days if day <= today})
    longest = run = 0
    before: date | None = None
    for day in days:
        run = run + 1 if before is not None and day - before == DAY else 1
        longest, before = max(longest, run), day
    alive = before is not None and today - before <= DAY
    return Streak(run if alive else 0, longest, before == today)
