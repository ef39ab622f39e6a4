"""What a month will come to: what is spent, and for the days that are left a run rate with the rhythm of the week.

The level is the sum of the days since the first call, at most `HISTORY` of them, over the sum of the factors of their days of the
week; the factors are ratios to the mean (classical decomposition; Hyndman & Athanasopoulos, "Forecasting: Principles and
Practice", 3rd ed. 2021, section 3.4), shrunk towards 1 while there are few weeks. The interval takes days as independent and adds
the uncertainty of the level; it never goes below what is spent.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from statistics import NormalDist

from msgspec import Struct

from services.provider.windows import Period, Window, window_at, zone

HISTORY = timedelta(days=56)
PROBABILITY = 0.8
_WEEK = 7
# weeks that a factor of 1 counts as
_SHRINK = 2.0


class Forecast(Struct, frozen=True):
    """Nano units: spent so far, expected at the end, what it stays between in 80 % of cases; and the whole days learned from."""

    spent: int
    expected: int
    low: int
    high: int
    days: int


def forecast(
    costs: Mapping[date, int], spent: int, first: datetime | None, month: Window, time_zone: str, now: datetime
) -> Forecast:
    """The forecast for the month that runs, of costs by local day; `first` is the first call ever: days before do not count."""
    place = zone(time_zone)
    today = now.astimezone(place).date()
    begun = today if first is None else max(first.astimezone(place).date(), today - HISTORY)
    whole = [begun + timedelta(days=number) for number in range((today - begun).days)]
    # the first day is not whole, unless it is all there is
    whole = whole[1:] or whole
    if not whole:
        return _without_days(spent, first, month, now)
    factors = weekday_factors({day: costs.get(day, 0) for day in whole})
    level = sum(costs.get(day, 0) for day in whole) / sum(factors[day.weekday()] for day in whole)
    errors = [costs.get(day, 0) - level * factors[day.weekday()] for day in whole]
    variance = sum(error**2 for error in errors) / max(len(whole) - 1, 1)
    return _between(spent, level, variance, len(whole), _days_left(month, time_zone, now, factors))


def weekday_factors(costs: Mapping[date, int]) -> dict[int, float]:
    """How much more than the mean day each day of the week costs; 1 for all while not every one was seen."""
    mean = sum(costs.values()) / len(costs)
    if len(costs) < _WEEK or mean == 0:
        return dict.fromkeys(range(_WEEK), 1.0)
    factors = {}
    for weekday in range(_WEEK):
        seen = [cost for day, cost in costs.items() if day.weekday() == weekday]
        factors[weekday] = (sum(seen) / mean + _SHRINK) / (len(seen) + _SHRINK)
    return factors


def _days_left(month: Window, time_zone: str, now: datetime, factors: Mapping[int, float]) -> list[tuple[float, float]]:
    """(share, factor) of each day that is left; only of today the share is less than one."""
    left, moment = [], now
    while moment < month.end:
        day = window_at(moment, Period.DAY, time_zone)
        share = (day.end - moment) / (day.end - day.start)
        left.append((share, factors[moment.astimezone(zone(time_zone)).weekday()]))
        moment = day.end
    return left


def _between(spent: int, level: float, variance: float, days: int, left: list[tuple[float, float]]) -> Forecast:
    total = sum(share * factor for share, factor in left)
    spread = math.sqrt(variance * (sum(share for share, _ in left) + total**2 / days))
    if days == 1:
        # one day says nothing about how days differ
        spread = level * total
    z = NormalDist().inv_cdf(0.5 + PROBABILITY / 2)
    expected = spent + level * total
    return Forecast(spent, round(expected), max(spent, round(expected - z * spread)), round(expected + z * spread), days)


def _without_days(spent: int, first: datetime | None, month: Window, now: datetime) -> Forecast:
    """On the first day there is only its rate, over an hour at least, and an interval from nothing more to twice as much."""
    if first is None:
        return Forecast(spent, spent, spent, spent, 0)
    since = max(now - max(first, month.start), timedelta(hours=1))
    more = round(spent * ((month.end - now) / since))
    return Forecast(spent, spent + more, spent, spent + 2 * more, 0)
