"""Time as an argument: services ask a clock, so that tests can own the time."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells the time of day and a time that only grows."""

    def now(self) -> datetime:
        """The time of day, aware, UTC."""
        ...

    def now_us(self) -> int:
        """The time of day as to_us() gives it: for what happens thousands of times a second."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The time of day, aware, UTC."""
        return datetime.now(UTC)

    def now_us(self) -> int:
        """The time of day in microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("ManualClock needs an aware datetime, e.g. datetime(2026, 1, 1, tzinfo=UTC)")
        self._now = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        """The time it was set to."""
        return self._now

    def now_us(self) -> int:
        """The time it was set to, in microseconds since the Unix epoch."""
        return to_us(self._now)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Moves the time forward."""
        self._now += by
        self._elapsed += by.total_seconds()


def to_us(moment: datetime) -> int:
    """Integer microseconds since the Unix epoch, the form in which stores keep times."""
    return (moment - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The aware UTC datetime of integer microseconds since the Unix epoch."""
    return EPOCH + timedelta(microseconds=microseconds)
