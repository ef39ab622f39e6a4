"""Windows of budgets: stretches of the calendar, fixed lengths from an anchor, rolling lengths, and none at all.

What is spent is booked in slots. A calendar or fixed window is one slot. A rolling window is a ring of `ROLLING_SLOTS` equal slots:
it is exact to one of them, and on the careful side, for the oldest counts whole until all of it is older than the length
(a sliding window counter without interpolation).
"""

import enum
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

ROLLING_SLOTS = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
_DECEMBER = 12
_last: dict[tuple["Period", str], "Window"] = {}


class Period(enum.IntEnum):
    """Length of a stretch of the calendar; the numbers are those of the contract."""

    DAY = 1
    WEEK = 2
    MONTH = 3
    YEAR = 4


class Kind(enum.IntEnum):
    """How windows follow each other; the numbers are those of the contract."""

    CALENDAR = 1
    FIXED = 2
    ROLLING = 3
    LIFETIME = 4


class UnknownTimeZoneError(ValueError):
    """A name that no time zone of the tz database has."""


class Window(Struct, frozen=True):
    """The instants `start` (in) to `end` (out), UTC; `slot` is where what is spent is booked, None: at the start."""

    start: datetime
    end: datetime
    slot: datetime | None = None

    @property
    def booked(self) -> datetime:
        """The slot where what is spent is booked."""
        return self.start if self.slot is None else self.slot

    def holds(self, moment: datetime) -> bool:
        """Whether the moment lies in it."""
        return self.start <= moment < self.end


class Rule(Struct, frozen=True):
    """Which windows a budget has: `period` and `time_zone` for the calendar, `length` and `anchor` for the others."""

    kind: Kind = Kind.CALENDAR
    period: Period = Period.MONTH
    time_zone: str = "UTC"
    length: timedelta = timedelta()
    anchor: datetime = EPOCH

    @property
    def rolling(self) -> bool:
        """Whether its window moves with every moment."""
        return self.kind is Kind.ROLLING

    @property
    def slot_length(self) -> timedelta:
        """Length of a slot of a rolling window."""
        return max(self.length / ROLLING_SLOTS, timedelta(microseconds=1))

    def window_at(self, moment: datetime) -> Window:
        """The window that counts at a moment, and the slot in which that moment is booked."""
        if self.kind is Kind.CALENDAR:
            return _calendar(moment, self.period, self.time_zone)
        if self.kind is Kind.FIXED:
            start = self.anchor + (moment - self.anchor) // self.length * self.length
            return Window(start, start + self.length)
        if self.kind is Kind.LIFETIME:
            return Window(EPOCH, FOREVER)
        slot = _floor(moment, self.slot_length)
        return Window(_floor(moment - self.length, self.slot_length), slot + self.slot_length, slot)

    def counting(self, booked: datetime, now: datetime) -> Window:
        """The window whose sum a charge of the moment `booked` changes, seen from `now`, with that moment's slot."""
        window = self.window_at(booked)
        if not self.rolling:
            return window
        present = self.window_at(now)
        return Window(present.start, max(present.end, window.end), window.slot)


MONTHLY = Rule()


def _floor(moment: datetime, step: timedelta) -> datetime:
    return EPOCH + (moment - EPOCH) // step * step


def _calendar(moment: datetime, period: Period, time_zone: str) -> Window:
    """The calendar's window. The last one stands for all moments that it holds: a time zone takes longer than a statement."""
    window = _last.get((period, time_zone))
    if window is None or not window.holds(moment):
        window = _last[period, time_zone] = window_at(moment, period, time_zone)
    return window


@lru_cache(maxsize=1024)
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
    if period is Period.YEAR:
        return day.replace(month=1, day=1)
    if period is Period.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if period is Period.WEEK else day


def _next_first(first: date, period: Period) -> date:
    if period is Period.YEAR:
        return date(first.year + 1, 1, 1)
    if period is Period.MONTH:
        return date(first.year + 1, 1, 1) if first.month == _DECEMBER else first.replace(month=first.month + 1)
    return first + timedelta(days=7 if period is Period.WEEK else 1)


def _midnight(day: date, place: ZoneInfo) -> datetime:
    """The first instant of a local day: fold=0 means the first of two midnights, and the end of the gap when there is none."""
    return datetime.combine(day, time(), place).astimezone(UTC)
