"""Sums of usage: what is added up, and quarters of an hour gathered into the days of a time zone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.provider.budget import zone

# every time zone's offset has been a multiple of this since 1972, so days can be made of it exactly
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class Sums:
    """Usage added up: cost in nano units, tokens, calls."""

    cost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.cost + other.cost,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.calls + other.calls,
        )


@dataclass(frozen=True)
class Group:
    """One row of a report."""

    key: str
    sums: Sums
    provider_id: str = ""
    model: str = ""


def by_day(quarters: Iterable[tuple[int, Sums]], time_zone: str) -> list[Group]:
    """Groups by local day, in order of time; a quarter is its number since the Unix epoch, in UTC."""
    place = zone(time_zone)
    days: dict[str, Sums] = {}
    for number, sums in quarters:
        moment = datetime.fromtimestamp(number * QUARTER.total_seconds(), UTC)
        day = moment.astimezone(place).date().isoformat()
        days[day] = days.get(day, Sums()) + sums
    return [Group(day, days[day]) for day in sorted(days)]
