"""Budgets: what they cover, in which stretch of the calendar, and which thresholds spending has reached."""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PERCENT = 100
_DECEMBER = 12


class Period(enum.IntEnum):
    """Length of a budget's window; the numbers are those of the contract."""

    DAY = 1
    WEEK = 2
    MONTH = 3


class Mode(enum.IntEnum):
    """What happens when a budget is spent; the numbers are those of the contract."""

    NOTIFY = 1
    DENY = 2


class UnknownTimeZoneError(ValueError):
    """A name that no time zone of the tz database has."""


@dataclass(frozen=True)
class Labels:
    """Provider, model and user of some usage, or of what a budget covers; empty means any."""

    provider_id: str = ""
    model: str = ""
    user_id: str = ""

    def covers(self, usage: "Labels") -> bool:
        """Whether usage with these labels has every label that is given here."""
        pairs = zip((self.provider_id, self.model, self.user_id), (usage.provider_id, usage.model, usage.user_id), strict=True)
        return all(not wanted or wanted == given for wanted, given in pairs)


@dataclass(frozen=True)
class Budget:
    """A limit in nano units on what its scope may cost in each period; `thresholds` in percent of the limit, ascending."""

    budget_id: str
    limit: int
    display_name: str = ""
    scope: Labels = Labels()
    period: Period = Period.MONTH
    time_zone: str = "UTC"
    thresholds: tuple[int, ...] = (50, 80, 100)
    mode: Mode = Mode.NOTIFY
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    updated: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def same_ledger(self, other: "Budget") -> bool:
        """Whether both count the same usage in the same periods."""
        return (self.scope, self.period, self.time_zone) == (other.scope, other.period, other.time_zone)


@dataclass(frozen=True)
class Window:
    """The instants `start` (in) to `end` (out), UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Standing:
    """A budget with what was spent (nano units) in the period that runs, and the thresholds told in it."""

    budget: Budget
    window: Window
    spent: int
    told: tuple[int, ...] = ()

    @property
    def remaining(self) -> int:
        """What is left of the limit, at least 0."""
        return max(self.budget.limit - self.spent, 0)

    def allows(self, cost: int) -> bool:
        """Whether a call of that cost fits; a spent budget lets nothing through, not even what is free."""
        if self.budget.mode is Mode.NOTIFY:
            return True
        return self.spent < self.budget.limit and self.spent + cost <= self.budget.limit


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name; UnknownTimeZoneError when there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder of the tz database
        raise UnknownTimeZoneError(f"{name!r} is not in the tz database; write a name such as Europe/Berlin") from error


def window_at(moment: datetime, period: Period, time_zone: str) -> Window:
    """The calendar period that holds the moment.

    It begins at the first instant of its first local day, so periods touch without gap or overlap also where daylight saving
    skips or repeats midnight (then the first of the two midnights counts).
    """
    place = zone(time_zone)
    first = _first_day(moment.astimezone(place).date(), period)
    # where clocks go back over midnight, the local date can be a day behind the period that has begun
    if moment >= _midnight(_next_first(first, period), place):
        first = _next_first(first, period)
    return Window(_midnight(first, place), _midnight(_next_first(first, period), place))


def _first_day(day: date, period: Period) -> date:
    if period is Period.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if period is Period.WEEK else day


def _next_first(first: date, period: Period) -> date:
    if period is Period.MONTH:
        return date(first.year + 1, 1, 1) if first.month == _DECEMBER else first.replace(month=first.month + 1)
    return first + timedelta(days=7 if period is Period.WEEK else 1)


def _midnight(day: date, place: ZoneInfo) -> datetime:
    """The first instant of a local day: fold=0 means the first of two midnights, and the end of the gap when there is none."""
    return datetime.combine(day, time(), place).astimezone(UTC)


def reached(limit: int, spent: int, threshold: int) -> bool:
    """Whether spending is at or over that percentage of the limit, in exact integers."""
    return spent * PERCENT >= limit * threshold


def newly_reached(budget: Budget, spent: int, told: Collection[int]) -> list[int]:
    """Thresholds that are reached and were not told in this period yet, ascending: a jump tells each that it passes."""
    return [percent for percent in budget.thresholds if percent not in told and reached(budget.limit, spent, percent)]


def cost_pressure(threshold: int, *, tight_from: int, factor: float) -> float:
    """How much dearer spending looks after a threshold was reached: 1 below `tight_from`, then `factor`, squared from 100 %."""
    if threshold < tight_from:
        return 1.0
    return factor * factor if threshold >= PERCENT else factor
