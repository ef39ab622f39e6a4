"""When a task fires: once, every so often, or by cron in a time zone; and what of it was missed while nobody looked."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

# after this nothing fires, so that arithmetic stays inside the calendar
_LAST_MOMENT = datetime(2200, 1, 1, tzinfo=UTC)
_REPEATED = timedelta(hours=3)


class InvalidSchedule(ValueError):
    """A schedule that cannot fire; `field` says which part of it is wrong."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.field = field


@dataclass(frozen=True)
class Once:
    """One fire at a time."""

    at: datetime


@dataclass(frozen=True)
class Every:
    """Fires at start + k x interval, k = 1, 2, ..., or less once the clock is set back; the rhythm does not drift."""

    interval: timedelta
    start: datetime


@dataclass(frozen=True)
class Cron:
    """Five cron fields, read in a time zone (IANA name).

    Daylight saving as in Debian's cron: what the gap skips fires right after it, what the fold repeats fires once.
    """

    expression: str
    time_zone: str


Schedule = Once | Every | Cron


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name, UTC for ""; InvalidSchedule when there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones, e.g. "Europe"
        raise InvalidSchedule("time_zone", f"there is no time zone {name!r}; use an IANA name, e.g. Europe/Berlin") from None


def _cron_times(schedule: Cron, after: datetime) -> Iterator[datetime]:
    """Fires strictly after a moment, strictly growing, in UTC."""
    last = after
    start = after.astimezone(zone(schedule.time_zone))
    try:
        for local in CronSim(schedule.expression, start):
            moment = local.astimezone(UTC)
            # at a change of the clocks two local times can be one moment, or one that has passed
            if moment > last:
                last = moment
                yield moment
    except (CronSimError, AssertionError) as error:
        raise InvalidSchedule("cron", f"{schedule.expression!r} is no cron expression: {error}") from error
    except (OverflowError, ValueError):
        return


def fires(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Fires strictly after a moment (aware), in order; ends when there are no more."""
    if isinstance(schedule, Once):
        times: Iterator[datetime] = iter([schedule.at] if schedule.at > after else [])
    elif isinstance(schedule, Every):
        times = _every_times(schedule, after)
    else:
        times = _cron_times(schedule, after)
    for moment in times:
        if moment > _LAST_MOMENT:
            return
        yield moment


def _every_times(schedule: Every, after: datetime) -> Iterator[datetime]:
    step = (after - schedule.start) // schedule.interval + 1
    while True:
        yield schedule.start + step * schedule.interval
        step += 1


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """The first fire after a moment, or None when there are no more."""
    return next(fires(schedule, after), None)


def after_set_back(schedule: Schedule, last: datetime, now: datetime) -> datetime | None:
    """When it fires next if the clock was set back behind `last`, its newest fire or when it was made; None: as before.

    It goes on from now where it would else rest for longer than between two fires, or than three hours: a time of day that comes
    again within those is not repeated, as in Debian's cron. What was to fire once has done so.
    """
    coming = fires(schedule, now)
    first, second = next(coming, None), next(coming, None)
    if isinstance(schedule, Once) or first is None or second is None:
        return None
    return first if last - now > min(second - first, _REPEATED) else None


@dataclass(frozen=True)
class Due:
    """What a task owes at some moment: fires to make now (oldest first), older ones that are missed, and the first one after."""

    fires: tuple[datetime, ...]
    missed_count: int
    first_missed: datetime | None
    last_missed: datetime | None
    following: datetime | None


def due(schedule: Schedule, first: datetime, now: datetime, make_up: int, count_limit: int) -> Due:
    """Sorts out the fires from `first` (not yet fired) to `now`: the newest `make_up` (at least 1) are made, older ones are missed.

    Counts no more than `count_limit` of them. Past that it looks for the newest from now backwards, not at what lies between.
    """
    owed: list[datetime] = []
    moment: datetime | None = first
    following = fires(schedule, first)
    while moment is not None and moment <= now and len(owed) < count_limit:
        owed.append(moment)
        moment = next(following, None)
    made = max(1, make_up)
    if moment is not None and moment <= now:
        owed += _newest(schedule, owed[-1], now, made + 1, (moment - first) / count_limit)
        moment = next_fire(schedule, now)
    missed = owed[:-made]
    count = min(len(missed), count_limit)
    return Due(tuple(owed[-made:]), count, missed[0] if missed else None, missed[-1] if missed else None, moment)


def _newest(schedule: Schedule, after: datetime, now: datetime, number: int, step: timedelta) -> Sequence[datetime]:
    """The newest fires up to now, as many as there are after a moment; `step` is about how far they are from each other."""
    back = step * number
    while True:
        begin = max(after, now - back)
        found = deque(takewhile(lambda moment: moment <= now, fires(schedule, begin)), maxlen=number)
        if len(found) == number or begin == after:
            return found
        back *= 2
