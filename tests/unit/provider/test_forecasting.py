"""Forecasts of a month's end: exact where every day is alike, with the rhythm of the week, and honest about what is not known."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import forecasting
from services.provider.forecasting import Forecast, forecast
from services.provider.windows import Period, window_at

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NOVEMBER = window_at(NOW, Period.MONTH, "UTC")


def days_before(now: datetime, count: int) -> list[date]:
    """So many whole days before a moment, the last one last."""
    return [now.date() - timedelta(days=number) for number in range(count, 0, -1)]


def at(now: datetime, costs: dict[date, int], first: datetime) -> Forecast:
    """The forecast of costs by day."""
    spent = sum(cost for day, cost in costs.items() if day.month == now.month)
    return forecast(costs, spent, first, window_at(now, Period.MONTH, "UTC"), "UTC", now)


def test_days_that_are_alike_go_on() -> None:
    """Twenty days at 100 and ten to come: 3,000, and no doubt about it."""
    costs = dict.fromkeys(days_before(NOW, 56), 100)
    expected = at(NOW, costs, NOW - timedelta(days=90))
    assert (expected.spent, expected.expected, expected.low, expected.high, expected.days) == (2000, 3000, 3000, 3000, 55)


def test_weekends_are_known() -> None:
    """Working days at 700, weekends at nothing: six working days are left, so about 4,200 more, not ten times the mean day."""
    costs = {day: 0 if day.weekday() >= 5 else 700 for day in days_before(NOW, 56)}
    expected = at(NOW, costs, NOW - timedelta(days=90))
    left = expected.expected - expected.spent
    assert abs(left - 6 * 700) < abs(10 * 500 - 6 * 700) / 2


def test_the_interval_holds_what_comes_as_often_as_it_says() -> None:
    """Of 200 random months between 65 % and 92 % end within their 80 % interval."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    inside = 0
    for _ in range(200):
        days = [date(2026, 10, 1) + timedelta(days=number) for number in range(61)]
        costs = {day: int(chance.lognormvariate(6, 0.5)) for day in days}
        known = {day: cost for day, cost in costs.items() if day < NOW.date()}
        expected = at(NOW, known, datetime(2026, 9, 30, tzinfo=UTC))
        truth = sum(cost for day, cost in costs.items() if day.month == 11)
        inside += expected.low <= truth <= expected.high
    assert 130 <= inside <= 184


def test_on_the_first_day_there_is_only_a_rate() -> None:
    """No call at all forecasts nothing; a call this morning a rate, from nothing more to twice as much."""
    assert forecast({}, 0, None, NOVEMBER, "UTC", NOW) == Forecast(0, 0, 0, 0, 0)
    noon = NOW + timedelta(hours=12)
    one = forecast({NOW.date(): 120}, 120, NOW, NOVEMBER, "UTC", noon)
    assert one.low == 120
    assert one.expected == pytest.approx(120 * 20, rel=0.01)
    assert one.high == pytest.approx(120 + 2 * (one.expected - 120), abs=2)


@given(
    st.lists(st.integers(0, 10**12), min_size=0, max_size=70),
    st.integers(0, 29 * 24 * 60),
    st.sampled_from(["UTC", "America/Havana"]),
)
def test_it_stays_in_order_and_above_what_is_spent(amounts: list[int], minute: int, zone: str) -> None:
    """Spent <= low <= expected <= high, whatever there was before."""
    now = datetime(2026, 11, 1, 6, tzinfo=UTC) + timedelta(minutes=minute)
    costs = {now.date() - timedelta(days=number): amount for number, amount in enumerate(amounts)}
    first = now - timedelta(days=len(amounts)) if amounts else None
    month = window_at(now, Period.MONTH, zone)
    spent = sum(cost for day, cost in costs.items() if day.month == now.month)
    made = forecast(costs, spent, first, month, zone, now)
    assert made.spent <= made.low <= made.expected + 1
    assert made.expected <= made.high + 1


def test_factors_are_one_while_a_day_of_the_week_was_never_seen() -> None:
    """And their weighted mean is one."""
    assert set(forecasting.weekday_factors({date(2026, 11, 2): 5}).values()) == {1.0}
