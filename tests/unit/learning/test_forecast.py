"""The forecast of the workload: where reviews fall, that none is lost, and that forgetting makes more of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learning.forecast import forecast
from services.learning.memory import Memory, MemoryModel

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL = MemoryModel(0.9)
DAY = timedelta(days=1)
waits = st.timedeltas(timedelta(0), timedelta(days=200))


def known(*scores: float, ago: timedelta = timedelta(0)) -> Memory:
    """A card reviewed whenever it was due, the last time so long ago."""
    memory, moment = None, NOW - timedelta(days=1000)
    for score in scores:
        memory = MODEL.review(memory, score, moment)
        moment = memory.due
    assert memory is not None
    shift = NOW - ago - memory.last_review
    return Memory(**{**vars(memory), "due": memory.due + shift, "last_review": memory.last_review + shift})


def test_a_card_comes_on_its_day_and_then_again() -> None:
    """Nothing before it is due; all of it on that day; what follows adds up to the times it comes again."""
    card = known(0.97, 0.8)
    place = (card.due.date() - NOW.date()).days
    days = forecast([card], MODEL, NOW, place + 1, UTC)
    assert [day.expected for day in days[:-1]] == [0] * place
    assert (days[-1].due, days[-1].expected >= 1) == (1, True)
    longer = forecast([card], MODEL, NOW, 366, UTC)
    assert sum(day.expected for day in longer) > sum(day.expected for day in days)


@given(st.lists(st.tuples(st.lists(st.floats(0, 1), min_size=1, max_size=4), waits), max_size=8), st.integers(1, 40))
def test_every_due_card_is_expected_once_on_its_day(cards: list[tuple[list[float], timedelta]], count: int) -> None:
    """What is due is at least expected; what is overdue is due today; weights of the ways of a card are never negative."""
    memories = [known(*scores, ago=ago) for scores, ago in cards]
    days = forecast(memories, MODEL, NOW, count, UTC)
    within = [memory for memory in memories if memory.due.date() < NOW.date() + count * DAY]
    assert sum(day.due for day in days) == len(within)
    assert days[0].due == sum(memory.due.date() <= NOW.date() for memory in memories)
    assert all(day.expected >= day.due - 1e-9 for day in days)


def test_what_is_long_overdue_is_more_likely_forgotten() -> None:
    """And what is forgotten comes again on the same day."""
    fresh, stale = known(0.97, 0.9, ago=timedelta(days=20)), known(0.97, 0.9, ago=timedelta(days=1000))
    today = [forecast([card], MODEL, max(NOW, card.due), 1, UTC)[0].expected for card in (fresh, stale)]
    assert 1 <= today[0] < today[1]


@pytest.mark.parametrize(("zone", "first"), [("UTC", "2026-11-22"), ("Pacific/Auckland", "2026-11-23")])
def test_days_are_those_of_a_zone(zone: str, first: str) -> None:
    """Midnight is where the learner lives."""
    days = forecast([], MODEL, NOW, 2, ZoneInfo(zone))
    assert (days[0].date.isoformat(), days[0].start.hour) == (first, 0)
