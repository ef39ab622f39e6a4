"""What the next days bring: each card followed into the future, once as recalled and once as forgotten."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from services.learning.memory import Memory, MemoryModel, retrievability

# a way that a card takes with less than this probability is not followed apart from its likelier twin
LEAST = 0.05
RECALLED, FORGOTTEN = 0.8, 0.0


@dataclass
class Day:
    """One day: cards that are due on it as things stand, and reviews to expect."""

    date: date
    start: datetime
    due: int = 0
    expected: float = 0.0


def days_from(now: datetime, count: int, zone: tzinfo) -> list[Day]:
    """So many days of a time zone, the one of `now` first."""
    first = now.astimezone(zone).date()
    dates = [first + timedelta(days=number) for number in range(count)]
    return [Day(day, datetime(day.year, day.month, day.day, tzinfo=zone)) for day in dates]


def forecast(memories: Iterable[Memory], model: MemoryModel, now: datetime, count: int, zone: tzinfo) -> list[Day]:
    """Reviews to expect on each of the next days when everything is reviewed as soon as it is due; what is overdue is done now."""
    days = days_from(now, count, zone)
    for memory in memories:
        _follow(memory, model, now, days, zone)
    return days


def _follow(memory: Memory, model: MemoryModel, now: datetime, days: list[Day], zone: tzinfo) -> None:
    place = _place(max(memory.due, now), days, zone)
    if place is None:
        return
    days[place].due += 1
    ways = [(memory, 1.0)]
    while ways:
        held, weight = ways.pop()
        moment = max(held.due, now)
        place = _place(moment, days, zone)
        if place is None:
            continue
        days[place].expected += weight
        recalled = weight * retrievability(held, moment)
        if weight - recalled < LEAST:
            recalled = weight
        elif recalled < LEAST:
            recalled = 0.0
        if recalled:
            ways.append((model.review(held, RECALLED, moment), recalled))
        if recalled < weight:
            ways.append((model.review(held, FORGOTTEN, moment), weight - recalled))


def _place(moment: datetime, days: list[Day], zone: tzinfo) -> int | None:
    """Which of the days it is; None when it is after them."""
    place = (moment.astimezone(zone).date() - days[0].date).days
    return place if place < len(days) else None
