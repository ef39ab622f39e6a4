"""Sums of usage: what is added up, and quarters of an hour gathered into the hours, days and months of a time zone."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from services.provider.windows import zone

# every time zone's offset has been a multiple of this since 1972, so hours and days can be made of it exactly
QUARTER = timedelta(minutes=15)
PROVIDER, MODEL = "provider", "model"
# what a report may be by beside labels, and how the key of a stretch of time is written
TIMES = ("hour", "day", "month")
_DAY, _MONTH = len("2026-11-22"), len("2026-11")
# a spreadsheet takes what begins so for a formula (OWASP, "CSV injection")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Sums(Struct, frozen=True):
    """Usage added up: cost in nano units, tokens, calls; `saved` against always taking the best model, of `compared` calls."""

    cost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    saved: int = 0
    compared: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.cost + other.cost,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.calls + other.calls,
            self.saved + other.saved,
            self.compared + other.compared,
        )


class Group(Struct, frozen=True):
    """One row of a report; `start` is when a stretch of time begins."""

    key: str
    sums: Sums
    provider_id: str = ""
    model: str = ""
    start: datetime | None = None


def by_time(quarters: Iterable[tuple[int, Sums]], unit: str, time_zone: str) -> list[Group]:
    """Groups by local hour, day or month, in order of time; a quarter is its number since the Unix epoch, in UTC.

    The hour that comes twice when clocks go back is two groups: their keys have different offsets.
    """
    place = zone(time_zone)
    groups: dict[str, Group] = {}
    for number, sums in sorted(quarters, key=lambda quarter: quarter[0]):
        moment = datetime.fromtimestamp(number * QUARTER.total_seconds(), UTC).astimezone(place)
        key = _key(moment, unit)
        before = groups.get(key)
        start = _start(moment, unit).astimezone(UTC)
        groups[key] = Group(key, before.sums + sums, start=before.start) if before else Group(key, sums, start=start)
    return list(groups.values())


def by_day(quarters: Iterable[tuple[int, Sums]], time_zone: str) -> list[Group]:
    """Groups by local day."""
    return by_time(quarters, "day", time_zone)


def _key(moment: datetime, unit: str) -> str:
    if unit == "hour":
        return moment.replace(minute=0).isoformat(timespec="minutes")
    return moment.date().isoformat()[: _MONTH if unit == "month" else _DAY]


def _start(moment: datetime, unit: str) -> datetime:
    if unit == "hour":
        return moment.replace(minute=0)
    # of two midnights the first, whichever of the two this moment follows
    midnight = moment.replace(hour=0, minute=0, fold=0)
    return midnight.replace(day=1) if unit == "month" else midnight


def csv_lines(groups: Iterable[Group], unit: str) -> Iterator[tuple[str, ...]]:
    """The report as a table: a line of names, then one line a group, amounts in nano units made decimal by the caller's table."""
    yield (unit, "cost_usd", "input_tokens", "output_tokens", "calls", "saved_usd", "compared_calls")
    for group in groups:
        sums = group.sums
        figures = (decimal(sums.cost), sums.input_tokens, sums.output_tokens, sums.calls, decimal(sums.saved), sums.compared)
        yield (harmless(group.key), *map(str, figures))


def harmless(text: str) -> str:
    """The text as a spreadsheet shows it, never as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def decimal(nanos: int) -> str:
    """Nano units as a decimal number with nine places, which no spreadsheet rounds when it reads it."""
    units, rest = divmod(abs(nanos), 1_000_000_000)
    return f"{'-' if nanos < 0 else ''}{units}.{rest:09d}"
